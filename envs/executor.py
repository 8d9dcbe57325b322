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
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from typing import Any, Protocol, Self

from envs.env import find
from envs.errors import EnvError, Lost
from envs.process import start
from envs.terminal import guard

Work = Callable[[Any], Any]  # an item to its answer
MOST_LOST = 5  # times that an item may be lost with whatever did it
AGAIN_S = 5.0  # seconds that a child is given to end before it is told again
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
    """A child could not do its work. `item`: what it was doing (None: it was starting); `died`: it said nothing, or
    that its work is `Lost`."""

    def __init__(self, message: str, item: Any = None, died: bool = False) -> None:
        super().__init__(message)
        self.item, self.died = item, died


@dataclass
class Item:
    """Something to do, and how often it was lost with its worker."""

    value: Any
    lost: int = 0

    def again(self, why: str, where: str = "") -> None:
        """It was lost once more; WorkerError when that was too often."""
        self.lost += 1
        if self.lost >= MOST_LOST:
            raise WorkerError(
                f"{self.value} was lost {self.lost} times with its worker, so it may be what ends them "
                f"(memory?); the last{where}: {why}", self.value, True,
            )  # fmt: skip


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

    One that dies costs the item that it had, which is done again by another. In the end their input is closed and they
    end by themselves; when the caller stops early, or something fails, they are told to end at once, and new ones are
    started for what comes next. So do those of a killed parent.

    As many children as there are cores have one each, for themselves and what they start: a child and its simulator
    work by turns, and where they share a core neither waits for one, or finds its memory in the cache of another.
    """

    def __init__(self, start_one: Callable[[], Child], count: int) -> None:
        self._start, self._count = start_one, count
        self._children: list[Child] = []
        here = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
        self._places = here if len(here) == count else set()

    def map(self, items: Iterable[Any]) -> Iterator[Any]:
        """The answer of every item, in the order in which they are ready. WorkerError ends it."""
        todo = deque(map(Item, items))
        try:
            with selectors.DefaultSelector() as selector:
                yield from self._serve(todo, selector)
        except BaseException:
            for child in self._children:
                child.process.terminate()
            self.close()
            raise

    def _serve(self, todo: deque[Item], selector: selectors.BaseSelector) -> Iterator[Any]:
        idle, doing = self._children[:], dict[Child, Item]()

        def give() -> None:
            while todo and len(doing) < self._count:
                child = idle.pop() if idle else self._hire()
                doing[child] = todo.popleft()
                child.give(doing[child].value)
                selector.register(child.out, selectors.EVENT_READ, child)

        give()
        while doing:
            for key, _ in selector.select():
                child = key.data
                selector.unregister(child.out)
                item = doing.pop(child)
                try:
                    answer = child.answer()
                except WorkerError as error:
                    if not error.died:
                        raise
                    self._dismiss(child)
                    item.again(str(error))
                    todo.appendleft(item)
                else:
                    idle.append(child)
                    yield answer
                give()

    def _hire(self) -> Child:
        child = self._start()
        self._children.append(child)
        if free := self._places - {one.core for one in self._children}:
            child.stay_on(min(free))
        return child

    def _dismiss(self, child: Child) -> None:
        self._children.remove(child)
        child.close()

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
        self.core: int | None = None
        assert self.process.stdout
        self.out = self.process.stdout

    def stay_on(self, core: int) -> None:
        """Run on this core alone, as will what it starts from now on; where the system forbids it, on any."""
        with suppress(OSError):
            os.sched_setaffinity(self.process.pid, {core})
            self.core = core

    def give(self, item: Any) -> None:
        """Have it done. Of a process that is gone, `answer` says so."""
        self.item = item
        assert self.process.stdin
        with suppress(BrokenPipeError):
            print(json.dumps(item), file=self.process.stdin, flush=True)

    def answer(self) -> Any:
        """What came of it; WorkerError when that is an error, or the process died."""
        line = self.out.readline()
        if not line.endswith("\n"):
            code = self.process.wait()
            raise WorkerError(f"a worker process died (exit code {code}) while it did {self.item}", self.item, True)
        told = json.loads(line)
        if "error" in told:
            raise WorkerError(told["error"], self.item if told["began"] else None, told["lost"])
        return told["answer"]

    def close(self) -> None:
        """No more items: wait for the end."""
        assert self.process.stdin
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait()
        self.out.close()


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
        while True:  # what is raised then may get lost, in a destructor for example
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(AGAIN_S)


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
            said = {"error": told, "began": began, "lost": isinstance(error, Lost)}
            print(json.dumps(said), file=answers, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
