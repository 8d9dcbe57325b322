"""The emulator process: `python -m envs.remote_process` with its job as JSON in the first argument.

Speaks a fixed-size protocol on stdin/stdout: one command byte in, one status byte out; the sheet (score and all)
leaves only once the episode is over.
"""

from __future__ import annotations

import importlib
import json
import mmap
import os
import signal
import struct
import sys
from typing import Any

import numpy as np

RESET, CLOSE, SHEET = 255, 254, 253
RUNNING, DONE, FAILED = 0, 1, 2
LENGTH = struct.Struct("<I")
SEED = struct.Struct("<q")


def _false_channels(core: Any) -> Any:
    """The canary: RAM, score and lives that lie, over an emulator whose pixels are true."""

    class Lying(type(core)):  # type: ignore[misc]
        def ram(self) -> np.ndarray:
            return np.random.default_rng().integers(0, 256, 128).astype(np.uint8)

        lives = property(lambda self: 77)

        def advance(self, action: int) -> None:
            super().advance(action)
            self.score += 1_000_003 + self.frames

    core.__class__ = Lying
    return core


class Emulator:
    """One emulator behind two pipes and a shared frame."""

    def __init__(self, job: dict[str, Any]) -> None:
        from envs.backends.atari import AtariCore
        from envs.protocol import Protocol
        from envs.spec import EnvSpec

        env = EnvSpec.from_config(job["env"])
        self.core = AtariCore(env, Protocol(**job["protocol"]))
        if job.get("canary"):
            self.core = _false_channels(self.core)
        self.shift_name = job.get("shift")
        self.shape = (env.height, env.width, 3)
        n, extra = env.height * env.width * 3, int(job.get("observer_size", 0))
        with open(job["shared"], "r+b") as f:
            self.shared = mmap.mmap(f.fileno(), n + 4 * extra)
        self.frame = np.frombuffer(self.shared, np.uint8, n).reshape(self.shape)
        self.extra = np.frombuffer(self.shared, np.float32, extra, n)
        self.observe = None
        if job.get("observer"):
            module, name = job["observer"].split(":")
            self.observe = getattr(importlib.import_module(module), name)(job["observer_arg"])
        self.scores: list[int] = []
        self.lives: list[int] = []

    def publish(self) -> None:
        """Put the frame (and the labeller's vector) where the agent side sees it."""
        if self.observe is not None:
            true = self.core.frame()
            self.extra[:] = self.observe(self.core.ram(), true)
            self.frame[:] = self.shift(true) if self.shift_name else true
        elif self.shift_name:
            self.frame[:] = self.shift(self.core.frame())
        else:
            self.core.frame(self.frame)

    def reset(self, seed: int) -> None:
        from envs.visual_shifts import make_shift

        self.shift = make_shift(self.shift_name, seed, self.shape)
        self.core.reset(seed)
        self.scores, self.lives = [], []
        self.publish()

    def step(self, action: int) -> None:
        self.core.advance(action)
        self.scores.append(self.core.score)
        self.lives.append(self.core.lives)
        self.publish()

    def sheet(self) -> bytes:
        """What happened, as JSON. Asking ends the episode, so nothing can be learned from it while it runs."""
        ended, self.core.done = self.core.done, True
        sheet: dict[str, Any] = {
            "score": self.core.score,
            "lives": self.core.lives,
            "frames": self.core.frames,
            "finished": ended,
        }
        sheet |= {"scores": self.scores, "lives_left": self.lives}
        return json.dumps(sheet).encode()


def serve(emulator: Emulator, read: int, write: int) -> None:
    """Answer commands until the pipe closes."""
    over = True
    while True:
        command = os.read(read, 1)
        if not command or command[0] == CLOSE:
            return
        if command[0] == RESET:
            emulator.reset(SEED.unpack(os.read(read, SEED.size))[0])
            over = False
        elif command[0] == SHEET:
            over, data = True, emulator.sheet()
            os.write(write, LENGTH.pack(len(data)))
            with os.fdopen(os.dup(write), "wb") as f:
                f.write(data)
            continue
        elif not over:
            emulator.step(command[0])
        over = over or emulator.core.done
        os.write(write, bytes([DONE if over else RUNNING]))


def main(kind: type[Emulator] = Emulator) -> int:
    """Entry point of the emulator process. Failure to start is told over the pipe, in words."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the agent side decides when to stop
    out = os.dup(1)
    os.dup2(2, 1)  # nothing that prints may speak into the protocol
    try:
        emulator = kind(json.loads(sys.argv[1]))
        os.write(out, bytes([RUNNING]))
    except Exception as e:
        text = f"{type(e).__name__}: {e}".encode()[:4000]
        os.write(out, bytes([FAILED]) + LENGTH.pack(len(text)) + text)
        return 1
    try:
        serve(emulator, 0, out)
    except BrokenPipeError:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
