"""Whose failure it was: what outcomes of a swap mean, what signs say, what the estimate makes of them; no real game."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from motion_kit import SCHEMA, SHAPE, black, play

from data_flywheel.attribution import signs as blame_odds
from data_flywheel.attribution import verdict as blame
from data_flywheel.attribution.signs import SIGNS, corrected, habits, signs, watch
from data_flywheel.attribution.verdict import (
    BOTH,
    EYES,
    LIFE,
    POINT,
    REFLEXES,
    SAME,
    STUCK,
    WORLD,
    Failure,
    failures,
    judge,
)
from data_flywheel.episodes.episode import Episode, floor_of
from envs.remote import Outcome
from triune.play.attribution import went_well

HERE = Failure(LIFE, 90)


def episode(scores: list[int], lives: list[int] | None = None, scenes: np.ndarray | None = None) -> Episode:
    n = len(scores)
    ids = np.zeros(n, np.uint16)
    return Episode(
        {}, np.zeros((n, SCHEMA.size), np.float32) if scenes is None else scenes, np.zeros(n, np.uint8),
        np.zeros(n, np.uint8), ids, ids, ids, np.array(scores, np.int32), np.array(lives or [0] * n, np.int32),
    )  # fmt: skip


def test_failures_are_lives_and_points_lost_and_a_game_that_hangs() -> None:
    game = episode([0] * 20 + [1] * 20 + [0] * 10 + [-1] * 40, [5] * 30 + [4] * 60)
    assert failures(game) == [Failure(LIFE, 30, 0), Failure(POINT, 40, 31), Failure(POINT, 50, 41)]
    assert failures(game, stuck=39) == [*failures(game), Failure(STUCK, 89, 51)]
    close = episode([0] * 20 + [-1] * 3 + [-2] * 20)
    assert failures(close) == [Failure(POINT, 20, 0)]
    assert failures(episode([])) == failures(episode([0, 0, 1], [5, 5, 5])) == []


def test_where_every_step_costs_only_one_far_worse_than_most_is_a_failure() -> None:
    costs = np.full(60, -0.25)
    costs[40] = -3.0
    game = replace(episode([0] * 60), scores=np.cumsum(costs))
    assert failures(game) == [Failure(POINT, 40, 0)]
    least = floor_of(game.rewards())
    told = [tuple(np.cumsum(c).tolist()) for c in (np.full(60, -0.25), costs)]
    sheets = [Outcome(scores[-1], {}, 60, True, scores, (0,) * 60) for scores in told]
    assert [went_well(sheet, 10, False, least) for sheet in sheets] == [True, False]
    assert not went_well(sheets[0], 10, False)


@pytest.mark.parametrize(
    ("same", "detector", "reflexes", "both", "who"),
    [
        (0, 3, 0, 3, EYES), (0, 0, 3, 3, REFLEXES), (0, 0, 0, 3, BOTH), (0, 0, 0, 0, WORLD), (3, 3, 3, 3, WORLD),
        (1, 3, 1, 3, EYES), (1, 1, 2, 2, REFLEXES), (0, 3, 2, 3, EYES), (0, 2, 3, 3, REFLEXES), (0, 3, 3, 1, WORLD),
        (2, 2, 2, 2, WORLD), (1, 1, 1, 3, BOTH),
    ],
)  # fmt: skip
def test_the_swap_that_helps_names_the_party(same: int, detector: int, reflexes: int, both: int, who: str) -> None:
    went = {SAME: same, EYES: detector, REFLEXES: reflexes, BOTH: both}
    well = {what: [i < n for i in range(3)] for what, n in went.items()}
    said = judge(HERE, well, 60)
    assert said.who == who and f"with both {both}/3" in said.line and "60 steps before" in said.line


# --- signs, on a made-up game

SOUND = play(400, 1, black())
ACTIONS = 3
BALL, BAT = SCHEMA.slot("ball"), SCHEMA.slot("bat")


def record(scenes: np.ndarray, told: np.ndarray | None = None) -> Episode:
    """A game whose actions moved the bat as the true scenes `told` show: 1 right, 2 left."""
    way = np.diff((scenes if told is None else told)[:, BAT.start + 1], append=0.0)
    actions = np.where(way > 0, 1, np.where(way < 0, 2, 0)).astype(np.uint8)
    base = episode([0] * len(scenes), None, scenes)
    return Episode({}, scenes, actions, actions, base.reasons, base.overruled, base.faults, base.scores, base.lives)


@pytest.fixture(scope="module")
def told() -> dict[str, dict[str, float]]:
    """Signs of one stretch of play, seen in different ways."""
    usual = habits([record(SOUND.scenes[:200]), record(SOUND.scenes[200:])], SCHEMA, SHAPE, ACTIONS)
    assert (usual.own, usual.other, usual.axis) == (1, 0, 0)
    game = play(130, 2, black())
    frames, true = game.frames[:65], game.scenes[:65]
    ways = {"sound": true.copy()}
    for name in ("blind", "offset", "late", "swapped"):
        ways[name] = true.copy()
    ways["blind"][30:, BALL] = 0.0
    ways["offset"][:, BALL.start + 1] += 6.0 * (true[:, BALL.start] > 0)
    ways["late"][4:] = true[:-4]
    ways["swapped"][:, BALL], ways["swapped"][:, BAT] = true[:, BAT], true[:, BALL]
    none = np.zeros(len(true), bool)
    shown = watch(frames, usual, SCHEMA)
    return {n: signs(record(s, true), Failure(LIFE, 60), shown, 0, usual, SCHEMA, [none]) for n, s in ways.items()}


def test_sound_eyes_show_no_signs(told: dict[str, dict[str, float]]) -> None:
    sound = told["sound"]
    assert set(sound) == set(SIGNS) and all(np.isfinite(list(sound.values())))
    assert sound["blind"] < 0.1 and sound["apart"] < 0.1 and sound["gap"] < 1.0 and sound["jumps"] < 0.1


def test_each_lie_of_the_eyes_shows(told: dict[str, dict[str, float]]) -> None:
    sound = told["sound"]
    assert told["blind"]["blind"] > sound["blind"] + 0.3 and told["blind"]["missing"] > sound["missing"] + 0.3
    assert told["offset"]["apart"] > 0.9 and told["offset"]["gap"] == pytest.approx(6.0, abs=1.0)
    assert told["late"]["apart"] > 0.9 and told["late"]["unanswered"] > 2.0 * sound["unanswered"]
    assert told["swapped"]["apart"] > 0.5 and told["swapped"]["gap"] > 10.0


def test_scenes_are_corrected_where_the_frames_are_sure() -> None:
    usual = habits([record(SOUND.scenes)], SCHEMA, SHAPE, ACTIONS)
    game = play(90, 2, black())
    shown = watch(game.frames[10:45], usual, SCHEMA)
    false = game.scenes[:40].copy()
    false[:, BALL] = 0.0
    made = corrected(false, shown, 10, SCHEMA)
    sure = np.flatnonzero(shown.trust[:30, 0]) + 10
    assert len(sure) > 5 and np.abs(made[sure, BALL.start + 1] - game.scenes[sure, BALL.start + 1]).max() < 2.0
    rest = np.setdiff1d(np.arange(40), sure)
    assert not made[rest, BALL].any() and not false.any(0)[BALL].any()


# --- the estimate


def some(**values: float) -> dict[str, float]:
    return dict.fromkeys(SIGNS, 0.0) | values


def test_the_shipped_weights_know_the_plain_cases() -> None:
    assert {frozenset(w) for w in blame_odds.weights().values()} == {frozenset({"bias", *SIGNS})}
    assert tuple(blame_odds.weights()) == tuple(blame.PARTIES)
    wrong = some(apart=1.0, gap=8.0, unanswered=2.0)
    lazy = some(miss=16.0, odd=0.4, strayed=0.8, unanswered=1.0)
    assert blame_odds.estimate(HERE, wrong).who == EYES
    assert blame_odds.estimate(HERE, lazy).who == REFLEXES
    said = blame_odds.estimate(HERE, wrong)
    assert sum(said.odds.values()) == pytest.approx(1.0) and "sure" in said.line and len(said.evidence) == 3
    assert any("elsewhere than the frames" in e for e in said.evidence)


def test_a_fit_finds_what_the_truth_was_made_of() -> None:
    rng = np.random.default_rng(0)
    rows, truths = [], []
    for _ in range(300):
        detector, reflexes = rng.random() < 0.5, rng.random() < 0.5
        apart = rng.uniform(0.6, 1) if detector else rng.uniform(0, 0.5)
        rows.append(some(apart=apart, odd=0.3 * reflexes, jumps=rng.random()))
        truths.append({(1, 0): EYES, (0, 1): REFLEXES, (1, 1): BOTH, (0, 0): WORLD}[int(detector), int(reflexes)])
    made = blame_odds.fit(rows, truths)
    assert made[EYES]["apart"] > 3.0 and abs(made[EYES]["jumps"]) < 1.0 and made[REFLEXES]["odd"] > 2.0
    assert [blame_odds.estimate(HERE, r, made).who for r in rows].count(WORLD) > 50
    right = np.mean([blame_odds.estimate(HERE, r, made).who == t for r, t in zip(rows, truths, strict=True)])
    assert right > 0.95


def test_reliability_tells_overconfidence() -> None:
    (row,) = blame_odds.reliability([(0.9, i < 6) for i in range(10)])
    assert (row["n"], row["said"], row["came_true"]) == (10, 0.9, 0.6)


def test_odds_cover_every_party() -> None:
    for detector, odd in itertools.product((0.0, 1.0), repeat=2):
        assert set(blame_odds.estimate(HERE, some(apart=detector, odd=odd)).odds) == set(blame.PARTIES)
