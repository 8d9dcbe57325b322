"""Dynamics that differ from what a policy was made for: what they change, what they leave, what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from classic_kit import CARTPOLE
from world_kit import play_or_skip

from envs.backends.dynamics import SHIFTS, Dynamics
from envs.backends.gymnasium import GymnasiumSimulator
from envs.env import protocol_of
from envs.errors import EnvError
from envs.readings import decode
from envs.spec import EnvSpec, load_spec, parse_spec

SIZED = ("height", "width")
SEEN = "[observation.pole]\nangle = { at = 2, low = -0.5, high = 0.5 }\nspin = { at = 3, low = -4.0, high = 4.0 }\n"
LOW, HIGH = np.array([-0.5, -4.0]), np.array([0.5, 4.0])


def cartpole(**dynamics: Any) -> EnvSpec:
    kept = [line for line in CARTPOLE.splitlines() if not line.startswith(SIZED)]
    lines = [f"dynamics.{key} = {value!r}" for key, value in dynamics.items()]
    return parse_spec("\n".join([*kept, *lines, SEEN]), Path("system.toml")).env


def world(env: EnvSpec) -> GymnasiumSimulator:
    return GymnasiumSimulator(env, protocol_of(env))


def seen(core: GymnasiumSimulator) -> np.ndarray:
    return decode(core.frame(), LOW, HIGH)


def test_an_action_arrives_so_many_decisions_later_and_the_fallback_before() -> None:
    late, plain = world(cartpole(latency=2)), world(cartpole())
    late.reset(4)
    plain.reset(4)
    for action, arrives in zip((0, 0, 1, 0), (1, 1, 0, 0), strict=True):  # the task's fallback is 1, RIGHT
        late.advance(action)
        plain.advance(arrives)
        assert np.array_equal(late.truth()["observation"], plain.truth()["observation"])


def test_noise_is_read_and_not_true_repeats_with_the_seed_and_is_drawn_once_a_step() -> None:
    noisy, plain = world(cartpole(noise=0.05)), world(cartpole())
    errors = []
    for seed in (1, 2, 1):
        noisy.reset(seed)
        plain.reset(seed)
        assert np.array_equal(noisy.frame(), noisy.frame())
        assert np.array_equal(noisy.truth()["observation"], plain.truth()["observation"])
        errors.append((seen(noisy) - seen(plain)) / (HIGH - LOW))
    assert np.array_equal(errors[0], errors[2]) and not np.array_equal(errors[0], errors[1])
    assert 0.001 < np.abs(errors[:2]).mean() < 0.2


def test_a_saved_state_keeps_what_is_on_its_way_and_what_was_read() -> None:
    core = world(cartpole(latency=1, noise=0.05))
    core.reset(3)
    core.advance(0)
    state, frame = core.save(), core.frame()
    after = []
    for _ in range(2):
        core.load(state)
        assert np.array_equal(core.frame(), frame)
        core.advance(1)
        after.append(core.frame())
    assert np.array_equal(*after)


@pytest.mark.parametrize(
    "wrong, said",
    [
        ({"gaer": 0.8}, "unknown key 'gaer'; did you mean 'gear'?"),
        ({"gear": 0}, "gear is a factor above 0"),
        ({"mass": True}, "mass is a factor"),
        ({"latency": 1.5}, "latency is a whole number of decisions"),
        ({"noise": -0.1}, "noise is a share of the range"),
    ],
)
def test_what_there_is_not_is_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(EnvError) as error:
        Dynamics.of({"dynamics": wrong})
    assert said in str(error.value)


def test_a_world_without_motors_says_so() -> None:
    with pytest.raises(EnvError, match="CartPole-v1 is no body of MuJoCo"):
        world(cartpole(gear=0.8))


def test_a_bad_option_is_named_with_its_line() -> None:
    with pytest.raises(EnvError, match=r"line \d+: dynamics: latency"):
        cartpole(latency=-1)


def test_bodies_change_and_what_is_seen_at_first_does_not() -> None:
    play_or_skip("hopper")
    env = load_spec("hopper").env
    plain = world(env)
    model = plain.world.unwrapped.model
    start, weight, grip = plain.reset(7), model.body_mass.sum(), model.geom_friction.copy()
    ends = {"nominal": _after(plain)}
    for name, dynamics in SHIFTS.items():
        core = world(replace(env, options={**env.options, "dynamics": dynamics}))
        if "noise" not in dynamics:
            assert np.array_equal(core.reset(7), start), name
        changed = core.world.unwrapped.model
        assert changed.body_mass.sum() == pytest.approx(weight * dynamics.get("mass", 1.0))
        assert changed.body_subtreemass[0] == pytest.approx(weight * dynamics.get("mass", 1.0))
        assert np.allclose(changed.geom_friction, grip * dynamics.get("friction", 1.0))
        if "friction" not in dynamics:  # nothing slips in so few steps
            ends[name] = _after(core)
    assert len({frame.tobytes() for frame in ends.values()}) == len(ends)


def _after(core: GymnasiumSimulator) -> np.ndarray:
    core.reset(7)
    for k in range(60):
        if not core.done:
            core.advance(np.array([-0.4, 0.5, 0.4 * (-1) ** k], np.float32))
    return core.frame()
