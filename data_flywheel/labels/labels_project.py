"""From labels to what training takes: rows that can each be traced to their labels, none of the frozen test set.

Knows: which frames are fit to teach and why the others are not, the data set on disk that `load_samples` and `triune
train --data` read. Does not know how labels are made or learned from. A frame is used when every part of its scene has
a trusted label, nobody rejected it and nobody of comparable trust disagrees; the rest is counted in `left_out`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_flywheel.errors import DataError
from data_flywheel.labels.frames import FrameSource
from data_flywheel.labels.label import FrameRef, parts_of, vector_of
from data_flywheel.labels.labels_resolve import REJECTED, Resolution, resolve
from data_flywheel.labels.store import LabelStore
from data_flywheel.storage.dataset import Dataset, Manifest, Shard
from data_flywheel.storage.frames import Frames

LEAST_TRUST = 0.5
_SPLIT_SEEDS = {"train": (0, 800), "val": (800, 900), "test": (900, 1000)}


@dataclass(frozen=True)
class Row:
    """One frame fit for use. `labels`: for every part, the id of the label it comes from; `sources`: who made that."""

    frame: FrameRef
    vector: NDArray[np.float32]
    labels: dict[str, str]
    sources: dict[str, str]

    def record(self) -> dict[str, Any]:
        """JSON form, for the meta of a shard."""
        frame = {"episode": self.frame.episode, "step": self.frame.step, "digest": self.frame.digest}
        return {**frame, "labels": self.labels, "sources": self.sources}


@dataclass
class Projection:
    """What a store yields. `problems`: damage in the store, which may have cost frames."""

    rows: list[Row] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)


def project(
    store: LabelStore, purpose: str = "train", frozen: Collection[str] = (), least_trust: float = LEAST_TRUST,
    only: Sequence[FrameRef] | None = None,
) -> Projection:  # fmt: skip
    """The usable rows, in the order of their frames.

    purpose: "train" (splits train and val) or "test". frozen: digests of the frozen test set's frames, which never
    teach, whatever episode the same picture turns up in. only: exactly these frames; DataError when one of them is of
    the test set and the purpose is training.
    """
    if purpose not in ("train", "test"):
        raise DataError(f"purpose is train or test, got {purpose!r}")
    store.sync()
    result = Projection(problems=store.problems)
    for frame in store.frames() if only is None else sorted(only):
        held_back = frame.split == "test" or frame.digest in frozen
        if purpose == "train" and held_back and only is not None:
            raise DataError(f"{frame} belongs to the frozen test set and must not be trained on; leave it out")
        if held_back != (purpose == "test"):
            result.left_out["frozen test set" if held_back else "not in the test set"] += 1
            continue
        resolution = resolve(store.schema, store.standing(frame))
        reason = _unfit(store, resolution, least_trust)
        if reason:
            result.left_out[reason] += 1
        else:
            result.rows.append(_row(store, frame, resolution))
    return result


def _unfit(store: LabelStore, resolution: Resolution, least_trust: float) -> str:
    """Why a frame is not used, or ""."""
    if resolution.status == REJECTED:
        return "rejected by a person"
    missing = [name for name in parts_of(store.schema) if name not in resolution.parts]
    if missing:
        return f"no label of {missing[0]}"
    if resolution.conflicts:
        return f"conflict about {resolution.conflicts[0]}"
    doubtful = [name for name, part in resolution.parts.items() if part.label.trust < least_trust]
    return f"label of {doubtful[0]} not trusted" if doubtful else ""


def _row(store: LabelStore, frame: FrameRef, resolution: Resolution) -> Row:
    labels = {name: part.label.id for name, part in resolution.parts.items()}
    sources = {n: " ".join((p.label.source, p.label.who, p.label.version)).strip() for n, p in resolution.parts.items()}
    return Row(frame, vector_of(store.schema, resolution.values), labels, sources)


def write_dataset(rows: Sequence[Row], frames: FrameSource, store: LabelStore, folder: str | Path) -> Dataset:
    """Rows as a data set on disk, one shard an episode; `meta["rows"]` of a shard traces each row to its labels.

    An episode without a seed gets a stand-in that keeps it in its split. DataError: no rows, data there already, a
    frame is gone.
    """
    groups = [(name, list(group)) for name, group in groupby(rows, key=lambda row: row.frame.episode)]
    if not groups or (Path(folder).is_dir() and any(Path(folder).glob("shard-*.npz"))):
        raise DataError(f"{folder}: no frame is fit for use, or shards are there already; name an empty folder")
    made_by = "labels " + sha256("".join(sorted(i for row in rows for i in row.labels.values())).encode()).hexdigest()
    schema = store.schema
    manifest = Manifest(store.task, schema.to_config(), schema.fingerprint, made_by, "", len(groups))
    dataset = Dataset.create(folder, manifest)
    for shard in _shards(groups, frames):
        dataset.write(shard)
    figures = {name: value for name, value in dataset.check().items() if name != "missing"}
    return Dataset.create(folder, Manifest(**{**vars(manifest), "extra": {"figures": figures}}))


def _shards(groups: Sequence[tuple[str, list[Row]]], frames: FrameSource) -> Iterator[Shard]:
    for number, (name, rows) in enumerate(groups):
        seed = rows[0].frame.seed
        meta = {"episode": name, "rows": [row.record() for row in rows], "seed_is_stand_in": seed is None}
        yield Shard(
            number, number, _stand_in(rows[0].frame) if seed is None else seed,
            Frames.from_rgb(np.stack([frames.rgb(row.frame) for row in rows])),
            np.stack([row.vector for row in rows]),
            np.zeros(len(rows), np.uint8),  # which action led here is not known to a label
            np.zeros((len(rows), 0), np.uint8),
            meta,
        )  # fmt: skip


def _stand_in(frame: FrameRef) -> int:
    """A seed of the same split, always the same for one episode."""
    start, end = _SPLIT_SEEDS[frame.split]
    return start + int(sha256(frame.episode.encode()).hexdigest(), 16) % (end - start)
