"""Regression tests of a policy: recorded moments whose decisions must not change, and score floors."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from envs.actions import Action, ActionSpace, Discrete
from envs.files import decoded, loads, read_file, stays
from envs.writing import atomic_write
from logic.errors import LogicError
from logic.runtime.controller import Controller
from perception.scene import SceneSchema

# ----------------------------------------------------------------------------------------------------
# The file of a lock: one JSON text, one step a line, exact to the bit; read back with clear errors.
#
# Each step of a scenes lock holds the scene values that differ from the step before, as the shortest text that
# gives the same float32. An action is its name, or a list of float32 written the same way.


FORMAT = 1
FOLDER = "locks"
MOST_BYTES = 100_000  # written: what is larger is no moment any more
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,59}\Z")
_AGAIN = "restore the file, or make it again with `triune lock`"
_ODD = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}  # JSON has no words for them


Recorded = str | tuple[float, ...]  # an action: its name, or the values of its controls


def recorded(actions: ActionSpace, action: Action) -> Recorded:
    """An action as locks keep it."""
    if isinstance(actions, Discrete):
        return actions.tell(action)
    return tuple(np.asarray(action, np.float32).tolist())


@dataclass(frozen=True)
class FloorLock:
    """On `seed` under `protocol` the score must not fall below `floor`; `scored` is what it was at the time."""

    name: str
    task: str
    protocol: str
    seed: int
    floor: float
    scored: float
    detector: str = "cnn"
    shift: str | None = None
    note: str = ""
    triune: str = ""
    source: Mapping[str, Any] = field(default_factory=dict)
    kind: str = "floor"


@dataclass(frozen=True)
class ScenesLock:
    """Scenes float32[T, size] from episode step `first` on, and what must be decided on those after the warm-up.

    `actions` (see `recorded`) and `reasons` have T - warmup entries; reasons is None when they may change.
    """

    name: str
    task: str
    protocol: str
    schema: str
    warmup: int
    first: int
    scenes: np.ndarray
    actions: tuple[Recorded, ...]
    reasons: tuple[str, ...] | None = None
    note: str = ""
    triune: str = ""
    source: Mapping[str, Any] = field(default_factory=dict)
    kind: str = "scenes"

    @property
    def compared(self) -> range:
        """Episode steps whose decisions count."""
        return range(self.first + self.warmup, self.first + len(self.scenes))

    @property
    def digest(self) -> str:
        """sha256 over scenes and expectations: tells a damaged file."""
        told = json.dumps([self.protocol, self.schema, self.warmup, self.first, self.actions, self.reasons])
        return hashlib.sha256(told.encode() + np.ascontiguousarray(self.scenes, "<f4").tobytes()).hexdigest()


Lock = FloorLock | ScenesLock


def check_schema(fingerprint: str, schema: SceneSchema, name: str) -> None:
    """LogicError when the lock's scenes are not this task's."""
    if fingerprint != schema.fingerprint:
        raise LogicError(
            f"lock {name}: made for another scene schema ({fingerprint[:12]}, this task has "
            f"{schema.fingerprint[:12]}); make it again with `triune lock`, or remove it"
        )


def files(folder: Path) -> list[Path]:
    """The lock files of a task's folder; LogicError when they would be those of another folder."""
    return sorted(stays(folder / FOLDER, folder, LogicError).glob("*.json"))


def path_of(folder: Path, name: str) -> Path:
    """Where a lock of this name belongs; LogicError when the name will not do."""
    if not _NAME.match(name):
        raise LogicError(f"{name!r} cannot name a lock; use lower-case letters, digits, - and _, for example late-save")
    return stays(folder / FOLDER, folder, LogicError) / f"{name}.json"


def write(lock: Lock, path: Path, schema: SceneSchema) -> Path:
    """Write so that `path` holds the old content or all of the new. LogicError when it is too large."""
    payload = text_of(lock, schema).encode()
    if len(payload) > MOST_BYTES:
        raise LogicError(
            f"this lock would take {len(payload) // 1000} kB (at most {MOST_BYTES // 1000}); "
            "take a shorter window or a shorter warm-up"
        )
    atomic_write(path, payload)
    return path


def text_of(lock: Lock, schema: SceneSchema) -> str:
    """The file's text."""
    if isinstance(lock, FloorLock):
        return json.dumps({"format": FORMAT, **_head(lock)}, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    head = {"format": FORMAT, **_head(lock), "digest": lock.digest}
    lines = [f" {_json(key)}: {_json(value)}," for key, value in head.items()]
    steps = ",\n".join(f"  {_json(record)}" for record in _records(lock, schema))
    return "\n".join(["{", *lines, ' "steps": [', steps, " ]", "}", ""])


def _head(lock: Lock) -> dict[str, Any]:
    """Everything but name and steps, the kind first."""
    skipped = {"name", "kind", "scenes", "actions", "reasons", "first"}
    key = {"detector": "eyes"}  # the files' word
    return {"kind": lock.kind} | {key.get(k, k): v for k, v in vars(lock).items() if k not in skipped}


def _json(value: Any) -> str:
    return json.dumps(value, allow_nan=False, ensure_ascii=False)


def _records(lock: ScenesLock, schema: SceneSchema) -> Iterator[dict[str, Any]]:
    before = schema.empty()
    for i, vector in enumerate(lock.scenes):
        record: dict[str, Any] = {"step": lock.first + i}
        k = i - lock.warmup
        if k >= 0:
            action = lock.actions[k]
            record["action"] = action if isinstance(action, str) else [_number(np.float32(v)) for v in action]
            if lock.reasons is not None:
                record["reason"] = lock.reasons[k]
        differ = np.flatnonzero(before.view(np.uint32) != vector.view(np.uint32))
        record["scene"] = {schema.names[j]: _number(vector[j]) for j in differ.tolist()}
        before = vector
        yield record


def _number(value: np.float32) -> float | str:
    """A JSON number that reads back as the same float32, as short as it can be."""
    if not np.isfinite(value):
        return "nan" if np.isnan(value) else "inf" if value > 0 else "-inf"
    short = float(str(value))
    return short if np.float32(short) == value else float(value)


def read(path: Path, schema: SceneSchema) -> Lock:
    """A lock file; LogicError says what is wrong with it: damaged, of a newer format, for another schema."""
    payload = decoded(read_file(path, "lock", LogicError, path.parent), str(path), "lock", LogicError)
    try:
        told = loads(payload, parse_constant=_no_constant)
        if not isinstance(told, dict):
            raise ValueError("not an object")
        _check_format(told, path)
        return _floor(told, path.stem) if told["kind"] == "floor" else _scenes(told, path, schema)
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        what = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise LogicError(f"{path}: damaged lock ({what}); {_AGAIN}") from error


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _check_format(told: dict[str, Any], path: Path) -> None:
    version, kind = told["format"], told["kind"]
    if not isinstance(version, int) or version < 1:
        raise ValueError(f"format {version!r}")
    if version > FORMAT:
        raise LogicError(f"{path}: lock format {version}, but this program reads format {FORMAT}; update Triune")
    if kind not in ("floor", "scenes"):
        raise ValueError(f"kind {kind!r} is neither scenes nor floor")


def _of(told: dict[str, Any], key: str, kind: type[Any] | tuple[type[Any], ...]) -> Any:
    value = told[key]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ValueError(f"{key} is {value!r}, a {'number' if isinstance(kind, tuple) else kind.__name__} is needed")
    return value


def _action(record: dict[str, Any]) -> Recorded:
    value = record["action"]
    if isinstance(value, list) and value and all(type(v) in (int, float) for v in value):
        return tuple(np.asarray(value, np.float32).tolist())
    return str(_of(record, "action", str))


def _common(told: dict[str, Any], name: str) -> dict[str, Any]:
    texts = {key: _of(told, key, str) for key in ("task", "protocol", "note", "triune")}
    return {"name": name, **texts, "source": _of(told, "source", dict)}


def _floor(told: dict[str, Any], name: str) -> FloorLock:
    numbers = {key: _of(told, key, (int, float)) for key in ("floor", "scored")} | {"seed": _of(told, "seed", int)}
    if not all(map(math.isfinite, numbers.values())):
        raise ValueError("floor and scored are finite numbers")
    shift = None if told["shift"] is None else _of(told, "shift", str)
    return FloorLock(**_common(told, name), **numbers, detector=_of(told, "eyes", str), shift=shift)


def _scenes(told: dict[str, Any], path: Path, schema: SceneSchema) -> ScenesLock:
    fingerprint = _of(told, "schema", str)
    check_schema(fingerprint, schema, path.stem)
    steps, warmup = _of(told, "steps", list), _of(told, "warmup", int)
    if not 0 <= warmup < len(steps):
        raise ValueError(f"a warm-up of {warmup} steps in a window of {len(steps)}")
    places = {name: i for i, name in enumerate(schema.names)}
    vector, vectors = schema.empty(), []
    for record in steps:
        vector = vector.copy()
        for name, value in _of(record, "scene", dict).items():
            vector[places[name]] = _ODD[value] if isinstance(value, str) else value
        vectors.append(vector)
    late = steps[warmup:]
    reasons = tuple(_of(r, "reason", str) for r in late) if "reason" in late[0] else None
    lock = ScenesLock(
        **_common(told, path.stem), schema=fingerprint, warmup=warmup, first=_of(steps[0], "step", int),
        scenes=np.array(vectors, np.float32), actions=tuple(map(_action, late)), reasons=reasons,
    )  # fmt: skip
    if lock.digest != told["digest"]:
        raise ValueError("its digest does not fit its steps")
    return lock


# ----------------------------------------------------------------------------------------------------
# Locks: recorded moments whose decisions must not change, and score floors. One text file each.
#
# A `scenes` lock starts from fresh memory; its first `warmup` steps are run but not compared, since a policy that
# comes in half-way first has to find its bearings.


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
    return " ".join(f"{name}={np.float32(v) if v != '?' else v!s}" for name, v in pairs)


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
