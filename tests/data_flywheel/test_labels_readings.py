"""Readings (declared numbers) as labels, suspicions and statistics of drift."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from data_flywheel.errors import DataError
from data_flywheel.labels.label import check_value, parts_of, values_of, vector_of
from data_flywheel.labels.resolve import differs
from data_flywheel.labels.review_queue import disagreement, doubt
from perception.drift import Sampler, scene_names, scene_parts
from perception.scene import SceneSchema

TURN = {"low": -math.pi, "high": math.pi, "unit": "rad", "wrap": True}
SCHEMA = SceneSchema.from_config(
    {
        "crop": [0, 0, 64, 64],
        "things": {"ball": {}},
        "readings": {"hand": {"fields": {"turn": TURN, "reach": {"low": 0, "high": 2}}}},
    }
)
SIZE = (64, 64)


def vector(turn: float = 0.5, reach: float = 1.0, sure: float = 1.0) -> np.ndarray:
    """A Scene vector with a hand and no ball."""
    made = SCHEMA.empty()
    made[SCHEMA.slot("hand")] = (1.0, turn, reach, sure)
    return made


def test_values_go_there_and_back_bit_by_bit() -> None:
    assert parts_of(SCHEMA) == ("ball", "hand")
    for one in (vector(), vector(0.1, 1 / 3), SCHEMA.empty()):
        values = values_of(SCHEMA, one)
        assert np.array_equal(vector_of(SCHEMA, values), one)
        assert check_value(SCHEMA, SIZE, "hand", values["hand"]) == values["hand"]
    assert values_of(SCHEMA, SCHEMA.empty())["hand"] is None


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"turn": 0.0}, "table of turn, reach"),
        ({"turn": 0.0, "reach": 1.0, "more": 2.0}, "table of turn, reach"),
        ({"turn": 0.0, "reach": 2.5}, "hand.reach is from 0 to 2"),
        ({"turn": math.nan, "reach": 1.0}, "hand.turn is from"),
        ([0.0, 1.0], "table of turn, reach"),
        ("0", "table of turn, reach"),
    ],
)
def test_a_wrong_value_is_refused(value: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_value(SCHEMA, SIZE, "hand", value)


def test_two_say_different_things_only_beyond_the_tolerance_and_around_the_turn() -> None:
    here = {"turn": math.pi - 0.01, "reach": 1.0}
    assert not differs(SCHEMA, "hand", here, {"turn": 0.01 - math.pi, "reach": 1.0})
    assert differs(SCHEMA, "hand", here, {"turn": 0.0, "reach": 1.0})
    assert differs(SCHEMA, "hand", here, {**here, "reach": 1.5})
    assert differs(SCHEMA, "hand", here, None) and not differs(SCHEMA, "hand", None, None)


def test_suspicions_name_the_field_and_its_unit() -> None:
    score, words = disagreement(SCHEMA, vector(math.pi - 0.1), vector(0.1 - math.pi))
    assert words == "hand.turn 0.2 rad apart" and 0.2 < score < 0.5
    assert disagreement(SCHEMA, SCHEMA.empty(), vector()) == (1.0, "hand not seen against the label")
    assert doubt(SCHEMA, vector(sure=0.6))[1] == "hand 60 % sure"


def test_drift_watches_whether_a_reading_can_be_read() -> None:
    parts = scene_parts(SCHEMA)
    assert scene_names(parts)[-2:] == [("hand", "presence", 0.15), ("hand", "confidence", 0.15)]
    row = Sampler(parts).scene(SCHEMA.empty(), vector(sure=0.75))
    assert row[-2:] == [0.5, 0.75] and len(row) == len(scene_names(parts))
    assert math.isnan(Sampler(parts).scene(vector(), SCHEMA.empty())[-1])
    without = SceneSchema.from_config({"crop": [0, 0, 64, 64], "things": {"ball": {}}})
    assert "readings" not in scene_parts(without), "ranges measured before stay what they are"
