"""Breakout's training labels: exact visible boxes from emulator memory, each checked against the picture.

Training only; never shipped, never run in play. Knows the 128 memory bytes and the true colours of the game.

What the game draws (found by changing one byte at a time, see `triune discover breakout`): ball left = R99 - 49 and
top = R101 + 8 down to the bricks, + 9 below, five rows high on the seam; it takes the colour of the brick row it is
in, so it is invisible over a present brick. Paddle left = R72 - 47, 16 px wide, 12 once the ceiling was hit (R97 bit 7,
shown in R108 = 6). The right wall next to the paddle has the paddle's colour: boxes end at the wall.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

U8 = NDArray[np.uint8]
Truth = Mapping[str, NDArray[Any]]  # {"ram": uint8[128]}

LEFT_WALL, RIGHT_WALL, CEILING, FLOOR = 8, 152, 32, 196
BRICK_TOP, BRICK_BOTTOM, PADDLE_TOP = 57, 93, 189
ROW_COLOURS = ((200, 72, 72), (198, 108, 58), (180, 122, 48), (162, 162, 42), (72, 160, 72), (66, 72, 200))
PADDLE_COLOUR, GREY = (200, 72, 72), (142, 142, 142)
NOOP, FIRE, RIGHT, LEFT = 0, 1, 2, 3

_BALL_X = (60, 197)  # closer to the side walls a fast ball may be written past the point where it turns back

# The wall's half cells (4 px) from left to right: (byte of the bottom row, bit). A row up is one byte further.
_HALVES = (
    *((30, bit) for bit in (6, 7)),
    *((24, bit) for bit in range(7, -1, -1)),
    *((18, bit) for bit in range(8)),
    *((12, bit) for bit in range(4, 8)),
    *((6, bit) for bit in range(7, -1, -1)),
    *((0, bit) for bit in range(6)),
)
_VX = ((0, 128), (1, 0), (1, 128), (2, 0), (255, 128), (255, 0), (254, 128), (254, 0))  # bytes 105, 106: px a frame
_VY = ((1, 0), (1, 128), (2, 0), (3, 96), (255, 0), (254, 128), (254, 0), (252, 160))  # bytes 103, 104


def _colour_rows() -> U8:
    """uint8[210, 3]: the colour the ball has in every picture row."""
    rows = np.empty((210, 3), np.uint8)
    rows[:BRICK_TOP] = GREY
    rows[BRICK_TOP:BRICK_BOTTOM] = np.repeat(np.array(ROW_COLOURS, np.uint8), 6, axis=0)
    rows[BRICK_BOTTOM:] = PADDLE_COLOUR
    return rows


BALL_COLOUR = _colour_rows()


def same_colour(a: U8, b: U8) -> NDArray[np.bool_]:
    """Pixel by pixel; channel by channel because that is several times faster than reducing the last axis."""
    mask: NDArray[np.bool_] = (a[..., 0] == b[..., 0]) & (a[..., 1] == b[..., 1]) & (a[..., 2] == b[..., 2])
    return mask


def bricks_of_memory(ram: U8) -> NDArray[np.bool_]:
    """bool[6, 18]: the bricks as the memory has them (rows from the top)."""
    halves = np.array([[ram[byte + 5 - row] >> bit & 1 for byte, bit in _HALVES] for row in range(6)], bool)
    return halves[:, 0::2] & halves[:, 1::2]


def bricks_of_frame(frame: U8) -> NDArray[np.bool_]:
    """bool[6, 18]: cells of which at least half have their row's colour (a ball covers at most a fifth)."""
    wall = frame[BRICK_TOP:BRICK_BOTTOM, LEFT_WALL:RIGHT_WALL]
    match = same_colour(wall, BALL_COLOUR[BRICK_TOP:BRICK_BOTTOM, None])
    filled: NDArray[np.bool_] = match.reshape(6, 6, 18, 8).sum((1, 3)) >= 24
    return filled


def paddle_box(ram: U8) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of the paddle, ended by the walls."""
    left = int(ram[72]) - 47
    right = left + (12 if ram[108] == 6 else 16)
    return max(left, LEFT_WALL), PADDLE_TOP, min(right, RIGHT_WALL), PADDLE_TOP + 4


def ball_box(ram: U8, frame: U8, bricks: NDArray[np.bool_]) -> tuple[int, int, int, int] | None:
    """Left, top, right, bottom of the ball's visible pixels; None when there is none."""
    drawn = int(ram[99]) - (49 if ram[99] >= 49 else 22)  # left of the screen the game draws 27 px too far right
    left, right = max(drawn, LEFT_WALL), min(drawn + 2, RIGHT_WALL)
    top, bottom = max(int(ram[101]) + 8, CEILING), min(int(ram[101]) + 13, FLOOR)
    if left >= right or top >= bottom:
        return None
    visible = same_colour(frame[top:bottom, left:right], BALL_COLOUR[top:bottom, None])
    paddle = paddle_box(ram)
    for y, x in np.argwhere(visible).tolist():
        visible[y, x] = not _covered(x + left, y + top, bricks, paddle)
    ys, xs = np.nonzero(visible)
    if len(ys) == 0:
        return None
    return left + int(xs.min()), top + int(ys.min()), left + int(xs.max()) + 1, top + int(ys.max()) + 1


def _covered(x: int, y: int, bricks: NDArray[np.bool_], paddle: tuple[int, int, int, int]) -> bool:
    """Whether the pixel shows a brick or the paddle (which have the ball's colour) rather than the ball."""
    if BRICK_TOP <= y < BRICK_BOTTOM:
        return bool(bricks[(y - BRICK_TOP) // 6, (x - LEFT_WALL) // 8])
    return paddle[0] <= x < paddle[2] and paddle[1] <= y < paddle[3]


def label(truth: Truth, frame: U8, schema: Any) -> NDArray[np.float32]:
    """The Scene vector of the true frame uint8[210, 160, 3]: visible boxes, no velocities, sure = seen."""
    vector: NDArray[np.float32] = schema.empty()
    ram, bricks = truth["ram"], bricks_of_frame(frame)
    left, top, right, bottom = paddle_box(ram)
    shown = right > left and (frame[top:bottom, left:right] == PADDLE_COLOUR).all()
    paddle = (left, top, right, bottom) if shown else None
    for name, box in (("ball", ball_box(ram, frame, bricks)), ("paddle", paddle)):
        if box is not None:
            width, height = box[2] - box[0], box[3] - box[1]
            vector[schema.slot(name)] = (1, box[0] + width / 2, box[1] + height / 2, width, height, 0, 0, 1)
    vector[schema.grid("bricks")] = bricks.ravel()
    return vector


def unexplained(truth: Truth, frame: U8, vector: NDArray[np.float32], schema: Any) -> int:
    """Pixels of the play field that differ from a picture drawn from the label alone; 0 means an exact label."""
    canvas = np.zeros_like(frame)
    cells = vector[schema.grid("bricks")].reshape(6, 18) > 0.5
    wall = np.kron(cells, np.ones((6, 8), bool))[..., None] * BALL_COLOUR[BRICK_TOP:BRICK_BOTTOM, None]
    canvas[BRICK_TOP:BRICK_BOTTOM, LEFT_WALL:RIGHT_WALL] = wall
    for name in ("paddle", "ball"):
        seen, x, y, width, height = vector[schema.slot(name)][:5]
        if seen:
            top, left = round(float(y - height / 2)), round(float(x - width / 2))
            rows = slice(top, top + int(height))
            canvas[rows, left : left + int(width)] = BALL_COLOUR[rows, None]
    field = np.s_[CEILING:FLOOR, LEFT_WALL:RIGHT_WALL]
    return int((~same_colour(canvas[field], frame[field])).sum())


def scripted(truth: Truth, rng: np.random.Generator) -> int:
    """A crude player: serve, else bring the paddle under the ball, aiming at a random part of it."""
    ram = truth["ram"]
    if ram[101] == 0 or rng.random() < 0.01:
        return FIRE
    gap = int(ram[99]) - 49 - (int(ram[72]) - 47 + 7) + int(rng.integers(-6, 7))
    return NOOP if abs(gap) < 3 else RIGHT if gap > 0 else LEFT


def poke(truth: Truth, rng: np.random.Generator) -> dict[str, dict[int, int]]:
    """Memory writes that lead to a rare but legal state: thinned wall, ball anywhere, narrow paddle, scores, lives."""
    writes = _thin_wall(rng) if rng.random() < 0.8 else {}
    if rng.random() < 0.4:
        writes[97] = 128  # narrow paddle
    kind = rng.random()
    if kind < 0.06:
        writes[101] = 0  # no ball
    elif kind < 0.92:
        low, high = ((49, 86), (22, 60), (172, 186), (22, 186))[int(rng.integers(4))]
        writes |= {99: int(rng.integers(*_BALL_X)), 101: int(rng.integers(low, high))}
        vy, vx = _VY[int(rng.integers(len(_VY)))], _VX[int(rng.integers(len(_VX)))]
        writes |= {103: vy[0], 104: vy[1], 105: vx[0], 106: vx[1]}
        if low == 172 and rng.random() < 0.7:  # meet the paddle, not the gap beside it
            writes[99] = int(np.clip(int(truth["ram"][72]) + 2 + rng.integers(-6, 20), *_BALL_X))
    if rng.random() < 0.3:
        writes |= {76: int(rng.integers(9)), 77: int(rng.integers(10)) * 16 + int(rng.integers(10))}
        writes[57] = int(rng.integers(1, 6))
    return {"ram": writes}


def _thin_wall(rng: np.random.Generator) -> dict[int, int]:
    """The 36 bytes of a wall with bricks missing: at random, from below, in tunnels, or nearly all; never none."""
    keep = rng.random((6, 18)) < rng.random() ** 0.7
    style = rng.integers(4)
    if style == 1:  # eaten from below
        keep = np.arange(6)[:, None] < rng.integers(0, 7, 18)
    elif style == 2:  # tunnels
        keep = np.broadcast_to(rng.random(18) < 0.7, (6, 18)) & (rng.random((6, 18)) < 0.95)
    keep = keep.copy()
    keep[rng.integers(6), rng.integers(18)] = True
    values = dict.fromkeys(range(36), 0)
    for row, column in np.argwhere(keep).tolist():
        for byte, bit in _HALVES[2 * column : 2 * column + 2]:
            values[byte + 5 - row] |= 1 << bit
    return values
