"""Boxes between two labelled pictures of a film: each thing on a straight line from where it was to where it will be.

Which box before and which one after are the same thing is not known. Every pair says where the thing should be on the
picture between, so the picture is asked: a pair counts when what is seen there looks like both, and not like what lies
around.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

Box = Sequence[float]  # x, y, w, h: centre and size in px
Slots = Sequence[Box | None]
U8 = NDArray[np.uint8]

PATCH = 16  # cells a side in which two boxes are compared
UNLIKE = 1.6  # times as wide or tall: not the same thing
ALIKE = 0.6  # of the difference from what lies around that a thing may differ from itself
SHARED = 0.3  # intersection over union from which two proposals are of one thing
SMOOTH = 3.0  # grey levels that two pictures of the same differ by at least


def between(
    before: Mapping[str, Slots], after: Mapping[str, Slots], pictures: tuple[U8, U8, U8], share: float
) -> dict[str, list[list[float] | None]]:
    """What to propose, by kind: boxes on whole pixels, or None. `pictures`: uint8[H, W, 3] before, between, after;
    `share`: of the way, from 0 to 1. Kinds that are not labelled on both are left out."""
    found: dict[str, list[list[float] | None]] = {}
    for name in (name for name in before if name in after):
        pairs = sorted(
            (score, i, k)
            for i, one in enumerate(before[name]) for k, other in enumerate(after[name])
            if one and other and (score := _unlikeness(one, other, pictures, share)) <= ALIKE
        )  # fmt: skip
        slots: list[list[float] | None] = [None] * len(before[name])
        taken = set[int]()
        for _, i, k in pairs:
            one, other = before[name][i], after[name][k]
            if slots[i] is None and k not in taken and one and other:
                box = _on_the_way(one, other, share)
                if not any(_overlap(box, there) > SHARED for there in slots if there):  # what is there is said already
                    slots[i] = box
                    taken.add(k)
        found[name] = slots
    return found


def _on_the_way(one: Box, other: Box, share: float) -> list[float]:
    """The box at `share` of the way, its edges on whole pixels."""
    edges = zip(_edges(one), _edges(other), strict=True)
    left, top, right, bottom = (float(round(a + (b - a) * share)) for a, b in edges)
    right, bottom = max(right, left + 1), max(bottom, top + 1)
    return [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top]


def _edges(box: Box) -> tuple[float, float, float, float]:
    x, y, w, h = box
    return x - w / 2, y - h / 2, x + w / 2, y + h / 2


def _overlap(one: Box, other: Box) -> float:
    """Intersection over union."""
    a, b = _edges(one), _edges(other)
    wide, tall = (max(0.0, min(a[i + 2], b[i + 2]) - max(a[i], b[i])) for i in (0, 1))
    return wide * tall / (one[2] * one[3] + other[2] * other[3] - wide * tall)


def _unlikeness(one: Box, other: Box, pictures: tuple[U8, U8, U8], share: float) -> float:
    """How much what is seen on the way differs from both ends, as a share of how much the surroundings do."""
    if any(max(a, b) > UNLIKE * min(a, b) for a, b in zip(one[2:], other[2:], strict=True)):
        return float("inf")
    ends = _patch(pictures[0], one), _patch(pictures[2], other)
    here = _on_the_way(one, other, share)

    def differs(box: Box) -> float:
        patch = _patch(pictures[1], box)
        return sum(float(np.abs(patch - end).mean()) for end in ends) / 2

    around = [
        differs([here[0] + dx * here[2], here[1] + dy * here[3], *here[2:]])
        for dx in (-1, 0, 1) for dy in (-1, 0, 1) if dx or dy
    ]  # fmt: skip
    return max(differs(here), SMOOTH) / max(float(np.median(around)), SMOOTH)


def _patch(picture: U8, box: Box) -> NDArray[np.float32]:
    """float32[PATCH, PATCH, 3]: what is in a box, as far as it lies in the picture; grey where nothing does."""
    height, width = picture.shape[:2]
    left, top, right, bottom = (round(edge) for edge in _edges(box))
    cut = picture[max(0, top) : max(0, min(height, bottom)), max(0, left) : max(0, min(width, right))]
    if not cut.size:
        return np.full((PATCH, PATCH, 3), 128, np.float32)
    return cv2.resize(cut, (PATCH, PATCH), interpolation=cv2.INTER_AREA).astype(np.float32)
