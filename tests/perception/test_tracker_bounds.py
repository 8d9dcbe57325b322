"""The tracker at its limits on either axis: the largest speed, the reach of a prediction, the last step of coasting."""

from __future__ import annotations

import numpy as np
import pytest

from logic.lib import track
from logic.runtime.tracker import COAST, Tracker, compile_tracker
from perception.scene import SceneSchema

SCHEMA = SceneSchema.from_config(
    {
        "crop": [0, 0, 200, 200],
        "things": {"ball": {"size": [2, 4], "max_speed": 10}, "enemy": {"count": 2, "size": [8, 8], "max_speed": 6}},
        "readings": {"angle": {"fields": {"turn": {"low": -1.0, "high": 1.0}}}},
    }
)
Places = list[tuple[float, float]]


def run(tracker: Tracker, thing: str, *steps: Places) -> np.ndarray:
    """float32[slots, 8] after the last of `steps`."""
    out = SCHEMA.empty()
    for places in steps:
        vector = SCHEMA.empty()
        for i, place in enumerate(places):
            vector[SCHEMA.slot(thing, i)] = (1, *place, 3 + i, 5 + i, 0, 0, 0.8)
        out = tracker.update(vector)
    return np.stack([out[SCHEMA.slot(thing, i)] for i in range(SCHEMA.count(thing))])


def along(axis: int, *values: float) -> list[Places]:
    """One thing at 50, 50 but for one axis."""
    return [[(v, 50.0) if axis == 0 else (50.0, v)] for v in values]


@pytest.mark.parametrize("thing", ["ball", "enemy"])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("way", [1, -1])
def test_the_largest_speed_is_one_and_more_is_another_thing(thing: str, axis: int, way: int) -> None:
    most = 10.0 if thing == "ball" else 6.0
    for step, speed in ((most, most), (most + 1, 0.0), (most - 0.5, most - 0.5)):
        found = run(Tracker(SCHEMA), thing, *along(axis, 100.0, 100.0 + way * step))[0]
        assert (found[1 + axis], found[5 + axis], found[6 - axis]) == (100.0 + way * step, way * speed, 0.0)
        assert found[0] == 1.0 and found[7] == np.float32(0.8), "seen, and as sure as it was seen"


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize(("off", "kept"), [(12.0, True), (-12.0, True), (12.5, False), (-12.5, False)])
def test_a_detection_belongs_to_a_track_within_reach_of_its_prediction(axis: int, off: float, kept: bool) -> None:
    """Of 6 px a step and 6 more: beyond, it starts in the free slot, while its predecessor coasts."""
    found = run(Tracker(SCHEMA), "enemy", *along(axis, 100.0, 103.0, 106.0 + off))
    assert found[:, 0].tolist() == ([1.0, 0.0] if kept else [0.0, 1.0])
    assert found[0 if kept else 1, 1 + axis] == 106.0 + off and (kept or found[0, 1 + axis] == 106.0)


def test_reach_is_a_distance_in_both_axes_together() -> None:
    near = run(Tracker(SCHEMA), "enemy", [(50, 50)], [(58, 58)])  # 11.3 px
    far = run(Tracker(SCHEMA), "enemy", [(50, 50)], [(59, 59)])  # 12.7 px
    assert near[:, 0].tolist() == [1.0, 0.0] and far[:, 0].tolist() == [0.0, 1.0]


def test_the_nearest_detection_is_taken_by_the_first_track_and_once() -> None:
    found = run(Tracker(SCHEMA), "enemy", [(50, 50), (60, 50)], [(57, 50), (52, 50)])
    assert found[:, 1].tolist() == [52.0, 57.0], "52 is nearer to 50, what is left goes to the other"
    found = run(Tracker(SCHEMA), "enemy", [(50, 50), (60, 50)], [(51, 50), (150, 50)])
    assert found[:, 0].tolist() == [1.0, 0.0] and found[1, 1] == 60.0, "150 has no free slot yet"
    assert found[0, 3:5].tolist() == [3.0, 5.0]


@pytest.mark.parametrize("thing", ["ball", "enemy"])
def test_coasting_lasts_six_steps_and_the_seventh_is_a_new_thing(thing: str) -> None:
    for lost in (1, 2, COAST, COAST + 1):
        tracker = Tracker(SCHEMA)
        there = [[(50.0, 60.0)], [(51.0, 62.0)]]
        blind = run(tracker, thing, *there, *[[]] * lost)[0]
        if lost <= COAST:
            assert blind.tolist() == pytest.approx([0, 51 + lost, 62 + 2 * lost, 3, 5, 1, 2, 0.8 * 0.75**lost])
        else:
            assert not blind.any()
        again = run(tracker, thing, [(51.0 + lost + 1, 62.0 + 2 * (lost + 1))])[0]
        assert again[5:7].tolist() == pytest.approx([1.0, 2.0] if lost <= COAST else [0.0, 0.0])


@pytest.mark.parametrize("thing", ["ball", "enemy"])
@pytest.mark.parametrize("axis", [0, 1])
def test_speed_after_a_loss_is_over_all_steps_since_the_last_sighting(thing: str, axis: int) -> None:
    found = run(Tracker(SCHEMA), thing, *along(axis, 100.0, 102.0), [], [], *along(axis, 111.0))[0]
    assert found[5 + axis] == pytest.approx(3.0) and found[6 - axis] == 0.0


@pytest.mark.parametrize("thing", ["ball", "enemy"])
def test_size_and_certainty_are_the_newest_and_nothing_is_kept_of_a_thing_that_is_gone(thing: str) -> None:
    found = run(Tracker(SCHEMA), thing, [(50, 60)], *[[]] * (COAST + 1), [(70, 80)])
    assert found[0].tolist() == pytest.approx([1, 70, 80, 3, 5, 0, 0, 0.8])
    assert not found[1:].any()


def test_what_is_no_thing_passes_through_and_the_memory_of_one_tracker_is_its_own() -> None:
    one, two = Tracker(SCHEMA), Tracker(SCHEMA)
    vector = SCHEMA.empty()
    vector[SCHEMA.slot("angle")] = (1.0, 0.25, 0.75)
    vector[SCHEMA.slot("ball")] = (1, 50, 60, 3, 5, 9, 9, 0.8)
    out = one.update(vector)
    assert out[SCHEMA.slot("angle")].tolist() == [1.0, 0.25, 0.75] and out.dtype == np.float32
    assert out[SCHEMA.slot("ball")].tolist() == pytest.approx([1, 50, 60, 3, 5, 0, 0, 0.8]), "its own speeds, no others"
    assert not two.update(SCHEMA.empty())[SCHEMA.slot("ball")].any()
    assert one._module is two._module is compile_tracker(SCHEMA)


@pytest.mark.parametrize("rest", [{"grids": {"dots": {"rows": 1, "cols": 2, "top": 0, "left": 0, "cell": [4, 4]}}}])
def test_a_scene_without_things_is_left_as_it_is(rest: dict[str, object]) -> None:
    schema = SceneSchema.from_config({"crop": [0, 0, 80, 80], **rest})
    tracker, vector = Tracker(schema), np.array([1, 0], np.float32)
    for _ in range(2):
        assert tracker.update(vector).tolist() == [1, 0]


@pytest.mark.parametrize("count", [1, 2])
def test_kinds_of_one_and_of_several_alone(count: int) -> None:
    schema = SceneSchema.from_config({"crop": [0, 0, 80, 80], "things": {"a": {"count": count}}})
    vector = schema.empty()
    vector[schema.slot("a", count - 1)] = (1, 5, 6, 2, 2, 0, 0, 1)
    assert Tracker(schema).update(vector)[schema.slot("a")].tolist()[:5] == [1, 5, 6, 2, 2], "in the first free slot"


def test_a_thing_in_its_last_coasting_step_keeps_its_slot_and_one_step_later_does_not() -> None:
    for lost, taken in ((COAST, False), (COAST + 1, True)):
        there = [[(50.0, 50.0), (100.0, 100.0)], *[[(100.0, 100.0)]] * lost]
        found = run(Tracker(SCHEMA), "enemy", *there, [(100.0, 100.0), (150.0, 20.0)])
        assert (found[0, 0], found[0, 1], found[1, 1]) == ((1.0, 150.0, 100.0) if taken else (0.0, 0.0, 100.0))


def test_a_thing_that_coasts_beside_another_keeps_its_own_speed() -> None:
    found = run(Tracker(SCHEMA), "enemy", [(50, 50), (54, 50)], [(51, 51), (55, 51)], [(52, 52)])
    assert found[:, 0].tolist() == [1.0, 0.0] and found[:, 1].tolist() == [52.0, 56.0]
    assert found[:, 5:7].tolist() == [[1.0, 1.0], [1.0, 1.0]]


def test_what_is_not_said_of_a_detection_is_nothing_and_a_new_track_is_lost() -> None:
    plain = dict.fromkeys(("x", "y", "w", "h", "sure"), 0.0)
    for kind, more in ((track.Detection, {"seen": False}), (track.Track, {"vx": 0.0, "vy": 0.0, "away": COAST + 1.0})):
        assert {name: getattr(kind, name) for name in kind.__annotations__} == plain | more
