"""How an episode ended: by its own rules, also on the very frame of a limit, or by the limit alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import classic_kit
import pytest

from envs.backends.atari import AtariCore
from envs.backends.atari_protocols import PROTOCOLS
from envs.remote import PixelEnv
from envs.rewards import RewardEnv
from envs.spec import load_spec, parse_spec


class Console:
    """An emulator whose game ends after `length` frames, with a point on every frame."""

    def __init__(self, length: int) -> None:
        self.length, self.frames = length, 0

    def act(self, action: int) -> int:
        self.frames += 1
        return 1

    def game_over(self) -> bool:
        return self.frames >= self.length

    def getEpisodeFrameNumber(self) -> int:
        return self.frames


@pytest.mark.parametrize(
    ("length", "cap", "win", "truncated"),
    [
        (8, 8, None, False),  # dies on the very frame of the cap
        (99, 8, None, True),  # the cap alone
        (7, 8, None, False),  # dies before it, within the last decision
        (99, 8, 8, False),  # all is won on the frame of the cap
        (9, 8, 9, True),  # would have died and won on the next
    ],
)
def test_a_console_says_what_ended_the_game(length: int, cap: int, win: int | None, truncated: bool) -> None:
    from dataclasses import replace

    core = AtariCore(replace(load_spec("pong").env, max_score=win), replace(PROTOCOLS["classic"], max_frames=cap))
    core.ale, core.score, core._points, core.done = Console(length), 0, 0, False
    while not core.done:
        assert not core.truncated
        core.advance(0)
    assert core.truncated is truncated and core.frames == min(length, cap)


def cartpole(horizon: int, skip: int = 1) -> tuple[Any, Any]:
    from envs.backends.gymnasium import Protocol

    pytest.importorskip("gymnasium")
    pytest.importorskip("pygame")
    env = parse_spec(classic_kit.CARTPOLE + "[scene]\ncrop = [0, 0, 400, 600]\n[scene.things.cart]\n", Path("x")).env
    return env, Protocol("default", frame_skip=skip, horizon=horizon)


FALLS = 10  # steps after which the pole of seed 3 has fallen, always pushed to the right


@pytest.mark.parametrize(
    ("horizon", "skip", "truncated"),
    [(FALLS, 1, False), (FALLS - 1, 1, True), (FALLS + 1, 1, False), (FALLS, 2, False), (FALLS - 1, 3, True)],
)
def test_an_environment_of_gymnasium_does_too(horizon: int, skip: int, truncated: bool) -> None:
    from envs.backends.gymnasium import GymnasiumSimulator

    world = GymnasiumSimulator(*cartpole(horizon, skip))
    world.reset(3)
    while not world.done:
        world.advance(1)
    assert world.frames == min(horizon, FALLS)
    assert world.truncated is truncated and world.metrics() == {"truncated": float(truncated)}
    ended = world.save()
    world.reset(4)
    world.truncated = not truncated
    world.load(ended)
    assert world.truncated is truncated, "a saved end is the same end"


def test_learners_and_the_referee_hear_the_same() -> None:
    """Behind the wall, at the death on the frame of the cap."""
    env, rules = cartpole(FALLS)
    with RewardEnv(env, rules) as told, PixelEnv(env, rules) as wall:
        for world in (told, wall):
            world.reset(3)
            while not world.done:
                world.step(1)
        assert not told.told.truncated
        for sheet in (told.outcome(), wall.outcome()):
            assert sheet.finished and not sheet.truncated and sheet.frames == FALLS
