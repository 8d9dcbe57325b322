"""Looks: the same on every machine and in every episode, never in place, known by name."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from envs.errors import EnvError
from envs.visual_shifts import MOVING, STATIC, check_shift, make_look, make_shift

NAMES = (*STATIC, *MOVING, *(f"random{i}" for i in range(24)))


def field() -> np.ndarray:
    """A field with a wall, a paddle and a ball."""
    frame = np.zeros((60, 80, 3), np.uint8)
    frame[:6], frame[50:54, 30:46], frame[30:34, 40:42] = (142, 142, 142), (200, 72, 72), (236, 236, 236)
    return frame


def digest(frame: np.ndarray) -> str:
    return hashlib.sha256(frame.tobytes()).hexdigest()


@pytest.mark.parametrize("name", NAMES)
def test_a_look_repeats_itself_changes_something_and_leaves_its_input(name: str) -> None:
    frame = field()
    before = frame.copy()
    one, two = make_shift(name, 1, frame.shape), make_shift(name, 2, frame.shape)
    for _ in range(3):
        a, b = one(frame), two(frame)
        assert digest(a) == digest(b) and a.dtype == np.uint8 and a.shape == frame.shape
        assert digest(a) != digest(before) and digest(frame) == digest(before)


@pytest.mark.parametrize("name", [n for n in STATIC if n not in ("television", "oldtape", "quilttape")])
def test_static_looks_do_not_move(name: str) -> None:
    paint, frame = make_look(name, (60, 80, 3)), field()
    assert digest(paint(frame)) == digest(paint(frame))


@pytest.mark.parametrize("name", MOVING)
def test_moving_looks_move(name: str) -> None:
    paint, frame = make_look(name, (60, 80, 3)), field()
    assert digest(paint(frame)) != digest(paint(frame))


def test_looks_differ_from_each_other() -> None:
    assert len({digest(make_look(name, (60, 80, 3))(field())) for name in NAMES}) >= len(NAMES) - 2


def test_sprites_get_colours_of_their_own() -> None:
    frame = field()
    frame[50:54, 30:46] = frame[30:34, 40:42] = (200, 72, 72)
    out = make_look("sprites", frame.shape)(frame)
    assert (out[31, 40] != out[51, 35]).any() and (out[31, 40] != frame[31, 40]).any()


def test_an_unknown_look_names_the_nearest() -> None:
    with pytest.raises(EnvError, match="did you mean 'camouflage'"):
        check_shift("camouflag")
    with pytest.raises(EnvError, match="unknown look 'randomx'"):
        make_look("randomx", (60, 80, 3))
