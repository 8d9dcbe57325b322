"""A task folder's `teacher.py`: labels from privileged state, for training and explicit comparison, never in play."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_flywheel.errors import DataError
from envs.spec import load_spec
from perception.scene import SceneSchema

# ----------------------------------------------------------------------------------------------------
# Load a system folder's `teacher.py`: labels from privileged state, for training and explicit evaluation only.
#
# This runs ordinary Python from the folder, so it happens only when the folder's owner asks to collect, audit,
# blame or evaluate with the teacher.


U8 = NDArray[np.uint8]
Vector = NDArray[np.float32]


@dataclass(frozen=True)
class Teacher:
    """A labeller bound to its schema.

    label(ram uint8[128], frame uint8[H, W, 3]) -> float32[size]; scripted(ram, rng) -> action index;
    poke(ram, rng) -> {byte: value}; unexplained(ram, frame, vector) -> pixels the label does not account for
    (0 when the teacher has no such check); digest: sha256 of its source.
    """

    label: Callable[[U8, U8], Vector]
    scripted: Callable[[U8, np.random.Generator], int]
    poke: Callable[[U8, np.random.Generator], dict[int, int]]
    unexplained: Callable[[U8, U8, Vector], int]
    digest: str
    schema: SceneSchema


def load_teacher(folder: str | Path) -> Teacher:
    """The teacher of a system (folder or name). DataError: none there, it does not load, a function is missing."""
    spec = load_spec(folder)
    path, schema = spec.folder / "teacher.py", SceneSchema.from_config(spec.scene)
    try:
        source = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: no teacher to label with ({error}); write one or use `triune discover`") from error
    module = _load(path)
    missing = [name for name in ("label", "scripted", "poke") if not callable(getattr(module, name, None))]
    if missing:
        raise DataError(f"{path}: missing {', '.join(missing)}; a teacher defines label, scripted and poke")
    check = getattr(module, "unexplained", None)
    return Teacher(
        label=lambda ram, frame: module.label(ram, frame, schema),
        scripted=module.scripted,
        poke=module.poke,
        unexplained=(lambda ram, frame, vector: int(check(ram, frame, vector, schema))) if check else lambda *_: 0,
        digest=hashlib.sha256(source).hexdigest(),
        schema=schema,
    )


def _load(path: Path) -> Any:
    name = f"triune_teacher_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise DataError(f"{path}: the teacher does not load: {type(error).__name__}: {error}") from error
    return module


# ----------------------------------------------------------------------------------------------------
# The teacher as an observer inside the emulator process: exact scenes beside the frames, for evaluation only.
#
# `envs.remote.Observer("data_flywheel.labelers.teacher:teacher", folder, schema.size)` names it. Nothing that
# plays for a score may use it; `triune eval --eyes teacher` and blame do, and say so.


def teacher(folder: str) -> Callable[[Mapping[str, NDArray[Any]], NDArray[np.uint8]], NDArray[np.float32]]:
    """(truth, frame) -> Scene vector float32[size] of the system in `folder`."""
    label = load_teacher(folder).label
    return lambda truth, frame: label(truth["ram"], frame)
