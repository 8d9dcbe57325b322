"""Paired statistics that hold for few, discrete, skewed and tied scores.

Everything here is deterministic: resampling runs over a fixed group of subsets, not over random draws, so the same
scores give the same bound on every machine.

The bound is the one of "typical values" (Hartigan, JASA 1969), which is the sign-flip test turned inside out: among the
means of subsets of the differences, the share below the true mean is known exactly when differences are symmetric
around it, whatever their distribution. Two policies that play equally well, paired by seed, are interchangeable: their
differences are symmetric around zero, so the level is exact for them at every n, also with ties. The subsets are the
words of a linear code (a subgroup of all sign patterns), for which exactness needs no random draws (Hemerik & Goeman,
TEST 2018). For differences that are not symmetric the level holds approximately, as for any t-like test.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
BITS = 12  # 4096 sign patterns: p-values in steps of 0.00025
MOST = 2 ** (BITS - 1)  # pairs
SLACK = 1e-9  # relative; sums of the same numbers in another order are equal


def subsets(n: int) -> NDArray[np.bool_]:
    """`bool[2^k - 1, n]`, k = min(n, 12): nonempty subsets of n pairs, a row each; every pair is in half of them.

    Member i of a subset is the parity of word & code i. The codes are the k single bits, then other words of odd
    weight in the order of a fixed hash: no three codes sum to zero, so any three pairs change sign independently.
    ValueError beyond MOST pairs.
    """
    return _table(_width(n))[: 2 ** min(n, BITS) - 1, :n]


def _width(n: int) -> int:
    """Columns of the table that serves n pairs: few tables serve all."""
    if n > MOST:
        raise ValueError(f"at most {MOST} pairs, not {n}")
    return max(512, 1 << max(0, n - 1).bit_length())


@lru_cache(maxsize=2)
def _table(n: int) -> NDArray[np.bool_]:
    """All subsets of so many pairs, which begin with those of fewer."""
    words = np.arange(1, 2**BITS, dtype=np.int64)
    others = words[_odd(words) & (words & (words - 1) != 0)]
    codes = np.concatenate([2 ** np.arange(BITS), others[np.argsort(others * 2654435761 % 2**32)][: n - BITS]])
    table = _odd(words[:, None] & codes[None, :])
    table.flags.writeable = False
    return table


@lru_cache(maxsize=2)
def _flips(n: int) -> Floats:
    """`float64[4096, n]` of -1 and 1: every sign pattern, the plain one first."""
    flips = np.concatenate([np.ones((1, n)), 1.0 - 2.0 * _table(n)])
    flips.flags.writeable = False
    return flips


def _odd(words: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Is the number of set bits odd?"""
    both = words.copy()
    for shift in (8, 4, 2, 1):
        both ^= both >> shift
    return (both & 1).astype(bool)


def subset_means(differences: ArrayLike) -> Floats:
    """Sorted means of the subsets of `differences`; read-only."""
    return _means(tuple(np.asarray(differences, np.float64).tolist()))


@lru_cache(maxsize=256)
def _means(differences: tuple[float, ...]) -> Floats:
    table = subsets(len(differences)).astype(np.float64)
    means = np.sort(table @ np.asarray(differences) / table.sum(axis=1))
    means.flags.writeable = False
    return means


def p_greater(differences: Sequence[float]) -> float:
    """One-sided sign-flip p-value against "the mean is not above zero". Ties and zeros count against."""
    return _p_greater(tuple(map(float, differences)))


@lru_cache(maxsize=256)
def _p_greater(differences: tuple[float, ...]) -> float:
    values = np.asarray(differences, np.float64)
    if not values.any():
        return 1.0
    sums = _flips(_width(len(values)))[:, : len(values)] @ values
    return float(np.mean(sums >= sums[0] - SLACK * float(np.abs(values).max())))


def first_passed(differences: Sequence[float], looks: Sequence[int], spend: Sequence[float]) -> int | None:
    """The first of several looks at growing numbers of pairs at which the mean is shown to be above zero, or None.

    A group-sequential sign-flip test. `looks`: pairs seen at each, rising; those beyond the pairs there are have not
    been made. `spend`: share of equal children that each look may pass besides those that passed before; what a look
    leaves over, the next ones have. Every sign pattern stands for a history that was as likely as the one seen; at
    each look the best of those that have not passed yet pass, as many as the levels allow. The pattern seen is one of
    them, so of equal children at most `sum(spend)` pass at any look: exactly so at every n, whatever the scores.
    """
    return _first_passed(tuple(map(float, differences)), tuple(looks), tuple(spend))


@lru_cache(maxsize=256)
def _first_passed(differences: tuple[float, ...], looks: tuple[int, ...], spend: tuple[float, ...]) -> int | None:
    values = np.asarray(differences, np.float64)
    if not values.any():
        return None
    edge = SLACK * float(np.abs(values).max())
    flips = _flips(_width(len(values)))
    sums, waiting = np.zeros(len(flips)), np.arange(len(flips))
    level, start = 0.0, 0
    for i, (n, share) in enumerate(zip(looks, spend, strict=True)):
        if n > len(values):
            return None
        sums += flips[:, start:n] @ values[start:n]
        start, level = n, level + share
        rest = sums[waiting]
        places = int(level * len(flips) + SLACK) - (len(flips) - len(rest))
        if places < len(rest):  # ties for the last place do not pass
            passes = rest > np.partition(rest, -1 - places)[-1 - places] + edge
        else:
            passes = np.ones(len(rest), np.bool_)
        if passes[0]:  # the signs that were seen
            return i
        waiting = waiting[~passes]
    return None


def lower_bound(differences: ArrayLike, level: float) -> float:
    """Lower end of a one-sided interval of the mean difference that errs in a share `level`; -inf when n is too small.

    Above zero exactly when `p_greater(differences) <= level` (up to rounding).
    """
    return _ends(differences, level)[0]


def upper_bound(differences: ArrayLike, level: float) -> float:
    """Upper end of the same interval; +inf when n is too small."""
    return _ends(differences, level)[1]


def _ends(differences: ArrayLike, level: float) -> tuple[float, float]:
    means = subset_means(differences)
    outside = int(np.floor(level * (len(means) + 1) + SLACK)) - 1  # means left out at either end
    if not 0 <= outside < len(means):
        return -np.inf, np.inf
    return float(means[outside]), float(means[-1 - outside])


def worst_decile(scores: ArrayLike) -> float:
    """Mean of the lowest tenth (at least one score)."""
    ordered = np.sort(np.asarray(scores, np.float64))
    return float(ordered[: max(1, len(ordered) // 10)].mean())


def p_worse_decile(parent: Sequence[float], child: Sequence[float]) -> float:
    """How often two equal policies would show a worst decile that falls at least this far behind.

    The same sign patterns exchange parent and child within pairs: exact for interchangeable pairs.
    """
    if not len(parent) or worst_decile(parent) <= worst_decile(child):
        return 1.0
    return _p_worse_decile(tuple(map(float, parent)), tuple(map(float, child)))


@lru_cache(maxsize=1024)
def _p_worse_decile(parent: tuple[float, ...], child: tuple[float, ...]) -> float:
    old, new = np.asarray(parent, np.float64), np.asarray(child, np.float64)
    seen = worst_decile(old) - worst_decile(new)
    tail = max(1, len(old) // 10)
    # Whoever plays which score of a pair, the lowest tenth lies at or under this: other pairs cannot matter.
    most = np.sort(np.maximum(old, new))[tail - 1]
    low = np.minimum(old, new) <= most
    old, new = old[low], new[low]
    swap = subsets(len(old))

    def lowest(values: Floats) -> Floats:
        return np.partition(values, tail - 1, axis=1)[:, :tail].mean(axis=1)

    falls = lowest(np.where(swap, new, old)) - lowest(np.where(swap, old, new))
    edge = seen - SLACK * max(1.0, float(np.abs(old).max()), float(np.abs(new).max()))
    return (1 + int(np.count_nonzero(falls >= edge))) / (len(falls) + 1)
