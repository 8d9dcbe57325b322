"""Labels from motion, and old scenes drawn in a new paint: on a made-up game whose truth is known."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from motion_kit import CELLS, SCHEMA, SHAPE, Play, black, paint, play, quilt

from data_flywheel.labelers import motion
from data_flywheel.labelers import motion as paths
from data_flywheel.labelers.cells import cells_of
from data_flywheel.self_training import render

OLD = play(500, 1, black())
PAINTS = {"quilt": (quilt(), (200, 72, 72), 0.0), "faint": (black() + 100, (109, 109, 109), 0.0),
          "snow": (black() + 40, (190, 190, 60), 8.0), "storm": (quilt(), (190, 190, 150), 20.0)}  # fmt: skip


@cache
def found(name: str) -> tuple[Play, motion.Motion]:
    field, ink, noise = PAINTS[name]
    new = play(400, 2, field, ink, noise)
    known = motion.priors(OLD.scenes, OLD.episodes, SCHEMA, SHAPE)
    return new, motion.label(new.frames, new.episodes, SCHEMA, known)


@pytest.mark.parametrize("name", PAINTS)
def test_trusted_labels_are_right_and_most_frames_have_one(name: str) -> None:
    new, got = found(name)
    for k, (spec, start) in enumerate(motion.slots(SCHEMA)):
        truth, rows = new.scenes[:, start : start + 8], got.trust[:, k]
        assert rows.sum() > 0.5 * (truth[:, 0] > 0).sum(), spec.name
        assert (truth[rows, 0] > 0).mean() > 0.99, spec.name  # nothing is trusted that is not there
        away = np.abs(got.scenes[rows, start + 1 : start + 3] - truth[rows, 1:3]).max(1)
        assert (away <= 2.0).mean() > 0.97 and np.median(away) < 0.6, spec.name


def test_a_still_picture_gives_no_flying_thing() -> None:
    still = np.repeat(play(2, 2, quilt()).frames[:1], 60, 0)
    known = motion.priors(OLD.scenes, OLD.episodes, SCHEMA, SHAPE)
    got = motion.label(still, np.zeros(60, np.int64), SCHEMA, known)
    assert not got.trust[:, 0].any()


def test_noise_alone_is_not_trusted() -> None:
    r = np.random.default_rng(0)
    snow = np.clip(r.normal(100, 20, (80, *SHAPE, 3)), 0, 255).astype(np.uint8)
    known = motion.priors(OLD.scenes, OLD.episodes, SCHEMA, SHAPE)
    assert motion.label(snow, np.zeros(80, np.int64), SCHEMA, known).trust[:, 0].mean() < 0.03


def test_priors_know_places_sizes_and_what_never_moves() -> None:
    ball, bat = motion.priors(OLD.scenes, OLD.episodes, SCHEMA, SHAPE)
    assert ball.size == (2, 4) and bat.size == (16, 4) and bat.fixed == (None, 72.0) and ball.fixed == (None, None)
    assert ball.speed >= 4 and not bat.places[40].any() and bat.places[72].any()


@pytest.mark.parametrize("name", PAINTS)
def test_cells_are_read_off_change(name: str) -> None:
    new, got = found(name)
    labels, full, empty = cells_of(new.frames, new.episodes, SCHEMA, got.field)
    assert (labels == new.scenes[:, CELLS]).mean() > 0.985
    assert np.abs(full[13, 10] - empty[13, 10]).max() > 5


@pytest.mark.parametrize("name", ["quilt", "faint"])
def test_a_rendered_scene_is_the_frame_the_game_would_have_shown(name: str) -> None:
    field, ink, _ = PAINTS[name]
    new, got = found(name)
    known, _ = render.learn(new.frames, new.episodes, got, SCHEMA)
    scene = np.zeros(SCHEMA.size, np.float32)
    scene[CELLS] = new.scenes[-1, CELLS]
    true = paint(scene, 51.0, 47.0, 33.0, field, ink)
    made, _ = render.render(known, scene, SCHEMA, np.random.default_rng(0))
    wrong = (np.abs(made.astype(int) - true).max(2) > 6).mean()
    assert wrong < 0.01
    assert (made[45:49, 50:52] == true[45:49, 50:52]).all() and (made[70:74, 25:41] == true[70:74, 25:41]).all()
    scene[SCHEMA.slot("ball", 0).start] = 0
    assert (render.render(known, scene, SCHEMA, np.random.default_rng(0))[0][45:49, 50:52] != made[45:49, 50:52]).any()


def _flight(points: list[tuple[float, float] | None]) -> tuple[np.ndarray, np.ndarray]:
    track, sure = np.zeros((len(points), 8), np.float32), np.array([p is not None for p in points])
    for row, p in zip(track, points, strict=True):
        if p is not None:
            row[:5] = (1, *p, 2, 4)
    return track, sure


BALL = motion.priors(OLD.scenes, OLD.episodes, SCHEMA, SHAPE)[0]


def test_a_flight_that_was_lost_for_a_moment_is_known_from_both_ends() -> None:
    points = [(10.0 + 3 * i, 20.0 + 4 * i) for i in range(9)]
    gone = [p if i not in (3, 4, 5) else None for i, p in enumerate(points)]
    track, sure = paths.filled(*_flight(gone), BALL)
    assert sure.all() and np.allclose(track[:, 1:3], points, atol=0.01)


def test_where_it_bounced_stays_unknown_and_the_rest_is_known() -> None:
    points = [(10.0 + 3 * i, 20.0 + 4 * min(i, 8 - i)) for i in range(9)]  # turns at i = 4
    gone = [p if i not in (3, 4, 5) else None for i, p in enumerate(points)]
    track, sure = paths.filled(*_flight(gone), BALL)
    assert sure.tolist() == [True] * 4 + [False] + [True] * 4
    assert np.allclose(track[sure, 1:3], np.array(points)[sure], atol=0.01)


def test_long_gaps_and_things_on_rails_are_left_alone() -> None:
    gone = [(10.0 + 3 * i, 20.0) if i not in range(3, 9) else None for i in range(12)]
    assert paths.filled(*_flight(gone), BALL)[1].sum() == 6
    bat = motion.priors(OLD.scenes, OLD.episodes, SCHEMA, SHAPE)[1]
    assert paths.filled(*_flight(gone[:5] + gone[9:]), bat)[1].sum() == 6


def test_a_flight_seen_badly_is_brought_onto_its_line() -> None:
    r = np.random.default_rng(4)
    points = [(16.0 + 4 * i, 40.0 + 1.2 * i) for i in range(15)]
    shaken = [(x + r.uniform(-0.9, 0.9), y + r.uniform(-0.9, 0.9)) for x, y in points]
    track, sure = paths.trusted(_flight(shaken)[0], BALL)
    assert sure.mean() > 0.7
    error = np.abs(track[sure, 1:3] - np.array(points)[sure])
    assert error.max() < np.abs(np.array(shaken) - points).max() and np.median(error) < 0.4
