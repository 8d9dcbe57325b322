"""Boxes between two labelled pictures: whose is whose is read off the picture, and what is not seen is not proposed."""

from __future__ import annotations

import numpy as np
import pytest
from conveyor_kit import Conveyor, Thing

from data_flywheel.labels.between import between

KINDS = ("box", "disc", "hand")


def scene(*places: tuple[int, int, int]) -> np.ndarray:
    """A picture with squares of 10 px of some grey around these points."""
    picture = np.random.default_rng(1).normal(70, 3, (60, 100, 3)).astype(np.uint8)
    for x, y, grey in places:
        picture[y - 5 : y + 5, x - 5 : x + 5] = grey
    return picture


def box(x: float, y: float) -> list[float]:
    return [x, y, 10.0, 10.0]


def test_whose_is_whose_is_read_off_the_picture() -> None:
    """Both go to the right by 30, so that each lands nearer to where the other one was."""
    pictures = (
        scene((20, 20, 200), (50, 20, 160)),
        scene((30, 20, 200), (60, 20, 160)),
        scene((50, 20, 200), (80, 20, 160)),
    )
    found = between(
        {"box": [box(20, 20), box(50, 20), None]}, {"box": [box(80, 20), box(50, 20), None]}, pictures, 1 / 3
    )
    assert found == {"box": [box(30, 20), box(60, 20), None]}


@pytest.mark.parametrize(
    ("here", "after", "words"),
    [
        (scene(), box(50, 20), "it is covered on the way"),
        (scene((50, 40, 200)), box(50, 20), "it went another way"),
        (scene((35, 20, 200)), [50.0, 20.0, 17.0, 10.0], "it has another size"),
        (scene((35, 20, 200)), None, "it left"),
    ],
)
def test_what_is_not_seen_is_not_proposed(here: np.ndarray, after: list[float] | None, words: str) -> None:
    pictures = scene((20, 20, 200)), here, scene((50, 20, 200))
    assert between({"box": [box(20, 20)]}, {"box": [after]}, pictures, 0.5) == {"box": [None]}, words
    assert between({"box": [box(20, 20)]}, {}, pictures, 0.5) == {}


def test_what_is_there_is_proposed_once() -> None:
    """Two labels of one thing on both pictures, as when it was drawn twice."""
    pictures = scene((20, 20, 200)), scene((35, 20, 200)), scene((50, 20, 200))
    found = between({"box": [box(20, 20), box(21, 20)]}, {"box": [box(50, 20), box(51, 20)]}, pictures, 0.5)
    assert sum(b is not None for b in found["box"]) == 1


def test_boxes_may_touch_the_edge_and_stand_still() -> None:
    pictures = scene((5, 5, 200)), scene((5, 5, 200)), scene((5, 5, 200))
    assert between({"box": [box(5, 5)]}, {"box": [box(5, 5)]}, pictures, 0.5) == {"box": [box(5, 5)]}


def test_on_the_conveyor_most_is_found_and_little_is_wrong() -> None:
    """Keyframes a second apart, in which a thing goes 2.5 times its size; the picture in the middle is proposed."""
    frames = list(Conveyor(4, hands=60).frames(330))
    right = wrong = missed = 0
    for start in range(0, 300, 30):
        (a, first), (b, middle), (c, last) = (frames[start + k] for k in (0, 12, 30))
        found = between(slots(first), slots(last), (a, b, c), 12 / 30)
        wanted = slots(middle)
        for name in ("box", "disc"):
            proposed = [p for p in found[name] if p]
            hits = sum(any(overlap(p, w) >= 0.5 for w in wanted[name] if w) for p in proposed)
            both = len(ids(first, name) & ids(middle, name) & ids(last, name))
            right, wrong, missed = right + hits, wrong + len(proposed) - hits, missed + max(0, both - hits)
    assert right >= 20 and wrong <= 0.1 * right and missed <= 0.2 * right, (right, wrong, missed)


def slots(things: list[Thing]) -> dict[str, list[list[float] | None]]:
    """Labels as a person draws them."""
    return {
        name: [[t.x + t.w / 2, t.y + t.h / 2, t.w, t.h] for t in things if t.name == name] or [None] for name in KINDS
    }


def ids(things: list[Thing], name: str) -> set[int]:
    return {t.id for t in things if t.name == name}


def overlap(one: list[float], other: list[float]) -> float:
    """Intersection over union."""
    sides = [
        max(0.0, min(one[i] + one[i + 2] / 2, other[i] + other[i + 2] / 2)
            - max(one[i] - one[i + 2] / 2, other[i] - other[i + 2] / 2))
        for i in (0, 1)
    ]  # fmt: skip
    shared = sides[0] * sides[1]
    return shared / (one[2] * one[3] + other[2] * other[3] - shared)
