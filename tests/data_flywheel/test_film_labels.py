"""What is learned from and what is held out of labelled films: stretches of time, never random pictures."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from camera_kit import FPS, HEIGHT, WIDTH, make_task, picture
from cli_kit import inside

from data_flywheel.errors import DataError
from data_flywheel.labels.boxes import Place
from data_flywheel.labels.film_labels import GAP, Films, _split, enter, gather
from data_flywheel.labels.label import Label
from data_flywheel.labels.store import LabelStore
from triune.system import load

QUIET = lambda done, of: None  # noqa: E731


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Films:
    """Two recorded films of 120 pictures: `a`, and `b`, the first half of which shows the end of `a`."""
    folder = tmp_path_factory.mktemp("films")
    make_task(folder / "belt")
    for name, start in (("a", 0), ("b", 60)):
        writer = cv2.VideoWriter(str(folder / f"{name}.avi"), cv2.VideoWriter.fourcc(*"FFV1"), FPS, (WIDTH, HEIGHT))
        for i in range(start, start + 120):
            writer.write(cv2.cvtColor(picture(i), cv2.COLOR_RGB2BGR))
        writer.release()
        assert inside("record", "belt", "--source", f"{name}.avi", cwd=folder).returncode == 0
    return Films([folder / "runs/recordings/belt"], load(folder / "belt").spec)


def store(films: Films, folder: Path, pictures: dict[str, range]) -> LabelStore:
    """Labels of these pictures: a box on every other one, the rest is background."""
    schema = load(films.folders[0].parents[2] / "belt").schema
    made = LabelStore.create(folder, "belt", schema, (HEIGHT, WIDTH))
    said = {
        Place(name, n): {"box": [[20.0, 20.0, 8.0, 8.0] if n % 2 else None], "hand": [None]}
        for name, numbers in pictures.items() for n in numbers
    }  # fmt: skip
    enter(made, films, said, "anna", None, "")
    return made


def test_the_end_of_a_film_is_held_out_and_a_second_before_it_left_out(films: Films, tmp_path: Path) -> None:
    found = gather(store(films, tmp_path, {"a": range(120)}), films, FPS, QUIET)
    samples = found.samples
    assert len(samples.rows("test")) == 24 and len(samples) == 120 - 29
    assert [(film.endswith("a.avi"), a, b) for film, a, b in found.stretches] == [
        (True, pytest.approx(96 / FPS), pytest.approx(119 / FPS))
    ]
    shown = [next(i for i in range(120) if np.array_equal(picture(i), frame)) for frame in samples.frames]
    learned, held = ([shown[r] for r in samples.rows(s)] for s in ("train", "test"))
    assert held == list(range(96, 120)) and max(shown[r] for r in samples.rows("train")) < 96 - GAP * FPS + 1
    assert learned == list(range(67)) and found.left_out == {"within a second of the held-out part": 29}
    assert (samples.scenes[:, 0] > 0.5).tolist() == [n % 2 == 1 for n in shown], "background is learned from"


def test_the_same_pictures_are_not_on_both_sides(films: Films, tmp_path: Path) -> None:
    found = gather(store(films, tmp_path, {"a": range(0, 120), "b": range(0, 120)}), films, FPS, QUIET)
    sides = {split: {f.tobytes() for f in found.samples.of(split).frames} for split in ("train", "val", "test")}
    assert not sides["test"] & (sides["train"] | sides["val"]) and len(sides["test"]) == 48
    assert found.left_out["the same picture as another"] > 20 and len(found.stretches) == 2


def test_few_pictures_hold_nothing_out_and_none_is_said(films: Films, tmp_path: Path) -> None:
    found = gather(store(films, tmp_path / "few", {"a": range(9)}), films, FPS, QUIET)
    assert (len(found.samples.rows("train")), found.stretches) == (9, [])
    with pytest.raises(DataError, match="triune labels import"):
        gather(store(films, tmp_path / "none", {}), films, FPS, QUIET)
    labels = store(films, tmp_path / "rejected", {"a": range(2)})
    ref = labels.frames()[0]
    labels.add([Label(ref, "person", "anna", {}, 1.0, verdict="reject")])
    assert gather(labels, films, FPS, QUIET).left_out == Counter({"rejected by a person": 1})


def test_a_split_keeps_the_order_of_time() -> None:
    splits, border = _split([0.5 * i for i in range(40)])
    assert border == 16.0 and splits == [0] * 28 + [1] * 3 + [-1] + [2] * 8
    assert _split([0.1 * i for i in range(10)]) == ([0] * 8 + [2] * 2, pytest.approx(0.8)), "all within a second"
    assert _split([1.0] * 9) == ([0] * 9, None)


def test_what_is_begun_and_not_accepted_is_not_learned_from(films: Films, tmp_path: Path) -> None:
    """Every kind was drawn on it, but perhaps not every thing."""
    labels = store(films, tmp_path, {"a": range(0, 60, 2)})
    found = films.find(films.film("a"), 1)
    assert found
    begun = {"box": [[20.0, 20.0, 8.0, 8.0]], "hand": [None]}
    labels.add([Label(films.ref(*found), "person", "anna", begun, 1.0)])
    gathered = gather(labels, films, FPS, QUIET)
    assert gathered.left_out["begun in review and not accepted"] == 1 and len(gathered.samples) <= 30
    labels.add([Label(films.ref(*found), "person", "anna", begun, 1.0, verdict="accept")])
    assert "begun in review and not accepted" not in gather(labels, films, FPS, QUIET).left_out
