"""The same game under another light: visual shifts that leave the dynamics alone.

Knows: how to change frames; each shift is seeded per episode, so a run is reproducible to the byte. The named looks of
`envs.looks`, the same in every episode, count as shifts too. Does not know: what is on the frame. `a+b` applies a, then
b. Coordinates keep meaning the unshifted world: under `jitter` the camera moves, the things do not.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable

import numpy as np

from envs.errors import EnvError
from envs.looks import MOVING, STATIC, is_look, make_look

Shift = Callable[[np.ndarray], np.ndarray]
OCCLUDER = 12  # px, side of the patch that hides a part of the field


def _repaint(rng: np.random.Generator, shape: tuple[int, ...]) -> Shift:
    """Rotate hues by 40 to 320 degrees in YIQ, or permute the channels."""
    if rng.random() < 0.5:
        order = [[1, 2, 0], [2, 0, 1], [2, 1, 0], [1, 0, 2], [0, 2, 1]][int(rng.integers(5))]
        return lambda frame: np.ascontiguousarray(frame[:, :, order])
    to_yiq = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]], np.float32)
    a = np.deg2rad(rng.uniform(40, 320))
    turn = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]], np.float32)
    matrix = (np.linalg.inv(to_yiq) @ turn @ to_yiq).T.astype(np.float32)
    return lambda frame: np.clip(frame @ matrix, 0, 255).astype(np.uint8)


def _dim(rng: np.random.Generator, shape: tuple[int, ...]) -> Shift:
    """Brightness between 40 and 60 %."""
    table = (np.arange(256) * rng.uniform(0.4, 0.6)).astype(np.uint8)
    return lambda frame: table[frame]


def _bright(rng: np.random.Generator, shape: tuple[int, ...]) -> Shift:
    """30 to 60 grey levels added."""
    table = np.clip(np.arange(256) + rng.integers(30, 61), 0, 255).astype(np.uint8)
    return lambda frame: table[frame]


def _noise(rng: np.random.Generator, shape: tuple[int, ...]) -> Shift:
    """Gaussian noise of 12 grey levels, fresh every step (a bank of 16 fields at random offsets)."""
    bank = rng.normal(0, 12, (16, *shape)).astype(np.int16)

    def apply(frame: np.ndarray) -> np.ndarray:
        field = np.roll(bank[rng.integers(16)], int(rng.integers(shape[0])), 0)
        return np.clip(frame + field, 0, 255).astype(np.uint8)

    return apply


def _jitter(rng: np.random.Generator, shape: tuple[int, ...]) -> Shift:
    """The camera shakes: up to 2 px each way, redrawn every step; the rim repeats."""

    def apply(frame: np.ndarray) -> np.ndarray:
        dy, dx = (int(v) for v in rng.integers(-2, 3, 2))
        padded = np.pad(frame, ((2, 2), (2, 2), (0, 0)), "edge")
        return np.ascontiguousarray(padded[2 - dy : 2 - dy + shape[0], 2 - dx : 2 - dx + shape[1]])

    return apply


def _grey(rng: np.random.Generator, shape: tuple[int, ...]) -> Shift:
    """Luminance only."""
    weights = np.array([0.299, 0.587, 0.114], np.float32)
    return lambda frame: np.repeat((frame @ weights).astype(np.uint8)[:, :, None], 3, 2)


def _occlude(rng: np.random.Generator, shape: tuple[int, ...]) -> Shift:
    """A grey patch hides a fixed part of the middle of the field."""
    top = int(rng.integers(shape[0] * 45 // 100, shape[0] * 75 // 100))
    left = int(rng.integers(shape[1] // 5, shape[1] * 4 // 5 - OCCLUDER))
    grey = int(rng.integers(60, 200))

    def apply(frame: np.ndarray) -> np.ndarray:
        out = frame.copy()
        out[top : top + OCCLUDER, left : left + OCCLUDER] = grey
        return out

    return apply


SHIFTS: dict[str, Callable[[np.random.Generator, tuple[int, ...]], Shift]] = {
    "repaint": _repaint, "dim": _dim, "bright": _bright, "noise": _noise, "jitter": _jitter, "grey": _grey,
    "occlude": _occlude,
}  # fmt: skip


def check_shift(name: str | None) -> None:
    """EnvError with the nearest name unless every part of `a+b` is a known shift (or there is none)."""
    for part in name.split("+") if name else ():
        if part not in SHIFTS and not is_look(part):
            known = [*SHIFTS, *STATIC, *MOVING]
            close = difflib.get_close_matches(part, known, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"choose from {', '.join(known)}"
            raise EnvError(f"unknown shift {part!r}; {hint}")


def make_shift(name: str | None, seed: int, shape: tuple[int, ...]) -> Shift:
    """The shift of one episode for frames of `shape` (H, W, 3). It never writes into the frame it is given."""
    check_shift(name)
    parts = name.split("+") if name else []
    made = [
        SHIFTS[p](np.random.default_rng([seed, i, len(p)]), shape) if p in SHIFTS else make_look(p, shape)
        for i, p in enumerate(parts)
    ]

    def apply(frame: np.ndarray) -> np.ndarray:
        for shift in made:
            frame = shift(frame)
        return frame

    return apply
