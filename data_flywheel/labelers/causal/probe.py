"""The probing process and its owner: one question at a time, and a question that kills the process is survived."""

from __future__ import annotations

import json
import selectors
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from data_flywheel.errors import DataError
from envs.process import start


class ProbeDied(Exception):
    """The child died or did not answer in time on this question. The next question gets a fresh child."""


class Probe:
    """A child that answers JSON lines. Use as a context manager."""

    def __init__(self, job: dict[str, Any], timeout: float = 30.0, command: Sequence[str] | None = None) -> None:
        """`job` is given to every child as its argument; `timeout`: seconds for one answer, start-up included."""
        self.command = [*(command or ["data_flywheel.labelers.causal.probe_child"]), json.dumps(job)]
        self.timeout = timeout
        self.deaths = 0
        self._process: subprocess.Popen[str] | None = None

    def ask(self, question: dict[str, Any]) -> Any:
        """The child's answer. ProbeDied: it died or hung on this one. DataError: it refused, in words."""
        process = self._process or self._start()
        assert process.stdin and process.stdout
        try:
            print(json.dumps(question), file=process.stdin, flush=True)
            line = process.stdout.readline() if self._ready(process) else ""
        except BrokenPipeError:
            line = ""
        if not line.endswith("\n"):
            code = self._stop()
            self.deaths += 1
            raise ProbeDied("no answer in time" if code == -9 else f"exit code {code}")
        answer = json.loads(line)
        if "error" in answer:
            raise DataError(answer["error"])
        return answer["answer"]

    def _start(self) -> subprocess.Popen[str]:
        process: subprocess.Popen[str] = start(*self.command, variables={"OMP_NUM_THREADS": "1"}, text=True)
        self._process = process
        return process

    def _ready(self, process: subprocess.Popen[str]) -> bool:
        """Whether an answer (or the end) came within the timeout."""
        assert process.stdout
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            return bool(selector.select(self.timeout))

    def _stop(self) -> int:
        """End the child; its exit code (-9 when it had to be killed)."""
        process, self._process = self._process, None
        if process is None:
            return 0
        assert process.stdin and process.stdout
        try:
            process.wait(0.2)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
        with suppress(BrokenPipeError):
            process.stdin.close()
        return process.returncode

    def __enter__(self) -> Probe:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process and self._process.stdin:
            self._process.stdin.close()  # the child ends by itself
        self._stop()
