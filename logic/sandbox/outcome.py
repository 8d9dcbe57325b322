"""How a worker may end, what it may use, and what is raised. Knows no process and no system call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


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
    """Why a worker was killed. CPU: processor time or wall clock (a hang). MEMORY: an allocation over the limit or
    the system's out-of-memory killer. SYSCALL: a system call that is not on the allow-list."""

    CPU = "cpu"
    MEMORY = "memory"
    SYSCALL = "syscall"


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
        """`ok`, `fault`, `fuel`, `killed(cpu)`, `killed(memory)`, `killed(syscall)` or `protocol`."""
        return f"{self.kind.value}({self.cause.value})" if self.cause else self.kind.value

    @property
    def ok(self) -> bool:
        return self.kind is Kind.OK

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
