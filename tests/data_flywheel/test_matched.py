"""A box that is fainter than its pixels' noise is found; what cannot be told from the field is said so."""

from __future__ import annotations

import numpy as np
from motion_kit import SCHEMA, SHAPE, black, play, quilt

from data_flywheel.labelers import motion
from data_flywheel.labelers.motion import Filter
from data_flywheel.self_training import data as wheel_data
from perception.training.data import Samples

OLD = play(500, 1, black())
KNOWN = motion.priors(OLD.scenes, OLD.episodes, SCHEMA, SHAPE)


def snow(n: int, level: float) -> tuple[np.ndarray, np.random.Generator]:
    r = np.random.default_rng(5)
    return np.clip(r.normal(100, level, (n, *SHAPE, 3)), 0, 255).astype(np.uint8), r


def test_a_box_below_the_noise_of_its_pixels_is_found_where_it_is() -> None:
    frames, r = snow(120, 14.0)
    field = motion.field_of(frames)
    find, hidden = Filter.of(frames, field, KNOWN[0], np.zeros(SHAPE, bool)), 0
    for _ in range(60):
        x, y = int(r.integers(20, 75)), int(r.integers(36, 60))
        frame = r.normal(100, 14.0, (*SHAPE, 3))
        frame[y - 2 : y + 2, x - 1 : x + 1] += 25.0  # less than two standard deviations of a pixel
        best = find.candidates((np.clip(frame, 0, 255) - field.look).astype(np.float32))[:1]
        hidden += not len(best) or np.abs(best[0, :2] - (x, y)).max() > 1.5
    assert hidden <= 6


def test_a_things_place_does_not_depend_on_where_it_often_is() -> None:
    frames = play(300, 2, quilt(), (150, 150, 130), 14.0).frames
    bat = Filter.of(frames, motion.field_of(frames), KNOWN[1], np.zeros(SHAPE, bool))
    assert bat.signed.max() > 1.3 * bat.signed.min()  # it varies from place to place ...
    wide = np.zeros((*SHAPE, 3), np.float32)
    wide[70:74, 30:46] = 40.0
    assert np.abs(bat.candidates(wide)[0, :2] - (38, 72)).max() < 0.3  # ... and moves nothing


def test_what_cannot_be_told_from_the_field_is_not_taught() -> None:
    """On half of the field the ball has the field's own colour."""
    field = black()
    field[:, 48:] = (200, 72, 72)
    new = play(400, 2, field, (200, 72, 72))
    got = motion.label(new.frames, new.episodes, SCHEMA, KNOWN)
    memory = Samples(OLD.frames, None, OLD.scenes, OLD.episodes, np.zeros(500, np.uint8), "teacher")
    paint, _ = wheel_data.render.learn(new.frames, new.episodes, got, SCHEMA)
    made = wheel_data.drawn(paint, got, memory, KNOWN, SCHEMA, 60, 0)
    ball = made.scenes[:, SCHEMA.slot("ball", 0)]
    seen = ball[ball[:, 0] > 0.5]
    assert len(seen) > 10 and (seen[:, 1] < 50).mean() > 0.95
    assert (OLD.scenes[:, SCHEMA.slot("ball", 0).start + 1] > 50).mean() > 0.25  # there were others to draw
