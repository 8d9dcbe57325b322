"""Labels from motion alone: where things are in frames of a look that nobody has labelled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from perception.scene import SLOT, SceneSchema, ThingSpec

# ----------------------------------------------------------------------------------------------------
# Fractions of a pixel by which a look moves things: an outline is half a pixel beside what it is drawn around.
#
# Labels that follow an outline are wrong by half a pixel, and a policy that aims at the edge of a paddle misses by
# it. Where old labels have no phase (a camera), nothing is moved.


Floats = NDArray[np.float32]

TIGHT = 0.8  # length of the mean phase from which positions have one
FEW = 20  # positions
HALF = 0.3  # px from which it is not said on which side of the thing its picture stands
FAR = 3  # px within which pictures are compared
LEAN = 0.05  # px that the pictures must differ by to say a side


def phase_of(corners: Floats) -> float:
    """Fraction of a pixel, -0.5 to 0.5, at which positions along an axis stand; nan if they do not agree."""
    if len(corners) < FEW:
        return float("nan")
    mean = np.exp(2j * np.pi * corners.astype(np.float64)).mean()
    return float(np.angle(mean) / (2 * np.pi)) if abs(mean) >= TIGHT else float("nan")


def offset(corners: Floats, phase: float, side: float) -> float:
    """px by which positions are off, from their phase and the one they should have; `side`: as `side_of`."""
    off = (phase_of(corners) - phase + 0.5) % 1.0 - 0.5
    if not np.isfinite(off):
        return 0.0
    if abs(off) < HALF:
        return off
    return float(np.sign(side) * abs(off)) if abs(side) >= LEAN else 0.0


def side_of(old: Floats, new: Floats, axis: int) -> float:
    """px by which the edges of a new field seem to lie farther along `axis` (0 x, 1 y) than the old one's."""
    a, b = _profile(old, axis), _profile(new, axis)
    fits = [float((a[max(0, -s) : len(a) - max(0, s)] * b[max(0, s) : len(b) - max(0, -s)]).sum()) for s in _shifts()]
    k = int(np.argmax(fits))
    if not 0 < k < len(fits) - 1:
        return 0.0
    left, middle, right = fits[k - 1 : k + 2]
    return k - FAR + 0.5 * (left - right) / min(left - 2 * middle + right, -1e-9)


def _shifts() -> range:
    return range(-FAR, FAR + 1)


def _profile(look: Floats, axis: int) -> NDArray[np.float64]:
    """How many edges across `axis` there are at each place along it, less their mean."""
    soft = cv2.GaussianBlur(look.astype(np.float32), (0, 0), 1.0)
    edges = np.abs(cv2.Sobel(soft, cv2.CV_32F, 1 - axis, axis, ksize=3)).max(2)
    sums = np.minimum(edges, np.quantile(edges, 0.99)).sum(axis, dtype=np.float64)
    return np.asarray(sums - sums.mean())


# ----------------------------------------------------------------------------------------------------
# Matched filter: where a box of a thing's size differs from the field, however faint it is.
#
# A faint thing is far below the noise of its pixels, but its mean over a box is not; how much that mean varies by
# itself is measured on the frames, at each place, so that snow, codecs and flicker count for what they are.


U8 = NDArray[np.uint8]

CANDIDATES = 5  # of one thing in one frame
CAP = 40.0  # standard deviations beyond which a pixel says no more
RING = 0.5  # share of what is around a box that is taken off: the middle of a large thing is no small one
LEAST = 3.0  # a candidate, in standard deviations
QUARTER = 3.138  # standard deviations for each lower quartile of the size of normal noise
PAD = 4  # px around the places


@dataclass(frozen=True)
class Filter:
    """For one thing. `rows`, `cols`: the part of the frame it may be in; arrays are of that part, [h, w] or [h, w, 3].

    `signed` and `level`, `spread`: how much the mean difference, and the mean of its size, vary where nothing is."""

    rows: slice
    cols: slice
    size: tuple[int, int]  # w, h
    allowed: NDArray[np.bool_]
    noise: Floats
    signed: Floats
    level: Floats
    spread: Floats
    usual: tuple[float, ...]  # signed, spread, noise, level of a usual place: too large where a thing often rests

    @staticmethod
    def of(frames: U8, field: Field, prior: Prior, hidden: NDArray[np.bool_], most: int = 150) -> Filter:
        """Measured on `most` frames spread over all. `hidden` bool[H, W]: where nothing is looked for."""
        size = (max(1, round(prior.size[0])), max(1, round(prior.size[1])))
        ys, xs = np.nonzero(prior.places)
        rows = slice(max(int(ys.min()) - size[1] - PAD, 0), int(ys.max()) + size[1] + PAD)
        cols = slice(max(int(xs.min()) - size[0] - PAD, 0), int(xs.max()) + size[0] + PAD)
        quiet, bare = field.noise[rows, cols], field.look[rows, cols]
        pick = frames[np.linspace(0, len(frames) - 1, min(most, len(frames))).astype(int)][:, rows, cols]
        away = [f.astype(np.float32) - bare for f in pick]
        calm = np.quantile([np.abs(_mean(a, size)) for a in away], 0.25, axis=0)  # a thing may rest there half the time
        signed = _mean((QUARTER * calm).astype(np.float32), size)
        plain = np.stack([_mean(_size(a, quiet), size) for a in away])
        level = np.median(plain, axis=0)
        spread = 1.4826 * np.median(np.abs(plain - level), axis=0)
        allowed = (prior.places & ~hidden)[rows, cols]
        signed, spread = np.maximum(signed, field.floor), np.maximum(spread, 1.0)
        usual = tuple(float(np.median(m[allowed])) for m in (_norm(signed), spread, quiet, level))
        singles = signed.astype(np.float32), level.astype(np.float32), spread.astype(np.float32)
        return Filter(rows, cols, size, allowed, quiet, *singles, usual)

    def candidates(self, change: Floats) -> Floats:
        """float32[K, 3]: x, y, strength of the best places of one frame, the best first; `change` float32[H, W, 3]."""
        part = change[self.rows, self.cols]
        signed, plain = _mean(part, self.size), _mean(_size(part, self.noise), self.size) - self.level
        score = np.maximum(_norm(signed / self.signed), plain / self.spread)
        where = np.maximum(_norm(signed) / self.usual[0], plain / self.usual[1])
        w, h = self.size
        alone = np.where(self.allowed, score - RING * _mean(score, (w + 6, h + 6)), 0.0).astype(np.float32)
        found = []
        for _ in range(CANDIDATES):
            _, most, _, (x, y) = cv2.minMaxLoc(alone)
            if most < LEAST:
                break
            found.append((*self._centre(where, x, y), most))
            cv2.rectangle(alone, (x - w, y - h), (x + w, y + h), 0.0, -1)
        return np.array(found, np.float32).reshape(-1, 3)

    def shows(self, change: Floats, box: Floats) -> bool:
        """Does a box (seen, x, y, w, h) differ from the field by more than a usual place does by itself?"""
        x, y, w, h = (float(v) for v in box[1:5])
        rows, cols = (slice(max(round(c - s / 2), 0), max(round(c + s / 2), 1)) for c, s in ((y, h), (x, w)))
        part = change[rows, cols]
        if not part.size:
            return False
        signed = float(np.sqrt((part.mean((0, 1)) ** 2).mean())) / self.usual[0]
        plain = (float(np.minimum(np.abs(part).max(2) / self.usual[2], CAP).mean()) - self.usual[3]) / self.usual[1]
        return max(signed, plain) >= LEAST

    def _centre(self, where: Floats, x: int, y: int) -> tuple[float, float]:
        """Of the box near a pixel of `where`, in px of the frame: the highest place, the top of a parabola there."""
        w, h = self.size
        left, top = max(x - w // 4 - 1, 0), max(y - h // 4 - 1, 0)
        near = where[top : y + h // 4 + 2, left : x + w // 4 + 2]
        dy, dx = np.unravel_index(int(near.argmax()), near.shape)
        x, y = left + int(dx), top + int(dy)
        fx = _top(where[y, x - 1 : x + 2]) if 0 < x < where.shape[1] - 1 else 0.0
        fy = _top(where[y - 1 : y + 2, x]) if 0 < y < where.shape[0] - 1 else 0.0
        return self.cols.start + x - w // 2 + w / 2.0 + fx, self.rows.start + y - h // 2 + h / 2.0 + fy


def _norm(colours: Floats) -> Floats:
    """Root mean square over the last axis."""
    return np.asarray(np.sqrt((colours * colours).sum(2) / 3.0))


def _top(three: Floats) -> float:
    """Where a parabola through three values has its top, from the middle one."""
    a, b, c = (float(v) for v in three)
    bend = a - 2 * b + c
    return 0.0 if bend >= 0 else float(np.clip(0.5 * (a - c) / bend, -0.5, 0.5))


def _size(change: Floats, noise: Floats) -> Floats:
    """float32[H, W]: how much each pixel differs, in units of its noise, capped."""
    return np.minimum(np.abs(change).max(2) / noise, CAP)


def _mean(values: Floats, size: tuple[int, int]) -> Floats:
    """Mean over a box around each pixel; beyond the frame is 0."""
    w, h = size
    return np.asarray(cv2.blur(values, (w, h), anchor=(w // 2, h // 2), borderType=cv2.BORDER_CONSTANT))


# ----------------------------------------------------------------------------------------------------
# Labels from motion alone: where things are in frames of a look that nobody has labelled.
#
# Per episode: the field is the median of the frames; a matched filter finds where boxes of a thing's size differ
# from it by more than its own noise; the best path through them is the thing's track, and what moves on smoothly is
# trusted. Rows that are not trusted are left out, never guessed.


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


# ----------------------------------------------------------------------------------------------------
# From the candidates of many frames to one thing's track, and which rows of it may be trusted: physics alone.
#
# What flies goes straight on or bounces; what is moved by a hand goes where it likes, but not faster than it can.


Bools = NDArray[np.bool_]

# Costs of a path; a candidate of full strength costs 0, one without any 1.
ABSENT = 1.0  # a frame in which the thing is said not to be there
BREAK = 0.6  # to come or go
JUMP = 4.0  # to go faster than it can
FAR_STEP = 0.3  # to go as fast as it can
TURN, BENT = 0.8, 6.0  # to turn by BENT px or more
RIM = 3.0  # px: how far from where it begins to be cut off a thing is trusted
BEND = 1.2  # px: how far three observations of free flight may deviate from a line
FLIGHT = 5  # frames of a flight on one line ...
OFF = 1.5  # ... from which none may be farther off than this, px
GAP = 4  # frames: how long a flight that motion lost beside a larger thing is known from both ends


def best_path(spots: Sequence[Floats], prior: Prior) -> list[int | None]:
    """The index of the candidate in each frame, None where the thing is not seen: Viterbi over pairs of frames."""
    best = [float(s[0, 2]) for s in spots if len(s)]
    if len(spots) < 3 or not best:
        return [0 if len(s) else None for s in spots]
    top = max(float(np.quantile(best, 0.75)), 2 * LEAST)
    own = [np.append(1.0 - np.minimum(s[:, 2] / top, 1.0), ABSENT) for s in spots]
    cost, back = own[0][:, None] + _steps(spots[0], spots[1], prior) + own[1], []
    for a, b, c, mine in zip(spots, spots[1:], spots[2:], own[2:], strict=False):
        total = cost[:, :, None] + _steps(b, c, prior)[None] + mine
        if flies(prior):
            total[:-1, :-1, :-1] += _turns(a, b, c)
        back.append(total.argmin(0))
        cost = total.min(0)
    i, j = np.unravel_index(int(cost.argmin()), cost.shape)
    path = [int(j), int(i)]
    for row in back[::-1]:
        path.append(int(row[path[-1], path[-2]]))
    return [at if at < len(s) else None for at, s in zip(path[::-1], spots, strict=True)]


def flies(prior: Prior) -> bool:
    """Is it free along both axes?"""
    return prior.fixed == (None, None)


def _steps(before: Floats, after: Floats, prior: Prior) -> NDArray[np.float64]:
    """Cost of going from each candidate (and absence, the last) of one frame to each of the next."""
    cost = np.full((len(before) + 1, len(after) + 1), BREAK)
    cost[-1, -1] = 0.0
    if len(before) and len(after):
        away = np.abs(before[:, None, :2] - after[None, :, :2]).max(2)
        cost[:-1, :-1] = np.where(away <= prior.speed, FAR_STEP * away / prior.speed, JUMP)
    return cost


def _turns(a: Floats, b: Floats, c: Floats) -> NDArray[np.float64]:
    """Cost of not going straight on, for all candidates of three frames."""
    bend = np.abs(a[:, None, None, :2] - 2 * b[None, :, None, :2] + c[None, None, :, :2]).max(3)
    return np.asarray(np.minimum(bend / BENT, 1.0) * TURN, np.float64)


def trusted(track: Floats, prior: Prior) -> tuple[Floats, Bools]:
    """The track float32[T, SLOT], flights smoothed, and the rows that may be learned, bool[T].

    Rows in the middle of three that follow each other without a jump; what flies also nearly on a line, or on the line
    of a longer flight. At the rim a thing shows a part of itself, whose middle is not known well: left out."""
    seen, good = track[:, 0] > 0.5, np.zeros(len(track), bool)
    if len(track) < 3:
        return track, good
    p = track[:, 1:3]
    bend = np.abs(p[2:] - 2 * p[1:-1] + p[:-2]).max(1)
    near = np.abs(np.diff(p, axis=0)).max(1) <= prior.speed
    moves = np.abs(p[2:] - p[:-2]).max(1) > 1.0
    good[1:-1] = seen[2:] & seen[1:-1] & seen[:-2] & near[1:] & near[:-1]
    if flies(prior):
        good[1:-1] &= (bend <= BEND) & moves
        track, on = _smoothed(track, seen, prior)
        good |= on
    left, right, top, bottom = prior.whole
    x, y = track[:, 1], track[:, 2]
    inside = (x > left + RIM) & (x < right - RIM) | (prior.fixed[0] is not None)
    return track, good & inside & ((y > top + RIM) & (y < bottom - RIM) | (prior.fixed[1] is not None))


def _smoothed(track: Floats, seen: Bools, prior: Prior) -> tuple[Floats, Bools]:
    """Rows on the line through FLIGHT frames that fits them best, if it does; and which rows these are."""
    n, k = len(track), np.arange(FLIGHT)
    if n < FLIGHT:
        return track, np.zeros(n, bool)
    view = np.lib.stride_tricks.sliding_window_view(track[:, 1:3], FLIGHT, axis=0).astype(np.float64)  # [n - 4, 2, 5]
    mean, lever = view.mean(2), k - k.mean()
    slope = (view * lever).sum(2) / (lever**2).sum()
    fit = mean[..., None] + slope[..., None] * lever
    off = np.abs(view - fit).max((1, 2))
    whole = np.lib.stride_tricks.sliding_window_view(seen, FLIGHT).all(1)
    speed = np.abs(slope).max(1)
    off[~whole | (off > OFF) | (speed < 0.5) | (speed > prior.speed)] = np.inf
    out, least = track.copy(), np.full(n, np.inf)
    for j in k:
        rows = np.arange(len(off)) + j
        better = off < least[rows]
        least[rows[better]] = off[better]
        out[rows[better], 1:3] = fit[better, :, j]
    return out, np.isfinite(least)


def filled(track: Floats, sure: Bools, prior: Prior) -> tuple[Floats, Bools]:
    """Short gaps in a flight, by physics: what was there and will be there is there now.

    The flights before and after the gap are led on to each other. Where they agree the thing flew through; else it
    bounced where they come nearest, and that frame stays unknown. Frames where things touch are learned this way.
    """
    if not flies(prior):
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


def track_of(spots: Sequence[Floats], path: Sequence[int | None], prior: Prior) -> Floats:
    """float32[T, SLOT] of a path: the whole thing where its candidate is."""
    track = np.zeros((len(spots), SLOT), np.float32)
    for row, s, at in zip(track, spots, path, strict=True):
        if at is not None:
            row[:] = (1, s[at, 0], s[at, 1], *prior.size, 0, 0, 1)
    return track
