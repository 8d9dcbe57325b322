"""Sizes, numbers and names of a stranger's system.toml: refused with file and line before anything is built."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from envs.errors import EnvError
from envs.files import Unreadable, json_of, loads
from envs.spec import ZOO, parse_spec
from perception.scene import SceneError, SceneSchema
from triune.errors import TriuneError
from triune.play.loop import BLIND, Pipeline
from triune.system import load

TEXT = (ZOO / "cartpole" / "system.toml").read_text()
NAMES = ", ".join(f'"A{i}"' for i in range(20_000))
GRID = "[scene.grids.g]\nrows = {0}\ncols = {0}\ntop = 0\nleft = 0\ncell = [1, 1]\n"
THING = "[scene.things.ball]\ncount = {}\n"
# what stands there -> what is put there instead, and the key that is named
ENV = [
    ('actions = ["LEFT", "RIGHT"]', f"actions = [{NAMES}]", "at most 250 names"),
    ('actions = ["LEFT", "RIGHT"]', 'actions = ["LÉFT", "RIGHT"]', "actions is a list of names"),
    ('actions = ["LEFT", "RIGHT"]', f'actions = ["{"L" * 70}", "RIGHT"]', "actions is a list of names"),
    (
        'actions = ["LEFT", "RIGHT"]',
        f"actions = {{ push = [-1, 1{'0' * 400}] }}",
        "env.actions.push has a whole number",
    ),
    ('actions = ["LEFT", "RIGHT"]', "actions = { push = [-1, 1e300] }", "control 'push' needs finite bounds"),
    ("height = 400", "height = -5", "height is a whole number from 1"),
    ("height = 400", "height = 1" + "0" * 400, "env.height has a whole number of more than 64 bits"),
    ("height = 400", "height = " + "9" * 5000, "not valid TOML"),
    ("max_score = 500", "max_score = 9223372036854775807", "max_score is a whole number from 1"),
    ("lost_after = 8", "lost_after = 1" + "0" * 30, "safety.lost_after has a whole number"),
    ("lost_after = 8", "lost_after = 9223372036854775807", "lost_after is a number above 0"),
    ("deadline_ms = 1000", "deadline_ms = -inf", "deadline_ms is a number above 0"),
    ("policy_ms = 1.0", "policy_ms = 1" + "0" * 400, "budget.policy_ms has a whole number"),
    ('name = "cartpole"', 'name = "../../../esc"', "name names folders"),
    ('name = "cartpole"', 'name = "..\\\\esc"', "name names folders"),
    ('name = "cartpole"', 'name = "c:esc"', "name names"),
    ('name = "cartpole"', 'name = "a\\u0000b"', "printable"),
    ('name = "cartpole"', 'name = ".."', "name names folders"),
]
SCENE = [
    ("crop = [160, 0, 320, 600]", "crop = [160, 0, inf, 600]", "crop is a list of 4 numbers"),
    ("crop = [160, 0, 320, 600]", "crop = [nan, 0, 320, 600]", "crop is a list of 4 numbers"),
    ("crop = [160, 0, 320, 600]", "crop = [160, 0, 1e25, 600]", "crop is"),
    ("crop = [160, 0, 320, 600]", "crop = [-9, 0, 320, 600]", "crop is"),
    ("high = 2.5", "high = 1e300", "high is a number"),
    ("high = 0.3", "high = inf", "high is a number"),
    ("low = -2.5", "low = 2.5", "low is below high"),
    *(
        ("[budget]", THING.format(n) + "[budget]", "count is a whole number from 1")
        for n in (10**9, -1, 0, "true", "1.0", "inf")
    ),
    ("[budget]", THING.format(60_000) + "[budget]", "at most 65536 values"),
    ("[budget]", THING.format("1\nsize = [nan, 4]") + "[budget]", "size is a list of 2 numbers"),
    ("[budget]", THING.format("1\nsize = [0, 4]") + "[budget]", "a width and a height above 0"),
    ("[budget]", GRID.format(100_000) + "[budget]", "rows is a wh"),
    ("[budget]", GRID.format(60_000) + "[budget]", "at most 65536"),
    ("[budget]", "[scene.gauges.g]\nbox = [0, 0, inf, 4]\n[budget]", "box is a list of 4"),
    ("[budget]", "[scene.gauges.g]\nbox = [0, 9, 4, 4]\n[budget]", "box is .top, left"),
    *(
        ("readings.cart]", f"readings.{name}]", "(nothing here can be called|a name is a word)")
        for name in (
            "as_dict",
            "vector",
            "_vector",
            "__class__",
            '"b\\u0430ll"',
            '"\\ufb01sh"',
            '"a b"',
            "lambda",
            "x" * 70,
        )
    ),
    *(
        ("fields.x =", f"fields.{name} =", "(nothing here can be called|a name is a word)")
        for name in ("seen", "sure", "__class__", '"\\u03c0"', '"../x"', "None")
    ),
]


@pytest.mark.parametrize("old, new, words", ENV + SCENE, ids=[f"{n}" for n in range(len(ENV + SCENE))])
def test_a_line_of_it_is_named(old: str, new: str, words: str, tmp_path: Path) -> None:
    assert old in TEXT
    (tmp_path / "system.toml").write_text(TEXT.replace(old, new, 1), encoding="utf-8")
    with pytest.raises((EnvError, TriuneError), match=f"system.toml, line [0-9]+: .*{words}") as said:
        load(tmp_path)
    assert "\n" not in str(said.value) and len(str(said.value)) < 1000


@pytest.mark.parametrize(
    "config", [[], "crop", None, {"crop": [0, 0, 8, 8], "things": {"ball": {"size": [10**400, 1]}}}]
)
def test_a_schema_from_another_file_is_bounded_too(config: Any) -> None:
    with pytest.raises(SceneError):
        SceneSchema.from_config(config)


@pytest.mark.parametrize(
    "text", ["1" + "0" * 400, '{"a": [1, -' + "9" * 25 + "]}", "[" * 100_000, "9" * 5000, "{", "18446744073709551616"]
)
def test_json_of_strangers_has_numbers_that_fit(text: str) -> None:
    with pytest.raises(ValueError):
        loads(text)
    with pytest.raises(Unreadable, match=r"^x: damaged"):
        json_of(text.encode(), "x", "settings")


def test_numbers_that_fit_are_as_they_were() -> None:
    value = {"hash": "1" * 64, "n": 2**63, "low": -(2**63), "x": 1.5, "text": "9" * 30}
    assert loads(json.dumps(value)) == value


def test_a_scene_without_numbers_is_a_fault(tmp_path: Path) -> None:
    """The fallback, which is the second action here, counted as a fault; the next frame is decided as ever."""
    for path in (ZOO / "cartpole").glob("*.py"):
        shutil.copyfile(path, tmp_path / path.name)
    text = TEXT.replace('fallback = "LEFT"', 'fallback = "RIGHT"')
    (tmp_path / "system.toml").write_text(text)
    assert parse_spec(text, tmp_path / "system.toml").env.fallback == 1
    system = load(tmp_path, isolate=False)
    schema, sound = system.schema, np.array([1, 0, 1, 1, -0.2, 1], np.float32)
    odd = [sound * np.nan, np.r_[sound[:-1], np.inf], sound[:-1], np.r_[sound, sound], sound[None]]

    class Eyes:
        def __init__(self) -> None:
            self.frames = iter([sound, *odd, sound])

        def reset(self) -> None: ...

        def see(self, frame: np.ndarray) -> np.ndarray:
            return next(self.frames)

    player = Pipeline(schema, Eyes(), system.controller())
    player.reset()
    decisions = [player.act(np.zeros((1, 1, 3), np.uint8))[1] for _ in range(len(odd) + 2)]
    assert [d.fault for d in decisions] == ["", *[BLIND] * len(odd), ""]
    assert all(d.action == 1 and d.reason == "fault" for d in decisions[1:-1]) and decisions[0].action == 0
