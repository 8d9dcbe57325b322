"""The gate's statistics beside numbers that were worked out by hand, or by trying every possibility."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from supervisor.gate import statistics as stats


def subsets(values: list[float]) -> list[float]:
    """Sorted means of every nonempty subset."""
    sizes = range(1, len(values) + 1)
    return sorted(float(np.mean(some)) for n in sizes for some in itertools.combinations(values, n))


@pytest.mark.parametrize("values", [[3.0], [1.0, -2.0], [5.0, 1.0, -4.0, 2.5], [0.0, 0.0, 7.0], [-1.0, -1.0, -8.0]])
def test_subset_means_p_values_and_bounds_of_few_pairs(values: list[float]) -> None:
    means = subsets(values)
    assert stats.subset_means(values).tolist() == pytest.approx(means)
    n = len(means) + 1  # patterns of signs
    assert stats.p_greater(values) == pytest.approx((1 + sum(m <= 1e-12 for m in means)) / n)
    for out in range(1, n):
        low, high = stats.lower_bound(values, out / n), stats.upper_bound(values, out / n)
        assert (low, high) == pytest.approx((means[out - 1], means[-out])), "each level lets one mean more out"
        assert stats.lower_bound(values, out / n + 0.5 / n) == low
    assert stats.lower_bound(values, 0.9 / n) == -math.inf and stats.upper_bound(values, 0.9 / n) == math.inf


def test_a_difference_in_the_fifteenth_digit_is_none_and_in_the_sixth_is_one() -> None:
    assert stats.p_greater([1.0, -1.0 + 1e-14]) == stats.p_greater([1.0, -1.0])
    assert stats.p_greater([1.0, -1.0 + 1e-6]) < stats.p_greater([1.0, -1.0])
    assert stats.p_greater([1.0, -1.0 + 1e-14, 0.0]) == stats.p_greater([1.0, -1.0, 0.0])
    assert stats.p_greater([1e6, -1e6 + 1e-9]) == stats.p_greater([1.0, -1.0]), "of the largest"
    assert stats.p_greater([1e-6, -1e-6 + 1e-9]) < stats.p_greater([1.0, -1.0])


@pytest.mark.parametrize(
    ("n", "tail"), [(1, 1), (9, 1), (10, 1), (19, 1), (20, 2), (25, 2), (29, 2), (30, 3), (99, 9), (100, 10)]
)
def test_the_worst_decile_is_of_whole_games_never_none(n: int, tail: int) -> None:
    """Squares, so that no two shares of them have the same mean."""
    scores = [float(i * i) for i in range(1, n + 1)]
    wanted = np.mean(scores[:tail])
    assert stats.worst_decile(scores[::-1]) == stats.worst_decile(scores) == pytest.approx(wanted)


def exchanged(old: list[float], new: list[float]) -> float:
    """Share of all exchanges within pairs that fall at least as far; of pairs that can matter there are few."""
    seen = stats.worst_decile(old) - stats.worst_decile(new)
    few = [i for i in range(len(old)) if min(old[i], new[i]) < 50]
    falls = 0
    for sign in itertools.product((False, True), repeat=len(few)):
        one, two = list(old), list(new)
        for i, swap in zip(few, sign, strict=True):
            if swap:
                one[i], two[i] = two[i], one[i]
        falls += stats.worst_decile(one) - stats.worst_decile(two) >= seen - 1e-9
    return falls / 2 ** len(few)


GAMES = {
    "one low game in twenty": ([90.0] * 20, [9.0] + [90.0] * 19),
    "two in twenty": ([80.0 + i for i in range(20)], [1.0, 4.0] + [99.0] * 18),
    "four in twenty, each way": ([1.0, 90.0, 90.0, 25.0] + [90.0] * 16, [95.0, 4.0, 9.0, 95.0] + [95.0] * 16),
    "five in thirty": ([70.0] * 28 + [16.0, 36.0], [1.0, 4.0, 9.0] + [75.0] * 27),
    "six in thirty": ([70.0] * 27 + [16.0, 36.0, 49.0], [1.0, 9.0, 25.0] + [75.0] * 27),
    "two in nineteen": ([80.0 + i for i in range(19)], [1.0, 30.0] + [99.0] * 17),
    "three in eighteen, each way": ([20.0] + [80.0] * 17, [90.0, 10.0, 15.0] + [80.0] * 15),
    "below zero": ([-10.0] * 10, [-10.0] * 9 + [-30.0]),
    "one game": ([5.0], [4.0]),
}


@pytest.mark.parametrize("name", [n for n in GAMES if n != "below zero"])
def test_the_p_value_of_a_fall_beyond_the_single_worst_game(name: str) -> None:
    old, new = GAMES[name]
    assert stats.worst_decile(old) > stats.worst_decile(new)
    assert stats.p_worse_decile(old, new) == pytest.approx(exchanged(old, new))
    assert stats.p_worse_decile(new, old) == 1.0, "no fall, no question"


def test_a_fall_of_equals_is_none() -> None:
    assert stats.p_worse_decile([3.0, 5.0], [3.0, 9.0]) == 1.0 and stats.p_worse_decile([], []) == 1.0


def test_the_lower_half_of_the_first_digit_does_not_decide_a_fall() -> None:
    """Sums of the same scores in another order are equal."""
    old, new = [0.1 + 0.2, 0.3, 9.0], [0.3, 0.1 + 0.2, 0.05]
    assert stats.p_worse_decile(old, new) == pytest.approx(exchanged(old, new))
    large = [[1e8 * score for score in side] for side in (old, new)]
    assert stats.p_worse_decile(*large) == stats.p_worse_decile(old, new)
    old, new = GAMES["below zero"]
    assert stats.p_worse_decile(old, new) == pytest.approx(0.5)


@pytest.mark.parametrize("seed", [4, 10, 18])
def test_a_fall_does_not_depend_on_the_unit_of_the_score(seed: int) -> None:
    """Whole points, and the same games in a unit in which sums are rounded."""
    rng = np.random.default_rng(seed)
    old, lost, unit = rng.integers(1, 30, 40), rng.integers(-3, 6, 40), 1e8 / 3
    assert stats.p_worse_decile(old * unit, old * unit - lost * unit) == stats.p_worse_decile(old, old - lost)


def test_twelve_pairs_are_enumerated_and_thirteen_are_not() -> None:
    assert len(stats.subsets(11)) == 2**11 - 1
    assert len(stats.subsets(12)) == len(stats.subsets(13)) == 2**12 - 1
    assert {tuple(row) for row in stats.subsets(3).tolist()} == set(itertools.product((False, True), repeat=3)) - {
        (False, False, False)
    }


# --- looking several times


def patterns(n: int) -> np.ndarray:
    """All sign patterns of few pairs; of many, the group that the test counts on."""
    table = stats.subsets(n)
    return np.vstack([np.ones((1, n)), 1.0 - 2.0 * table])


@pytest.mark.parametrize(
    ("sizes", "looks", "spend"),
    [
        ([3.0, 1.0, 4.0, 1.5, 9.0, 2.6], (2, 4, 6), (0.25, 0.1, 0.15)),
        ([3.0, 1.0, 4.0, 1.5, 9.0, 2.6, 5.3], (3, 7), (0.0, 0.2)),
        ([1.0] * 8, (4, 6, 8), (0.07, 0.05, 0.05)),
        ([5.0, 0.0, 0.0, 2.0, 0.0, 1.0, 7.0], (3, 5, 7), (0.13, 0.13, 0.13)),
        ([1.0 + i * i % 7 for i in range(13)], (5, 9, 13), (0.04, 0.06, 0.1)),
    ],
)
def test_of_equal_children_no_more_pass_at_any_look_than_the_levels_say(
    sizes: list[float], looks: tuple[int, ...], spend: tuple[float, ...]
) -> None:
    """Each sign pattern is as likely: the share that passes by look i is at most the sum of the levels up to i."""
    found = [stats.first_passed((signs * sizes).tolist(), looks, spend) for signs in patterns(len(sizes))]
    for i in range(len(looks)):
        share = sum(at is not None and at <= i for at in found) / len(found)
        assert share <= sum(spend[: i + 1]) + 1e-12
    if len(set(sizes)) > 5:  # without ties hardly anything of the level is lost
        assert sum(at is not None for at in found) / len(found) > sum(spend) - 2.0 ** -min(12, len(sizes)) * 1.01


@pytest.mark.parametrize("n", [1, 3, 5, 12, 20])
def test_one_look_is_the_plain_test(n: int) -> None:
    draw = np.random.default_rng(n)
    for _ in range(20):
        values = draw.normal(0.5, 1.0, n).tolist()
        p = stats.p_greater(values)
        assert stats.first_passed(values, (n,), (p,)) == 0
        assert stats.first_passed(values, (n,), (p * 0.999,)) is None


def test_looks_that_have_not_been_made_do_not_count() -> None:
    assert stats.first_passed([1.0] * 6, (5, 8), (0.01, 0.99)) is None
    assert stats.first_passed([1.0] * 8, (5, 8), (0.01, 0.99)) == 1
    assert stats.first_passed([1.0] * 8, (5, 8), (0.04, 0.0)) == 0, "what comes later changes nothing"
    assert stats.first_passed([0.0] * 8, (5, 8), (0.5, 0.5)) is None and stats.first_passed([], (5,), (1.0,)) is None


def test_a_pattern_that_passed_early_leaves_room_later() -> None:
    """Were the looks tested each at its own level, four of five gains would not pass at 0.15."""
    values = [-1.0, 4.0, 4.0, 4.0, 4.0]
    assert stats.p_greater(values) == pytest.approx(2 / 32)
    assert stats.first_passed(values, (3, 5), (0.0, 0.07)) == 1
    assert stats.first_passed(values, (3, 5), (0.05, 0.02)) == 1, "nothing could pass three pairs at 0.05"
    assert stats.first_passed(values, (3, 5), (0.125, 0.02)) is None, "there it was spent on others"
