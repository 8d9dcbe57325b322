"""A process that appends to an event log until it is killed; `python -m tests.kits.events_kit PATH SEED [CALL HOW]`.

With CALL it kills itself at its CALL-th system call that changes a file: before it, after it, or
half way through a write.
Every acknowledged event is told on stdout as `n hash` once `append` has returned.
"""

from __future__ import annotations

import os
import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from supervisor.events import START, Event, EventLog

CALLS = ("write", "pwrite", "fsync", "ftruncate", "open")
HOW = ("before", "after", "half")
_write = os.write


class Notes:
    """A log of events in memory."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def append(self, kind: str, data: Any) -> Event:
        self.events.append(Event(len(self.events) + 1, 0.0, kind, dict(data), START, START))
        return self.events[-1]

    def kinds(self, kind: str) -> list[Any]:
        return [e.data for e in self.events if e.kind == kind]


def opened(path: Path, **options: Any) -> EventLog:
    """A log in which it is always 1.5."""
    return EventLog.open(path, now=lambda: 1.5, **options)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def arm(strike: int, how: str) -> None:
    """Replace the calls that change files by ones that count."""
    left = [strike]

    def wrapped(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            if name == "open" and not arguments[1] & (os.O_WRONLY | os.O_RDWR):
                return real(*arguments, **named)  # reading changes nothing
            left[0] -= 1
            if left[0] == 0:
                if how == "half" and name == "write":
                    real(arguments[0], arguments[1][: max(1, len(arguments[1]) // 2)])
                elif how == "after":
                    real(*arguments, **named)
                die()
            return real(*arguments, **named)

        return call

    for name in CALLS:
        setattr(os, name, wrapped(name, getattr(os, name)))


def main(path: str, seed: str, strike: str = "0", how: str = "before") -> None:
    generator = random.Random(int(seed))
    if int(strike):
        arm(int(strike), how)
    with EventLog.open(Path(path), now=lambda: 1.0) as log:
        _write(1, f"opened {len(log.events)}\n".encode())
        while True:
            event = log.append("work", {"seed": int(seed), "text": "x" * int(10 ** generator.uniform(0, 4.5))})
            _write(1, f"{event.n} {event.hash}\n".encode())


if __name__ == "__main__":
    main(*sys.argv[1:])
