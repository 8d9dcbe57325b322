"""Files that survive a kill at any instant: whole replacements, synced folders, locks that die with their holder."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

from data_flywheel.errors import DataError

try:
    import fcntl
except ImportError:  # not on this system: nothing is locked, as the documentation says
    fcntl = None  # type: ignore[assignment]


_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class DiskFull(DataError, OSError):
    """There was no room to write a file, which is as it was before; `errno` and `strerror` as of any OSError."""

    def __str__(self) -> str:
        return f"{self.filename}: {self.strerror}; not written: free some space, then run the same command again"


def canonical_json(value: Any) -> str:
    """JSON text with sorted keys and no spaces, so that equal values give equal text (NaN is refused)."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)


def sync_folder(folder: Path) -> None:
    """Make names that were created, renamed or removed in `folder` permanent, where the system can (not Windows)."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_all(descriptor: int, data: bytes) -> None:
    """All of `data`; OSError when the disk is full."""
    while data:
        data = data[os.write(descriptor, data) :]


def atomic_write(path: Path, data: bytes) -> None:
    """`path` holds its old content or all of `data`, never anything between, even after a crash. Makes its folder.

    DiskFull when there is no room; any other OSError as it comes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}.part")
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            write_all(descriptor, data)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(partial, path)
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise DiskFull(error.errno, error.strerror, str(path)) from error
        raise
    finally:
        partial.unlink(missing_ok=True)
    sync_folder(path.parent)


def try_lock(descriptor: int) -> bool:
    """Take the file for this process; False when another has it. The kernel lets go when the holder dies."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
