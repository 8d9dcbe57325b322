"""Pong's training labels: exact visible boxes from emulator memory, each checked against the picture.

Training only; never shipped, never run in play. Knows the 128 memory bytes and the true colours of the game.

What the game draws: ball left = R49 - 49 and top = R54 - 14 (one row earlier on the right side, sometimes five rows or
a pixel short, because the game runs out of time to draw it); player left 140, top = R51 - 13; enemy left 16,
top = R50 - 15. All are cut off by the score line (row 34) and the lower wall (row 194). The colours within the
field are the things' own, so the visible pixels near the place in memory are the label. The first two frames after
a reset have a palette of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

U8 = NDArray[np.uint8]
Truth = Mapping[str, NDArray[Any]]  # {"ram": uint8[128]}
Box = tuple[int, int, int, int]

TOP, BOTTOM, WIDTH = 34, 194, 160
# In play, and in the palette of the first two frames after a reset.
BALL, PLAYER = ((236, 236, 236), (53, 95, 24)), ((92, 186, 92), (101, 111, 228))
ENEMY, FIELD = ((213, 130, 74), (210, 182, 86)), ((144, 72, 17), (109, 118, 43))
NOOP, FIRE, UP, DOWN = 0, 1, 2, 3


def nominal_boxes(ram: U8) -> dict[str, Box]:
    """Left, top, right, bottom of where each thing may be drawn, with the rows by which the drawing varies."""
    ball, player, enemy = (int(ram[49]) - 49, int(ram[54]) - 16), (140, int(ram[51]) - 15), (16, int(ram[50]) - 16)
    boxes = {"player": (*player, player[0] + 4, player[1] + 20), "enemy": (*enemy, enemy[0] + 4, enemy[1] + 18)}
    if ram[54] and ram[49] == 0:
        boxes["ball"] = (0, TOP, 8, BOTTOM)  # the picture of a reset: a ball the memory has not placed yet
    elif ram[54]:
        boxes["ball"] = (*ball, ball[0] + 2, ball[1] + 8)
    return {name: (max(b[0], 0), max(b[1], TOP), min(b[2], WIDTH), min(b[3], BOTTOM)) for name, b in boxes.items()}


def is_colour(pixels: U8, colours: tuple[tuple[int, int, int], ...]) -> NDArray[np.bool_]:
    """Mask of the pixels uint8[..., 3] that have one of the colours."""
    mask = np.zeros(pixels.shape[:-1], bool)
    for r, g, b in colours:
        mask |= (pixels[..., 0] == r) & (pixels[..., 1] == g) & (pixels[..., 2] == b)
    return mask


def visible_box(frame: U8, nominal: Box, colours: tuple[tuple[int, int, int], ...]) -> Box | None:
    """Bounding box of the thing's pixels inside `nominal`; None when it shows nothing."""
    left, top, right, bottom = nominal
    if left >= right or top >= bottom:
        return None
    ys, xs = np.nonzero(is_colour(frame[top:bottom, left:right], colours))
    if len(ys) == 0:
        return None
    return left + int(xs.min()), top + int(ys.min()), left + int(xs.max()) + 1, top + int(ys.max()) + 1


def label(truth: Truth, frame: U8, schema: Any) -> NDArray[np.float32]:
    """The Scene vector of the true frame uint8[210, 160, 3]: visible boxes, no velocities, sure = seen."""
    vector: NDArray[np.float32] = schema.empty()
    colours = {"ball": BALL, "player": PLAYER, "enemy": ENEMY}
    for name, nominal in nominal_boxes(truth["ram"]).items():
        box = visible_box(frame, nominal, colours[name])
        if box is not None:
            width, height = box[2] - box[0], box[3] - box[1]
            vector[schema.slot(name)] = (1, box[0] + width / 2, box[1] + height / 2, width, height, 0, 0, 1)
    return vector


def unexplained(truth: Truth, frame: U8, vector: NDArray[np.float32], schema: Any) -> int:
    """Pixels of the field that are not background and lie in no labelled box, plus boxes of impossible size."""
    rest = ~is_colour(frame[TOP:BOTTOM], FIELD)
    odd = 0
    for name, (wide, high) in {"ball": (2, 5), "player": (4, 16), "enemy": (4, 16)}.items():
        seen, x, y, width, height = vector[schema.slot(name)][:5]
        if seen:
            top, left = round(float(y - height / 2)) - TOP, round(float(x - width / 2))
            rest[top : top + int(height), left : left + int(width)] = False
            odd += width > wide or height > high
    return int(rest.sum()) + odd


def scripted(truth: Truth, rng: np.random.Generator) -> int:
    """A crude player: keep the paddle at the ball's height, aiming at a random part of it."""
    ram = truth["ram"]
    if ram[54] == 0 or rng.random() < 0.02:
        return int(rng.integers(4))
    gap = int(ram[54]) - 14 - (int(ram[51]) - 13) - 6 + int(rng.integers(-9, 10))
    return NOOP if abs(gap) < 3 else DOWN if gap > 0 else UP


def poke(truth: Truth, rng: np.random.Generator) -> dict[str, dict[int, int]]:
    """Memory writes that lead to a rare but legal state: ball anywhere (often at walls and edges), enemy, scores."""
    writes: dict[int, int] = {}
    if rng.random() < 0.85:
        low, high = ((44, 56), (196, 208), (44, 208))[int(rng.integers(3))]
        left, right = ((54, 75), (180, 205), (54, 205))[int(rng.integers(3))]
        writes |= {49: int(rng.integers(left, right)), 54: int(rng.integers(low, high))}
        writes |= {56: (1, 2, 255, 254, 0)[int(rng.integers(5))], 58: (1, 255)[int(rng.integers(2))]}
    if rng.random() < 0.4:
        writes[50] = int(rng.integers(33, 207))
    if rng.random() < 0.3:
        writes |= {13: int(rng.integers(20)), 14: int(rng.integers(20))}
    return {"ram": writes}
