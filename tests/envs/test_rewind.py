"""A game taken back to a marked moment: the same luck gives the same game, another luck another one."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from envs.backends.atari_protocols import get_protocol
from envs.errors import EnvError
from envs.remote import Observer
from envs.rewind import RewindEnv
from envs.spec import load_spec
from perception.scene import SceneSchema

SPEC = load_spec("pong")
SIZE = SceneSchema.from_config(SPEC.scene).size


@pytest.fixture(scope="module")
def env() -> Iterator[RewindEnv]:
    observer = Observer("data_flywheel.labelers.teacher:teacher", str(SPEC.folder), SIZE)
    with RewindEnv(SPEC.env, get_protocol("sticky"), None, observer) as env:
        yield env


def go(env: RewindEnv, steps: int = 90) -> list[bytes]:
    return [env.step(2 + i // 5 % 2).tobytes() for i in range(steps)]


def test_the_same_luck_gives_the_same_game_and_another_luck_another(env: RewindEnv) -> None:
    env.reset(3)
    go(env, 60)
    env.mark()
    here = env.observed.copy()
    first = go(env)
    assert len(env.outcome().scores) == 150 and env.done
    env.back()
    assert not env.done and np.array_equal(env.observed, here)
    assert go(env) == first
    others = []
    for noise_seed in (1, 2):
        env.back(noise_seed)
        assert np.array_equal(env.observed, here)
        others.append(go(env))
        assert len(env.outcome().scores) == 150
    env.back(1)
    assert go(env) == others[0]
    assert len({tuple(o) for o in (first, *others)}) == 3


def test_a_moment_must_be_marked_first(env: RewindEnv) -> None:
    env.reset(4)
    with pytest.raises(EnvError, match="call mark"):
        env.back()
    env.outcome()
    with pytest.raises(EnvError, match="call reset"):
        env.mark()
