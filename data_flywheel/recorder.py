"""What a run holds to record its games: the folder, which frames to keep, how much disk.

    recorder = Recorder(Recording.create(folder, task, schema, (H, W)), "failures", disk=parse_bytes("500MB"))
    tape = recorder.tape()                        # one for each game
    if tape: tape.see(step, frame)                # every step, before the action
    recorder.keep(episode, tape)                  # once the game is over

Knows how these go together, and that a run goes on when its recording fails. Does not know how a game is played.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from data_flywheel.episode import Episode
from data_flywheel.errors import DataError
from data_flywheel.labels_store import MANIFEST as LABELS
from data_flywheel.labels_store import LabelStore
from data_flywheel.recorder_folder import Recording
from data_flywheel.recorder_frames import MOST_BYTES, Tape
from data_flywheel.recorder_policy import FramePolicy


class GameTape:
    """The frames of one game as a policy wants them."""

    def __init__(self, policy: FramePolicy, tape: Tape) -> None:
        self._wants, self.tape = policy.wants, tape

    def see(self, step: int, frame: NDArray[np.uint8]) -> None:
        """The frame acted on at a step, uint8[H, W, 3]; DataError (it alone is left out) when its size is wrong."""
        if self._wants(step):
            self.tape.see(step, frame)


class Recorder:
    """Records the games of one run. `frames`: none, failures, sampled:N or all. `disk`: bytes for the whole folder.

    tell: hears, once each, of games that could not be recorded; the run goes on without them.
    """

    def __init__(
        self, recording: Recording, frames: str = "none", disk: int | None = None,
        tell: Callable[[str], None] = lambda text: print(text, file=sys.stderr),
    ) -> None:  # fmt: skip
        self.recording, self.disk, self._tell = recording, disk, tell
        self.policy = FramePolicy.parse(frames, recording.schema.window)
        self.kept, self.left_out = 0, 0

    def tape(self) -> GameTape | None:
        """For the frames of the next game; None when none are kept."""
        if self.policy.kind == "none":
            return None
        return GameTape(self.policy, Tape(self.recording.size, MOST_BYTES))

    def keep(self, episode: Episode, tape: GameTape | None = None) -> str | None:
        """Write a finished game; its name once it is on disk for good, None when it was not kept (and it is told)."""
        frames = tape.tape.keep(self.policy.steps(episode, self.recording.schema)) if tape else None
        try:
            name = self.recording.add(episode, frames, self.disk)
            if name and tape and tape.tape.cut:
                self.recording.note_cut(name, tape.tape.last)
        except DataError as error:
            self._tell(f"not recorded: seed {episode.meta.get('seed')}: {error}")
            self.left_out += 1
            return None
        self.kept += name is not None
        self.left_out += name is None
        return name


def want_labelled(recording: Recording, labels: str) -> list[str]:
    """Let the episodes stay that a folder of labels speaks of; their names. Without such labels, none."""
    try:
        store = LabelStore(labels)
    except DataError:
        return []
    return recording.want((ref.episode for ref in store.frames()), f"{LABELS} in {labels}")
