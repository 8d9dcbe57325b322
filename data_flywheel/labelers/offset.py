"""Fractions of a pixel by which a look moves things: an outline is half a pixel beside what it is drawn around.

Knows: that a screen draws things on whole pixels, at the phase that old labels show; the old and the new field. Does
not know: labels of the new look. Labels that follow an outline are wrong by half a pixel, and a policy that aims at the
edge of a paddle misses by it. Where old labels have no phase (a camera), nothing is moved.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

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
