"""Augmentation: what it may change, and what it must say about it."""

from __future__ import annotations

import numpy as np
import pytest

from perception.scene import SceneSchema
from perception.training.augment import Augmentation, Augmenter, blurred, hue_matrix, looked_up, noisy, shaken

SCHEMA = SceneSchema.from_config({"crop": [0, 0, 40, 40], "things": {"ball": {"size": [4, 4]}}})
NOTHING = {name: 0.0 for name in ("recolour", "light", "noise", "blur", "lines", "vignette", "shake", "cover")}
PALETTE = np.zeros((256, 3), np.uint8)
PALETTE[:3] = ((20, 40, 90), (200, 180, 60), (90, 200, 90))


def batch(n: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """A 4x4 ball of colour 1 on colour 0, labelled."""
    frames, scenes = np.zeros((n, 40, 40), np.uint8), np.zeros((n, SCHEMA.size), np.float32)
    for i in range(n):
        y, x = 4 + i % 29, 30 - i % 23
        frames[i, y : y + 4, x : x + 4] = 1
        scenes[i, SCHEMA.slot("ball")] = (1, x + 2, y + 2, 4, 4, 0, 0, 1)
    return frames, scenes


def augment(look: Augmentation, n: int = 64, palette: np.ndarray | None = PALETTE):
    frames, scenes = batch(n)
    given = frames if palette is not None else PALETTE[frames]
    out, labels, camera = Augmenter(SCHEMA, palette, look)(given, scenes, np.random.default_rng(1))
    return PALETTE[frames], scenes, out, labels, camera


def test_clean_frames_stay_exactly_as_they_were():
    before, scenes, out, labels, camera = augment(Augmentation(clean=1.0))
    assert (out == before).all() and (labels == scenes).all() and not camera.any()


def test_a_share_of_the_frames_is_clean():
    before, _, out, _, _ = augment(Augmentation(), 400)
    clean = (out == before).all((1, 2, 3)).mean()
    assert 0.3 < clean < 0.55


@pytest.mark.parametrize("palette", [PALETTE, None])
def test_recolouring_keeps_shapes_and_labels(palette):
    before, scenes, out, labels, _ = augment(
        Augmentation(**{**NOTHING, "clean": 0.0, "recolour": 1.0}), palette=palette
    )
    assert (labels == scenes).all()
    assert (out != before).any((1, 2, 3)).mean() > 0.9
    for was, now in zip(before, out, strict=True):
        assert len(np.unique(now.reshape(-1, 3), axis=0)) <= 2
        ball = (was == PALETTE[1]).all(-1)
        assert (now[ball] == now[ball][0]).all() and (now[~ball] == now[~ball][0]).all()


def test_shake_moves_the_picture_and_says_by_how_much():
    before, scenes, out, labels, camera = augment(Augmentation(**{**NOTHING, "clean": 0.0, "shake": 1.0}))
    assert (labels == scenes).all(), "labels keep meaning the unshaken world"
    assert np.abs(camera).max() == 2 and len(np.unique(camera, axis=0)) > 10
    for was, now, (dy, dx) in zip(before, out, camera.astype(int), strict=True):
        then, there = (np.argwhere((f == PALETTE[1]).all(-1)).mean(0) for f in (was, now))
        assert (there - then).tolist() == [dy, dx]


def test_a_covered_thing_is_unseen_and_an_uncovered_one_untouched():
    before, scenes, out, labels, _ = augment(Augmentation(**{**NOTHING, "clean": 0.0, "cover": 1.0}), 300)
    ball = (before == PALETTE[1]).all(-1)
    hidden = ((out != before).any(-1) & ball).sum((1, 2)) / 16
    gone = labels[:, 0] == 0
    assert 0.05 < gone.mean() < 0.6
    assert (hidden[gone] > 0.5).all() and (hidden[~gone] <= 0.76).all()
    assert (labels[gone][:, SCHEMA.slot("ball")] == 0).all() and (labels[~gone] == scenes[~gone]).all()


def test_the_small_parts_do_what_they_say():
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 256, (40, 40, 3)).astype(np.uint8)
    assert (looked_up(PALETTE, frame[..., 0] % 3) == PALETTE[frame[..., 0] % 3]).all()
    assert np.allclose(hue_matrix(0), np.eye(3), atol=1e-3)
    assert np.allclose(hue_matrix(120) @ hue_matrix(240), np.eye(3), atol=1e-3)
    assert (shaken(frame, 1, -2)[1:, :-2] == frame[:-1, 2:]).all()
    flat = np.full((40, 40, 3), 128, np.uint8)
    assert (blurred(flat) == 128).all()
    assert noisy(flat, 10.0, rng).std() == pytest.approx(10, rel=0.1)
