"""A recording: a folder of episodes and kept frames that any number of processes may write, within a disk budget.

    recording.json          task, scene schema, frame size, checksum
    episodes/NAME.npz       scenes and decisions of one game, as `episode.py` writes them
    frames/NAME.npz         the frames that were kept of it
    recording-000001.jsonl  the log: what was recorded, is wanted, was evicted; only ever added to

Knows files and their order on disk. An episode is there once its file and its line in the log are; what a kill left
half done is finished or cleared by whoever opens the folder next. Does not know how frames are chosen or games played.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from data_flywheel.episodes.episode import Episode
from data_flywheel.episodes.frame_buffer import KeptFrames, Size
from data_flywheel.episodes.recorder_files import KIND, MANIFEST, name_of, read_manifest, write, write_manifest
from data_flywheel.episodes.recorder_ledger import CUT, EPISODE, EVICTED, FRAMES, WANTED, Entry, Ledger
from data_flywheel.episodes.recorder_policy import failures
from data_flywheel.errors import DataError
from data_flywheel.storage.log import Log
from perception.scene import SceneSchema

FAST = 3  # level of compression: nearly twice as fast as the usual one, files 4 % larger


class Recording:
    """A recording folder. `Recording(folder)` opens one, `Recording.create` starts (or continues) one."""

    def __init__(self, folder: str | Path, now: Callable[[], float] = time.time) -> None:
        """DataError: no recording there, one of another kind or version, a damaged manifest."""
        self.folder, self._now = Path(folder), now
        record = read_manifest(self.folder / MANIFEST)
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
        for part in (*self.folder.glob(".recording-*.part"), *self.folder.glob("*/.*.part")):
            part.unlink(missing_ok=True)
        for what, out in ((EPISODE, self.ledger.gone), (FRAMES, self.ledger.frames_gone)):
            for name in out:
                self.path(name, what).unlink(missing_ok=True)
        here = {path.stem for path in self.folder.glob("episodes/*.npz")}
        for path in self.folder.glob("frames/*.npz"):
            if path.stem not in here:
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
