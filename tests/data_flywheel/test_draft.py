"""What moves in pictures, drafted as things."""

from __future__ import annotations

import numpy as np

from data_flywheel.labelers.draft import draft


def pictures(count: int = 60) -> list[np.ndarray]:
    """A two-coloured car that crosses a striped road, two balls, and a lamp that blinks where it is."""
    frames = []
    for i in range(count):
        frame = np.zeros((60, 80, 3), np.uint8)
        frame[20:24] = (90, 90, 90)
        frame[30:38, i : i + 10] = (200, 0, 0)
        frame[32:34, i + 2 : i + 8] = (0, 0, 200)
        for x in (10, 50):
            frame[(i * 7) % 18 : (i * 7) % 18 + 2, x : x + 2] = (250, 250, 0)
        frame[50:54, 40:44] = (0, 255, 0) if i % 3 else (0, 0, 0)
        frames.append(frame)
    return frames


def test_what_moves_is_found_with_its_colours_its_number_and_its_size() -> None:
    balls, car = draft(pictures())
    assert balls.colours == [0xFAFA00] and balls.count == 2
    assert np.median(balls.sizes, 0).tolist() == [2, 2]
    assert sorted(car.colours) == [0x0000C8, 0xC80000] and car.count == 1
    assert np.median(car.sizes, 0).tolist() == [10, 8]
    assert car.region == (30, 0, 38, 69)


def test_of_a_picture_that_never_changes_nothing_is_drafted() -> None:
    assert draft([pictures(1)[0]] * 30) == []
