"""Which moment is locked: one at which there was hardly another way, and which paid."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from data_flywheel.episode import Episode, EpisodeRecorder
from logic.controller import Decision
from supervisor.autolock import EARLIEST, SOON, WINDOW, best_episode, moments

N = 200


def episode(
    actions: dict[int, int] | None = None, points: tuple[int, ...] = (100,), losses: tuple[int, ...] = (), **meta: Any
) -> Episode:
    """Action 1 throughout but where `actions` says otherwise; a point at each of `points`, a life lost at `losses`."""
    recorder = EpisodeRecorder({"seed": 0, "score": 0, **meta})
    for i in range(N):
        action = (actions or {}).get(i, 1)
        score, lives = sum(i >= p for p in points), 5 - sum(i >= p for p in losses)
        recorder.add(np.zeros(2, np.float32), Decision(action, "r", action), score, lives)
    return recorder.finish()


ALL = np.ones(N, bool)


def test_points_follow_and_no_life_is_lost_before() -> None:
    found = moments(episode(), ALL, 0)
    assert found and all(steps.start >= EARLIEST and steps.stop <= 100 <= steps.stop + SOON for steps in found)
    assert not moments(episode(points=()), ALL, 0)
    late = moments(episode(losses=(70,)), ALL, 0)
    assert late and all(steps.stop > 70 for steps in late)


@pytest.mark.parametrize("unsettled", [50, 80, 95])
def test_every_locked_decision_is_settled(unsettled: int) -> None:
    settled = ALL.copy()
    settled[unsettled] = False
    found = moments(episode(), settled, 0)
    assert found and all(unsettled not in steps for steps in found)
    assert not moments(episode(), ~ALL, 0)


def test_something_is_done() -> None:
    assert not moments(episode(dict.fromkeys(range(N), 0)), ALL, 0)
    mixed = dict.fromkeys(range(N), 0) | dict.fromkeys(range(60, 60 + WINDOW // 2), 2)
    best = moments(episode(mixed), ALL, 0)[0]
    assert len({mixed[i] for i in best}) == 2, "different decisions tell more than the same one"


def test_the_best_episode_comes_first() -> None:
    found = best_episode([episode(seed=3, score=5), episode(seed=2, score=9), episode(seed=1, score=9)])
    assert [e.meta["seed"] for e in found] == [1, 2, 3]
