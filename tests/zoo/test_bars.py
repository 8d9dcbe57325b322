"""What CartPole and Pendulum must reach from pixels on 30 gate seeds."""

from __future__ import annotations

import pytest

from triune.play import evaluate
from triune.system import load

pytestmark = pytest.mark.slow


def test_cartpole_stands_to_the_end_of_every_episode() -> None:
    assert evaluate(load("cartpole"), seeds=range(1000, 1030)).scores == [500.0] * 30


def test_pendulum_swings_up_and_holds() -> None:
    result = evaluate(load("pendulum"), seeds=range(1000, 1030))
    assert result.mean >= -200 and not result.unfinished
