"""Append-only files of lines that survive a kill at any instant, with any number of writers.

`append` and `read_lines` are for any file of lines; nothing else adds to one. `Log` keeps records in several files:
JSON objects, each with an `id` (file and number) and a checksum; a full file is followed by the next. Damage costs the
lines it touched: they are named in `problems`, everything else is read.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from data_flywheel.errors import DataError
from data_flywheel.storage.files import atomic_write, canonical_json, lock
from envs.files import loads, open_file, read_file
from envs.writing import no_room, open_own, sync_folder, write_all

try:
    import fcntl
except ImportError:  # not on this system: nothing is locked, as docs/review.md says
    fcntl = None  # type: ignore[assignment]

VERSION = 1
FILE_BYTES = 4 << 20  # a file that has reached this is followed by the next
_REMEDY = "restore this file from a copy if you have one"
_BROKEN = (ValueError, KeyError, TypeError, AttributeError, RecursionError)  # what damaged JSON raises

Record = dict[str, Any]


# ----------------------------------------------------------------------------------------------------
# Lines of any kind.


def read_lines(path: Path, raises: type[Exception] = DataError) -> tuple[list[bytes], bytes]:
    """The whole lines of a file (none where there is no file), and what a kill left after the last of them.

    `raises`: a pipe, a device, a folder, far too large.
    """
    *lines, torn = (read_file(path, "log", raises, path.parent) if path.exists() else b"").split(b"\n")
    return lines, torn


def append(path: Path, lines: bytes, sync: bool = True) -> None:
    """Add whole lines, alone among threads and processes; a torn line before them is set aside first.

    All or none of `lines` are kept when the disk is full (OSError). sync: on disk for good once this returns.
    """
    new = not path.exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = open_own(path, os.O_RDWR | os.O_APPEND)
    try:
        if fcntl is not None:
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # let go when the descriptor closes
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            whole, torn = _torn(descriptor, size)
            set_aside(path, descriptor, whole, torn)
            size = whole
        append_at(descriptor, lines, size, sync)
    finally:
        os.close(descriptor)
    if new and sync:
        sync_folder(path.parent)


def append_at(descriptor: int, lines: bytes, size: int, sync: bool = True) -> None:
    """Add to an open file of `size` bytes that nobody else writes now: all of `lines` or, with an OSError, none."""
    try:
        write_all(descriptor, lines)
        if sync:
            os.fsync(descriptor)
    except OSError:
        with suppress(OSError):
            os.ftruncate(descriptor, size)
        raise


def set_aside(path: Path, descriptor: int, size: int, torn: bytes) -> Path:
    """Move what follows the first `size` bytes to a file of its own. Killed in between, it is copied once more."""
    number = 0
    while (aside := path.with_name(f"{path.stem}.torn-{number}")).exists():
        number += 1
    atomic_write(aside, torn)  # before it is cut off here
    os.ftruncate(descriptor, size)
    os.fsync(descriptor)
    return aside


def _torn(descriptor: int, size: int) -> tuple[int, bytes]:
    """Where the whole lines of an open file end, and the rest."""
    start, tail = size, b""
    while start and b"\n" not in tail:
        step = min(start, 1 << 16)
        start -= step
        tail = os.pread(descriptor, step, start) + tail
    torn = tail.rpartition(b"\n")[2]
    return size - len(torn), torn


# ----------------------------------------------------------------------------------------------------
# Records in files of limited size.


@dataclass
class _File:
    """How far one file has been read. `records`: number of the last one; `tail`: bytes after the last whole line."""

    path: Path
    number: int
    at: int = 0
    lines: int = 0
    records: int = 0
    tail: bytes = b""
    header: Record = field(default_factory=dict)
    bad: list[int] = field(default_factory=list)
    refused: str = ""

    @property
    def sound(self) -> bool:
        """Whether more may be written to it."""
        return bool(self.header) and not self.bad and not self.refused


class Log:
    """All files of one folder. Call `append` inside `with log.held():`, after `news`."""

    def __init__(self, folder: Path, kind: str, binding: Mapping[str, str], stem: str = "labels") -> None:
        """`binding`: what every file's header must repeat, such as the schema's fingerprint. `stem`: of file names."""
        self.folder, self.kind, self.binding, self.stem = folder, kind, dict(binding), stem
        self.file_bytes = FILE_BYTES
        self._files: dict[int, _File] = {}
        self.mutex, self._depth = threading.RLock(), 0

    @contextmanager
    def held(self) -> Iterator[None]:
        """Alone with the files, among threads and processes; the kernel lets go when the holder dies."""
        with self.mutex:
            descriptor = self._lock() if not self._depth else -1
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
                if descriptor >= 0:
                    os.close(descriptor)

    def _lock(self) -> int:
        try:
            descriptor = open_own(self.folder / f"{self.stem}.lock", os.O_RDWR)
        except PermissionError:
            return -1  # somebody else's folder, open for reading: nobody here can write it
        try:
            lock(descriptor, self.folder)
        except DataError:
            os.close(descriptor)
            raise
        return descriptor

    def news(self) -> list[Record]:
        """Every sound record that was added since the last call, in order. Others wait only while bytes are read."""
        with self.mutex:
            with self.held():
                lines = {number: self._read(self._file(number)) for number in self._numbers()}
            return [record for number in sorted(lines) for record in self._records(self._files[number], lines[number])]

    def _numbers(self) -> list[int]:
        names = (p.stem[len(self.stem) + 1 :] for p in self.folder.glob(f"{self.stem}-[0-9]*.jsonl"))
        return sorted(int(name) for name in names if name.isdecimal())

    def _path(self, number: int) -> Path:
        return self.folder / f"{self.stem}-{number:06d}.jsonl"

    def _file(self, number: int) -> _File:
        return self._files.setdefault(number, _File(self._path(number), number))

    def _read(self, file: _File) -> list[bytes]:
        """The whole lines that were added."""
        try:
            with open_file(file.path, "log", OSError, self.folder) as handle:
                size = os.fstat(handle.fileno()).st_size
                if size < file.at:
                    file.refused = f"was cut from {file.at} to {size} bytes while it was in use; {_REMEDY}"
                handle.seek(file.at)
                data = b"" if file.refused else handle.read()
        except OSError as error:
            file.refused = f"cannot be read: {error.strerror or error}"
            return []
        *lines, file.tail = data.split(b"\n")
        file.at += len(data) - len(file.tail)
        return lines

    def _records(self, file: _File, lines: list[bytes]) -> list[Record]:
        taken = [self._take(file, line) for line in lines]
        return [] if file.refused else [record for record in taken if record]

    def _take(self, file: _File, line: bytes) -> Record | None:
        """One line's record; None for the header and for what is damaged or refused."""
        file.lines += 1
        try:
            record = _verified(line)
            of, number = map(int, record["id"].split("-")) if file.lines > 1 else (file.number, 0)
            if of != file.number or (file.lines == 1) != (record["kind"] == "header"):
                raise ValueError("a line of another file, or a header that is not the first line")
        except _BROKEN:
            file.bad.append(file.lines)
            return None
        if file.lines == 1:
            file.header, file.refused = record, self._mismatch(record)
            return None
        file.records = number
        return record

    def _mismatch(self, header: Record) -> str:
        """Why a whole file cannot be used, or ""."""
        if header.get("of") != self.kind:
            return f"is no part of {self.kind}"
        if header.get("version") != VERSION:
            return f"has format version {header.get('version')}, but this program reads version {VERSION}"
        other = [name for name, value in self.binding.items() if header.get(name) != value]
        return f"was written for another {other[0]}; move it away" if other else ""

    def append(self, bodies: Sequence[Mapping[str, Any]]) -> list[Record]:
        """Write records; once this returns, they are on disk for good. The records with their ids.

        DataError when they cannot be written: none of them was kept. Call `news` first, to know the end.
        """
        try:
            file = self._writable()
            names = (f"{file.number:06d}-{file.records + 1 + offset:06d}" for offset in range(len(bodies)))
            records = [{**body, "id": name} for body, name in zip(bodies, names, strict=True)]
            lines = b"".join(map(_line, records))
            append(file.path, lines)
        except OSError as error:
            fix = "free some space" if no_room(error) else "see to its folder"
            raise DataError(f"{self.folder}: {error.strerror or error}; not saved: {fix}, then save again") from error
        file.at += len(lines)
        file.lines += len(records)
        file.records += len(records)
        return records

    def _writable(self) -> _File:
        last = max(self._files, default=0)
        file = self._files.get(last)
        if file is None or not file.sound or file.at >= self.file_bytes:
            return self._start(last + 1, f"{last:06d}-{file.records:06d}" if file else "")
        if file.tail:  # a writer was killed half way: it has not been told that its record is safe
            file.tail = b""  # `append` sets it aside
        return file

    def _start(self, number: int, before: str) -> _File:
        """The next file, with its header. `before`: the last record known of the one it follows."""
        header = {"kind": "header", "of": self.kind, "version": VERSION, "before": before, **self.binding}
        path = self._path(number)
        line = _line(header)
        atomic_write(path, line)
        file = _File(path, number, len(line), 1, header=header)
        self._files[number] = file
        return file

    @property
    def problems(self) -> list[str]:
        """What reading found, one sentence a file. Everything not named here was read."""
        found = []
        for number, file in sorted(self._files.items()):
            if file.refused:
                found.append(f"{file.path} {file.refused}; its records are left out")
            elif file.bad:
                which = f"line {file.bad[0]}" + (f" and {len(file.bad) - 1} more" if len(file.bad) > 1 else "")
                found.append(f"{file.path}: damaged at {which}; {file.records} records, less these, read; {_REMEDY}")
            found += self._missing_before(number, file)
        return found

    def _missing_before(self, number: int, file: _File) -> list[str]:
        """Whether the file that this one follows still ends where it did."""
        told = str(file.header.get("before", ""))
        if not told or file.refused:
            return []
        last, wanted = (int(text) for text in told.split("-"))
        earlier = self._files.get(last)
        path = self._path(last)
        if earlier is None:
            return [f"{path} is missing, with {wanted} records; {_REMEDY}"]
        if earlier.records < wanted and not earlier.bad and not earlier.refused:
            return [f"{path}: ends at record {earlier.records}, although {wanted} were written; {_REMEDY}"]
        return []


def _line(record: Mapping[str, Any]) -> bytes:
    """One line with its checksum last."""
    text = canonical_json(record)
    return f'{text[:-1]},"sum":"{_sum(text)}"}}\n'.encode()


def _sum(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:16]


def _verified(line: bytes) -> Record:
    """The record of a line; ValueError (or worse) when it is not what was written."""
    record = loads(line)
    if record.pop("sum") != _sum(canonical_json(record)):
        raise ValueError("checksum")
    return dict(record)
