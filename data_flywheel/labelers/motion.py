"""Labels from motion alone: where things are in frames of a look that nobody has labelled.

Knows: frames of play in order, the schema's sizes, and where things may be (`Prior`, from old labels: the world's
geometry stays when its paint changes). Does not know: a teacher, memory, scores, the network, what colour anything has.

Per episode: the field is the median of the frames; a matched filter finds where boxes of a thing's size differ from it
by more than its own noise (data_flywheel/matched.py); the best path through them is the thing's track, and what moves
on smoothly is trusted (data_flywheel/paths.py). Rows that are not trusted are left out, never guessed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from data_flywheel.labelers.matched import LEAST, Filter
from data_flywheel.labelers.offset import offset, phase_of, side_of
from data_flywheel.labelers.paths import best_path, filled, track_of, trusted
from perception.scene import SLOT, SceneSchema, ThingSpec

Floats = NDArray[np.float32]
U8 = NDArray[np.uint8]

NOISE_FLOOR = 0.6  # grey levels: paint without any noise still has codecs and rounding
SAMPLE = 300  # frames from which a field is taken
CONTRAST = 40.0  # a pixel's noise is at least what things differ by, divided by this


@dataclass(frozen=True)
class Prior:
    """Where the centres of a thing have been in old labels, and its sizes. `places` bool[H, W]."""

    places: NDArray[np.bool_]
    size: tuple[float, float]  # w, h, median
    speed: float  # px per step, the 99.5th percentile
    fixed: tuple[float | None, float | None]  # x, y where the thing never moves along that axis
    whole: tuple[float, float, float, float]  # left, right, top, bottom of the centres at which all of it shows
    phase: tuple[float, float]  # of a pixel, at which its left and upper edges stand; nan where they have none


@dataclass(frozen=True)
class Motion:
    """`scenes` float32[N, size] with what was found; `trust` bool[N, things]: rows of a thing that may be learned."""

    scenes: Floats
    trust: NDArray[np.bool_]
    field: Field
    filters: tuple[Filter, ...]  # of each thing

    def take(self, rows: NDArray[Any]) -> Motion:
        """Some of the rows."""
        return Motion(self.scenes[rows], self.trust[rows], self.field, self.filters)

    def shows(self, frame: U8, bare: Floats | U8, scene: Floats, starts: Sequence[int]) -> bool:
        """Does every thing that `scene` says is there differ from the `bare` field? Else only a guess can see it."""
        change = frame.astype(np.float32) - bare
        pairs = zip(self.filters, starts, strict=True)
        return all(find.shows(change, scene[at : at + SLOT]) for find, at in pairs if scene[at] > 0.5)


class Field(NamedTuple):
    """The place without its things. `look` float32[H, W, 3]; `noise` float32[H, W]: how much a pixel varies alone;
    `floor`: grey levels that say nothing even where nothing varies."""

    look: Floats
    noise: Floats
    floor: float


def priors(scenes: Floats, episodes: NDArray[np.int64], schema: SceneSchema, shape: tuple[int, int]) -> list[Prior]:
    """One for each slot of the schema's things, in order, from labelled rows that follow each other in episodes."""
    found = []
    for spec, start in slots(schema):
        rows = scenes[:, start : start + SLOT]
        seen = rows[:, 0] > 0.5
        x, y, w, h = rows[seen, 1:5].T
        places = np.zeros(shape, np.uint8)
        inside = (x >= 0) & (x < shape[1]) & (y >= 0) & (y < shape[0])
        places[y[inside].astype(int), x[inside].astype(int)] = 1
        places = cv2.dilate(places, np.ones((9, 9), np.uint8))
        step = np.abs(np.diff(rows[:, 1:3], axis=0)).max(1)
        good = seen[1:] & seen[:-1] & (np.diff(episodes) == 0)
        speed = float(np.quantile(step[good], 0.995)) if good.any() else spec.max_speed
        still = tuple(float(np.median(v)) if np.ptp(np.quantile(v, (0.01, 0.99))) < 1.0 else None for v in (x, y))
        size = (float(np.quantile(w, 0.9)), float(np.quantile(h, 0.9)))  # a thing at the rim shows less of itself
        whole = _whole(x, y, (w >= 0.95 * size[0]) & (h >= 0.95 * size[1]))
        corners = (x - w / 2, y - h / 2)
        phase = phase_of(corners[0]), phase_of(corners[1])
        found.append(Prior(places > 0, size, min(speed + 2.0, spec.max_speed), still, whole, phase))  # type: ignore[arg-type]
    return found


def _whole(x: Floats, y: Floats, full: NDArray[np.bool_]) -> tuple[float, float, float, float]:
    """The range of the centres of whole things; a few odd labels aside."""
    if not full.any():
        return -np.inf, np.inf, -np.inf, np.inf
    ends = [float(np.quantile(v[full], q)) for v in (x, y) for q in (0.001, 0.999)]
    return ends[0], ends[1], ends[2], ends[3]


def slots(schema: SceneSchema) -> list[tuple[ThingSpec, int]]:
    """Each thing's slots with their start in the scene vector."""
    return [(t, schema.slot(t.name, i).start) for t in schema.things for i in range(t.count)]


def label(
    frames: U8, episodes: NDArray[np.int64], schema: SceneSchema, known: Sequence[Prior],
    field: Field | None = None, old: Floats | None = None,
) -> Motion:  # fmt: skip
    """Motion labels of uint8[N, H, W, 3] in the order of play; grids and gauges stay 0. `field` of earlier play, or
    that of these frames; `old` float32[H, W, 3]: the field in the old look, if it is known."""
    field = field or field_of(frames)
    scenes = np.zeros((len(frames), schema.size), np.float32)
    trust = np.zeros((len(frames), len(known)), bool)
    hidden = grid_mask(schema, frames.shape[1:3])
    filters = tuple(Filter.of(frames, field, prior, hidden) for prior in known)
    large_first = sorted(range(len(known)), key=lambda k: -known[k].size[0] * known[k].size[1])
    for episode in np.unique(episodes):
        rows = np.flatnonzero(episodes == episode)
        change = [frames[i].astype(np.float32) - field.look for i in rows]
        for k in large_first:
            start = slots(schema)[k][1]
            track, sure = follow(change, filters[k], known[k])
            scenes[rows, start : start + SLOT], trust[rows, k] = track, sure
            for c, box in zip(change, track, strict=True):  # what a large thing explains is no small one
                if box[0] > 0.5:
                    c[_around(box)] = 0.0
    sides = [0.0 if old is None else side_of(old, field.look, axis) for axis in (0, 1)]
    for k, (_, start) in enumerate(slots(schema)):
        _settle(scenes[:, start : start + SLOT], trust[:, k], known[k], sides)
    return Motion(scenes, trust, field, filters)


def _settle(boxes: Floats, sure: NDArray[np.bool_], prior: Prior, sides: Sequence[float]) -> None:
    """Take off what the look moves a thing by; on its rail it is where the rail is."""
    seen = boxes[:, 0] > 0.5
    for axis in (0, 1):
        rail, corners = prior.fixed[axis], boxes[sure, 1 + axis] - round(prior.size[axis]) / 2
        moved = offset(corners, prior.phase[axis], sides[axis]) if rail is None else 0.0
        boxes[seen, 1 + axis] = boxes[seen, 1 + axis] - moved if rail is None else rail


def follow(change: Sequence[Floats], find: Filter, prior: Prior) -> tuple[Floats, NDArray[np.bool_]]:
    """One thing through one episode, frames minus field: float32[T, SLOT] and bool[T], whether a row may be trusted."""
    spots = [find.candidates(c) for c in change]
    return filled(*trusted(track_of(spots, best_path(spots, prior), prior), prior), prior)


def field_of(frames: U8) -> Field:
    """The median of frames spread over all."""
    pick = frames[np.linspace(0, len(frames) - 1, min(SAMPLE, len(frames))).astype(int)]
    field = np.median(pick, axis=0).astype(np.float32)
    away = np.abs(pick.astype(np.float32) - field).max(3)
    noise = 1.4826 * np.median(away, axis=0) + NOISE_FLOOR
    far = away[away > LEAST * noise]
    strong = float(np.quantile(far, 0.9)) if len(far) else 0.0  # what things differ by; codecs' blocks differ by less
    floor = max(NOISE_FLOOR, strong / CONTRAST)
    return Field(field, np.maximum(noise, floor).astype(np.float32), floor)


def _around(box: Floats) -> tuple[slice, slice]:
    """Rows and columns of a box (seen, x, y, w, h) and 1 px around it."""
    x, y, w, h = (float(v) for v in box[1:5])
    top, left = max(int(y - h / 2 - 1), 0), max(int(x - w / 2 - 1), 0)
    return slice(top, int(np.ceil(y + h / 2 + 1))), slice(left, int(np.ceil(x + w / 2 + 1)))


def grid_mask(schema: SceneSchema, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Where cells appear and vanish: motion there says nothing about things."""
    mask = np.zeros(shape, bool)
    for g in schema.grids:
        w, h = g.cell
        mask[int(g.top) - 2 : int(g.top + g.rows * h) + 2, int(g.left) : int(g.left + g.cols * w) + 1] = True
    return mask
