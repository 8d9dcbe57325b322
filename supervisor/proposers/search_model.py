"""What all games together say about all settings: a Gaussian process over the unit cube.

Knows: points, games, ranks. Does not know: what is searched, or which points will be asked for.

Games are noisy and scores of any shape, so a score becomes the normal quantile of its rank among all games of a search.
The covariance is a sum over constants (each has its own effect) and a product (some matter only together): a game of
one setting tells about every setting that shares values with it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import product
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
LENGTHS = (0.1, 0.2, 0.35, 0.6)  # over which a constant's effect changes, shares of its range
MIXES = (0.3, 0.7, 0.95)  # of the sum; the rest is the product
SCALES = (1.0, 3.0)  # variance of the effects
NOISES = (0.05, 0.15, 0.4, 0.8)  # variance of a game: few settings play twice, so it is fitted like the rest
JITTER = 1e-6


def quantiles(games: Mapping[int, Sequence[float]]) -> dict[int, list[float]]:
    """Each score as the normal quantile of its rank among all; equal scores are equal."""
    order = np.sort([s for scores in games.values() for s in scores])
    normal, n = NormalDist(), len(order)

    def of(score: float) -> float:
        rank = (np.searchsorted(order, score, "left") + np.searchsorted(order, score, "right")) / 2
        return normal.inv_cdf(min(1 - 0.5 / n, max(0.5 / n, float(rank) / n)))

    return {i: [of(s) for s in scores] for i, scores in games.items()}


class Model:
    """Fitted to `points` Float[n, d] in the unit cube and the games of each; the likeliest of a few shapes."""

    def __init__(self, points: Floats, games: Sequence[Sequence[float]]) -> None:
        made = quantiles(dict(enumerate(games)))
        self.points = points
        means = np.array([math.fsum(made[i]) / len(made[i]) for i in range(len(games))])
        counts = np.array([len(scores) for scores in games], np.float64)
        self.level = float(means.mean())
        best = -math.inf
        for length in LENGTHS:
            parts = _parts(points, points, length)
            for mix in MIXES:
                for scale, noise in product(SCALES, NOISES):
                    found = _fit(scale * _mixed(parts, mix) + np.diag(noise / counts + JITTER), means - self.level)
                    if found[0] > best:
                        best, self.root, self.weights = found
                        self.shape = length, mix, scale

    def _with(self, a: Floats, b: Floats) -> Floats:
        length, mix, scale = self.shape
        return scale * _mixed(_parts(a, b, length), mix)

    def mean(self, points: Floats) -> Floats:
        """Float[m]: expected quantile of a game at each point."""
        return self.level + np.asarray(self._with(points, self.points) @ self.weights)

    def draws(self, points: Floats, n: int, draw: np.random.Generator) -> Floats:
        """Float[n, m]: what the truth at the points may be, `n` times."""
        across = np.linalg.solve(self.root, self._with(self.points, points))
        spread = self._with(points, points) - across.T @ across + JITTER * np.eye(len(points))
        root = np.linalg.cholesky(spread + 10 * JITTER * np.eye(len(points)))
        return self.mean(points) + draw.standard_normal((n, len(points))) @ root.T


def _parts(a: Floats, b: Floats, length: float) -> tuple[Floats, Floats]:
    """Sum and product covariance, Float[len(a), len(b)] each."""
    apart = (a[:, None, :] - b[None, :, :]) ** 2
    alone = np.exp(-apart / (2 * length**2)).mean(axis=2)
    return alone, np.exp(-apart.sum(axis=2) / (2 * (2 * length) ** 2))


def _mixed(parts: tuple[Floats, Floats], mix: float) -> Floats:
    return mix * parts[0] + (1 - mix) * parts[1]


def _fit(covariance: Floats, values: Floats) -> tuple[float, Floats, Floats]:
    """Log likelihood up to a constant, Cholesky root, weights of the observations."""
    root = np.asarray(np.linalg.cholesky(covariance), np.float64)
    half = np.linalg.solve(root, values)
    likelihood = -0.5 * float(half @ half) - float(np.log(np.diag(root)).sum())
    return likelihood, root, np.linalg.solve(root.T, half)
