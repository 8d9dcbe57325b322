"""The one way a file or a folder comes to stand: whole or not at all, even after a kill or on a full disk.

`atomic_write` takes bytes; `whole` is for libraries that write a file themselves. What grows by lines is an
append-only log instead (data_flywheel/storage/log.py, supervisor/events.py). Standard library only.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from envs.errors import EnvError

_PARTIAL = re.compile(r"\..+\.\d+\.[0-9a-f]{8}\.part.*")  # as `whole` calls it
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def no_room(error: OSError) -> bool:
    """Whether it is the disk, a quota or a limit that is full."""
    return error.errno in _NO_ROOM


class DiskFull(EnvError, OSError):
    """There was no room to write a file, which is as it was before; `errno` and `strerror` as of any OSError."""

    def __str__(self) -> str:
        return f"{self.filename}: {self.strerror}; not written: free some space, then run the same command again"


def atomic_write(path: Path, data: bytes, full: type[DiskFull] = DiskFull, new: bool = False) -> None:
    """`path` holds its old content or all of `data`, never anything between, even after a crash. Makes its folder.

    `full` (the layer's DiskFull) when there is no room; any other OSError as it comes. new: FileExistsError where
    there is a file already, of two writers for the slower one.
    """
    with whole(path, full, new=new) as partial:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            write_all(descriptor, data)
        finally:
            os.close(descriptor)


def atomic_copy(source: Path, target: Path) -> None:
    """The bytes of a file that ships with Triune, or of one it wrote, at another place."""
    atomic_write(target, source.read_bytes())


@contextmanager
def whole(path: Path, full: type[DiskFull] = DiskFull, suffix: str = "", new: bool = False) -> Iterator[Path]:
    """A name beside `path`, for a file or a folder that takes its place once the block has ended.

    Nothing is left of it after an error. A folder takes the place of none, or of an empty one. suffix: for a writer
    that tells the format by it. new: a file takes the place of none (FileExistsError).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}.part{suffix}")
    try:
        with naming(path, full):
            yield partial
            if not partial.is_dir():
                _sync(partial)
            (_place if new else os.replace)(partial, path)
    finally:
        if partial.is_dir():
            shutil.rmtree(partial, ignore_errors=True)
        else:
            partial.unlink(missing_ok=True)
    sync_folder(path.parent)


def sweep(folder: Path) -> None:
    """Remove what kills have left half written in a folder and below, which nobody writes now."""
    for path in list(folder.rglob(".*.part*")):
        if _PARTIAL.fullmatch(path.name):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _place(partial: Path, path: Path) -> None:
    """Give a whole file its name, unless another has it: FileExistsError."""
    try:
        os.link(partial, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without links: the name is taken empty, and filled at once
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
        os.replace(partial, path)


@contextmanager
def naming(path: Path, full: type[DiskFull] = DiskFull) -> Iterator[None]:
    """An OSError of the block names `path`: writing to an open file does not by itself."""
    try:
        yield
    except OSError as error:
        if no_room(error):
            raise full(error.errno, error.strerror, str(path)) from error
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


def open_own(path: Path, flags: int) -> int:
    """A descriptor of a file that is written in its place, made where there is none; OSError for a link."""
    try:
        return os.open(path, flags | os.O_CREAT | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0), 0o644)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, "is a link; put the file itself there", str(path)) from None
        raise


def write_all(descriptor: int, data: bytes) -> None:
    """All of `data`; OSError when the disk is full."""
    while data:
        data = data[os.write(descriptor, data) :]


def sync_folder(folder: Path) -> None:
    """Make names that were created, renamed or removed in `folder` permanent, where the system can (not Windows)."""
    try:
        _sync(folder)
    except OSError:
        return


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
