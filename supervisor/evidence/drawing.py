"""One frame with what was detected in it: boxes with names, arrows of movement, dots on grid cells.

Knows: pixels, scene vectors, their schema. Does not know: steps, decisions, where pictures go. Whole numbers and numpy
only, so that the same step gives the same pixels everywhere.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from perception.scene import GridSpec, SceneSchema
from supervisor.evidence import letters
from supervisor.evidence.things import Body, body, finite, slots_of

Array = NDArray[Any]
Colour = tuple[int, int, int]
BACK: Colour = (18, 20, 28)
WHITE: Colour = (255, 255, 255)
THINGS: tuple[Colour, ...] = ((255, 214, 64), (94, 200, 255), (255, 120, 200), (130, 240, 130), (255, 160, 90))
CELL_WIDTH, CELL_HEIGHT = 325, 400  # px that a picture may take
RIM = 8  # px of the frame around the part that is looked at: things that leave it are still worth seeing
AHEAD = 2.0  # agent steps that an arrow looks ahead
SLOW = 0.3  # px per step below which there is no arrow
UNSURE = 0.9  # below it the label tells how sure
LABELS = 10  # more names than this hide the picture
MOST_SLOTS = 40


class Rect(NamedTuple):
    """Pixels `left` to `right`, `top` to `bottom`, ends excluded."""

    left: int
    top: int
    right: int
    bottom: int

    def meets(self, other: Rect) -> bool:
        """Whether they share a pixel."""
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )


class Canvas:
    """The looked-at part of one frame, enlarged or shrunk by a whole number."""

    def __init__(self, frame: Array, schema: SceneSchema) -> None:
        """frame: uint8[H, W, 3]."""
        top, left = max(0, schema.crop[0] - RIM), max(0, schema.crop[1] - RIM)
        part = frame[top : schema.crop[2] + RIM, left : schema.crop[3] + RIM]
        self.schema, self.left, self.top = schema, left, top
        self.zoom, self.shrink = fitting(part.shape[1], part.shape[0])
        self.image = np.repeat(np.repeat(_shrunk(part, self.shrink), self.zoom, 0), self.zoom, 1).copy()
        self._taken: list[Rect] = []

    def point(self, x: float, y: float) -> tuple[int, int]:
        """Where a place of the frame is on the canvas, kept near it."""
        scale = self.zoom / self.shrink
        limit = 4 * (CELL_WIDTH + CELL_HEIGHT)
        across, down = (x - self.left) * scale, (y - self.top) * scale
        return int(np.clip(np.rint(across), -limit, limit)), int(np.clip(np.rint(down), -limit, limit))

    def draw(self, vector: Array) -> Array:
        """All that the scene vector says; the picture uint8[h, w, 3]."""
        vector = finite(vector)
        for grid in self.schema.grids:
            self._dots(vector[self.schema.grid(grid.name)].reshape(grid.rows, grid.cols), grid)
        order = [t.name for t in self.schema.things]
        found: list[tuple[str, Body, Colour, Rect]] = []
        for slot in slots_of(self.schema):
            b = body(vector, slot)
            if b.there and len(found) < MOST_SLOTS:
                colour = THINGS[order.index(slot.name.split("[")[0]) % len(THINGS)]
                found.append((slot.name, b, colour, self._box(b, colour)))
        self._taken = [rect for *_, rect in found]
        for name, b, colour, rect in found[:LABELS]:
            self._label(_name(name, b), colour, rect)
        return self.image

    def _dots(self, cells: Array, grid: GridSpec) -> None:
        for row, col in zip(*np.nonzero(cells > 0.5), strict=True):
            centre = grid.left + (float(col) + 0.5) * grid.cell[0], grid.top + (float(row) + 0.5) * grid.cell[1]
            x, y = self.point(*centre)
            self._fill(Rect(x - 1, y - 1, x + 1, y + 1), WHITE)

    def _fill(self, rect: Rect, colour: Colour) -> None:
        self.image[max(0, rect.top) : max(0, rect.bottom), max(0, rect.left) : max(0, rect.right)] = colour

    def _box(self, b: Body, colour: Colour) -> Rect:
        """A frame two pixels wide around a thing, broken while it is only carried on, and an arrow where it goes."""
        left, top = self.point(b.x - b.w / 2, b.y - b.h / 2)
        right, bottom = self.point(b.x + b.w / 2, b.y + b.h / 2)
        rect = Rect(left - 3, top - 3, right + 3, bottom + 3)
        mask = np.zeros((max(1, rect.bottom - rect.top), max(1, rect.right - rect.left)), bool)
        mask[:2], mask[-2:], mask[:, :2], mask[:, -2:] = True, True, True, True
        if not b.seen:
            rows, cols = np.indices(mask.shape)
            mask &= (rows + cols) // 3 % 2 == 0
        letters.paint(self.image, mask, rect.left, rect.top, colour)
        if abs(b.vx) + abs(b.vy) > SLOW:
            self._line(self.point(b.x, b.y), self.point(b.x + b.vx * AHEAD, b.y + b.vy * AHEAD), colour)
        return rect

    def _line(self, start: tuple[int, int], end: tuple[int, int], colour: Colour) -> None:
        """Two pixels wide, with a knob at its end."""
        n = max(abs(end[0] - start[0]), abs(end[1] - start[1]), 1)
        for i in range(n + 1):
            x, y = start[0] + (end[0] - start[0]) * i // n, start[1] + (end[1] - start[1]) * i // n
            self._fill(Rect(x, y, x + 2, y + 2), colour)
        self._fill(Rect(end[0] - 2, end[1] - 2, end[0] + 4, end[1] + 4), colour)

    def _label(self, words: str, colour: Colour, box: Rect) -> None:
        """The name beside the box, or farther above it, where it hides nothing."""
        wide, high = letters.width(words) + 6, 2 * letters.HEIGHT + 4
        height, width = self.image.shape[:2]
        level = min(max(0, (box.top + box.bottom - high) // 2), height - high)
        start = min(max(0, (box.left + box.right - wide) // 2), width - wide)
        above = [Rect(start, box.top - (i + 1) * high - 1, start + wide, box.top - i * high - 1) for i in range(6)]
        under = Rect(start, box.bottom + 1, start + wide, box.bottom + high + 1)
        right = Rect(box.right + 2, level, box.right + wide + 2, level + high)
        left = Rect(box.left - wide - 2, level, box.left - 2, level + high)
        whole = Rect(0, 0, width, height)
        inside = [p for p in (above[0], under, right, left, *above[1:]) if _inside(p, whole)]
        free = [p for p in inside if not any(p.meets(other) for other in self._taken)]
        if not free:
            return  # too crowded: a name that hides things is worth less than the things
        self._taken.append(free[0])
        self._fill(free[0], BACK)
        letters.write(self.image, words, free[0].left + 3, free[0].top + 2, colour)


def _inside(rect: Rect, whole: Rect) -> bool:
    return rect.left >= 0 and rect.top >= 0 and rect.right <= whole.right and rect.bottom <= whole.bottom


def _name(name: str, b: Body) -> str:
    if not b.seen:
        return f"{name} unseen"
    return name if b.sure >= UNSURE else f"{name} {b.sure:.2f}"


def fitting(width: int, height: int) -> tuple[int, int]:
    """(zoom, shrink) at which a picture of this size fits a cell; one of them is 1."""
    zoom = min(CELL_WIDTH // max(1, width), CELL_HEIGHT // max(1, height))
    if zoom >= 1:
        return zoom, 1
    return 1, max(-(-width // CELL_WIDTH), -(-height // CELL_HEIGHT))


def _shrunk(image: Array, n: int) -> Array:
    """Means over squares of n x n pixels."""
    height, width = image.shape[0] // n * n, image.shape[1] // n * n
    blocks = image[:height, :width].astype(np.int64).reshape(height // n, n, width // n, n, 3)
    return (blocks.sum(axis=(1, 3)) // (n * n)).astype(np.uint8)
