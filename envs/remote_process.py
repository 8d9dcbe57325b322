"""The simulator process: `python -m envs.remote_process` with its job as JSON in the first argument.

Whatever the backend, it speaks a fixed-size protocol on stdin/stdout: one command byte in (and an action or seed), one
status byte out; the outcome (score and all) leaves only once the episode is over.
"""

from __future__ import annotations

import json
import math
import mmap
import os
import signal
import struct
import sys
import traceback
from contextlib import suppress
from typing import Any

import numpy as np

from envs.errors import EnvError
from envs.terminal import guard

STEP, RESET, OUTCOME, CLOSE = 1, 2, 3, 4
RUNNING, DONE, FAILED = 0, 1, 2
LENGTH = struct.Struct("<I")
SEED = struct.Struct("<q")


class Lying:
    """The canary: truth, score and metrics that lie, over a simulator whose pictures are true."""

    def __init__(self, true: Any) -> None:
        self._true, self._steps, self._rng = true, 0, np.random.default_rng()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._true, name)

    def advance(self, action: Any) -> None:
        self._steps += 1
        self._true.advance(action)

    @property
    def score(self) -> float:
        return (self._true.score or 0) + 1_000_003 * self._steps  # type: ignore[no-any-return]

    def metrics(self) -> dict[str, float]:
        return dict.fromkeys(self._true.metrics(), 77)

    def truth(self) -> dict[str, np.ndarray]:
        return {name: self._false(np.asarray(value)) for name, value in self._true.truth().items()}

    def _false(self, value: np.ndarray) -> np.ndarray:
        if value.dtype.kind in "iu":
            return self._rng.integers(0, min(256, np.iinfo(value.dtype).max), value.shape).astype(value.dtype)
        return self._rng.normal(0.0, 100.0, value.shape).astype(value.dtype)


class Host:
    """One simulator behind two pipes and a shared frame."""

    def __init__(self, job: dict[str, Any]) -> None:
        from envs.env import factory_of, find
        from envs.spec import EnvSpec
        from envs.trust import vouch

        env, declared = EnvSpec.from_config(job["env"]), find(job["backend"])
        if job.get("trusted"):
            vouch(env.id)
        rules = declared.kind(**job["protocol"])
        self.core, self.limit = factory_of(declared)(env, rules), rules.frame_limit
        low, high = env.reward_range or (-math.inf, math.inf)
        self.gain = min(0.0, low * rules.frames_per_step), max(0.0, high * rules.frames_per_step)  # of one step
        if job.get("canary"):
            self.core = Lying(self.core)
        self.repaint = getattr(self.core, "repaint", None)
        self.actions = env.actions
        self.shift_name = job.get("shift")
        self.shape = env.shape
        n, extra = env.height * env.width * 3, int(job.get("observer_size", 0))
        with open(job["shared"], "r+b") as f:
            self.shared = mmap.mmap(f.fileno(), n + 4 * extra)
        self.frame = np.frombuffer(self.shared, np.uint8, n).reshape(self.shape)
        self.extra = np.frombuffer(self.shared, np.float32, extra, n)
        self.observe = None
        if job.get("observer"):
            self.observe = find(job["observer"])(job["observer_arg"])
        self.scores: list[float] = []
        self.lives: list[int] = []

    @property
    def truncated(self) -> bool:
        """The episode is over, but not by its own rules."""
        core = self.core
        return bool(core.done and getattr(core, "truncated", core.frames >= self.limit))

    def publish(self) -> None:
        """Put the frame (and the labeller's vector) where the agent side sees it."""
        if self.observe is not None:
            true = self.picture()
            self.extra[:] = self.observe(self.core.truth(), true)
            self.frame[:] = self.shift(true) if self.shift_name else true
        elif self.shift_name:
            self.frame[:] = self.shift(self.picture())
        elif self.repaint:
            self.repaint(self.frame)
        else:
            self.picture(self.frame)

    def picture(self, out: np.ndarray | None = None) -> np.ndarray:
        """What the simulator draws, into `out` when given; EnvError when that is no frame of this task."""
        found = self.core.frame() if out is None else self.core.frame(out)
        if found is not out:
            if not isinstance(found, np.ndarray) or found.dtype != np.uint8 or found.shape != self.shape:
                drawn = f"{found.dtype}{list(found.shape)}" if isinstance(found, np.ndarray) else type(found).__name__
                raise EnvError(f"it draws {drawn}, system.toml says uint8{list(self.shape)}")
            if out is not None:
                out[:] = found
        return found

    def reset(self, seed: int) -> None:
        if self.shift_name:
            from envs.visual_shifts import make_shift  # which loads OpenCV

            self.shift = make_shift(self.shift_name, seed, self.shape)
        self.core.reset(seed)
        self.scores, self.lives = [], []
        self.publish()

    def step(self, action: Any) -> None:
        self.core.advance(action)
        score, lives = self.core.score, self.core.metrics().get("lives", 0)
        # most are whole numbers, which are finite: this runs at every step
        self.scores.append(score if type(score) is int else _figure("score", 0 if score is None else score))
        self.lives.append(lives if type(lives) is int else int(_figure("lives", lives)))
        self.publish()

    def command(self, command: int) -> None:
        """Anything that is not a command of the wall's own."""
        raise EnvError(f"the simulator does not know command {command}")

    def outcome(self) -> bytes:
        """What happened, as JSON. Asking ends the episode (`serve`), so nothing can be learned while it runs."""
        core, (low, high) = self.core, self.gain
        change = np.diff(np.array(self.scores, np.float64), prepend=0.0)
        told: dict[str, Any] = {
            "impossible": np.flatnonzero((change < low) | (change > high)).tolist(),
            "score": None if core.score is None else _figure("score", core.score),
            "metrics": {name: _figure(name, value) for name, value in core.metrics().items()},
            "frames": core.frames, "finished": bool(core.done), "truncated": self.truncated,
        }  # fmt: skip
        return json.dumps(told | {"scores": self.scores, "lives_left": self.lives}).encode()


def _figure(name: str, value: Any) -> Any:
    """A number as it is; EnvError when it is none."""
    plain = value.item() if isinstance(value, np.generic) else value
    if not isinstance(plain, (int, float)) or not math.isfinite(plain):
        raise EnvError(f"its {name} is {value!r}; a figure is a finite number")
    return plain


def serve(host: Host, read: int, write: int) -> None:
    """Answer commands until the pipe closes. A command is one byte; an action or a seed follows it in one write."""
    over, held = True, b""
    sizes = {STEP: 1 + host.actions.packed, RESET: 1 + SEED.size}
    said = {False: bytes([RUNNING]), True: bytes([DONE])}
    while True:
        held = held or os.read(read, 4096)
        if not held or held[0] == CLOSE:
            return
        command, size = held[0], sizes.get(held[0], 1)
        while len(held) < size and (more := os.read(read, size - len(held))):
            held += more
        body, held = held[1:size], held[size:]
        if command == STEP:
            action = host.actions.unpack(body)
            if not over:
                host.step(action)
        elif command == RESET:
            host.reset(SEED.unpack(body)[0])
            over = False
        elif command == OUTCOME:
            over, data = True, host.outcome()
            _say(write, DONE, data)
            continue
        elif not over:
            host.command(command)
        over = over or bool(host.core.done)
        os.write(write, said[over])


def _say(write: int, status: int, data: bytes) -> None:
    """A status with something to tell."""
    with os.fdopen(os.dup(write), "wb") as f:
        f.write(bytes([status]) + LENGTH.pack(len(data)) + data)


def _failure(error: Exception) -> bytes:
    """In words: a stranger's simulator may raise anything, and who plays wants to know what and where."""
    if isinstance(error, EnvError):
        return str(error).encode()[:4000]
    place = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{os.path.basename(place.filename)}, line {place.lineno}"
    return f"{type(error).__name__}: {error} ({where})".encode(errors="replace")[:4000]


def main(kind: type[Host] = Host) -> int:
    """Entry point of the simulator process. Failure to start or to go on is told over the pipe, in words."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the agent side decides when to stop
    guard()
    out = os.dup(1)
    os.dup2(2, 1)  # nothing that prints may speak into the protocol
    try:
        host = kind(json.loads(sys.argv[1]))
        os.write(out, bytes([RUNNING]))
        serve(host, 0, out)
    except BrokenPipeError:  # whoever played is gone
        return 0
    except Exception as error:
        with suppress(BrokenPipeError):
            _say(out, FAILED, _failure(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
