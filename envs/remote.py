"""The wall: what the deciding side holds is an object that gives frames and takes actions, and nothing else.

The outcome with the score can be read only after the episode, and reading it ends the episode.
"""

from __future__ import annotations

import json
import mmap
import os
import select
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from envs.actions import Action, Discrete
from envs.env import Rules, check_seed, target_of
from envs.errors import EnvError, Lost
from envs.process import start
from envs.remote_process import CLOSE, DONE, FAILED, LENGTH, OUTCOME, RESET, SEED, STEP
from envs.spec import EnvSpec
from envs.terminal import open_standard
from envs.trust import vouched
from envs.visual_shifts import check_shift
from envs.writing import naming


@dataclass(frozen=True)
class Outcome:
    """The referee's record of one episode: score (None: there is none), the backend's other figures, simulated frames;
    per step the running score and lives (0 where a world has none). `finished` is False when it was abandoned;
    `truncated`: a limit ended it, not its own rules. `impossible`: steps that changed the score by
    more than `reward_range` of the task allows."""

    score: int | float | None
    metrics: Mapping[str, float]
    frames: int
    finished: bool
    scores: tuple[int | float, ...]
    lives_left: tuple[int, ...]
    truncated: bool = False
    impossible: tuple[int, ...] = ()

    @property
    def lives(self) -> int:
        """Lives at the end, 0 where there is no such thing."""
        return int(self.metrics.get("lives", 0))


@dataclass(frozen=True)
class Observer:
    """A labeller that runs in the emulator process: `target` is "module:factory", called with `argument` (a string);
    what it returns maps (truth, frame) to float32[size]. Privileged: for evaluation, never in play."""

    target: str
    argument: str
    size: int


@contextmanager
def shared_memory(size: int) -> Iterator[tuple[int, mmap.mmap]]:
    """A descriptor to pass on to a child while the block lasts, and a map to read what that writes. It has no name, so
    nothing is left of it when this process is killed; a full disk is named."""
    open_standard()  # the child's own are put in the places of 0, 1 and 2
    descriptor, place = _nameless()
    try:
        with naming(place):
            os.ftruncate(descriptor, size)
        yield descriptor, mmap.mmap(descriptor, size, access=mmap.ACCESS_READ)
    finally:
        os.close(descriptor)


def _nameless() -> tuple[int, Path]:
    """An empty file without a name, and where it is kept: in memory, or else on a disk."""
    with suppress(AttributeError, OSError):  # another system than Linux, or one that forbids it
        return os.memfd_create("triune"), Path("shared memory")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno()), Path(tempfile.gettempdir())


class PixelEnv:
    """Frames in, actions out: `reset(seed)`, `step(action)` until `done`, then `outcome()`; `close()` at the end.

    The frame is a read-only uint8[H, W, 3] view that the next call overwrites: copy it to keep it.
    """

    _module = "envs.remote_process"  # what runs behind the wall
    # seconds to start, reset or go back, and to step: far beyond any simulator that works; one that hangs is ended
    _start_s, _step_s = 300.0, 60.0

    def __init__(
        self,
        env: EnvSpec,
        protocol: Rules,
        shift: str | None = None,
        observer: Observer | None = None,
        canary: bool = False,
    ) -> None:
        check_shift(shift)
        self._id, self.done = env.id, True
        n, extra = env.height * env.width * 3, observer.size if observer else 0
        with shared_memory(n + 4 * extra) as (shared, self._map):
            job: dict[str, object] = {
                "backend": target_of(env.backend),
                "env": env.to_config(),
                "protocol": asdict(protocol),
                "shift": shift,
                "canary": canary,
                "trusted": vouched(env.id),
            }
            job |= {"shared": shared, "observer_size": extra}
            if observer:
                job |= {"observer": observer.target, "observer_arg": observer.argument}
            self._start(job, shared)
        self._frame = np.frombuffer(self._map, np.uint8, n).reshape(env.height, env.width, 3)
        self._extra = np.frombuffer(self._map, np.float32, extra, n)
        self.actions = env.actions
        names = range(len(env.actions.names)) if isinstance(env.actions, Discrete) else ()
        self._steps = {action: bytes([STEP]) + env.actions.pack(action) for action in names}  # what most steps send

    def _start(self, job: dict[str, object], *shared: int) -> None:
        """`shared`: descriptors that the job names, under which the child opens them."""
        self._process: subprocess.Popen[bytes] = start(self._module, json.dumps(job), bufsize=0, pass_fds=shared)
        assert self._process.stdin and self._process.stdout
        self._in, self._out = self._process.stdin.fileno(), self._process.stdout.fileno()
        self._ready = select.poll()
        self._ready.register(self._out, select.POLLIN)
        self._answer(self._start_s)

    def _answer(self, within: float) -> int:
        """The status after a command; EnvError when the simulator failed, died, or took longer than `within` s."""
        status = self._some(1, within)[0]
        if status == FAILED:
            message = self._words(within).decode(errors="replace")
            self.close()
            raise EnvError(message if self._id in message else f"{self._id}: {message}")
        return status

    def _words(self, within: float) -> bytes:
        """What follows a status that has something to tell."""
        return self._read(LENGTH.unpack(self._read(LENGTH.size, within))[0], within)

    def _read(self, n: int, within: float) -> bytes:
        """Exactly n bytes from the simulator."""
        data = b""
        while len(data) < n:
            data += self._some(n - len(data), within)
        return data

    def _some(self, most: int, within: float) -> bytes:
        """At least one byte."""
        if not self._ready.poll(1000 * within):
            self._process.kill()
            self.close()
            raise EnvError(f"{self._id}: no answer from the simulator for {within:g} s, so it was ended")
        data = os.read(self._out, most)
        if not data:
            error = self._ended("ended unexpectedly")
            self.close()
            raise error
        return data

    def _send(self, command: bytes) -> None:
        try:
            os.write(self._in, command)
        except OSError:
            raise self._ended("is gone") from None

    def _ended(self, how: str) -> EnvError:
        """Of a process that has ended by itself, or Lost: nothing but a kill from outside is a SIGKILL."""
        code = self._process.wait()
        kind = Lost if code == -signal.SIGKILL else EnvError
        return kind(f"{self._id}: the simulator's process {how} (exit code {code})")

    def reset(self, seed: int) -> np.ndarray:
        """Start the episode of `seed`; its first frame. EnvError for a seed that there is not."""
        self._send(bytes([RESET]) + SEED.pack(check_seed(seed)))
        self.done = self._answer(self._start_s) == DONE
        return self._frame

    def step(self, action: Action) -> np.ndarray:
        """One agent step; the frame after it. EnvError for an action that does not exist or after the end."""
        command = self._steps.get(action) if type(action) is int else None
        if command is None:
            command = bytes([STEP]) + self.actions.pack(self.actions.check(action))
        if self.done:
            raise EnvError("the episode is over (or never began): call reset(seed)")
        self._send(command)
        self.done = self._answer(self._step_s) == DONE
        return self._frame

    @property
    def observed(self) -> np.ndarray:
        """float32[size] of the observer for the current frame; empty without one."""
        return self._extra

    def outcome(self) -> Outcome:
        """The referee's record. Reading it ends the episode."""
        self._send(bytes([OUTCOME]))
        self.done = True
        self._answer(self._step_s)
        raw: dict[str, Any] = json.loads(self._words(self._step_s))
        raw |= {k: tuple(raw[k]) for k in ("scores", "lives_left", "impossible")}
        return Outcome(**raw)

    def close(self) -> None:
        """End the simulator's process. Safe to call twice."""
        self.done = True
        if self._process.poll() is None:
            try:
                os.write(self._in, bytes([CLOSE]))
                self._process.wait(2)
            except (OSError, subprocess.TimeoutExpired):
                self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                pipe.close()
        self._in = self._out = -1  # these numbers may mean other files from now on

    def __enter__(self) -> PixelEnv:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()
