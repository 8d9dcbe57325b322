"""Which of several labels of one frame holds, where people must look, and the training rows that follow."""

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
from data_flywheel.labels.label import RANK, FrameRef, Label, Values, parts_of, spec_of, vector_of
from data_flywheel.labels.store import LabelStore
from data_flywheel.storage.dataset import Dataset, Manifest, Shard
from data_flywheel.storage.frames import Frames
from perception.scene import GridSpec, ReadingSpec, SceneSchema, ThingSpec

# ----------------------------------------------------------------------------------------------------
# Which of several labels of one frame holds, and where people must look: shown, never averaged.
#
# Each part of the scene is settled by itself, so that a person may correct the ball where the teacher's bricks are
# right. Of one annotator (source and who), the newest label that speaks of a part counts.


COMPARABLE_RANKS = 1  # steps apart in the order of trust
COMPARABLE_TRUST = 0.3  # difference of two trusts
EDGE = 0.5  # px by which an edge may differ ...
EDGE_SHARE = 0.05  # ... and the share of the box's side that comes on top
GAUGE_SHARE = 0.01  # of a gauge's range
OPEN, EDITED, ACCEPTED, REJECTED = "open", "edited", "accepted", "rejected"


@dataclass(frozen=True)
class Part:
    """What holds of one part. `rivals`: labels of comparable trust that say something else."""

    name: str
    label: Label
    rivals: tuple[Label, ...] = ()

    @property
    def value(self) -> Any:
        """What the label says of this part."""
        return self.label.values[self.name]


@dataclass(frozen=True)
class Resolution:
    """What holds of one frame. status: open, edited, accepted or rejected (the last word of a person)."""

    status: str
    parts: dict[str, Part] = field(default_factory=dict)

    @property
    def values(self) -> Values:
        """Values of every part that somebody spoke of."""
        return {name: part.value for name, part in self.parts.items()}

    @property
    def conflicts(self) -> tuple[str, ...]:
        """Parts on which annotators of comparable trust disagree."""
        return tuple(name for name, part in self.parts.items() if part.rivals)


def resolve(schema: SceneSchema, labels: Sequence[Label]) -> Resolution:
    """Settle the standing labels of one frame, oldest first (`LabelStore.standing`)."""
    said: dict[str, dict[tuple[str, str], Label]] = {}
    status = OPEN
    for label in labels:
        if label.source == "person":
            status = {"accept": ACCEPTED, "reject": REJECTED}.get(label.verdict, EDITED)
        for name in label.values:
            said.setdefault(name, {})[label.source, label.who] = label
    known = (name for name in parts_of(schema) if name in said)
    return Resolution(status, {name: _settle(schema, name, list(said[name].values())) for name in known})


def resolve_all(store: LabelStore) -> dict[Any, Resolution]:
    """Of every frame in the store, in a fixed order: FrameRef -> Resolution."""
    return {frame: resolve(store.schema, store.standing(frame)) for frame in store.frames()}


def _settle(schema: SceneSchema, name: str, labels: list[Label]) -> Part:
    best = max(labels, key=lambda label: (RANK[label.source], label.trust, label.id))
    others = sorted((label for label in labels if label is not best), key=lambda label: (-RANK[label.source], label.id))
    rivals = (o for o in others if _comparable(best, o) and differs(schema, name, best.values[name], o.values[name]))
    return Part(name, best, tuple(rivals))


def _comparable(best: Label, other: Label) -> bool:
    """A person settles the matter, except against another person."""
    if "person" in (best.source, other.source):
        return best.source == other.source
    near = abs(RANK[best.source] - RANK[other.source]) <= COMPARABLE_RANKS
    return near and abs(best.trust - other.trust) <= COMPARABLE_TRUST


def differs(schema: SceneSchema, name: str, one: Any, other: Any) -> bool:
    """Whether two values of a part say different things; slots of a thing have no order."""
    spec = spec_of(schema, name)
    if isinstance(spec, ThingSpec):
        return not _same_boxes([b for b in one if b], [b for b in other if b])
    if isinstance(spec, GridSpec):
        return bool(one != other)
    if isinstance(spec, ReadingSpec):
        if one is None or other is None:
            return bool(one != other)
        return any(abs(f.away(one[f.name], other[f.name])) > GAUGE_SHARE * (f.high - f.low) for f in spec.fields)
    return bool(abs(one - other) > GAUGE_SHARE * (spec.high - spec.low))


def _same_boxes(ones: list[list[float]], others: list[list[float]]) -> bool:
    """Each box of one side has its own partner on the other: pairs are found closest first."""
    left, right = set(range(len(ones))), set(range(len(others)))
    pairs = sorted((_distance(a, b), i, k) for i, a in enumerate(ones) for k, b in enumerate(others))
    for _, i, k in pairs:
        if i in left and k in right and _close(ones[i], others[k]):
            left.discard(i)
            right.discard(k)
    return not left and not right


def _distance(a: list[float], b: list[float]) -> float:
    return (a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2


def _close(a: list[float], b: list[float]) -> bool:
    """All four edges within the tolerance."""
    for centre, side in ((0, 2), (1, 3)):
        allowed = EDGE + EDGE_SHARE * max(a[side], b[side])
        shift, growth = a[centre] - b[centre], (a[side] - b[side]) / 2
        if max(abs(shift - growth), abs(shift + growth)) > allowed:
            return False
    return True


# ----------------------------------------------------------------------------------------------------
# From labels to what training takes: rows that can each be traced to their labels, none of the frozen test set.
#
# A frame is used when every part of its scene has a trusted label, nobody rejected it and nobody of comparable
# trust disagrees; the rest is counted in `left_out`.


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

    purpose: "train" (splits train and val), "test", or "all" where the caller splits by time. frozen: digests of the
    frozen test set's frames, which never teach, whatever episode the same picture turns up in. only: exactly these
    frames; DataError when one of them is of the test set and the purpose is training.
    """
    if purpose not in ("train", "test", "all"):
        raise DataError(f"purpose is train, test or all, got {purpose!r}")
    store.sync()
    result = Projection(problems=store.problems)
    for frame in store.frames() if only is None else sorted(only):
        held_back = frame.split == "test" or frame.digest in frozen
        if purpose == "train" and held_back and only is not None:
            raise DataError(f"{frame} belongs to the frozen test set and must not be trained on; leave it out")
        if purpose != "all" and held_back != (purpose == "test"):
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
            meta=meta,
        )  # fmt: skip


def _stand_in(frame: FrameRef) -> int:
    """A seed of the same split, always the same for one episode."""
    start, end = _SPLIT_SEEDS[frame.split]
    return start + int(sha256(frame.episode.encode()).hexdigest(), 16) % (end - start)
