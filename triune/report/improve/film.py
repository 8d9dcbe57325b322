"""Two episodes drawn side by side: which seconds, the pictures, a small animation of them.

Knows episodes and pixels. Does not know which policies they are of (replays.py).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from triune.report.drawing import ACCENT, ALERT, BACK, INK, Painter, text

if TYPE_CHECKING:
    from data_flywheel.episodes.episode import Episode
    from triune.system import System

SECONDS = 20.0  # shown
LEAD = 1.0  # seconds shown before the first difference, or after the loss
PICTURES = 15.0  # a second
BYTES = 1_000_000
QUALITIES = (101, 80, 60, 40, 20)  # of WebP; 101 is lossless


def window(before: Episode, after: Episode, per_second: float) -> tuple[int, int, str]:
    """(first step, last step + 1, why these): the parent's first loss after they part, else from where they part."""
    from triune.commands.explain import losses

    both = min(len(before), len(after))
    parts_at = next((i for i in range(both) if before.actions[i] != after.actions[i]), both)
    lost = next((i for i in losses(before) if i >= parts_at), None)
    most, lead = round(SECONDS * per_second), round(LEAD * per_second)
    end = max(len(before), len(after))
    if lost is not None:
        stop = min(end, lost + lead + 1)
        return max(0, stop - most), stop, "up to the first loss of the policy on the left after the two part"
    start = max(0, parts_at - lead)
    return start, min(end, start + most), "from where the two first decide differently"


def side_by_side(system: System, episodes: Sequence[Episode], steps: range) -> Iterator[np.ndarray]:
    """Pictures of both at the same steps; one that is over stays on its last picture."""
    from triune.report.replay import pictures

    painter = Painter(system.schema, system.spec.env.actions, scale=2, panel=False)
    streams = [pictures(system, e, [s for s in steps if s < len(e)] or [len(e) - 1], painter) for e in episodes]
    last: list[np.ndarray | None] = [None, None]
    for step, *drawn in zip_longest(steps, *streams):
        halves = []
        for i, image in enumerate(drawn):
            last[i] = image if image is not None else last[i]
            halves.append(_captioned(last[i], episodes[i], step if step is not None else steps[-1], i))
        yield _joined(halves)


def _captioned(image: np.ndarray | None, episode: Episode, step: int, i: int) -> np.ndarray:
    assert image is not None
    at, over = min(step, len(episode) - 1), step >= len(episode)
    bar = np.full((34, image.shape[1], 3), BACK, np.uint8)
    text(bar, "after" if i else "before", 8, 23, 15, ACCENT if i else INK, bold=True)
    text(bar, f"{int(episode.scores[at])} points{', over' if over else ''}", 84, 23, 15, ALERT if over else INK)
    return np.concatenate([bar, image // 2 if over else image], axis=0)


def _joined(halves: list[np.ndarray]) -> np.ndarray:
    gap = np.zeros((halves[0].shape[0], 8, 3), np.uint8)
    return np.concatenate([halves[0], gap, halves[1]], axis=1)


def animation(images: list[np.ndarray], rate: float) -> bytes:
    """WebP of at most BYTES: less quality first, then fewer pictures."""
    from triune.report.replay import write_webp

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "replay.webp"
        while True:
            for quality in QUALITIES:
                write_webp(path, images, rate, quality)
                data = path.read_bytes()
                if len(data) <= BYTES or len(images) == 1:
                    return data
            images, rate = images[::2], rate / 2
