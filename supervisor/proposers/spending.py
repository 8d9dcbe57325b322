"""What the workbench has spent: an append-only file of lines in the workspace, which the run reads back.

The first line is the allowance, in simulated frames; later ones may change it. A piece of work begins with what it may
take, has a line for each game as it ends, and an end. What a kill cuts off counts as games of the length that was
expected. A file that is missing or damaged counts as everything spent: it limits those who keep to it, and the gate
does not depend on it.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_flywheel.storage.files import try_lock
from data_flywheel.storage.log import append, read_lines
from envs.files import loads
from envs.writing import open_own
from supervisor.errors import SupervisorError

LOG, LOCK = "spent.jsonl", "spent.lock"
AGAIN = 0.2  # seconds between looks whether another command is done

Game = Mapping[str, Any]  # a finished game: policy (sha256), seed, frames, and what else was kept of it


@dataclass
class Spent:
    """What a file says. `games`: finished ones, oldest first; `used`: how often each command began."""

    allowance: float = 0.0
    frames: float = 0.0
    games: list[Game] = field(default_factory=list)
    used: dict[str, int] = field(default_factory=dict)
    damaged: bool = False

    @property
    def left(self) -> float:
        """Frames that may still be played."""
        return 0.0 if self.damaged else max(0.0, self.allowance - self.frames)

    def told(self) -> dict[str, Any]:
        """For the run's log."""
        return {"frames": self.frames, "games": len(self.games), "used": self.used, "damaged": self.damaged}


def begin(folder: Path, allowance: float) -> None:
    """Allow so many frames in all."""
    append(folder / LOG, _line({"allowance": allowance}))


def read(folder: Path, allowance: float | None = None) -> Spent:
    """What has been spent; all of `allowance` where nobody can tell."""
    try:
        found = _folded(folder)
    except (SupervisorError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
        found = Spent(damaged=True)
    if found.damaged:
        found.allowance = found.frames = allowance or 0.0
    return found


def _folded(folder: Path) -> Spent:
    lines, _ = read_lines(folder / LOG, SupervisorError)
    found, open_work = Spent(damaged=not lines), dict[int, dict[str, Any]]()
    for i, line in enumerate(lines):
        told = loads(line)
        if "allowance" in told:
            found.allowance = float(told["allowance"])
        elif i == 0:
            raise ValueError("no allowance")
        elif "began" in told:
            open_work[told["began"]] = told
            found.used[told["what"]] = found.used.get(told["what"], 0) + 1
        elif "game" in told:
            found.games.append(told["game"])
            found.frames += max(0, int(told["game"]["frames"]))
            open_work[told["of"]]["games"] -= 1
        else:
            del open_work[told["ended"]]
    for work in open_work.values():
        found.frames += float(work["each"]) * max(0, min(int(work["games"]), int(work["at_once"])))
    return found


class Work:
    """Games that are being played; tell each as it ends."""

    def __init__(self, folder: Path, number: int) -> None:
        self.folder, self.number = folder, number

    def game(self, told: Game) -> None:
        """One has ended."""
        append(self.folder / LOG, _line({"game": dict(told), "of": self.number}))


@contextmanager
def alone(folder: Path, waits: Callable[[], object] = lambda: None) -> Iterator[None]:
    """One command plays at a time, so that none spends what another has; `waits` is called where it has to wait."""
    descriptor = open_own(folder / LOCK, os.O_RDWR)
    try:
        if not try_lock(descriptor):
            waits()
            while not try_lock(descriptor):
                time.sleep(AGAIN)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def work(folder: Path, what: str, games: int, each: float, at_once: int) -> Iterator[Work]:
    """Games of about `each` frames that begin now; what an error leaves unfinished counts like what a kill does."""
    number = len(read_lines(folder / LOG, SupervisorError)[0])
    append(folder / LOG, _line({"began": number, "what": what, "games": games, "each": each, "at_once": at_once}))
    yield Work(folder, number)
    append(folder / LOG, _line({"ended": number}))


def _line(told: Mapping[str, Any]) -> bytes:
    return json.dumps(told, sort_keys=True).encode() + b"\n"
