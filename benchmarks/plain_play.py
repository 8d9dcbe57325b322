"""Ordinary play with labels, every frame of it, in order: what a camera would see that nobody filters.

Knows the emulator's privileged side and the teacher: training time only. `record.py` makes data sets to learn from, in
which rare situations are many; this makes the pools that curation chooses from, and tests of what play is like.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_flywheel.datasets.curation_pool import CONSECUTIVE
from data_flywheel.datasets.players import make_player
from data_flywheel.errors import DataError
from data_flywheel.labelers.teachers import Teacher, load_teacher
from data_flywheel.storage.dataset import Dataset, Manifest, Shard
from data_flywheel.storage.frames import Frames
from envs.backends.atari import AtariCore
from envs.protocol import Protocol, get_protocol
from envs.spec import SystemSpec


class Stretch(NamedTuple):
    """Steps `start` to `start + length` of the game of `seed` (fewer when it ends before)."""

    seed: int
    start: int
    length: int


def record(spec: SystemSpec, folder: str | Path, stretches: Sequence[Stretch], player: str = "policy") -> Dataset:
    """A data set of stretches, one shard each, under the task's own protocol; one that is there already is kept.

    A frame whose label does not account for the picture is left out, and the shard is then not consecutive.
    DataError: the folder holds other stretches.
    """
    teacher, protocol = load_teacher(spec.folder), get_protocol(spec.env.protocol)
    extra = {"plain play": [list(s) for s in stretches], "player": player, "protocol": protocol.name}
    schema = teacher.schema
    manifest = Manifest(
        spec.name, schema.to_config(), schema.fingerprint, teacher.digest, "", len(stretches), extra
    )  # fmt: skip
    folder = Path(folder)
    there = (folder / "manifest.json").exists()
    dataset = Dataset(folder) if there else Dataset.create(folder, manifest)
    if {**dataset.manifest.extra, **extra} != dataset.manifest.extra or dataset.manifest.teacher != teacher.digest:
        raise DataError(f"{folder} holds other play; remove it or name another folder")
    core = AtariCore(spec.env, protocol)
    for number in dataset.missing():
        dataset.write(_shard(number, stretches[number], _play(spec, teacher, core, stretches[number], player), player))
    return dataset


Row = tuple[NDArray[np.uint8], NDArray[np.float32], int, NDArray[np.uint8], bool]


def _play(spec: SystemSpec, teacher: Teacher, core: AtariCore, stretch: Stretch, name: str) -> Iterator[Row]:
    """Frame, label, the action that led there, RAM, whether the label accounts for the picture."""
    player = _player(spec, teacher, core.protocol, stretch.seed, name)
    window, action = [core.reset(stretch.seed)], 0
    for step in range(stretch.start + stretch.length):
        ram, frame = core.ram(), window[-1]
        vector = teacher.label(ram, frame)
        if step >= stretch.start:
            good = not teacher.unexplained(ram, frame, vector)
            yield np.maximum.reduce(window), vector, action, ram, good
        action = player(ram, vector)
        core.advance(action)
        if core.done:
            return
        window = [*window, core.frame()][-teacher.schema.window :]


def _player(spec: SystemSpec, teacher: Teacher, protocol: Protocol, seed: int, name: str) -> Any:
    return make_player(name, spec, teacher, protocol, np.random.default_rng(seed), 0.0)


def _shard(number: int, stretch: Stretch, rows: Iterator[Row], player: str) -> Shard:
    every = list(rows)
    good = [row for row in every if row[4]]
    if not good:
        raise DataError(f"the game of seed {stretch.seed} ends before step {stretch.start}; start earlier")
    frames, scenes, actions, rams, _ = zip(*good, strict=True)
    meta = {CONSECUTIVE: len(good) == len(every), "start": stretch.start, "player": player}
    return Shard(
        number, number, stretch.seed, Frames.from_rgb(np.stack(frames)), np.stack(scenes),
        np.array(actions, np.uint8), np.stack(rams), meta,
    )  # fmt: skip
