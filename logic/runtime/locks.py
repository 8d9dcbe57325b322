"""Locks: recorded moments whose decisions must not change, and score floors. One text file each (lock_file.py).

Knows: making a lock from recorded scenes and actions, checking a controller against one. Does not know: episodes'
files, environments, how a floor is played (triune.commands.check).

A `scenes` lock starts from fresh memory; its first `warmup` steps are run but not compared, since a policy that comes
in half-way first has to find its bearings.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import zip_longest
from typing import Any

import numpy as np

from envs.actions import ActionSpace
from logic.errors import LogicError
from logic.runtime.controller import Controller
from logic.runtime.lock_file import (
    FloorLock,
    Lock,
    Recorded,
    ScenesLock,
    check_schema,
    files,
    path_of,
    read,
    recorded,
    text_of,
    write,
)

__all__ = [
    "Difference", "FloorLock", "Lock", "Recorded", "Recording", "ScenesLock", "check_scenes", "files", "make_scenes",
    "path_of", "read", "recorded", "text_of", "write",
]  # fmt: skip


@dataclass(frozen=True)
class Difference:
    """A decision that is not the locked one. Reasons are empty where they are not locked; `fault` "" when none."""

    step: int
    expected: str
    decided: str
    expected_reason: str = ""
    reason: str = ""
    fault: str = ""

    def __str__(self) -> str:
        said = f" ({self.expected_reason!r} became {self.reason!r})" if self.expected_reason else ""
        wrong = f", fault: {self.fault}" if self.fault else ""
        return f"step {self.step}: {self.decided} instead of {self.expected}{said}{wrong}"

    def as_dict(self) -> dict[str, Any]:
        """JSON-able record."""
        return asdict(self)


def check_scenes(lock: ScenesLock, controller: Controller) -> list[Difference]:
    """Decide every step from fresh memory; the decisions after the warm-up that are not the locked ones."""
    logic = controller.logic
    check_schema(lock.schema, logic.schema, lock.name)
    controller.reset()
    found = []
    for i, vector in enumerate(lock.scenes):
        decision = controller.decide(logic.schema.read(vector))
        k = i - lock.warmup
        if k < 0:
            continue
        decided, why = recorded(logic.actions, decision.action), lock.reasons[k] if lock.reasons else ""
        if decided != lock.actions[k] or (lock.reasons and decision.reason != why):
            told = decision.reason if lock.reasons else ""
            wanted, got = (_told(logic.actions, action) for action in (lock.actions[k], decided))
            found.append(Difference(lock.first + i, wanted, got, why, told, decision.fault))
    return found


def _told(actions: ActionSpace, action: Recorded) -> str:
    """For people: the name, or `hip=0.5 knee=-1.0` with every digit that counts."""
    if isinstance(action, str):
        return action
    pairs = zip_longest(actions.names, action, fillvalue="?")
    return " ".join(f"{name}={np.float32(v) if v != '?' else v}" for name, v in pairs)


@dataclass(frozen=True)
class Recording:
    """What a lock is cut from: a whole episode's scenes float32[T, size], actions (see `recorded`) and
    reasons."""

    scenes: np.ndarray
    actions: Sequence[Recorded]
    reasons: Sequence[str]


def make_scenes(
    recording: Recording, start: int, stop: int, warmup: int | None, controller: Controller, reasons: bool = False,
    **about: Any,
) -> ScenesLock:  # fmt: skip
    """A lock on the decisions of steps `start` .. `stop` - 1, verified with the present logic.

    `warmup` None takes the shortest of 16, 32, 64 ... steps that does. `about`: name, task, protocol, note, triune,
    source. LogicError when the logic, from fresh memory, does not give the recorded decisions; it says what would do.
    """
    if not 0 <= start < stop <= len(recording.scenes):
        raise LogicError(f"steps {start} to {stop - 1} are not all in this episode: 0 to {len(recording.scenes) - 1}")

    def cut(w: int) -> ScenesLock:
        told = tuple(recording.reasons[start:stop]) if reasons else None
        return ScenesLock(
            schema=controller.logic.schema.fingerprint, warmup=w, first=start - w,
            scenes=np.array(recording.scenes[start - w : stop], np.float32),
            actions=tuple(recording.actions[start:stop]), reasons=told, **about,
        )  # fmt: skip

    tries = list(_lengths(start)) if warmup is None else [min(warmup, start)]
    for w in tries:
        wrong = check_scenes(cut(w), controller)
        if not wrong:
            return cut(w)
    longer = [w for w in _lengths(start) if w > tries[-1]]
    enough = next((w for w in longer if not check_scenes(cut(w), controller)), None)
    if enough is not None:
        raise LogicError(f"after {tries[-1]} steps of warm-up {wrong[0]}; --warmup {enough} is enough")
    raise LogicError(
        f"even from the start of the episode {wrong[0]}: the logic has changed since it was recorded; play it again"
    )


def _lengths(most: int) -> Iterator[int]:
    """16, 32, 64 ... and the longest there is."""
    w = 16
    while w < most:
        yield w
        w *= 2
    yield most
