"""Which frames of a game are worth keeping: rare situations always, ordinary ones seldom, repeats never.

Knows labelled scenes and pixels. Does not know the game: rarity is read from the schema (absent, cut off, touching,
among the cells of a grid, at the edge of the field).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from perception.scene import SceneSchema

U8 = NDArray[np.uint8]
NEAR = 4.0  # px between boxes that still counts as touching
EDGE = 8.0  # px from the edge of the crop, which holds a rim of border
SMALL = 16.0  # px^2: larger things are at the edge too often for that to be rare
KEEP_COMMON = 0.25
RARE_SHARE = 0.2  # a situation that fills this share of a shard is rare no longer
ABSENT_SHARE = 0.2  # at most this share of a shard may lack the same thing
PATIENCE = 40  # agent steps per wanted frame before a shard is closed short


def situations(schema: SceneSchema, vector: NDArray[np.float32]) -> tuple[str, ...]:
    """Names of the rare situations in a scene, such as "absent ball", "ball among bricks", "ball touches paddle"."""
    found: list[str] = []
    boxes: list[tuple[str, float, float, float, float]] = []
    top, left, bottom, right = schema.crop
    for thing in schema.things:
        seen, x, y, w, h = vector[schema.slot(thing.name)][:5].tolist()
        if not seen:
            found.append(f"absent {thing.name}")
            continue
        box = (thing.name, x - w / 2, y - h / 2, x + w / 2, y + h / 2)
        if w < thing.size[0] or h < thing.size[1]:
            found.append(f"cut {thing.name}")
        margin = min(box[1] - left, right - box[3], box[2] - top, bottom - box[4])
        if thing.size[0] * thing.size[1] <= SMALL and margin < EDGE:
            found.append(f"edge {thing.name}")
        for grid in schema.grids:
            end_x, end_y = grid.left + grid.cols * grid.cell[0], grid.top + grid.rows * grid.cell[1]
            if _near(box, (grid.name, grid.left, grid.top, end_x, end_y)):
                found.append(f"{thing.name} among {grid.name}")
        found += [f"{thing.name} touches {other[0]}" for other in boxes if _near(box, other)]
        boxes.append(box)
    return tuple(found)


def _near(a: tuple[str, float, float, float, float], b: tuple[str, float, float, float, float]) -> bool:
    """Whether two boxes are at most NEAR px apart."""
    return a[1] - b[3] <= NEAR and b[1] - a[3] <= NEAR and a[2] - b[4] <= NEAR and b[2] - a[4] <= NEAR


class Curator:
    """Decides frame by frame for one shard; its answers depend on the game and `rng` alone."""

    def __init__(self, schema: SceneSchema, wanted: int, rng: np.random.Generator) -> None:
        self.schema, self.wanted, self.rng = schema, wanted, rng
        self.kept = 0
        self.counts: dict[str, int] = {}
        self._last: U8 | None = None
        self._since = 0

    def wants(self, vector: NDArray[np.float32], frame: U8, frameskip: int) -> bool:
        """Whether to keep this frame. At frameskip 1 at least two frames pass between two kept ones."""
        self._since += frameskip
        names = situations(self.schema, vector)
        if self._since < 3 or self._too_many(names):
            return False
        rare = any(self.counts.get(name, 0) < RARE_SHARE * self.wanted for name in names)
        if self.rng.random() >= (1.0 if rare else KEEP_COMMON):
            return False
        top, left, bottom, right = self.schema.crop
        crop = frame[top:bottom, left:right]
        if self._last is not None and np.array_equal(self._last, crop):
            return False
        self._last, self._since = crop.copy(), 0
        self.kept += 1
        for name in names or ("common",):
            self.counts[name] = self.counts.get(name, 0) + 1
        return True

    def _too_many(self, names: tuple[str, ...]) -> bool:
        cap = max(1, int(self.wanted * ABSENT_SHARE))
        return any(name.startswith("absent ") and self.counts.get(name, 0) >= cap for name in names)
