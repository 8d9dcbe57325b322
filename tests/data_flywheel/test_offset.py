"""Half pixels that a look moves things by, found without labels."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from motion_kit import SCHEMA, SHAPE, black, paint, play

from data_flywheel.labelers import motion
from data_flywheel.labelers.motion import offset, phase_of, side_of

OLD = play(500, 1, black())


def outlined(frames: np.ndarray) -> np.ndarray:
    """Every frame as its outlines: half a pixel right of and below what they are drawn around."""
    return np.stack([cv2.morphologyEx(f, cv2.MORPH_GRADIENT, np.ones((2, 2), np.uint8)) for f in frames])


def test_labels_of_outlined_things_are_where_the_things_are() -> None:
    new = play(400, 2, black())
    known = motion.priors(OLD.scenes, OLD.episodes, SCHEMA, SHAPE)
    frames, old = outlined(new.frames), np.median(OLD.frames, axis=0)
    ball = SCHEMA.slot("ball", 0).start
    error = {}
    for name, field in (("unknown", None), ("known", old)):
        got = motion.label(frames, new.episodes, SCHEMA, known, old=field)
        rows = got.trust[:, 0]
        error[name] = np.median(got.scenes[rows, ball + 1 : ball + 3] - new.scenes[rows, ball + 1 : ball + 3], axis=0)
    assert np.allclose(error["unknown"], 0.5, atol=0.05)  # beside the thing
    assert np.allclose(error["known"], 0.0, atol=0.05)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("by", [-1, 1])
def test_the_side_on_which_a_picture_lies_is_seen(axis: int, by: int) -> None:
    scene = np.zeros(SCHEMA.size, np.float32)
    scene[SCHEMA.grid("wall")] = 1
    old = paint(scene, None, 0.0, 40.0, black(), (200, 72, 72)).astype(np.float32)
    half = (old + np.roll(old, by, axis=1 - axis)) / 2
    assert np.sign(side_of(old, half, axis)) == by and abs(side_of(old, old, axis)) < 0.05


def test_positions_without_a_phase_are_left_alone() -> None:
    r = np.random.default_rng(0)
    assert math.isnan(phase_of(r.uniform(0, 80, 200))) and math.isnan(phase_of(np.arange(5.0)))
    assert offset(r.uniform(0, 80, 200), 0.0, 1.0) == 0.0  # what is seen is too spread
    assert offset(np.arange(50.0) + 0.5, float("nan"), 1.0) == 0.0  # old labels had none


def test_a_half_pixel_is_taken_off_only_when_its_side_is_known() -> None:
    at = np.arange(50.0) + 0.5
    assert offset(at, 0.0, 0.4) == pytest.approx(0.5) and offset(at, 0.0, -0.4) == pytest.approx(-0.5)
    assert offset(at, 0.0, 0.0) == 0.0 and offset(at - 0.3, 0.0, 0.0) == pytest.approx(0.2)
