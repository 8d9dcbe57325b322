"""The gate's rules at their edges: exactly at the level, one seed before, equal where equal is allowed."""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest
from gate_kit import AT_ONCE

from supervisor.gate import rules
from supervisor.gate import statistics as stats
from supervisor.gate.types import GateConfig, Pair, Verdict

NAN, INF = math.nan, math.inf
# p-values of n equal gains are 2 ** -n
EASY = GateConfig(
    **AT_ONCE, screen=2, looks=(3, 4, 5), spend=(0.125, 0.0625, 0.0), hopeful=(0.5, 0.25, 0.25), confirm_level=0.25,
    worse_at=0.125, harm_level=0.125, confirm_least=4, confirm_most=99, total_level=0.1,
)  # fmt: skip


def won(n: int) -> list[Pair]:
    return [Pair(1.0, 2.0)] * n


def mixed(up: int, down: int, by: float = 1.0) -> list[Pair]:
    """`up` gains and `down` losses, all of the same size."""
    return [Pair(10.0, 10.0 + by)] * up + [Pair(10.0, 10.0 - by)] * down


def flipped(pairs: list[Pair]) -> list[Pair]:
    return [Pair(p.child, p.parent) for p in pairs]


def test_pairs_come_in_the_order_of_the_block() -> None:
    pairs = {7: Pair(1, 2), 5: Pair(3, 4)}
    assert rules.missing(pairs, (5, 6, 7, 8)) == (6, 8)
    assert rules.in_order(pairs, (5, 6, 7, 8)) == [Pair(3, 4), Pair(1, 2)]
    assert rules.differences([Pair(1, 4), Pair(9, 4)]) == [3, -5]


@pytest.mark.parametrize("bad", [Pair(1, NAN), Pair(1, INF), Pair(1, 1, 0, NAN), Pair(NAN, 1), Pair(1, 1, INF, 0)])
def test_scores_that_are_no_numbers_are_counted(bad: Pair) -> None:
    assert rules.broken([Pair(1, 2), bad, bad]) == "2 of 3 episodes gave no finite score"
    assert rules.broken([Pair(1, 2)]) == rules.broken([]) == ""
    assert rules.parent_finite(bad) is (math.isfinite(bad.parent) and math.isfinite(bad.parent_hard))


def test_a_limit_may_be_reached_and_not_exceeded() -> None:
    limits = {"b": 2.0, "a": 1.0, "c": 3.0}
    assert rules.over_limits({"a": 1.0, "b": 2.0, "c": -9.0, "d": 9.0}, limits) == ()
    assert rules.over_limits({"a": NAN, "b": 2.5, "c": 3.0}, limits) == ("a is nan, at most 1", "b is 2.5, at most 2")


@pytest.mark.parametrize("n", [1, 3, 6])
def test_better_is_at_the_level_or_under_it(n: int) -> None:
    assert rules.better(won(n), 2.0**-n) and not rules.better(won(n), 2.0**-n * 0.99)
    assert not rules.better(flipped(won(n)), 0.99)


def test_figures_by_hand() -> None:
    pairs = [Pair(float(i), float(i + d), 1.0 + i, 2.0 + 3 * i) for i, d in enumerate([2, 0, -1, 5, 0, 3])]
    diff = [2.0, 0.0, -1.0, 5.0, 0.0, 3.0]
    assert rules.figures("x", pairs) == {
        "x_pairs": 6, "x_parent": 2.5, "x_child": 4.0, "x_difference": 1.5, "x_ties": 2, "x_p": stats.p_greater(diff),
        "x_low95": stats.lower_bound(diff, 0.05), "x_high95": stats.upper_bound(diff, 0.05),
        "x_parent_worst_decile": 0.0, "x_child_worst_decile": 1.0, "x_parent_hard": 3.5, "x_child_hard": 9.5,
    }  # fmt: skip
    assert "x_low95" not in rules.figures("x", pairs[:3])


# --- harms


def test_a_harm_is_at_the_level_or_under_it() -> None:
    down = [Pair(10.0, 30.0)] * 9 + [Pair(10.0, 1.0)]
    p = stats.p_worse_decile([x.parent for x in down], [x.child for x in down])
    assert not rules.harms(down, p * 0.99)
    assert rules.harms(down, p) == ("the worst decile falls from 10 to 1",)
    hard = [Pair(1.0, 2.0, 2.0, 3.0)] * 4
    assert rules.harms(hard, 1 / 16) and not rules.harms(hard, 0.99 / 16)
    assert rules.harms(hard, 1 / 16) == ("hard safety rules step in more often: 2 to 3 per 1000 decisions",)


def test_both_harms_are_told() -> None:
    both = [Pair(10.0, 1.0, 2.0, 3.0)] * 5
    assert [text[:9] for text in rules.harms(both, 0.05)] == ["the worst", "hard safe"]
    assert rules.harms([Pair(10.0, 10.0, 2.0, 2.0)] * 5, 0.99) == ()


@pytest.mark.parametrize(("parent", "child", "episodes"), [(0, 1, 2), (1, 1, 0), (0, 0, 0), (1, 0, 0)])
def test_what_never_happened_to_the_parent(parent: float, child: float, episodes: int) -> None:
    pairs = [Pair(1, 1), Pair(1, 1, 0, child), Pair(1, 1, parent, 0), Pair(1, 1, 0, child)]
    told = f"hard safety rules step in during {episodes} of 4 episodes, for the parent in none"
    assert rules.never_before(pairs) == ((told,) if episodes else ())


# --- the selecting block


def test_an_early_stop_is_at_its_level_and_names_its_stage() -> None:
    worse = flipped(won(3))
    verdict = rules.early_reject(worse, "screen", EASY)
    assert verdict is not None and (verdict.kind, verdict.stage) == ("reject", "screen")
    assert verdict.reasons == ("worse after 3 seeds (p 0.125)",) and verdict.numbers["screen_pairs"] == 3
    assert rules.early_reject(worse, "screen", replace(EASY, worse_at=0.12)) is None
    assert rules.early_reject(won(3), "screen", EASY) is None


@pytest.mark.parametrize("i", [0, 1])
def test_each_look_spends_its_own_level(i: int) -> None:
    n = EASY.looks[i]
    for share, good in ((1.0, True), (0.99, False)):
        spend = tuple(share * 2.0**-n if k == i else 0.0 for k in range(3))
        assert (rules.look(won(n), "full", i, replace(EASY, spend=spend)) == "better") is good


def test_what_a_look_leaves_over_the_next_ones_have() -> None:
    config = replace(EASY, spend=(0.05, 0.0125, 0.0))  # three gains are 1/8, four are 1/16
    assert rules.look(won(3), "full", 0, config) == "more"
    assert rules.look(won(4), "full", 1, config) == "better"
    assert rules.look(won(4), "full", 1, replace(config, spend=(0.05, 0.012, 0.0))) == "more"


def look(pairs: list[Pair], i: int, **more: object) -> Verdict | str:
    return rules.look(pairs, "probe", i, replace(EASY, **more))  # type: ignore[arg-type]


@pytest.mark.parametrize("i", [0, 1])
def test_each_look_hopes_up_to_its_own_level(i: int) -> None:
    """Two of three, two of four: p 0.5 and 0.6875, at any look but the last."""
    n = EASY.looks[i]
    pairs = mixed(2, n - 2)
    p = stats.p_greater(rules.differences(pairs))
    hopeful = [0.01, 0.01, 0.01]
    hopeful[i] = p
    assert look(pairs, i, hopeful=tuple(hopeful)) == "more"
    hopeful[i] = p * 0.99
    verdict = look(pairs, i, hopeful=tuple(hopeful))
    assert isinstance(verdict, Verdict) and (verdict.kind, verdict.stage) == ("reject", "probe")
    assert verdict.reasons == (f"not better after {n} seeds (p {p:.3f})",) and verdict.numbers["full_pairs"] == n


def test_the_last_look_decides() -> None:
    pairs = mixed(4, 1)[::-1]  # p 6/32
    p = stats.p_greater(rules.differences(pairs))
    promising = look(pairs, 2, hopeful=(0.5, 0.5, p))
    assert isinstance(promising, Verdict) and promising.kind == "indecisive"
    assert promising.reasons == ("promising, but undecided after 5 seeds (p 0.188)",)
    hopeless = look(pairs, 2, hopeful=(0.5, 0.5, p * 0.99))
    assert isinstance(hopeless, Verdict) and hopeless.kind == "reject"


@pytest.mark.parametrize("hopeful", [(1.0, 1.0, 1.0), (0.5, 0.5, 0.5)])
def test_games_that_are_all_alike_are_no_reason_for_more(hopeful: tuple[float, ...]) -> None:
    verdict = look([Pair(3.0, 3.0)] * 5, 2, hopeful=hopeful)
    assert isinstance(verdict, Verdict) and verdict.kind == "reject"
    assert verdict.reasons == ("every one of 5 seeds gave the same score",)
    assert look([Pair(3.0, 3.0)] * 3, 0, hopeful=(1.0, 1.0, 1.0)) == "more"
    some = look([Pair(3.0, 3.0)] * 4 + [Pair(3.0, 4.0)], 2, hopeful=hopeful)
    assert isinstance(some, Verdict) and some.kind == "indecisive", "four of five are not all"


def test_a_harm_needs_the_whole_level_where_the_block_is_passed_and_its_share_before() -> None:
    safe = [Pair(1.0, 2.0, 2.0, 3.0)] * 3  # better and harmful, both at 1/8
    verdict = look(safe, 0)
    assert isinstance(verdict, Verdict) and verdict.kind == "reject" and "hard safety" in verdict.reasons[0]
    assert look(safe, 0, harm_level=0.12) == "better"
    unclear = [p._replace(parent_hard=2.0, child_hard=3.0) for p in mixed(2, 1, 0.0)]
    for level, ends in ((0.375, True), (0.37, False)):  # a third of it for each of three looks
        verdict = look(unclear, 0, harm_level=level, hopeful=(1.0, 1.0, 1.0))
        assert (isinstance(verdict, Verdict) and "hard safety" in verdict.reasons[0]) is ends


# --- the size of a confirmation


def spread(values: list[float], level: float = 0.0) -> list[Pair]:
    return [Pair(level, level + v) for v in values]


@pytest.mark.parametrize("values", [[4.0, 8.0, 3.0, 9.0, 5.0], [10.0, 14.0, 11.0, 25.0], [3.0, 1.0, 2.0, 4.0, 2.5]])
@pytest.mark.parametrize("level", [0.25, 0.05])
def test_a_confirmation_is_sized_for_the_gain_seen_less_one_standard_error(values: list[float], level: float) -> None:
    config = GateConfig(confirm_least=1, confirm_most=10_000, confirm_level=level, spend=(0.04, *[0] * 10))
    n = len(values)
    mean, deviation = np.mean(values), np.std(values, ddof=1)
    reach = NormalDist().inv_cdf(1 - level) + NormalDist().inv_cdf(config.confirm_power)
    need = math.ceil((reach * deviation / (mean - deviation / math.sqrt(n))) ** 2)
    crashes = math.ceil(3 * mean / mean) - n  # the parent scores nothing: a crash costs the gain and no more
    assert rules.confirm_size(spread(values), config) == max(need, crashes, 1)


def test_a_gain_within_one_standard_error_needs_the_most() -> None:
    config = GateConfig(confirm_least=3, confirm_most=300)
    assert rules.confirm_size(spread([0.0, 2.0]), config) == 300, "the gain is one standard error, exactly"
    assert rules.confirm_size(spread([-3.0, 1.0]), config) == 300
    assert rules.confirm_size(spread([0.0, 0.0]), config) == 300


@pytest.mark.parametrize(("level", "gain", "lowest"), [(75.0, 3.0, 75.0), (30.0, 1.0, 0.0), (20.0, 4.0, -40.0)])
def test_both_blocks_together_would_show_a_crash_that_costs_the_gain(level: float, gain: float, lowest: float) -> None:
    """A crash is a fall to nothing, or to the lowest score seen where that is less."""
    config = GateConfig(confirm_least=1, confirm_most=1000)
    pairs = [*spread([gain] * 9, level), Pair(lowest, lowest + gain)]
    fall = np.mean([p.child for p in pairs]) - min(0.0, lowest)
    assert rules.confirm_size(pairs, config) == math.ceil(3 * fall / gain) - 10


def test_a_childs_own_lowest_score_counts_as_nothing() -> None:
    config = GateConfig(confirm_least=1, confirm_most=1000)
    pairs = [Pair(0.0, 40.0)] * 8 + [Pair(0.0, -20.0)] * 2
    mean = 28.0
    assert rules._for_crashes(pairs) == math.ceil(3 * (28.0 + 20.0) / mean) - 10
    assert rules._for_crashes(flipped(pairs)) == 0 and rules._for_crashes([Pair(5.0, 5.0)] * 4) == 0
    assert rules.confirm_size(flipped(pairs), config) == 1000


def test_no_fewer_than_the_least_and_no_more_than_the_most() -> None:
    pairs = spread([9.0, 9.5, 10.0, 10.5], 100.0)
    free = rules.confirm_size(pairs, GateConfig(confirm_least=1, confirm_most=1000))
    assert 1 < free < 1000
    assert rules.confirm_size(pairs, GateConfig(confirm_least=free + 1, confirm_most=1000)) == free + 1
    assert rules.confirm_size(pairs, GateConfig(confirm_least=1, confirm_most=free - 1)) == free - 1


# --- confirmation, and less text


def test_a_fresh_block_confirms_at_its_level_or_says_how_it_failed() -> None:
    two, three = replace(EASY, confirm_least=2), replace(EASY, confirm_least=3)
    assert rules.confirmed(won(5), won(2), two) == "yes"
    cases = [(replace(two, confirm_level=0.24), won(2), "indecisive", "0.250"),
             (three, mixed(2, 1), "indecisive", "0.500"), (two, mixed(1, 1), "reject", "0.750")]  # fmt: skip
    for config, fresh, kind, p in cases:
        verdict = rules.confirmed(won(5), fresh, config)
        assert isinstance(verdict, Verdict) and (verdict.kind, verdict.stage) == (kind, "confirm")
        assert verdict.reasons == (f"not confirmed on {len(fresh)} fresh seeds (p {p})",)
        assert (verdict.numbers["full_pairs"], verdict.numbers["confirm_pairs"]) == (5, len(fresh))


def test_a_harm_in_either_block_keeps_it_from_being_confirmed() -> None:
    rare = Pair(1.0, 2.0, 0.0, 1.0)
    for passed, fresh in (([*won(4), rare], won(3)), (won(4), [*won(2), rare])):
        verdict = rules.confirmed(passed, fresh, EASY)
        assert isinstance(verdict, Verdict) and verdict.kind == "reject"
        assert "for the parent in none" in verdict.reasons[0]
    known = Pair(1.0, 2.0, 1.0, 1.0)
    assert rules.confirmed([*won(4), known], [*won(2), rare], replace(EASY, confirm_least=3)) == "yes"
    often = [Pair(1.0, 2.0, 1.0, 2.0)] * 2
    verdict = rules.confirmed(often, often * 2, replace(EASY, harm_level=1 / 64))
    assert isinstance(verdict, Verdict) and "more often" in verdict.reasons[0]
    assert rules.confirmed(often, often * 2, replace(EASY, harm_level=0.015)) == "yes"


def test_a_simpler_variant_may_lose_exactly_the_slack() -> None:
    config = replace(EASY, slack=0.25)
    child = spread([8.0] * 5)
    for loss, good in ((2.0, True), (2.1, False), (-1.0, True), (0.0, True)):
        simple = [p._replace(child=p.child - loss) for p in child]
        assert rules.not_worse(simple, child, config) is good
    mostly = [*child[:2], *(p._replace(child=1.0) for p in child[2:])]
    assert not rules.not_worse(mostly, child, config), "alike in two games of five"
    flat = spread([8.0, 8.0])
    assert rules.not_worse(flat, flat, config), "alike needs no bound, however few the games"
    assert not rules.not_worse(flat[:1], flat[:1], config), "not even better than the parent, at 1/2"


def test_a_simpler_variant_needs_finite_scores_and_does_no_harm() -> None:
    child = spread([8.0] * 5)
    assert not rules.not_worse([*child[:4], Pair(0.0, NAN)], child, EASY)
    assert not rules.not_worse([*child[:4], Pair(0.0, INF)], child, EASY)
    harmful = [p._replace(parent_hard=1.0, child_hard=2.0) for p in child]
    assert not rules.not_worse(harmful, child, EASY)
    assert rules.not_worse(harmful, child, replace(EASY, harm_level=0.03))
    assert not rules.not_worse(flipped(child), child, EASY)


@pytest.mark.parametrize(("gain", "first"), [(75.0, 5), (15.0, 12), (7.5, 20), (3.0, 50)])
def test_a_small_gain_in_every_game_is_selected_late(gain: float, first: int) -> None:
    """Half of the games that would show a crash which costs the gain are played in the selecting block."""
    config = GateConfig()
    found = [n for i, n in enumerate(config.looks) if rules.selected(spread([gain] * n, 75.0), i, config)]
    assert found[0] == first and found == list(config.looks[config.looks.index(first) :])


def test_what_was_shown_at_an_earlier_look_has_to_be_so_still() -> None:
    config = GateConfig()
    lost = [*spread([3.0] * 49, 75.0), Pair(75.0, 0.0)]
    assert stats.first_passed(rules.differences(lost), config.looks, config.spend) == 0
    assert not rules.selected(lost, config.looks.index(50), config)
