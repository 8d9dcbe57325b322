"""The tracker: velocities in px per step, coasting through short losses, identity among equals."""

from __future__ import annotations

import numpy as np
import pytest

from logic.runtime.tracker import COAST, Tracker
from perception.scene import SceneSchema

SCHEMA = SceneSchema.from_config(
    {
        "crop": [0, 0, 80, 80],
        "things": {"ball": {"size": [2, 4], "max_speed": 10}, "enemy": {"count": 3, "size": [8, 8], "max_speed": 6}},
        "grids": {"dots": {"rows": 1, "cols": 2, "top": 0, "left": 0, "cell": [4, 4]}},
    }
)


def scene(ball: tuple[float, float] | None = None, enemies: list[tuple[float, float]] | None = None) -> np.ndarray:
    vector = SCHEMA.empty()
    if ball:
        vector[SCHEMA.slot("ball")] = (1, *ball, 2, 4, 0, 0, 0.9)
    for i, place in enumerate(enemies or []):
        vector[SCHEMA.slot("enemy", i)] = (1, *place, 8, 8, 0, 0, 0.8)
    vector[SCHEMA.grid("dots")] = (1, 0)
    return vector


def test_velocity_is_the_difference_of_two_sightings():
    tracker = Tracker(SCHEMA)
    first = SCHEMA.read(tracker.update(scene((10, 20)))).ball
    second = SCHEMA.read(tracker.update(scene((12.5, 17)))).ball
    assert (first.vx, first.vy) == (0, 0)
    assert (second.vx, second.vy) == (2.5, -3)
    assert second.seen and second.sure == pytest.approx(0.9)


def test_a_lost_thing_coasts_then_vanishes():
    tracker = Tracker(SCHEMA)
    tracker.update(scene((10, 20)))
    tracker.update(scene((13, 22)))
    sures = []
    for step in range(1, COAST + 1):
        ball = SCHEMA.read(tracker.update(scene())).ball
        assert not ball.seen
        assert (ball.x, ball.y) == (13 + 3 * step, 22 + 2 * step)
        assert (ball.w, ball.h, ball.vx, ball.vy) == (2, 4, 3, 2)
        sures.append(ball.sure)
    assert all(a > b for a, b in zip([0.9, *sures], sures, strict=False))
    gone = SCHEMA.read(tracker.update(scene())).ball
    assert (gone.seen, gone.x, gone.sure) == (False, 0, 0)


def test_velocity_after_a_loss_is_measured_from_the_last_sighting():
    tracker = Tracker(SCHEMA)
    for place in ((10, 20), (12, 20), None, None, (21, 26)):
        found = tracker.update(scene(place))
    ball = SCHEMA.read(found).ball
    assert (ball.vx, ball.vy) == pytest.approx((3, 2))


def test_a_jump_is_another_thing():
    tracker = Tracker(SCHEMA)
    tracker.update(scene((10, 20)))
    tracker.update(scene((12, 20)))
    ball = SCHEMA.read(tracker.update(scene((60, 70)))).ball
    assert (ball.x, ball.vx, ball.vy) == (60, 0, 0)


def test_identity_survives_shuffled_detections():
    tracker = Tracker(SCHEMA)
    paths = [(10.0, 10.0, 2.0, 0.0), (40.0, 40.0, 0.0, -2.0), (70.0, 10.0, -2.0, 1.0)]
    rng = np.random.default_rng(0)
    for step in range(8):
        places = [(x + vx * step, y + vy * step) for x, y, vx, vy in paths]
        order = list(range(3)) if step == 0 else rng.permutation(3).tolist()
        enemies = SCHEMA.read(tracker.update(scene(None, [places[i] for i in order]))).enemy
        assert [(e.x, e.y) for e in enemies] == places
        if step:
            assert [(e.vx, e.vy) for e in enemies] == [(p[2], p[3]) for p in paths]


def test_a_newcomer_takes_a_free_slot_and_the_lost_one_keeps_its_own():
    tracker = Tracker(SCHEMA)
    tracker.update(scene(None, [(10, 10), (40, 40)]))
    enemies = SCHEMA.read(tracker.update(scene(None, [(41, 40), (70, 70)]))).enemy
    assert [e.seen for e in enemies] == [False, True, True]
    assert (enemies[1].x, enemies[2].x) == (41, 70)


def test_reset_forgets_and_the_input_is_left_alone():
    tracker = Tracker(SCHEMA)
    tracker.update(scene((10, 20)))
    given = scene((12, 20))
    before = given.copy()
    out = tracker.update(given)
    assert (given == before).all() and out is not given
    assert (out[SCHEMA.grid("dots")] == (1, 0)).all()
    tracker.reset()
    assert SCHEMA.read(tracker.update(scene((14, 20)))).ball.vx == 0


def test_a_thing_may_be_called_anything():
    things = {"memory": {}, "scene": {"count": 2}, "snapshot": {}, "Track": {}, "x": {}}
    schema = SceneSchema.from_config({"crop": [0, 0, 80, 80], "things": things})
    tracker = Tracker(schema)
    for x in (10.0, 12.0):
        vector = schema.empty()
        vector[schema.slot("memory")] = (1, x, 20, 2, 4, 0, 0, 0.9)
        vector[schema.slot("scene", 1)] = (1, 3 * x, 20, 2, 4, 0, 0, 0.9)
        found = schema.read(tracker.update(vector))
    assert (found.memory.vx, found.scene[0].vx, found.scene[1].vx) == (2, 6, 0)
