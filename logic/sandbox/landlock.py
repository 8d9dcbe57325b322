"""An empty landlock rule set: no path can be opened, made, removed or executed, whatever the user's rights.

Knows the rights of ABI 1 to 7. Does not cover descriptors that are already open, nor metadata calls such as stat
and chdir, nor (before ABI 4) the network; those are the filter's and the namespaces' task.
"""

from __future__ import annotations

import ctypes
import os

from logic.sandbox import kernel

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
        return kernel.syscall(kernel.LANDLOCK_CREATE, "landlock", None, 0, _VERSION_FLAG)
    except OSError:
        return 0


def attributes(version: int) -> tuple[_Attributes, int]:
    """Everything that ABI `version` can deny, and the size of the structure that it understands."""
    rights = (1 << _RIGHTS[min(version, len(_RIGHTS)) - 1]) - 1
    size = 8 if version < 4 else 16 if version < 6 else 24
    return _Attributes(rights, _NET_TCP if version >= 4 else 0, _SCOPES if version >= 6 else 0), size


def restrict() -> None:
    """Deny the calling thread, and all it makes later, everything landlock can deny. Needs no_new_privs."""
    version = abi()
    if not version:
        raise OSError("landlock: not in this kernel (needs 5.13 or later with landlock among its active LSMs)")
    what, size = attributes(version)
    rules = kernel.syscall(kernel.LANDLOCK_CREATE, "landlock", ctypes.byref(what), size, 0)
    try:
        kernel.syscall(kernel.LANDLOCK_RESTRICT, "landlock", rules, 0)
    finally:
        os.close(rules)
