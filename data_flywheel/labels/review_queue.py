"""Which frames a person should look at, most suspicious first, and how far the looking has come.

Knows: suspicions (from anyone: the eyes, the tracker, blame, the supervisor), a fixed order, the file. Does not know
how suspicion arises (`suspicion.py`) or what people said: progress is read off the label store, so that a queue can be
left and taken up at any time. The frozen test set never enters a queue.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from data_flywheel.errors import DataError
from data_flywheel.labels.label import FrameRef
from data_flywheel.labels.labels_resolve import ACCEPTED, EDITED, OPEN, REJECTED, resolve
from data_flywheel.labels.store import LabelStore
from data_flywheel.storage.container import atomic_write, canonical_json, read_bytes
from perception.scene import SceneSchema

KIND, VERSION = "triune review queue", 1
REASONS = ("low sure", "disagreement", "tracker residual", "novelty", "failure window", "request")


@dataclass(frozen=True)
class Suspicion:
    """Why one frame deserves a look. score 0 to 1; `detail` for people; `belief`: what the eyes saw, float[size]."""

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
    """Frames to look at, in order. `data`: folders where their pixels are; `left_out`: suspicions not taken, why."""

    task: str
    fingerprint: str
    items: tuple[Item, ...]
    data: tuple[str, ...] = ()
    left_out: dict[str, int] = field(default_factory=dict)

    @staticmethod
    def build(
        task: str, schema: SceneSchema, suspicions: Iterable[Suspicion], data: Sequence[str] = (), most: int = 0
    ) -> ReviewQueue:
        """Merge suspicions by frame, strongest first; ties by episode and step. `most`: keep so many (0: all).

        DataError: a reason nobody knows, a score that is no probability, a belief of another schema.
        """
        by_frame: dict[FrameRef, list[Suspicion]] = {}
        left_out: Counter[str] = Counter()
        for suspicion in suspicions:
            _check(suspicion, schema)
            if reason := _untouchable(suspicion.frame):
                left_out[reason] += 1
            else:
                by_frame.setdefault(suspicion.frame, []).append(suspicion)
        items = sorted((_merge(frame, found) for frame, found in by_frame.items()), key=lambda i: (-i.score, i.frame))
        if most and len(items) > most:
            left_out["less suspicious"] += len(items) - most
        return ReviewQueue(task, schema.fingerprint, tuple(items[: most or None]), tuple(data), dict(left_out))

    def save(self, path: str | Path) -> Path:
        """Write atomically; the path."""
        record: dict[str, Any] = {"kind": KIND, "version": VERSION, "task": self.task, "data": list(self.data)}
        record |= {"fingerprint": self.fingerprint, "left_out": self.left_out}
        record["items"] = [_item_record(item) for item in self.items]
        record["sha256"] = sha256(canonical_json(record).encode()).hexdigest()
        atomic_write(Path(path), json.dumps(record).encode())
        return Path(path)

    @staticmethod
    def load(path: str | Path) -> ReviewQueue:
        """Read and verify. DataError: missing, half-written, changed, another kind or version."""
        try:
            record = json.loads(read_bytes(Path(path), KIND))
        except ValueError as error:
            raise DataError(f"{path}: damaged or half-written review queue ({error}); make it again") from error
        if not isinstance(record, dict) or record.get("kind") != KIND or record.get("version") != VERSION:
            raise DataError(f"{path}: not a {KIND} of version {VERSION}; make it again")
        wanted = record.pop("sha256", None)
        if sha256(canonical_json(record).encode()).hexdigest() != wanted:
            raise DataError(f"{path}: checksum mismatch: damaged or changed by hand; make it again")
        items = tuple(_item(entry) for entry in record["items"])
        return ReviewQueue(record["task"], record["fingerprint"], items, tuple(record["data"]), record["left_out"])


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
