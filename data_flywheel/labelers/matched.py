"""Matched filter: where a box of a thing's size differs from the field, however faint it is.

Knows: frames minus the field, a thing's size and the places it may be at. Does not know: time. A faint thing is far
below the noise of its pixels, but its mean over a box is not; how much that mean varies by itself is measured on the
frames, at each place, so that snow, codecs and flicker count for what they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from data_flywheel.labelers.motion import Field, Prior

Floats = NDArray[np.float32]
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
        signed, level, spread = (np.asarray(m, np.float32) for m in (signed, level, spread))
        return Filter(rows, cols, size, allowed, quiet, signed, level, spread, usual)

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
