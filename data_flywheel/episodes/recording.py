"""A recording: a folder of episodes and kept frames that any number of processes may write, within a disk budget."""

from __future__ import annotations

import difflib
import json
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_flywheel.episodes.episode import Episode, setbacks
from data_flywheel.episodes.frame_buffer import KeptFrames, Size
from data_flywheel.errors import DataError
from data_flywheel.storage.container import header_text, sound
from data_flywheel.storage.files import atomic_write, canonical_json
from data_flywheel.storage.log import Log
from envs import shape
from envs.files import read_json, stays
from envs.shape import is_name
from envs.writing import no_room
from perception.scene import SceneSchema

# ----------------------------------------------------------------------------------------------------
# Which frames of a game are kept: none, those around failures, every Nth, or all; and what counts as a failure.


BEFORE, AFTER = 40, 10  # steps kept around a failure: its cause lies before it
KINDS = ("none", "failures", "sampled:N", "all")
_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}

Steps = NDArray[np.int64]


@dataclass(frozen=True)
class FramePolicy:
    """`kind`: none, failures, sampled or all. `every`: of sampled; `window`: frames that the detector sees together."""

    kind: str
    every: int = 1
    window: int = 1

    @staticmethod
    def parse(text: str, window: int = 1) -> FramePolicy:
        """From the command line; DataError names the nearest valid choice."""
        sampled = re.fullmatch(r"sampled:(\d{1,9})", text)
        if sampled and int(sampled[1]) > 0:
            return FramePolicy("sampled", int(sampled[1]), window)
        if text in ("none", "failures", "all"):
            return FramePolicy(text, window=window)
        close = difflib.get_close_matches(text, KINDS, 1, 0.5)
        hint = f"did you mean {close[0]!r}?" if close else f"choose from {', '.join(KINDS)}"
        raise DataError(f"unknown policy of frames {text!r}; {hint} (N: a whole number from 1)")

    def wants(self, step: int) -> bool:
        """Whether the frame of a step may be kept, as far as is known while the game runs."""
        if self.kind == "sampled":  # and the frames that the detector sees together with it
            return (-step) % self.every < self.window
        return self.kind != "none"

    def steps(self, episode: Episode, schema: SceneSchema) -> Steps:
        """Which steps stay, of those that were wanted, once the game is over."""
        if self.kind != "failures":
            return np.arange(len(episode))
        found = [steps for steps in failures(episode, schema).values() if len(steps)]
        return _around(np.concatenate(found), len(episode), self.window) if found else np.zeros(0, np.int64)


def failures(episode: Episode, schema: SceneSchema) -> dict[str, Steps]:
    """Steps at which something went wrong, by kind: life lost, points lost, perception lost, overruled, fault.

    Perception lost: a thing or reading that was seen is not, and something is still known of it. Kinds without a step
    are there, empty.
    """
    change = setbacks(episode.rewards())
    lives = np.diff(episode.lives.astype(np.int64), prepend=episode.lives[:1])
    return {
        "life lost": np.flatnonzero(lives < 0),
        "points lost": np.flatnonzero(change < 0),
        "perception lost": _lost(episode.scenes, schema),
        "overruled": np.flatnonzero(episode.overruled),
        "fault": np.flatnonzero(episode.faults),
    }


def _lost(scenes: NDArray[np.float32], schema: SceneSchema) -> Steps:
    lost = np.zeros(max(0, len(scenes) - 1), bool)
    for _, slot in schema.slots():
        seen, carried = scenes[:, slot.start] > 0.5, scenes[:, slot.stop - 1] > 0
        lost |= seen[:-1] & ~seen[1:] & carried[1:]
    return np.flatnonzero(lost) + 1


def _around(steps: Steps, length: int, window: int) -> Steps:
    edges = np.zeros(length + 1, np.int64)
    np.add.at(edges, np.maximum(steps - BEFORE - window + 1, 0), 1)
    np.add.at(edges, np.minimum(steps + AFTER + 1, length), -1)
    return np.flatnonzero(np.cumsum(edges[:-1]))


def parse_bytes(text: str) -> int:
    """Bytes in "500MB", "2GB", "1e6"; DataError says how it is written."""
    match = re.fullmatch(r"\s*([0-9.]+(?:e[0-9]+)?)\s*([kKmMgGtT]?[bB]?)\s*", text)
    unit = match[2].upper() if match else ""
    unit += "B" if unit in ("K", "M", "G", "T") else ""
    try:
        value = float(match[1]) * _UNITS[unit] if match else 0.0
    except ValueError:
        value = 0.0
    if not 1 <= value < 1e18:
        raise DataError(f"a size is written like 500MB or 2GB, got {text!r}")
    return int(value)


# ----------------------------------------------------------------------------------------------------
# The manifest of a recording, the names of its episodes, and writing that explains a failure.


KIND, VERSION = "triune recording", 1
MANIFEST = "recording.json"


_SIDE = shape.whole(1, 4096)
_MANIFEST = shape.table({
    "task": shape.name, "size": shape.row(_SIDE, _SIDE), "schema": shape.named(shape.anything)
})  # fmt: skip


def write_manifest(path: Path, task: str, schema: SceneSchema, size: Size) -> None:
    """The manifest of a new recording: what all its episodes have in common."""
    record = {"kind": KIND, "version": VERSION, "task": task, "size": list(size), "schema": schema.to_config()}
    record["sha256"] = _digest(record)
    write(path, (json.dumps(record, indent=1) + "\n").encode())  # unsorted: the order of things counts


def name_of(episode: Episode, payload: bytes) -> str:
    """Task, protocol, seed, and a hash of the header, which holds that of every array: as `EpisodeFrames` names it."""
    digest = sha256(header_text(payload)).hexdigest()[:12]
    meta = episode.meta
    name = f"{meta['task']}-{meta.get('protocol')}-seed{meta.get('seed')}-{digest}"
    if not is_name(name):
        raise DataError(f"an episode of {meta['task']!r} under {meta.get('protocol')!r} cannot name a file")
    return name


def name_in_recording(episode: Episode) -> str | None:
    """What a recording calls, or would call, this game; None where it cannot take it."""
    try:
        return name_of(episode, episode.to_bytes(FAST))
    except DataError:
        return None


def write(path: Path, payload: bytes) -> None:
    """Atomically; a DataError names the file, why it cannot be written and what to do."""
    try:
        atomic_write(path, payload)
    except OSError as error:
        room = "free some space, or record with a smaller --disk"
        reason = f"{error.strerror or error}; not recorded: {room if no_room(error) else 'record into another folder'}"
        raise DataError(f"{path}: {reason}") from error


def _digest(record: dict[str, Any]) -> str:
    body = {**record, "schema": json.dumps(record["schema"])}
    return sha256(canonical_json(body).encode()).hexdigest()


def read_manifest(path: Path) -> dict[str, Any]:
    """Parse and verify; DataError says what is wrong and how to go on."""
    fix = f"delete {path} and record into the folder again: the episodes in it stay"
    record = read_json(path, "recording manifest", DataError, fix)
    try:
        wanted = record.pop("sha256", None) if isinstance(record, dict) else None
        if not isinstance(record, dict) or record.get("kind") != KIND:
            raise DataError(f"{path}: not the manifest of a {KIND}")
        if record.get("version") != VERSION:
            found = f"{KIND} format version {record.get('version')}, but this program reads version {VERSION}"
            raise DataError(f"{path}: {found}; {fix}")
        if _digest(record) != wanted:
            raise DataError(f"{path}: checksum mismatch: damaged or changed by hand; {fix}")
    except (ValueError, KeyError) as error:
        raise DataError(f"{path}: damaged or half-written manifest ({error}); {fix}") from error
    with sound(str(path), KIND, fix):
        _MANIFEST(record, "")
    return record


# ----------------------------------------------------------------------------------------------------
# What a recording folder holds by its log, and what must go when the disk budget is full.
#
# The order of going is that of worth: first the frames of the oldest uninteresting episode, its record of scenes
# and decisions when no such frames are left; then the same of episodes with failures. What a label or data set
# wants never goes.


RECORDED, EVICTED, WANTED, CUT = "recorded", "evicted", "wanted", "frames cut"
EPISODE, FRAMES = "episode", "frames"
LINE = 400  # bytes of the log that a game, or its going, takes at most


@dataclass
class Entry:
    """One episode. Sizes in bytes; `kept` frames; `failures`: steps of each kind; `wanted`: by whom."""

    name: str
    size: int
    steps: int
    frame_size: int = 0
    kept: int = 0
    failures: dict[str, int] = field(default_factory=dict)
    wanted: set[str] = field(default_factory=set)
    at: float = 0.0

    @property
    def interesting(self) -> bool:
        """Whether something went wrong in it, or somebody wants it."""
        return bool(self.wanted) or any(self.failures.values())

    def record(self) -> dict[str, Any]:
        """For the log."""
        names = ("size", "steps", "frame_size", "kept", "failures", "at")
        return {"kind": RECORDED, "episode": self.name, **{name: getattr(self, name) for name in names}}


_RECORDED = shape.table({
    **dict.fromkeys(("size", "steps", "frame_size", "kept"), shape.whole(0)),
    "failures": shape.named(shape.whole(0)), "at": shape.number(),
})  # fmt: skip


class Ledger:
    """The episodes of a folder, oldest first, as the log tells."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.gone: set[str] = set()  # episodes that were evicted
        self.frames_gone: set[str] = set()
        self._wanted: dict[str, set[str]] = {}

    def apply(self, record: dict[str, Any]) -> None:
        """One record of the log. KeyError, TypeError or ValueError when it makes no sense."""
        name = record["episode"]
        if not isinstance(name, str) or not is_name(name):
            raise ValueError("it names no episode")
        if record["kind"] == RECORDED:
            _RECORDED(record, "")
            failures = {str(kind): int(count) for kind, count in record["failures"].items()}
            sizes = {key: int(record[key]) for key in ("size", "steps", "frame_size", "kept")}
            self.entries.pop(name, None)
            self.entries[name] = Entry(
                name, **sizes, failures=failures, wanted=self.wanted(name), at=float(record["at"])
            )
            self.gone.discard(name)
            if sizes["frame_size"]:
                self.frames_gone.discard(name)
        elif record["kind"] == WANTED:
            self.wanted(name).add(str(record["by"]))
        elif record["kind"] == EVICTED:
            self._evict(name, record["what"])

    def _evict(self, name: str, what: str) -> None:
        self.frames_gone.add(name)
        if what == EPISODE:
            self.gone.add(name)
            self.entries.pop(name, None)
        elif name in self.entries:
            self.entries[name].frame_size = self.entries[name].kept = 0

    @property
    def size(self) -> int:
        """Bytes of all episodes and frames."""
        return sum(entry.size + entry.frame_size for entry in self.entries.values())

    def wanted(self, name: str) -> set[str]:
        """Who wants an episode, present or not."""
        return self._wanted.setdefault(name, set())

    def evictions(self, new: Entry, budget: int) -> Iterator[tuple[Entry, str]]:
        """What must go, "frames" or "episode" of which entry, so that `new` fits into so many bytes.

        It may be the new one itself: always where it is larger than the whole budget.
        """
        large = [what for what, size in ((FRAMES, new.size + new.frame_size), (EPISODE, new.size)) if size > budget]
        yield from ((new, what) for what in large)
        if EPISODE in large:
            return
        over = self.size + new.size + LINE - budget + (0 if large else new.frame_size)
        for entry, what in self._by_worth(new):
            freed = (entry.frame_size if what == FRAMES else entry.size) - LINE
            if over > 0 and freed > 0 and not (large and entry is new and what == FRAMES):
                over -= freed
                yield entry, what
        if over > 0 and new.wanted:
            yield new, EPISODE

    def _by_worth(self, new: Entry) -> Iterator[tuple[Entry, str]]:
        """Everything that nobody wants, least worth first."""
        entries = [entry for entry in (*self.entries.values(), new) if not entry.wanted]
        for interesting in (False, True):
            for what in (FRAMES, EPISODE):
                yield from ((entry, what) for entry in entries if entry.interesting == interesting)


# ----------------------------------------------------------------------------------------------------
# A recording: a folder of episodes and kept frames that any number of processes may write, within a disk budget.
#
# recording.json task, scene schema, frame size, checksum episodes/NAME.npz scenes and decisions of one game, as
# `episode.py` writes them frames/NAME.npz the frames that were kept of it recording-000001.jsonl the log: what was
# recorded, is wanted, was evicted; only ever added to
#
# An episode is there once its file and its line in the log are; what a kill left half done is finished or cleared
# by whoever opens the folder next.


FAST = 3  # level of compression: nearly twice as fast as the usual one, files 4 % larger


class Recording:
    """A recording folder. `Recording(folder)` opens one, `Recording.create` starts (or continues) one."""

    def __init__(self, folder: str | Path, now: Callable[[], float] = time.time) -> None:
        """DataError: no recording there, one of another kind or version, a damaged manifest."""
        self.folder, self._now = Path(folder), now
        record = read_manifest(self.folder / MANIFEST)
        for inner in ("episodes", "frames"):
            stays(self.folder / inner, self.folder, DataError)
        self.task: str = record["task"]
        self.size: Size = tuple(record["size"])
        self.schema = SceneSchema.from_config(record["schema"])
        self.ledger = Ledger()
        self._log = Log(self.folder, KIND, {"fingerprint": self.schema.fingerprint}, "recording")
        self._odd: dict[str, str] = {}
        with self._log.held():
            self.sync()
            self._tidy()

    @staticmethod
    def create(
        folder: str | Path, task: str, schema: SceneSchema, size: Size, now: Callable[[], float] = time.time
    ) -> Recording:
        """Start a recording, or open the one there; DataError when that is of another task, schema or frame size."""
        path = Path(folder) / MANIFEST
        schema = SceneSchema.from_config(schema.to_config())  # as it reads from a file: 0 for a float is 0.0
        if not path.exists():
            write_manifest(path, task, schema, size)
        there = Recording(folder, now)
        if (there.task, there.schema.fingerprint, there.size) != (task, schema.fingerprint, tuple(size)):
            what = f"games of {there.task}" if there.task != task else "another scene schema or frame size"
            raise DataError(f"{folder} records {what}; name another folder")
        return there

    def sync(self) -> None:
        """Read what others have written."""
        for record in self._log.news():
            try:
                self.ledger.apply(record)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                self._odd[str(record.get("id"))] = f"{self.folder}: record {record.get('id')} makes no sense ({error})"

    @property
    def problems(self) -> list[str]:
        """What is damaged or missing, one sentence each; everything else can be read."""
        return [*self._log.problems, *self._odd.values()]

    def add(self, episode: Episode, frames: KeptFrames | None = None, disk: int | None = None) -> str | None:
        """Write a game; once this returns, it is on disk for good. Its name; None: all else was worth more.

        disk: bytes the whole folder may take. DataError when the disk is full: nothing of this game was kept.
        """
        payload = episode.to_bytes(FAST)
        name = name_of(episode, payload)
        pixels = frames.to_bytes(name) if frames is not None and len(frames) else b""
        found = {kind: len(steps) for kind, steps in failures(episode, self.schema).items()}
        kept = len(frames) if frames is not None else 0
        with self._log.held():
            self.sync()
            if name in self.ledger.entries:
                return name
            new = Entry(name, len(payload), len(episode), len(pixels), kept, found, at=self._now())
            new.wanted = self.ledger.wanted(name)
            dropped = self._make_room(new, disk)
            if EPISODE in dropped:
                return None
            if FRAMES not in dropped and pixels:
                write(self.path(name, FRAMES), pixels)
            self._finish(new, payload)
        return name

    def _finish(self, new: Entry, payload: bytes) -> None:
        try:
            write(self.path(new.name), payload)
            self._append([new.record()])
        except DataError:
            for what in (EPISODE, FRAMES):
                self.path(new.name, what).unlink(missing_ok=True)
            raise

    def _make_room(self, new: Entry, disk: int | None) -> list[str]:
        """Evict, logged before it is done; what the new episode itself has to do without."""
        if disk is None:
            return []
        other = sum(path.stat().st_size for path in self.folder.glob("recording*"))
        out = list(self.ledger.evictions(new, disk - other))
        why = f"disk budget of {disk} bytes"
        lines = [{"kind": EVICTED, "episode": e.name, "what": what, "why": why, "at": self._now()} for e, what in out]
        if lines:
            self._append(lines)
        for entry, what in out:
            self.path(entry.name, what).unlink(missing_ok=True)
        own = [what for entry, what in out if entry is new]
        if FRAMES in own:
            new.frame_size = new.kept = 0
        return own

    def want(self, names: Iterable[str], by: str) -> list[str]:
        """These episodes must stay, because `by` needs them; the names that are here."""
        with self._log.held():
            self.sync()
            here = [name for name in dict.fromkeys(names) if name in self.ledger.entries]
            lines = [
                {"kind": WANTED, "episode": name, "by": by, "at": self._now()}
                for name in here
                if by not in self.ledger.entries[name].wanted
            ]
            if lines:
                self._append(lines)
        return here

    def note_cut(self, name: str, last: int) -> None:
        """Log that a game's frames after step `last` were too many to be kept."""
        with self._log.held():
            self.sync()
            self._append([{"kind": CUT, "episode": name, "after": last, "at": self._now()}])

    def _append(self, lines: list[dict[str, Any]]) -> None:
        for record in self._log.append(lines):
            self.ledger.apply(record)

    def path(self, name: str, what: str = EPISODE) -> Path:
        """Where an episode, or what was kept of its frames, stands."""
        return self.folder / ("episodes" if what == EPISODE else "frames") / f"{name}.npz"

    def names(self) -> list[str]:
        """Every episode, oldest first."""
        return list(self.ledger.entries)

    def episode(self, name: str) -> Episode:
        """The record of one game; DataError names the file when it is missing or damaged."""
        return Episode.load(self.path(name))

    def frames(self, name: str) -> KeptFrames | None:
        """The frames kept of a game; None when there are none. DataError names a damaged file."""
        path = self.path(name, FRAMES)
        return KeptFrames.load(path, name) if path.exists() else None

    def __iter__(self) -> Iterator[tuple[str, Episode]]:
        """Name and record of every game that can be read; the others are named in `problems`."""
        for name in self.names():
            try:
                yield name, self.episode(name)
            except DataError as error:
                self._odd[name] = str(error)

    def _tidy(self) -> None:
        """Finish what a kill left half done: under the lock, nobody else is at work."""
        if not os.access(self.folder, os.W_OK):
            return
        parts = (".recording-*.part", "episodes/.*.part", "frames/.*.part")
        for part in (path for pattern in parts for path in self.folder.glob(pattern)):
            part.unlink(missing_ok=True)
        for what, out in ((EPISODE, self.ledger.gone), (FRAMES, self.ledger.frames_gone)):
            for name in out:
                self.path(name, what).unlink(missing_ok=True)
        here = {path.stem for path in self.folder.glob("episodes/*.npz")}
        for path in self.folder.glob("frames/*.npz"):
            if path.stem not in here | self.ledger.entries.keys():  # one that is listed may be restored from a copy
                path.unlink()
        self._adopt(sorted(here - self.ledger.entries.keys()))
        for name in sorted(self.ledger.entries.keys() - here):
            self._odd[name] = f"{self.path(name)} is missing, although the log names it; restore it from a copy"

    def _adopt(self, names: list[str]) -> None:
        """Whole episodes without a line in the log: the kill came between the two, or the line was damaged."""
        for name in names:
            try:
                episode, frames = self.episode(name), self.frames(name)
            except DataError as error:
                self._odd[name] = str(error)
                continue
            sizes = [path.stat().st_size if path.exists() else 0 for path in (self.path(name), self.path(name, FRAMES))]
            found = {kind: len(steps) for kind, steps in failures(episode, self.schema).items()}
            kept = len(frames) if frames is not None else 0
            self._append([Entry(name, sizes[0], len(episode), sizes[1], kept, found, at=self._now()).record()])
