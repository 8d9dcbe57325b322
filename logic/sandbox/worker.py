"""Run foreign code in a forked, hardened process: once (`run_isolated`) or for a whole episode (`Worker`)."""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import gc
import mmap
import os
import re
import signal
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.machinery import BuiltinImporter, FrozenImporter
from types import TracebackType
from typing import NamedTuple, TypeVar

from logic.sandbox.channel import (
    GO,
    HEAD,
    MAGIC,
    REPORT,
    TEXT,
    VERSION,
    Broken,
    Cause,
    Channel,
    Ended,
    Exchange,
    IsolationError,
    Kind,
    Late,
    Limits,
    Outcome,
    OutOfFuel,
    Status,
    Stopped,
    read_exactly,
    write_all,
    write_record,
)
from logic.sandbox.harden import NAMES, Plan, harden, missing

# ----------------------------------------------------------------------------------------------------
# Keep OpenBLAS in one thread inside a worker.
#
# After a fork OpenBLAS starts its threads anew at the first large product, and the filter kills for that. The child's
# setter would start them too, so the parent sets its own count to one for the moment of the fork.


SETTERS = ("scipy_openblas_{}_num_threads64_", "openblas_{}_num_threads64_", "openblas_{}_num_threads")


class Threads(NamedTuple):
    """The thread count of one OpenBLAS."""

    get: Callable[[], int]
    set: Callable[[int], None]


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Every OpenBLAS that is loaded now computes in the calling thread, and what is forked meanwhile always will."""
    found = _find(len(sys.modules))
    before = [threads.get() for threads in found]
    for threads in found:
        threads.set(1)
    try:
        yield
    finally:
        for threads, count in zip(found, before, strict=True):
            threads.set(count)


@lru_cache(maxsize=1)
def _find(modules: int) -> tuple[Threads, ...]:
    """By the memory map; looked up again only when more modules have been imported."""
    found: list[Threads] = []
    with contextlib.suppress(OSError), open("/proc/self/maps", "rb") as file:
        for path in sorted(set(re.findall(rb" (/[^\n]*openblas[^\n]*)", file.read()))):
            with contextlib.suppress(OSError):
                library = ctypes.CDLL(os.fsdecode(path))
                for form in SETTERS:
                    if hasattr(library, form.format("set")):
                        found.append(Threads(*(getattr(library, form.format(way)) for way in ("get", "set"))))
                        break
    return tuple(found)


# ----------------------------------------------------------------------------------------------------
# What runs in the forked process: harden, report, then serve; it never returns into the parent's code.
#
# Imports nothing after the fork: a lazy import wants files and would die by the filter. Every module that is used
# here is loaded with this one, and foreign code that imports late gets an ImportError that says so, instead of a
# death that does not.
#
# The parent may have threads (onnxruntime, OpenBLAS). They do not exist in the child, which must not wait for them:
# what it inherits is frozen out of garbage collection, so that no destructor of the parent's objects runs here.


Step = Callable[[bytes], bytes]
Serve = Callable[[int, int], None]  # (read from, write to)
Answer = tuple[Status, bytes]
T = TypeVar("T")
_RESERVE = [bytearray(1 << 20)]  # given back at a MemoryError, so that it can be reported


@dataclass(frozen=True)
class Job:
    """What to serve, and what trusted preparation comes before the layers."""

    serve: Serve
    prepare: Callable[[], None] | None = None


def live(job: Job, plan: Plan) -> None:
    """The whole life of the child. `plan.keep_fds` are (read from, write to)."""
    reading, writing = plan.keep_fds
    try:
        gc.freeze()
        _forget_handlers()
        if job.prepare:
            status, text = attempt(_nothing, job.prepare)
            if status is not Status.OK:
                return write_record(writing, status, 0, text)
        report = harden(replace(plan, maps=_maps()))
        text = "\n".join(f"{name}\t{why}" for name, why in report.items()).encode(errors="replace")
        write_record(writing, Status.READY, 0, text[:REPORT])
        sys.meta_path[:] = [BuiltinImporter, FrozenImporter, _NotLoaded()]
        if read_exactly(reading, 1) == GO:  # else the parent found the layers wanting
            job.serve(reading, writing)
    finally:
        os._exit(0)


class _NotLoaded:
    """The last finder in a worker."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        """Always ModuleNotFoundError."""
        raise ModuleNotFoundError(f"{name} was not imported before the worker was isolated: import it earlier")


def serve_once(function: Step, request: bytes, largest: int) -> Serve:
    """One reply of at most `largest` bytes. The request needs no pipe: the fork has it."""

    def serve(reading: int, writing: int) -> None:
        status, body = attempt(function, request)
        if status is Status.OK and len(body) > largest:
            status, body = Status.MALFORMED, f"a reply of {len(body)} bytes, at most {largest} allowed".encode()
        write_record(writing, status, 1, body)

    return serve


def serve_steps(factory: Callable[[], Step], request_size: int, reply_size: int) -> Serve:
    """Make the step function, say so (record 1), then answer requests until the parent closes or a step fails."""

    def serve(reading: int, writing: int) -> None:
        made: list[Step] = []
        status, body = attempt(_nothing, lambda: made.append(factory()))
        write_record(writing, status, 1, body)
        if status is Status.OK:
            status, body, sequence = _answer(made[0], request_size, reply_size, reading, writing)
            write_record(writing, status, sequence, body)

    return serve


def _answer(step: Step, request_size: int, reply_size: int, reading: int, writing: int) -> tuple[Status, bytes, int]:
    """Reply until a step fails or the parent closes: the record to end with. Everything at hand, as in `exchanger`."""
    read, write, pack, size, ok = os.read, os.write, HEAD.pack, HEAD.size + reply_size, int(Status.OK)
    sequence = 1
    while True:
        request = read(reading, request_size)
        if len(request) != request_size:
            request += read_exactly(reading, request_size - len(request)) if request else b""
            if len(request) != request_size:
                os._exit(0)
        sequence = (sequence + 1) & 0xFFFFFFFF
        try:
            body = step(request)
            if type(body) is not bytes or len(body) != reply_size:
                break
        except BaseException as error:
            return *_failure(error), sequence
        record = pack(MAGIC, VERSION, ok, sequence, reply_size) + body
        sent = write(writing, record)
        if sent != size:
            write_all(writing, record[sent:])
    if type(body) is not bytes:
        return *_wrong(body), sequence
    return Status.MALFORMED, f"a reply of {len(body)} bytes, {reply_size} agreed".encode(), sequence


def attempt(function: Callable[[T], bytes], argument: T) -> Answer:
    """The function's reply, or the status and message of what it raised, whatever that is."""
    try:
        reply = function(argument)
        return (Status.OK, reply) if type(reply) is bytes else _wrong(reply)
    except BaseException as error:
        return _failure(error)


def _wrong(reply: object) -> Answer:
    return Status.MALFORMED, f"a reply of type {type(reply).__name__}, bytes agreed".encode(errors="replace")[:TEXT]


def _failure(error: BaseException) -> Answer:
    """The status and message of what was raised."""
    if isinstance(error, OutOfFuel):
        return Status.FUEL, _describe(error)
    if isinstance(error, MemoryError):
        _RESERVE.clear()
        return Status.MEMORY, _describe(error)
    return Status.FAULT, _describe(error)


def _forget_handlers() -> None:
    """Every signal back to its default, and none blocked: a handler of the parent's has no business here, and one
    that raises a signal anew (faulthandler) would hide how the child died."""
    faulthandler.disable()
    for number in range(1, 32):
        if signal.getsignal(number) not in (signal.SIG_DFL, signal.SIG_IGN):
            with contextlib.suppress(OSError, ValueError):  # the C library keeps some for itself
                signal.signal(number, signal.SIG_DFL)
    signal.set_wakeup_fd(-1)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _nothing(action: Callable[[], None]) -> bytes:
    """Do it, reply with nothing."""
    action()
    return b""


def _describe(error: BaseException) -> bytes:
    """Type and message, cut; the message is foreign code too and may raise."""
    try:
        return f"{type(error).__name__}: {error}".encode(errors="replace")[:TEXT]
    except BaseException:
        return b"an exception whose message cannot be read"


def _maps() -> bytes:
    """The memory map, b"" on a system without /proc."""
    try:
        with open("/proc/self/maps", "rb") as file:
            return file.read()
    except OSError:
        return b""


# ----------------------------------------------------------------------------------------------------
# The parent's side of one worker process: fork it, hear from it, end it, and say how it ended.


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
        child_in, writing = _pipe()
        reading, child_out = _pipe()
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


def _pipe() -> tuple[int, int]:
    """A pipe whose ends are none of 0, 1 and 2, even where the parent closed these: what prints must not reach it."""
    import fcntl  # every system that can fork has it

    ends = os.pipe()
    try:
        return tuple(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 3) for end in ends)  # type: ignore[return-value]
    finally:
        for end in ends:
            os.close(end)


def _fork(live: Callable[[], None]) -> int:
    """Fork; the child only ever runs `live`. No signal handler of the parent's may run in the child, so all signals
    are blocked across the fork; the child forgets the handlers before it unblocks."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        with one_thread():
            with warnings.catch_warnings():
                # Python 3.12 warns of threads at a fork; `child` is written for that.
                warnings.simplefilter("ignore", DeprecationWarning)
                pid = os.fork()
            if pid == 0:
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
        return Kind.KILLED, Cause.OUTSIDE, "by somebody, or by the system, most likely for lack of memory"
    return Kind.FAULT, None, f"died by {name}"


def readable(text: bytes) -> str:
    """Foreign text as one printable line."""
    return "".join(c if c.isprintable() else " " for c in text[:TEXT].decode(errors="replace"))


# ----------------------------------------------------------------------------------------------------
# The two ways to run foreign code apart: once (`run_isolated`) and for a whole episode (`Worker`).


MOST_LOST = 5  # times that a piece of work is begun when it is killed from outside


def run_isolated(
    function: Step,
    request: bytes,
    reply_size_max: int,
    limits: Limits | None = None,
    require_isolation: bool = False,
) -> Outcome:
    """function(request) -> bytes in a hardened child of its own; how it ended, with the reply when that is `ok`.

    One that is killed from outside is followed by another, MOST_LOST in all. The child sees the parent as it is now:
    load every module that the function needs first. IsolationError when isolation is required and a layer is missing;
    nothing foreign has run then.
    """
    job, limits = Job(serve_once(function, request, reply_size_max)), limits or Limits()
    for _ in range(MOST_LOST):
        try:
            process = Process(job, limits, require_isolation)
            process.started()
            reply = process.receive(1, reply_size_max)
            return replace(process.expect_end(), reply=reply)
        except Stopped as stopped:
            outcome = stopped.outcome
        if not outcome.lost:
            break
    return outcome


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


# ----------------------------------------------------------------------------------------------------
# What isolation is worth on this machine: which layers hold, found by putting them on, and what they cost.


@dataclass(frozen=True)
class Layer:
    """Whether a layer was active in a probe just now, and if not why."""

    active: bool
    reason: str


def layers() -> dict[str, Layer]:
    """Each layer of isolation by name, as a worker started now would have it (with the namespace asked for)."""
    try:
        outcome = run_isolated(bytes, b"", 0, Limits(namespace=True))
    except IsolationError as error:
        return {name: Layer(False, str(error)) for name in NAMES}
    found = outcome.layers or {name: f"the probe failed: {outcome}" for name in NAMES}
    return {name: Layer(not why, why) for name, why in found.items()}


def measure(steps: int = 2000, starts: int = 10, request_size: int = 400, reply_size: int = 12) -> dict[str, float]:
    """Medians: one request and reply in microseconds; fork, harden, make the step and end in milliseconds."""
    reply, request = bytes(reply_size), bytes(request_size)
    worker = Worker(lambda: lambda data: reply, request_size, reply_size)
    began: list[float] = []
    for _ in range(starts):
        before = time.perf_counter()
        worker.start()
        worker.close()
        began.append(time.perf_counter() - before)
    trips: list[float] = []
    with worker:
        for _ in range(steps):
            before = time.perf_counter()
            worker.step(request)
            trips.append(time.perf_counter() - before)
    return {"round_trip_us": statistics.median(trips) * 1e6, "start_ms": statistics.median(began) * 1e3}
