"""The system call filter: an allow-list in BPF for x86-64 and aarch64; every other call kills the process.

An allow-list and not a deny-list, because kernels grow calls (io_uring, openat2, clone3, ...) that a deny-list of
today would let through. What is left is what computing needs: memory that cannot be executed, locks, clocks,
random numbers, and reading and writing descriptors that are already open. Killed, not refused with an errno, so that
hostile code gets no second try and a lazy import is seen as what it is.

Knows BPF and call numbers. Does not know files, limits or processes. A filter sees registers, not memory: it cannot
judge paths or buffers, so no allowed call may depend on one for its safety.
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct
from collections.abc import Iterable
from functools import cache

from logic.sandbox import kernel

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


def restrict() -> None:
    """Put the filter on every thread of this process, for good. Needs no_new_privs. OSError where there is none."""
    if kernel.MACHINE not in AUDIT:
        raise OSError(f"seccomp: no filter for {kernel.MACHINE}; there are filters for {', '.join(AUDIT)}")
    code = program(kernel.MACHINE, os.getpid())
    text = ctypes.create_string_buffer(encode(code))
    wanted = _Program(len(code), ctypes.addressof(text))
    refused = kernel.syscall(
        kernel.number_of("seccomp"), "seccomp", _SET_MODE_FILTER, _ALL_THREADS, ctypes.byref(wanted)
    )
    if refused:
        raise OSError(f"seccomp: thread {refused} could not take the filter")
