"""What a person expects to be done, as marks on a film's timeline: STOP here, PUSH_LEFT once within these pictures.

A clip is a stretch of a film with its marks. Where nothing has a score, agreement with the marks is that of a clip.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_flywheel.errors import DataError
from data_flywheel.storage.container import sound
from data_flywheel.storage.files import atomic_write
from envs import shape
from envs.actions import ActionSpace
from envs.errors import EnvError
from envs.files import read_json

KIND, VERSION = "triune expected actions", 1
FILE = "expected.json"  # in the folder of a task's labels
_REMEDY = 'write {"kind": "triune expected actions", "version": 1, "clips": [...]} (docs/camera.md)'
_MARK = shape.table(
    {"action": shape.text, "from": shape.whole(0), "to": shape.whole(0)}, {"once": shape.flag},
)  # fmt: skip
_CLIP = shape.table(
    {"from": shape.whole(0), "to": shape.whole(0), "expected": shape.each(_MARK)},
    {"film": shape.text, "otherwise": shape.text},
)
_FILE = shape.table({"kind": shape.one_of(KIND), "version": shape.whole(VERSION, VERSION), "clips": shape.each(_CLIP)})


@dataclass(frozen=True)
class Mark:
    """Pictures `first` to `last` of a film: the action is done on all of them, or (`once`) on at least one."""

    action: str
    first: int
    last: int
    once: bool = False


@dataclass(frozen=True)
class Clip:
    """Pictures `first` to `last` of a film ("": the only one). `otherwise`: what is done on pictures without a mark,
    and beside the action within a mark that wants it once; "": whatever it is, it is not judged."""

    film: str
    first: int
    last: int
    marks: tuple[Mark, ...]
    otherwise: str = ""

    def wrong(self, numbers: Sequence[int], done: Sequence[str]) -> NDArray[np.int64]:
        """int64[T]: how much was wrong on each picture. One where another action was expected; the last picture of a
        mark whose action never came counts as many as the mark has. `done`: names of actions on pictures `numbers`."""
        found = np.zeros(len(numbers), np.int64)
        at, acted = np.asarray(numbers), np.asarray(done)
        free = np.ones(len(numbers), bool)
        for mark in self.marks:
            inside = (at >= mark.first) & (at <= mark.last)
            free &= ~inside
            right = acted == mark.action
            if not mark.once:
                found += inside & ~right
                continue
            if self.otherwise:
                found += inside & ~right & (acted != self.otherwise)
            if inside.any() and not (inside & right).any():
                found[np.flatnonzero(inside)[-1]] = int(inside.sum())
        if self.otherwise:
            found += free & (acted != self.otherwise)
        return found


def read_clips(path: str | Path, actions: ActionSpace) -> list[Clip]:
    """The clips of a file, in order. DataError: no such file, an action that the task does not have (with the nearest),
    a mark outside its clip, marks or clips that overlap."""
    told = read_json(Path(path), KIND, DataError, _REMEDY)
    with sound(str(path), KIND, _REMEDY):
        _FILE(told, "")
    clips = []
    for number, one in enumerate(told["clips"], 1):
        marks = [Mark(m["action"], m["from"], m["to"], m.get("once", False)) for m in one["expected"]]
        clip = Clip(one.get("film", ""), one["from"], one["to"], tuple(marks), one.get("otherwise", ""))
        _check(clip, actions, f"{path}, clip {number}")
        clips.append(clip)
    apart(clips, path)
    return clips


def apart(clips: list[Clip], path: str | Path) -> None:
    """Sort clips; DataError where two of one film overlap."""
    clips.sort(key=lambda c: (c.film, c.first))
    for a, b in zip(clips, clips[1:], strict=False):
        if a.film == b.film and b.first <= a.last:
            raise DataError(
                f"{path}: the clips from {a.first} to {a.last} and from {b.first} to {b.last} overlap; a picture "
                "belongs to one clip, since every clip counts as a trial of its own"
            )


def _check(clip: Clip, actions: ActionSpace, where: str) -> None:
    if clip.first > clip.last or not (clip.marks or clip.otherwise):
        raise DataError(f'{where}: a clip goes from a picture to a later one, and has marks or an "otherwise"')
    try:
        for name in (*(m.action for m in clip.marks), *([clip.otherwise] if clip.otherwise else [])):
            actions.parse(name)
    except EnvError as error:
        raise DataError(f"{where}: {error}") from None
    before = clip.first
    for mark in sorted(clip.marks, key=lambda m: m.first):
        if not before <= mark.first <= mark.last <= clip.last:
            raise DataError(
                f"{where}: the mark {mark.action} from {mark.first} to {mark.last} lies outside the clip "
                f"({clip.first} to {clip.last}), or over another mark"
            )
        before = mark.last + 1


def write_clips(path: str | Path, clips: Sequence[Clip]) -> None:
    """The same file again."""
    rows = []
    for clip in clips:
        marks = [{"action": m.action, "from": m.first, "to": m.last, **({"once": True} if m.once else {})}
                 for m in clip.marks]  # fmt: skip
        told = {k: v for k, v in asdict(clip).items() if k in ("film", "otherwise") and v}
        rows.append({**told, "from": clip.first, "to": clip.last, "expected": marks})
    whole = {"kind": KIND, "version": VERSION, "clips": rows}
    atomic_write(Path(path), (json.dumps(whole, indent=1) + "\n").encode())


def merged(old: Sequence[Clip], new: Sequence[Clip]) -> list[Clip]:
    """The new clips, and the old ones of films that no new one is of."""
    films = {clip.film for clip in new}
    return sorted([*(c for c in old if c.film not in films), *new], key=lambda c: (c.film, c.first))
