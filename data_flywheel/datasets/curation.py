"""Which frames are worth a label: signals per cause, a choice that spreads over causes and looks, and the choice on
disk.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_flywheel.datasets.collection import situations
from data_flywheel.datasets.frozen import FrozenSet
from data_flywheel.episodes.episode import Episode
from data_flywheel.errors import DataError
from data_flywheel.labels.frames import DatasetFrames, EpisodeFrames
from data_flywheel.labels.label import FrameRef
from data_flywheel.labels.review_queue import ReviewQueue, Suspicion
from data_flywheel.storage.dataset import Dataset, Manifest, Shard
from data_flywheel.storage.files import atomic_write, canonical_json
from data_flywheel.storage.frames import Frames
from envs.files import read_json
from perception.scene import SLOT, SceneSchema

# ----------------------------------------------------------------------------------------------------
# Frames that could be labelled next, with all that can be said of them before anybody has labelled one.


THUMB = 16  # cells a side
BEFORE = 30  # steps before a loss that belong to it
CONSECUTIVE = "consecutive"  # key of a shard's meta: its rows are steps of play, none left out
GREY = np.array([0.299, 0.587, 0.114], np.float32)

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]
Look = Callable[[U8], F32]


@dataclass(frozen=True)
class Pool:
    """N frames in the order of play.

    scenes float32[N, size]: what the detector saw; thumbs float32[N, THUMB**2], grey levels 0..255; after bool[N]: the
    frame is the next step after the one before it here; failing float32[N]: 0 to 1, how near a loss is.
    """

    schema: SceneSchema
    refs: tuple[FrameRef, ...]
    scenes: F32
    thumbs: F32
    after: NDArray[np.bool_]
    failing: F32

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.refs)

    def embedding(self) -> F32:
        """float32[N, D] for distances between frames: what was seen and how it looks.

        A thing that is seen by one frame only, or half of the field between two places, counts 1; so do 64 grey
        levels between two pictures.
        """
        parts = [(self.thumbs / (64 * THUMB)).astype(np.float32)]
        top, left, bottom, right = self.schema.crop
        for thing in self.schema.things:
            start = self.schema.slot(thing.name).start
            slots = self.scenes[:, start : start + SLOT * thing.count].reshape(-1, thing.count, SLOT)
            seen = slots[..., 0] > 0.5
            place = (slots[..., 1:3] - (left, top)) / (right - left, bottom - top) * 2
            size = slots[..., 3:5] / thing.size / 2
            values = np.concatenate([np.ones_like(seen[..., None]), place, size], 2) * seen[..., None]
            parts.append(values.reshape(len(self), -1).astype(np.float32))
        for grid in self.schema.grids:
            parts.append(self.scenes[:, self.schema.grid(grid.name)] / np.float32(np.sqrt(grid.cols)))
        for reading in self.schema.readings:
            slot = self.scenes[:, self.schema.slot(reading.name)]
            parts.append(slot[:, :1])
            for f, column in zip(reading.fields, slot[:, 1:-1].T, strict=True):
                share = (column - f.low) / (f.high - f.low)
                turn = 2 * np.pi * share
                shown = (np.cos(turn), np.sin(turn)) if f.wrap else (2 * share,)
                parts.append((np.stack(shown, 1) * slot[:, :1]).astype(np.float32))
        return np.concatenate(parts, 1)


def thumbnail(frame: U8, crop: tuple[int, int, int, int]) -> F32:
    """float32[THUMB**2]: mean grey of THUMB x THUMB cells of what the detector looks at."""
    top, left, bottom, right = crop
    grey = frame[top:bottom, left:right].astype(np.float32) @ GREY
    rows, cols = (np.arange(THUMB) * n // THUMB for n in grey.shape)
    sums = np.add.reduceat(np.add.reduceat(grey, rows, 0), cols, 1)
    high, wide = (np.diff([*at, n]) for at, n in zip((rows, cols), grey.shape, strict=True))
    return (sums / np.outer(high, wide)).ravel().astype(np.float32)


def build(schema: SceneSchema, frames: DatasetFrames | EpisodeFrames, look: Look) -> Pool:
    """Every frame of a source. `look`: uint8[H, W, 3] -> float32[size], for frames that nobody has looked at yet."""
    if isinstance(frames, DatasetFrames):
        return pool_of(schema, _of_dataset(schema, frames, look))
    return pool_of(schema, _of_episodes(schema, frames))


Row = tuple[FrameRef, F32, F32, bool, float]  # frame, scene, thumbnail, whether it follows, how near a loss is


def _of_dataset(schema: SceneSchema, frames: DatasetFrames, look: Look) -> Iterable[Row]:
    """Labels are not read: a pool is what is known before labelling."""
    whole = {n: bool(frames.dataset.read(n).meta.get(CONSECUTIVE)) for n in frames.dataset.numbers()}
    for ref in frames.refs():
        follows = whole[int(ref.episode.rpartition("-shard")[2])] and ref.step > 0
        frame = frames.rgb(ref)
        yield ref, look(frame).copy(), thumbnail(frame, schema.crop), follows, 0.0


def _of_episodes(schema: SceneSchema, frames: EpisodeFrames) -> Iterable[Row]:
    for name in frames.names():
        episode = frames.episode(name)
        failing = failures(episode)
        for step in range(len(episode)):
            ref = frames.ref(name, step)
            thumb = thumbnail(frames.rgb(ref), schema.crop)
            yield ref, episode.scenes[step], thumb, step > 0, float(failing[step])


def pool_of(schema: SceneSchema, rows: Iterable[Row]) -> Pool:
    """Frames of any source, in order. DataError: none."""
    refs, scenes, thumbs, after, failing = [], [], [], [], []
    for ref, scene, thumb, follows, near in rows:
        refs.append(ref)
        scenes.append(scene)
        thumbs.append(thumb)
        after.append(follows)
        failing.append(near)
    if not refs:
        raise DataError("there is no frame to choose from; record some first")
    columns: Sequence[Any] = (np.array(after, bool), np.array(failing, np.float32))
    return Pool(schema, tuple(refs), np.stack(scenes), np.stack(thumbs), *columns)


def failures(episode: Episode) -> F32:
    """float32[T]: 1 on the step that lost a life or a point, falling to 0 over the BEFORE steps that led there."""
    near = np.zeros(len(episode), np.float32)
    for step in episode.losses():
        first = max(0, step - BEFORE + 1)
        near[first : step + 1] = np.maximum(near[first : step + 1], np.linspace(0, 1, BEFORE)[first - step - 1 :])
    return near


# ----------------------------------------------------------------------------------------------------
# Why a frame may teach something: a score from 0 to 1 per frame and cause, read off what the detector saw.
#
# Novelty has no score of its own here: it is the distance to what is taken, which the choice itself changes.


# As in the review queue (review_queue.REASONS), so that a choice can be looked at by people under the same names.
DOUBT, JUMP, RESIDUAL, NOVELTY, FAILURE, REQUEST = CAUSES = (
    "low sure", "disagreement", "tracker residual", "novelty", "failure window", "request",
)  # fmt: skip
# Words of a request that mean a word in the name of a situation.
_SAME = {
    "absent": ("missing", "lost", "gone", "vanish", "disappear", "unseen", "invisible"),
    "among": ("inside", "between", "within", "behind", "over"),
    "touches": ("touch", "near", "close", "hit", "contact", "bounce", "overlap", "reach"),
    "cut": ("clip", "partly", "half", "shrink", "small"),
    "edge": ("wall", "border", "side", "corner", "rim"),
}


@dataclass(frozen=True)
class Wish:
    """One request of the supervisor, `{what, why, count}`, and the frames it was understood to mean (float[N])."""

    what: str
    count: int
    scores: F32 = field(repr=False)

    @property
    def understood(self) -> bool:
        """Whether any frame of the pool fits."""
        return bool(self.scores.any())


def signals(pool: Pool, wishes: Sequence[Wish] = ()) -> dict[str, F32]:
    """Cause -> float32[N], 0 where nothing is to be said. Every cause is named; novelty is 1 everywhere."""
    asked = np.max([wish.scores for wish in wishes], 0) if wishes else np.zeros(len(pool))
    found = {
        DOUBT: np.maximum(_doubt(pool), _flips(pool)), JUMP: _jumps(pool), RESIDUAL: _residual(pool),
        NOVELTY: np.ones(len(pool)), FAILURE: pool.failing, REQUEST: asked,
    }  # fmt: skip
    return {cause: np.clip(scores, 0, 1).astype(np.float32) for cause, scores in found.items()}


def _slots(pool: Pool) -> list[tuple[F32, float]]:
    """Each slot's values [N, 8] and the top speed of its kind, px a step."""
    things = [(t, i) for t in pool.schema.things for i in range(t.count)]
    return [(pool.scenes[:, pool.schema.slot(t.name, i)], t.max_speed) for t, i in things]


def _doubt(pool: Pool) -> F32:
    """How near the least certain `sure` is to one half."""
    worst = np.zeros(len(pool), np.float32)
    for _, slot in pool.schema.slots():
        worst = np.maximum(worst, 1 - np.abs(2 * np.clip(pool.scenes[:, slot.stop - 1], 0, 1) - 1))
    return worst


def _middle(pool: Pool) -> NDArray[np.bool_]:
    """Frames whose neighbours on both sides are here."""
    inside = pool.after.copy()
    inside[:-1] &= pool.after[1:]
    inside[-1:] = False
    return inside


def _flips(pool: Pool) -> F32:
    """1 where a thing is there, or not, for a single frame."""
    flipped = np.zeros(len(pool), bool)
    for _, slot in pool.schema.slots():
        seen = pool.scenes[:, slot.start] > 0.5
        flipped[1:-1] |= (seen[1:-1] != seen[:-2]) & (seen[1:-1] != seen[2:])
    return (flipped & _middle(pool)).astype(np.float32)


def _jumps(pool: Pool) -> F32:
    """By how many top speeds a thing moved faster than it can, or how many cells of a grid came and went."""
    worst = np.zeros(len(pool), np.float32)
    for slot, speed in _slots(pool):
        both = (slot[1:, 0] > 0.5) & (slot[:-1, 0] > 0.5) & pool.after[1:]
        step = np.abs(np.diff(slot[:, 1:3], axis=0)).max(1)
        excess = np.where(both, (step - speed) / speed, 0)
        worst[1:] = np.maximum(worst[1:], excess)
        worst[:-1] = np.maximum(worst[:-1], excess)  # either of the two may be the wrong one
    for grid in pool.schema.grids:
        cells = pool.scenes[:, pool.schema.grid(grid.name)] > 0.5
        blink = (cells[1:-1] != cells[:-2]) & (cells[1:-1] != cells[2:])
        worst[1:-1] = np.maximum(worst[1:-1], blink.sum(1) / grid.rows * _middle(pool)[1:-1])
    return np.clip(worst, 0, 1)


def _residual(pool: Pool) -> F32:
    """Distance from where the last two frames say a thing would be, in top speeds."""
    worst = np.zeros(len(pool), np.float32)
    for slot, speed in _slots(pool):
        seen = slot[:, 0] > 0.5
        known = seen[2:] & seen[1:-1] & seen[:-2] & pool.after[2:] & pool.after[1:-1]
        away = np.abs(slot[2:, 1:3] - 2 * slot[1:-1, 1:3] + slot[:-2, 1:3]).max(1)
        worst[2:] = np.maximum(worst[2:], np.where(known, away / (2 * speed), 0))
    return worst


def understand(pool: Pool, requests: Sequence[Mapping[str, Any]]) -> list[Wish]:
    """What the supervisor's requests mean: steps of a seed that they name, or situations of the scene.

    A frame fits when it, or a neighbour (the detector may miss the very thing that is asked for), shows the situation.
    """
    names = [set(situations(pool.schema, scene)) for scene in pool.scenes] if requests else []
    known = sorted(set().union(*names)) if names else []
    return [_understood(pool, request, names, known) for request in requests]


def _understood(pool: Pool, request: Mapping[str, Any], names: list[set[str]], known: list[str]) -> Wish:
    text = f"{request.get('what', '')} {request.get('why', '')}".lower()
    named = re.search(r"seed (\d+)\D{1,20}steps? (\d+)(?:\D{1,4}(\d+))?", text)
    scores = np.zeros(len(pool), np.float32)
    if named:
        seed, first = int(named[1]), int(named[2])
        last = int(named[3] or first)
        scores[:] = [ref.seed == seed and first <= ref.step <= last for ref in pool.refs]
    else:
        wanted = {name for name in known if _means(text, name)}
        hits = np.array([bool(wanted & found) for found in names], np.float32)
        scores[:] = hits
        follows = pool.after[1:]
        scores[1:] = np.maximum(scores[1:], 0.5 * hits[:-1] * follows)
        scores[:-1] = np.maximum(scores[:-1], 0.5 * hits[1:] * follows)
    return Wish(str(request.get("what", "")), int(request.get("count", 1)), scores)


def _means(text: str, situation: str) -> bool:
    """Whether every word of a situation, or one that means it, is in the text."""
    return all(any(w in text for w in (word, *_SAME.get(word, ()))) for word in situation.split())


# ----------------------------------------------------------------------------------------------------
# Which frames are worth a label: the strongest of every cause in turn, each far from all that is taken already.
#
# The same pool gives the same choice.


FLOOR = 0.05  # scores below say nothing
SAME = 0.01  # distance up to which two frames are the same picture of the same scene
REPEATED, ENOUGH = "same as a frame that is taken", "less telling"


@dataclass(frozen=True)
class Choice:
    """One frame and why. `row`: its place in the pool; `score`: of `cause`, 0 to 1; `also`: the other causes' scores.

    `apart`: distance to the nearest frame that was taken before it.
    """

    row: int
    episode: str
    step: int
    digest: str
    cause: str
    score: float
    apart: float
    also: dict[str, float]


@dataclass(frozen=True)
class Selection:
    """What was chosen, and what was not, by reason."""

    choices: tuple[Choice, ...]
    left_out: dict[str, int]
    requests: tuple[dict[str, Any], ...] = ()  # what, count, frames that fit, frames taken for it

    @property
    def counts(self) -> dict[str, int]:
        """Frames per cause, every cause named."""
        found = Counter(choice.cause for choice in self.choices)
        return {cause: found[cause] for cause in CAUSES}

    @property
    def version(self) -> str:
        """sha256 of the chosen pictures in order."""
        return sha256(canonical_json([[c.episode, c.step, c.digest] for c in self.choices]).encode()).hexdigest()

    def record(self) -> dict[str, Any]:
        """JSON form: the explanation of a data set."""
        chosen = [{k: v for k, v in asdict(c).items() if k != "row"} for c in self.choices]
        told = {"version": self.version, "causes": self.counts, "left_out": self.left_out}
        return {**told, "requests": list(self.requests), "chosen": chosen}


def choose(
    pool: Pool, frames: int, frozen: FrozenSet, taken: Sequence[int] = (), requests: Sequence[Mapping[str, Any]] = (),
    causes: Sequence[str] = CAUSES, wanted: Sequence[int] = (),
) -> Selection:  # fmt: skip
    """At most `frames` of the pool. Causes take turns, so that none drowns the rest; one that has nothing left passes.

    frozen: never touched, nor are the test split (its pictures, wherever they are) and seeds that must not teach.
    taken: rows that are labelled already, which are not chosen again and from which the choice keeps away.
    requests: the supervisor's, `{what, why, count}`; wanted: rows that a person asked for, chosen before all others.
    """
    if frames < 1:
        raise DataError(f"choose at least 1 frame, got {frames}")
    frozen |= FrozenSet() if frozen.films else FrozenSet.of(pool.refs)
    barred = [frozen.why_not(ref) for ref in pool.refs]
    left_out = Counter(reason for reason in barred if reason)
    open_ = np.array([not reason for reason in barred])
    wishes = understand(pool, requests)
    search = _Search(pool, open_, taken)
    found = signals(pool, wishes)
    asked = [row for row in dict.fromkeys(wanted) if search.open[row]][:frames]
    first = []
    for row in asked:
        found[REQUEST][row] = 1.0
        first.append(_explained(search, row, REQUEST, found))
        search.take(row)
    choices = first + _in_turns(search, {cause: found[cause] for cause in causes}, frames - len(first))
    frozen.guard(pool.refs[choice.row] for choice in choices)
    left = search.open.sum()
    left_out |= Counter({REPEATED: search.repeated, ENOUGH: int(left)})
    rows = [c.row for c in choices if c.cause == "request"]
    told = [
        {"what": w.what, "count": w.count, "fit": int((w.scores > 0).sum()), "taken": int((w.scores[rows] > 0).sum())}
        for w in wishes
    ]
    return Selection(tuple(choices), {k: v for k, v in left_out.items() if v}, tuple(told))


def _in_turns(search: _Search, found: dict[str, F32], frames: int) -> list[Choice]:
    waiting = [cause for cause in found if (found[cause] >= FLOOR).any()]
    choices: list[Choice] = []
    while waiting and len(choices) < frames:
        for cause in list(waiting):
            row = search.best(found[cause]) if len(choices) < frames else -1
            if row < 0:
                if len(choices) < frames:
                    waiting.remove(cause)
                continue
            choices.append(_explained(search, row, cause, found))
            search.take(row)
    return choices


def _explained(search: _Search, row: int, cause: str, found: dict[str, F32]) -> Choice:
    ref, scores = search.pool.refs[row], {name: round(float(values[row]), 4) for name, values in found.items()}
    apart = round(float(search.away[row]), 4)
    also = {n: s for n, s in scores.items() if n not in (cause, NOVELTY) and s >= FLOOR}
    return Choice(row, ref.episode, ref.step, ref.digest, cause, scores[cause], apart, also)


class _Search:
    """Greedy k-center, weighted by a cause: the frame with the greatest score times distance to all that is taken."""

    def __init__(self, pool: Pool, open_: NDArray[np.bool_], taken: Sequence[int]) -> None:
        self.pool, self.open, self.repeated = pool, open_.copy(), 0
        self._where = pool.embedding()
        self._pictures = np.unique([ref.digest for ref in pool.refs], return_inverse=True)[1]
        middle = self._where[open_].mean(0) if open_.any() else 0
        self.away: F32 = np.sqrt(((self._where - middle) ** 2).sum(1))  # until something is taken: from the middle
        self._first = True
        for row in taken:
            self.take(row)
        self.repeated = 0

    def best(self, scores: F32) -> int:
        """Row of the frame to take next, -1 when no open one has anything to say."""
        gain = np.where(self.open & (scores >= FLOOR), scores * (self.away + 1e-6), -1)
        row = int(gain.argmax()) if len(gain) else -1
        return row if row >= 0 and gain[row] >= 0 else -1

    def take(self, row: int) -> None:
        """Close it and all that is the same."""
        away: F32 = np.sqrt(((self._where - self._where[row]) ** 2).sum(1))
        self.away = away if self._first else np.minimum(self.away, away)
        self._first = False
        same = self.open & ((away <= SAME) | (self._pictures == self._pictures[row]))
        same[row] = False
        self.repeated += int(same.sum())
        self.open &= ~same
        self.open[row] = False


# ----------------------------------------------------------------------------------------------------
# A choice on disk: the chosen frames as a data set (if the pool has labels) or a queue to label, and the reasons.
#
# `curation.json` explains every frame: `{episode, step, digest, cause, score, apart, also}`.


KIND, VERSION = "triune curation", 1
FILE, QUEUE = "curation.json", "queue.json"


def write(
    selection: Selection, pool: Pool, frames: DatasetFrames | Sequence[str], frozen: FrozenSet, folder: str | Path,
    task: str, about: Mapping[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """Write into an empty folder; what was written. `frames`: a data set, or the folders with the pictures.

    `about`: what the choice was made from and with, JSON values.

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
        record["queue"] = _queue(selection.choices, pool, folder / QUEUE, task, frames, frozen.films)
    record["sha256"] = sha256(canonical_json(record).encode()).hexdigest()
    atomic_write(folder / FILE, (json.dumps(record, indent=1) + "\n").encode())
    return record


def read(folder: str | Path) -> dict[str, Any]:
    """The reasons behind a folder, verified. DataError: missing, half-written, changed."""
    path = Path(folder) / FILE
    record = read_json(path, KIND, DataError, "curate again into a new folder")
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
    truth = {name: array[rows] for name, array in source.truth.items()}
    columns = (source.scenes[rows], source.actions[rows], truth)
    return Shard(number, source.episode, source.seed, Frames.from_rgb(source.frames.rgb(rows)), *columns, meta)


def _queue(
    choices: Sequence[Choice], pool: Pool, path: Path, task: str, data: Sequence[str], films: bool
) -> str:
    """The chosen frames for people or other annotators to label; the file's name."""
    found = []
    for choice in choices:
        belief = tuple(float(v) for v in pool.scenes[choice.row])
        for cause, score in {choice.cause: choice.score, **choice.also}.items():
            found.append(Suspicion(pool.refs[choice.row], cause, score, "", belief))
    ReviewQueue.build(task, pool.schema, found, list(data), films=films).save(path)
    return path.name
