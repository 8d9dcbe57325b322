"""The few Linux calls that Python does not wrap: landlock, seccomp and what they need."""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import struct
import sys
from collections.abc import Iterable
from functools import cache

# ----------------------------------------------------------------------------------------------------
# The few Linux calls that Python does not wrap, by ctypes, with errno turned into OSError.


LINUX = sys.platform.startswith("linux")
MACHINE = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine().lower())
LIBC = ctypes.CDLL(None, use_errno=True) if LINUX else None

# Calls without a wrapper in every C library; landlock's three are the same on all machines.
NUMBERS = {
    "x86_64": {"capset": 126, "seccomp": 317},
    "aarch64": {"capset": 91, "seccomp": 277},
}
LANDLOCK_CREATE, LANDLOCK_RESTRICT = 444, 446

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS = 1, 4, 38
CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWNET = 0x08000000, 0x10000000, 0x40000000


def check(result: int, what: str) -> int:
    """The result, or OSError from errno when it is negative."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def syscall(number: int, what: str, *arguments: object) -> int:
    """A raw system call. Integers are passed as C long, so that none is cut to 32 bits."""
    if LIBC is None:
        raise OSError(f"{what}: Linux only")
    passed = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    return check(int(LIBC.syscall(ctypes.c_long(number), *passed)), what)


def prctl(option: int, value: int, what: str) -> None:
    """prctl(option, value, 0, 0, 0)."""
    if LIBC is None:
        raise OSError(f"{what}: Linux only")
    check(int(LIBC.prctl(option, *(ctypes.c_ulong(v) for v in (value, 0, 0, 0)))), what)


def unshare(flags: int) -> None:
    """Leave the named namespaces for new, empty ones."""
    if LIBC is None:
        raise OSError("namespaces: Linux only")
    check(int(LIBC.unshare(flags)), "unshare")


def number_of(name: str) -> int:
    """The number of a call of `NUMBERS` on this machine; OSError on a machine that is not listed."""
    if MACHINE not in NUMBERS:
        raise OSError(f"{name}: no system call table for {MACHINE}; tables exist for {', '.join(NUMBERS)}")
    return NUMBERS[MACHINE][name]


def drop_capabilities() -> None:
    """Empty the calling thread's effective, permitted and inheritable capability sets."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this thread
    syscall(number_of("capset"), "capset", ctypes.byref(header), ctypes.byref((ctypes.c_uint32 * 6)()))


# ----------------------------------------------------------------------------------------------------
# An empty landlock rule set: no path can be opened, made, removed or executed, whatever the user's rights.
#
# Does not cover descriptors that are already open, nor metadata calls such as stat and chdir, nor (before ABI 4)
# the network; those are the filter's and the namespaces' task.


_VERSION_FLAG = 1
# Number of file-system rights known to ABI 1, 2, ...: refer came with 2, truncate with 3, device ioctl with 5.
_RIGHTS = (13, 14, 15, 15, 16)
_NET_TCP = 0b11  # bind, connect: ABI 4
_SCOPES = 0b11  # abstract sockets, signals: ABI 6


class _Attributes(ctypes.Structure):
    _fields_ = [("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64)]


def abi() -> int:
    """The kernel's landlock ABI, 0 where there is none."""
    try:
        return syscall(LANDLOCK_CREATE, "landlock", None, 0, _VERSION_FLAG)
    except OSError:
        return 0


def attributes(version: int) -> tuple[_Attributes, int]:
    """Everything that ABI `version` can deny, and the size of the structure that it understands."""
    rights = (1 << _RIGHTS[min(version, len(_RIGHTS)) - 1]) - 1
    size = 8 if version < 4 else 16 if version < 6 else 24
    return _Attributes(rights, _NET_TCP if version >= 4 else 0, _SCOPES if version >= 6 else 0), size


def forbid_paths() -> None:
    """Deny the calling thread, and all it makes later, everything landlock can deny. Needs no_new_privs."""
    version = abi()
    if not version:
        raise OSError("landlock: not in this kernel (needs 5.13 or later with landlock among its active LSMs)")
    what, size = attributes(version)
    rules = syscall(LANDLOCK_CREATE, "landlock", ctypes.byref(what), size, 0)
    try:
        syscall(LANDLOCK_RESTRICT, "landlock", rules, 0)
    finally:
        os.close(rules)


# ----------------------------------------------------------------------------------------------------
# The system call filter: an allow-list in BPF for x86-64 and aarch64; every other call kills the process.
#
# An allow-list and not a deny-list, because kernels grow calls (io_uring, openat2, clone3, ...) that a deny-list of
# today would let through. What is left is what computing needs: memory that cannot be executed, locks, clocks,
# random numbers, and reading and writing descriptors that are already open. Killed, not refused with an errno, so
# that hostile code gets no second try and a lazy import is seen as what it is.
#
# A filter sees registers, not memory: it cannot judge paths or buffers, so no allowed call may depend on one for
# its safety.


_LOAD, _EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06  # ld word absolute; jeq; jset; ret
_ALLOW, _KILL_PROCESS = 0x7FFF0000, 0x80000000
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data
_SET_MODE_FILTER, _ALL_THREADS = 1, 1
_PROT_EXEC = 4

AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
# name: (x86-64, aarch64); None where the machine has no such call. The hot ones come first.
ALLOWED: dict[str, tuple[int | None, int | None]] = {
    "read": (0, 63),
    "write": (1, 64),
    "futex": (202, 98),
    "brk": (12, 214),
    "munmap": (11, 215),
    "mremap": (25, 216),
    "madvise": (28, 233),
    "clock_gettime": (228, 113),
    "clock_getres": (229, 114),
    "clock_nanosleep": (230, 115),
    "nanosleep": (35, 101),
    "gettimeofday": (96, 169),
    "time": (201, None),
    "getrusage": (98, 165),
    "times": (100, 153),
    "getrandom": (318, 278),
    "sched_yield": (24, 124),
    "sched_getaffinity": (204, 123),  # malloc asks when several threads want an arena
    "poll": (7, None),
    "ppoll": (271, 73),
    "close": (3, 57),
    "getpid": (39, 172),
    "gettid": (186, 178),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "sigaltstack": (131, 132),
    "restart_syscall": (219, 128),
    "exit": (60, 93),
    "exit_group": (231, 94),
}
# Allowed when the protection asked for does not include execution.
WITHOUT_EXEC: dict[str, tuple[int, int]] = {"mmap": (9, 222), "mprotect": (10, 226)}
# Allowed for SIGABRT to oneself, which is what abort() does.
ABORT: tuple[int, int] = (234, 131)  # tgkill

Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, constant


def _argument(i: int) -> Instruction:
    """Load the low word of argument i (both machines are little-endian)."""
    return _LOAD, 0, 0, _ARGUMENTS + 8 * i


_KILL: Instruction = (_RETURN, 0, 0, _KILL_PROCESS)
_PASS: Instruction = (_RETURN, 0, 0, _ALLOW)


@cache
def computing(machine: str) -> tuple[Instruction, ...]:
    """The part of the filter that is the same for every process of a machine."""
    column = list(AUDIT).index(machine)
    code: list[Instruction] = [(_LOAD, 0, 0, _ARCHITECTURE), (_EQUAL, 1, 0, AUDIT[machine]), _KILL]
    code.append((_LOAD, 0, 0, _NUMBER))
    for numbers in ALLOWED.values():
        number = numbers[column]
        if number is not None:
            code += [(_EQUAL, 0, 1, number), _PASS]
    for pair in WITHOUT_EXEC.values():
        code += [(_EQUAL, 0, 4, pair[column]), _argument(2), (_ANY_BIT, 0, 1, _PROT_EXEC), _KILL, _PASS]
    return tuple(code)


def program(machine: str, pid: int) -> tuple[Instruction, ...]:
    """The filter for a machine and the one process that runs it."""
    number = ABORT[list(AUDIT).index(machine)]
    check = (
        (_EQUAL, 0, 5, number),
        _argument(0),
        (_EQUAL, 0, 3, pid),
        _argument(2),
        (_EQUAL, 0, 1, int(signal.SIGABRT)),
    )
    return (*computing(machine), *check, _PASS, _KILL)


def encode(code: Iterable[Instruction]) -> bytes:
    """The program as the kernel's array of struct sock_filter."""
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code)


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


def filter_calls() -> None:
    """Put the filter on every thread of this process, for good. Needs no_new_privs. OSError where there is none."""
    if MACHINE not in AUDIT:
        raise OSError(f"seccomp: no filter for {MACHINE}; there are filters for {', '.join(AUDIT)}")
    code = program(MACHINE, os.getpid())
    text = ctypes.create_string_buffer(encode(code))
    wanted = _Program(len(code), ctypes.addressof(text))
    refused = syscall(number_of("seccomp"), "seccomp", _SET_MODE_FILTER, _ALL_THREADS, ctypes.byref(wanted))
    if refused:
        raise OSError(f"seccomp: thread {refused} could not take the filter")
