"""The Gymnasium environment of every zoo task."""

from __future__ import annotations

import subprocess
import sys
import warnings

import numpy as np
import pytest
from cli_kit import ROOT

gymnasium = pytest.importorskip("gymnasium")

from gymnasium.utils.env_checker import check_env  # noqa: E402

from envs.spec import load_spec  # noqa: E402
from triune.errors import UsageError  # noqa: E402
from triune.gym_env import SceneEnv, observation, observation_space  # noqa: E402
from triune.gym_register import register_all  # noqa: E402

IDS = register_all()


def test_the_zoo_is_registered() -> None:
    assert {"triune/Breakout-v0", "triune/Pong-v0"} <= set(IDS)


@pytest.mark.parametrize("env_id", IDS)
def test_check_env_has_nothing_to_say(env_id: str) -> None:
    observed = load_spec(env_id.removeprefix("triune/").partition("-")[0].lower()).env.observed
    if observed:
        pytest.importorskip("mujoco")
    env = gymnasium.make(env_id, detector="cnn" if observed else "teacher", render_mode="rgb_array")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*symmetric and normalized space.*")  # controls have their own units
        check_env(env.unwrapped)
    env.close()


def test_reward_is_the_change_of_the_score_and_seeds_repeat() -> None:
    traces = []
    for _ in range(2):
        env = gymnasium.make("triune/Breakout-v0", detector="teacher", protocol="sticky")
        first, info = env.reset(seed=11)
        assert info["score"] == 0 and first["paddle"][0] == 1 and first["bricks"].all()
        rewards, rng = [], np.random.default_rng(0)
        for _ in range(250):
            found, reward, ended, cut, info = env.step(int(rng.integers(4)))
            rewards.append(reward)
            if ended or cut:
                break
        assert sum(rewards) == info["score"]
        env.close()
        traces.append((rewards, found["paddle"].tolist(), found["bricks"].tolist()))
    assert traces[0] == traces[1] and sum(traces[0][0]) > 0


def test_observations_stay_inside_their_space() -> None:
    import triune

    schema = triune.load("breakout").schema
    space = observation_space(schema)
    wild = np.full(schema.size, 1e6, np.float32)
    assert space.contains(observation(schema, wild, space)) and space.contains(observation(schema, -wild, space))


def test_unknown_eyes_name_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'teacher'"):
        SceneEnv("pong", detector="techer")


@pytest.mark.parametrize(
    "code",
    [
        "import gymnasium; e = gymnasium.make('triune.gym_env:triune/Pong-v0', detector='teacher')",
        "import triune.gym_env, gymnasium; e = gymnasium.make('triune/Pong-v0', detector='teacher')",
        "import gymnasium, triune; e = gymnasium.make('triune/Pong-v0', detector='teacher')",
    ],
)
def test_ways_to_make_it(code: str) -> None:
    result = subprocess.run(
        [sys.executable, "-c", code + "; print(e.reset(seed=0)[0]['ball'].shape)"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert result.stdout.strip() == "(8,)", result.stderr
