"""Play without a game: a ball that flies over a field, as eyes see it, and ranges made of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache

import numpy as np
from curation_kit import SCHEMA, picture

from perception.drift import Gauge, Ranges, Watch, scene_parts

Moment = tuple[np.ndarray, np.ndarray]
STEPS = 400


def play(
    steps: int = STEPS, start: int = 0, sure: float = 0.98, dark: float = 1.0,
    seen: Callable[[int], bool] = lambda step: True, spoil: Callable[[int, np.ndarray], None] | None = None,
) -> Iterator[Moment]:  # fmt: skip
    """Frames uint8[64, 64, 3] and tracked Scene vectors. `dark`: factor on the light; `spoil` changes a vector."""
    rng = np.random.default_rng(start)
    for step in range(start, start + steps):
        x, y = 4 + abs((3 * step) % 112 - 56), 6 + abs((2 * step) % 104 - 52)
        frame = picture(x, y, 60)
        frame[:8] = 150
        vector = SCHEMA.empty()
        if seen(step):
            ahead = 4 + abs((3 * step + 3) % 112 - 56), 6 + abs((2 * step + 2) % 104 - 52)
            vector[:8] = (1, x, y, 2, 4, ahead[0] - x, ahead[1] - y, sure + rng.uniform(-0.01, 0.01))
        vector[SCHEMA.grid("bricks")] = 1
        if spoil:
            spoil(step, vector)
        yield (frame * dark).astype(np.uint8), vector


@cache
def ranges() -> Ranges:
    """Of three games."""
    gauge = Gauge(scene_parts(SCHEMA))
    for start in (0, 1000, 2000):
        gauge.start()
        for frame, vector in play(start=start):
            gauge.see(frame, vector)
    return gauge.ranges()


def watched(moments: Iterator[Moment], made: Ranges | None = None) -> Watch:
    """A watch that has seen it all."""
    watch = Watch(made or ranges())
    for frame, vector in moments:
        watch.see(frame, vector)
    return watch
