"""Paired statistics: exact levels by enumeration, bounds and p-values that agree, nothing that depends on chance."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from supervisor.gate import statistics as stats

LEVELS = (0.01, 0.03, 0.05, 0.1, 0.11, 0.25, 0.5)
SHAPES: dict[str, Sequence[float]] = {
    "distinct": [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0],
    "all alike": [1.0] * 9,
    "two sizes": [1.0] * 5 + [40.0] * 5,
    "mostly ties": [0.0] * 9 + [3.0, 3.0, 5.0],
    "one dominates": [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1000.0],
    "fractions": [0.1, 0.2, 0.3, 0.1, 0.2, 0.3, 0.7, 0.7, 0.1],
    "single": [2.0],
}


def signs(n: int) -> list[tuple[int, ...]]:
    return list(itertools.product((1, -1), repeat=n))


@pytest.mark.parametrize("sizes", SHAPES.values(), ids=SHAPES)
def test_the_level_is_exact_for_equal_policies(sizes: Sequence[float]) -> None:
    """Equal policies: every pattern of signs is as likely. The share of patterns with p <= level is at most level."""
    found = sorted(stats.p_greater([s * v for s, v in zip(sign, sizes, strict=True)]) for sign in signs(len(sizes)))
    for level in LEVELS:
        assert np.searchsorted(found, level, "right") / len(found) <= level
    if "1.0, 2.0" in str(sizes):  # distinct sums: nothing is lost to ties either
        assert np.searchsorted(found, 0.05, "right") == math.floor(0.05 * len(found))


@pytest.mark.parametrize("sizes", SHAPES.values(), ids=SHAPES)
def test_p_values_of_few_pairs_are_the_full_sign_flip_test(sizes: Sequence[float]) -> None:
    random = np.random.default_rng(3)
    for _ in range(20):
        values = np.asarray(sizes) * random.choice([-1, 1], len(sizes))
        if not values.any():
            continue
        flipped = np.array(signs(len(sizes))) @ values
        brute = np.mean(flipped >= values.sum() - 1e-9 * np.abs(values).max())
        assert stats.p_greater(values.tolist()) == pytest.approx(float(brute))


def draws(name: str, random: np.random.Generator, n: int) -> np.ndarray:
    """Scores of two equal policies: int or float[2, n]."""
    kinds = {
        "skewed": lambda: random.gamma(2.0, 20.0, (2, n)).round(),
        "near the ceiling": lambda: np.where(random.random((2, n)) < 0.9, 864, random.integers(200, 864, (2, n))),
        "two values": lambda: (random.random((2, n)) < 0.3).astype(float),
        "heavy tail": lambda: random.pareto(1.2, (2, n)),
        "Cauchy": lambda: random.standard_cauchy((2, n)),
    }
    return np.asarray(kinds[name](), np.float64)


@pytest.mark.parametrize("name", ["skewed", "near the ceiling", "two values", "heavy tail", "Cauchy"])
@pytest.mark.parametrize("n", [20, 45])
def test_the_level_holds_beyond_what_can_be_enumerated(name: str, n: int) -> None:
    """600 trials: a rate of 0.05 shows more than 48 (three standard errors above) once in a thousand times."""
    random = np.random.default_rng([n, len(name)])
    found = [stats.p_greater((new - old).tolist()) for old, new in (draws(name, random, n) for _ in range(600))]
    for level in (0.05, 0.25):
        assert np.mean(np.array(found) <= level) <= level + 3 * math.sqrt(level * (1 - level) / 600)
    assert name in ("near the ceiling", "Cauchy") or np.mean(np.array(found) <= 0.25) > 0.15  # not by never rejecting


def test_the_test_finds_what_is_there() -> None:
    random = np.random.default_rng(0)
    power = np.mean([stats.p_greater(random.normal(0.6, 1.0, 30).tolist()) <= 0.05 for _ in range(200)])
    assert power > 0.9  # a t test: 0.94


# --- the subsets


@pytest.mark.parametrize("n", [1, 2, 5, 12, 13, 40, 450, stats.MOST])
def test_subsets_are_a_group_in_which_every_pair_is_half(n: int) -> None:
    table = stats.subsets(n)
    k = min(n, stats.BITS)
    assert table.shape == (2**k - 1, n) and table.any(axis=1).all()
    assert (table.sum(axis=0) == 2 ** (k - 1)).all()
    random = np.random.default_rng(n)
    rows = {row.tobytes() for row in table} | {np.zeros(n, bool).tobytes()}
    for _ in range(50):
        one, two = table[random.integers(len(table), size=2)]
        assert (one ^ two).tobytes() in rows
    assert len({column.tobytes() for column in table.T}) == n  # no two pairs always change sign together


def test_any_three_pairs_change_sign_independently() -> None:
    table = stats.subsets(60)
    for at in itertools.islice(itertools.combinations(range(60), 3), 0, None, 397):
        found = np.unique(table[:, at], axis=0, return_counts=True)[1]
        assert sorted(found.tolist()) == [511] + [512] * 7  # the empty subset is left out


def test_subsets_are_the_same_on_every_machine_and_longer_blocks_extend_shorter_ones() -> None:
    digest = hashlib.sha256(np.packbits(stats.subsets(450)).tobytes()).hexdigest()
    assert digest == DIGEST
    assert (stats.subsets(450)[:, :37] == stats.subsets(37)).all()


DIGEST = "616725567bc9f286d47c4221a6b4a86ce061cbbd8cc9540cd45411c70b823106"


def test_too_many_pairs_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 2048 pairs, not 2049"):
        stats.p_greater([1.0] * 2049)


def test_nobody_can_change_the_tables() -> None:
    with pytest.raises(ValueError, match="read-only"):
        stats.subsets(5)[0, 0] = True
    with pytest.raises(ValueError, match="read-only"):
        stats.subset_means([1.0, 2.0])[0] = 5.0


# --- bounds

numbers = st.lists(st.integers(-40, 40).map(float), min_size=1, max_size=30)


@settings(max_examples=150, deadline=None)
@given(numbers, st.sampled_from(LEVELS))
def test_the_bound_is_above_zero_exactly_when_p_is_small(values: list[float], level: float) -> None:
    assert (stats.lower_bound(values, level) > 1e-9) == (stats.p_greater(values) <= level)


@settings(max_examples=100, deadline=None)
@given(numbers, st.sampled_from(LEVELS), st.integers(-30, 30), st.sampled_from([0.25, 2.0, 1000.0]))
def test_bounds_move_and_stretch_with_the_scores(values: list[float], level: float, by: int, unit: float) -> None:
    low, high = stats.lower_bound(values, level), stats.upper_bound(values, level)
    moved = [unit * (v + by) for v in values]
    assert stats.lower_bound(moved, level) == pytest.approx(unit * (low + by))
    assert stats.upper_bound(moved, level) == pytest.approx(unit * (high + by))
    assert stats.upper_bound([-v for v in values], level) == pytest.approx(-low)
    if level < 0.5 and math.isfinite(low):
        assert low <= high


@pytest.mark.parametrize("name", ["skewed", "two values"])
def test_the_interval_of_a_true_difference_covers_it(name: str) -> None:
    """Shifted equal policies: differences symmetric around the shift."""
    random, missed = np.random.default_rng(5), 0
    for _ in range(400):
        old, new = draws(name, random, 25)
        missed += stats.lower_bound(new + 7.0 - old, 0.1) > 7.0
    assert 0.03 < missed / 400 <= 0.1 + 3 * 0.015


def test_few_pairs_bound_nothing() -> None:
    assert stats.lower_bound([3.0, 4.0], 0.05) == -math.inf and stats.upper_bound([3.0, 4.0], 0.05) == math.inf
    assert stats.lower_bound([], 0.05) == -math.inf
    assert stats.p_greater([]) == stats.p_greater([0.0, 0.0, 0.0]) == 1.0
    assert stats.p_greater([5.0]) == 0.5


def test_rounding_does_not_decide() -> None:
    """0.1 + 0.2 - 0.3 is no gain."""
    assert stats.p_greater([0.1, 0.2, -0.3]) == stats.p_greater([1.0, 2.0, -3.0])
    assert stats.p_greater([0.1, 0.2, -0.3] * 5) == pytest.approx(stats.p_greater([1.0, 2.0, -3.0] * 5))


# --- the worst decile


def test_the_worst_decile_is_the_mean_of_the_lowest_tenth() -> None:
    assert stats.worst_decile([5.0]) == stats.worst_decile([9.0, 5.0, 7.0]) == 5.0
    assert stats.worst_decile(range(25)) == 0.5


def brute_worst_decile(old: np.ndarray, new: np.ndarray) -> float:
    seen = stats.worst_decile(old) - stats.worst_decile(new)
    falls = []
    for sign in signs(len(old)):
        kept = np.array(sign) == 1
        falls.append(stats.worst_decile(np.where(kept, old, new)) - stats.worst_decile(np.where(kept, new, old)))
    return float(np.mean(np.array(falls) >= seen - 1e-9))


@settings(max_examples=60, deadline=None)
@example([(9, 0), (5, 2)])
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=8))
def test_the_p_value_of_a_fall_is_the_share_of_exchanges(scores: list[tuple[int, int]]) -> None:
    old, new = (np.array(side, float) for side in zip(*scores, strict=True))
    found = stats.p_worse_decile(old.tolist(), new.tolist())
    if stats.worst_decile(new) >= stats.worst_decile(old):
        assert found == 1.0
    else:
        assert found == pytest.approx(brute_worst_decile(old, new))


@pytest.mark.parametrize("name", ["skewed", "near the ceiling", "heavy tail"])
def test_equal_policies_seldom_seem_to_fall(name: str) -> None:
    random = np.random.default_rng(len(name))
    found = [stats.p_worse_decile(*(side.tolist() for side in draws(name, random, 40))) for _ in range(400)]
    assert np.mean(np.array(found) <= 0.05) <= 0.05 + 3 * 0.011


def test_a_true_fall_is_found() -> None:
    old = [50.0 + i % 11 for i in range(60)]
    new = [0.0 if i % 6 == 0 else 90.0 for i in range(60)]
    assert stats.p_worse_decile(old, new) <= 0.01 and stats.p_worse_decile(new, old) == 1.0
