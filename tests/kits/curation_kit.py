"""Pools to choose from without a game: a ball that flies, and what may be wrong with it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from data_flywheel.datasets.curation import Pool, thumbnail
from data_flywheel.labels.label import FrameRef
from perception.scene import GridSpec, SceneSchema, ThingSpec

SCHEMA = SceneSchema(
    (0, 0, 64, 64), (ThingSpec("ball", 1, (2, 4), max_speed=8.0),), (GridSpec("bricks", 2, 4, 0, 0, (8, 4)),)
)


def picture(x: float, y: float, light: int = 0) -> np.ndarray:
    """uint8[64, 64, 3] with a ball."""
    frame = np.full((64, 64, 3), light, np.uint8)
    frame[int(y) - 2 : int(y) + 2, int(x) - 1 : int(x) + 1] = 200
    return frame


def flight(steps: int = 60, seed: int = 3, light: int = 0) -> Pool:
    """A ball that bounces between the walls, seen well; one episode."""
    rows, thumbs, refs = [], [], []
    for step in range(steps):
        x, y = 4 + abs((7 * step) % 112 - 56), 6 + abs((3 * step) % 104 - 52)
        frame = picture(x, y, light)
        rows.append([1, x, y, 2, 4, 0, 0, 0.99, *[1.0] * 8])
        thumbs.append(thumbnail(frame, SCHEMA.crop))
        refs.append(FrameRef.of(frame, f"game{seed}", step, seed))
    after = np.arange(steps) > 0
    return Pool(SCHEMA, tuple(refs), np.array(rows, np.float32), np.stack(thumbs), after, np.zeros(steps, np.float32))


def several(*pools: Pool) -> Pool:
    """One pool after the other."""
    columns = [np.concatenate([getattr(p, name) for p in pools]) for name in ("scenes", "thumbs", "after", "failing")]
    return Pool(SCHEMA, sum((p.refs for p in pools), ()), *columns)


def spoilt(pool: Pool, row: int, **values: float) -> Pool:
    """The same with another belief about the ball in one frame."""
    scenes = pool.scenes.copy()
    for name, value in values.items():
        scenes[row, ("seen", "x", "y", "w", "h", "vx", "vy", "sure").index(name)] = value
    return replace(pool, scenes=scenes)
