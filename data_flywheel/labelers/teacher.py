"""Who labels a task's pictures, for training and explicit comparison, never in play: `[labels]` of its system.toml
(`declared.py`), or its folder's `teacher.py`, from privileged state.

Loading a teacher.py runs ordinary Python from the folder, so it happens only when the folder's owner asks to collect,
audit, attribute failures or evaluate with the teacher.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_flywheel.errors import DataError
from data_flywheel.labelers.declared import Declared
from envs.actions import Action
from envs.files import read_file
from envs.spec import SystemSpec, load_spec
from perception.scene import SceneSchema

U8 = NDArray[np.uint8]
Vector = NDArray[np.float32]
Truth = Mapping[str, NDArray[Any]]  # what the simulator's `truth()` gives: arrays by name
Writes = Mapping[str, Any]  # for the simulator's `write`


@dataclass(frozen=True)
class Teacher:
    """A labeller bound to its schema. What a teacher leaves out is None.

    label        (truth, frame uint8[H, W, 3]) -> scene vector float32[size]
    unexplained  (truth, frame, vector) -> pixels the label does not account for; 0 when there is no such check
    scripted     (truth, rng) -> a simple player's action: an index, or a number for every control
    poke         (truth, rng) -> what to write for a rare state that play goes on from; {} for nothing
    spread       (rng) -> a whole state, drawn at random: then every frame is of a state of its own, and nobody plays
    digest       sha256 of its source
    """

    label: Callable[[Truth, U8], Vector]
    unexplained: Callable[[Truth, U8, Vector], int]
    digest: str
    schema: SceneSchema
    scripted: Callable[[Truth, np.random.Generator], Action] | None = None
    poke: Callable[[Truth, np.random.Generator], Writes] | None = None
    spread: Callable[[np.random.Generator], Writes] | None = None


def load_teacher(folder: str | Path) -> Teacher:
    """The teacher of a system (folder or name). DataError: none there, it does not load, it labels nothing."""
    spec = load_spec(folder)
    if declares(spec):
        declared = Declared(spec)
        return Teacher(
            label=lambda truth, frame: declared.vector(frame),
            unexplained=lambda truth, frame, vector: declared.surplus(frame),
            digest=declared.digest, schema=declared.schema,
        )  # fmt: skip
    path, schema = spec.folder / "teacher.py", SceneSchema.from_config(spec.scene)
    source = read_file(path, "teacher", DataError, spec.folder)
    module = _load(path, source)
    found = {name: getattr(module, name, None) for name in ("label", "unexplained", "scripted", "poke", "spread")}
    wrong = [name for name, value in found.items() if value is not None and not callable(value)]
    if found["label"] is None or wrong:
        what = f"{wrong[0]} is no function" if wrong else "missing label"
        raise DataError(f"{path}: {what}; a teacher defines label(truth, frame, schema)")
    label, check = module.label, found["unexplained"]
    return Teacher(
        label=lambda truth, frame: _checked(label(truth, frame, schema), schema, path),
        unexplained=(lambda truth, frame, vector: int(check(truth, frame, vector, schema))) if check else lambda *_: 0,
        digest=hashlib.sha256(source).hexdigest(),
        schema=schema,
        scripted=found["scripted"],
        poke=found["poke"],
        spread=found["spread"],
    )


def declares(spec: SystemSpec) -> bool:
    """Whether its system.toml says how things show; DataError when a teacher.py says it too."""
    if spec.labels and (spec.folder / "teacher.py").is_file():
        raise DataError(f"{spec.folder} has a teacher.py, and [labels] in system.toml; one labels: remove the other")
    return bool(spec.labels)


def _checked(vector: Any, schema: SceneSchema, path: Path) -> Vector:
    """A label that can be stored; DataError for another shape or a value that is not finite."""
    try:
        found = np.asarray(vector, np.float32)
    except (TypeError, ValueError):
        found = np.zeros(0, np.float32)
    if found.shape != (schema.size,) or not np.isfinite(found).all():
        what = f"shape {found.shape}" if found.shape != (schema.size,) else "values that are not finite"
        raise DataError(f"{path}: label returned {what}; it returns {schema.size} finite numbers: fill schema.empty()")
    return found


def _load(path: Path, source: bytes) -> Any:
    """The module made of exactly these bytes: an import would trust whatever lies in `__pycache__`."""
    module = ModuleType(f"triune_teacher_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}")
    module.__file__ = str(path)
    try:
        exec(compile(source, str(path), "exec"), vars(module))  # noqa: S102 - asked for by the owner
    except Exception as error:
        raise DataError(f"{path}: the teacher does not load: {type(error).__name__}: {error}") from error
    return module


def teacher(folder: str) -> Callable[[Truth, U8], Vector]:
    """(truth, frame) -> scene vector float32[size] of the system in `folder`: the teacher as an observer inside the
    simulator process (`envs.remote.Observer` names it). Nothing that plays for a score may use it."""
    return load_teacher(folder).label
