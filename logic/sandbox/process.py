"""The parent's side of one worker process: fork it, hear from it, end it, and say how it ended.

Knows processes, deadlines and the meaning of exit statuses. Does not know what is being run.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
import warnings
from collections.abc import Callable, Sequence
from typing import TypeVar

from logic.sandbox import blas
from logic.sandbox.channel import GO, REPORT, TEXT, Broken, Channel, Ended, Exchange, Late, Status
from logic.sandbox.child import Job, live
from logic.sandbox.harden import Plan, missing
from logic.sandbox.outcome import Cause, IsolationError, Kind, Limits, Outcome, Stopped

T = TypeVar("T")
_ENDED = "the worker has ended: call start() first"
_GRACE = 1.0  # seconds between the closing of the pipe and the end of the process that a dying one may need
_BY_STATUS = {
    Status.FAULT: (Kind.FAULT, None),
    Status.FUEL: (Kind.FUEL, None),
    Status.MEMORY: (Kind.KILLED, Cause.MEMORY),
}


class Process:
    """One forked child. Every method but `end` raises Stopped when the child does not live up to its task."""

    def __init__(
        self, job: Job, limits: Limits, require_isolation: bool, keep_maps: Sequence[tuple[int, int]] = ()
    ) -> None:
        if not hasattr(os, "fork"):
            raise IsolationError("this system cannot fork: isolated runs need Linux (or macOS, with fewer layers)")
        self.limits, self._owner = limits, os.getpid()
        self.layers: dict[str, str] = {}
        child_in, writing = os.pipe()
        reading, child_out = os.pipe()
        self._channel: Channel | None = Channel(reading, writing)
        plan = Plan(limits, (child_in, child_out), tuple(keep_maps), os.getpid(), os.geteuid() == 0)
        try:
            self.pid = _fork(lambda: live(job, plan))
        except OSError as error:
            self._channel.close()
            self._channel = None
            raise IsolationError(f"cannot fork a worker: {error}; fewer processes or more memory would help") from None
        finally:
            os.close(child_in)
            os.close(child_out)
        self._last = time.monotonic() + limits.life_s
        self._allowed = limits.start_s
        self._begin(require_isolation)

    def started(self) -> None:
        """From here on each request has `wall_s`; until here the start had `start_s`."""
        self._allowed = self.limits.wall_s

    def _begin(self, require_isolation: bool) -> None:
        """Hear which layers are active and let the child go on; IsolationError when one is wanted and missing."""
        text = self.receive(0, REPORT, Status.READY).decode(errors="replace")
        self.layers = dict(line.split("\t", 1) for line in text.splitlines() if "\t" in line)
        lacks = missing(self.layers)
        if require_isolation and lacks:
            self.end()
            raise IsolationError(
                "isolation is required, but missing here: "
                + "; ".join(lacks)
                + ". Use Linux 5.13 or later outside a restricted container, or set require_isolation = false"
            )
        self._guarded(lambda channel, deadline: channel.send(GO, deadline))

    def exchanger(self, size: int) -> Exchange:
        """The channel's, for requests that each have `wall_s`. What it raises or gives beside a reply is for `stopped`
        and `refused`."""
        if self._channel is None:
            raise IsolationError(_ENDED)
        return self._channel.exchanger(size, self._allowed, self._last)

    def stopped(self, error: BaseException) -> BaseException:
        """What to raise for an error of an exchange; the child is ended."""
        if self._channel is None:
            return IsolationError(_ENDED)
        return self._failed(error, time.monotonic() - self._allowed)

    def refused(self, status: Status, body: bytes, size: int) -> bytes:
        """The body of a record that came in pieces, or Stopped for one that is no reply of `size` bytes."""
        self._accept(status, body, Status.OK)
        if len(body) != size:
            raise self._stop(Kind.PROTOCOL, None, f"a reply of {len(body)} bytes, {size} agreed")
        return body

    def receive(self, sequence: int, largest: int, due: Status = Status.OK) -> bytes:
        """The body, at most `largest` bytes, of the record that is due without a request."""
        most = max(largest, TEXT)
        status, body = self._guarded(lambda channel, limit: channel.receive(sequence, most, limit))
        self._accept(status, body, due)
        if len(body) > largest:
            raise self._stop(Kind.PROTOCOL, None, f"a reply of {len(body)} bytes, at most {largest} allowed")
        return body

    def _accept(self, status: Status, body: bytes, due: Status) -> None:
        """Nothing when the record is the one that is due; else Stopped with the outcome that it reports."""
        if status is due:
            return
        kind, cause = _BY_STATUS.get(status, (Kind.PROTOCOL, None))
        raise self._stop(kind, cause, readable(body))

    def expect_end(self) -> Outcome:
        """Wait for the child to leave after its last reply; the outcome, without the reply."""
        self._guarded(lambda channel, deadline: channel.expect_end(deadline))
        return Outcome(Kind.OK, layers=self.layers, cpu_s=self.end()[1])

    def _guarded(self, action: Callable[[Channel, float], T]) -> T:
        """Do it before the deadline, or end the child and raise Stopped with the reason."""
        if self._channel is None:
            raise IsolationError(_ENDED)
        began = time.monotonic()
        try:
            return action(self._channel, min(began + self._allowed, self._last))
        except BaseException as error:
            raise self._failed(error, began) from None

    def _failed(self, error: BaseException, began: float) -> BaseException:
        """End the child; Stopped with the reason, or the error itself when it is the parent's own (Ctrl-C)."""
        if isinstance(error, Broken):
            return self._stop(Kind.PROTOCOL, None, str(error))
        if isinstance(error, Late | Ended):
            return Stopped(self._post_mortem(isinstance(error, Late), time.monotonic() - began))
        self.end()
        return error

    def _stop(self, kind: Kind, cause: Cause | None, detail: str) -> Stopped:
        return Stopped(Outcome(kind, cause, detail, layers=self.layers, cpu_s=self.end()[1]))

    def _post_mortem(self, late: bool, waited: float) -> Outcome:
        """The outcome of a child that did not answer: how it died goes before what it had written."""
        died = self._dead(0.0 if late else _GRACE)
        status, cpu_s = self.end()
        if died:
            kind, cause, detail = classify(status, cpu_s, self.limits)
        elif late:
            kind, cause, detail = Kind.KILLED, Cause.CPU, f"no answer within {waited:.3g} s"
        else:
            kind, cause, detail = Kind.PROTOCOL, None, "it closed its pipe without a whole reply"
        return Outcome(kind, cause, detail, layers=self.layers, cpu_s=cpu_s)

    def _dead(self, grace: float) -> bool:
        """Whether the child has died by itself, waiting up to `grace` seconds; leaves it for `end` to collect."""
        if not hasattr(os, "waitid"):  # macOS before Python 3.13: a closed pipe has to do
            return grace > 0
        limit = time.monotonic() + grace
        while True:
            try:
                if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                    return True
            except ChildProcessError:
                return True
            if time.monotonic() >= limit:
                return False
            time.sleep(0.0005)

    def end(self) -> tuple[int, float]:
        """Kill the child's whole group, collect it, close the pipe: (wait status, CPU seconds). Safe to call twice,
        and harmless in a process that only inherited this object."""
        if self._channel is None or os.getpid() != self._owner:
            return 0, 0.0
        for kill in (os.killpg, os.kill):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                kill(self.pid, signal.SIGKILL)
        self._channel.close()
        self._channel = None
        try:
            _, status, usage = os.wait4(self.pid, 0)
        except ChildProcessError:  # somebody else collected it
            return 0, 0.0
        return status, usage.ru_utime + usage.ru_stime


def _fork(live: Callable[[], None]) -> int:
    """Fork; the child only ever runs `live`. No signal handler of the parent's may run in the child, so all signals
    are blocked across the fork; the child forgets the handlers before it unblocks."""
    counts = blas.switches()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        with warnings.catch_warnings():
            # Python 3.12 warns of threads at a fork; `child` is written for that.
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid == 0:
            blas.single_thread(counts)
            live()
        return pid
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def classify(status: int, cpu_s: float, limits: Limits) -> tuple[Kind, Cause | None, str]:
    """What a wait status of a process that died by itself means."""
    if not os.WIFSIGNALED(status):
        return Kind.PROTOCOL, None, f"it left with exit code {os.waitstatus_to_exitcode(status)} before a whole reply"
    number = os.WTERMSIG(status)
    name = signal.Signals(number).name if number in list(signal.Signals) else f"signal {number}"
    if number == signal.SIGSYS:
        return (
            Kind.KILLED,
            Cause.SYSCALL,
            "a system call that is not allowed (files, network, processes, threads; strace names it)",
        )
    if number == signal.SIGXCPU or (number == signal.SIGKILL and cpu_s >= limits.cpu_s):
        return Kind.KILLED, Cause.CPU, f"more than {limits.cpu_s} s of processor time"
    if number == signal.SIGKILL:
        return Kind.KILLED, Cause.MEMORY, "killed by the system, most likely for lack of memory"
    return Kind.FAULT, None, f"died by {name}"


def readable(text: bytes) -> str:
    """Foreign text as one printable line."""
    return "".join(c if c.isprintable() else " " for c in text[:TEXT].decode(errors="replace"))
