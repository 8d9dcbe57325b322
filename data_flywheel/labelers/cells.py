"""Grid labels by change alone: which cells stand, and how the field looks with and without each.

Cells stand when a game begins. A cell has vanished once it stays different: by more than it varies by itself, and by
as much as others that vanished. How an empty cell looks is learned from those; afterwards each frame is asked which of
its two looks a cell is nearer.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from data_flywheel.labelers.motion import Field, Floats, field_of
from perception.scene import GridSpec, SceneSchema

U8 = NDArray[np.uint8]
Box = tuple[slice, slice]

START = 40  # frames of an episode in which every cell still stands
GONE = 4.0  # standard deviations from which a cell's mean has changed ...
PART = 0.3  # ... if it is at least this share of what the most changed ones did ...
STEADY = 9  # ... in the median of so many frames
FEW = 3  # frames in which an empty cell must have been seen to be known


def cells_of(
    frames: U8, episodes: NDArray[np.int64], schema: SceneSchema, field: Field
) -> tuple[Floats, Floats, Floats]:
    """float32[N, cells] (1 present) in the order of the schema, and the field full and empty float32[H, W, 3]."""
    early = _early(episodes)
    standing, _, floor = field_of(frames[early])
    full = field.look.copy()
    for grid in schema.grids:
        for box in boxes_of(grid):
            full[box] = standing[box]
    boxes = [box for grid in schema.grids for box in boxes_of(grid)]
    away = [frames[:, box[0], box[1]].astype(np.float32) - full[box] for box in boxes]
    empty, known = full.copy(), list[Box]()
    for box, gone in zip(boxes, _vanished(away, floor, early, episodes), strict=True):
        rows = np.flatnonzero(gone)
        if len(rows) >= FEW:
            part = frames[rows[np.linspace(0, len(rows) - 1, min(len(rows), 60)).astype(int)]]
            empty[box] = np.median(part[:, box[0], box[1]], axis=0)
            known.append(box)
    for grid in schema.grids:
        _fill(empty, full, grid, known)
    labels = np.ones((len(frames), len(boxes)), np.float32)
    for k, (box, change) in enumerate(zip(boxes, away, strict=True)):
        if known:
            labels[:, k] = _steady(_way(change, empty[box] - full[box]), episodes) < 0.5
    return labels, full, empty


def boxes_of(grid: GridSpec) -> list[Box]:
    """Rows and columns of each cell's pixels."""
    (w, h), found = grid.cell, []
    for row in range(grid.rows):
        for col in range(grid.cols):
            top, left = round(grid.top + row * h), round(grid.left + col * w)
            found.append((slice(top, top + round(h)), slice(left, left + round(w))))
    return found


def _early(episodes: NDArray[np.int64]) -> NDArray[np.bool_]:
    """bool[N]: the first START frames of each episode."""
    first = np.zeros(len(episodes), bool)
    for e in np.unique(episodes):
        first[np.flatnonzero(episodes == e)[:START]] = True
    return first


def _vanished(
    away: Sequence[Floats], floor: float, early: NDArray[np.bool_], episodes: NDArray[np.int64]
) -> list[NDArray[np.bool_]]:
    """bool[N] for each cell: has it surely changed for good? `away` float32[N, h, w, 3]: frames minus full field."""
    size, sure = [], []
    for change in away:
        mean = change.mean((1, 2))
        spread = np.maximum(1.4826 * np.median(np.abs(mean[early]), 0), floor)
        sure.append(_steady(np.sqrt(((mean / spread) ** 2).mean(1)), episodes) >= GONE)
        size.append(_steady(np.abs(mean).max(1), episodes))
    changed = np.concatenate([s[g] for s, g in zip(size, sure, strict=True)]) if size else np.zeros(0)
    least = PART * float(np.quantile(changed, 0.9)) if len(changed) else 0.0
    return [g & (s >= least) for s, g in zip(size, sure, strict=True)]


def _way(change: Floats, gone: Floats) -> Floats:
    """float32[N]: how far a cell has gone from how it stood (0) to how it looks when gone (1)."""
    return np.asarray(np.einsum("nijc,ijc->n", change, gone) / max(float((gone * gone).sum()), 1.0))


def _steady(values: Floats, episodes: NDArray[np.int64]) -> Floats:
    """Median of STEADY frames of the same episode."""
    out = np.empty(len(values), np.float32)
    for e in np.unique(episodes):
        rows = np.flatnonzero(episodes == e)
        padded = np.pad(values[rows], STEADY // 2, mode="edge")
        out[rows] = np.median(np.lib.stride_tricks.sliding_window_view(padded, STEADY), axis=1)
    return out


def _fill(empty: Floats, full: Floats, grid: GridSpec, known: Sequence[Box]) -> None:
    """Cells that were never seen empty look like the nearest empty cell, or like the field below the grid."""
    bottom = round(grid.top + grid.rows * grid.cell[1])
    for box in boxes_of(grid):
        if box in known:
            continue
        if known:
            near = min(known, key=lambda k: abs(k[0].start - box[0].start) + abs(k[1].start - box[1].start) / 4)
            empty[box] = empty[near]
        else:
            high = box[0].stop - box[0].start
            empty[box] = full[bottom + 4 : bottom + 4 + high, box[1]]
