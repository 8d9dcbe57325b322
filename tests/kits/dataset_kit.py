"""Small data sets for tests: a few frames of a few colours, scenes and truth at random."""

from __future__ import annotations

import numpy as np

from data_flywheel.storage.dataset import Shard
from data_flywheel.storage.frames import Frames


def some_frames(n: int, colours: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    palette = rng.integers(0, 256, (colours, 3), dtype=np.uint8)
    return palette[rng.integers(0, colours, (n, 21, 16))]


def make_shard(number: int, seed: int | None = None) -> Shard:
    rng = np.random.default_rng(number)
    frames = Frames.from_rgb(some_frames(5, 9, number))
    scenes, rams = rng.random((5, 8)).astype(np.float32), rng.integers(0, 256, (5, 128), dtype=np.uint8)
    seed = (10, 850, 950)[number % 3] if seed is None else seed
    return Shard(
        number,
        number,
        seed,
        frames,
        scenes,
        np.arange(5, dtype=np.uint8),
        {"ram": rams, "x": scenes[:, 0]},
        {"player": "toy"},
    )
