"""What an evaluation says of its scores, on scores whose thirds, quarters and tenths all differ."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from triune.play.evaluation import RESAMPLES, ci95, iqm, summarise, summary, worst_decile


def squares(n: int) -> list[float]:
    """No two shares of them have the same mean."""
    return [float(i * i) for i in range(1, n + 1)]


@pytest.mark.parametrize(
    ("n", "low", "high"), [(1, 0, 1), (2, 0, 2), (3, 0, 3), (4, 1, 3), (7, 1, 6), (8, 2, 6), (11, 2, 9), (12, 3, 9)]
)
def test_the_interquartile_mean_leaves_out_a_quarter_at_either_end(n: int, low: int, high: int) -> None:
    scores = squares(n)
    mixed = scores[::2][::-1] + scores[1::2]
    assert iqm(mixed) == iqm(scores) == pytest.approx(np.mean(scores[low:high]))


@pytest.mark.parametrize(("n", "tail"), [(1, 1), (9, 1), (10, 1), (19, 1), (20, 2), (29, 2), (30, 3), (100, 10)])
def test_the_worst_decile_is_of_whole_games_and_never_none(n: int, tail: int) -> None:
    scores = squares(n)
    assert worst_decile(scores[::-1]) == worst_decile(scores) == pytest.approx(np.mean(scores[:tail]))


def test_the_interval_is_the_middle_95_of_100_of_4000_means() -> None:
    scores = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0]
    picks = np.random.default_rng(0).integers(0, 6, (4000, 6))
    means = np.sort(np.asarray(scores)[picks].mean(1))
    low, high = ci95(scores)
    assert low == pytest.approx(np.quantile(means, 0.025)) and high == pytest.approx(np.quantile(means, 0.975))
    assert RESAMPLES == 4000 and ci95(scores) == ci95(scores)


def test_figures_that_scores_cannot_carry_are_none() -> None:
    assert summary([]) == dict.fromkeys(("mean", "iqm", "ci95", "worst_decile"))
    assert summary([7]) == {"mean": 7.0, "iqm": 7.0, "ci95": None, "worst_decile": 7.0}
    two = summary([7, 9])
    assert (two["mean"], two["ci95"]) == (8.0, [7.0, 9.0])


def record(seed: int, **more: Any) -> dict[str, Any]:
    plain = {
        "seed": seed, "score": seed * seed, "frames": 400, "steps": 100, "interventions": {}, "reasons": {},
        "faults": 0, "fault_texts": {}, "deadline_misses": 0, "finished": True, "seconds": 1.0,
    }  # fmt: skip
    return {**plain, **more}


REQUEST = {"task": "t", "protocol": "p", "shift": None, "eyes": "cnn"}


def test_a_result_adds_up_its_games_in_the_order_of_their_seeds() -> None:
    games = [
        record(3, faults=2, fault_texts={"x": 2}, reasons={"a": 70, "b": 30}, finished=False),
        record(1, interventions={"limit": 4}, reasons={"b": 60, "c": 40}, deadline_misses=5),
        record(2, interventions={"limit": 1, "lost": 7}, faults=1, fault_texts={"x": 1}, deadline_misses=1, steps=90),
    ]
    told = summarise(REQUEST, games, 8.0004, 2)
    assert (told.seeds, told.scores, told.unfinished) == ([1, 2, 3], [1, 4, 9], [3])
    assert (told.mean, told.worst_decile) == (pytest.approx(14 / 3), 1.0)
    assert (told.frames, told.steps, told.seconds, told.workers) == (1200, 290, 8.0, 2)
    assert told.frames_per_second == pytest.approx(1200 / 8.0004)
    assert list(told.reasons.items()) == [("b", 90), ("a", 70), ("c", 40)], "the most frequent first"
    assert told.interventions == {"lost": 7, "limit": 5} and told.fault_texts == {"x": 3}
    assert (told.faults, told.deadline_misses, told.isolated) == (3, 6, False)
    assert [r["seed"] for r in told.episodes] == [1, 2, 3]


def test_no_time_no_speed_and_isolation_is_told() -> None:
    told = summarise({**REQUEST, "isolate": True}, [record(1)], 0.0, 1)
    assert told.frames_per_second is None and told.isolated and told.drift == {}


def test_a_result_has_no_interval_of_one_game() -> None:
    one, two = summarise(REQUEST, [record(1)], 2.0, 1), summarise(REQUEST, [record(1), record(2)], 2.0, 1)
    assert "eyes" in one.to_dict() and "detector" not in one.to_dict()
    assert one.ci95 is None and two.ci95 == [1.0, 4.0]
