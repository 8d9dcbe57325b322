"""A screen of which only what changed is coloured: the emulator's own picture, byte for byte."""

from __future__ import annotations

import numpy as np
import pytest

import native
from envs.backends.atari import AtariCore, game_spec
from envs.backends.atari_protocols import get_protocol
from envs.remote import PixelEnv
from envs.spec import load_spec

GAMES = ("ALE/Breakout-v5", "ALE/Pong-v5", "ALE/Asterix-v5", "ALE/MontezumaRevenge-v5")
engine = pytest.mark.skipif(not native.available(), reason=f"the native engine: {native.why_not()}")


@pytest.mark.parametrize("game", GAMES)
def test_a_repainted_picture_is_the_one_that_the_emulator_makes(game: str) -> None:
    core = AtariCore(game_spec(game).env, get_protocol("sticky"))
    rng, picture = np.random.default_rng(7), np.full((*core.palette_frame().shape, 3), 77, np.uint8)
    shown = set()
    for seed in (3, 4):
        core.reset(seed)
        for step in range(120):
            core.repaint(picture)
            shown.add(picture.tobytes())
            assert np.array_equal(picture, core.frame()), (seed, step)
            if step == 40:
                state = core.save()
            if step == 80:
                core.load(state)
            core.advance(int(rng.integers(len(core.env.actions.names))))
    assert len(shown) > 50


def test_what_crosses_the_wall_is_what_the_emulator_shows() -> None:
    spec = load_spec("pong")
    core = AtariCore(spec.env, get_protocol("seed-sticky"))
    with PixelEnv(spec.env, get_protocol("seed-sticky")) as env:
        for seed in (5, 6):
            frame, wanted = env.reset(seed), core.reset(seed)
            for step in range(100):
                assert np.array_equal(frame, wanted), (seed, step)
                frame, wanted = env.step(step // 7 % 3), core.step(step // 7 % 3)


@engine
def test_a_colour_that_is_not_known_leaves_the_picture_to_the_emulator() -> None:
    paint = native.engine.screen_paint  # type: ignore[union-attr]
    now, last = np.array([1, 2, 3], np.uint8), np.array([1, 1, 1], np.uint8)
    colours, picture = np.zeros((256, 4), np.uint8), np.zeros((3, 3), np.uint8)
    colours[2] = 20, 21, 22, 1
    assert not paint(now, last, colours, picture)
    colours[3] = 30, 31, 32, 1
    assert paint(now, last, colours, picture)
    assert picture.tolist() == [[0, 0, 0], [20, 21, 22], [30, 31, 32]] and last.tolist() == [1, 2, 3]


@engine
def test_buffers_of_another_size_are_refused() -> None:
    paint, three = native.engine.screen_paint, np.zeros(3, np.uint8)  # type: ignore[union-attr]
    good = [three, three.copy(), np.zeros(1024, np.uint8), np.zeros(9, np.uint8)]
    assert paint(*good)
    for i in range(4):
        with pytest.raises(ValueError, match="n pixels"):
            paint(*good[:i], np.zeros(len(good[i]) + 1, np.uint8), *good[i + 1 :])
    with pytest.raises(BufferError):
        paint(three, b"123", *good[2:])
