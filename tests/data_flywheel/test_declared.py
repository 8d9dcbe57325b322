"""Labels that system.toml declares: what a picture shows by its colours, and what is wrong with a declaration."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from data_flywheel.datasets import collection_worker
from data_flywheel.datasets.collection import Plan, available
from data_flywheel.datasets.collection_worker import make_shard
from data_flywheel.errors import DataError
from data_flywheel.labelers.declared import Blobs, Declared
from data_flywheel.labelers.teacher import load_teacher
from envs.spec import ZOO, load_spec

TASK = """
format = 1
name = "made"
[env]
id = "ALE/Pong-v5"
height = 40
width = 50
actions = ["NOOP", "FIRE"]
fallback = "NOOP"
[scene]
crop = [2, 0, 40, 50]
[scene.things.ship]
[scene.things.bug]
count = 2
[scene.grids.wall]
rows = 2
cols = 3
top = 4
left = 10
cell = [4, 2]
[scene.gauges.air]
box = [36, 10, 38, 30]
high = 10
[labels.things.ship]
colours = ["FF0000"]
smallest = [2, 2]
gap = 1
[labels.things.bug]
but = ["000000", "FF0000", "00FF00", "0000FF"]
region = [10, 0, 34, 50]
largest = [4, 4]
bands = [20]
[labels.grids.wall]
empty = ["000000"]
[labels.gauges.air]
colours = ["0000FF"]
"""


def made(folder: Path, text: str = TASK) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "system.toml").write_text(text)
    return folder


def paint(frame: np.ndarray, box: tuple[int, int, int, int], colour: tuple[int, int, int]) -> None:
    top, left, bottom, right = box
    frame[top:bottom, left:right] = colour


def test_every_part_of_a_scene_is_read_off_its_colours(tmp_path: Path) -> None:
    labels = Declared(load_spec(made(tmp_path / "made")))
    frame, schema = np.zeros((40, 50, 3), np.uint8), labels.schema
    paint(frame, (12, 20, 16, 23), (255, 0, 0))
    paint(frame, (12, 24, 16, 26), (255, 0, 0))  # a dashed ship: one px between its halves
    paint(frame, (30, 40, 31, 41), (255, 0, 0))  # a shot of its colour is no ship
    paint(frame, (18, 5, 22, 8), (9, 9, 9))  # a bug on each side of row 20
    paint(frame, (24, 30, 34, 44), (7, 7, 7))  # too large for a bug
    paint(frame, (4, 14, 6, 18), (200, 200, 0))
    paint(frame, (36, 10, 38, 25), (0, 0, 255))
    vector = labels.vector(frame)
    assert vector[schema.slot("ship")].tolist() == [1, 23, 14, 6, 4, 0, 0, 1]
    assert vector[schema.slot("bug", 0)].tolist() == [1, 6.5, 19, 3, 2, 0, 0, 1]
    assert vector[schema.slot("bug", 1)].tolist() == [1, 6.5, 21, 3, 2, 0, 0, 1]
    assert vector[schema.grid("wall")].tolist() == [0, 1, 0, 0, 0, 0]
    assert vector[schema.gauge("air")] == 7.5
    assert labels.surplus(frame) == 0
    paint(frame, (26, 20, 28, 22), (9, 9, 9))
    assert labels.surplus(frame) == 1
    assert not labels.vector(np.zeros_like(frame)).any()


def test_a_gap_joins_what_is_so_far_apart_and_no_farther() -> None:
    rng = np.random.default_rng(0)
    for gap in range(4):
        there = rng.random((20, 24)) < 0.05
        blobs = Blobs("a", 99, (1,), False, (0, 0, 20, 24), (1, 1), (99, 99), gap, ())
        assert sorted(blobs.boxes(there.astype(np.uint32))) == joined(there, gap)


def joined(there: np.ndarray, gap: int) -> list[tuple[int, int, int, int]]:
    """Pixel by pixel: the boxes of what hangs together."""
    groups: list[list[tuple[int, int]]] = []
    for y, x in zip(*(a.tolist() for a in np.nonzero(there)), strict=True):
        near = [g for g in groups if any(max(abs(y - b), abs(x - a)) <= gap + 1 for a, b in g)]
        groups = [g for g in groups if g not in near] + [[(x, y), *(p for g in near for p in g)]]
    boxes = [(min(x for x, _ in g), min(y for _, y in g), max(x for x, _ in g), max(y for _, y in g)) for g in groups]
    return sorted((left, top, right + 1, bottom + 1) for left, top, right, bottom in boxes)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('colours = ["FF0000"]', 'colours = ["red"]', "six hexadecimal digits"),
        ('colours = ["FF0000"]', 'colour = ["FF0000"]', "did you mean 'colours'"),
        ('colours = ["FF0000"]', "", "either colours, or but"),
        ("[labels.things.ship]", "[labels.things.shop]", "did you mean 'ship'"),
        ('[labels.gauges.air]\ncolours = ["0000FF"]', "", "nothing says how 'air' shows"),
        ("region = [10, 0, 34, 50]", "region = [10, 0, 99, 50]", "inside 40 rows and 50 columns"),
        ("region = [10, 0, 34, 50]", "region = [0, 0, 2, 50]", "outside \\[scene\\] crop"),
        ("largest = [4, 4]", "largest = [4]", "2 whole numbers"),
        ("largest = [4, 4]", "largest = [4, 4]\nsmallest = [5, 1]", "smaller than smallest"),
        ("gap = 1", "gap = -1", "from 0 to 32"),
        ('empty = ["000000"]', 'empty = "000000"', "1 to 64 colours"),
        ("[scene.gauges.air]", "[scene.readings.angle.fields.a]\nlow = 0\nhigh = 1\n[scene.gauges.air]", "teacher.py"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_line(old: str, new: str, said: str, tmp_path: Path) -> None:
    text = TASK.replace(old, new, 1)
    assert text != TASK
    with pytest.raises((DataError, ValueError), match=said):
        Declared(load_spec(made(tmp_path / "made", text)))


def test_a_task_has_one_labeller(tmp_path: Path) -> None:
    folder = made(tmp_path / "made")
    (folder / "teacher.py").write_text("def label(truth, frame, schema): return schema.empty()\n")
    with pytest.raises(DataError, match="remove the other"):
        load_teacher(folder)


def test_a_whole_game_is_collected_from_its_start_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collection_worker, "MOST_STEPS", 250)
    folder = tmp_path / "freeway"
    shutil.copytree(ZOO / "freeway", folder, ignore=shutil.ignore_patterns("*.onnx", "*.safetensors"))
    spec, teacher = load_spec(folder), load_teacher(folder)
    assert available(spec, teacher) == ("random", "policy")
    plan = Plan(80, available(spec, teacher), ("sticky",), 40)
    job = plan.job(0)
    assert (job.player, job.whole) == ("policy", True) and not plan.job(1).whole
    shard, again = (make_shard(spec, teacher, job) for _ in range(2))
    assert len(shard) == 40 and np.array_equal(shard.frames.rgb(), again.frames.rgb())
    cars = [shard.scenes[:, teacher.schema.slot("car", i).start].sum() for i in range(10)]
    assert min(cars) > 20  # all ten lanes
    score = [row for row in range(len(shard)) if shard.scenes[row, teacher.schema.slot("chicken")][2] < 40]
    assert score  # some frames of arriving, which are few of a game
    assert shard.meta["situations"]["9 x car"] > 1


def test_a_crop_beyond_the_picture_is_told(tmp_path: Path) -> None:
    text = TASK.replace("crop = [2, 0, 40, 50]", "crop = [2, 0, 99, 50]")
    with pytest.raises(DataError, match=r"inside 40 rows and 50 columns, got \[2, 0, 99, 50\]"):
        Declared(load_spec(made(tmp_path / "made", text)))
