"""Which frames a person should look at, most suspicious first, and how far the looking has come."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_flywheel.errors import DataError
from data_flywheel.labels.frames import DatasetFrames, EpisodeFrames
from data_flywheel.labels.label import FRAME, FrameRef
from data_flywheel.labels.resolve import ACCEPTED, EDITED, OPEN, REJECTED, resolve
from data_flywheel.labels.store import LabelStore
from data_flywheel.storage.container import sound
from data_flywheel.storage.files import atomic_write, canonical_json
from envs import shape
from envs.files import read_json
from perception.scene import SceneSchema

# ----------------------------------------------------------------------------------------------------
# Which frames a person should look at, most suspicious first, and how far the looking has come.
#
# The frozen test set never enters a queue. Of films nothing is frozen: what is held out is a later stretch of time,
# which is labelled as the rest is, and `film_labels` keeps it out of training.


KIND, VERSION = "triune review queue", 1
REASONS = ("low sure", "disagreement", "tracker residual", "novelty", "failure window", "request", "spread")


_ITEM = shape.table({
    "frame": FRAME, "score": shape.number(0, 1), "belief": shape.maybe(shape.each(shape.number())),
    "reasons": shape.each(shape.row(shape.one_of(*REASONS), shape.number(0, 1), shape.words)),
})  # fmt: skip
_QUEUE = shape.table(
    {
        "task": shape.name, "fingerprint": shape.text, "items": shape.each(_ITEM), "data": shape.each(shape.text),
        "left_out": shape.named(shape.whole(0)),
    },
    {"films": shape.flag},
)  # fmt: skip


@dataclass(frozen=True)
class Suspicion:
    """Why one frame deserves a look. score 0 to 1; `detail` for people; `belief`: what was seen, float[size]."""

    frame: FrameRef
    reason: str
    score: float
    detail: str = ""
    belief: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Item:
    """One frame of the queue. `reasons`: (reason, score, detail), strongest first; `score` is of all together."""

    frame: FrameRef
    score: float
    reasons: tuple[tuple[str, float, str], ...]
    belief: tuple[float, ...] | None = None


@dataclass(frozen=True)
class ReviewQueue:
    """Frames to look at, in order. `data`: folders where their pixels are; `left_out`: suspicions not taken, why;
    `films`: they are of films, whose held-out part is a stretch of time and no split of episodes."""

    task: str
    fingerprint: str
    items: tuple[Item, ...]
    data: tuple[str, ...] = ()
    left_out: dict[str, int] = field(default_factory=dict)
    films: bool = False

    @staticmethod
    def build(
        task: str, schema: SceneSchema, suspicions: Iterable[Suspicion], data: Sequence[str] = (), most: int = 0,
        films: bool = False,
    ) -> ReviewQueue:  # fmt: skip
        """Merge suspicions by frame, strongest first; ties by episode and step. `most`: keep so many (0: all).

        DataError: a reason nobody knows, a score that is no probability, a belief of another schema.
        """
        by_frame: dict[FrameRef, list[Suspicion]] = {}
        left_out: Counter[str] = Counter()
        for suspicion in suspicions:
            _check(suspicion, schema)
            if not films and (reason := _untouchable(suspicion.frame)):
                left_out[reason] += 1
            else:
                by_frame.setdefault(suspicion.frame, []).append(suspicion)
        items = sorted((_merge(frame, found) for frame, found in by_frame.items()), key=lambda i: (-i.score, i.frame))
        if most and len(items) > most:
            left_out["less suspicious"] += len(items) - most
        return ReviewQueue(task, schema.fingerprint, tuple(items[: most or None]), tuple(data), dict(left_out), films)

    def save(self, path: str | Path) -> Path:
        """Write atomically; the path."""
        record: dict[str, Any] = {"kind": KIND, "version": VERSION, "task": self.task, "data": list(self.data)}
        record |= {"fingerprint": self.fingerprint, "left_out": self.left_out, "films": self.films}
        record["items"] = [_item_record(item) for item in self.items]
        record["sha256"] = sha256(canonical_json(record).encode()).hexdigest()
        atomic_write(Path(path), json.dumps(record).encode())
        return Path(path)

    @staticmethod
    def load(path: str | Path) -> ReviewQueue:
        """Read and verify. DataError: missing, half-written, changed, another kind or version."""
        record = read_json(Path(path), KIND, DataError, "make it again")
        if not isinstance(record, dict) or record.get("kind") != KIND or record.get("version") != VERSION:
            raise DataError(f"{path}: not a {KIND} of version {VERSION}; make it again")
        wanted = record.pop("sha256", None)
        if sha256(canonical_json(record).encode()).hexdigest() != wanted:
            raise DataError(f"{path}: checksum mismatch: damaged or changed by hand; make it again")
        with sound(str(path), KIND, "make it again"):
            _QUEUE(record, "")
            items = tuple(_item(entry) for entry in record["items"])
        data, left_out, films = tuple(record["data"]), record["left_out"], record.get("films", False)
        return ReviewQueue(record["task"], record["fingerprint"], items, data, left_out, films)


@dataclass(frozen=True)
class Progress:
    """How far a review has come. `statuses`: of every item; `first`: the first that still needs a look (or None)."""

    statuses: tuple[str, ...]

    @property
    def counts(self) -> dict[str, int]:
        """Items per status, all four named, and `done` and `total`."""
        counts = {name: self.statuses.count(name) for name in (OPEN, EDITED, ACCEPTED, REJECTED)}
        return {**counts, "done": counts[ACCEPTED] + counts[REJECTED], "total": len(self.statuses)}

    @property
    def first(self) -> int | None:
        """Index of the first item without a verdict."""
        return next((i for i, status in enumerate(self.statuses) if status in (OPEN, EDITED)), None)


def progress(queue: ReviewQueue, store: LabelStore) -> Progress:
    """Read off the store: a verdict of a person makes an item done, its retraction makes it open again."""
    return Progress(tuple(resolve(store.schema, store.standing(item.frame)).status for item in queue.items))


def _check(suspicion: Suspicion, schema: SceneSchema) -> None:
    if suspicion.reason not in REASONS:
        raise DataError(f"unknown reason {suspicion.reason!r}; choose from {', '.join(REASONS)}")
    if not math.isfinite(suspicion.score) or not 0 <= suspicion.score <= 1:
        raise DataError(f"{suspicion.frame}: a score is a number from 0 to 1, got {suspicion.score!r}")
    belief = suspicion.belief
    if belief is not None and (len(belief) != schema.size or not all(map(math.isfinite, belief))):
        raise DataError(f"{suspicion.frame}: a belief is a Scene vector of {schema.size} finite values")


def _untouchable(frame: FrameRef) -> str:
    """Why a frame must not be curated, or ""."""
    try:
        return "frozen test set" if frame.split == "test" else ""
    except DataError:
        return "seed that must not teach"


def _merge(frame: FrameRef, found: list[Suspicion]) -> Item:
    """Independent suspicions add up like probabilities; of one reason, the strongest counts."""
    best: dict[str, Suspicion] = {}
    for suspicion in found:
        if suspicion.reason not in best or suspicion.score > best[suspicion.reason].score:
            best[suspicion.reason] = suspicion
    score = 1 - math.prod(1 - s.score for s in sorted(best.values(), key=lambda s: s.reason))
    reasons = sorted(((s.reason, s.score, s.detail) for s in best.values()), key=lambda r: (-r[1], r[0]))
    belief = next((s.belief for s in found if s.belief is not None), None)
    return Item(frame, round(score, 6), tuple(reasons), belief)


def _item_record(item: Item) -> dict[str, Any]:
    frame = {**vars(item.frame), "size": list(item.frame.size)}
    belief = None if item.belief is None else [float(v) for v in item.belief]
    return {"frame": frame, "score": item.score, "reasons": [list(r) for r in item.reasons], "belief": belief}


def _item(record: dict[str, Any]) -> Item:
    frame = FrameRef(**{**record["frame"], "size": tuple(record["frame"]["size"])})
    belief = None if record["belief"] is None else tuple(record["belief"])
    return Item(frame, record["score"], tuple(tuple(r) for r in record["reasons"]), belief)


# ----------------------------------------------------------------------------------------------------
# How suspicious a frame is, from what the detector said of it alone: doubt, disagreement with a label, jumps in time.
#
# Every measure is a score from 0 to 1 with words for people; below `FLOOR` nothing is said.


FLOOR = 0.02
READ_SHARE = 0.1  # of the range of a field: so far apart two readings have nothing to do with each other
_REACH = 4.0  # px beyond a thing's top speed that make a jump certain

U8 = NDArray[np.uint8]
Vector = NDArray[np.float32]


def measures(
    schema: SceneSchema, belief: Vector, label: Vector | None = None, before: Vector | None = None
) -> list[tuple[str, float, str]]:
    """Reason, score, words for all that is odd about what the detector saw.

    label: what another annotator says of the frame; before: the detector's Scene a step ago.
    """
    found = [("low sure", *doubt(schema, belief))]
    if label is not None:
        found.append(("disagreement", *disagreement(schema, belief, label)))
    if before is not None:
        found.append(("tracker residual", *jump(schema, before, belief)))
    return [(reason, round(score, 6), words) for reason, score, words in found if score >= FLOOR]


def suspicions(
    schema: SceneSchema, ref: FrameRef, belief: Vector, label: Vector | None = None, before: Vector | None = None
) -> Iterator[Suspicion]:
    """`measures` of one frame, for a queue."""
    seen = tuple(float(v) for v in belief)
    for reason, score, words in measures(schema, belief, label, before):
        yield Suspicion(ref, reason, score, words, seen)


def doubt(schema: SceneSchema, belief: Vector) -> tuple[float, str]:
    """How near the least certain `sure` is to a toss-up: 0 for 0 or 1, 1 for one half."""
    worst = (0.0, "")
    for name, slot in schema.slots():
        sure = float(belief[slot][-1])
        worst = _worse(worst, (1 - abs(2 * min(max(sure, 0.0), 1.0) - 1), f"{name} {100 * sure:.0f} % sure"))
    return worst


def disagreement(schema: SceneSchema, belief: Vector, label: Vector) -> tuple[float, str]:
    """1 when one sees what the other does not; else by distance, a thing's own size away counting as 1.

    Grids: the share of a row's cells that differ. Readings: READ_SHARE of a range counts as 1. Slots of a kind are
    compared in order from left to right.
    """
    worst = (0.0, "")
    for thing in schema.things:
        ours, theirs = (_boxes(schema, thing.name, v) for v in (belief, label))
        if len(ours) != len(theirs):
            worst = _worse(worst, (1.0, f"{len(ours)} {thing.name} seen, {len(theirs)} labelled"))
            continue
        for a, b in zip(ours, theirs, strict=True):
            gap = float(np.abs(a[:2] - b[:2]).max())
            worst = _worse(worst, (min(1.0, gap / max(1.0, *thing.size)), f"{thing.name} {gap:.1f} px apart"))
    for grid in schema.grids:
        cells = (belief[schema.grid(grid.name)] > 0.5) != (label[schema.grid(grid.name)] > 0.5)
        worst = _worse(worst, (min(1.0, float(cells.sum()) / grid.cols), f"{int(cells.sum())} {grid.name} differ"))
    for reading in schema.readings:
        seen, *values, _ = belief[schema.slot(reading.name)].tolist()
        real, *wanted, _ = label[schema.slot(reading.name)].tolist()
        if (seen > 0.5) != (real > 0.5):
            worst = _worse(worst, (1.0, f"{reading.name} {'seen' if seen > 0.5 else 'not seen'} against the label"))
            continue
        for f, a, b in zip(reading.fields, values, wanted, strict=True):
            gap = abs(f.away(a, b))
            said = f"{reading.name}.{f.name} {gap:.3g}{f' {f.unit}' if f.unit else ''} apart"
            worst = _worse(worst, (min(1.0, gap / (READ_SHARE * (f.high - f.low))), said))
    return worst


def jump(schema: SceneSchema, before: Vector, after: Vector) -> tuple[float, str]:
    """By how much a single thing moved further in one step than it can."""
    worst = (0.0, "")
    for thing in schema.things:
        a, b = before[schema.slot(thing.name)], after[schema.slot(thing.name)]
        if thing.count == 1 and a[0] > 0.5 and b[0] > 0.5:
            excess = float(np.abs(b[1:3] - a[1:3]).max()) - thing.max_speed
            worst = _worse(worst, (min(1.0, max(0.0, excess / _REACH)), f"{thing.name} jumped {excess:.1f} px too far"))
    return worst


def _worse(one: tuple[float, str], other: tuple[float, str]) -> tuple[float, str]:
    return other if other[0] > one[0] else one


def _boxes(schema: SceneSchema, name: str, vector: Vector) -> list[Vector]:
    slots = [vector[schema.slot(name, i)] for i in range(schema.count(name))]
    return sorted((slot[1:5] for slot in slots if slot[0] > 0.5), key=lambda box: (float(box[0]), float(box[1])))


def of_dataset(
    schema: SceneSchema, frames: DatasetFrames, look: Callable[[U8], Vector], problems: list[str] | None = None
) -> Iterator[Suspicion]:
    """Suspicions about every frame that may teach. `look`: the detector, uint8[H, W, 3] -> Scene vector.

    DataError names a damaged shard; with `problems` it is named there and left out.
    """
    for ref in frames.refs(problems):
        if ref.split != "test":
            yield from suspicions(schema, ref, look(frames.rgb(ref)), frames.vector(ref))


def of_episodes(schema: SceneSchema, frames: EpisodeFrames, problems: list[str] | None = None) -> Iterator[Suspicion]:
    """Suspicions about every step of recorded play, from the scenes that were acted on; `problems` as above.

    A frame's pixels are fetched only when its scenes are odd, because most are not.
    """
    for name in frames.names():
        try:
            scenes = frames.episode(name).scenes
        except DataError as error:
            if problems is None:
                raise
            problems.append(str(error))
            continue
        for step in range(len(scenes)):
            before = scenes[step - 1] if step else None
            if measures(schema, scenes[step], before=before):
                yield from suspicions(schema, frames.ref(name, step), scenes[step], before=before)
