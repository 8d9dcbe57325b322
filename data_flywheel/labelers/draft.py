"""A first guess at `[labels]`: what moved in some pictures of a game, by colour. For a person or a model to name,
correct and throw away; what never moves and what changes shape is missed.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from data_flywheel.labelers.declared import Packed, packed

U8 = NDArray[np.uint8]
Box = tuple[int, int, int, int]  # left, top, right, bottom
LOOKED = 400  # pictures whose patches are measured
LEAST_AREA = 2  # px of a patch
LEAST_PATCHES = 20
TOGETHER = 0.6  # share of a colour's patches that touch one of another colour: they are one thing
STILL = 3.0  # px: what moves less is a counter or a lamp, and no thing
MOST = 12  # things of a draft


@dataclass
class Patches:
    """What was seen of one colour, or of several that go together, away from where they always are."""

    colours: list[int]
    boxes: list[tuple[int, Box]] = field(default_factory=list)  # picture, box

    @property
    def region(self) -> Box:
        """Top, left, bottom, right of all."""
        left, top, right, bottom = np.array([box for _, box in self.boxes]).T
        return int(top.min()), int(left.min()), int(bottom.max()), int(right.max())

    @property
    def sizes(self) -> NDArray[np.int64]:
        """int64[n, 2]: widths and heights."""
        return np.array([(box[2] - box[0], box[3] - box[1]) for _, box in self.boxes])

    @property
    def count(self) -> int:
        """How many there are at once, nearly always at most."""
        return int(np.percentile(list(Counter(picture for picture, _ in self.boxes).values()), 95))

    @property
    def moves(self) -> float:
        """px: by how much their places spread, along the axis where it is more."""
        middles = np.array([((b[0] + b[2]) / 2, (b[1] + b[3]) / 2) for _, b in self.boxes])
        return float(middles.std(0).max())


def draft(pictures: list[U8]) -> list[Patches]:
    """What moves in pictures uint8[H, W, 3] of play, the most frequent first."""
    colours, frames = _numbered([packed(picture) for picture in pictures])
    usual = _usual(frames, len(colours))
    found: dict[int, Patches] = defaultdict(lambda: Patches([]))
    chosen = np.linspace(0, len(frames) - 1, min(LOOKED, len(frames))).astype(int)
    for at in chosen.tolist():
        away = frames[at] != usual
        for number in np.unique(frames[at][away]).tolist():
            mask = ((frames[at] == number) & away).view(np.uint8)
            _, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
            patches = found[number]
            patches.colours = [colours[number]]
            for x, y, w, h, area in stats[1:].tolist():
                if area >= LEAST_AREA:
                    patches.boxes.append((at, (x, y, x + w, y + h)))
    single = [patches for patches in found.values() if len(patches.boxes) >= LEAST_PATCHES]
    things = [patches for patches in _joined(single) if patches.moves > STILL]
    return sorted(things, key=lambda patches: -len(patches.boxes))[:MOST]


def _numbered(frames: list[Packed]) -> tuple[list[int], U8]:
    """The colours, and pictures uint8[N, H, W] of their numbers; what is beyond 255 colours counts as the last."""
    colours = np.unique(np.concatenate([np.unique(frame) for frame in frames]))[:256]
    numbers = [np.searchsorted(colours, frame).clip(0, len(colours) - 1).astype(np.uint8) for frame in frames]
    return colours.tolist(), np.stack(numbers)


def _usual(frames: U8, count: int) -> U8:
    """uint8[H, W]: the colour that each pixel has most often."""
    most, usual = np.zeros(frames.shape[1:], np.int64), np.zeros(frames.shape[1:], np.uint8)
    for number in range(count):
        often = (frames == number).sum(0)
        usual[often > most] = number
        most = np.maximum(most, often)
    return usual


def _joined(single: list[Patches]) -> list[Patches]:
    """Colours whose patches mostly touch those of another one go with it, box by box."""
    groups = sorted(single, key=lambda patches: -len(patches.boxes))
    for small in reversed(groups[1:]):
        for large in groups:
            if large is small or len(large.boxes) < len(small.boxes) or small not in groups:
                continue
            if _touching(small, large) >= TOGETHER:
                large.colours += small.colours
                large.boxes = _united(large.boxes + small.boxes)
                groups.remove(small)
                break
    return groups


def _touching(small: Patches, large: Patches) -> float:
    """The share of the one's patches that touch one of the other's."""
    there: dict[int, list[Box]] = defaultdict(list)
    for picture, box in large.boxes:
        there[picture].append(box)
    return float(np.mean([any(_touch(box, other) for other in there[at]) for at, box in small.boxes]))


def _touch(a: Box, b: Box) -> bool:
    return a[0] <= b[2] and b[0] <= a[2] and a[1] <= b[3] and b[1] <= a[3]


def _united(boxes: list[tuple[int, Box]]) -> list[tuple[int, Box]]:
    """Boxes of one picture that touch become one."""
    pictures: dict[int, list[Box]] = defaultdict(list)
    for picture, box in boxes:
        near = [other for other in pictures[picture] if _touch(box, other)]
        pictures[picture] = [other for other in pictures[picture] if other not in near]
        left, top, right, bottom = np.array([box, *near]).T
        pictures[picture].append((int(left.min()), int(top.min()), int(right.max()), int(bottom.max())))
    return [(picture, box) for picture, many in pictures.items() for box in many]
