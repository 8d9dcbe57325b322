"""Labels from a catalogue: where formula, frame and mask put a thing; a colour teacher can prove them wrong."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cli_kit import inside

from data_flywheel.errors import DataError
from data_flywheel.labelers.causal.agreement import _figures, _pairs, agree
from data_flywheel.labelers.causal.colours import ColourTeacher, colour_teachers, teachers_of
from data_flywheel.labelers.causal.discover import default_path, discover, fit_points
from data_flywheel.labelers.causal.masks import (
    CATALOGUES,
    Box,
    Catalogue,
    CausalLabel,
    Formula,
    FoundThing,
    decode,
    iou,
    label,
    placeable,
    same,
)
from envs.backends.atari import find_system, game_spec
from envs.errors import EnvError
from envs.spec import load_spec

KEPT = sorted(CATALOGUES.glob("*.json"))
BALL = FoundThing(
    "ball", Formula(1, 1, 1.0, -10.0, 1.0, 1.0, 9, 2, lag=2), None, ((2, 4, 9), (3, 4, 1)), 1.0, {}, (7,), {"y": 20}
)


def test_any_rom_is_a_system() -> None:
    spec = game_spec("ALE/Freeway-v5")
    assert (spec.name, spec.env.actions.names, spec.env.fallback) == ("freeway", ("NOOP", "UP", "DOWN"), 0)
    assert (spec.env.height, spec.env.width) == (210, 160) and find_system(spec.folder) == spec
    assert find_system("pong") == load_spec("pong")
    assert default_path(spec) == CATALOGUES / "freeway.json"
    assert default_path(load_spec("pong")) == load_spec("pong").folder / "catalogue.json"
    with pytest.raises(EnvError, match="did you mean 'ALE/Freeway-v5'"):
        find_system("ALE/Freewai-v5")


def test_the_registers_of_the_console_are_decoded_and_found() -> None:
    assert [decode(v, "nibbles") for v in (0x05, 0x15, 0xF5, 0x85)] == [75, 74, 76, 83]
    assert decode(0x85, "byte") == 0x85
    values = [0x13, 0x24, 0xE5, 0x96, 0x07, 0x7A, 0xC2, 0x31]
    points = [(v, {"left": decode(v, "nibbles") - 4, "top": 9, "width": 8, "height": 8}) for v in values]
    formula = fit_points(points, "x", 3, 3, 1)
    assert formula and (formula.code, formula.offset, formula.exact) == ("nibbles", -4.0, 1.0)
    assert [formula.edge(v) for v in values] == [box["left"] for _, box in points]


def frame_with(rows: slice, columns: slice) -> np.ndarray:
    frame = np.zeros((60, 80), np.uint8)
    frame[rows, columns] = 7
    return frame


def rams(*values: int) -> list[np.ndarray]:
    return [np.array([0, value], np.uint8) for value in values]


def test_a_label_is_the_visible_part_where_the_formula_says() -> None:
    seen = rams(40, 99, 99)  # the byte read is two frames older than the picture
    assert label(BALL, seen, frame_with(slice(20, 24), slice(30, 32))) == Box(30, 20, 2, 4)
    assert label(BALL, seen, frame_with(slice(20, 22), slice(30, 32))) == Box(30, 20, 2, 2)  # half hidden
    assert label(BALL, seen, frame_with(slice(20, 24), slice(40, 42))) is None  # its colour, but elsewhere
    assert label(BALL, seen, frame_with(slice(20, 21), slice(30, 31))) is None  # too little of it
    assert label(BALL, rams(5, 5, 5), frame_with(slice(20, 24), slice(0, 80))) is None  # left of the screen


def test_what_cannot_be_placed_is_not_labelled() -> None:
    assert placeable(BALL)
    assert not placeable(replace(BALL, fixed={})) and not placeable(replace(BALL, colours=()))


def test_label_and_mask_must_agree() -> None:
    here, near, far = Box(10, 10, 4, 4), Box(11, 10, 4, 4), Box(13, 10, 4, 4)
    assert iou(here, near) == pytest.approx(12 / 20) and same(here, near) and not same(here, far)
    assert CausalLabel(here, here, near).trusted and CausalLabel(None, None, None).trusted
    assert not CausalLabel(here, here, None).trusted and not CausalLabel(None, None, here).trusted


def test_a_colour_teacher_takes_the_largest_patch_and_says_when_it_is_not_sure() -> None:
    rgb = np.zeros((60, 80, 3), np.uint8)
    rgb[10:14, 20:24] = rgb[10:14, 25:27] = rgb[40, 40:43] = (9, 8, 7)
    teacher = ColourTeacher(((9, 8, 7),), (0, 0, 80, 60), least=4)
    assert teacher.look(rgb) == (Box(20, 10, 7, 4), True)  # a gap of one pixel does not part it
    assert replace(teacher, gap=0).look(rgb) == (Box(20, 10, 4, 4), True)
    assert replace(teacher, least=30).look(rgb) == (None, True)
    assert replace(teacher, most=20).look(rgb)[1] is False
    cut = replace(teacher, region=(22, 0, 80, 60))
    assert cut.look(rgb)[1] is True and replace(cut, open=True).look(rgb)[1] is False
    assert cut.inside(Box(30, 0, 4, 4)) and not cut.inside(Box(10, 0, 4, 4))


def test_figures_count_a_box_elsewhere_twice() -> None:
    figures = _figures(Counter({"tp": 8, "fp": 2, "fn": 1, "tn": 5, "all_tp": 8, "all_fn": 8}))
    assert (figures["precision"], figures["recall"], figures["f1"]) == (0.8, 0.8889, 0.8421)
    assert (figures["n"], figures["f1_all"], figures["f1_formula"]) == (15, 0.6667, 0.0)
    assert _pairs({"a|thing1": 3, "a|thing2": 5, "b|thing1": 0}, ["a", "b"]) == {"a": "thing2"}


def test_kept_catalogues_are_many_small_and_readable() -> None:
    found = [Catalogue.load(path) for path in KEPT]
    assert len(found) >= 24 and all(path.stat().st_size <= 30_000 for path in KEPT)
    assert all(f"{c.task}.json" == path.name and c.things for c, path in zip(found, KEPT, strict=True))
    kept = {catalogue.env for catalogue in found}
    assert set(colour_teachers()) <= kept and len(colour_teachers()) >= 8


def test_colour_teachers_name_the_nearest_game(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="did you mean 'ALE/Skiing-v5'"):
        teachers_of("ALE/Skying-v5")
    (tmp_path / "c.toml").write_text('["ALE/A-v5"]\nx = { region = [0, 0, 1, 1], least = 1 }\n')
    with pytest.raises(DataError, match=r"c\.toml: no colour teachers.*KeyError: 'colours'"):
        colour_teachers(tmp_path / "c.toml")


def test_labels_of_a_small_game_agree_and_wrong_ones_do_not(tmp_path: Path) -> None:
    skiing = Catalogue.load(CATALOGUES / "skiing.json")
    found = agree(skiing, frames=20, sheets=tmp_path)
    assert found.frames == 20 and found.deaths == 0 and found.f1 >= 0.95
    assert found.things["skier"]["n"] >= 10 and found.things["skier"]["dropped"] <= 6
    name = found.things["skier"]["as"]
    wrong = [replace(t, x=replace(t.x, offset=t.x.offset + 4)) if t.name == name and t.x else t for t in skiing.things]
    off = agree(replace(skiing, things=tuple(wrong)), frames=20, sheets=tmp_path)
    assert off.f1_all < 0.5 and off.things["skier"]["dropped"] + off.things["skier"]["fn"] > 10


def test_the_command_says_what_it_needs() -> None:
    for words, text in (
        ([], "discover needs one of"),
        (["pong", "--agree"], "discover needs one of"),
        (["--agree", "ALE/Skying-v5"], "did you mean 'ALE/Skiing-v5'"),
        (["--game", "ALE/Skying-v5"], "did you mean 'ALE/Skiing-v5'"),
    ):
        done = inside("discover", *words)
        assert done.returncode == 2 and text in done.stderr, words


@pytest.mark.slow
def test_eight_games_agree_with_their_colour_teachers(tmp_path: Path) -> None:
    done = inside("discover", "--agree", "--frames", "60", "--sheets", str(tmp_path), "--json")
    told = json.loads(done.stdout)
    assert told["passed"] >= 8 and len(told["games"]) == len(colour_teachers())


@pytest.mark.slow
def test_discovery_is_repeatable(tmp_path: Path) -> None:
    found, kept = discover("ALE/Skiing-v5", tmp_path / "c.json"), Catalogue.load(CATALOGUES / "skiing.json")
    assert replace(found, seconds=kept.seconds) == kept
