"""Where the judge of new eyes draws its lines: each rule on numbers small enough to count by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from data_flywheel.labelers.motion import Motion, Prior
from data_flywheel.self_training import judge
from data_flywheel.self_training.judge import Sight
from perception.scene import SceneSchema

SCHEMA = SceneSchema.from_config(
    {
        "crop": [0, 0, 40, 40],
        "things": {"ball": {"size": [2, 2]}, "ghost": {"size": [2, 2], "count": 2}, "bat": {"size": [8, 2]}},
        "grids": {
            "left": {"rows": 1, "cols": 2, "top": 0, "left": 0, "cell": [4, 4]},
            "right": {"rows": 1, "cols": 3, "top": 0, "left": 20, "cell": [4, 4]},
        },
    }
)
PLAIN = SceneSchema.from_config({"crop": [0, 0, 40, 40], "things": {"ball": {"size": [2, 2]}}})
BALL, BAT = SCHEMA.slot("ball").start, SCHEMA.slot("bat").start
CELLS = [i for g in SCHEMA.grids for i in range(SCHEMA.size)[SCHEMA.grid(g.name)]]


def prior(fixed: tuple[float | None, float | None] = (None, None)) -> Prior:
    return Prior(np.ones((1, 1), bool), (2, 2), 3.0, fixed, (0, 0, 0, 0), (0, 0))


FLIES, SLIDES = prior(), prior((None, 38.0))
KNOWN = [FLIES, SLIDES, SLIDES, SLIDES]


def seen(n: int, *path: tuple[float, float], start: int = BALL, schema: SceneSchema = SCHEMA) -> np.ndarray:
    """float32[n, size]: a thing that is at `path`, the last place for the rest."""
    scenes = np.zeros((n, schema.size), np.float32)
    for i in range(n):
        x, y = path[min(i, len(path) - 1)]
        scenes[i, start : start + 8] = (0.9, x, y, 2, 2, 0, 0, 0.2)
    return scenes


def sight(scenes: np.ndarray, truth: np.ndarray, trust: Any = True, **more: Any) -> Sight:
    schema = more.pop("schema", SCHEMA)
    known = more.pop("known", KNOWN[: sum(t.count for t in schema.things)])
    trusted = np.broadcast_to(np.asarray(trust, bool), (len(scenes), len(known))).copy()
    motion = Motion(truth, trusted, None, ())  # type: ignore[arg-type]
    return judge.sight(scenes, more.pop("episodes", np.zeros(len(scenes), np.int64)), motion, known, schema, **more)


MOVING = [(3.0 * i, 5.0 + i) for i in range(12)]


@pytest.mark.parametrize(
    ("sure", "off", "hit"),
    [(0.9, 0, True), (0.9, 2, True), (0.9, 2.5, False), (0.6, 1.5, True), (0.5, 0, False), (0.4, 0, False)],
)
@pytest.mark.parametrize("axis", [1, 2])
def test_a_hit_is_seen_for_more_likely_than_not_and_within_two_pixels(
    sure: float, off: float, hit: bool, axis: int
) -> None:
    truth = seen(12, *MOVING)
    found = truth.copy()
    found[:, BALL] = sure
    found[:, BALL + axis] -= off
    assert sight(found, truth).hits["ball"] == float(hit)


def test_hits_are_a_share_of_the_trusted_rows_of_each_slot_by_its_name() -> None:
    truth = seen(12, *MOVING)
    trust = np.ones((12, 4), bool)
    trust[:9, 0], trust[:, 2] = False, False
    found = truth.copy()
    found[[0, 1, 9], BALL] = 0.0
    told = sight(found, truth, trust)
    assert told.hits["ball"] == pytest.approx(2 / 3, abs=1e-4)
    assert list(told.hits) == ["ball", "ghost1", "ghost2", "bat"]
    assert told.hits["ghost2"] == 0.0, "nothing known of a thing is nothing seen of it"
    assert told.rows == 0 and sight(found, truth).rows == 12
    trust[:5, 2] = True
    assert sight(found, truth, trust).rows == 3, "of the rarest"


@pytest.mark.parametrize(("still", "ghosts"), [(8, 0), (9, 1), (11, 3)])
def test_what_stands_for_eight_steps_is_a_ghost_until_it_moves(still: int, ghosts: int) -> None:
    path = [*MOVING[:3], *[MOVING[3]] * still, *[(30.0 + 2 * i, 30.0) for i in range(6)]]
    n = 3 + still + 3
    assert sight(seen(n, *path), seen(n, *path)).ghosts == pytest.approx(ghosts / n, abs=1e-4)


@pytest.mark.parametrize(("step", "rests"), [(0.4, True), (0.5, False), (1.0, False)])
@pytest.mark.parametrize("axis", [0, 1])
def test_half_a_pixel_on_either_axis_is_a_move(step: float, rests: bool, axis: int) -> None:
    path = [(10.0 + (i % 2) * step * (axis == 0), 10.0 + (i % 2) * step * (axis == 1)) for i in range(9)]
    told = sight(seen(9, *path), seen(9, *path))
    assert told.ghosts == pytest.approx(rests / 9, abs=1e-4)


@pytest.mark.parametrize("at", range(9))
@pytest.mark.parametrize("sure", [0.0, 0.5])
def test_a_thing_that_is_lost_does_not_rest(at: int, sure: float) -> None:
    scenes = seen(9, (10.0, 10.0))
    assert sight(scenes, scenes).ghosts > 0
    scenes[at, BALL] = sure
    assert sight(scenes, scenes).ghosts == 0.0


def test_rest_is_counted_within_an_episode_and_from_its_first_frame() -> None:
    scenes = seen(18, (10.0, 10.0))
    for first, resting in ((0, 10), (5, 5), (9, 2), (10, 2), (17, 9)):
        episodes = (np.arange(18) >= first).astype(np.int64)
        assert sight(scenes, scenes, episodes=episodes).ghosts == pytest.approx(resting / 18, abs=1e-4)


def test_only_what_flies_can_be_a_ghost() -> None:
    scenes = seen(20, (10.0, 38.0), start=BAT)
    assert sight(scenes, scenes).ghosts == 0.0
    assert sight(scenes, scenes, known=[FLIES, SLIDES, SLIDES, FLIES]).ghosts == pytest.approx(12 / 20)


def test_cells_agree_by_halves_and_only_where_both_are_known() -> None:
    truth = seen(12, *MOVING)
    truth[:, CELLS] = 1.0
    cells = truth[:, CELLS].copy()
    assert sight(truth, truth, cells=cells).cells == 1.0
    cells[:3, 0] = 0.5  # half sure is no
    assert sight(truth, truth, cells=cells).cells == pytest.approx(1 - 3 / 60, abs=1e-4)
    found = truth.copy()
    found[:6, CELLS[-1]] = 0.5
    found[6, CELLS[-1]] = 0.6
    assert sight(found, truth, cells=truth[:, CELLS]).cells == pytest.approx(1 - 6 / 60, abs=1e-4)
    assert sight(truth, truth).cells is None
    alone = seen(12, *MOVING, schema=PLAIN)
    assert sight(alone, alone, schema=PLAIN, cells=np.zeros((12, 0), np.float32)).cells is None


@pytest.mark.parametrize(
    ("hits", "ghosts", "cells", "score"),
    [
        ({"a": 0.9, "b": 0.6}, 0.0, None, 0.6),
        ({"a": 0.9, "b": 0.6}, 0.25, None, 0.35),
        ({"a": 0.9}, 0.0, 0.4, 0.4),
        ({"a": 0.3}, 0.0, 0.4, 0.3),
        ({"a": 0.2}, 0.7, None, 0.0),
        ({}, 0.0, None, 0.0),
        ({}, 0.0, 1.0, 0.0),
        ({"a": 1.0}, -0.5, None, 1.0),
    ],
)
def test_the_score_is_the_worst_of_what_is_seen(
    hits: dict[str, float], ghosts: float, cells: float | None, score: float
) -> None:
    told = Sight(hits, ghosts, cells, 10)
    assert told.score == pytest.approx(score)
    assert told.record() == {
        "hits": hits, "ghosts": ghosts, "cells": cells, "rows": 10, "score": pytest.approx(score)
    }  # fmt: skip


def test_coverage_is_of_the_rarest_thing_that_flies_and_whole_where_none_does() -> None:
    trust = np.array([[1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 0, 0]], bool)
    trust[0, 1], trust[3, 1] = False, False  # 3/4, 1/4, never, never
    motion = Motion(np.zeros((4, SCHEMA.size)), trust, None, ())  # type: ignore[arg-type]
    assert judge.coverage(motion, [FLIES, FLIES, SLIDES, SLIDES]) == 0.25
    assert judge.coverage(motion, [FLIES, SLIDES, SLIDES, prior((3.0, None))]) == 0.75
    assert judge.coverage(motion, [SLIDES] * 4) == 1.0


def test_a_labelled_frame_is_wrong_beyond_two_pixels_or_from_half_a_cell() -> None:
    truth = seen(10, (10.0, 10.0))
    found = truth.copy()
    found[1, BALL + 1] += 2.0  # still right
    found[2, BALL + 1] -= 2.5
    found[3, BALL] = 0.5  # half sure is not seen
    truth[4, BALL] = 0.5  # nor is it labelled; found is made up
    found[5, CELLS[0]] = 0.5
    found[6, CELLS[-1]] = 0.6
    truth[7, CELLS[1]], found[7, CELLS[1]] = 1.0, 0.4
    truth[8, CELLS[2]], found[8, CELLS[2]] = 1.0, 0.6
    truth[9, CELLS[3]] = 0.5
    told = judge.wrong(found, truth, SCHEMA)
    assert told.tolist() == [False, False, True, True, True, False, True, True, False, False]


def test_where_nothing_is_labelled_places_do_not_count() -> None:
    truth, found = seen(3, (10.0, 10.0)), seen(3, (30.0, 10.0))
    truth[:, BALL] = found[:, BALL] = [0.0, 0.5, 0.3]
    assert not judge.wrong(found, truth, SCHEMA).any()


# --- the verdict


def of(score: float) -> Sight:
    return Sight({"ball": score}, 0.0, None, 100)


def rows(n: int, total: int = 500) -> np.ndarray:
    return np.arange(total) < n


def told(worse: int, better: int, total: int) -> judge.Verdict:
    """On the frozen set `worse` frames newly wrong, `better` newly right, and 30 wrong before and after."""
    both = np.roll(rows(30, total), 200)
    return judge.judge(of(0.0), of(1.0), both | np.roll(rows(better, total), 100), both | rows(worse, total))


@pytest.mark.parametrize(
    ("worse", "better", "total", "forgets"),
    [
        (5, 0, 500, False),  # 1 % is allowed, though p is 1/32
        (5, 0, 499, True),
        (4, 0, 300, False),  # more than 1 %, but chance: p is 1/16
        (14, 8, 500, False),  # 6 of 500, p 0.14
        (14, 3, 500, True),
        (9, 4, 499, False),
        (40, 36, 390, False),
        (40, 20, 2000, False),  # no chance, but 1 % in balance
        (30, 0, 20_000, False),  # no chance, and 0.15 %
    ],
)
def test_forgetting_is_beyond_chance_and_beyond_one_in_a_hundred(
    worse: int, better: int, total: int, forgets: bool
) -> None:
    verdict = told(worse, better, total)
    assert verdict.forgets is forgets and verdict.promote is not forgets
    frozen = verdict.figures["frozen"]
    assert (frozen["frames"], frozen["wrong_before"], frozen["wrong_after"]) == (total, 30 + better, 30 + worse)
    assert (frozen["newly_wrong"], frozen["newly_right"]) == (worse, better)


@pytest.mark.parametrize(
    ("worse", "better", "p"), [(0, 0, 1.0), (1, 0, 0.5), (5, 0, 1 / 32), (2, 1, 0.5), (3, 1, 5 / 16), (0, 3, 1.0)]
)
def test_the_sign_test_is_the_share_of_at_least_as_bad_splits(worse: int, better: int, p: float) -> None:
    assert told(worse, better, 500).figures["frozen"]["p"] == pytest.approx(p, abs=1e-5)


def test_one_frozen_frame_is_enough_to_judge_by() -> None:
    assert judge.judge(of(0.0), of(1.0), rows(0, 1), rows(1, 1)).promote, "one frame is chance"
    assert not judge.judge(of(0.0), of(1.0), rows(0, 0), rows(0, 0)).promote


@pytest.mark.parametrize(("old", "new", "promoted"), [(0.0, 0.25, True), (0.5, 0.5, False), (0.75, 0.85, True)])
def test_new_eyes_see_a_fifth_of_what_was_wrong(old: float, new: float, promoted: bool) -> None:
    assert judge.judge(of(old), of(new), rows(0), rows(0)).promote is promoted


def test_exactly_a_fifth_is_enough() -> None:
    assert judge.judge(of(0.0), of(1 - (1 - judge.GAIN)), rows(0), rows(0)).promote


@pytest.mark.parametrize(("old", "new", "kept"), [(0.5, 0.5, True), (0.5, 0.495, True), (0.5, 0.48, False)])
def test_a_hundredth_may_be_lost_where_they_lead(old: float, new: float, kept: bool) -> None:
    good = judge.judge(of(0.0), of(1.0), rows(0), rows(0))
    verdict = judge.led(good, of(old), of(new))
    assert verdict.promote is kept and verdict.figures["played"]["new"]["score"] == pytest.approx(new)
    bad = judge.judge(of(0.5), of(0.5), rows(0), rows(0))
    assert not judge.led(bad, of(old), of(1.0)).promote, "leading well makes up for nothing"
    edge = old + judge.SLACK
    assert judge.led(good, of(edge), of(old)).promote, "exactly as much as may be lost"


@pytest.mark.parametrize(
    ("old", "new", "kept"), [(100, 98, True), (100, 97.9, False), (-100, -102, True), (-100, -103, False), (0, 0, True)]
)
def test_a_fiftieth_of_the_score_may_be_lost(old: float, new: float, kept: bool) -> None:
    good = judge.judge(of(0.0), of(1.0), rows(0), rows(0))
    assert judge.with_scores(good, [old], [new]).promote is kept


def test_eyes_with_nothing_wrong_need_not_learn_and_blind_ones_cannot_be_said_to_see() -> None:
    assert 0.9 < judge.GOOD < 1.0 and 0.0 < judge.SEES < judge.GOOD
