"""What runs in the forked process: harden, report, then serve; it never returns into the parent's code.

Knows the record protocol from the child's side. Imports nothing after the fork: a lazy import wants files and would
die by the filter. Every module that is used here is loaded with this one, and foreign code that imports late gets an
ImportError that says so, instead of a death that does not.

The parent may have threads (onnxruntime, OpenBLAS). They do not exist in the child, which must not wait for them: what
it inherits is frozen out of garbage collection, so that no destructor of the parent's objects runs here.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import os
import signal
import sys
import warnings  # noqa: F401  loaded now, since numpy warns through it later
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.machinery import BuiltinImporter, FrozenImporter
from typing import TypeVar

from logic.sandbox.channel import GO, HEAD, MAGIC, REPORT, TEXT, VERSION, Status, read_exactly, write_all, write_record
from logic.sandbox.harden import Plan, harden
from logic.sandbox.outcome import OutOfFuel

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
