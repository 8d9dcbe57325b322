"""`--record`: games, and what a deployed bundle sees, written into a recording."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data_flywheel.episodes.episode import Episode, EpisodeRecorder
from data_flywheel.episodes.films import pieces
from data_flywheel.episodes.recorder import Recorder
from data_flywheel.episodes.recording import Recording
from data_flywheel.errors import DataError
from data_flywheel.storage.frames import CodedFrames, Frames, coded
from logic.runtime.controller import Decision
from triune.errors import EXIT_FAILED, UsageError, one_line
from triune.play.loop import finish
from triune.version import __version__

if TYPE_CHECKING:
    from envs.actions import Action
    from envs.remote import Outcome
    from triune.console import Console
    from triune.runtime import Bundle, Why
    from triune.system import System


# ----------------------------------------------------------------------------------------------------
# `--record`: what a command is told about recording, and the recorder that each process makes of it.


Job = dict[str, Any]  # folder, frames, disk: JSON values, for worker processes


def record_job(args: argparse.Namespace, system: System) -> Job | None:
    """What was asked, checked before anything is played; the folder is made, and what labels speak of is kept."""
    from data_flywheel.episodes.recording import FramePolicy, parse_bytes
    from data_flywheel.labels.store import want_labelled

    try:
        FramePolicy.parse(args.record_frames)
        job = {"folder": args.record, "frames": args.record_frames, "disk": parse_bytes(args.disk)}
    except DataError as error:
        raise UsageError(str(error)) from None
    if not args.record:
        if args.record_frames != "none":
            raise UsageError("--record-frames needs a folder to record into: --record FOLDER")
        return None
    recorder = open_recorder(job, system)
    assert recorder
    want_labelled(recorder.recording, str(Path("runs") / "labels" / system.name))
    return job | {"folder": str(Path(args.record).resolve())}


def open_recorder(job: Job | None, system: System) -> Recorder | None:
    """The recorder of this process; None when nothing is recorded. DataError: a folder of another task, damage."""
    if not job:
        return None
    size = (system.spec.env.height, system.spec.env.width)
    return Recorder(Recording.create(job["folder"], system.name, system.schema, size), job["frames"], job["disk"])


def told_recording(folder: str, games: Sequence[str | None], console: Console) -> dict[str, Any]:
    """Say how many of the games that were played now, by their names there, the recording holds; for the payload. It
    failed where that is none; why a game is not there was said when it was written."""
    try:
        there = Recording(folder).names()
    except (DataError, OSError) as error:
        there = []
        console.log(f"not recorded: {one_line(error)}")
    recorded = len(set(games) & set(there))
    console.say(f"recording  {folder}: recorded {recorded} of {len(games)} game{'' if len(games) == 1 else 's'}")
    told = {"recording": folder, "recorded": recorded, "lost": len(games) - recorded}
    return told | ({"exit_code": EXIT_FAILED} if games and not recorded else {})


# ----------------------------------------------------------------------------------------------------
# What `triune run --record` keeps: the scenes and decisions of a bundle at work, and every frame of a camera or
# video.
#
# A game is played again from its seed, so its frames are not kept. A film cannot be played again: its frames stand
# in its episodes, which are pieces of it, so that a kill costs one piece at most.


PIECE = 600  # steps of a film in one episode, fewer where they would take more than ...
PIECE_BYTES = 64 << 20  # ... this of memory
SPARE = 1_000_000  # bytes for the log of a recording
RECORDED = "recorded"  # the reason of steps on which nothing was decided
SPREAD = 37  # pieces are numbered so that some of any twenty-five or so are of the test split


class Pictures:
    """The frames of a piece while it is seen: every bit of them, or as JPEG of a quality from 1 to 100."""

    def __init__(self, quality: int | None) -> None:
        self.quality = quality
        self._kept: list[np.ndarray] = []

    def add(self, frame: np.ndarray) -> None:
        """uint8[H, W, 3], which may be written over afterwards."""
        self._kept.append(coded(frame, self.quality) if self.quality else frame.copy())

    def into(self, episode: Episode) -> Episode:
        """The episode with them; the next piece begins empty."""
        kept, self._kept = self._kept, []
        if self.quality:
            return replace(episode, frames=CodedFrames.from_pictures(kept))
        return replace(episode, frames=Frames.from_rgb(np.stack(kept)))

    def most(self, size: tuple[int, int]) -> int:
        """How many make a piece, of frames of (height, width)."""
        return PIECE if self.quality else max(1, min(PIECE, PIECE_BYTES // (size[0] * size[1] * 3)))


def a_minute(recorder: Recorder, frames: int, hz: float) -> int:
    """Bytes that a minute of what a run recorded took; 0 where nothing was."""
    return round(recorder.written / frames * hz * 60) if frames else 0


class FilmRecorder:
    """Adds the pictures of a film or camera to a recording, before there is a detector: scenes are empty, the action is
    the fallback. `numbers` of a piece's meta: the place of each picture in its source, by which labels find it.

    quality: of JPEG pictures, 1 to 100; None: every bit is kept.
    """

    def __init__(
        self, system: System, folder: Path, source: str, size: int, disk: int, quality: int | None,
        tell: Callable[[str], None],
    ) -> None:  # fmt: skip
        """`source` and its `size` in bytes (0 of a live one) name it. DataError: another task's folder."""
        self.system, self.source, self.size = system, source, size
        env = system.spec.env
        place = Recording.create(folder, system.name, system.schema, (env.height, env.width))
        self.recorder = Recorder(place, "none", disk, tell)
        self._pictures = Pictures(quality)
        self._piece = self._pictures.most(place.size)
        self._number = len(place.ledger.entries) + len(place.ledger.gone)
        self._standby = Decision(env.fallback, RECORDED, env.fallback)
        self._hashes = system.hashes()
        self._empty = system.schema.empty()
        self._steps: EpisodeRecorder | None = None
        self._numbers: list[int] = []

    @property
    def last(self) -> int:
        """Number of the last picture of this very source that is recorded already; -1 without one."""
        found = [piece for piece in pieces(self.recorder.recording.folder) if piece.source == self.source]
        return max((piece.numbers[-1] for piece in found if piece.size == self.size and piece.numbers), default=-1)

    @property
    def bytes_taken(self) -> int:
        """Of all pieces in the recording, those being written left out."""
        return sum(entry.size + entry.frame_size for entry in self.recorder.recording.ledger.entries.values())

    def has_room(self, disk: int) -> bool:
        """Whether another piece fits into so many bytes without one having to go; waits for the one being written."""
        self.recorder.settle()
        largest = max((entry.size for entry in self.recorder.recording.ledger.entries.values()), default=0)
        return self.bytes_taken + 1.1 * largest + SPARE < disk

    def see(self, frame: np.ndarray, number: int, second: float) -> bool:
        """A picture uint8[H, W, 3]; whether a piece is full with it, and is being written."""
        if self._steps is None:
            self._steps = EpisodeRecorder(self._meta(second))
        self._steps.add(self._empty, self._standby, 0, 0)  # type: ignore[arg-type]
        self._pictures.add(frame)
        self._numbers.append(number)
        if len(self._numbers) < self._piece:
            return False
        self._end()
        return True

    def close(self) -> int:
        """Write what is left; how many pieces were recorded."""
        self._end()
        self.recorder.close()
        return self.recorder.kept

    def _end(self) -> None:
        if self._steps is None:
            return
        self.recorder.keep(self._pictures.into(self._steps.finish(numbers=self._numbers)))
        self._number, self._steps, self._numbers = self._number + 1, None, []

    def _meta(self, second: float) -> dict[str, Any]:
        hashes = self._hashes
        return {
            "task": self.system.name, "protocol": self.system.protocol().name, "seed": self._number * SPREAD % 1000,
            "shift": None, "eyes": "none", "schema": hashes["schema"], "policy": hashes["policy"],
            "safety": hashes["safety"], "weights": None, "triune": __version__, "source": self.source,
            "source_bytes": self.size, "at": round(second, 4),
        }  # fmt: skip


class BundleRecorder:
    """Adds to a recording what one run of a bundle sees. `seed`: of a game; None for a film of `source`."""

    def __init__(
        self, bot: Bundle, folder: str, disk: int, source: str, seed: int | None, tell: Callable[[str], None],
        quality: int | None = None,
    ) -> None:  # fmt: skip
        """`quality`: of JPEG pictures; None: every bit is kept. DataError: the folder records another task, scene or
        frame size."""
        self.bot, self.source, self.seed = bot, source, seed
        high, wide, _ = bot.frame_shape
        self.recorder = Recorder(Recording.create(folder, bot.task, bot.schema, (high, wide)), "none", disk, tell)
        self._pictures = Pictures(quality)
        self._piece, self.frames = self._pictures.most((high, wide)), 0
        self._number = len(self.recorder.recording.names())
        self._steps: EpisodeRecorder | None = None
        self._count, self._began = 0, time.perf_counter()

    def see(self, frame: np.ndarray, action: Action, why: Why) -> None:
        """A step: its frame uint8[H, W, 3], and the action that was sent."""
        if self._steps is None:
            self._steps = EpisodeRecorder(self._meta())
        decision = Decision(action, why.reason, why.wanted, why.overruled_by, why.fault)
        self._steps.add(why.scene.vector, decision, 0, 0)  # type: ignore[arg-type]
        if self.seed is None:
            self._pictures.add(frame)
        self._count, self.frames = self._count + 1, self.frames + 1
        if self.seed is None and self._count == self._piece:
            self._end()

    def close(self, sheet: Outcome | None = None) -> int:
        """Write what is left; how many episodes were recorded. `sheet`: of a game; one without it is left out."""
        if self._steps is not None and sheet is not None:
            self.recorder.keep(finish(self._steps, sheet, time.perf_counter() - self._began))
        elif self.seed is None:
            self._end()
        self.recorder.close()
        return self.recorder.kept

    def _end(self) -> None:
        if self._steps is not None:
            self.recorder.keep(self._pictures.into(self._steps.finish()))
            self._number, self._steps, self._count = self._number + 1, None, 0

    def _meta(self) -> dict[str, Any]:
        manifest, hashes = self.bot.manifest, self.bot.manifest["hashes"]
        seed = self._number * SPREAD % 1000 if self.seed is None else self.seed
        return {
            "task": self.bot.task, "protocol": self.bot.protocol.name, "seed": seed, "shift": None, "eyes": "cnn",
            "schema": self.bot.schema.fingerprint, "policy": hashes.get("policy.py"),
            "safety": hashes.get("safety.py"), "weights": manifest["eyes"]["sha256"], "triune": __version__,
            **({"source": self.source} if self.seed is None else {}),
        }  # fmt: skip
