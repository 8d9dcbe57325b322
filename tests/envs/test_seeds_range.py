"""Seeds through the Python interfaces: what there is not is refused in words, before anything is played."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from envs.env import SEEDS, check_seed, protocol_of, register
from envs.errors import EnvError
from envs.remote import PixelEnv
from envs.spec import ZOO
from tests.envs.test_backends import DOT, ENV
from triune import load
from triune.play import evaluate, play

WRONG: list[Any] = [-1, SEEDS, 2**63, -(2**70), 1.5, 3.0, "7", None, True, np.int64(-5), float("nan")]


@pytest.mark.parametrize("seed", WRONG)
def test_a_seed_that_there_is_not_is_refused(seed: Any) -> None:
    with pytest.raises(EnvError, match=f"whole numbers from 0 to {SEEDS - 1}, got"):
        check_seed(seed)


@pytest.mark.parametrize("seed", [0, 699_999, 700_000, 899_999, 900_000, SEEDS - 1, np.int64(7), np.uint8(9)])
def test_all_others_are_taken(seed: Any) -> None:
    assert check_seed(seed) == int(seed) and type(check_seed(seed)) is int


def test_every_door_says_it(monkeypatch: pytest.MonkeyPatch) -> None:
    register("dot", DOT)
    with PixelEnv(ENV, protocol_of(ENV)) as env:
        for seed in (-3, 2**64):
            with pytest.raises(EnvError, match="from 0 to"):
                env.reset(seed)
        assert env.reset(850_000).shape == ENV.shape, "and it can be played on"
    system = load(ZOO / "cartpole")
    with pytest.raises(EnvError, match="got -1"):
        evaluate(system, seeds=[5, -1])
    pytest.importorskip("pygame")
    with pytest.raises(EnvError, match="got 9223372036854775808"):
        next(iter(play(system, seed=2**63)))


def test_learners_hear_it_too() -> None:
    pytest.importorskip("pygame")
    from triune.gym_env import SceneEnv

    env = SceneEnv("cartpole", observe="frame")
    for seed in (-1, 2**40):
        with pytest.raises(EnvError, match="from 0 to"):
            env.reset(seed=seed)
    env.reset(seed=2000)
    env.close()
