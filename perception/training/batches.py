"""Which frames the trainer sees next.

A batch depends on (seed, step) alone, so a resumed run repeats and skips nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from perception.scene import SceneSchema
from perception.training.augment import Augmenter
from perception.training.data import Samples

RARE = 0.12  # share of the draws that each rare condition is lifted to (never more than 20 times its own share)
TOUCH = 1.0  # px between the boxes of things that count as touching
Batch = tuple[np.ndarray, np.ndarray, np.ndarray]


def rare_conditions(scenes: np.ndarray, schema: SceneSchema) -> list[np.ndarray]:
    """Masks bool[N] of frames worth oversampling."""
    masks: list[np.ndarray] = []
    for thing in schema.things:
        slots = [schema.slot(thing.name, i).start for i in range(thing.count)]
        seen = scenes[:, slots] > 0.5
        masks.append(np.asarray(~seen.any(1)))
        area = scenes[:, [s + 3 for s in slots]] * scenes[:, [s + 4 for s in slots]]
        usual = np.median(area[seen]) if seen.any() else 0.0
        masks.append((seen & (area < 0.6 * usual)).any(1))
        masks.append((seen & (area >= 0.6 * usual) & (area < 0.95 * usual)).any(1))
    masks += [~(scenes[:, schema.slot(r.name).start] > 0.5) for r in schema.readings]
    touching = _touching(scenes, schema)
    masks += [touching] * 2  # the hardest to tell apart: twice
    for grid in schema.grids:
        fill = scenes[:, schema.grid(grid.name)].mean(1)
        masks += [(fill > low) & (fill <= low + 0.2) for low in (-0.01, 0.2, 0.4, 0.6, 0.8)]
    return [np.asarray(m) for m in masks if m.any()]


def _touching(scenes: np.ndarray, schema: SceneSchema) -> np.ndarray:
    """bool[N]: frames in which two seen things lie within TOUCH px of each other."""
    starts = [schema.slot(t.name, i).start for t in schema.things for i in range(t.count)]
    slots = scenes[:, np.array(starts, int)[:, None] + np.arange(5)] if starts else np.zeros((len(scenes), 0, 5))
    near = np.zeros(len(scenes), bool)
    for i in range(len(starts)):
        for j in range(i):
            a, b = slots[:, i], slots[:, j]
            gap = np.abs(a[:, 1:3] - b[:, 1:3]) - (a[:, 3:5] + b[:, 3:5]) / 2
            near |= (a[:, 0] > 0.5) & (b[:, 0] > 0.5) & (gap.max(1) <= TOUCH)
    return near


def draw_weights(scenes: np.ndarray, schema: SceneSchema) -> np.ndarray:
    """float64[N] that sum to one."""
    weights = np.ones(len(scenes))
    for mask in rare_conditions(scenes, schema):
        share = mask.mean()
        if share < RARE:
            weights[mask] *= min(RARE / share, 20.0)
    return weights / weights.sum()


class Batches:
    """Augmented batches of `size` drawn from `rows` of the samples, each a function of (seed, step)."""

    def __init__(self, samples: Samples, augment: Augmenter, size: int, seed: int, rows: np.ndarray) -> None:
        self.samples, self.augment, self.size, self.seed, self.rows = samples, augment, size, seed, rows
        self._edges = np.cumsum(draw_weights(samples.scenes[rows], augment.schema))

    def batch(self, step: int) -> Batch:
        """RGB uint8[B, H, W, 3], labels float32[B, size], camera float32[B, 2]."""
        rng = np.random.default_rng([self.seed, step])
        rows = self.rows[np.minimum(np.searchsorted(self._edges, rng.random(self.size)), len(self.rows) - 1)]
        return self.augment(self.samples.frames[rows], self.samples.scenes[rows], rng)

    def __call__(self, first: int, last: int, ahead: bool) -> Iterator[Batch]:
        """Batches of steps first..last-1; `ahead` prepares the next one in a second thread."""
        if not ahead:
            yield from (self.batch(step) for step in range(first, last))
            return
        with ThreadPoolExecutor(1) as pool:
            coming = pool.submit(self.batch, first)
            for step in range(first, last):
                ready = coming.result()
                if step + 1 < last:
                    coming = pool.submit(self.batch, step + 1)
                yield ready
