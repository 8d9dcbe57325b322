"""The few Linux calls that Python does not wrap, by ctypes, with errno turned into OSError.

Knows numbers and calling conventions for x86-64 and aarch64. Does not know what the calls are used for.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys

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
