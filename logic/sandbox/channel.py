"""How a worker may end, and the pipe protocol: raw requests of an agreed size one way, records the other."""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from math import ceil
from struct import Struct

# ----------------------------------------------------------------------------------------------------
# How a worker may end, what it may use, and what is raised.


class Kind(StrEnum):
    """The class of an ending.

    OK: a well-formed reply. FAULT: the code raised, or crashed by itself (SIGSEGV, SIGABRT, ...).
    FUEL: the code said that it used up its operations. KILLED: a limit or a filter ended it (see `Cause`).
    PROTOCOL: the reply was too long, too short, malformed, or the worker left without one.
    """

    OK = "ok"
    FAULT = "fault"
    FUEL = "fuel"
    KILLED = "killed"
    PROTOCOL = "protocol"


class Cause(StrEnum):
    """Why a worker was killed. CPU: processor time or wall clock (a hang). MEMORY: an allocation over the limit.
    SYSCALL: a system call that is not on the allow-list. OUTSIDE: a SIGKILL that no limit sends, which
    says nothing about the code: a person's, or the system's for lack of memory."""

    CPU = "cpu"
    MEMORY = "memory"
    SYSCALL = "syscall"
    OUTSIDE = "outside"


@dataclass(frozen=True)
class Outcome:
    """What one worker did: its class, the reply if there is one, and words for people in `detail`.

    `layers` maps the name of each layer of isolation to "" where it was active, else to why it was not.
    `detail` may hold text chosen by the isolated code: quote it, do not trust it.
    """

    kind: Kind
    cause: Cause | None = None
    detail: str = ""
    reply: bytes = b""
    layers: Mapping[str, str] = field(default_factory=dict)
    cpu_s: float = 0.0

    @property
    def name(self) -> str:
        """`ok`, `fault`, `fuel`, `killed(cpu)`, `killed(memory)`, `killed(syscall)`, `killed(outside)` or
        `protocol`."""
        return f"{self.kind.value}({self.cause.value})" if self.cause else self.kind.value

    @property
    def ok(self) -> bool:
        return self.kind is Kind.OK

    @property
    def lost(self) -> bool:
        """Nothing that was run is to blame: done again, it may well succeed."""
        return self.cause is Cause.OUTSIDE

    def __str__(self) -> str:
        return f"{self.name}: {self.detail}" if self.detail else self.name


@dataclass(frozen=True)
class Limits:
    """What a worker may use. Times in seconds; memory in MiB of address space *beyond* what the parent had mapped
    when it forked, so that big libraries loaded before do not count.

    `start_s` bounds the start, with what the factory does; `wall_s` each request; `life_s` the whole worker; `cpu_s`
    (whole seconds, at least 1) its processor time. `namespace` adds an empty network and IPC namespace even where
    landlock makes it unnecessary. `skip` leaves layers out by name: for tests and for measuring what each costs.
    """

    start_s: float = 20.0
    wall_s: float = 2.0
    life_s: float = 3600.0
    cpu_s: int = 600
    memory_mib: int = 256
    namespace: bool = False
    skip: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if not (min(self.start_s, self.wall_s, self.life_s) > 0 and self.cpu_s >= 1 and self.memory_mib >= 1):
            raise ValueError(f"limits must be positive, cpu_s and memory_mib at least 1: {self}")


class IsolationError(Exception):
    """Isolation was required and cannot be had here, or a worker is used out of order. The message names the fix."""


class OutOfFuel(Exception):
    """Raised by isolated code that counts its operations and has none left; the outcome is `fuel`."""


class Stopped(Exception):
    """The worker ended before it answered. `outcome` says how; `start()` begins afresh."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(str(outcome))
        self.outcome = outcome


# ----------------------------------------------------------------------------------------------------
# The pipe protocol: raw requests of an agreed size one way, records with a fixed header the other.
#
# A record is HEAD (magic, version, status, sequence number, length; 12 bytes) and `length` bytes. The reading side
# trusts nothing: magic, version, sequence, status and length are checked, and one byte too many is an error. There
# is no pickle, and nothing a child sends is ever interpreted as code, path or format.


HEAD = Struct("<HBBII")
MAGIC, VERSION = 0x5254, 1
GO = b"!"  # the parent accepts the layers: the first byte it sends
TEXT = 400  # longest message of a fault, bytes
REPORT = 4000  # longest report of layers, bytes


class Status(IntEnum):
    """What a record is: the report of layers; a reply; or why there is none."""

    READY = 1
    OK = 2
    FAULT = 3
    FUEL = 4
    MEMORY = 5
    MALFORMED = 6


Exchange = Callable[[bytes, int], "bytes | tuple[Status, bytes]"]  # (request, sequence number)
_OK, _HEAD = int(Status.OK), HEAD.size


class Broken(Exception):
    """The other side broke the protocol."""


class Ended(Exception):
    """The other side closed its end before the record was complete."""


class Late(Exception):
    """The deadline passed."""


def write_record(descriptor: int, status: Status, sequence: int, body: bytes) -> None:
    """The child's side: one record, in one write where the pipe has room."""
    write_all(descriptor, HEAD.pack(MAGIC, VERSION, status, sequence, len(body)) + body)


def write_all(descriptor: int, data: bytes) -> None:
    """Write to a blocking descriptor until nothing is left."""
    sent = os.write(descriptor, data)
    while sent < len(data):
        sent += os.write(descriptor, memoryview(data)[sent:])


def read_exactly(descriptor: int, size: int) -> bytes:
    """The child's side: `size` bytes, or fewer when the parent has closed its end."""
    data = os.read(descriptor, size)
    while len(data) < size:
        more = os.read(descriptor, size - len(data))
        if not more:
            break
        data += more
    return data


class Channel:
    """The parent's two ends, neither of which can block it longer than the deadline (time.monotonic())."""

    def __init__(self, reading: int, writing: int) -> None:
        self._in, self._out = reading, writing
        os.set_blocking(reading, False)
        os.set_blocking(writing, False)
        self._readable, self._writable = select.poll(), select.poll()
        self._readable.register(reading, select.POLLIN)
        self._writable.register(writing, select.POLLOUT)

    def send(self, data: bytes, deadline: float) -> None:
        """All of data; Late or Ended."""
        view = memoryview(data)
        try:
            while True:
                with contextlib.suppress(BlockingIOError):
                    view = view[os.write(self._out, view) :]
                if not view:
                    return
                if not self._writable.poll(_milliseconds(deadline)):
                    raise Late
        except BrokenPipeError:
            raise Ended from None

    def exchanger(self, size: int, allowed: float, last: float) -> Exchange:
        """A function that sends a request and gives the reply of `size` bytes, or whatever record came instead:
        the same as send and receive, within `allowed` seconds and before `last`.

        Nothing on the way of a step but system calls takes long, and after each of them caches are cold: hence one
        function with everything at hand.
        """
        write, read, poll, pack, now = os.write, os.read, self._readable.poll, HEAD.pack, time.monotonic
        out, in_, whole, largest = self._out, self._in, _HEAD + size, max(size, TEXT)
        most, allowed_ms, careful = _HEAD + largest + 1, ceil(allowed * 1000), last - allowed

        def exchange(data: bytes, sequence: int) -> bytes | tuple[Status, bytes]:
            began = now()
            try:
                sent = write(out, data)
            except BlockingIOError:
                sent = 0
            except BrokenPipeError:
                raise Ended from None
            if sent < len(data):
                self.send(data[sent:], min(began + allowed, last))
            if not poll(allowed_ms if began < careful else _milliseconds(last)):
                raise Late
            got = read(in_, most)
            if len(got) == whole and got.startswith(pack(MAGIC, VERSION, _OK, sequence, size)):
                return got[_HEAD:]
            if not got:
                raise Ended
            return self.receive(sequence, largest, min(began + allowed, last), got)

        return exchange

    def receive(self, sequence: int, largest: int, deadline: float, begun: bytes = b"") -> tuple[Status, bytes]:
        """The one record of this sequence number, its body at most `largest` bytes; Broken, Ended or Late.
        `begun` is what has been read of it already."""
        most = HEAD.size + largest + 1
        pieces = bytearray(begun)
        while True:
            if len(pieces) >= HEAD.size:
                status, length = _check(HEAD.unpack_from(pieces), sequence, largest)
                if len(pieces) > HEAD.size + length:
                    raise Broken(f"the reply goes on after its announced {length} bytes")
                if len(pieces) == HEAD.size + length:
                    return status, bytes(memoryview(pieces)[HEAD.size :])
            if not self._readable.poll(_milliseconds(deadline)):
                raise Late
            data = os.read(self._in, most - len(pieces))
            if not data:
                raise Ended
            pieces += data

    def expect_end(self, deadline: float) -> None:
        """Wait for the other side to close; Broken when it sends more instead, or Late."""
        if not self._readable.poll(_milliseconds(deadline)):
            raise Late
        if os.read(self._in, 1):
            raise Broken("the reply goes on after its end")

    def close(self) -> None:
        """Close both ends."""
        os.close(self._in)
        os.close(self._out)


def _check(head: tuple[int, ...], sequence: int, largest: int) -> tuple[Status, int]:
    """Status and length of a header that is in order; else Broken."""
    magic, version, status, number, length = head
    if magic != MAGIC or version != VERSION or not Status.READY <= status <= Status.MALFORMED:
        raise Broken("malformed reply: not a record")
    if number != sequence:
        raise Broken(f"malformed reply: record {number} where {sequence} was due")
    if length > largest:
        raise Broken(f"a reply of {length} bytes, at most {largest} allowed")
    return Status(status), length


def _milliseconds(deadline: float) -> int:
    """What is left until the deadline, for poll(), which waits for ever on a negative; 0 when it has passed."""
    left = ceil((deadline - time.monotonic()) * 1000)
    return left if left > 0 else 0
