"""Old labelled scenes drawn anew in a look that has no labels, from what frames of play show of it.

All of it comes from frames and motion labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_flywheel.labelers.cells import boxes_of, cells_of
from data_flywheel.labelers.motion import Floats, Motion, slots
from perception.scene import SLOT, SceneSchema

U8 = NDArray[np.uint8]
MARGIN = 2  # px around a thing's box that its paint may touch
PHASE = 8  # px: patterns that repeat on the screen (dithers, codec blocks) repeat at most this often


@dataclass(frozen=True)
class Patch:
    """A thing as it looked once: its frame and the bare field there, uint8[h + 2 MARGIN, w + 2 MARGIN, 3]."""

    x: int  # of the box's left upper corner
    y: int
    look: U8
    bare: U8


@dataclass(frozen=True)
class Paint:
    """All that is known of a look. `leftover` int16[n, H, W, 3]: real frames minus what was explained of them."""

    full: Floats  # the field with every cell present
    empty: Floats  # the same with every cell gone
    patches: tuple[tuple[Patch, ...], ...]  # of each slot
    leftover: NDArray[np.int16]
    sizes: tuple[tuple[int, int], ...]  # w, h of each slot's patches without margin


def learn(
    frames: U8, episodes: NDArray[np.int64], motion: Motion, schema: SceneSchema, most: int = 400
) -> tuple[Paint, Floats]:
    """The paint of a look and the grid labels float32[N, cells] of its frames."""
    labels, full, empty = cells_of(frames, episodes, schema, motion.field)
    boxes = [start for _, start in slots(schema)]
    sizes = [_size(motion.scenes[motion.trust[:, k]][:, s : s + SLOT]) for k, s in enumerate(boxes)]
    patches: list[tuple[Patch, ...]] = []
    for k, start in enumerate(boxes):
        rows = np.flatnonzero(motion.trust[:, k] & _alone(motion.scenes, boxes, k))
        rows = rows[np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(int)] if len(rows) else rows
        bare = (_field(full, empty, labels[r], schema) for r in rows)
        at = motion.scenes[rows, start : start + SLOT]
        cut = (_patch(frames[r], b, box, sizes[k]) for r, b, box in zip(rows, bare, at, strict=True))
        patches.append(tuple(p for p in cut if p is not None))
    rows = np.flatnonzero(motion.trust.all(1))
    rows = rows[np.linspace(0, len(rows) - 1, min(24, len(rows))).astype(int)] if len(rows) else rows
    left = [_leftover(frames[r], _field(full, empty, labels[r], schema), motion.scenes[r], boxes) for r in rows]
    bank = np.stack(left) if left else np.zeros((1, *frames.shape[1:]), np.int16)
    return Paint(full, empty, tuple(patches), bank, tuple(sizes)), labels


def _size(rows: Floats) -> tuple[int, int]:
    return (round(float(np.median(rows[:, 3]))), round(float(np.median(rows[:, 4])))) if len(rows) else (1, 1)


def _alone(scenes: Floats, starts: Sequence[int], k: int) -> NDArray[np.bool_]:
    """bool[N]: is no other thing near the `k`th?"""
    alone = np.ones(len(scenes), bool)
    mine = scenes[:, starts[k] : starts[k] + SLOT]
    for j, start in enumerate(starts):
        if j != k:
            other = scenes[:, start : start + SLOT]
            gap = np.abs(mine[:, 1:3] - other[:, 1:3]) - (mine[:, 3:5] + other[:, 3:5]) / 2
            alone &= (gap.max(1) > 2 * MARGIN) | (other[:, 0] < 0.5)
    return alone


def _corner(box: Floats, size: tuple[int, int]) -> tuple[int, int]:
    """Left upper corner of a patch of `size` whose centre is the box's."""
    return int(np.floor(box[1] - size[0] / 2 + 0.5)), int(np.floor(box[2] - size[1] / 2 + 0.5))


def _patch(frame: U8, bare: U8, box: Floats, size: tuple[int, int]) -> Patch | None:
    """What is at a box; None at the rim of the screen."""
    x, y = _corner(box, size)
    rows, cols = slice(y - MARGIN, y + size[1] + MARGIN), slice(x - MARGIN, x + size[0] + MARGIN)
    if rows.start < 0 or cols.start < 0 or rows.stop > frame.shape[0] or cols.stop > frame.shape[1]:
        return None
    return Patch(x, y, frame[rows, cols].copy(), bare[rows, cols].copy())


def _field(full: Floats, empty: Floats, cells: Floats, schema: SceneSchema) -> U8:
    """uint8[H, W, 3]: the field with these cells standing."""
    out, at = full.copy(), 0
    for grid in schema.grids:
        for box in boxes_of(grid):
            if cells[at] < 0.5:
                out[box] = empty[box]
            at += 1
    return np.clip(out + 0.5, 0, 255).astype(np.uint8)


def _leftover(frame: U8, bare: U8, scene: Floats, starts: Sequence[int]) -> NDArray[np.int16]:
    left = frame.astype(np.int16) - bare
    for start in starts:
        seen, x, y, w, h = scene[start : start + 5]
        if seen > 0.5:
            top, edge = max(int(y - h / 2) - 2 * MARGIN, 0), max(int(x - w / 2) - 2 * MARGIN, 0)
            left[top : int(y + h / 2) + 2 * MARGIN + 1, edge : int(x + w / 2) + 2 * MARGIN + 1] = 0
    return left


def render(paint: Paint, scene: Floats, schema: SceneSchema, rng: np.random.Generator) -> tuple[U8, U8]:
    """One scene vector as a frame uint8[H, W, 3] of the look, and the bare field behind its things."""
    cells = np.concatenate([scene[schema.grid(g.name)] for g in schema.grids]) if schema.grids else scene[:0]
    bare = _field(paint.full, paint.empty, cells, schema)
    left = paint.leftover[int(rng.integers(len(paint.leftover)))]
    out = np.clip(bare.astype(np.int16) + left, 0, 255).astype(np.uint8)
    order = sorted(range(len(paint.sizes)), key=lambda k: -paint.sizes[k][0] * paint.sizes[k][1])
    for k in order:
        start = slots(schema)[k][1]
        box = scene[start : start + SLOT]
        if box[0] > 0.5 and paint.patches[k]:
            _draw(out, bare, paint.patches[k], box, paint.sizes[k], rng)
    return out, bare


def _draw(
    out: U8, bare: U8, bank: Sequence[Patch], box: Floats, size: tuple[int, int], rng: np.random.Generator
) -> None:
    """Paste a real patch of the same phase: its box as it is, its margin as a change of the field."""
    w, h = round(float(box[3])) or size[0], round(float(box[4])) or size[1]
    x, y = _corner(box, (w, h))
    pick = [bank[i] for i in rng.integers(len(bank), size=12)]
    patch = min(pick, key=lambda p: _distance(x - p.x) + _distance(y - p.y))
    look, change = _fitted(patch.look, w, h, y < out.shape[0] / 2), patch.look.astype(np.int16) - patch.bare
    change = _fitted(change, w, h, y < out.shape[0] / 2)
    rows, cols = np.arange(y - MARGIN, y + h + MARGIN), np.arange(x - MARGIN, x + w + MARGIN)
    ry, rx = (rows >= 0) & (rows < out.shape[0]), (cols >= 0) & (cols < out.shape[1])
    at = np.ix_(rows[ry], cols[rx])
    inside = np.zeros((h + 2 * MARGIN, w + 2 * MARGIN), bool)
    inside[MARGIN:-MARGIN, MARGIN:-MARGIN] = True
    around = np.clip(out[at].astype(np.int16) + change[ry][:, rx], 0, 255).astype(np.uint8)
    out[at] = np.where(inside[ry][:, rx][..., None], look[ry][:, rx], around)


def _distance(shift: int) -> int:
    """How far two places are apart in a pattern that repeats every PHASE px."""
    return min(shift % PHASE, -shift % PHASE)


def _fitted(part: NDArray[np.generic], w: int, h: int, cut_top: bool) -> NDArray[np.generic]:
    """A patch with its margins brought to a box of w x h: columns from both ends, rows from the end that shows."""
    height, width = part.shape[0] - 2 * MARGIN, part.shape[1] - 2 * MARGIN
    if w != width:
        half = (w + 1) // 2 + MARGIN
        cols = np.r_[np.arange(half), np.arange(part.shape[1] - (w + 2 * MARGIN - half), part.shape[1])]
        part = part[:, np.clip(cols, 0, part.shape[1] - 1)]
    if h != height:
        rows = np.arange(h + 2 * MARGIN) + (height - h if cut_top else 0)
        part = part[np.clip(rows, 0, part.shape[0] - 1)]
    return part
