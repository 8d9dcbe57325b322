"""`triune labels`: boxes of other tools in and out, by the numbers of pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from camera_kit import FPS, HEIGHT, WIDTH, make_task, picture
from cli_kit import inside

from data_flywheel.labels.store import LabelStore

BOXES = {3: [("Box", (10.5, 8.25, 8, 7.5))], 7: [("box", (60, 40, 8, 12)), ("hand", (0, 0, 20.0, 30.0))], 9: []}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the task `belt`, and a recorded film of twelve pictures."""
    folder = tmp_path_factory.mktemp("labels")
    make_task(folder / "belt")
    film(folder / "day.avi", 0)
    assert inside("record", "belt", "--source", "day.avi", cwd=folder).returncode == 0
    return folder


def film(path: Path, start: int) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"FFV1"), FPS, (WIDTH, HEIGHT))
    for i in range(start, start + 12):
        writer.write(cv2.cvtColor(picture(i), cv2.COLOR_RGB2BGR))
    writer.release()


def coco(path: Path, boxes: dict[int, Any] = BOXES, name: str = "Frame_{:06d}.JPG", **more: Any) -> Path:
    titles = sorted({title for rows in boxes.values() for title, _ in rows})
    path.write_text(json.dumps({
        "images": [{"id": n, "file_name": name.format(n), "width": WIDTH, "height": HEIGHT} | more for n in boxes],
        "categories": [{"id": k, "name": title} for k, title in enumerate(titles)],
        "annotations": [
            {"image_id": n, "category_id": titles.index(title), "bbox": list(box)}
            for n, rows in boxes.items() for title, box in rows
        ],
    }))  # fmt: skip
    return path


def told(done: Any) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def values(folder: Path, numbers: bool = True) -> dict[int, Any]:
    """What the newest label of each picture says, by step."""
    store = LabelStore(folder)
    return {ref.step: store.standing(ref)[-1].values for ref in store.frames()}


def test_coco_goes_in_once_is_seen_as_labels_and_comes_out_the_same(place: Path, tmp_path: Path) -> None:
    words = ("labels", "import", "belt", str(coco(tmp_path / "in.json")), "--labels", str(tmp_path / "l"), "--json")
    first = told(inside(*words, cwd=place))
    assert (first["pictures"], first["background"], first["boxes"]) == (3, 1, {"box": 2, "hand": 1})
    assert told(inside(*words, cwd=place))["same"] == 3
    found = values(tmp_path / "l")
    assert found[3] == {"box": [[14.5, 12.0, 8.0, 7.5]], "hand": [None]}, "centre and size"
    assert found[7]["box"] == [[62.0, 44.0, 4.0, 8.0]], "the part inside the picture"
    assert found[9] == {"box": [None], "hand": [None]}, "background is a label too"
    assert {la.verdict for la in LabelStore(tmp_path / "l")} == {"accept"}
    for form in ("out.json", "yolo"):
        out = ("labels", "export", "belt", str(tmp_path / form), "--labels", str(tmp_path / "l"), "--json")
        assert told(inside(*out, cwd=place))["pictures"] == 3
        back = ("labels", "import", "belt", str(tmp_path / form), "--labels", str(tmp_path / form.strip(".json")))
        assert told(inside(*back, "--json", cwd=place))["pictures"] == 3
        again = values(tmp_path / form.strip(".json"))
        for step, parts in found.items():
            for name, slots in parts.items():
                for a, b in zip(slots, again[step][name], strict=True):
                    assert (a is None) == (b is None) and (a is None or np.allclose(a, b, atol=1e-4))
        assert told(inside(*words[:3], str(tmp_path / form), *words[4:], cwd=place))["same"] == 3
    assert (tmp_path / "yolo/frame_000009.txt").read_text() == ""


def test_yolo_as_several_tools_write_it(place: Path, tmp_path: Path) -> None:
    for number, (name, text) in enumerate([
        ("data.yaml", "path: .\nnames:\n  0: hand\n  1: 'Box'\nnc: 2\n"),
        ("data.yaml", "names: ['hand', \"box\"] # all\n"),
        ("obj.names", "hand\nbox\n"), ("classes.txt", "hand\r\nbox\r\n"),
        ("a.yml", "nc: 2\nnames:\n- hand\n- box\nx: 1\n"),
    ]):  # fmt: skip
        folder = tmp_path / str(number)
        (folder / "obj_train_data").mkdir(parents=True)
        (folder / name).write_text(text)
        (folder / "train.txt").write_text("data/obj_train_data/frame_000004.png\n")
        (folder / "obj_train_data/2f3a-FRAME_000004.txt").write_text("1 0.5 0.5 0.25 0.5 0.9\n")
        words = ("labels", "import", "belt", str(folder), "--labels", str(folder / "l"), "--json")
        assert told(inside(*words, cwd=place))["pictures"] == 1
        assert values(folder / "l") == {4: {"box": [[32.0, 24.0, 16.0, 24.0]], "hand": [None]}}, text


def test_turned_boxes_and_pictures_that_are_not_labelled_yet(place: Path, tmp_path: Path) -> None:
    path = coco(tmp_path / "in.json", {3: [("box", (20, 20, 8, 4))], 5: []})
    record = json.loads(path.read_text())
    record["annotations"][0]["attributes"] = {"rotation": 90.0}
    path.write_text(json.dumps(record))
    words = ("labels", "import", "belt", str(path), "--labels", str(tmp_path / "l"), "--skip-empty", "--json")
    done = inside(*words, cwd=place)
    assert told(done)["pictures"] == 1 and "1 turned" in done.stderr
    assert values(tmp_path / "l")[3]["box"][0] == pytest.approx([24, 22, 4, 8])


@pytest.mark.parametrize(
    ("boxes", "more", "words", "said"),
    [
        ({3: [("bx", (1, 1, 9, 9))]}, {}, (), "--class 'bx=box'"),
        ({3: [("bx", (1, 1, 9, 9))]}, {}, ("--class", "bx=bax"), "'box'"),
        ({300: [("box", (1, 1, 9, 9))]}, {}, (), "none of its 1 pictures is recorded"),
        ({3: []}, {"width": 640}, (), "640x48"),
        ({3: []}, {"file_name": "cover.png"}, (), "has no number"),
        ({3: []}, {}, ("--source", "night"), "day.avi"),
        ({3: []}, {}, ("--recording", "nowhere"), "nowhere"),
    ],
)
def test_what_is_refused_is_named_and_nothing_is_labelled(
    place: Path, tmp_path: Path, boxes: dict[int, Any], more: dict[str, Any], words: tuple[str, ...], said: str
) -> None:
    path = coco(tmp_path / "in.json", boxes, **more)
    done = inside("labels", "import", "belt", str(path), "--labels", str(tmp_path / "l"), *words, cwd=place)
    assert done.returncode in (1, 2) and said in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert not (tmp_path / "l").exists() or not LabelStore(tmp_path / "l").frames()


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"frame_000001.txt": "0 .5 .5 .1 .1\n"}, "classes.txt"),
        ({"classes.txt": "box\n"}, "frame_000123.txt"),
        ({"classes.txt": "box\n", "frame_000001.txt": "\n0 .5 .5 .1 .1\n0 .5 .5 .1\n"}, "line 3"),
        ({"classes.txt": "box\n", "frame_000001.txt": "0 nan .5 .1 .1\n"}, "line 1"),
        ({"classes.txt": "box\n", "frame_000001.txt": "0 .1 .1 .2 .1 .2 .2 .1 .2\n"}, "export boxes"),
    ],
)
def test_a_folder_that_is_no_yolo_is_refused(place: Path, tmp_path: Path, files: dict[str, str], said: str) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    done = inside("labels", "import", "belt", str(tmp_path), "--labels", str(tmp_path / "l"), cwd=place)
    assert done.returncode == 1 and said in done.stderr and "Traceback" not in done.stderr, done.stderr


def test_of_several_films_the_one_that_is_named(place: Path, tmp_path: Path) -> None:
    film(tmp_path / "night.avi", 40)
    rec = str(tmp_path / "both")
    for source in (place / "day.avi", tmp_path / "night.avi"):
        assert inside("record", "belt", "--source", str(source), "--out", rec, cwd=place).returncode == 0
    path, labels = coco(tmp_path / "in.json", {3: [("box", (1, 1, 9, 9))]}), str(tmp_path / "l")
    words = ("labels", "import", "belt", str(path), "--recording", rec, "--labels", labels)
    unclear = inside(*words, cwd=place)
    assert unclear.returncode == 1 and "--source" in unclear.stderr and "night.avi" in unclear.stderr
    assert told(inside(*words, "--source", "night", "--json", cwd=place))["pictures"] == 1
    other = coco(tmp_path / "other.json", {3: [("box", (2, 2, 9, 9))]}, "day/frame_{:06d}.png")
    assert told(inside(*words[:3], str(other), *words[4:], "--json", cwd=place))["pictures"] == 1
    out = ("labels", "export", "belt", str(tmp_path / "out.json"), "--recording", rec, "--labels", labels)
    assert inside(*out, cwd=place).returncode == 0
    images = json.loads((tmp_path / "out.json").read_text())["images"]
    assert sorted(image["file_name"] for image in images) == ["day/frame_000003.png", "night/frame_000003.png"]
    same = told(inside(*words[:3], str(tmp_path / "out.json"), *words[4:], "--json", cwd=place))
    assert (same["pictures"], same["same"]) == (0, 2)
