"""The ranges that a drift watch compares play with: made of play under training conditions, kept beside the weights.

Knows: the statistics of `drift.py`, the file `ranges.json` and which weights it is of. Does not know: who plays.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from perception.drift import EVERY, EYES_WINDOW, FORMAT, LOOK, PICTURE_WINDOW, Ranges, Sampler, palette
from perception.errors import PerceptionError

FILE = "ranges.json"


def window_means(rows: np.ndarray, size: int) -> np.ndarray:
    """float[N - size + 1, S]: the mean over every window, leaving NaN out (NaN where a window has nothing else)."""
    good = ~np.isnan(rows)
    sums = np.cumsum(np.concatenate([np.zeros((1, rows.shape[1])), np.where(good, rows, 0)]), 0)
    counts = np.cumsum(np.concatenate([np.zeros((1, rows.shape[1])), good]), 0)
    with np.errstate(invalid="ignore"):
        means: np.ndarray = (sums[size:] - sums[:-size]) / (counts[size:] - counts[:-size])
    return means


class Gauge:
    """Gathers play under training conditions and makes the ranges of it."""

    def __init__(self, parts: dict[str, Any]) -> None:
        self.parts, self.sampler = parts, Sampler(parts)
        self._episodes: list[tuple[list[np.ndarray], list[list[float]]]] = []
        self._before: np.ndarray | None = None
        self._step = 0

    def start(self) -> None:
        """A new episode."""
        self._episodes.append(([], []))
        self._step, self._before = 0, None

    def see(self, frame: np.ndarray, vector: np.ndarray) -> None:
        """One step."""
        if self._step % EVERY == 0 and self._before is not None:
            pictures, rows = self._episodes[-1]
            rows.append(self.sampler.eyes(self._before, vector))
            if self._step % LOOK == 0:
                pictures.append(np.stack(self.sampler.pairs(frame)))
        self._before, self._step = vector, self._step + 1

    def ranges(self) -> Ranges:
        """JSON value; ValueError without one full window."""
        episodes = [(np.stack(p), np.array(r)) for p, r in self._episodes if len(r) >= EYES_WINDOW]
        if not episodes:
            raise ValueError(f"play at least {EYES_WINDOW * EVERY + 1} steps of an episode")
        coarse = [self.sampler.coarse(*pair) for pairs, _ in episodes for pair in pairs]
        colours = np.zeros(4096, bool)
        for _, codes in coarse:
            colours[codes] = True
        table = palette(colours)
        tones = np.bincount(np.concatenate([table[codes] for _, codes in coarse]), minlength=8)
        known = {"cells": np.mean([cells for cells, _ in coarse], 0), "tones": tones / tones.sum(), "palette": table}
        pictures = [
            np.array([self.sampler.picture(upper, lower, known) for upper, lower in pairs]) for pairs, _ in episodes
        ]
        eyes = [rows for _, rows in episodes]
        return {
            "format": FORMAT, "scene": self.parts, "samples": sum(map(len, eyes)),
            "cells": np.round(known["cells"].astype(float), 2).tolist(), "tones": np.round(known["tones"], 4).tolist(),
            "colours": np.packbits(colours).tobytes().hex(),
            "picture": _ends(pictures, PICTURE_WINDOW), "eyes": _ends(eyes, EYES_WINDOW),
        }  # fmt: skip


def _ends(episodes: list[np.ndarray], size: int) -> list[list[float] | None]:
    """[lowest, usual, highest] of the window means of every statistic; None for one that had no value."""
    means = np.concatenate([window_means(rows, size) for rows in episodes])
    found: list[list[float] | None] = []
    for column in means.T:
        column = column[~np.isnan(column)]
        ends = [column.min(), column.mean(), column.max()] if len(column) else None
        found.append(ends and [round(float(v), 4) for v in ends])
    return found


def save(ranges: Ranges, path: str | Path, weights: str, play: dict[str, Any]) -> None:
    """Write ranges. weights: sha256 of the eyes they were measured with; play: what was played, JSON values."""
    record = {"weights": weights, "play": play, **ranges}
    lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in record.items())
    Path(path).write_text("{\n" + lines + "\n}\n", encoding="utf-8")


def load(path: str | Path, weights: str) -> Ranges:
    """Read ranges; PerceptionError when they are damaged, of another format, or of other weights."""
    remedy = "measure them again: triune drift TASK --measure"
    try:
        record: Ranges = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PerceptionError(f"{path}: no ranges to watch drift with ({error}); {remedy}") from None
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise PerceptionError(f"{path}: not a file of ranges of format {FORMAT}; {remedy}")
    if record.get("weights") != weights:
        raise PerceptionError(f"{path}: measured with other eyes than these ({weights[:12]}); {remedy}")
    return record
