"""The two ways to run foreign code apart: once (`run_isolated`) and for a whole episode (`Worker`).

Knows sizes and order of calls. Does not know what the bytes mean; policies, scenes and compilers are the caller's.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import TracebackType

from logic.sandbox.channel import Exchange
from logic.sandbox.child import Job, Step, serve_once, serve_steps
from logic.sandbox.outcome import IsolationError, Limits, Outcome, Stopped
from logic.sandbox.process import Process


def run_isolated(
    function: Step,
    request: bytes,
    reply_size_max: int,
    limits: Limits | None = None,
    require_isolation: bool = False,
) -> Outcome:
    """function(request) -> bytes in a hardened child of its own; how it ended, with the reply when that is `ok`.

    The child sees the parent as it is now: load every module that the function needs first. IsolationError when
    isolation is required and a layer is missing; nothing foreign has run then.
    """
    try:
        process = Process(Job(serve_once(function, request, reply_size_max)), limits or Limits(), require_isolation)
        process.started()
        reply = process.receive(1, reply_size_max)
        return replace(process.expect_end(), reply=reply)
    except Stopped as stopped:
        return stopped.outcome


class Worker:
    """A child that calls factory() once and then answers requests, all of one size, with replies, all of one size.

    `factory` and the step function it returns run behind every layer. `prepare`, trusted, runs in the child before
    the layers: it may load files and start threads (which landlock then does not cover; the filter does). Shared
    memory named in `shared` (writable mmaps) stays mapped in the child; all other shared memory does not.
    The thread that calls `start` must outlive the worker, which is tethered to it. The two never compute at once:
    a parent bound to one core (os.sched_setaffinity) shares it with the worker, and a step needs no wake-up of another.
    Any end but `close` raises Stopped with the outcome; `start` then begins afresh, from the parent as it is then.
    """

    def __init__(
        self,
        factory: Callable[[], Step],
        request_size: int,
        reply_size: int,
        limits: Limits | None = None,
        require_isolation: bool = False,
        shared: Sequence[mmap.mmap] = (),
        prepare: Callable[[], None] | None = None,
    ) -> None:
        if request_size < 1 or reply_size < 0:
            raise ValueError(f"request_size {request_size} must be at least 1, reply_size {reply_size} at least 0")
        self.request_size, self.reply_size = request_size, reply_size
        self._limits = limits or Limits()
        self._job = Job(serve_steps(factory, request_size, reply_size), prepare)
        self._require = require_isolation
        self._shared = tuple(shared)
        self._process: Process | None = None
        self._sequence = 0
        self._exchange: Exchange | None = None

    def start(self) -> None:
        """Fork, harden, make the step function; Stopped when that fails. A running worker is closed first."""
        self.close()
        self._process = Process(self._job, self._limits, self._require, [_place(m) for m in self._shared])
        self._process.receive(1, 0)
        self._process.started()
        self._sequence, self._exchange = 1, self._process.exchanger(self.reply_size)

    def step(self, request: bytes) -> bytes:
        """The reply, reply_size bytes, to a request of request_size bytes."""
        if len(request) != self.request_size:
            raise ValueError(f"a request of {len(request)} bytes, {self.request_size} agreed")
        if (process := self._process) is None or (exchange := self._exchange) is None:
            raise IsolationError("the worker is not running: call start() first")
        self._sequence = sequence = (self._sequence + 1) & 0xFFFFFFFF
        try:
            reply = exchange(request, sequence)
        except BaseException as error:
            self._exchange = None
            raise process.stopped(error) from None
        if isinstance(reply, bytes):
            return reply
        self._exchange = None
        answer = process.refused(reply[0], reply[1], self.reply_size)
        self._exchange = exchange
        return answer

    @property
    def layers(self) -> Mapping[str, str]:
        """Each layer and "" where it is active, else why it is not; empty before `start`."""
        return dict(self._process.layers) if self._process else {}

    @property
    def pid(self) -> int:
        """The running child's process id."""
        if self._process is None:
            raise IsolationError("the worker is not running: call start() first")
        return self._process.pid

    def close(self) -> None:
        """End the child. Safe to call twice."""
        if self._process is not None:
            self._process.end()
            self._process = self._exchange = None

    def __enter__(self) -> Worker:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            self.close()


def _place(shared: mmap.mmap) -> tuple[int, int]:
    """First address of a writable mmap, and the one after its last."""
    start = ctypes.addressof(ctypes.c_char.from_buffer(shared))
    return start, start + len(shared)
