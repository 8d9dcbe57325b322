"""Ball flight and tracking of logic/lib/ball.py, against a ball that is moved frame by frame."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.plain_runner import load_module
from logic.language.program import shipped_library

LOW, HIGH = 8.0, 152.0
ACROSS = np.array([0.5, 1.0, 1.5, 2.0], np.float32)
DOWN = np.array([1.0, 1.5, 2.0, 3.375], np.float32)


@pytest.fixture(scope="module")
def ball() -> SimpleNamespace:
    """The library's functions."""
    return SimpleNamespace(**load_module(shipped_library("ball"), "lib/ball", {}).namespace)


def by_frame(x: float, v: float, frames: int) -> tuple[float, float]:
    """The game itself: move, then turn at or beyond a wall."""
    for _ in range(frames):
        x += v
        if (x >= HIGH and v > 0) or (x <= LOW and v < 0):
            v = -v
    return x, v


@pytest.mark.parametrize("speed", [0.5, 1.0, 1.5, 2.0, -0.5, -1.0, -1.5, -2.0])
def test_fly_is_the_game_to_the_frame(ball: SimpleNamespace, speed: float) -> None:
    for start in (8.0, 9.5, 40.0, 80.5, 151.0, 152.0):
        for frames in (0, 1, 2, 37, 90, 200):
            assert ball.fly(start, speed, frames, LOW, HIGH) == by_frame(start, speed, frames)


def test_snap_keeps_the_sign_and_takes_the_nearest(ball: SimpleNamespace) -> None:
    assert ball.snap(-1.8, ACROSS) == -2.0
    assert ball.snap(0.6, ACROSS) == 0.5


def test_frames_until_counts_whole_frames(ball: SimpleNamespace) -> None:
    assert ball.frames_until(10.0, 3.375) == 3
    assert ball.frames_until(-1.0, 3.375) == 0
    assert ball.frames_until(10.0, -1.0) == 0


def follow(ball: SimpleNamespace, frames: int, near: float, noise: float, missing: float) -> list[bool]:
    """Track a bouncing ball for 300 steps; was the velocity right, for each step seen and clear of a bounce?"""
    rng = np.random.default_rng(1)
    x, y, vx, vy, since = 60.0, 100.0, 2.0, -3.375, 0
    state, right = (80.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0, 1000), []
    for _ in range(300):
        for _f in range(frames):
            x, y, since = x + vx, y + vy, since + 1
            if (x >= HIGH and vx > 0) or (x <= LOW and vx < 0):
                vx = -vx
            if (y >= 188 and vy > 0) or (y <= 93 and vy < 0):
                vy, since = -vy, 0
        seen = rng.random() >= missing
        at = np.floor(x) + rng.normal(0, noise), np.floor(y) + rng.normal(0, noise)
        state = ball.track(seen, *at, *state, frames, LOW + 0.5, HIGH - 0.5, ACROSS, DOWN, near)  # noise-proof walls
        if since >= 4 * frames:
            right.append(state[2:4] == (vx, vy))
    return right


@pytest.mark.parametrize(("frames", "near"), [(1, 2.0), (4, 2.5)])
def test_velocity_is_known_soon_after_each_bounce(ball: SimpleNamespace, frames: int, near: float) -> None:
    assert np.mean(follow(ball, frames, near, 0.05, 0.0)) > 0.99


@pytest.mark.parametrize(("frames", "near"), [(1, 2.0), (4, 2.5)])
def test_lost_sightings_and_noise_are_survived(ball: SimpleNamespace, frames: int, near: float) -> None:
    assert np.mean(follow(ball, frames, near, 0.2, 0.02)) > 0.93


def test_a_far_off_sighting_is_not_believed_at_once(ball: SimpleNamespace) -> None:
    state = (60.0, 100.0, 2.0, 3.375, 40.0, 66.0, 10, 0)
    x, y, vx, vy, *_, lost = ball.track(True, 150.0, 30.0, *state, 1, LOW, HIGH, ACROSS, DOWN, 2.0)
    assert (x, y, vx, vy) == (62.0, 103.375, 2.0, 3.375) and lost == 1
