"""A small made-up game in any paint: a ball that flies, a bat that is moved, a wall of cells that vanish."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from perception.scene import SceneSchema

SHAPE = (80, 96)
SCHEMA = SceneSchema.from_config(
    {
        "crop": [8, 4, 78, 92],
        "things": {"ball": {"size": [2, 4]}, "bat": {"size": [16, 4]}},
        "grids": {"wall": {"rows": 2, "cols": 8, "top": 12, "left": 8, "cell": [10, 5]}},
    }
)
CELLS = SCHEMA.grid("wall")


@dataclass
class Play:
    frames: np.ndarray
    scenes: np.ndarray
    episodes: np.ndarray


def play(n: int, seed: int, field: np.ndarray, ink: tuple[int, int, int] = (200, 72, 72), noise: float = 0.0) -> Play:
    """`n` frames in two episodes. A cell vanishes now and then; the ball is away for a while in each episode."""
    r = np.random.default_rng(seed)
    frames, scenes = np.empty((n, *SHAPE, 3), np.uint8), np.zeros((n, SCHEMA.size), np.float32)
    episodes = (np.arange(n) >= n // 2).astype(np.int64)
    for i in range(n):
        if i in (0, n // 2):
            x, y, vx, vy, bat, way = 40.0, 40.0, 3.0, 4.0, 48.0, 4.0
            cells = np.ones(16, np.float32)
        if r.random() < 0.2:
            way = -way
        bat = min(max(bat + way, 16.0), 80.0)
        x, y = x + vx, y + vy
        vx = -vx if not 10 < x < 86 else vx
        vy = -vy if not 34 < y < 62 else vy
        if i % (n // 2) > 60 and r.random() < 0.05:
            cells[r.integers(16)] = 0.0
        there = i % 97 > 20
        scenes[i, CELLS] = cells
        frames[i] = paint(scenes[i], x if there else None, y, bat, field, ink)
        if noise:
            frames[i] = np.clip(frames[i] + r.normal(0, noise, frames[i].shape), 0, 255)
    return Play(frames, scenes, episodes)


def paint(
    scene: np.ndarray, x: float | None, y: float, bat: float, field: np.ndarray, ink: tuple[int, int, int]
) -> np.ndarray:
    """One frame; writes the things into `scene` as their teacher would."""
    frame = field.copy()
    for at, cell in enumerate(scene[CELLS]):
        row, col = divmod(at, 8)
        if cell:
            frame[12 + 5 * row : 17 + 5 * row, 8 + 10 * col : 18 + 10 * col] = (60, 160, 90 + 60 * row)
    left = int(bat) - 8
    frame[70:74, left : left + 16] = ink
    start = SCHEMA.slot("bat", 0).start
    scene[start : start + 8] = (1, left + 8, 72, 16, 4, 0, 0, 1)
    if x is not None:
        left, top = int(x) - 1, int(y) - 2
        frame[top : top + 4, left : left + 2] = ink
        start = SCHEMA.slot("ball", 0).start
        scene[start : start + 8] = (1, left + 1, top + 2, 2, 4, 0, 0, 1)
    return frame


def black() -> np.ndarray:
    return np.zeros((*SHAPE, 3), np.uint8)


def quilt() -> np.ndarray:
    """A field of patches."""
    small = np.random.default_rng(3).integers(0, 110, (11, 13, 3)).astype(np.uint8)
    return small.repeat(8, 0).repeat(8, 1)[: SHAPE[0], : SHAPE[1]].copy()
