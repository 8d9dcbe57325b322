"""Pictures: the same bytes everywhere, what was detected where it was detected, what was done in words."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from evidence_kit import ACTIONS, SCHEMA, Script, frames, miss, vector
from hypothesis import given, settings
from hypothesis import strategies as st

from perception.scene import SceneSchema
from supervisor.errors import SupervisorError
from supervisor.evidence import pictures as drawing
from supervisor.evidence import pictures as letters
from supervisor.evidence import pictures as png
from supervisor.evidence import pictures as sheets

RED, GREEN, CARD = sheets.BAD, sheets.GOOD, sheets.CARD


def decoded(data: bytes) -> np.ndarray:
    """RGB as another program reads it."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return image[:, :, ::-1]


# --- PNG ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("colours", [1, 5, 256, 4000])
def test_other_programs_read_the_same_pixels(colours: int) -> None:
    rng = np.random.default_rng(colours)
    palette = rng.integers(0, 256, (colours, 3)).astype(np.uint8)
    image = np.repeat(np.repeat(palette[rng.integers(0, colours, (31, 47))], 2, 0), 2, 1)
    data = png.encode(image)
    assert (decoded(data) == image).all()
    assert png.size(data) == (94, 62)


def test_size_of_what_is_no_png() -> None:
    whole = png.encode(np.zeros((3, 5, 3), np.uint8))
    assert png.size(b"GIF89a") == (0, 0) == png.size(whole[:8]) and png.size(whole) == (5, 3)


# --- letters -----------------------------------------------------------------------------------------------------


def test_every_character_has_a_shape_of_its_own() -> None:
    shapes = set()
    for code in range(33, 127):
        image = np.zeros((24, 24, 3), np.uint8)
        letters.write(image, chr(code), 2, 2, (255, 255, 255))
        assert image.any(), chr(code)
        shapes.add(image.tobytes())
    assert len(shapes) == 94


def test_unknown_characters_become_question_marks_and_edges_cut() -> None:
    first, second = np.zeros((2, 20, 20, 3), np.uint8)
    letters.write(first, "é", 2, 2, (9, 9, 9))
    letters.write(second, "?", 2, 2, (9, 9, 9))
    assert (first == second).all() and first.any()
    for x, y in ((-5, 3), (15, -7), (300, 2), (2, 300), (-300, -300)):
        letters.write(first, "Wide words", x, y, (1, 2, 3))


@given(st.text(st.characters(codec="ascii"), max_size=80), st.integers(0, 300), st.integers(1, 3))
@settings(max_examples=100, deadline=None)
def test_wrapped_lines_fit_their_room(words: str, room: int, most: int) -> None:
    lines = letters.wrapped(words, room, most)
    assert len(lines) <= most
    assert all(letters.text_width(line) <= room or line == "..." for line in lines)


# --- one frame ---------------------------------------------------------------------------------------------------


def canvas(scene: np.ndarray, schema: SceneSchema = SCHEMA) -> tuple[drawing.Canvas, np.ndarray]:
    made = drawing.Canvas(np.full((120, 100, 3), 60, np.uint8), schema)
    return made, made.draw(scene)


def test_boxes_stand_around_their_things() -> None:
    made, image = canvas(vector((70.0, 50.0)))
    assert made.zoom == 3 and image.shape == (3 * 116, 3 * 96, 3)  # the crop and a rim of 8 px, enlarged
    for x, y, colour in ((70, 50, drawing.THINGS[0]), (50, 100, drawing.THINGS[1])):
        across, down = made.point(x, y)
        near = image[down - 12 : down + 12, across - 30 : across + 30]
        assert (near == colour).all(axis=2).any()
    across, down = made.point(70, 50)
    assert image[down - 9, across].tolist() == list(drawing.THINGS[0])  # the upper edge of a 2 x 4 box
    assert image[down, across].tolist() == [60, 60, 60]  # nothing hides the thing itself


def test_cells_of_grids_are_dotted_where_present() -> None:
    scene = vector(None)
    scene[SCHEMA.grid("bricks")] = (1, 0, 0, 0, 0, 0)
    made, image = canvas(scene)
    x, y = made.point(30 + 4, 20 + 3)
    assert image[y, x].tolist() == [255, 255, 255]
    x, y = made.point(30 + 12, 20 + 3)
    assert image[y, x].tolist() == [60, 60, 60]


def coloured(image: np.ndarray, colour: tuple[int, int, int]) -> int:
    return int((image == colour).all(axis=2).sum())


def test_what_is_only_carried_on_is_broken_and_what_is_gone_is_not_drawn() -> None:
    scene = vector((70.0, 50.0))
    _, seen = canvas(scene)
    at = SCHEMA.slot("ball").start
    scene[at] = 0
    _, carried = canvas(scene)
    scene[at + 7] = 0
    _, gone = canvas(scene)
    box = [drawing.THINGS[0]]
    assert coloured(gone, box[0]) == 0 < coloured(carried, box[0])
    assert not (seen == carried).all()


def test_arrows_point_where_things_go() -> None:
    made, image = canvas(vector((40.0, 50.0, 12.0, 0.0)))
    x, y = made.point(64, 50)
    assert image[y, x].tolist() == list(drawing.THINGS[0])


def test_large_frames_are_shrunk_and_all_sizes_fit() -> None:
    assert drawing.fitting(152, 168) == (2, 1) and drawing.fitting(64, 64) == (5, 1)
    assert drawing.fitting(640, 480) == (1, 2) and drawing.fitting(100, 1700) == (1, 5)
    schema = SceneSchema.from_config({"crop": [0, 0, 480, 640], "things": {"ball": {}}})
    frame = np.zeros((480, 640, 3), np.uint8)
    frame[::2] = 100
    image = drawing.Canvas(frame, schema).draw(schema.empty())
    assert image.shape == (240, 320, 3) and (image == 50).all()


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf, 3e38])
def test_scenes_that_are_no_numbers_are_drawn(poison: float) -> None:
    assert canvas(np.full(SCHEMA.size, poison, np.float32))[1].shape == (348, 288, 3)


# --- sheets ------------------------------------------------------------------------------------------------------


def made(script: Script, steps: list[int], title: str = "F1") -> np.ndarray:
    episode = script.end()
    return decoded(sheets.sheet(title, episode, steps, frames(episode, steps), SCHEMA, ACTIONS))


def changed(one: Script, other: Script) -> bool:
    """Whether the sheets of one step differ."""
    return not np.array_equal(made(one, [0]), made(other, [0]))


def test_a_sheet_is_about_a_thousand_pixels_wide_and_marks_loss_and_gain() -> None:
    image = made(miss(Script().step(won=3), 80.0), [0, 4, 8, 12, 16])
    assert 850 <= image.shape[1] <= 1010
    assert (image[sheets.LINE + sheets.GAP + 2, sheets.GAP + 2] == GREEN).all()  # the first cell's border
    last = image[image.shape[0] // 2 + 15 :]
    assert coloured(last, RED) > 800  # the border of the loss and its badge
    assert coloured(made(Script().step(4), [0, 1, 2, 3]), RED) == 0


@pytest.mark.parametrize(
    "other",
    [
        lambda s: s.step(reason="else"), lambda s: s.step(action=2), lambda s: s.step(proposed=3),
        lambda s: s.step(rule="never"), lambda s: s.step(fault="ValueError"), lambda s: s.step(won=1),
        lambda s: s.step(ball=(41.0, 60.0)), lambda s: s.step(ball=None),
    ],
)  # fmt: skip
def test_everything_that_matters_is_to_be_seen(other: Callable[[Script], Script]) -> None:
    assert changed(Script().step(), other(Script()))
    assert not changed(Script().step(), Script().step())


def test_the_title_and_the_steps_are_written() -> None:
    assert not np.array_equal(made(Script().step(2), [0]), made(Script().step(2), [0], "F2"))
    assert not np.array_equal(made(Script().step(2), [0]), made(Script().step(2), [1]))


def test_wrong_frames_are_refused() -> None:
    episode = Script().step(3).end()
    with pytest.raises(SupervisorError, match="2 frames were asked for and 1 came"):
        sheets.sheet("F1", episode, [0, 1], frames(episode, [0]), SCHEMA, ACTIONS)
    with pytest.raises(SupervisorError, match=r"uint8\[H, W, 3\], not float64\[2, 2\]"):
        sheets.sheet("F1", episode, [0], [np.zeros((2, 2))], SCHEMA, ACTIONS)
