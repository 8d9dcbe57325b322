"""Work spread over child processes: items go out one at a time, answers come back as they are ready.

A child is `python -m envs.executor`, so nothing is pickled and a script without a main guard may use it. Jobs, items
and answers are JSON values. `envs.crew` chooses between this machine and a cluster, where the same children work.
"""

from __future__ import annotations

import json
import os
import select
import selectors
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, suppress
from typing import Any, Protocol, Self

from envs.env import find
from envs.errors import EnvError
from envs.process import start
from envs.terminal import guard

Work = Callable[[Any], Any]  # an item to its answer
VARIABLE = "TRIUNE_EXECUTOR"  # where work is done unless told otherwise; a child does its own work itself


class Team(Protocol):
    """Workers that have been told a job, and stay for several `map`s. A context, or close it."""

    def map(self, items: Iterable[Any]) -> Iterator[Any]:
        """The answer of every item, in the order in which they are ready. WorkerError ends it."""

    def close(self) -> None:
        """No more items. Safe to call twice."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


class Executor(Protocol):
    """Whoever has work done."""

    def map(self, job: Any, items: Iterable[Any]) -> Iterator[Any]:
        """The answer of every item, in the order in which they are ready. WorkerError ends it."""

    def crew(self, job: Any, most: int | None = None) -> Team:
        """Workers that stay. `most`: there will be no more items at once."""


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class WorkerError(EnvError):
    """A child could not do its work. `item`: what it was doing (None: it was starting); `died`: it said nothing."""

    def __init__(self, message: str, item: Any = None, died: bool = False) -> None:
        super().__init__(message)
        self.item, self.died = item, died


class Processes:
    """Child processes on this machine.

    target   "module:function" of the work: called in each child with the job, it gives a context manager of a `Work`
    workers  children at most
    explain  "module:function" from an exception to its sentence for people, or None for a bug, whose traceback then
             goes to stderr (default: everything is a bug)
    """

    def __init__(self, target: str, workers: int, explain: str = "") -> None:
        self.target, self.workers, self.explain = target, workers, explain

    def map(self, job: Any, items: Iterable[Any]) -> Iterator[Any]:
        """The answer of every item, in the order in which they are ready. WorkerError ends it."""
        todo = list(items)
        with self.crew(job, len(todo)) as crew:
            yield from crew.map(todo)

    def crew(self, job: Any, most: int | None = None) -> Crew:
        """Children that stay for several `map`s; a context. `most`: there will be no more items at once."""
        count = self.workers if most is None else min(self.workers, most)
        return Crew(lambda: Child(self.target, self.explain, job), count)


class Crew:
    """Children that have been told the job, each started when it first has something to do.

    In the end their input is closed and they end by themselves; when the caller stops early, or something fails, they
    are told to end at once, and new ones are started for what comes next. So do those of a killed parent.
    """

    def __init__(self, start_one: Callable[[], Child], count: int) -> None:
        self._start, self._count = start_one, count
        self._children: list[Child] = []

    def map(self, items: Iterable[Any]) -> Iterator[Any]:
        """The answer of every item, in the order in which they are ready. WorkerError ends it."""
        todo = list(items)
        try:
            while len(self._children) < min(self._count, len(todo)):
                self._children.append(self._start())
            yield from _serve(self._children, iter(todo))
        except BaseException:
            for child in self._children:
                child.process.terminate()
            self.close()
            raise

    def close(self) -> None:
        """No more items. Safe to call twice."""
        for child in self._children:
            child.close()
        self._children = []

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Child:
    """One process and the item that it is doing. `variables` of its environment, `options` of its `Popen`."""

    def __init__(
        self, target: str, explain: str, job: Any, variables: Mapping[str, str] | None = None, **options: Any
    ) -> None:  # fmt: skip
        words = (target, explain, json.dumps(job))
        fixed = {"OMP_NUM_THREADS": "1", VARIABLE: "local"}
        self.process: subprocess.Popen[str] = start(
            "envs.executor", *words, variables=fixed | dict(variables or {}), text=True, **options
        )
        self.item: Any = None

    def give(self, item: Any) -> None:
        """Have it done; WorkerError when the process is gone."""
        self.item = item
        assert self.process.stdin
        try:
            print(json.dumps(item), file=self.process.stdin, flush=True)
        except BrokenPipeError:
            raise self.dead() from None

    def answer(self) -> Any:
        """What came of it; WorkerError when that is an error, or the process died."""
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line.endswith("\n"):
            raise self.dead()
        told = json.loads(line)
        if "error" in told:
            raise WorkerError(told["error"], self.item if told["began"] else None)
        return told["answer"]

    def dead(self) -> WorkerError:
        """The error of a process that is gone."""
        code = self.process.wait()
        return WorkerError(f"a worker process died (exit code {code}) while it did {self.item}", self.item, True)

    def close(self) -> None:
        """No more items: wait for the end."""
        assert self.process.stdin and self.process.stdout
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def _serve(crew: list[Child], todo: Iterator[Any]) -> Iterator[Any]:
    with selectors.DefaultSelector() as selector:
        for child, item in zip(crew, todo, strict=False):  # no more children than items
            child.give(item)
            assert child.process.stdout
            selector.register(child.process.stdout, selectors.EVENT_READ, child)
        while selector.get_map():
            for key, _ in selector.select():
                child = key.data
                yield child.answer()
                for item in todo:
                    child.give(item)
                    break
                else:
                    selector.unregister(key.fileobj)


# ----------------------------------------------------------------------------------------------------
# The child: an item a line on stdin, an answer a line on stdout. It ends when stdin closes, in the middle of an item,
# too: then nobody waits for the answer. Ctrl-C is the parent's to handle.


class _Leash:
    """Ends this process, as SIGTERM does, when stdin is closed while it works."""

    def __init__(self) -> None:
        self.working = False
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        poll = select.poll()
        poll.register(0, 0)  # the end of the pipe is told unasked, and nothing else is
        poll.poll()
        while not self.working:  # the main thread sees the end by itself, unless it has just begun an item
            time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGTERM)


def main() -> int:
    """Entry point of the process: TARGET EXPLAIN JOB."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # whoever is writing a file finishes or removes it
    guard()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # nothing that prints may speak into the protocol
    began, explain = False, ""
    try:
        target, explain, job = sys.argv[1:]
        made: AbstractContextManager[Work] = find(target)(json.loads(job))
        with made as work:
            leash = _Leash()
            for line in sys.stdin:
                began = leash.working = True
                answer = json.dumps({"answer": work(json.loads(line))})
                leash.working = False
                with suppress(BrokenPipeError):  # of a parent that is gone: then stdin is at its end, too
                    print(answer, file=answers, flush=True)
    except Exception as error:
        told = find(explain)(error) if explain else None
        if told is None:
            traceback.print_exc()
            told = f"{type(error).__name__}: {error}"
        with suppress(BrokenPipeError):
            print(json.dumps({"error": told, "began": began}), file=answers, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
