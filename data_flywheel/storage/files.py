"""Files that survive a kill at any instant: whole replacements, synced folders, locks that die with their holder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # not on this system: nothing is locked, as the documentation says
    fcntl = None  # type: ignore[assignment]


def sync_folder(folder: Path) -> None:
    """Make names that were created, renamed or removed in `folder` permanent."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_all(descriptor: int, data: bytes) -> None:
    """All of `data`; OSError when the disk is full."""
    while data:
        data = data[os.write(descriptor, data) :]


def replace_file(path: Path, data: bytes) -> None:
    """`path` holds the old bytes or all of `data`, never anything between."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        try:
            write_all(descriptor, data)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(partial, path)
        sync_folder(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def try_lock(descriptor: int) -> bool:
    """Take the file for this process; False when another has it. The kernel lets go when the holder dies."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def folder_held(folder: Path) -> Iterator[None]:
    """Hold a folder while a file in it is read, extended and replaced; waits for whoever holds it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if fcntl is not None:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
