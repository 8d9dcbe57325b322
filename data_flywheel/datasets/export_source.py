"""What is exported: the games of a recording, or the shards of a data set, in one form.

Knows both formats. Does not know the formats they are exported to. A damaged episode or shard is named in `problems`
and left out; the rest is exported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_flywheel.episodes.episode import Episode
from data_flywheel.episodes.frame_buffer import KeptFrames
from data_flywheel.episodes.recorder_files import MANIFEST as RECORDING
from data_flywheel.episodes.recorder_folder import Recording
from data_flywheel.errors import DataError
from data_flywheel.splits import split_of
from data_flywheel.storage.dataset import MANIFEST, Dataset, Manifest, Shard
from perception.scene import SceneSchema

U8 = NDArray[np.uint8]
Pictures = Callable[[], Iterable[tuple[int, U8]]]  # row and uint8[H, W, 3] (a view that the next one overwrites)


@dataclass(frozen=True)
class Part:
    """One game or shard of N rows. `steps`: of the game (of a shard: its rows). `columns`: more of each row.

    In a game, `actions[i]` was decided at row i; in a shard it led to row i. `kept`: rows that have a picture.
    """

    name: str
    seed: int | None
    split: str  # "" where the seed must not teach
    meta: dict[str, Any]
    steps: NDArray[np.int64]
    scenes: NDArray[np.float32]
    actions: U8
    columns: dict[str, Any] = field(repr=False)
    kept: int = 0
    pictures: Pictures = field(default=lambda: (), repr=False)


class Source:
    """A recording folder or a data set folder, opened by what lies in it."""

    def __init__(self, folder: str | Path) -> None:
        """DataError: neither is there, a damaged manifest."""
        self.folder, self.problems = Path(folder), list[str]()
        if (self.folder / RECORDING).exists():
            recording = Recording(folder)
            self.task, self.schema, self._parts = recording.task, recording.schema, _games(recording, self.problems)
            self.kind = "recording"
        elif (self.folder / MANIFEST).exists():
            dataset = Dataset(folder)
            self.task, self.schema = dataset.manifest.task, _schema(dataset.manifest, self.folder)
            self._parts, self.kind = _shards(dataset, self.problems), "data set"
        else:
            raise DataError(
                f"{folder}: neither a recording nor a data set; make one with `triune eval TASK --record {folder}` "
                "or `triune collect TASK`"
            )

    def __iter__(self) -> Iterator[Part]:
        """Every part that can be read, once."""
        return self._parts


def _games(recording: Recording, problems: list[str]) -> Iterator[Part]:
    for name in recording.names():
        try:
            episode, frames = recording.episode(name), recording.frames(name)
        except DataError as error:
            problems.append(str(error))
            continue
        yield _game(name, episode, frames)
    problems += [text for text in recording.problems if text not in problems]


def _game(name: str, episode: Episode, frames: KeptFrames | None) -> Part:
    columns = {
        "proposed": episode.proposed,
        "reason": [episode.reason_table[i] for i in episode.reasons],
        "overruled": [episode.overruled_table[i] for i in episode.overruled],
        "fault": [episode.fault_table[i] for i in episode.faults],
        "score": episode.scores,
        "lives": episode.lives,
    }
    seed, kept = episode.meta.get("seed"), len(frames) if frames is not None else 0
    pictures: Pictures = (lambda: frames) if frames is not None else tuple
    if episode.frames is not None:  # of a film
        own, kept = episode.frames, len(episode)
        pictures = lambda: ((step, own.rgb(step)) for step in range(len(own)))  # noqa: E731
    steps = np.arange(len(episode))
    return Part(name, seed, _split(seed), episode.meta, steps, episode.scenes, episode.actions, columns, kept, pictures)


def _shards(dataset: Dataset, problems: list[str]) -> Iterator[Part]:
    for number in dataset.numbers():
        try:
            shard = dataset.read(number)
        except DataError as error:
            problems.append(str(error))
            continue
        yield _shard(shard, dataset.manifest)


def _shard(shard: Shard, manifest: Manifest) -> Part:
    name = f"{manifest.task}-seed{shard.seed}-shard{shard.number}"  # as `DatasetFrames` names it
    rows, columns = np.arange(len(shard)), {"ram": [ram.tobytes() for ram in shard.rams]}
    meta = {"task": manifest.task, "teacher": manifest.teacher, "triune": manifest.triune, **shard.meta}

    def pictures() -> Iterator[tuple[int, U8]]:
        return ((row, shard.frames.rgb(row)) for row in range(len(shard)))

    return Part(name, shard.seed, shard.split, meta, rows, shard.scenes, shard.actions, columns, len(shard), pictures)


def _split(seed: int | None) -> str:
    try:
        return split_of(seed) if seed is not None else ""
    except DataError:
        return ""


def _schema(manifest: Manifest, folder: Path) -> SceneSchema:
    """Of the manifest, whose JSON is sorted: the order of things is found again by the fingerprint."""
    from envs.errors import EnvError
    from envs.spec import load_spec

    schema = SceneSchema.from_config(manifest.schema)
    with suppress(EnvError):  # a task that is not here is told below
        if schema.fingerprint != manifest.fingerprint:
            schema = SceneSchema.from_config(load_spec(manifest.task).scene)
    if schema.fingerprint != manifest.fingerprint:
        raise DataError(f"{folder}: its scene schema is not that of {manifest.task} any more; collect anew")
    return schema
