"""Paired scores for trying the gate: of equal policies, and of one that is truly a tenth better.

Knows: distributions of scores and how two policies share luck on a seed. Does not know the gate. Equal policies are
exchangeable: on every seed their two scores could be swapped. A gain counts from `low`, the score of doing nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from supervisor.gate.gate import Pair

Floats = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int, bool], tuple[Floats, Floats]]  # (n, better) -> parent, child
GAIN = 0.1


@dataclass(frozen=True)
class Scores:
    """A distribution of scores: `values` rise, `weights` sum to 1."""

    values: Floats
    weights: Floats

    @property
    def mean(self) -> float:
        """Expected score."""
        return float(self.values @ self.weights)

    @property
    def spread(self) -> float:
        """Standard deviation."""
        return math.sqrt(float((self.values - self.mean) ** 2 @ self.weights))

    def of_normal(self, z: Floats) -> Floats:
        """The score at each standard normal deviate's quantile."""
        return self.values[np.searchsorted(self._cuts, z)]

    @cached_property
    def _cuts(self) -> Floats:
        """Deviates between which each value lies."""
        edges = np.cumsum(self.weights)[:-1]
        return np.array([NormalDist().inv_cdf(min(max(float(e), 1e-12), 1 - 1e-12)) for e in edges])


def gamma_scores(mean: float, ratio: float, top: int = 864) -> Scores:
    """Whole scores from 0 to `top`, skewed to the right; `ratio` is spread over mean."""
    values = np.arange(top + 1, dtype=np.float64)
    shape = 1 / ratio**2
    weights = np.exp((shape - 1) * np.log(values + 0.5) - (values + 0.5) * shape / mean)
    return Scores(values, weights / weights.sum())


def lognormal_scores(mean: float, ratio: float, top: int = 864) -> Scores:
    """Whole scores with a heavy tail."""
    values = np.arange(top + 1, dtype=np.float64)
    sigma = math.sqrt(math.log(1 + ratio**2))
    middle = math.log(mean) - sigma**2 / 2
    weights = np.exp(-((np.log(values + 0.5) - middle) ** 2) / (2 * sigma**2)) / (values + 0.5)
    return Scores(values, weights / weights.sum())


def ceiling_scores(full: float, below: Scores, top: int = 864) -> Scores:
    """`top` in a share `full` of the games, else as `below`."""
    weights = below.weights * (1 - full)
    weights[top] += full
    return Scores(below.values, weights)


def pong_scores(rally: float) -> Scores:
    """Own points less the other's when 21 end the game and `rally` is the chance of a point."""
    wins = [math.comb(20 + k, k) * rally**21 * (1 - rally) ** k for k in range(21)]  # 21 : k
    losses = [math.comb(20 + k, k) * (1 - rally) ** 21 * rally**k for k in range(21)]  # k : 21
    weights = np.array([*losses, 0.0, *reversed(wins)])
    return Scores(np.arange(-21.0, 22.0), weights / weights.sum())


def improved(family: Callable[[float], Scores], at: float, most: float, low: float = 0.0) -> Scores:
    """Of a family of distributions that rise with their parameter: the one a tenth better than `family(at)`."""
    wanted = low + (1 + GAIN) * (family(at).mean - low)
    below, above = at, most
    for _ in range(60):
        middle = (below + above) / 2
        below, above = (middle, above) if family(middle).mean < wanted else (below, middle)
    return family(below)


def drawn(parent: Scores, child: Scores | None, shared: float) -> Draw:
    """`shared`: correlation of the two deviates on a seed. Without a `child` there are only equal children."""

    def draw(random: np.random.Generator, n: int, better: bool) -> tuple[Floats, Floats]:
        first, second = random.standard_normal((2, n))
        second = shared * first + math.sqrt(1 - shared**2) * second
        other = child if better else parent
        assert other is not None
        return parent.of_normal(first), other.of_normal(second)

    return draw


def recorded(parent: Sequence[float], equal: Sequence[float], better: Sequence[float] | None, low: float = 0.0) -> Draw:
    """Scores that two equal policies, and perhaps a better one, really had on the same seeds; seeds are drawn again.

    Which of the equal two is the parent is drawn for each seed. The better child plays as the better policy did in
    such a share of the games that it is a tenth better in the mean; without one, its scores are the equal one's with
    a tenth added.
    """
    one, two = np.asarray(parent, np.float64), np.asarray(equal, np.float64)
    base = float((one.mean() + two.mean()) / 2)
    best = None if better is None else np.asarray(better, np.float64)
    share = 0.0 if best is None else GAIN * (base - low) / (float(best.mean()) - base)

    def draw(random: np.random.Generator, n: int, better: bool) -> tuple[Floats, Floats]:
        at, swap = random.integers(0, len(one), n), random.random(n) < 0.5
        old, new = np.where(swap, two[at], one[at]), np.where(swap, one[at], two[at])
        if not better:
            return old, new
        if best is None:
            return old, low + (1 + GAIN) * (new - low)
        return old, np.where(random.random(n) < share, best[at], new)

    return draw


def pairs(draw: Draw, random: np.random.Generator, n: int, better: bool) -> list[Pair]:
    """`n` pairs of one trial."""
    return [Pair(float(old), float(new)) for old, new in zip(*draw(random, n, better), strict=True)]


def effect(draw: Draw) -> float:
    """The better child's mean difference over the standard deviation of differences."""
    old, new = draw(np.random.default_rng(0), 200_000, True)
    return float((new - old).mean() / (new - old).std())
