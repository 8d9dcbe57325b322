"""Figures that summarise scores: mean, interquartile mean, bootstrap interval, worst decile.

Knows numbers only. The bootstrap has a fixed seed, so the same scores always give the same interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

RESAMPLES = 4000


def iqm(scores: Sequence[float]) -> float:
    """Mean of the middle half; with fewer than 4 scores, of all."""
    ordered = np.sort(np.asarray(scores, float))
    cut = len(ordered) // 4
    return float(ordered[cut : len(ordered) - cut].mean())


def worst_decile(scores: Sequence[float]) -> float:
    """Mean of the lowest tenth (at least one score)."""
    ordered = np.sort(np.asarray(scores, float))
    return float(ordered[: max(1, len(ordered) // 10)].mean())


def ci95(scores: Sequence[float]) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean, 4000 resamples."""
    values = np.asarray(scores, float)
    picks = np.random.default_rng(0).integers(0, len(values), (RESAMPLES, len(values)))
    low, high = np.percentile(values[picks].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)


def summary(scores: Sequence[float]) -> dict[str, Any]:
    """mean, iqm, ci95 [low, high], worst_decile; all None without scores."""
    if not scores:
        return {"mean": None, "iqm": None, "ci95": None, "worst_decile": None}
    return {
        "mean": float(np.mean(scores)), "iqm": iqm(scores), "ci95": list(ci95(scores)),
        "worst_decile": worst_decile(scores),
    }  # fmt: skip
