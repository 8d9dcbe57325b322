"""A stored data set as the trainer's Samples: one big array of palette indices with one palette for all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_flywheel.errors import DataError
from data_flywheel.splits import SPLITS
from data_flywheel.storage.dataset import Dataset, Shard
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
    frames, palette = _merge(shards)
    lengths = [len(shard) for shard in shards]
    return Samples(
        frames=frames,
        palette=palette,
        scenes=np.concatenate([shard.scenes for shard in shards]),
        episodes=np.repeat(np.array([shard.episode for shard in shards], np.int64), lengths),
        splits=np.repeat(np.array([SPLITS.index(shard.split) for shard in shards], np.uint8), lengths),
        source=f"{dataset.manifest.task} {dataset.manifest.extra.get('figures', {}).get('hash', '')}".strip(),
    )


def _merge(shards: list[Shard]) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """All frames under one palette of 256 entries (unused ones black), or as RGB when 256 do not suffice."""
    palettes = [shard.frames.palette for shard in shards]
    colours = np.unique(np.concatenate([pack_rgb(p) for p in palettes if p is not None] or [np.zeros(0, np.uint32)]))
    if any(p is None for p in palettes) or len(colours) > 256:
        return np.concatenate([shard.frames.rgb() for shard in shards]), None
    total = sum(len(shard) for shard in shards)
    out = np.empty((total, *shards[0].frames.pixels.shape[1:]), np.uint8)
    at = 0
    for shard in shards:
        out[at : at + len(shard)] = _translate(shard.frames, colours)
        at += len(shard)
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(colours)] = unpack_rgb(colours)
    return out, palette


def _translate(frames: Frames, colours: NDArray[np.uint32]) -> NDArray[np.uint8]:
    assert frames.palette is not None
    table = np.searchsorted(colours, pack_rgb(frames.palette)).astype(np.uint8)
    return table[frames.pixels]
