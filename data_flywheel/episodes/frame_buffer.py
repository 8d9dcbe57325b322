"""Frames of one game, kept while it is played at a few microseconds each: what changed since the frame before.

A frame is read as words of eight bytes; a word is stored again when it changed. That is lossless for every picture,
cheap where most of it stands still, and larger than the picture where nothing does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_flywheel.errors import DataError
from data_flywheel.storage.container import pack, read_bytes, sound, unpack
from envs import shape

KIND, VERSION = "triune frames", 1
WORD = 8  # bytes
MOST_BYTES = 256 << 20  # of changes held in memory for one game; frames after that are not kept
_REMEDY = "delete it: the scenes and decisions of the episode stay"

U8 = NDArray[np.uint8]
Size = tuple[int, int]
Change = tuple[NDArray[np.int64], NDArray[np.uint64]]  # numbers of words, and what they hold now


class FrameBuffer:
    """What a running game's frames changed: `see` every step, then `keep` some.

    wants: which steps are worth a look (None: all). most: bytes of changes that are held.
    """

    def __init__(self, size: Size, most: int = MOST_BYTES, wants: Callable[[int], bool] | None = None) -> None:
        self.size, self.cut, self._left, self._wants = size, False, most, wants
        self._shape, self._bytes = (*size, 3), size[0] * size[1] * 3
        self._last = np.zeros(-(-self._bytes // WORD), np.uint64)  # the last frame
        self._differ = np.zeros(len(self._last), bool)
        self._frame: U8 | None = None  # the array that was looked at last: an emulator gives the same one every step
        self._words = self._last
        self._steps: list[int] = []
        self._changes: list[Change] = []

    def see(self, step: int, frame: U8) -> None:
        """The frame of a step, uint8[H, W, 3]; DataError for one of another size or type: it alone is left out."""
        if self._wants and not self._wants(step):
            return
        words = self._words if frame is self._frame else self._open(step, frame)
        if self._left <= 0:
            self.cut = True
            return
        np.not_equal(words, self._last, self._differ)
        where = self._differ.nonzero()[0]
        changed = words.take(where)
        self._last[where] = changed
        self._left -= 2 * changed.nbytes
        self._steps.append(step)
        self._changes.append((where, changed))

    def _open(self, step: int, frame: U8) -> NDArray[np.uint64]:
        """The frame as words: a view where its bytes allow it, else a copy."""
        if frame.shape != self._shape or frame.dtype != np.uint8:
            wanted = f"{self.size[1]}x{self.size[0]} pixels, uint8[{self.size[0]}, {self.size[1]}, 3]"
            raise DataError(
                f"the frame of step {step} is {frame.dtype}{list(frame.shape)}, but this recording holds {wanted}; "
                "scale the camera's picture before it is seen, or record into a folder of its own"
            )
        if frame.flags.c_contiguous and self._bytes % WORD == 0:
            self._frame, self._words = frame, frame.reshape(-1).view(np.uint64)
            return self._words
        words = np.zeros_like(self._last)  # the last word may not be full
        words.view(np.uint8)[: self._bytes] = frame.reshape(-1)
        return words

    @property
    def last(self) -> int:
        """The last step whose frame is held; -1 without one."""
        return self._steps[-1] if self._steps else -1

    def keep(self, steps: Sequence[int] | NDArray[Any] | None = None) -> KeptFrames:
        """The frames of these steps, where they were seen; of all that were seen without `steps`."""
        wanted = set(self._steps if steps is None else np.asarray(steps).tolist())
        kept: list[int] = []
        changes: list[Change] = []
        since: list[Change] = []  # the last frame that is kept
        for step, change in zip(self._steps, self._changes, strict=True):
            since.append(change)
            if step in wanted:
                changes.append(_merged(since))
                kept.append(step)
                since.clear()
        return KeptFrames(self.size, np.array(kept, np.int32), *_joined(changes))


def _merged(changes: list[Change]) -> Change:
    """Several changes as one: of a word, the last counts."""
    if len(changes) == 1:
        return changes[0]
    where = np.concatenate([where for where, _ in changes])[::-1]
    changed = np.concatenate([changed for _, changed in changes])[::-1]
    where, first = np.unique(where, return_index=True)
    return where, changed[first]


def _joined(changes: list[Change]) -> tuple[Any, Any, Any]:
    counts = np.array([len(where) for where, _ in changes], np.uint32)
    where = np.concatenate([where for where, _ in changes] or [np.zeros(0, np.int64)]).astype(np.uint32)
    changed = np.concatenate([changed for _, changed in changes] or [np.zeros(0, np.uint64)])
    return counts, where, changed


_SIDE = shape.whole(1, 4096)
_FIELDS = shape.table({"size": shape.row(_SIDE, _SIDE), "episode": shape.text})


@dataclass(frozen=True)
class KeptFrames:
    """K frames of one episode: `steps` int32[K] ascending; each changes `counts[k]` words of the one before.

    where: uint32[S] numbers of the changed words; words: uint64[S] what they hold then. The first changes black.
    """

    size: Size
    steps: NDArray[np.int32]
    counts: NDArray[np.uint32]
    where: NDArray[np.uint32]
    words: NDArray[np.uint64]

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.steps)

    def __iter__(self) -> Iterator[tuple[int, U8]]:
        """Step and frame, uint8[H, W, 3], in order; a frame is a view that the next one overwrites."""
        length, end = self.size[0] * self.size[1] * 3, 0
        words = np.zeros(-(-length // WORD), np.uint64)
        frame = words.view(np.uint8)[:length].reshape(*self.size, 3)
        for step, count in zip(self.steps.tolist(), self.counts.tolist(), strict=True):
            begin, end = end, end + count
            words[self.where[begin:end]] = self.words[begin:end]
            yield step, frame

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

    def _checked(self) -> KeptFrames:
        """Itself; DataError unless its changes lie in its frames."""
        columns = (self.steps, self.counts, self.where, self.words)
        words = -(-self.size[0] * self.size[1] * 3 // WORD)
        good = all(c.ndim == 1 and c.dtype.kind in "iu" for c in columns) and self.words.dtype == np.uint64
        good = good and len(self.steps) == len(self.counts) and len(self.where) == len(self.words)
        good = good and int(self.counts.astype(np.uint64).sum()) == len(self.where)
        good = good and (not len(self.steps) or int(self.steps.min()) >= 0)
        if not good or len(self.where) and not 0 <= int(self.where.min()) <= int(self.where.max()) < words:
            raise DataError("its changes do not fit its frames")
        return self

    def to_bytes(self, episode: str) -> bytes:
        """The content of its file; `episode` is the name of the episode they are of."""
        arrays = {name: getattr(self, name) for name in ("steps", "counts", "where", "words")}
        return pack(KIND, VERSION, {"size": list(self.size), "episode": episode}, arrays, level=1)

    @staticmethod
    def load(path: str | Path, episode: str) -> KeptFrames:
        """Read and verify. DataError: missing, damaged, of another episode or version."""
        fields, arrays = unpack(read_bytes(Path(path), KIND), KIND, VERSION, str(path), _REMEDY)
        with sound(str(path), KIND, _REMEDY):
            _FIELDS(fields, "")
            if fields["episode"] != episode:
                raise DataError(f"{path}: holds frames of {fields['episode']}; {_REMEDY}")
            return KeptFrames(tuple(fields["size"]), **arrays)._checked()
