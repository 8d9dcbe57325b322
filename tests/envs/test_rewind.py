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


def test_several_moments_of_one_game_are_kept(env: RewindEnv) -> None:
    env.reset(5)
    marks, seen, tails = [], [], []
    for _ in range(3):
        go(env, 30)
        marks.append(env.mark())
        seen.append(env.observed.copy())
    assert marks == [0, 1, 2]
    for mark in (2, 0, 1):
        env.back(0, mark)
        assert np.array_equal(env.observed, seen[mark])
        tails.append(go(env, 40))
    env.back(0, 0)
    assert go(env, 40) == tails[1] and go(env, 1) != tails[0][:1]
    env.reset(5)
    with pytest.raises(EnvError, match="call mark"):
        env.back()


@pytest.mark.parametrize("n", [0, 1, 300])
def test_steps_that_are_skipped_lead_to_the_same_game(env: RewindEnv, n: int) -> None:
    actions = [2 + i // 5 % 2 for i in range(n)]
    env.reset(6)
    frame = env.reset(6).copy()
    for action in actions:
        frame = env.step(action).copy()
    told = env.observed.copy()
    env.reset(6)
    assert np.array_equal(env.skip(actions), frame) and np.array_equal(env.observed, told)
    assert len(env.outcome().scores) == n


def test_skipping_stops_with_the_game(env: RewindEnv) -> None:
    env.reset(7)
    env.skip([0] * 20)
    env.outcome()
    env.skip([0] * 20)
    assert env.done
