"""The Gymnasium environment over the wall: tasks of another backend, frames or scenes, named actions or controls."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import classic_kit
import numpy as np
import pytest

gymnasium = pytest.importorskip("gymnasium")
pytest.importorskip("pygame")

from gymnasium.utils.env_checker import check_env  # noqa: E402

from envs.actions import action_space as read_space  # noqa: E402
from envs.env import protocol_of  # noqa: E402
from envs.errors import EnvError  # noqa: E402
from envs.remote import PixelEnv  # noqa: E402
from perception.scene import SceneSchema  # noqa: E402
from triune.errors import UsageError  # noqa: E402
from triune.gym_env import SceneEnv, action_space, observation, observation_space  # noqa: E402
from triune.system import System, load  # noqa: E402

SCENE = "[scene.things.cart]\n[scene.readings.pole.fields.angle]\nlow = -0.5\nhigh = 0.5\n"
CARTPOLE = classic_kit.CARTPOLE + "[scene]\ncrop = [0, 0, 400, 600]\n" + SCENE
PENDULUM = classic_kit.PENDULUM + "[scene]\ncrop = [0, 0, 500, 500]\n" + SCENE
TASKS = {"cartpole": CARTPOLE, "pendulum": PENDULUM}


class Middle:
    """A detector without a network: the cart stands where the dark pixels of the picture do."""

    def __init__(self, schema: SceneSchema) -> None:
        self.schema = schema

    def reset(self) -> None:
        """Nothing to forget."""

    def see(self, frame: np.ndarray) -> np.ndarray:
        vector = self.schema.empty()
        rows, columns = np.nonzero(frame.max(axis=2) < 40)
        if len(rows):
            vector[self.schema.slot("cart")] = (1, columns.mean(), rows.mean(), 50, 30, 0, 0, 1)
        return vector


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """Registered ids of both tasks, by their names."""
    monkeypatch.setattr(System, "detector", lambda self: Middle(self.schema))
    ids = {}
    for name, text in TASKS.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "system.toml").write_text(text)
        ids[name] = f"triune-test/{name}-v0"
        gymnasium.register(ids[name], entry_point="triune.gym_env:SceneEnv", kwargs={"task": str(tmp_path / name)})
    yield ids
    for env_id in ids.values():
        del gymnasium.registry[env_id]


@pytest.mark.parametrize("observe", ["scene", "frame"])
@pytest.mark.parametrize("name", TASKS)
def test_check_env_has_nothing_to_say(folder: dict[str, str], name: str, observe: str) -> None:
    env = gymnasium.make(folder[name], observe=observe, render_mode="rgb_array")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*symmetric and normalized space.*")  # controls have their own units
        check_env(env.unwrapped)
    env.close()


def play(env: Any, seed: int, action: Any) -> tuple[list[np.ndarray], list[float], bool, bool, dict[str, Any]]:
    """To the end with one action."""
    frames, rewards = [env.reset(seed=seed)[0]], []
    while True:
        observed, reward, ended, cut, info = env.step(action)
        frames.append(observed)
        rewards.append(reward)
        if ended or cut:
            return frames, rewards, ended, cut, info


def test_it_is_the_game_that_is_played_for_scores(folder: dict[str, str]) -> None:
    """Frames and score are those of the wall, and every frame is seen, the last one too."""
    env = gymnasium.make(folder["cartpole"], observe="frame").unwrapped
    frames, rewards, ended, cut, info = play(env, 3, 1)
    assert (ended, cut) == (True, False), "the pole fell"
    again = play(env, 3, np.int64(1))
    assert again[1] == rewards and all(np.array_equal(a, b) for a, b in zip(frames, again[0], strict=True))
    env.close()
    spec = load(env.spec.kwargs["task"]).spec.env
    with PixelEnv(spec, protocol_of(spec)) as wall:
        shown = [wall.reset(3).copy()]
        while not wall.done:
            shown.append(wall.step(1).copy())
        assert wall.outcome().score == sum(rewards) == info["score"]
    assert all(np.array_equal(a, b) for a, b in zip(frames, shown, strict=True))


def test_a_time_limit_truncates(folder: dict[str, str]) -> None:
    env = gymnasium.make(folder["pendulum"], observe="frame").unwrapped
    frames, rewards, ended, cut, info = play(env, 0, np.array([0.25], np.float32))
    assert (ended, cut, len(rewards)) == (False, True, 200), "Pendulum never ends by itself"
    assert sum(rewards) == pytest.approx(info["score"]) and all(r < 0 and r != round(r) for r in rewards[:20])
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(np.array([0.25], np.float32))
    env.close()


def test_an_action_that_there_is_not_is_refused_and_the_game_goes_on(folder: dict[str, str]) -> None:
    env = gymnasium.make(folder["pendulum"], observe="frame").unwrapped
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(np.zeros(1, np.float32))
    env.reset(seed=1)
    with pytest.raises(EnvError, match="outside -2 .. 2"):
        env.step(np.array([2.5], np.float32))
    assert env.step(np.array([2.0], np.float32))[1] < 0
    env.close()


def test_scenes_are_tracked(folder: dict[str, str]) -> None:
    env = gymnasium.make(folder["cartpole"]).unwrapped
    first, _ = env.reset(seed=2)
    seen, *_ = env.step(1)
    assert first["cart"][0] == seen["cart"][0] == 1 and seen["cart"][5] == pytest.approx(
        seen["cart"][1] - first["cart"][1]
    )
    assert seen["pole"].tolist() == [0, 0, 0]
    env.close()


def test_readings_keep_their_ranges() -> None:
    schema = SceneSchema.from_config({
        "crop": [0, 0, 9, 9], "readings": {"hip": {"fields": {"angle": {"low": -3.0, "high": 3.0}}}},
        "things": {"dots": {"count": 3}}, "gauges": {"fuel": {"box": [0, 0, 2, 2], "low": 1.0, "high": 7.0}},
    })  # fmt: skip
    space = observation_space(schema)
    assert space["hip"].low.tolist() == [0, -3, 0] and space["hip"].high.tolist() == [1, 3, 1]
    assert space["dots"].shape == (3, 8) and (space["fuel"].low, space["fuel"].high) == (1, 7)
    for wild in (1e6, -1e6):
        assert space.contains(observation(schema, np.full(schema.size, wild, np.float32), space))


def test_spaces_of_actions() -> None:
    assert action_space(read_space(["A", "B", "C"])) == gymnasium.spaces.Discrete(3)
    box = action_space(read_space({"hip": [-1, 2], "knee": [0, 0.1]}))
    assert box == gymnasium.spaces.Box(np.float32([-1, 0]), np.float32([2, 0.1]))


def test_unknown_observations_name_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'frame'"):
        SceneEnv("pong", observe="frames")
