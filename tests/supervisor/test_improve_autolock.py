"""How low the floor under an accepted policy lies, and on which seed."""

from __future__ import annotations

import numpy as np
import pytest

from data_flywheel.episodes.episode import Episode, EpisodeRecorder
from logic.runtime.controller import Decision
from supervisor.loop.trial import best_episode, floor_under


def episode(seed: int, score: float) -> Episode:
    recorder = EpisodeRecorder({"seed": seed, "score": score})
    recorder.add(np.zeros(2, np.float32), Decision(0, "r", 0), 0, 5)
    return recorder.finish()


@pytest.mark.parametrize(
    ("scores", "floor"),
    [
        ([91, 84, 228, 67], 33), ([21, 20], 10), ([-6, -15], -23), ([0, 5], 0), ([864], 432),
        ([0.31, 0.5], 0.155), ([-239.26, -0.2], -359.0), ([-1672.84, -1609.0], -2510.0), ([0.0, 0.25], 0.0),
    ],
)  # fmt: skip
def test_the_floor_lies_well_below_the_worst(scores: list[float], floor: int) -> None:
    assert floor_under(scores) == floor


def test_the_seed_that_went_best_is_taken_and_the_first_of_equals() -> None:
    made = [episode(7, 20), episode(3, 50), episode(2, 50), episode(1, 30)]
    assert best_episode(made).meta["seed"] == 2
