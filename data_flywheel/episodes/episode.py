"""The record of one game: what was believed, decided, overruled and scored at every step.

`play`, `eval`, `explain`, `lock` and `report` use it. Step t: from scene `scenes[t]` the controller decided
`actions[t]`; `scores[t]` and `lives[t]` are the game's after that action.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from data_flywheel.errors import DataError
from data_flywheel.storage.container import Arrays, pack, read_bytes, sound, unpack
from data_flywheel.storage.files import atomic_write
from data_flywheel.storage.frames import CodedFrames, Frames, stored_frames
from envs import shape
from envs.actions import Action

KIND, VERSION = "triune episode", 1
_REMEDY = "play the game again from its seed"
_BARE = re.compile(r",(?! )")
CHUNK = 1024  # scenes of a running game that stand in one array
_COLUMNS = ("scenes", "actions", "proposed", "reasons", "overruled", "faults", "scores", "lives")
_TABLES = ("reason_table", "overruled_table", "fault_table")
_KINDS = {  # of numbers, and how many axes; the others are one row of whole numbers
    "scenes": ("f", (2,)), "actions": ("iuf", (1, 2)), "proposed": ("iuf", (1, 2)), "scores": ("iuf", (1,)),
}  # fmt: skip
MADE_OF = {  # what repeats a game
    "task": shape.name, "protocol": shape.name, "seed": shape.whole(0, 2**31 - 1), "shift": shape.maybe(shape.text),
    "eyes": shape.text,
}  # fmt: skip
TOLD = {  # what its referee told
    "score": shape.number(), "lives_at_end": shape.number(), "frames": shape.whole(0), "finished": shape.flag,
    "seconds": shape.number(0),
}  # fmt: skip
_ALARM = shape.table({
    "level": shape.one_of("ok", "changed", "failing"), "since": shape.named(shape.whole(0)),
    "words": shape.each(shape.words),
})  # fmt: skip


def _drift(value: Any, key: str) -> None:
    """A report of the drift watch: an alarm has its step."""
    _ALARM(value, key)
    if value["level"] not in ("ok", *value["since"]):
        raise shape.Misfit(f"{key}.since has no step for {value['level']!r}")


_META = {
    **MADE_OF, **TOLD, "drift": _drift, "source": shape.text, "truncated": shape.flag,
    "source_bytes": shape.whole(0), "numbers": shape.each(shape.whole(0)), "at": shape.number(),
    **dict.fromkeys(("schema", "policy", "safety", "weights", "triune"), shape.maybe(shape.text)),
}  # fmt: skip
_FIELDS = shape.table({"meta": shape.table({}, _META), **dict.fromkeys(_TABLES, shape.each(shape.words, 1))})


@dataclass(frozen=True)
class Episode:
    """T steps of one game. Tables hold each text once; index 0 of every table is "" (nothing).

    meta      JSON values; by convention task, protocol, seed, shift, eyes, schema (fingerprint), policy (hash),
              triune (version), score (final), frames (simulated frames)
    """

    meta: dict[str, Any]
    scenes: NDArray[np.float32]  # [T, schema.size]
    actions: NDArray[Any]  # uint8[T] named, or float32[T, n] controls: what was sent
    proposed: NDArray[Any]  # the same: what the policy wanted
    reasons: NDArray[np.uint16]  # [T] index into reason_table
    overruled: NDArray[np.uint16]  # [T] index into overruled_table, 0 = nobody
    faults: NDArray[np.uint16]  # [T] index into fault_table, 0 = none
    scores: NDArray[Any]  # int32[T], or float64[T] of what is no such number
    lives: NDArray[np.int32]  # [T]
    reason_table: tuple[str, ...] = ("",)
    overruled_table: tuple[str, ...] = ("",)
    fault_table: tuple[str, ...] = ("",)
    frames: Frames | CodedFrames | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Refuse columns of unequal length or another kind, and ids outside their table."""
        for name in _COLUMNS:
            column = getattr(self, name)
            kinds, axes = _KINDS.get(name, ("iu", (1,)))
            if column.dtype.kind not in kinds or column.ndim not in axes:
                raise DataError(f"episode {name} cannot be {column.dtype} of {column.ndim} axes")
        lengths = {name: len(getattr(self, name)) for name in _COLUMNS}
        if len(set(lengths.values())) > 1:
            raise DataError(f"episode columns differ in length: {lengths}")
        if self.actions.shape != self.proposed.shape:
            raise DataError(f"episode actions are {self.actions.shape}, those proposed {self.proposed.shape}")
        if self.frames is not None and len(self.frames) != len(self):
            raise DataError(f"episode has {len(self)} steps but {len(self.frames)} frames")
        for name, table in (("reasons", "reason_table"), ("overruled", "overruled_table"), ("faults", "fault_table")):
            ids = getattr(self, name)
            if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < len(getattr(self, table)):
                raise DataError(f"episode {name} point outside {table} ({len(getattr(self, table))} entries)")

    def __len__(self) -> int:
        """Number of steps."""
        return len(self.actions)

    def reason(self, step: int) -> str:
        """The policy's reason at a step."""
        return self.reason_table[int(self.reasons[step])]

    def overruled_by(self, step: int) -> str:
        """The safety rules that changed the action at a step, comma-separated; "" when none did."""
        return self.overruled_table[int(self.overruled[step])]

    def fault(self, step: int) -> str:
        """The fault of the policy at a step; "" when there was none."""
        return self.fault_table[int(self.faults[step])]

    def rewards(self) -> NDArray[Any]:
        """int64[T] or float64[T]: what each step changed the score by; a game starts at 0."""
        whole = np.issubdtype(self.scores.dtype, np.integer)
        return np.diff(self.scores.astype(np.int64 if whole else np.float64), prepend=0)

    def losses(self) -> list[int]:
        """Steps at which a life or a point was lost."""
        worse = (np.diff(self.lives) < 0) | (setbacks(self.rewards())[1:] < 0)
        return [int(i) + 1 for i in np.flatnonzero(worse)]

    def interventions(self) -> dict[str, int]:
        """How often each safety rule (or combination of rules) changed the action."""
        return _tally(self.overruled, self.overruled_table)

    def reason_counts(self) -> dict[str, int]:
        """How often each reason was given."""
        return _tally(self.reasons, self.reason_table)

    def to_bytes(self, level: int = 6) -> bytes:
        """The content of its file. `level`: of compression."""
        arrays: Arrays = {name: getattr(self, name) for name in _COLUMNS}
        if self.frames is not None:
            arrays |= {f"frames.{name}": array for name, array in self.frames.to_arrays().items()}
        tables = {name: list(getattr(self, name)) for name in _TABLES}
        return pack(KIND, VERSION, {"meta": self.meta, **tables}, arrays, level)

    def save(self, path: str | Path) -> Path:
        """Write atomically; the written path."""
        atomic_write(Path(path), self.to_bytes())
        return Path(path)

    @staticmethod
    def load(path: str | Path) -> Episode:
        """Read and verify. DataError: missing, damaged, checksum mismatch, another version, no record of a game."""
        fields, arrays = unpack(read_bytes(Path(path), KIND), KIND, VERSION, str(path), _REMEDY)
        with sound(str(path), KIND, _REMEDY):
            _FIELDS(fields, "")
            stored = {name[7:]: array for name, array in arrays.items() if name.startswith("frames.")}
            frames = stored_frames(stored) if stored else None
            rest: dict[str, Any] = {name: arrays[name] for name in _COLUMNS}
            rest |= {name: tuple(fields[name]) for name in _TABLES}
            return Episode(fields["meta"], **rest, frames=frames)


class DecisionLike(Protocol):
    """What the recorder needs of a decision (the controller's `Decision` has it). overruled_by: "", None or names."""

    action: Action
    reason: str
    proposed: Action


DENSE_STEPS, DENSE = 32, 0.5  # from so many steps, and so large a share of them that change the score, on
FAR_BELOW = 3.0  # standard deviations, also as the median absolute deviation estimates them


def dense(change: NDArray[Any]) -> bool:
    """Whether nearly every step changes the score, so that a change alone is no event."""
    return len(change) >= DENSE_STEPS and bool(np.count_nonzero(change) > DENSE * len(change))


def floor_of(change: NDArray[Any]) -> float:
    """The change of score below which a step of this episode lost something: 0, or where nearly every step changes the
    score, what is far worse than most."""
    if not dense(change):
        return 0.0
    middle = float(np.median(change))
    spread = 1.4826 * float(np.median(np.abs(change - middle)))
    # a goal held for long leaves a median of next to none, hence the spread of all steps, too
    return middle - FAR_BELOW * max(spread, float(change.std()), 0.05 * abs(middle))


def setbacks(change: NDArray[Any]) -> NDArray[Any]:
    """By how much each change of score was a loss, as a number below 0; else 0. Where nearly every step changes the
    score (a cost of moving, a point for every step upright), that is by how much a step is far worse than most."""
    return np.minimum(change - floor_of(change), 0)


class EpisodeRecorder:
    """Collects steps while a game is played and makes the Episode at its end."""

    def __init__(self, meta: Mapping[str, Any], keep_frames: bool = False) -> None:
        """`keep_frames`: store the frames too (palette-coded); else regenerate them from seed and actions."""
        self.meta = dict(meta)
        self._tables = {"reason": {"": 0}, "overruled": {"": 0}, "fault": {"": 0}}
        self._rows: list[tuple[int, ...]] = []
        self._last: DecisionLike | None = None
        self._ids: tuple[int, ...] = ()
        self._actions: list[Action] = []
        self._proposed: list[Action] = []
        self._scores: list[float] = []
        self._scenes: list[NDArray[np.float32]] = []  # CHUNK rows each
        self._frames: list[NDArray[np.uint8]] | None = [] if keep_frames else None

    def add(
        self, scene: NDArray[np.float32], decision: DecisionLike, score: float, lives: int,
        frame: NDArray[np.uint8] | None = None,
    ) -> None:  # fmt: skip
        """One step: the scene vector acted on, the decision, score and lives after the action."""
        if decision is not self._last:  # many are the very same as the one before
            self._ids = (
                self._intern("reason", decision.reason),
                self._intern("overruled", _names(getattr(decision, "overruled_by", ""))),
                self._intern("fault", _names(getattr(decision, "fault", ""))),
            )
            self._last = decision
        row = len(self._rows) % CHUNK
        if not row:
            self._scenes.append(np.empty((CHUNK, *np.shape(scene)), np.float32))
        self._scenes[-1][row] = scene
        self._rows.append((*self._ids, lives))
        self._actions.append(decision.action)
        self._proposed.append(decision.proposed)
        self._scores.append(score)
        if self._frames is not None and frame is not None:
            self._frames.append(np.array(frame, np.uint8))

    def blame(self, steps: Sequence[int], fault: str) -> None:
        """A fault that came out after the steps were taken; one that a step has already stays."""
        for step in steps:
            reason, overruled, known, lives = self._rows[step]
            self._rows[step] = (reason, overruled, known or self._intern("fault", fault), lives)

    def finish(self, scores: Sequence[float] | None = None, lives: Sequence[int] | None = None, **meta: Any) -> Episode:
        """The Episode. `scores` and `lives` replace what was recorded (a blind game tells late); `meta` is added."""
        rows = np.array(self._rows, np.int64).reshape(-1, 4)
        scenes = np.concatenate(self._scenes)[: len(rows)] if self._scenes else np.zeros((0, 0), np.float32)
        return Episode(
            meta={**self.meta, **meta},
            scenes=scenes,
            actions=_column(self._actions),
            proposed=_column(self._proposed),
            reasons=rows[:, 0].astype(np.uint16),
            overruled=rows[:, 1].astype(np.uint16),
            faults=rows[:, 2].astype(np.uint16),
            scores=_numbers(self._scores if scores is None else scores),
            lives=np.asarray(rows[:, 3] if lives is None else lives, np.int32),
            reason_table=tuple(self._tables["reason"]),
            overruled_table=tuple(self._tables["overruled"]),
            fault_table=tuple(self._tables["fault"]),
            frames=Frames.from_rgb(np.stack(self._frames)) if self._frames else None,
        )

    def _intern(self, table: str, text: str) -> int:
        known = self._tables[table]
        return known.setdefault(text, len(known))


def _column(actions: Sequence[Action]) -> NDArray[Any]:
    """uint8[T] of named actions, float32[T, n] of vectors."""
    if actions and isinstance(actions[0], np.ndarray):
        return np.stack([np.asarray(a, np.float32) for a in actions])
    return np.array([int(a) for a in actions], np.int64).astype(np.uint8)


def _numbers(scores: Sequence[float]) -> NDArray[Any]:
    """int32[T] of whole numbers that fit, as games count, else float64[T]."""
    values = np.asarray(scores, np.float64)
    whole = not len(values) or bool(np.isfinite(values).all() and (values == np.rint(values)).all())
    return values.astype(np.int32) if whole and np.abs(values).max(initial=0) < 2**31 else values


def _names(value: Any) -> str:
    """Nothing as "", a text as it is, several names joined by commas; `rules_in` takes them apart."""
    if not value:
        return ""
    if isinstance(value, (tuple, list)):
        return ",".join(_BARE.sub(";", str(name)) for name in value)
    return str(value)


def rules_in(text: str) -> list[str]:
    """The names of rules that a record tells in one text: a comma of their own has a space after it."""
    return _BARE.split(text) if text else []


def _tally(ids: NDArray[np.uint16], table: tuple[str, ...]) -> dict[str, int]:
    counts = np.bincount(ids, minlength=len(table))
    return {text: int(count) for text, count in zip(table, counts, strict=True) if count and text}
