"""A backend from outside the packages: registered by name, played behind the wall."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from envs.actions import Box
from envs.env import Backend, Rules, backend, protocol_of, register
from envs.errors import EnvError
from envs.remote import Observer, Outcome, PixelEnv
from envs.rewards import RewardEnv, Told
from envs.rewind import RewindEnv
from envs.spec import EnvSpec


class Dot:
    """A dot on a line, pushed; ten steps."""

    def __init__(self, env: EnvSpec, rules: Rules) -> None:
        self.shape = env.shape

    def reset(self, seed: int) -> None:
        self.x, self.score, self.frames, self.done = float(seed % 8), 0.0, 0, False

    def advance(self, action: np.ndarray) -> None:
        self.x = float(np.clip(self.x + action[0], 0, 15))
        self.score, self.frames = self.score + self.x / 2, self.frames + 1
        self.done = self.frames >= 10

    def frame(self, out: np.ndarray | None = None) -> np.ndarray:
        out = np.empty(self.shape, np.uint8) if out is None else out
        out[:] = 0
        out[:, round(self.x)] = 255
        return out

    def truth(self) -> dict[str, np.ndarray]:
        return {"x": np.array([self.x])}

    def metrics(self) -> dict[str, float]:
        return {"x": self.x}


DOT = Backend("tests.envs.test_backends:Dot", Rules, {"plain": Rules("plain")}, {"speed": int})
ENV = EnvSpec("dot", 4, 16, Box(("push",), (-1.0,), (1.0,)), np.zeros(1, np.float32), "plain", backend="dot")


def roll(canary: bool) -> tuple[list[bytes], Outcome]:
    register("dot", "tests.envs.test_backends:DOT")
    with PixelEnv(ENV, protocol_of(ENV), canary=canary) as env:
        frames = [env.reset(3).tobytes()]
        while not env.done:
            frames.append(env.step([1.0]).tobytes())  # type: ignore[arg-type]
        with pytest.raises(EnvError, match="outside"):
            env.step([2.0])  # type: ignore[arg-type]
        return frames, env.outcome()


def test_a_registered_backend_plays_and_its_canary_sings() -> None:
    honest, false = roll(False), roll(True)
    assert honest[0] == false[0] and len(honest[0]) == 11
    assert honest[1].finished and honest[1].score == sum(range(4, 14)) / 2 and honest[1].metrics == {"x": 13.0}
    assert honest[1].score != false[1].score and honest[1].metrics != false[1].metrics


def test_unknown_backends_and_options_offer_the_nearest() -> None:
    with pytest.raises(EnvError, match="did you mean 'atari'"):
        backend("atary")
    with pytest.raises(EnvError, match="did you mean 'speed'"):
        DOT.check_options({"sped": 1})


def test_one_without_saved_states_is_not_taken_back_and_says_what_to_do() -> None:
    register("dot", "tests.envs.test_backends:DOT")
    observer = Observer("tests.envs.test_backends:nothing", "", 1)
    with pytest.raises(EnvError, match=r"no save\(\) and load.*--without-teacher"):
        RewindEnv(ENV, protocol_of(ENV), None, observer)


def nothing(argument: str) -> Callable[[object, np.ndarray], np.ndarray]:
    """An observer that labels nothing."""
    return lambda truth, frame: np.zeros(1, np.float32)


def test_learners_are_told_score_and_metrics_at_every_step() -> None:
    register("dot", "tests.envs.test_backends:DOT")
    with RewardEnv(ENV, protocol_of(ENV)) as env:
        env.reset(3)
        assert env.told == Told(0.0, {"x": 3.0}, False)
        for i in range(10):
            env.step([0.5])  # type: ignore[arg-type]
            assert env.told.metrics == {"x": 3.5 + i / 2}
        assert env.done and env.told.score == env.outcome().score and not env.told.truncated
