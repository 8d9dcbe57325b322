"""Frames of one game, kept while it is played at a few microseconds each: what changed since the frame before.

Knows pixels only. A frame is cut into pieces of 64 bytes; a piece is stored again when any of its bytes changed. That
is lossless for every picture, cheap where most of it stands still, and as large as the picture where nothing does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_flywheel.container import pack, read_bytes, unpack
from data_flywheel.errors import DataError

KIND, VERSION = "triune frames", 1
PIECE = 64  # bytes stored together: eight words of eight
MOST_BYTES = 256 << 20  # of changes held in memory for one game; frames after that are not kept
_REMEDY = "delete it: the scenes and decisions of the episode stay"

U8 = NDArray[np.uint8]
Size = tuple[int, int]


class _Canvas:
    """The last frame, as pieces; what a new one changes, and what a change makes of it."""

    def __init__(self, size: Size) -> None:
        self.bytes = size[0] * size[1] * 3
        pieces = -(-self.bytes // PIECE)
        self.words = np.zeros(pieces * 8, np.uint64)
        self.pieces = self.words.reshape(pieces, 8)
        self._new = np.zeros_like(self.words)
        self._differ = np.zeros(pieces * 8, bool)
        self.shape = (*size, 3)

    def take(self, frame: U8) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
        """Numbers and contents of the pieces in which uint8[H, W, 3] differs from the last frame, which it becomes."""
        flat = frame.reshape(-1)
        if self.bytes == self.words.nbytes:
            words = flat.view(np.uint64)
        else:  # the last piece is not full
            self._new.view(np.uint8)[: self.bytes] = flat
            words = self._new
        np.not_equal(words, self.words, out=self._differ)
        where = self._differ.view(np.uint64).astype(bool).nonzero()[0]
        changed = words.reshape(-1, 8).take(where, axis=0)
        self.pieces[where] = changed
        return where, changed

    def rgb(self) -> U8:
        """The frame: a view that the next change overwrites."""
        return self.words.view(np.uint8)[: self.bytes].reshape(self.shape)


class Tape:
    """What a running game's frames changed. `see` every step that may be kept, then `keep` those that shall be."""

    def __init__(self, size: Size, most: int = MOST_BYTES) -> None:
        self.size, self.cut, self._left = size, False, most
        self._canvas = _Canvas(size)
        self._steps: list[int] = []
        self._changes: list[tuple[NDArray[np.int64], NDArray[np.uint64]]] = []

    def see(self, step: int, frame: U8) -> None:
        """The frame of a step, uint8[H, W, 3]; DataError for one of another size or type: it alone is left out."""
        if frame.shape != self._canvas.shape or frame.dtype != np.uint8:
            wanted = f"{self.size[1]}x{self.size[0]} pixels, uint8[{self.size[0]}, {self.size[1]}, 3]"
            raise DataError(
                f"the frame of step {step} is {frame.dtype}{list(frame.shape)}, but this recording holds {wanted}; "
                "scale the camera's picture before it is seen, or record into a folder of its own"
            )
        if self._left <= 0:
            self.cut = True
            return
        change = self._canvas.take(frame)
        self._left -= change[1].nbytes
        self._steps.append(step)
        self._changes.append(change)

    @property
    def last(self) -> int:
        """The last step whose frame is held; -1 without one."""
        return self._steps[-1] if self._steps else -1

    def keep(self, steps: Sequence[int] | NDArray[Any] | None = None) -> KeptFrames:
        """The frames of these steps, where they were seen; of all that were seen without `steps`."""
        wanted = set(self._steps if steps is None else np.asarray(steps).tolist())
        kept: list[int] = []
        changes: list[tuple[NDArray[np.int64], NDArray[np.uint64]]] = []
        now, last, follows = _Canvas(self.size), _Canvas(self.size), True
        final = max(wanted, default=-1)
        for step, (where, changed) in zip(self._steps, self._changes, strict=True):
            if step > final:
                break
            now.pieces[where] = changed
            if step not in wanted:
                follows = False
                continue
            if follows:  # on the heels of the one before: the change is known
                last.pieces[where] = changed
                changes.append((where, changed))
            else:
                changes.append(last.take(now.rgb()))
            kept.append(step)
            follows = True
        return KeptFrames(self.size, np.array(kept, np.int32), *_joined(changes))


def _joined(changes: list[tuple[NDArray[np.int64], NDArray[np.uint64]]]) -> tuple[Any, Any, U8]:
    counts = np.array([len(where) for where, _ in changes], np.uint32)
    where = np.concatenate([where for where, _ in changes] or [np.zeros(0, np.int64)]).astype(np.uint32)
    changed = np.concatenate([changed for _, changed in changes] or [np.zeros((0, 8), np.uint64)])
    return counts, where, changed.view(np.uint8)


@dataclass(frozen=True)
class KeptFrames:
    """K frames of one episode: `steps` int32[K] ascending; each changes `counts[k]` pieces of the one before.

    where: uint32[S] numbers of the changed pieces; pieces: uint8[S, PIECE] their new bytes. The first changes black.
    """

    size: Size
    steps: NDArray[np.int32]
    counts: NDArray[np.uint32]
    where: NDArray[np.uint32]
    pieces: U8

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.steps)

    def __iter__(self) -> Iterator[tuple[int, U8]]:
        """Step and frame, uint8[H, W, 3], in order; a frame is a view that the next one overwrites."""
        canvas, end = _Canvas(self.size), 0
        pieces = canvas.words.view(np.uint8).reshape(-1, PIECE)
        for step, count in zip(self.steps.tolist(), self.counts.tolist(), strict=True):
            begin, end = end, end + count
            pieces[self.where[begin:end]] = self.pieces[begin:end]
            yield step, canvas.rgb()

    def rgb(self, steps: Sequence[int]) -> U8:
        """uint8[len(steps), H, W, 3]; DataError for a step that was not kept."""
        places: dict[int, list[int]] = {}
        for place, step in enumerate(steps):
            places.setdefault(step, []).append(place)
        missing = sorted(places.keys() - set(self.steps.tolist()))
        if missing:
            raise DataError(
                f"no frame of step {missing[0]} was kept; record with --record-frames all to have every one"
            )
        found = np.empty((len(steps), *self.size, 3), np.uint8)
        for step, frame in self:
            if step in places:
                found[places.pop(step)] = frame
            if not places:
                break
        return found

    def to_bytes(self, episode: str) -> bytes:
        """The content of its file; `episode` is the name of the episode they are of."""
        arrays = {name: getattr(self, name) for name in ("steps", "counts", "where", "pieces")}
        return pack(KIND, VERSION, {"size": list(self.size), "episode": episode}, arrays, level=1)

    @staticmethod
    def load(path: str | Path, episode: str) -> KeptFrames:
        """Read and verify. DataError: missing, damaged, of another episode or version."""
        fields, arrays = unpack(read_bytes(Path(path), KIND), KIND, VERSION, str(path), _REMEDY)
        if fields["episode"] != episode:
            raise DataError(f"{path}: holds frames of {fields['episode']}; {_REMEDY}")
        return KeptFrames(tuple(fields["size"]), **arrays)
