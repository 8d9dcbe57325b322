"""Revisions by a coding-agent command that works in a folder, or by whoever fills in that folder by hand.

Knows: the command, its environment, its time limit. Does not know: what is in the folder (workspace.py), how processes
are killed (process_tree.py). Without a command the run stops with the folder ready, and goes on when it is resumed and
`answer.json` is there.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from supervisor.errors import SupervisorError
from supervisor.loop.budget import UNKNOWN, Amount
from supervisor.proposers import process_tree, workspace
from supervisor.protocols import ProposerError, Reply, Request, Usage, Waiting

PASSED = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "LC_CTYPE", "TERM", "TMPDIR", "TZ")
OUTPUT = "output.txt"
OUTPUT_BYTES = 2_000_000
SHOWN = 20_000  # characters of the output's end that are kept with the answer
GRACE = 30.0  # seconds for the killing itself


class AgentProposer:
    """`command`: words, or one string split as a shell would; None waits for a person. `home`: a folder for the
    workspaces, one for each trial. `time_limit`: seconds. `keep`: names of environment variables that the command may
    see besides PASSED, such as the one that holds its key. `task`: the task's folder."""

    name = "agent"

    def __init__(
        self, home: Path, task: Path, command: str | Sequence[str] | None = None, time_limit: float = 1800.0,
        keep: Sequence[str] = (),
    ) -> None:  # fmt: skip
        words = shlex.split(command) if isinstance(command, str) else list(command or ())
        if command is not None and not words:
            raise SupervisorError("the agent's command is empty; give one, or leave it out to answer by hand")
        self.home, self.task, self.command, self.time_limit = home, task, words, time_limit
        self.keep = tuple(keep)
        missing = [name for name in self.keep if name not in os.environ]
        if missing:
            raise SupervisorError(f"the environment has no {', '.join(missing)}, which the agent's command needs")

    def folder(self, trial: int) -> Path:
        """The workspace of a trial."""
        return self.home / f"trial-{trial:03d}"

    def estimate(self, request: Request) -> Mapping[str, Amount]:
        """Nobody tells what a command spends; it takes at most its time limit."""
        wall = self.time_limit + GRACE if self.command else 0.0
        return {"tokens": UNKNOWN, "usd": UNKNOWN, "wall_s": wall}

    def propose(self, request: Request) -> Reply:
        """Run the command, or look whether somebody has answered; Waiting when nobody has."""
        folder = self.folder(request.trial)
        if not self.command:
            return self._by_hand(folder, request)
        workspace.prepare(folder, request, self.task)
        began = time.monotonic()
        outcome = self._run(folder)
        usage = Usage(UNKNOWN, UNKNOWN, round(time.monotonic() - began, 3))
        try:
            text = workspace.answer(folder, request)
        except workspace.Unusable as error:
            how = "ran out of time" if outcome["exit"] is None else f"ended with exit code {outcome['exit']}"
            raise ProposerError(f"the agent {how}; {error}", usage) from None
        return Reply(text, usage, ({"command": self.command, **outcome},))

    def _by_hand(self, folder: Path, request: Request) -> Reply:
        if not workspace.is_of(folder, request):
            workspace.prepare(folder, request, self.task)
        if not (folder / workspace.ANSWER).exists():
            raise Waiting(f"waiting for {folder / workspace.ANSWER} (see ANSWER.md there)")
        usage = Usage(UNKNOWN, UNKNOWN, 0.0)
        try:
            return Reply(workspace.answer(folder, request), usage)
        except workspace.Unusable as error:
            raise Waiting(f"{folder}: {error}; mend it, then resume") from None

    def _run(self, folder: Path) -> dict[str, Any]:
        """Exit code (None: out of time), bytes of output, its end."""
        words = [sys.executable, "-I", process_tree.__file__, str(self.time_limit), str(OUTPUT_BYTES), OUTPUT]
        names = (*PASSED, *self.keep)
        env = {name: os.environ[name] for name in names if name in os.environ}
        process = subprocess.Popen(
            [*words, *self.command], cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            said, _ = process.communicate(timeout=self.time_limit + GRACE)
        except BaseException as error:
            process.terminate()  # it kills everything below it before it ends
            try:
                process.communicate(timeout=GRACE)
            except subprocess.TimeoutExpired:
                process.kill()
            if isinstance(error, subprocess.TimeoutExpired):
                raise ProposerError("the agent's processes could not be ended in time", fatal=True) from None
            raise
        try:
            outcome: dict[str, Any] = json.loads(said)
        except ValueError:
            raise ProposerError(f"the agent's command cannot be run: {shlex.join(self.command)}", fatal=True) from None
        return {**outcome, "output": _end_of(folder / OUTPUT)}


def _end_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - SHOWN))
            return file.read(SHOWN).decode("utf-8", "replace")
    except OSError:
        return ""
