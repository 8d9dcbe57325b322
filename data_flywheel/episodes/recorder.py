"""What a run holds to record its games: the folder, which frames to keep, how much disk.

recorder = Recorder(Recording.create(folder, task, schema, (H, W)), "failures", disk=parse_bytes("500MB"))
seen = recorder.frame_buffer()                # one for each game
if seen: seen.see(step, frame)                # every step, before the action
recorder.keep(episode, seen)                  # once the game is over
recorder.close()                              # once the run is
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from data_flywheel.episodes.episode import Episode
from data_flywheel.episodes.frame_buffer import FrameBuffer
from data_flywheel.episodes.recording import FramePolicy, Recording
from data_flywheel.errors import DataError
from envs.terminal import printable


class Recorder:
    """Records the games of one run. `frames`: none, failures, sampled:N or all. `disk`: bytes for the whole folder.

    A game is written while the next one is played. tell: hears of games that could not be recorded; the run goes on.
    """

    def __init__(
        self, recording: Recording, frames: str = "none", disk: int | None = None,
        tell: Callable[[str], None] = lambda text: print(printable(text), file=sys.stderr),
    ) -> None:  # fmt: skip
        self.recording, self.disk, self._tell = recording, disk, tell
        self.policy = FramePolicy.parse(frames, recording.schema.window)
        self.kept, self.left_out, self.written = 0, 0, 0  # games, games, bytes
        self._writer = ThreadPoolExecutor(1, "recorder")
        self._pending: tuple[Episode, Future[str | None]] | None = None

    def frame_buffer(self) -> FrameBuffer | None:
        """For the frames of the next game; None when none are kept."""
        if self.policy.kind == "none":
            return None
        return FrameBuffer(self.recording.size, wants=self.policy.wants if self.policy.kind == "sampled" else None)

    def keep(self, episode: Episode, frame_buffer: FrameBuffer | None = None) -> None:
        """Write a finished game; it is on disk for good once `settle` has returned, which the next `keep` calls."""
        self.settle()
        self._pending = episode, self._writer.submit(self._write, episode, frame_buffer)

    def settle(self) -> str | None:
        """Wait for the game being written: its name; None when it was not kept, which is told, or there is none."""
        if self._pending is None:
            return None
        (episode, written), self._pending = self._pending, None
        name, why = None, "everything else in its folder is worth more; raise --disk"
        try:
            name = written.result()
        except DataError as error:
            why = str(error)
        if name is None:
            self._tell(f"not recorded: seed {episode.meta.get('seed')}: {why}")
        self.kept += name is not None
        self.left_out += name is None
        return name

    def close(self) -> None:
        """Wait for what is being written."""
        self.settle()
        self._writer.shutdown()

    def _write(self, episode: Episode, frame_buffer: FrameBuffer | None) -> str | None:
        frames = frame_buffer.keep(self.policy.steps(episode, self.recording.schema)) if frame_buffer else None
        name = self.recording.add(episode, frames, self.disk)
        if name and (entry := self.recording.ledger.entries.get(name)):
            self.written += entry.size + entry.frame_size
        if name and frame_buffer and frame_buffer.cut:
            self.recording.note_cut(name, frame_buffer.last)
        return name
