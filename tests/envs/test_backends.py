"""A backend from outside the packages: registered by name, played behind the wall."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from envs.actions import Box
from envs.env import backend, protocol_of, register
from envs.errors import EnvError
from envs.remote import Observer, Outcome, PixelEnv
from envs.rewards import RewardEnv
from envs.rewind import RewindEnv
from envs.spec import EnvSpec

DOT = "tests.kits.dot_world:DOT"
SPACE = Box(("right", "down"), (-1.0, -1.0), (1.0, 1.0))
ENV = EnvSpec("dot", 64, 96, SPACE, np.zeros(2, np.float32), "plain", backend="dot", options={"steps": 10})


def roll(canary: bool) -> tuple[list[bytes], Outcome]:
    register("dot", DOT)
    with PixelEnv(ENV, protocol_of(ENV), canary=canary) as env:
        frames = [env.reset(3).tobytes()]
        while not env.done:
            frames.append(env.step([1.0, 0.0]).tobytes())  # type: ignore[arg-type]
        with pytest.raises(EnvError, match="outside"):
            env.step([2.0, 0.0])  # type: ignore[arg-type]
        return frames, env.outcome()


def test_a_registered_backend_plays_and_its_canary_sings() -> None:
    honest, false = roll(False), roll(True)
    assert honest[0] == false[0] and len(set(honest[0])) == 11
    assert honest[1].finished and honest[1].frames == 500 and len(honest[1].scores) == 10
    assert honest[1].score == honest[1].scores[-1] < 0 < honest[1].metrics["away"]
    assert honest[1].score != false[1].score and honest[1].metrics != false[1].metrics


def test_unknown_backends_and_options_offer_the_nearest() -> None:
    with pytest.raises(EnvError, match="did you mean 'atari'"):
        backend("atary")
    register("dot", DOT)
    with pytest.raises(EnvError, match="did you mean 'steps'"):
        backend("dot").check_options({"step": 1})


def test_one_without_saved_states_is_not_taken_back_and_says_what_to_do() -> None:
    register("dot", DOT)
    observer = Observer("tests.envs.test_backends:nothing", "", 1)
    with pytest.raises(EnvError, match=r"no save\(\) and load.*--without-teacher"):
        RewindEnv(ENV, protocol_of(ENV), None, observer)


def nothing(argument: str) -> Callable[[object, np.ndarray], np.ndarray]:
    """An observer that labels nothing."""
    return lambda truth, frame: np.zeros(1, np.float32)


def test_learners_are_told_score_and_metrics_at_every_step() -> None:
    register("dot", DOT)
    with RewardEnv(ENV, protocol_of(ENV)) as env:
        env.reset(3)
        assert env.told.score == 0.0 and not env.told.truncated
        total, away = 0.0, env.told.metrics["away"]
        while not env.done:
            env.step([0.0, 0.0])  # type: ignore[arg-type]
            total -= away / 100
            assert env.told.metrics == {"away": away} and env.told.score == pytest.approx(total)
        assert env.told.score == env.outcome().score and not env.told.truncated
