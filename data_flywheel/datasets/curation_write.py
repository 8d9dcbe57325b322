"""A choice on disk: the chosen frames as a data set (if the pool has labels) or a queue to label, and the reasons.

Knows: the formats, and that what is frozen is checked once more before anything is written. Does not know why a frame
was chosen. `curation.json` explains every frame: `{episode, step, digest, cause, score, apart, also}`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from data_flywheel.datasets.curation import Choice, Selection
from data_flywheel.datasets.curation_pool import CONSECUTIVE, Pool
from data_flywheel.datasets.frozen import FrozenSet
from data_flywheel.errors import DataError
from data_flywheel.labels.frames import DatasetFrames, EpisodeFrames
from data_flywheel.labels.review_queue import ReviewQueue, Suspicion
from data_flywheel.storage.container import atomic_write, canonical_json, read_bytes
from data_flywheel.storage.dataset import Dataset, Manifest, Shard
from data_flywheel.storage.frames import Frames

KIND, VERSION = "triune curation", 1
FILE, QUEUE = "curation.json", "queue.json"


def write(
    selection: Selection, pool: Pool, frames: DatasetFrames | EpisodeFrames, frozen: FrozenSet, folder: str | Path,
    task: str, about: Mapping[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """Write into an empty folder; what was written. `about`: what the choice was made from and with, JSON values.

    DataError: nothing was chosen, something stands there already, or a frame is frozen.
    """
    folder = Path(folder)
    if folder.is_dir() and any(folder.iterdir()):
        raise DataError(f"{folder} is not empty; name another folder: a version of a data set is never changed")
    if not selection.choices:
        raise DataError(f"nothing to choose in this pool (left out: {selection.left_out}); record more play")
    frozen.guard(pool.refs[choice.row] for choice in selection.choices)
    record = {"kind": KIND, "format": VERSION, "task": task, **about, **selection.record()}
    if isinstance(frames, DatasetFrames):
        record["dataset"] = _dataset(selection.choices, frames, folder)
    else:
        record["queue"] = _queue(selection.choices, pool, folder / QUEUE, task, str(frames.folder))
    record["sha256"] = sha256(canonical_json(record).encode()).hexdigest()
    atomic_write(folder / FILE, (json.dumps(record, indent=1) + "\n").encode())
    return record


def read(folder: str | Path) -> dict[str, Any]:
    """The reasons behind a folder, verified. DataError: missing, half-written, changed."""
    path = Path(folder) / FILE
    try:
        record = json.loads(read_bytes(path, KIND))
    except ValueError as error:
        raise DataError(f"{path}: damaged or half-written ({error}); curate again into a new folder") from error
    if not isinstance(record, dict) or (record.get("kind"), record.get("format")) != (KIND, VERSION):
        raise DataError(f"{path}: not a {KIND} of version {VERSION}; curate again")
    wanted = record.pop("sha256", None)
    if sha256(canonical_json(record).encode()).hexdigest() != wanted:
        raise DataError(f"{path}: checksum mismatch: damaged or changed by hand; curate again into a new folder")
    return record


def _dataset(choices: Sequence[Choice], frames: DatasetFrames, folder: Path) -> str:
    """The chosen rows with their labels, episodes kept apart; the data set's content hash."""
    wanted: dict[int, list[int]] = {}
    for choice in choices:
        wanted.setdefault(int(choice.episode.rpartition("-shard")[2]), []).append(choice.step)
    old = frames.dataset.manifest
    made = Manifest(old.task, old.schema, old.fingerprint, old.teacher, old.triune, len(wanted))
    dataset = Dataset.create(folder, made)
    for number, source in enumerate(sorted(wanted)):
        dataset.write(_shard(number, frames.dataset.read(source), sorted(wanted[source])))
    figures = {name: value for name, value in dataset.check().items() if name != "missing"}
    Dataset.create(folder, Manifest(**{**vars(made), "extra": {"figures": figures}}))
    return str(figures["hash"])


def _shard(number: int, source: Shard, rows: list[int]) -> Shard:
    meta = {**source.meta, CONSECUTIVE: False, "rows_of": source.number, "rows": rows}
    columns = (source.scenes[rows], source.actions[rows], source.rams[rows])
    return Shard(number, source.episode, source.seed, Frames.from_rgb(source.frames.rgb(rows)), *columns, meta)


def _queue(choices: Sequence[Choice], pool: Pool, path: Path, task: str, data: str) -> str:
    """The chosen frames for people or other annotators to label; the file's name."""
    found = []
    for choice in choices:
        belief = tuple(float(v) for v in pool.scenes[choice.row])
        for cause, score in {choice.cause: choice.score, **choice.also}.items():
            found.append(Suspicion(pool.refs[choice.row], cause, score, "", belief))
    ReviewQueue.build(task, pool.schema, found, [data]).save(path)
    return path.name
