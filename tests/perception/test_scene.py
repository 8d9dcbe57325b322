"""The flat Scene layout and its named view."""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np
import pytest

from perception.scene import SLOT_FIELDS, SceneError, SceneSchema

CONFIG: dict[str, Any] = {
    "crop": [0, 0, 20, 30],
    "things": {"ball": {"size": [2, 4]}, "ghost": {"count": 3, "required": True}},
    "grids": {"bricks": {"rows": 2, "cols": 3, "top": 1, "left": 2, "cell": [4, 3]}},
    "gauges": {"oxygen": {"box": [0, 0, 4, 4]}},
}
SCHEMA = SceneSchema.from_config(CONFIG)


def test_layout_is_slots_then_grids_then_gauges() -> None:
    n = len(SLOT_FIELDS)
    assert SCHEMA.size == 4 * n + 6 + 1
    assert SCHEMA.names[:2] == ("ball.seen", "ball.x")
    assert SCHEMA.names[SCHEMA.slot("ghost", 2).start] == "ghost[2].seen"
    assert SCHEMA.names[SCHEMA.grid("bricks").start + 4] == "bricks[1,1]"
    assert SCHEMA.names[-1] == "oxygen" and SCHEMA.gauge("oxygen") == SCHEMA.size - 1


def test_view_reads_every_field() -> None:
    vector = np.arange(SCHEMA.size, dtype=np.float32)
    scene = SCHEMA.read(vector)
    assert (scene.ball.x, scene.ball.sure) == (1.0, 7.0) and scene.ball.seen is False
    assert scene.ghost[1].vy == vector[SCHEMA.slot("ghost", 1)][6]
    assert scene.bricks.shape == (2, 3) and scene.bricks.dtype == bool
    assert scene.oxygen == vector[-1]
    assert scene.as_dict()["ghost[2].w"] == vector[SCHEMA.slot("ghost", 2)][3]


def test_scene_is_read_only_and_suggests_names() -> None:
    scene = SCHEMA.read(SCHEMA.empty())
    with pytest.raises(AttributeError):
        scene.ball = 1
    with pytest.raises(AttributeError, match="did you mean 'ball'"):
        _ = scene.bal
    with pytest.raises(ValueError):
        scene.bricks[0, 0] = True


def test_wrong_vector_length_is_an_error() -> None:
    with pytest.raises(SceneError, match="shape"):
        SCHEMA.read(np.zeros(3, np.float32))


def test_config_round_trip_and_fingerprint() -> None:
    again = SceneSchema.from_config(SCHEMA.to_config())
    assert again == SCHEMA and again.fingerprint == SCHEMA.fingerprint
    swapped = {**CONFIG, "things": dict(reversed(CONFIG["things"].items()))}
    assert SceneSchema.from_config(swapped).fingerprint != SCHEMA.fingerprint, "order is layout"
    assert SceneSchema.from_config(json.loads(json.dumps(SCHEMA.to_config()))).names == SCHEMA.names
    other = copy.deepcopy(CONFIG)
    other["things"]["ball"]["size"] = [3, 4]
    assert SceneSchema.from_config(other).fingerprint != SCHEMA.fingerprint


@pytest.mark.parametrize(
    ("path", "value", "message", "key"),
    [
        (("crop",), [0, 0, 5], "list of 4 numbers", ("crop",)),
        (("crop",), [9, 0, 5, 5], "top < bottom", ("crop",)),
        (("things", "ball", "cuont"), 2, "did you mean 'count'", ("things", "ball", "cuont")),
        (("things", "ball", "count"), 0, "count is a whole number from 1", ("things", "ball", "count")),
        (("grids", "bricks"), {"rows": 2}, "missing cols", ("grids", "bricks")),
        (("things", "oxygen"), {}, "two parts", ("things", "oxygen")),
        (("window",), 0, "from 1 to 8", ("window",)),
        (("thing",), {}, "did you mean 'things'", ("thing",)),
    ],
)
def test_bad_config_names_its_key(path: tuple[str, ...], value: Any, message: str, key: tuple[str, ...]) -> None:
    config = copy.deepcopy(CONFIG)
    table = config
    for part in path[:-1]:
        table = table[part]
    table[path[-1]] = value
    with pytest.raises(SceneError, match=message) as error:
        SceneSchema.from_config(config)
    assert error.value.key == key
