"""Gymnasium environments behind the wall: pictures out, named actions or controls in, the same episode for a seed."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import classic_kit
import numpy as np
import pytest

from data_flywheel.episodes.episode import Episode, EpisodeRecorder
from envs import trust
from envs.env import protocol_of, simulator
from envs.errors import EnvError
from envs.remote import PixelEnv
from envs.spec import EnvSpec, parse_spec
from logic.runtime.controller import Decision
from triune.system import load

pytest.importorskip("pygame")
CARTPOLE = classic_kit.CARTPOLE + "[scene]\ncrop = [0, 0, 400, 600]\n[scene.things.cart]\n"
PENDULUM = classic_kit.PENDULUM + "[scene]\ncrop = [0, 0, 500, 500]\n[scene.things.cart]\n"


def env_of(text: str) -> EnvSpec:
    return parse_spec(text, Path("system.toml")).env


def played(env: PixelEnv, seed: int, actions: list[Any]) -> tuple[list[np.ndarray], Any]:
    frames = [env.reset(seed).copy()]
    for action in actions:
        if env.done:
            break
        frames.append(env.step(action).copy())
    return frames, env.outcome()


def test_named_actions_and_the_end_of_a_game() -> None:
    spec = env_of(CARTPOLE)
    with PixelEnv(spec, protocol_of(spec)) as env:
        frames, told = played(env, 3, [1] * 40)
        again, same = played(env, 3, [1] * 40)
        other, _ = played(env, 4, [1] * 40)
    assert told.finished and told.score == told.frames == len(frames) - 1 < 20  # one point a step until the pole falls
    assert frames[0].shape == (400, 600, 3) and told == same
    assert all(np.array_equal(a, b) for a, b in zip(frames, again, strict=True))
    assert not np.array_equal(frames[0], other[0])


def test_controls_are_numbers_and_scores_have_fractions(tmp_path: Path) -> None:
    spec = env_of(PENDULUM)
    pushes = [np.array([v], np.float32) for v in (2.0, -2.0, 0.25, 0.0, 1.5)]
    with PixelEnv(spec, protocol_of(spec)) as env:
        _, told = played(env, 1, pushes)
        with pytest.raises(EnvError, match="torque is 3, outside -2 .. 2"):
            env.reset(1)
            env.step(np.array([3.0], np.float32))
    assert told.score < 0 and told.score != round(told.score)
    recorder = EpisodeRecorder({"seed": 1})
    for push in pushes:
        recorder.add(np.zeros(2, np.float32), Decision(push, "push", push * 2), 0, 0)
    kept = Episode.load(recorder.finish(scores=told.scores).save(tmp_path / "e.npz"))
    assert kept.actions.dtype == np.float32 and np.array_equal(kept.actions, np.stack(pushes))
    assert kept.scores.tolist() == list(told.scores) and np.array_equal(kept.proposed, 2 * np.stack(pushes))


def test_false_truth_changes_no_picture() -> None:
    spec = env_of(PENDULUM)
    pushes = [np.array([1.0], np.float32)] * 6
    found = []
    for canary in (False, True):
        with PixelEnv(spec, protocol_of(spec), canary=canary) as env:
            found.append(played(env, 5, pushes))
    assert all(np.array_equal(a, b) for a, b in zip(found[0][0], found[1][0], strict=True))
    assert found[1][1].score - found[0][1].score > 1_000_000


@pytest.mark.parametrize(
    "old, new, words",
    [
        ("CartPole-v1", "CartPoll-v1", "CartPoll"), ("CartPole-v1", "evil:Thing-v0", "the module 'evil'; pass --trust"),
        ('["LEFT", "RIGHT"]', '["LEFT", "STAY", "RIGHT"]', "has 2 named actions, system.toml names 3"),
        ("height = 400", "height = 401", "renders"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_said(old: str, new: str, words: str) -> None:
    spec = env_of(CARTPOLE.replace(old, new))
    with pytest.raises(EnvError, match=words):
        PixelEnv(spec, protocol_of(spec))


STRANGE = """import pathlib
import gymnasium
import numpy as np
pathlib.Path({mark!r}).touch()
class Dark(gymnasium.Env):
    metadata = {{"render_modes": ["rgb_array"]}}
    action_space, observation_space = gymnasium.spaces.Discrete(2), gymnasium.spaces.Box(0, 1, (1,))
    render_mode = "rgb_array"
    def __init__(self, render_mode=None):
        pass
    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {{}}
    def step(self, action):
        return np.zeros(1, np.float32), 1.0, False, False, {{}}
    def render(self):
        return np.zeros((8, 9, 3), np.uint8)
gymnasium.register("Dark-v0", Dark, max_episode_steps=5)
"""


def test_a_module_is_imported_only_when_somebody_vouches_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = tmp_path / "mark"
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages" / "strange_worlds.py").write_text(STRANGE.format(mark=str(mark)))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "packages"))
    monkeypatch.setattr(trust, "_vouched", set())
    text = CARTPOLE.replace("CartPole-v1", "strange_worlds:Dark-v0").replace("= 400", "= 8").replace("= 600", "= 9")
    folder = tmp_path / "task"
    folder.mkdir()
    (folder / "system.toml").write_text(text.replace("400, 600", "8, 9"))
    system = load(folder)
    with pytest.raises(EnvError, match="module 'strange_worlds'; pass --trust"):
        PixelEnv(system.spec.env, system.protocol())
    assert not mark.exists()
    with PixelEnv(load(folder, trust=True).spec.env, system.protocol()) as env:
        _, told = played(env, 1, [0] * 9)
    assert mark.exists() and told.finished and told.score == 5
    other = env_of(text.replace("Dark", "Bright"))  # vouching for one task vouches for no other
    with pytest.raises(EnvError, match="pass --trust"):
        PixelEnv(other, protocol_of(other))
    with pytest.raises(EnvError, match="unknown key 'trust'"):
        env_of(text.replace("[scene]", "trust = true\n[scene]", 1))


def test_options_and_bounds_are_checked() -> None:
    with pytest.raises(EnvError, match="did you mean 'kwargs'"):
        env_of(CARTPOLE.replace("[scene]", "[env.kwarg]\n[scene]"))
    spec = env_of(PENDULUM)
    wide = dataclasses.replace(spec, actions=dataclasses.replace(spec.actions, high=(3.0,)))  # type: ignore[arg-type]
    with pytest.raises(EnvError, match="narrow the bounds"):
        PixelEnv(wide, protocol_of(spec))


def test_a_saved_state_goes_on_as_it_did() -> None:
    from envs.backends.gymnasium import GymnasiumSimulator

    spec = env_of(PENDULUM)
    world = GymnasiumSimulator(spec, protocol_of(spec))
    world.reset(2)
    push = np.array([1.0], np.float32)
    world.advance(push)
    kept, expected = world.save(), []
    for _ in range(3):
        world.advance(push)
        expected.append((world.score, world.truth()["state"].tolist(), world.frame().tobytes()))
    world.load(kept)
    for score, state, picture in expected:
        world.advance(push)
        assert (world.score, world.truth()["state"].tolist(), world.frame().tobytes()) == (score, state, picture)


def test_a_written_state_shows_in_the_picture_and_goes_on() -> None:
    spec = dataclasses.replace(env_of(PENDULUM), options={"truth": ["last_u"]})
    world = simulator(spec, protocol_of(spec))
    world.reset(2)
    assert np.isnan(world.truth()["last_u"])
    world.advance(np.array([1.0], np.float32))
    before, told = world.frame(), world.truth()
    world.write({"state": [0.0, 0.0], "last_u": None})  # type: ignore[attr-defined]
    upright = world.frame()
    assert np.array_equal(world.truth()["observation"], np.array([1, 0, 0], np.float32))
    assert (upright[130:250, 240:260] != 255).any(2).mean() > 0.5 and not np.array_equal(before, upright)
    world.write({name: told[name] for name in ("state", "last_u")})  # type: ignore[attr-defined]
    assert np.array_equal(world.frame(), before)


def test_a_write_ends_the_end() -> None:
    spec = env_of(CARTPOLE)
    world = simulator(spec, protocol_of(spec))
    world.reset(0)
    while not world.done:
        world.advance(1)
    world.write({"state": np.zeros(4)})  # type: ignore[attr-defined]
    assert not world.done and "observation" not in world.truth()
    for step in range(12):
        world.advance(step % 2)
    assert not world.done and abs(world.truth()["state"][2]) < 0.1 and "observation" in world.truth()


def test_what_cannot_be_written_or_told_is_said() -> None:
    spec = env_of(CARTPOLE)
    world = simulator(spec, protocol_of(spec))
    with pytest.raises(EnvError, match="'stat' is not in its truth; did you mean 'state'"):
        world.write({"stat": np.zeros(4)})  # type: ignore[attr-defined]
    for name in ("gravity", "render_mode", "np_random", "action_space", "__class__", "spec", "step", "", "state.x"):
        with pytest.raises(EnvError, match="is not in its truth"):
            world.write({"state": np.zeros(4), name: 0.0})  # type: ignore[attr-defined]
    for value in ("up", {"a": 1}, [[1], [1, 2]], object()):
        with pytest.raises(EnvError, match="state of CartPole-v1 takes numbers"):
            world.write({"state": value})  # type: ignore[attr-defined]
    with pytest.raises(EnvError, match=r"state of CartPole-v1 has the shape \(4,\), not \(2,\)"):
        world.write({"state": np.zeros(2)})  # type: ignore[attr-defined]
    for name, words in (("gravty", "did you mean 'gravity'"), ("render_mode", "names what is no number")):
        with pytest.raises(EnvError, match=words):
            simulator(dataclasses.replace(spec, options={"truth": [name]}), protocol_of(spec))


@pytest.mark.parametrize("wrong", [{"frame_skip": -1}, {"frame_skip": "3"}, {"horizon": -5}, {"hz": 0}, {"hz": "x"}])
def test_a_protocol_that_cannot_be_played_is_refused(wrong: dict[str, Any]) -> None:
    """A bundle brings its protocol: a negative frame skip would never end."""
    from envs.backends.gymnasium import Protocol

    with pytest.raises(EnvError, match="frame_skip from 1"):
        Protocol("default", **wrong)


ODD = {
    "kwargs {'speed': 3}": "cannot be made with", "kwargs {'render_mode': 'human'}": "cannot be made with",
    "kwargs {'fails': 'KeyError'}": "cannot be made with", "kwargs {'fails': 'AssertionError'}": "cannot be made with",
    "reward nan": "gave the reward nan", "reward text": "gave the reward 'much'", "reward none": "gave the reward None",
    "reward list": r"gave the reward \[1, 2\]", "reward inf": "gave the reward inf",
    "picture small": r"renders uint8\[4, 9, 3\], system.toml says uint8\[8, 9, 3\]",
    "picture grey": r"renders uint8\[8, 9\]",
    "picture floats": "renders float64", "picture signed": "renders int8", "picture none": "renders object",
}  # fmt: skip


@pytest.mark.parametrize("mood", ODD)
def test_an_environment_that_breaks_its_contract_is_named(mood: str) -> None:
    """In the middle of an episode, or as it is made: a sentence with its id."""
    import builtins
    from ast import literal_eval

    import gymnasium

    rewards = {"nan": np.nan, "text": "much", "none": None, "list": [1, 2], "inf": np.inf}
    frame = np.zeros((8, 9, 3), np.uint8)
    pictures = {
        "small": frame[:4], "grey": frame[..., 0], "floats": frame / 255, "signed": frame.astype(np.int8), "none": None,
    }  # fmt: skip
    what, which = mood.split(" ", 1)

    class Odd(gymnasium.Env):  # type: ignore[type-arg]
        metadata = {"render_modes": ["rgb_array"]}
        action_space, observation_space = gymnasium.spaces.Discrete(2), gymnasium.spaces.Box(0, 1, (1,))
        n = 0

        def __init__(self, render_mode: str, fails: str = "") -> None:
            self.render_mode = render_mode
            if fails:
                raise getattr(builtins, fails)("first line\nsecond line")

        def reset(self, seed: Any = None, options: Any = None) -> Any:
            return np.zeros(1, np.float32), {}

        def step(self, action: Any) -> Any:
            self.n += 1
            odd = what == "reward" and self.n == 3
            return np.zeros(1, np.float32), rewards[which] if odd else 1.0, False, False, {}

        def render(self) -> Any:
            return pictures[which] if what == "picture" and self.n == 3 else frame

    gymnasium.register("Odd-v0", Odd, disable_env_checker=True)
    spec = env_of(CARTPOLE.replace("CartPole-v1", "Odd-v0").replace("= 400", "= 8").replace("= 600", "= 9"))
    options = {"kwargs": literal_eval(which)} if what == "kwargs" else {}
    try:
        with pytest.raises(EnvError, match=f"Odd-v0.*{ODD[mood]}") as said:
            world = simulator(dataclasses.replace(spec, options=options), protocol_of(spec))
            world.reset(0)
            for _ in range(4):
                world.advance(1)
                world.frame()
        assert "\n" not in str(said.value)
    finally:
        del gymnasium.registry["Odd-v0"]
