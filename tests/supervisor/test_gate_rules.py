"""The rules of the gate one by one: harms, early stops, the size of a confirmation, what less text may cost."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from gate_kit import SMALL, better, judged, passed
from hypothesis import given, settings
from hypothesis import strategies as st

from supervisor.gate import rules
from supervisor.gate import statistics as stats
from supervisor.gate.gate import Gate, GateConfig, Pair, Verdict

# --- harms


def crashing(seed: int) -> Pair:
    """Much better in the mean, and lost altogether in one game of five."""
    return Pair(10.0 + seed % 3, 0.0 if seed % 5 == 0 else 40.0 + seed % 7)


def test_a_better_mean_does_not_excuse_a_worse_decile() -> None:
    verdict = judged(crashing, Gate(replace(SMALL, confirm_least=30)))
    assert verdict.kind == "reject" and "worst decile falls from 10 to 0" in verdict.reasons[0]
    assert verdict.numbers["full_difference"] > 10


def test_a_few_unlucky_games_are_no_harm() -> None:
    one = [Pair(10.0, 12.0)] * 39 + [Pair(10.0, 9.0)]
    assert rules.harms(one, 0.05) == ()


@pytest.mark.parametrize("rate", [0.5, 4.0])
def test_hard_rules_that_step_in_more_often_are_a_harm(rate: float) -> None:
    pairs = [Pair(1.0, 2.0, 3.0, 3.0 + rate + i % 2) for i in range(20)]
    assert "hard safety rules step in more often: 3 to" in rules.harms(pairs, 0.05)[0]
    assert rules.harms([Pair(1.0, 2.0, p.child_hard, p.parent_hard) for p in pairs], 0.05) == ()


def test_hard_rules_that_step_in_as_often_are_no_harm() -> None:
    verdict = judged(lambda s: Pair(*better(s)[:2], 5.0 + s % 3, 5.0 + (s + 1) % 3))
    assert verdict.kind == "accept"


def test_rules_that_never_stepped_in_for_the_parent_may_not_for_the_child() -> None:
    verdict = judged(lambda s: Pair(*better(s)[:2], 0.0, 7.0 if s == 2003 else 0.0))
    assert (verdict.kind, verdict.stage) == ("reject", "confirm")
    assert "during 1 of 18 episodes, for the parent in none" in verdict.reasons[0]
    excused = judged(lambda s: Pair(*better(s)[:2], 3.0 if s == 1004 else 0.0, 7.0 if s == 2003 else 0.0))
    assert excused.kind == "accept"


def test_harms_count_over_both_blocks() -> None:
    """Three crashes in the first block and three in the second are too many, though three alone are not."""

    def play(seed: int) -> Pair:
        return Pair(10.0, -5.0 if seed % 10 in (0, 4, 7) and seed < 2010 else 40.0)

    pairs = [play(s) for s in range(1000, 1010)]
    assert rules.harms(pairs, 0.05) == ()
    fresh = [play(s) for s in range(2000, 2010)]
    assert rules.harms(fresh, 0.05) == () and rules.harms([*pairs, *fresh], 0.05) != ()
    verdict = rules.confirmed(pairs, fresh, SMALL)
    assert isinstance(verdict, Verdict) and verdict.kind == "reject" and "worst decile" in verdict.reasons[0]


def test_a_harm_ends_it_where_the_first_block_is_passed() -> None:
    verdict = rules.look([crashing(s) for s in range(1000, 1030)], "probe", 2, SMALL)
    assert not isinstance(verdict, str)
    assert (verdict.kind, verdict.stage) == ("reject", "probe") and "worst decile" in verdict.reasons[0]


def test_a_plain_harm_ends_it_at_a_look_that_is_not_passed() -> None:
    unsafe = [Pair(10.0 + i % 2, 11.0 - i % 2, 1.0, 9.0) for i in range(20)]
    for n, ends in ((5, False), (20, True)):  # 1/32 is not enough where three looks share 0.05
        assert not rules.better(unsafe[:n], 0.05)
        verdict = rules.look(unsafe[:n], "full", 0, replace(SMALL, hopeful=(1.0, 1.0, 1.0)))
        assert (not isinstance(verdict, str) and "hard safety rules" in verdict.reasons[0]) is ends


# --- early stops


def test_an_early_stop_needs_evidence() -> None:
    assert rules.early_reject([Pair(1.0, 0.0)] * 3, "screen", GateConfig()) is None  # 1/8 at best
    verdict = rules.early_reject([Pair(1.0, 0.0)] * 5, "screen", GateConfig())
    assert verdict is not None and (verdict.kind, verdict.stage) == ("reject", "screen")
    assert rules.early_reject([Pair(0.0, 1.0)] * 5, "screen", GateConfig()) is None


# --- the size of a confirmation


def block(mean: float, spread: float, n: int = 20) -> list[Pair]:
    wave = np.resize([-1.0, 1.0], n) * spread * math.sqrt((n - 1) / n)
    return [Pair(0.0, float(mean + w)) for w in wave]


def test_a_clear_gain_needs_the_least_and_an_unclear_one_the_most() -> None:
    config = GateConfig()
    assert rules.confirm_size(block(10.0, 0.0), config) == config.confirm_least
    assert rules.confirm_size(block(10.0, 5.0), config) == config.confirm_least
    assert rules.confirm_size(block(1.0, 8.0), config) == config.confirm_most
    assert rules.confirm_size(block(-1.0, 8.0), config) == config.confirm_most


def test_a_small_gain_in_every_game_is_confirmed_on_many() -> None:
    """One crash in 25 games would cost all of a gain of 4 %: 3 * 26 games would show it."""

    def sure(gain: float, level: float = 75.0) -> list[Pair]:
        return [Pair(level, level + gain) for _ in range(20)]

    config = GateConfig()
    assert rules.confirm_size(sure(3.0), config) == 78 - 20
    assert rules.confirm_size(sure(0.3), config) == config.confirm_most
    assert rules.confirm_size(sure(60.0), config) == config.confirm_least
    assert rules.confirm_size([*sure(3.0), Pair(-225.0, -222.0)], config) > 200  # it can fall further than to 0


@pytest.mark.parametrize("share", [0.05, 0.1])
def test_a_child_whose_rare_crashes_cost_its_gain_seldom_gets_in(share: float) -> None:
    """Equal in the mean, but not exchangeable: many small gains, few great losses."""
    random, accepted = np.random.default_rng(7), 0
    for _ in range(60):
        crash = random.random(10_000) < share

        def play(seed: int, crash: np.ndarray = crash) -> Pair:
            return Pair(75.0, 75.0 - (1 - share) / share * 3.0 if crash[seed] else 78.0)

        e = passed(full_seeds=tuple(range(1000, 1450)), confirm_seeds=tuple(range(2000, 2450)))
        accepted += judged(play, Gate(), e).kind == "accept"
    assert accepted <= 7  # a rate of 0.05: more in one run of 60


@given(st.floats(0.2, 5.0), st.floats(0.1, 10.0), st.floats(0.01, 2.0))
def test_a_smaller_gain_never_needs_fewer_seeds(mean: float, spread: float, less: float) -> None:
    config = GateConfig()
    assert rules.confirm_size(block(mean + less, spread), config) <= rules.confirm_size(block(mean, spread), config)


@given(st.floats(0.001, 1000.0))
def test_sizes_do_not_depend_on_the_unit(unit: float) -> None:
    base, config = block(2.0, 5.0), GateConfig()
    scaled = [Pair(0.0, p.child * unit) for p in base]
    assert abs(rules.confirm_size(scaled, config) - rules.confirm_size(base, config)) <= 1


def test_a_confirmation_confirms_a_true_gain_about_as_often_as_it_should() -> None:
    """Sized for 95 %, were the gain known: normal differences of the size seen."""
    config = GateConfig(confirm_power=0.95)
    n = rules.confirm_size(block(2.0 + 6.0 / math.sqrt(20), 6.0), config)  # after SHRINK a gain of 2.0
    random = np.random.default_rng(1)
    held = [stats.p_greater(random.normal(2.0, 6.0, n).tolist()) <= config.confirm_level for _ in range(400)]
    assert 0.92 <= float(np.mean(held)) <= 0.98


# --- monotonicity


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=12, max_size=40),
    st.data(),
)
def test_a_better_score_never_hurts_at_a_look(scores: list[tuple[int, int]], data: st.DataObject) -> None:
    """Raising one score of the child: what passed still passes, and no p-value rises."""
    pairs = [Pair(float(a), float(b)) for a, b in scores]
    at = data.draw(st.integers(0, len(pairs) - 1))
    raised = [p._replace(child=p.child + 3.0) if i == at else p for i, p in enumerate(pairs)]
    assert stats.p_greater(rules.differences(raised)) <= stats.p_greater(rules.differences(pairs))
    if rules.better(pairs, 0.05):
        assert rules.better(raised, 0.05)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=12, max_size=40), st.integers(-50, 50))
def test_what_is_added_to_every_score_changes_nothing(scores: list[tuple[int, int]], shift: int) -> None:
    def told(pairs: list[Pair]) -> object:
        found = rules.look(pairs, "full", 0, SMALL)
        return found if isinstance(found, str) else (found.kind, found.reasons[0][:12], found.numbers["full_p"])

    pairs = [Pair(float(a), float(b)) for a, b in scores]
    moved = [Pair(p.parent + shift, p.child + shift) for p in pairs]
    assert told(pairs) == told(moved)
    assert bool(rules.harms(pairs, 0.3)) == bool(rules.harms(moved, 0.3))


# --- figures


def test_figures_are_what_they_say() -> None:
    pairs = [Pair(float(i), float(i + (2 if i % 2 else 0)), 1.0, 3.0) for i in range(20)]
    found = rules.figures("full", pairs)
    assert found["full_pairs"] == 20 and found["full_ties"] == 10
    assert (found["full_parent"], found["full_child"], found["full_difference"]) == (9.5, 10.5, 1.0)
    assert found["full_low95"] < 1.0 < found["full_high95"]
    assert (found["full_parent_worst_decile"], found["full_parent_hard"], found["full_child_hard"]) == (0.5, 1.0, 3.0)


def test_figures_of_few_pairs_are_finite() -> None:
    found = rules.figures("screen", [Pair(1.0, 2.0), Pair(1.0, 0.0)])
    assert all(math.isfinite(v) for v in found.values()) and "screen_low95" not in found


# --- less text


def test_a_variant_may_lose_a_little_of_the_gain() -> None:
    config = GateConfig()
    child = [Pair(0.0, 10.0 + i % 3) for i in range(30)]
    assert rules.not_worse([p._replace(child=p.child - 1.0) for p in child], child, config)
    assert not rules.not_worse([p._replace(child=p.child - 3.0) for p in child], child, config)
    assert rules.not_worse(child, child, config)
    assert rules.not_worse([p._replace(child=p.child + 5.0) for p in child], child, config)


def test_a_variant_whose_losses_are_unsure_does_not_win() -> None:
    """As good in the mean and better than the parent, but so unlike game by game that much might be lost."""
    config = GateConfig()
    child = [Pair(100.0 + 50.0 * (i % 2), 110.0 + 50.0 * (i % 2)) for i in range(30)]
    unsure = [p._replace(child=260.0 - p.parent) for p in child]
    assert rules.better(unsure, config.confirm_level) and not rules.harms(unsure, config.harm_level)
    assert not rules.not_worse(unsure, child, config)


def test_a_variant_must_be_better_than_the_parent_itself() -> None:
    unclear = [Pair(100.0 + 20.0 * (i % 2), 121.0 - 20.0 * (i % 2)) for i in range(30)]
    assert not rules.harms(unclear, 0.05) and not rules.not_worse(unclear, unclear, GateConfig())
