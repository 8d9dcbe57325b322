"""Frames that could be labelled next, with all that can be said of them before anybody has labelled one.

Knows: what the eyes saw, which frames follow one another, a small grey picture of each, the moments before a loss.
Does not know: labels, scores, which frames to take.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_flywheel.episodes.episode import Episode
from data_flywheel.labels.frames import DatasetFrames, EpisodeFrames
from data_flywheel.labels.label import FrameRef
from perception.scene import SLOT, SceneSchema

THUMB = 16  # cells a side
BEFORE = 30  # steps before a loss that belong to it
CONSECUTIVE = "consecutive"  # key of a shard's meta: its rows are steps of play, none left out
GREY = np.array([0.299, 0.587, 0.114], np.float32)

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]
Look = Callable[[U8], F32]


@dataclass(frozen=True)
class Pool:
    """N frames in the order of play.

    scenes float32[N, size]: what the eyes saw; thumbs float32[N, THUMB**2], grey levels 0..255; after bool[N]: the
    frame is the next step after the one before it here; failing float32[N]: 0 to 1, how near a loss is.
    """

    schema: SceneSchema
    refs: tuple[FrameRef, ...]
    scenes: F32
    thumbs: F32
    after: NDArray[np.bool_]
    failing: F32

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.refs)

    def embedding(self) -> F32:
        """float32[N, D] for distances between frames: what was seen and how it looks.

        A thing that is seen by one frame only, or half of the field between two places, counts 1; so do 64 grey
        levels between two pictures.
        """
        parts = [(self.thumbs / (64 * THUMB)).astype(np.float32)]
        top, left, bottom, right = self.schema.crop
        for thing in self.schema.things:
            start = self.schema.slot(thing.name).start
            slots = self.scenes[:, start : start + SLOT * thing.count].reshape(-1, thing.count, SLOT)
            seen = slots[..., 0] > 0.5
            place = (slots[..., 1:3] - (left, top)) / (right - left, bottom - top) * 2
            size = slots[..., 3:5] / thing.size / 2
            values = np.concatenate([np.ones_like(seen[..., None]), place, size], 2) * seen[..., None]
            parts.append(values.reshape(len(self), -1).astype(np.float32))
        for grid in self.schema.grids:
            parts.append(self.scenes[:, self.schema.grid(grid.name)] / np.float32(np.sqrt(grid.cols)))
        return np.concatenate(parts, 1)


def thumbnail(frame: U8, crop: tuple[int, int, int, int]) -> F32:
    """float32[THUMB**2]: mean grey of THUMB x THUMB cells of what the eyes look at."""
    top, left, bottom, right = crop
    grey = frame[top:bottom, left:right].astype(np.float32) @ GREY
    rows, cols = (np.arange(THUMB) * n // THUMB for n in grey.shape)
    sums = np.add.reduceat(np.add.reduceat(grey, rows, 0), cols, 1)
    high, wide = (np.diff([*at, n]) for at, n in zip((rows, cols), grey.shape, strict=True))
    return (sums / np.outer(high, wide)).ravel().astype(np.float32)


def build(schema: SceneSchema, frames: DatasetFrames | EpisodeFrames, look: Look) -> Pool:
    """Every frame of a source. `look`: uint8[H, W, 3] -> float32[size], for frames that nobody has looked at yet."""
    if isinstance(frames, DatasetFrames):
        return _pool(schema, frames, _of_dataset(frames, look))
    return _pool(schema, frames, _of_episodes(frames))


Row = tuple[FrameRef, F32, bool, float]


def _of_dataset(frames: DatasetFrames, look: Look) -> Iterable[Row]:
    """Labels are not read: a pool is what is known before labelling."""
    whole = {n: bool(frames.dataset.read(n).meta.get(CONSECUTIVE)) for n in frames.dataset.numbers()}
    for ref in frames.refs():
        follows = whole[int(ref.episode.rpartition("-shard")[2])] and ref.step > 0
        yield ref, look(frames.rgb(ref)).copy(), follows, 0.0


def _of_episodes(frames: EpisodeFrames) -> Iterable[Row]:
    for name in frames.names():
        episode = frames.episode(name)
        failing = failures(episode)
        for step in range(len(episode)):
            yield frames.ref(name, step), episode.scenes[step], step > 0, float(failing[step])


def _pool(schema: SceneSchema, frames: Any, rows: Iterable[Row]) -> Pool:
    refs, scenes, thumbs, after, failing = [], [], [], [], []
    for ref, scene, follows, near in rows:
        refs.append(ref)
        scenes.append(scene)
        thumbs.append(thumbnail(frames.rgb(ref), schema.crop))
        after.append(follows)
        failing.append(near)
    columns: Sequence[Any] = (np.array(after, bool), np.array(failing, np.float32))
    return Pool(schema, tuple(refs), np.stack(scenes), np.stack(thumbs), *columns)


def failures(episode: Episode) -> F32:
    """float32[T]: 1 on the step that lost a life or a point, falling to 0 over the BEFORE steps that led there."""
    near = np.zeros(len(episode), np.float32)
    lost = (np.diff(episode.lives) < 0) | (np.diff(episode.scores) < 0)
    for step in (np.flatnonzero(lost) + 1).tolist():
        first = max(0, step - BEFORE + 1)
        near[first : step + 1] = np.maximum(near[first : step + 1], np.linspace(0, 1, BEFORE)[first - step - 1 :])
    return near
