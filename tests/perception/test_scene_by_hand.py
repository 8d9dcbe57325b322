"""The Scene's vector place by place, and each key of its table just inside and just outside what it may be."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from perception.scene import MOST_NUMBER as MOST
from perception.scene import FieldSpec, GaugeSpec, ReadingSpec, Scene, SceneError, SceneSchema, ThingSpec

FULL: dict[str, Any] = {
    "crop": [1, 2, 20, 30],
    "window": 3,
    "things": {"ball": {"required": True, "max_speed": 5}, "bat": {"count": 2, "size": [8, 2.5]}},
    "grids": {"wall": {"rows": 2, "cols": 3, "top": 1.5, "left": 2, "cell": [4, 3]},
              "dots": {"rows": 1, "cols": 2, "top": 0, "left": 0, "cell": [1, 1]}},
    "gauges": {"air": {"box": [0, 0, 4, 4]}, "fuel": {"box": [1, 2, 3, 4], "low": -2, "high": 9}},
    "readings": {"arm": {"fields": {"turn": {"low": -180, "high": 180, "unit": "deg", "wrap": True},
                                    "depth": {"low": 0, "high": 5}}, "required": True},
                 "speed": {"fields": {"v": {"low": -1, "high": 1}}}},
}  # fmt: skip
SCHEMA = SceneSchema.from_config(FULL)
BOX = ("seen", "x", "y", "w", "h", "vx", "vy", "sure")


def test_every_value_has_its_name_and_its_place() -> None:
    assert SCHEMA.names == (
        *(f"{s}.{f}" for s in ("ball", "bat[0]", "bat[1]") for f in BOX),
        "wall[0,0]", "wall[0,1]", "wall[0,2]", "wall[1,0]", "wall[1,1]", "wall[1,2]", "dots[0,0]", "dots[0,1]",
        "air", "fuel", "arm.seen", "arm.turn", "arm.depth", "arm.sure", "speed.seen", "speed.v", "speed.sure",
    )  # fmt: skip
    assert SCHEMA.size == 41 and SCHEMA.empty().tolist() == [0.0] * 41 and SCHEMA.empty().dtype == np.float32
    assert (SCHEMA.grid("wall"), SCHEMA.grid("dots")) == (slice(24, 30), slice(30, 32))
    assert (SCHEMA.gauge("air"), SCHEMA.gauge("fuel")) == (32, 33)
    assert list(SCHEMA.slots()) == [
        ("ball", slice(0, 8)), ("bat[0]", slice(8, 16)), ("bat[1]", slice(16, 24)), ("arm", slice(34, 38)),
        ("speed", slice(38, 41)),
    ]  # fmt: skip
    assert [SCHEMA.count(n) for n in ("ball", "bat", "arm", "speed", "wall", "air", "nobody")] == [1, 2, 1, 1, 0, 0, 0]
    assert SCHEMA.fields("bat") == BOX and SCHEMA.fields("arm") == ("seen", "turn", "depth", "sure")
    assert SCHEMA.fields("wall") == SCHEMA.fields("nobody") == ()
    assert (SCHEMA.slot("bat"), SCHEMA.slot("bat", 1)) == (slice(8, 16), slice(16, 24))
    for name, index in (("bat", 2), ("bat", -1), ("ball", 1), ("arm", 1)):
        with pytest.raises(IndexError, match=f"{name} has {SCHEMA.count(name)} slots, asked for {index}"):
            SCHEMA.slot(name, index)


def test_a_view_is_the_vector_by_name() -> None:
    vector = np.arange(SCHEMA.size, dtype=np.float32)
    scene = SCHEMA.read(vector)
    assert scene.vector is vector and scene.as_dict() == dict(zip(SCHEMA.names, range(41), strict=True))
    for view, start in ((scene.ball, 0), (scene.bat[0], 8), (scene.bat[1], 16)):
        assert [getattr(view, f) for f in BOX[1:]] == list(range(start + 1, start + 8))
    assert isinstance(scene.bat, tuple) and len(scene.bat) == 2
    assert (scene.air, scene.fuel) == (32.0, 33.0) and isinstance(scene.air, float)
    assert (scene.arm.seen, scene.arm.turn, scene.arm.depth, scene.arm.sure) == (True, 35.0, 36.0, 37.0)
    assert (scene.speed.v, scene.speed.sure) == (39.0, 40.0)
    assert repr(scene.ball) == "<unseen x=1.00 y=2.00 w=3.0 h=4.0 sure=7.00>"
    assert repr(scene.bat[0]).startswith("<seen x=9.00")


@pytest.mark.parametrize(("value", "seen"), [(0.0, False), (0.5, False), (0.51, True), (1.0, True)])
def test_seen_and_cells_are_more_likely_than_not(value: float, seen: bool) -> None:
    scene = SCHEMA.read(np.full(SCHEMA.size, value, np.float32))
    assert scene.ball.seen is scene.bat[1].seen is scene.arm.seen is seen
    assert (scene.wall == seen).all() and scene.wall.shape == (2, 3) and scene.dots.shape == (1, 2)


def test_cells_stand_row_by_row_and_cannot_be_written() -> None:
    vector = SCHEMA.empty()
    vector[SCHEMA.grid("wall")] = [1, 0, 0, 0, 1, 1]
    scene = SCHEMA.read(vector)
    assert scene.wall.tolist() == [[True, False, False], [False, True, True]]
    for grid in (scene.wall, scene.dots):
        with pytest.raises(ValueError, match="read-only"):
            grid[0, 0] = True


@pytest.mark.parametrize("shape", [(40,), (42,), (1, 41), ()])
def test_a_vector_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(SceneError, match=r"has shape \(41,\), got"):
        SCHEMA.read(np.zeros(shape, np.float32))


def test_names_that_a_scene_does_not_have() -> None:
    scene = SCHEMA.read(SCHEMA.empty())
    with pytest.raises(AttributeError, match="did you mean 'speed'"):
        _ = scene.sped
    with pytest.raises(AttributeError, match="it has air, arm, ball, bat, dots, fuel, speed, wall"):
        _ = scene.zzzzzz
    with pytest.raises(AttributeError, match="read-only"):
        scene.ball = 1
    with pytest.raises(AttributeError, match="it has a$"):
        _ = Scene({"a": 1, "_hidden": 2}).zzzzzz


def test_what_is_not_said_has_a_default() -> None:
    assert SCHEMA.things[0] == ThingSpec("ball", 1, (4.0, 4.0), True, 5.0)
    assert SCHEMA.things[1] == ThingSpec("bat", 2, (8, 2.5), False, 32.0)
    assert SCHEMA.gauges == (GaugeSpec("air", (0, 0, 4, 4), 0.0, 1.0), GaugeSpec("fuel", (1, 2, 3, 4), -2.0, 9.0))
    turn, depth = FieldSpec("turn", -180, 180, "deg", True), FieldSpec("depth", 0, 5, "", False)
    assert SCHEMA.readings[0] == ReadingSpec("arm", (turn, depth), True) and not SCHEMA.readings[1].required
    assert (SCHEMA.crop, SCHEMA.window) == ((1, 2, 20, 30), 3)
    assert SceneSchema.from_config({"crop": [0, 0, 1, 1], "things": {"a": {}}}).window == 1
    bare = SceneSchema((0, 0, 1, 1), (ThingSpec("a"),))
    assert (bare.grids, bare.gauges, bare.window, bare.readings) == ((), (), 1, ())


def test_a_field_that_wraps_measures_the_shorter_way_round() -> None:
    turn, depth = SCHEMA.readings[0].fields
    for a, b, away in ((10, 20, -10), (170, -170, -20), (-170, 170, 20), (90, -90, -180), (0, 0, 0), (100, -100, -160)):
        assert turn.away(a, b) == away
        assert depth.away(a, b) == a - b
    assert turn.away(np.array([170.0, 5.0]), np.array([-170.0, 2.0])).tolist() == [-20.0, 3.0]
    wide = FieldSpec("x", 10, 40, wrap=True)
    assert (wide.away(39, 11), wide.away(11, 39), wide.away(25, 10)) == (-2, 2, -15)


def test_the_table_comes_back_in_canonical_form() -> None:
    told = SCHEMA.to_config()
    assert SceneSchema.from_config(told) == SCHEMA and list(told) == [
        "crop", "format", "gauges", "grids", "readings", "things", "window"
    ]  # fmt: skip
    assert told["format"] == 1 and told["crop"] == [1, 2, 20, 30] and list(told["things"]) == ["ball", "bat"]
    assert told["things"]["bat"] == {"count": 2, "max_speed": 32.0, "required": False, "size": [8, 2.5]}
    assert list(told["things"]["bat"]) == ["count", "max_speed", "required", "size"]
    assert told["readings"]["arm"] == {
        "fields": {"turn": {"high": 180.0, "low": -180.0, "unit": "deg", "wrap": True},
                   "depth": {"high": 5.0, "low": 0.0, "unit": "", "wrap": False}},
        "required": True,
    }  # fmt: skip
    plain = SceneSchema.from_config({k: v for k, v in FULL.items() if k != "readings"})
    assert "readings" not in plain.to_config() and plain.fingerprint != SCHEMA.fingerprint


def config(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    made = copy.deepcopy(FULL)
    table = made
    for part in path[:-1]:
        table = table[part]
    table[path[-1]] = value
    return made


GOOD: list[tuple[tuple[str, ...], Any]] = [
    (("window",), 1), (("window",), 8), (("format",), 1), (("crop",), [0, 0, 1, 1]), (("crop",), (0, 0, 1, 1)),
    (("things", "ball", "count"), 1), (("things", "ball", "max_speed"), 0.5), (("things", "ball", "required"), False),
    (("gauges", "air", "low"), -3), (("readings", "arm", "required"), False), (("things",), {}),
    (("crop",), [0, 0, 65536, 65536]), (("things", "ball", "max_speed"), MOST), (("things", "a" * 64), {}),
    (("things", "ball", "size"), [0.1, 0.1]), (("things", "ball", "count"), (65536 - 33) // 8),
    (("readings", "arm", "fields", "turn", "wrap"), False), (("grids", "wall", "top"), 0),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value"), GOOD)
def test_what_is_just_allowed(path: tuple[str, ...], value: Any) -> None:
    SceneSchema.from_config(config(path, value))


ARM = ("readings", "arm")
BAD: list[tuple[tuple[str, ...], Any, str, tuple[str, ...]]] = [
    (("window",), 0, "from 1 to 8, got 0", ("window",)),
    (("window",), 9, "from 1 to 8, got 9", ("window",)),
    (("window",), 2.0, "from 1 to 8", ("window",)),
    (("format",), 2, "scene format 2 is not 1", ("format",)),
    (("crop",), [-1, 0, 5, 5], "top < bottom", ("crop",)),
    (("crop",), [0, -1, 5, 5], "left < right", ("crop",)),
    (("crop",), [5, 0, 5, 5], "top < bottom", ("crop",)),
    (("crop",), [0, 5, 5, 5], "left < right", ("crop",)),
    (("crop",), [0, 0, 5], "list of 4 numbers", ("crop",)),
    (("crop",), [0, 0, 5, True], "list of 4 numbers", ("crop",)),
    (("crop",), [0, 0, 5, "5"], "list of 4 numbers", ("crop",)),
    (("crop",), "0055", "list of 4 numbers", ("crop",)),
    (("crop",), None, "list of 4 numbers", ("crop",)),
    (("things",), [], r"things is a table: write \[scene.things.NAME\]", ("things",)),
    (("grids",), 3, "grids is a table", ("grids",)),
    (("gauges",), "x", "gauges is a table", ("gauges",)),
    (("readings",), None, "readings is a table", ("readings",)),
    (("thinks",), {}, "unknown key 'thinks'; did you mean 'things'", ("thinks",)),
    (("qqqqq",), {}, "known keys: format, crop, window, exclusive, things, grids, gauges, readings", ("qqqqq",)),
    (("things", "bad name"), {}, "a name is a word of at most 64 of", ("things", "bad name")),
    (("things", "ball"), 3, r"ball is a table: write \[scene.things.ball\]", ("things", "ball")),
    (("things", "ball", "count"), 0, "count is a whole number from 1 to 65536, got '0'", ("things", "ball", "count")),
    (("things", "ball", "count"), True, "count is a whole number", ("things", "ball", "count")),
    (("things", "ball", "count"), 1.0, "count is a whole number", ("things", "ball", "count")),
    (("things", "ball", "count"), 65537, "count is a whole number", ("things", "ball", "count")),
    (("things", "ball", "max_speed"), MOST * 1.1, "max_speed is a number", ("things", "ball", "max_speed")),
    (("things", "ball", "max_speed"), -MOST * 1.1, "max_speed is a number", ("things", "ball", "max_speed")),
    (("things", "ball", "size"), [0, 2], "size is a width and a height above 0", ("things", "ball", "size")),
    (("things", "ball", "size"), [2, 0], "above 0", ("things", "ball", "size")),
    (("things", "a" * 65), {}, "a word of at most 64", ("things", "a" * 65)),
    (("things", "9a"), {}, "a name is a word", ("things", "9a")),
    (("things", "vector"), {}, "nothing here can be called 'vector'", ("things", "vector")),
    (("things", "class"), {}, "nothing here can be called 'class'", ("things", "class")),
    (("crop",), [0, 0, 65537, 5], "top < bottom", ("crop",)),
    (("crop",), [0, 0, 5, 65537], "left < right", ("crop",)),
    (("gauges", "air", "box"), [4, 0, 4, 4], r"box is \[top, left, bottom, right\]", ("gauges", "air", "box")),
    (("grids", "wall", "rows"), 30_000, "at most 65536 values, this one 90035: fewer or smaller parts", ()),
    (("things", "ball", "max_speed"), True, "max_speed is a number", ("things", "ball", "max_speed")),
    (("things", "ball", "max_speed"), "5", "max_speed is a number", ("things", "ball", "max_speed")),
    (("things", "ball", "required"), 1, "required is (true or false|a bool)", ("things", "ball", "required")),
    (("things", "ball", "size"), [1, 2, 3], "size is a list of 2 numbers", ("things", "ball", "size")),
    (("gauges", "air", "box"), [1, 2], "box is a list of 4 numbers", ("gauges", "air", "box")),
    (("grids", "wall", "cell"), [1], "cell is a list of 2 numbers", ("grids", "wall", "cell")),
    (("grids", "wall"), {"rows": 2, "top": 1}, "missing cols, left, cell", ("grids", "wall")),
    (("gauges", "air"), {}, "missing box", ("gauges", "air")),
    (("gauges", "ball"), {"box": [0, 0, 1, 1]}, "two parts of the scene are named 'ball'", ("things", "ball")),
    (ARM, 3, r"arm is a table: write \[scene.readings.arm\]", ARM),
    (("readings", "an arm"), {}, "a name is a word", ("readings", "an arm")),
    ((*ARM, "required"), 1, "required is (true or false|a bool)", (*ARM, "required")),
    ((*ARM, "more"), 1, "unknown key 'more'", (*ARM, "more")),
    ((*ARM, "fields"), {}, r"declares its fields: \[scene.readings.arm.fields\]", ARM),
    ((*ARM, "fields"), [1], "declares its fields", ARM),
    ((*ARM, "fields", "seen"), {"low": 0, "high": 1}, "can be called 'seen'", (*ARM, "fields", "seen")),
    ((*ARM, "fields", "sure"), {"low": 0, "high": 1}, "can be called 'sure'", (*ARM, "fields", "sure")),
    ((*ARM, "fields", "class"), {"low": 0, "high": 1}, "can be called 'class'", (*ARM, "fields", "class")),
    ((*ARM, "fields", "depth", "low"), 5, "low is below high, got 5 and 5", (*ARM, "fields", "depth")),
    ((*ARM, "fields", "depth", "low"), 6, "low is below high", (*ARM, "fields", "depth")),
    ((*ARM, "fields", "depth", "low"), -float("inf"), "low is a number", (*ARM, "fields", "depth", "low")),
    ((*ARM, "fields", "depth", "high"), float("inf"), "high is a number", (*ARM, "fields", "depth", "high")),
    ((*ARM, "fields", "depth", "unit"), 3, "unit is a text", (*ARM, "fields", "depth", "unit")),
    ((*ARM, "fields", "depth", "wrap"), 1, "wrap is true or false", (*ARM, "fields", "depth", "wrap")),
    ((*ARM, "fields", "depth"), {"low": 0}, "missing high", (*ARM, "fields", "depth")),
]


@pytest.mark.parametrize(("path", "value", "says", "key"), BAD)
def test_what_is_not_allowed_names_its_key(path: tuple[str, ...], value: Any, says: str, key: tuple[str, ...]) -> None:
    with pytest.raises(SceneError, match=says) as found:
        SceneSchema.from_config(config(path, value))
    assert found.value.key == key and found.value.args == (str(found.value),)


@pytest.mark.parametrize("one", ["things", "grids", "readings"])
def test_a_scene_of_one_kind_of_part_is_enough_and_of_gauges_alone_is_not(one: str) -> None:
    SceneSchema.from_config({"crop": FULL["crop"], one: FULL[one]})
    with pytest.raises(SceneError, match="at least one thing, grid or reading") as found:
        SceneSchema.from_config({"crop": FULL["crop"], "gauges": FULL["gauges"]})
    assert found.value.key == ("things",)


def test_a_scene_may_be_as_large_as_the_limit() -> None:
    grid = {"rows": 1, "cols": 65536, "top": 0, "left": 0, "cell": [1, 1]}
    whole: dict[str, Any] = {"crop": [0, 0, 9, 9], "grids": {"wall": grid}}
    assert SceneSchema.from_config(whole).size == 65536
    with pytest.raises(SceneError, match="at most 65536 values, this one 65537"):
        SceneSchema.from_config(whole | {"gauges": {"air": {"box": [0, 0, 4, 4]}}})


@pytest.mark.parametrize(("config", "kind"), [([], "list"), ("x", "str"), (None, "NoneType"), (3, "int")])
def test_what_is_no_table_is_no_scene(config: Any, kind: str) -> None:
    with pytest.raises(SceneError, match=f"a scene is a table, got a {kind}") as found:
        SceneSchema.from_config(config)
    assert found.value.key == ()


def test_the_first_name_that_stands_twice_is_told() -> None:
    box = {"box": [0, 0, 4, 4]}
    with pytest.raises(SceneError, match="are named 'ball'") as found:
        SceneSchema.from_config({**FULL, "gauges": {"bat": box, "ball": box}})
    assert found.value.key == ("things", "ball")
