"""Where the pixels behind a label are: frames of data sets and of recorded episodes, found again by their reference.

An episode recorded without frames is played again from its seed and actions.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from data_flywheel.episodes.episode import KIND as EPISODE_KIND
from data_flywheel.episodes.episode import Episode
from data_flywheel.errors import DataError
from data_flywheel.labels.label import FrameRef, Label, values_of
from data_flywheel.storage.container import header_text
from data_flywheel.storage.dataset import MANIFEST, Dataset, Shard
from data_flywheel.storage.frames import CodedFrames, Frames
from envs.env import protocol_of
from envs.files import loads, open_file
from envs.remote import PixelEnv
from envs.repeat import command_line
from envs.spec import SystemSpec
from perception.scene import SceneSchema

U8 = NDArray[np.uint8]
KEPT = 3  # shards or episodes in memory
CHUNK = 256  # frames encoded together


class FrameSource(Protocol):
    """What finds frames. `refs` lists them all; `rgb` gives uint8[H, W, 3], or a DataError that says what is gone."""

    def refs(self) -> Iterator[FrameRef]:
        """Every frame, in order."""
        ...

    def rgb(self, ref: FrameRef) -> U8:
        """The pixels."""
        ...


class _Kept:
    """The last few of what takes long to read."""

    def __init__(self, read: Callable[[Any], Any]) -> None:
        self._read, self._kept = read, OrderedDict[Any, Any]()

    def __call__(self, key: Any) -> Any:
        if key not in self._kept:
            self._kept[key] = self._read(key)
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]


class DatasetFrames:
    """Frames of a data set folder. The episode is named after task, seed and shard; the step is the row."""

    def __init__(self, folder: str | Path) -> None:
        self.dataset = Dataset(folder)
        self._shard = _Kept(self.dataset.read)

    def episode(self, shard: Shard) -> str:
        """The name of a shard's episode."""
        return f"{self.dataset.manifest.task}-seed{shard.seed}-shard{shard.number}"

    def refs(self, problems: list[str] | None = None) -> Iterator[FrameRef]:
        """Every frame; DataError names a damaged shard. With `problems` it is named there and left out instead."""
        for number in self.dataset.numbers():
            try:
                shard: Shard = self._shard(number)
            except DataError as error:
                if problems is None:
                    raise
                problems.append(str(error))
                continue
            for row in range(len(shard)):
                yield FrameRef.of(shard.frames.rgb(row), self.episode(shard), row, shard.seed)

    def rgb(self, ref: FrameRef) -> U8:
        """Pixels of one frame."""
        shard, row = self._find(ref)
        return _same(ref, shard.frames.rgb(row))

    def vector(self, ref: FrameRef) -> NDArray[np.float32]:
        """The Scene vector that the data set's teacher gave."""
        shard, row = self._find(ref)
        vector: NDArray[np.float32] = shard.scenes[row]
        return vector

    def labels(self, schema: SceneSchema, refs: Sequence[FrameRef], trust: float = 0.95) -> list[Label]:
        """The data set's own labels of some frames, as a teacher's."""
        who = f"teacher.py {self.dataset.manifest.teacher[:12]}"
        version = f"triune {self.dataset.manifest.triune}"
        return [Label(ref, "teacher", who, values_of(schema, self.vector(ref)), trust, version) for ref in refs]

    def _find(self, ref: FrameRef) -> tuple[Shard, int]:
        number = ref.episode.rpartition("-shard")[2]
        if not number.isdigit() or int(number) not in self.dataset.numbers():
            raise DataError(f"{ref}: not in {self.dataset.folder}")
        shard: Shard = self._shard(int(number))
        if self.episode(shard) != ref.episode or ref.step >= len(shard):
            raise DataError(f"{ref}: not in {self.dataset.folder}")
        return shard, ref.step


class EpisodeFrames:
    """Frames of every recorded episode under a folder (or of one file), as the detector reads them."""

    def __init__(self, folder: str | Path, spec: SystemSpec) -> None:
        """DataError: no episode there. Damaged files are named in `problems` and left out."""
        self.folder, self.spec = Path(folder), spec
        self.window = SceneSchema.from_config(spec.scene).window
        self.problems: list[str] = []
        self._paths = self._index()
        self._episode = _Kept(lambda name: Episode.load(self._paths[name]))
        self._stack: Callable[[str], _Stack] = _Kept(self._read)
        if not self._paths:
            told = "; ".join(self.problems) or "record some with `triune play` or `triune eval`"
            raise DataError(f"{folder}: no recorded episode of {spec.name}: {told}")

    def _index(self) -> dict[str, Path]:
        """Episode name -> file. The name holds the hash of the header, which holds that of every array."""
        found: dict[str, Path] = {}
        for path in [self.folder] if self.folder.is_file() else sorted(self.folder.rglob("*.npz")):
            try:
                with open_file(path, EPISODE_KIND, DataError) as file:
                    text = header_text(file)
                header = loads(text)
                meta = header["fields"]["meta"] if header["kind"] == EPISODE_KIND else {"task": ""}
                mine = meta["task"] == self.spec.name
                name = f"{meta['task']}-{meta['protocol']}-seed{meta['seed']}" if mine else ""
            except Exception as error:  # whatever numpy and zipfile raise on damaged bytes
                self.problems.append(f"{path}: damaged or no episode ({type(error).__name__}: {error})")
                continue
            if mine:
                found[f"{name}-{sha256(text).hexdigest()[:12]}"] = path
        return found

    def names(self) -> list[str]:
        """All episodes."""
        return list(self._paths)

    def episode(self, name: str) -> Episode:
        """The record; DataError when it is not here or damaged."""
        if name not in self._paths:
            raise DataError(f"episode {name} is not in {self.folder}")
        episode: Episode = self._episode(name)
        return episode

    def refs(self) -> Iterator[FrameRef]:
        """Every frame of every episode."""
        for name in self._paths:
            for step in range(len(self._stack(name))):
                yield self.ref(name, step)

    def ref(self, name: str, step: int) -> FrameRef:
        """The reference of one frame of one episode."""
        return FrameRef.of(self._frame(name, step), name, step, self.episode(name).meta["seed"])

    def rgb(self, ref: FrameRef) -> U8:
        """Pixels of one frame."""
        self.episode(ref.episode)
        if ref.step >= len(self._stack(ref.episode)):
            raise DataError(f"{ref}: the episode has {len(self._stack(ref.episode))} steps")
        return _same(ref, self._frame(ref.episode, ref.step))

    def _frame(self, name: str, step: int) -> U8:
        stack = self._stack(name)
        frames = [stack[i] for i in range(max(0, step + 1 - self.window), step + 1)]
        return np.maximum.reduce(frames) if len(frames) > 1 else frames[0]

    def _read(self, name: str) -> _Stack:
        episode = self.episode(name)
        return _Stack([episode.frames]) if episode.frames is not None else _Stack(list(self._replayed(episode)))

    def _replayed(self, episode: Episode) -> Iterator[Frames]:
        """The frames again, from seed and actions, encoded a few at a time."""
        meta, frames = episode.meta, list[U8]()
        with PixelEnv(self.spec.env, protocol_of(self.spec.env, meta["protocol"]), meta.get("shift")) as env:
            frame = env.reset(meta["seed"])
            for action in episode.actions:
                frames.append(frame.copy())
                if len(frames) == CHUNK:
                    yield Frames.from_rgb(np.stack(frames))
                    frames.clear()
                if env.done:
                    break
                frame = env.step(env.actions.check(action))
        if frames:
            yield Frames.from_rgb(np.stack(frames))


class _Stack:
    """Frames in chunks of CHUNK (or in one), each taken out by itself: a long episode as RGB would fill the memory."""

    def __init__(self, chunks: Sequence[Frames | CodedFrames]) -> None:
        self._chunks = chunks

    def __len__(self) -> int:
        return sum(map(len, self._chunks))

    def __getitem__(self, step: int) -> U8:
        chunk, row = divmod(step, CHUNK) if len(self._chunks) > 1 else (0, step)
        return self._chunks[chunk].rgb(row)


class Places:
    """Several places at once; the first that has a frame gives it."""

    def __init__(self, sources: Sequence[FrameSource]) -> None:
        self.sources = tuple(sources)

    def refs(self) -> Iterator[FrameRef]:
        """Every frame of every place."""
        for source in self.sources:
            yield from source.refs()

    def rgb(self, ref: FrameRef) -> U8:
        """Pixels of one frame; DataError tells why no place has it."""
        reasons = []
        for source in self.sources:
            try:
                return source.rgb(ref)
            except DataError as error:
                reasons.append(str(error))
        raise DataError("; ".join(reasons) or f"{ref}: no place to look for frames was named")


def open_frames(folder: str | Path, spec: SystemSpec) -> DatasetFrames | EpisodeFrames:
    """A data set (it has a manifest), or else recorded episodes. DataError when it is neither."""
    if not Path(folder).exists():
        raise DataError(f"{folder}: no such data; make some with `{command_line('collect', spec.called, out=folder)}`")
    return DatasetFrames(folder) if (Path(folder) / MANIFEST).exists() else EpisodeFrames(folder, spec)


def _same(ref: FrameRef, rgb: U8) -> U8:
    if FrameRef.of(rgb, ref.episode, ref.step, ref.seed).digest != ref.digest:
        raise DataError(f"{ref}: its pixels are not those that were labelled; the recording was made anew")
    return rgb
