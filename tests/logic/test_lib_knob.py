"""The hidden-paddle belief of logic/lib/knob.py: against a frame-by-frame simulation of the paddle it describes."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.plain_runner import load_module
from logic.language.program import shipped_library


@pytest.fixture(scope="module")
def knob() -> SimpleNamespace:
    """The library's functions."""
    return SimpleNamespace(**load_module(shipped_library("knob"), "lib/knob", {}).namespace)


PLACES = np.arange(101, dtype=np.int32) % 34 * 6
FRESH = np.ones(101, bool)


def test_a_knob_clips_into_the_phase_of_the_end_it_touches(knob: SimpleNamespace) -> None:
    moves = knob.knob_moves()
    assert moves[3 * 16] == 16 and moves[3 * 16 + 1] == 17 and moves[3 * 16 + 2] == 15
    assert moves[3 * 32 + 1] == 66 and moves[3 * 0 + 2] == 67
    assert moves[3 * 66 + 1] == 66 and moves[3 * 67 + 2] == 67
    assert moves[3 * 66 + 2] == 65 and moves[3 * 67 + 1] == 68


def test_resistance_falls_by_one_step_per_move_up(knob: SimpleNamespace) -> None:
    resistance, moves = knob.knob_resistance(), knob.knob_moves()
    for k in range(101):
        change = resistance[moves[3 * k + 1]] - resistance[k]
        assert -1.001 <= change <= 0.0
        assert change < -0.999 or resistance[moves[3 * k + 1]] == 0.0


@pytest.mark.parametrize("frames", [1, 4])
def test_sticky_ways_are_a_distribution(knob: SimpleNamespace, frames: int) -> None:
    ways = knob.sticky_ways(frames, 0.25)
    assert ways.sum() == pytest.approx(1.0)
    assert ways[0] == pytest.approx(0.75) and ways[-1] == pytest.approx(0.25**frames)


def test_advance_holds_the_true_path_for_every_number_of_stuck_frames(knob: SimpleNamespace) -> None:
    moves = knob.knob_moves()
    start = (np.array([16], np.int32), np.array([90], np.int32), np.array([1], np.int32))
    knobs, showns, lasts = knob.advance(*start, 2, 4, moves, PLACES, FRESH, 8, 144)
    for g in range(5):
        k, p = 16, 90
        for f in range(4):
            p = min(max((p + int(PLACES[k]) + 1) >> 1, 8), 144)
            k = int(moves[3 * k + (1 if f < g else 2)])
        assert (knobs[g], showns[g], lasts[g]) == (k, p, 1 if g == 4 else 2)
    assert knob.advance_surely(16, 90, 2, 4, moves, PLACES, FRESH, 8, 144) == (knobs[0], showns[0])


def test_keep_best_merges_equal_guesses_and_normalises(knob: SimpleNamespace) -> None:
    ids = np.array([5, 7, 5, 9], np.int32)
    weight = np.array([0.2, 0.5, 0.4, 0.01], np.float32)
    knobs, showns, lasts, weights = knob.keep_best(ids, ids, ids * 0, weight, 3)
    assert weights.sum() == pytest.approx(1.0)
    assert weights[knobs == 5].sum() == pytest.approx(0.6 / 1.1)
    assert (weights[knobs == 5] > 0).sum() == 1


def test_an_outlier_does_not_kill_the_belief(knob: SimpleNamespace) -> None:
    fit = knob.likelihood(np.array([50.0, 60.0], np.float32), 200.0, 0.8, 0.001)
    assert (fit > 0).all() and fit[0] == pytest.approx(fit[1])


def test_the_belief_finds_out_which_frames_stuck(knob: SimpleNamespace) -> None:
    """200 steps of random moves under stickiness: the heaviest guess is the truth nearly always."""
    rng, moves, ways = np.random.default_rng(3), knob.knob_moves(), knob.sticky_ways(4, 0.25)
    k, p, last, right = 16, 90, 0, 0
    zero = np.zeros(16, np.int32)
    belief = [zero + 16, zero + 90, zero, np.eye(1, 16, dtype=np.float32)[0]]
    for _ in range(200):
        asked = int(rng.integers(3))
        knobs, showns, lasts = knob.advance(*belief[:3], asked, 4, moves, PLACES, FRESH, 8, 144)
        for _f in range(4):
            p = min(max((p + int(PLACES[k]) + 1) >> 1, 8), 144)
            last = last if rng.random() < 0.25 else asked
            k = int(moves[3 * k + last])
        seen = p + rng.normal(0, 0.3)
        weight = (ways[:, None] * belief[3][None, :]).reshape(-1)
        weight = weight * knob.likelihood(showns.astype(np.float32), seen, 0.8, 0.001)
        belief = list(knob.keep_best(knobs, showns, lasts, weight, 16))
        best = int(belief[3].argmax())
        right += int(belief[0][best] == k and belief[1][best] == p)
    assert right >= 180
