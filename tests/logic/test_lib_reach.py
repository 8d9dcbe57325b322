"""Reach tables and two-step plans (logic/lib/reach.py, plans.py): properties that any correct induction has."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.plain_runner import load_module
from logic.language.program import shipped_library

LAG, HORIZON = 12, 16


def library(name: str) -> SimpleNamespace:
    """A library module's functions."""
    return SimpleNamespace(**load_module(shipped_library(name), f"lib/{name}", {}).namespace)


def table_for(reach: SimpleNamespace, frames: int, sticky: float) -> np.ndarray:
    """Hit anywhere within 6 px of the goal, in the one last frame."""
    offsets = reach.displayed_offsets(LAG)
    hit = reach.within(offsets, -6.5, 6.5, 1.0)[None, :]
    fresh, cost = np.ones(HORIZON, bool), np.zeros(len(offsets), np.float32)
    table: np.ndarray = reach.reach_table(frames, sticky, HORIZON, fresh, hit, np.ones_like(hit), cost, LAG)
    return table


@pytest.fixture(scope="module")
def reach() -> SimpleNamespace:
    """The library's functions."""
    return library("reach")


def test_on_the_spot_and_at_rest_is_a_sure_hit(reach: SimpleNamespace) -> None:
    table = table_for(reach, 4, 0.25)
    for j in range(1, HORIZON + 1):
        assert max(reach.reach_values_of_one(table, j, 0.0, 0, 0, LAG)) == pytest.approx(1.0)


def test_what_is_out_of_reach_is_worthless_and_moves_point_the_right_way(reach: SimpleNamespace) -> None:
    table = table_for(reach, 1, 0.0)
    assert max(reach.reach_values_of_one(table, 3, -40.0, 0, 0, LAG)) == pytest.approx(0.0)
    stay, up, down = reach.reach_values_of_one(table, 4, -18.0, 0, 0, LAG)
    assert up == pytest.approx(1.0) and stay < 0.5 and down < 0.5
    stay, up, down = reach.reach_values_of_one(table, 4, 18.0, 0, 0, LAG)
    assert down == pytest.approx(1.0) and stay < 0.5 and up < 0.5


def test_stickiness_never_helps_where_control_is_fine(reach: SimpleNamespace) -> None:
    sure, sticky = table_for(reach, 1, 0.0), table_for(reach, 1, 0.25)
    for offset in (-30.0, -18.0, -9.0, 12.0, 24.0):
        for j in (3, 6, 9):
            best = max(reach.reach_values_of_one(sure, j, offset, 0, 0, LAG))
            assert max(reach.reach_values_of_one(sticky, j, offset, 0, 0, LAG)) <= best + 1e-5


@pytest.mark.parametrize("frames", [1, 4])
def test_values_are_what_greedy_play_wins(reach: SimpleNamespace, frames: int) -> None:
    """Monte Carlo of the same paddle, acting greedily on the table: the mean equals the table's promise."""
    table, rng = table_for(reach, frames, 0.25), np.random.default_rng(0)
    for offset in (-22, 13):
        promise, wins = max(reach.reach_values_of_one(table, 12, float(offset), 0, 0, LAG)), []
        for _ in range(1500):
            place, behind, last = offset, 0, 0
            for j in range(12, 0, -1):
                if (12 - j) % frames == 0:
                    asked = int(np.argmax(reach.reach_values_of_one(table, j, float(place), behind, last, LAG)))
                last = last if rng.random() < 0.25 else asked
                step = (0, 6, -6)[last]
                place, behind = place + step, behind // 2 + step
            wins.append(abs(place - behind) <= 6)
        assert np.mean(wins) == pytest.approx(promise, abs=0.04)


def test_the_mirror_is_exact(reach: SimpleNamespace) -> None:
    table = table_for(reach, 4, 0.25)
    for offset, behind, last in ((-17, 5, 1), (9, -7, 2), (30, 11, 0)):
        here = reach.reach_values_of_one(table, 9, float(offset), behind, last, LAG)
        there = reach.reach_values_of_one(table, 9, *reach.seen_from(-1.0, float(offset), behind, last), LAG)
        assert here == pytest.approx((there[0], there[2], there[1]), abs=1e-5)


def test_a_belief_is_the_weighted_mean_of_its_guesses(reach: SimpleNamespace) -> None:
    table = table_for(reach, 4, 0.25)
    one = reach.reach_values_of_one(table, 7, 8.0, 3, 1, LAG)
    two = reach.reach_values_of_one(table, 7, -5.0, 0, 2, LAG)
    mixed = reach.reach_values(
        table, 7, np.array([8.0, -5.0], np.float32), np.array([3, 0]), np.array([1, 2]),
        np.array([0.3, 0.7], np.float32), LAG,
    )  # fmt: skip
    assert mixed.tolist() == pytest.approx([0.3 * a + 0.7 * b for a, b in zip(one, two, strict=True)], abs=1e-5)


def test_plans_play_out_every_branch_and_weigh_it_by_its_odds() -> None:
    plans, knob = library("plans"), library("knob")
    places, fresh, moves = np.arange(101, dtype=np.int32) % 34 * 6, np.ones(101, bool), knob.knob_moves()
    beside = np.arange(49) - 24
    hit = ((beside >= 0) & (beside <= 12)).astype(np.float32)
    shown = np.array([int(places[16])], np.int32)
    opens, balls = np.array([0, 0, 0, 1], np.float32), np.full(4, float(shown[0]) + 20, np.float32)
    asked, late = plans.branch_asked(5, 1), plans.branch_late(5, 1)
    *_, won, free = plans.play(
        plans.branch(np.array([16], np.int32), 15), plans.branch(shown, 15), plans.branch(np.zeros(1, np.int32), 15),
        asked, late, np.zeros(15, np.float32), np.ones(15, np.float32), opens, balls, hit, hit, moves, places, fresh,
        0, 200,
    )  # fmt: skip
    assert won + free == pytest.approx(np.ones(15))
    stay, right, left = plans.after_step(won, plans.branch_odds(knob.sticky_ways(4, 0.25), 5))[:, 0]
    assert stay == 0.0 and left == 0.0
    # Moving from the first frame shows 10 px more after four frames (8 would do), from the second only 6.
    assert right == pytest.approx(0.75, abs=0.2) and right > 0.7
