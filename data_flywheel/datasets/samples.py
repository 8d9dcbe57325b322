"""A stored data set as the trainer's Samples: one big array of palette indices with one palette for all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_flywheel.errors import DataError
from data_flywheel.splits import SPLITS
from data_flywheel.storage.dataset import Dataset
from data_flywheel.storage.frames import Frames, pack_rgb, unpack_rgb
from perception.training.data import Samples


def load_samples(folder: str | Path, split: str | None = None) -> Samples:
    """The samples of one split, or of all. DataError: a bad shard (named), an unknown or empty split."""
    if split is not None and split not in SPLITS:
        raise DataError(f"unknown split {split!r}; choose one of {', '.join(SPLITS)}")
    dataset = Dataset(folder)
    shards = [shard for shard in dataset if len(shard) and split in (None, shard.split)]
    if not shards:
        raise DataError(f"{folder} has no frames" + (f" in its {split} split" if split else "") + "; collect more")
    lengths = [len(shard) for shard in shards]
    labels = {
        "scenes": np.concatenate([shard.scenes for shard in shards]),
        "episodes": np.repeat(np.array([shard.episode for shard in shards], np.int64), lengths),
        "splits": np.repeat(np.array([SPLITS.index(shard.split) for shard in shards], np.uint8), lengths),
    }
    stacks = [shard.frames for shard in reversed(shards)]
    del shards  # pixels are held once: `_merge` lets go of what it has copied
    frames, palette = _merge(stacks)
    source = f"{dataset.manifest.task} {dataset.manifest.extra.get('figures', {}).get('hash', '')}".strip()
    return Samples(frames, palette, **labels, source=source)


def _merge(stacks: list[Frames]) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """All frames, last stack first, under one palette of 256 entries (unused ones black), or as RGB when 256 do not
    suffice. The list is empty afterwards."""
    palettes = [stack.palette for stack in stacks]
    colours = np.unique(np.concatenate([pack_rgb(p) for p in palettes if p is not None] or [np.zeros(0, np.uint32)]))
    plain = any(p is None for p in palettes) or len(colours) > 256
    total, size = sum(map(len, stacks)), stacks[0].pixels.shape[1:3]
    out = np.empty((total, *size, 3) if plain else (total, *size), np.uint8)
    at = 0
    while stacks:
        stack = stacks.pop()
        out[at : at + len(stack)] = stack.rgb() if plain else _translate(stack, colours)
        at += len(stack)
    if plain:
        return out, None
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(colours)] = unpack_rgb(colours)
    return out, palette


def _translate(frames: Frames, colours: NDArray[np.uint32]) -> NDArray[np.uint8]:
    assert frames.palette is not None
    table = np.searchsorted(colours, pack_rgb(frames.palette)).astype(np.uint8)
    return table[frames.pixels]
