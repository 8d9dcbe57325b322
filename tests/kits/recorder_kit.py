"""Small games to record, and a process that records games until it is killed.

`python -m tests.kits.recorder_kit FOLDER SEED [COUNT [DISK [CALL HOW]]]` tells the name of every acknowledged game on
stdout once `add` has returned. DISK is a budget in bytes (0: none). With CALL it kills itself at its CALL-th system
call that changes a file.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_flywheel.episodes.episode import Episode, EpisodeRecorder
from data_flywheel.episodes.frame_buffer import FrameBuffer, KeptFrames
from data_flywheel.episodes.recording import Recording
from perception.scene import GaugeSpec, GridSpec, SceneSchema, ThingSpec

SIZE = (21, 17)  # 1071 bytes: the last word is not full
SCHEMA = SceneSchema(
    (0, 0, 21, 17),
    (ThingSpec("ball", 1, (2, 4)), ThingSpec("enemy", 2, (4, 4))),
    (GridSpec("bricks", 2, 3, 0, 0, (8, 6)),),
    (GaugeSpec("oxygen", (0, 0, 4, 16)),),
)
SCHEMA = SceneSchema.from_config(SCHEMA.to_config())  # as it reads from a file


class Decision(NamedTuple):
    """As of `logic.runtime.controller`, which takes long to import."""

    action: int
    reason: str
    proposed: int
    overruled_by: tuple[str, ...] = ()


def recording(folder: Path) -> Recording:
    return Recording.create(folder, "toy", SCHEMA, SIZE)


def pictures(n: int, seed: int = 0, noisy: bool = False) -> np.ndarray:
    """uint8[n, H, W, 3]: a dot that moves over a random ground, or nothing but noise."""
    rng = np.random.default_rng(seed)
    if noisy:
        return rng.integers(0, 256, (n, *SIZE, 3), dtype=np.uint8)
    frames = np.repeat(rng.integers(0, 256, (1, *SIZE, 3), dtype=np.uint8), n, axis=0)
    for i in range(n):
        frames[i, i % SIZE[0], (i * 3) % SIZE[1]] = 255
    return frames


def game(
    seed: int = 1, steps: int = 30, lost: tuple[int, ...] = (), overruled: tuple[int, ...] = (), cut: bool = False
) -> Episode:
    """A game whose random scenes nobody can compress; `lost`: steps at which a life is lost."""
    rng = np.random.default_rng(seed)
    recorder = EpisodeRecorder({"task": "toy", "protocol": "sticky", "seed": seed, "shift": None})
    lives = 5
    for step in range(steps):
        scene = rng.random(SCHEMA.size).astype(np.float32)
        scene[[0, 8, 16]], scene[[7, 15, 23]] = 1.0, 1.0  # all seen, all sure
        lives -= step in lost
        names = ("guard",) if step in overruled else ()
        recorder.add(scene, Decision(step % 3, f"reason {step % 2}", (step + 1) % 3, names), step // 5, lives)
    return recorder.finish(score=steps // 5, lives_at_end=lives, finished=not cut, frames=4 * steps)


def kept(frames: np.ndarray, steps: list[int] | None = None, size: tuple[int, int] = SIZE) -> KeptFrames:
    """All of these frames, or those of some steps."""
    frame_buffer = FrameBuffer(size)
    for step, frame in enumerate(frames):
        frame_buffer.see(step, frame)
    return frame_buffer.keep(steps)


def main(folder: str, seed: str, count: str = "1000000", disk: str = "0", strike: str = "0", how: str = "") -> None:
    from tests.kits.events_kit import arm

    write = os.write  # the real one, before it is replaced
    place = recording(Path(folder))
    write(1, b"opened\n")
    if int(strike):
        arm(int(strike), how)
    for i in range(int(count)):
        number = int(seed) * 1000 + i
        episode = game(number, 10 + 7 * i % 40, (5,) if i % 3 == 0 else ())
        name = place.add(episode, kept(pictures(len(episode), number)), int(disk) or None)
        write(1, f"{name or '-'} {number}\n".encode())


if __name__ == "__main__":
    main(*sys.argv[1:])
