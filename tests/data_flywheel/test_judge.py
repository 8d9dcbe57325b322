"""Which eyes are kept: judged by motion on the new look, by frozen labels on the old one."""

from __future__ import annotations

import dataclasses

import motion_kit as kit
import numpy as np
import pytest

from data_flywheel.labelers import motion
from data_flywheel.self_training import judge
from data_flywheel.self_training.judge import Sight

BALL = kit.SCHEMA.slot("ball").start
BAT = kit.SCHEMA.slot("bat").start


@pytest.fixture(scope="module")
def game():
    field = np.full((*kit.SHAPE, 3), (20, 90, 40), np.uint8)
    old, new = kit.play(900, 1, field), kit.play(300, 2, field)
    known = motion.priors(old.scenes, old.episodes, kit.SCHEMA, kit.SHAPE)
    return new, motion.label(new.frames, new.episodes, kit.SCHEMA, known), known


def sight(game, seen):
    new, found, known = game
    return judge.sight(seen, new.episodes, found, known, kit.SCHEMA, new.scenes[:, kit.CELLS])


def test_perfect_eyes_are_good_and_blind_ones_are_not(game) -> None:
    assert sight(game, game[0].scenes).score >= 0.98
    blind = game[0].scenes.copy()
    blind[:, BALL : BALL + 8] = 0
    told = sight(game, blind)
    assert told.hits["ball"] == 0.0 and told.hits["bat"] >= 0.98 and told.score == 0.0


def test_eyes_that_are_three_pixels_off_are_wrong(game) -> None:
    off = game[0].scenes.copy()
    off[:, BAT + 1] += 3.0
    assert sight(game, off).hits["bat"] < 0.05


def test_a_ball_that_rests_is_a_ghost(game) -> None:
    ghost = game[0].scenes.copy()
    ghost[:, BALL : BALL + 5] = (1, 30, 40, 2, 4)
    told = sight(game, ghost)
    assert told.ghosts > 0.9 and sight(game, game[0].scenes).ghosts == 0.0


def test_wrong_cells_count(game) -> None:
    wrong = game[0].scenes.copy()
    wrong[:, kit.CELLS] = 1 - wrong[:, kit.CELLS]
    assert sight(game, wrong).cells == 0.0


def test_coverage_is_that_of_the_rarest_flying_thing(game) -> None:
    _, found, known = game
    assert judge.coverage(found, known) == pytest.approx(found.trust[:, 0].mean())
    blind = dataclasses.replace(found, trust=np.zeros_like(found.trust))
    assert judge.coverage(blind, known) == 0.0


def of(score: float) -> Sight:
    return Sight({"ball": score}, 0.0, None, 100)


NONE = np.zeros(500, bool)


def some(n: int) -> np.ndarray:
    return np.arange(500) < n


def test_better_eyes_are_promoted_and_no_better_ones_are_not() -> None:
    assert judge.led(judge.judge(of(0.2), of(0.9), NONE, NONE), of(0.3), of(0.95)).promote
    assert judge.judge(of(0.99), of(0.996), NONE, NONE).promote, "more than a fifth of what was wrong"
    kept = judge.judge(of(0.9), of(0.91), NONE, NONE)
    assert not kept.promote and "not better" in kept.reason and not kept.forgets


def test_eyes_that_forget_the_old_look_are_kept_out_however_good() -> None:
    verdict = judge.judge(of(0.0), of(1.0), NONE, some(12))
    assert not verdict.promote and verdict.forgets and "12 of 500" in verdict.reason


def test_as_many_frames_newly_right_as_newly_wrong_is_no_forgetting() -> None:
    assert judge.judge(of(0.0), of(1.0), some(12), np.roll(some(12), 100)).promote
    assert judge.judge(of(0.0), of(1.0), NONE, some(4)).promote, "4 of 500 is within what is allowed"


def test_eyes_that_are_worse_where_they_lead_are_kept_out() -> None:
    verdict = judge.led(judge.judge(of(0.5), of(0.9), NONE, NONE), of(0.8), of(0.6))
    assert not verdict.promote and "by itself" in verdict.reason


def test_what_is_wrong_on_a_labelled_frame() -> None:
    truth = np.zeros((5, kit.SCHEMA.size), np.float32)
    truth[:, BALL : BALL + 5] = (1, 30, 40, 2, 4)
    found = truth.copy()
    found[1, BALL] = 0  # missed
    found[2, BALL + 2] += 3  # misplaced
    found[3, BAT : BAT + 5] = (1, 50, 70, 16, 4)  # made up
    found[4, kit.CELLS.start] = 1  # a cell that is not there
    assert judge.wrong(found, truth, kit.SCHEMA).tolist() == [False, True, True, True, True]


def test_a_falling_score_keeps_eyes_out_and_none_is_no_reason() -> None:
    good = judge.judge(of(0.2), of(0.9), NONE, NONE)
    assert judge.with_scores(good, [], []) == good
    assert judge.with_scores(good, [100, 90], [99, 90]).promote
    fallen = judge.with_scores(good, [100, 90], [80, 90])
    assert not fallen.promote and "95.0 -> 85.0" in fallen.reason and fallen.figures["scores"]["new"] == [80, 90]
    assert not judge.with_scores(good, [-10], [-12]).promote


def test_nothing_frozen_promotes_nothing() -> None:
    none = np.zeros(0, bool)
    verdict = judge.judge(Sight({"ball": 0.1}, 0.0, None, 500), Sight({"ball": 1.0}, 0.0, None, 500), none, none)
    assert not verdict.promote and "no frame of the old look is frozen" in verdict.reason and not verdict.forgets
