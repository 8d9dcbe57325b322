"""Labels from motion alone: where things are in frames of a look that nobody has labelled.

Knows: frames of play in order, the schema's sizes, and where things may be (`Prior`, from old labels: the world's
geometry stays when its paint changes). Does not know: a teacher, memory, scores, the network, what colour anything has.

Per episode: the field is the median of its frames; what differs from it by more than its own noise, added up over a
box of a thing's size, is a candidate; a path through the candidates (Viterbi over frames) is the thing's track; what
moves on smoothly is trusted. Rows that are not trusted are left out, never guessed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from perception.scene import SLOT, SceneSchema, ThingSpec

Floats = NDArray[np.float32]
U8 = NDArray[np.uint8]

CANDIDATES = 5  # of one thing in one frame
NOISE_FLOOR = 0.6  # grey levels: paint without any noise still has codecs and rounding
CONTRAST = 40.0  # a pixel's noise is at least what things differ by, divided by this
LEAST = 3.0  # a candidate's mean difference, in units of the field's noise
RIM = 3.0  # px: how far from where it begins to be cut off a thing is trusted
GAP = 4  # frames: how long a flight that motion lost beside a larger thing is known from both ends
BEND = 1.2  # px: how far three observations of free flight may deviate from a line


@dataclass(frozen=True)
class Prior:
    """Where the centres of a thing have been in old labels, and its sizes. `places` bool[H, W]."""

    places: NDArray[np.bool_]
    size: tuple[float, float]  # w, h, median
    speed: float  # px per step, the 99.5th percentile
    fixed: tuple[float | None, float | None]  # x, y where the thing never moves along that axis
    whole: tuple[float, float, float, float]  # left, right, top, bottom of the centres at which all of it shows


@dataclass(frozen=True)
class Motion:
    """`scenes` float32[N, size] with what was found; `trust` bool[N, things]: rows of a thing that may be learned."""

    scenes: Floats
    trust: NDArray[np.bool_]


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
        found.append(Prior(places > 0, size, min(speed + 2.0, spec.max_speed), still, whole))  # type: ignore[arg-type]
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


def label(frames: U8, episodes: NDArray[np.int64], schema: SceneSchema, known: Sequence[Prior]) -> Motion:
    """Motion labels of uint8[N, H, W, 3] in the order of play; grids and gauges stay 0."""
    scenes = np.zeros((len(frames), schema.size), np.float32)
    trust = np.zeros((len(frames), len(known)), bool)
    field, noise = field_of(frames)
    hidden = _grid_mask(schema, frames.shape[1:3])
    for episode in np.unique(episodes):
        rows = np.flatnonzero(episodes == episode)
        change = [difference(frames[i], field, noise) for i in rows]
        for k in sorted(range(len(known)), key=lambda k: -known[k].size[0] * known[k].size[1]):
            start = slots(schema)[k][1]
            track, sure = filled(*follow(change, known[k], hidden), known[k])
            scenes[rows, start : start + SLOT] = track
            trust[rows, k] = sure
            for c, box in zip(change, track, strict=True):  # what a large thing explains is no small one
                if box[0] > 0.5:
                    _erase(c, box)
    return Motion(scenes, trust)


def field_of(frames: U8, most: int = 300) -> tuple[Floats, Floats]:
    """float32[H, W, 3] median of frames spread over all, and float32[H, W] how much a pixel varies by itself."""
    pick = frames[np.linspace(0, len(frames) - 1, min(most, len(frames))).astype(int)]
    field = np.median(pick, axis=0).astype(np.float32)
    away = np.abs(pick.astype(np.float32) - field).max(3)
    noise = 1.4826 * np.median(away, axis=0) + NOISE_FLOOR
    far = away[away > LEAST * noise]
    strong = float(np.quantile(far, 0.9)) if len(far) else 0.0  # what things differ by; codecs' blocks differ by less
    return field, np.maximum(noise, strong / CONTRAST).astype(np.float32)


def difference(frame: U8, field: Floats, noise: Floats) -> Floats:
    """float32[H, W]: how much each pixel differs from the field, in units of its noise, capped."""
    away: Floats = np.abs(frame.astype(np.float32) - field).max(2) / noise
    return np.minimum(away, 40.0).astype(np.float32)


def _erase(change: Floats, box: Floats) -> None:
    _, x, y, w, h = (float(v) for v in box[:5])
    top, left = max(int(y - h / 2 - 1), 0), max(int(x - w / 2 - 1), 0)
    change[top : int(np.ceil(y + h / 2 + 1)), left : int(np.ceil(x + w / 2 + 1))] = 0.0


def _grid_mask(schema: SceneSchema, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Where cells appear and vanish: motion there says nothing about things."""
    mask = np.zeros(shape, bool)
    for g in schema.grids:
        w, h = g.cell
        mask[int(g.top) - 2 : int(g.top + g.rows * h) + 2, int(g.left) : int(g.left + g.cols * w) + 1] = True
    return mask


def follow(change: Sequence[Floats], prior: Prior, hidden: NDArray[np.bool_]) -> tuple[Floats, NDArray[np.bool_]]:
    """One thing through one episode: float32[T, SLOT] and bool[T], whether a row may be trusted."""
    spots = [_candidates(c, prior, hidden) for c in change]
    path = _best_path(spots, prior)
    track = np.zeros((len(change), SLOT), np.float32)
    for t, (c, at) in enumerate(zip(change, path, strict=True)):
        if at is not None:
            x, y, w, h = _refined(c, spots[t][at], prior)
            track[t] = (1, x, y, w, h, 0, 0, 1)
    return track, _trusted(track, prior)


def filled(track: Floats, sure: NDArray[np.bool_], prior: Prior) -> tuple[Floats, NDArray[np.bool_]]:
    """Short gaps in a flight, by physics: what was there and will be there is there now.

    The flights before and after the gap are led on to each other. Where they agree the thing flew through; else it
    bounced where they come nearest, and that frame stays unknown. Frames where things touch are learned this way.
    """
    if prior.fixed != (None, None):
        return track, sure
    track, known, rows = track.copy(), sure.copy(), np.flatnonzero(sure)
    for a, b in zip(rows[:-1], rows[1:], strict=True):
        n = b - a - 1
        if not 0 < n <= GAP or a < 1 or b + 1 >= len(track) or not (sure[a - 1] and sure[b + 1]):
            continue
        k = np.arange(1, n + 1)[:, None]
        on = track[a, 1:3] + k * (track[a, 1:3] - track[a - 1, 1:3])
        back = track[b, 1:3] - (n + 1 - k) * (track[b + 1, 1:3] - track[b, 1:3])
        apart = np.abs(on - back).max(1)
        turn = n if apart.max() <= 2.0 else int(apart.argmin())
        for i in range(n):
            if i != turn:
                x, y = (on[i] + back[i]) / 2 if turn == n else on[i] if i < turn else back[i]
                track[a + 1 + i], known[a + 1 + i] = (1, x, y, *prior.size, 0, 0, 1), True
    return track, known


def _candidates(change: Floats, prior: Prior, hidden: NDArray[np.bool_]) -> Floats:
    """float32[K, 3]: x, y, strength of the best places for a box of the thing's size."""
    w, h = (max(1, round(s)) for s in prior.size)
    score = cv2.blur(change, (w, h), anchor=(w // 2, h // 2), borderType=cv2.BORDER_CONSTANT)
    around = cv2.blur(change, (w + 6, h + 6), anchor=((w + 6) // 2, (h + 6) // 2), borderType=cv2.BORDER_CONSTANT)
    inner, outer = w * h, (w + 6) * (h + 6)
    ring = (around * outer - score * inner) / (outer - inner)
    alone = np.where(prior.places & ~hidden, score - ring, 0.0).astype(np.float32)
    found = []
    for _ in range(CANDIDATES):
        _, most, _, (x, y) = cv2.minMaxLoc(alone)
        if most < LEAST:
            break
        found.append((x + 0.5 - w // 2 + (w - 1) / 2.0, y + 0.5 - h // 2 + (h - 1) / 2.0, most))
        cv2.rectangle(alone, (x - w, y - h), (x + w, y + h), 0.0, -1)
    return np.array(found, np.float32).reshape(-1, 3)


ABSENT = 2.0  # cost of a frame in which the thing is said not to be there, in the units of a candidate's doubt


def _best_path(spots: Sequence[Floats], prior: Prior) -> list[int | None]:
    """The index of the candidate in each frame: strong ones, no jump faster than the thing can move, few gaps."""
    top = max((float(s[0, 2]) for s in spots if len(s)), default=1.0)
    costs: list[NDArray[np.float64]] = []
    back: list[NDArray[np.int64]] = []
    for t, s in enumerate(spots):
        own = np.append(1.0 - np.minimum(s[:, 2] / top, 1.0), ABSENT / 2.0)
        if t == 0:
            costs.append(own)
            back.append(np.full(len(own), -1))
            continue
        step = _steps(spots[t - 1], s, prior.speed)
        total = costs[-1][:, None] + step
        back.append(total.argmin(0))
        costs.append(total.min(0) + own)
    path, at = [], int(costs[-1].argmin()) if costs else 0
    for t in range(len(spots) - 1, -1, -1):
        path.append(at if at < len(spots[t]) else None)
        at = int(back[t][at])
    return path[::-1]


def _steps(before: Floats, after: Floats, speed: float) -> NDArray[np.float64]:
    """Cost of going from each candidate (and absence) of one frame to each of the next."""
    cost = np.full((len(before) + 1, len(after) + 1), 0.6)
    cost[-1, -1] = 0.0
    if len(before) and len(after):
        away = np.abs(before[:, None, :2] - after[None, :, :2]).max(2)
        cost[:-1, :-1] = np.where(away <= speed, 0.3 * away / speed, 4.0)
    return cost


def _refined(change: Floats, spot: Floats, prior: Prior) -> tuple[float, float, float, float]:
    """Centre and size, sub-pixel: centre of mass of the difference in a box a little larger than the thing."""
    x, y, _ = (float(v) for v in spot)
    w, h = prior.size
    left, top = max(int(np.floor(x - w / 2 - 1)), 0), max(int(np.floor(y - h / 2 - 1)), 0)
    right, bottom = int(np.ceil(x + w / 2 + 1)), int(np.ceil(y + h / 2 + 1))
    part = change[top:bottom, left:right]
    part = np.where(part > 0.35 * part.max(initial=0.0), part, 0.0)
    mass = float(part.sum())
    if mass > 0.0:
        x = left + float((part.sum(0) * (np.arange(part.shape[1]) + 0.5)).sum()) / mass
        y = top + float((part.sum(1) * (np.arange(part.shape[0]) + 0.5)).sum()) / mass
    return prior.fixed[0] or x, prior.fixed[1] or y, w, h


def _trusted(track: Floats, prior: Prior) -> NDArray[np.bool_]:
    """Rows in the middle of three that follow each other without a jump; along free axes nearly on a line.

    At the rim a thing shows a part of itself, and the middle of that part is not known well: such rows are left out.
    """
    seen = track[:, 0] > 0.5
    good = np.zeros(len(track), bool)
    if len(track) < 3:
        return good
    p = track[:, 1:3]
    bend = np.abs(p[2:] - 2 * p[1:-1] + p[:-2]).max(1)
    near = np.abs(np.diff(p, axis=0)).max(1) <= prior.speed
    flies = prior.fixed == (None, None)
    moves = np.abs(p[2:] - p[:-2]).max(1) > 1.0
    good[1:-1] = seen[2:] & seen[1:-1] & seen[:-2] & near[1:] & near[:-1]
    if flies:
        good[1:-1] &= (bend <= BEND) & moves
    left, right, top, bottom = prior.whole
    x, y = track[:, 1], track[:, 2]
    inside = (x > left + RIM) & (x < right - RIM) | (prior.fixed[0] is not None)
    return good & inside & ((y > top + RIM) & (y < bottom - RIM) | (prior.fixed[1] is not None))
