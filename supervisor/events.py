"""The append-only truth of a run: `events.jsonl`, each line chained to the one before by its hash."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import re
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from data_flywheel.storage.files import try_lock
from data_flywheel.storage.log import append_at, set_aside
from envs.files import Unreadable, read_file
from envs.writing import open_own, sync_folder
from supervisor.errors import SupervisorError
from supervisor.secrets import SHORTEST, forms, hide

# ----------------------------------------------------------------------------------------------------
# One line of the event log: a JSON record that carries the hash of the line before it and its own.
#
# A line is `{"n", "at", "kind", "data", "prev", "hash"}` in this order, ASCII, without spaces, the keys of `data`
# sorted; `hash` is the sha256 of the line without `,"hash":"..."`. `n` counts from 1 and is the line's number.


FORMAT = 1
FIRST = "log"  # kind of the first event, which names the format
START = "0" * 64
MOST_BYTES = 4_000_000
_KIND = re.compile(r"[a-z][a-z0-9_.-]{0,39}\Z")
_HASH = re.compile(r"[0-9a-f]{64}\Z")
_HIDDEN = "[secret]"
_DEEPEST = 60


class LogDamaged(SupervisorError):
    """The log was changed by something other than its writer; `line` (from 1) is where."""

    def __init__(self, name: str, line: int, why: str) -> None:
        super().__init__(f"{name}, line {line}: {why}; restore the file from a copy, or start a new run")
        self.line = line


@dataclass(frozen=True)
class Event:
    """One acknowledged fact. `at` is in seconds since the epoch."""

    n: int
    at: float
    kind: str
    data: Mapping[str, Any]
    prev: str
    hash: str


def make(n: int, at: float, kind: str, data: Mapping[str, Any], prev: str) -> tuple[Event, bytes]:
    """The event and its line, newline included. SupervisorError for what JSON cannot hold exactly."""
    if not _KIND.match(kind):
        raise SupervisorError(f"{kind!r} cannot name a kind of event; use lower-case letters, digits and . _ -")
    if isinstance(at, bool) or not isinstance(at, (int, float)) or not math.isfinite(at):
        raise SupervisorError(f"an event cannot happen at {at!r}; the clock must give finite seconds")
    body = _body(n, float(at), kind, data, prev)
    digest = hashlib.sha256(body).hexdigest()
    line = body[:-1] + f',"hash":"{digest}"}}\n'.encode()
    if len(line) > MOST_BYTES:
        raise SupervisorError(
            f"an event {kind} of {len(line) // 1000} kB (at most {MOST_BYTES // 1000}); keep large things in a file "
            "and their sha256 in the event"
        )
    return Event(n, float(at), kind, json.loads(body)["data"], prev, digest), line


def _body(n: int, at: float, kind: str, data: Mapping[str, Any], prev: str) -> bytes:
    ordered = json.loads(_json(data, sort_keys=True))
    return _json({"n": n, "at": at, "kind": kind, "data": ordered, "prev": prev}).encode("ascii")


def _json(value: Any, sort_keys: bool = False) -> str:
    return json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"), sort_keys=sort_keys)


def plain(value: Any, secrets: Sequence[str] = (), where: str = "data", depth: int = 0) -> Any:
    """A copy made of plain JSON values, with all `secrets` (see supervisor.secrets.forms) blotted out; SupervisorError
    names what is not plain."""
    if depth > _DEEPEST:
        raise SupervisorError(f"{where[:80]}: nested deeper than {_DEEPEST} levels; keep it in a file of its own")
    if isinstance(value, str):
        return str(hide(value, secrets, _HIDDEN))
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and abs(value) < 2**63:
        return int(value)
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise SupervisorError(f"{where}: the key {key!r} is no string; write str(key)")
        return {plain(k, secrets): plain(v, secrets, f"{where}.{k[:40]}", depth + 1) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v, secrets, f"{where}[{i}]", depth + 1) for i, v in enumerate(value)]
    raise SupervisorError(
        f"{where}: {str(value)[:60]!r} ({type(value).__name__}) cannot be an event's value; "
        'use finite numbers, strings, booleans, None, lists and objects ("unknown" for a number that is not known)'
    )


def check(line: bytes, n: int, prev: str, name: str) -> Event:
    """The event of line `n` (without its newline) that must follow `prev`; LogDamaged says what is wrong."""
    try:
        told = json.loads(line.decode("ascii"), parse_constant=_no_constant)
        event = Event(**told)
        good = [type(event.n), type(event.at), type(event.kind), type(event.data)] == [int, float, str, dict]
        if not good or not _KIND.match(event.kind) or not _HASH.match(event.prev) or not _HASH.match(event.hash):
            raise ValueError("a field of the wrong type")
        body = _body(event.n, event.at, event.kind, event.data, event.prev)
        if body[:-1] + f',"hash":"{event.hash}"}}'.encode() != line:
            raise ValueError("not the text that the log writes")
    except (ValueError, TypeError, RecursionError, OverflowError) as error:
        raise LogDamaged(name, n, f"not an event of this log ({str(error)[:100]})") from None
    if hashlib.sha256(body).hexdigest() != event.hash:
        raise LogDamaged(name, n, "its text was changed after it was written (the hash does not fit)")
    if event.n != n:
        raise LogDamaged(name, n, f"it holds event {event.n}: lines were removed, added or exchanged")
    if event.prev != prev:
        raise LogDamaged(name, n, "it does not continue the line before it: a line was replaced")
    return event


def check_first(event: Event, name: str) -> None:
    """The first line names a format that this program reads."""
    version = event.data.get("format")
    if event.kind != FIRST or type(version) is not int or version < 1:
        raise LogDamaged(name, 1, "the first event does not name the log's format")
    if version > FORMAT:
        raise SupervisorError(f"{name}: log format {version}, but this program reads format {FORMAT}; update Triune")


def _no_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON")


# ----------------------------------------------------------------------------------------------------
# The append-only truth of a run: `events.jsonl`, written by one process, readable after a kill at any instant.
#
# Beside `events.jsonl` lies `events.head`: a record of fixed size that says which line is being written or was
# written last. It is locked by the writer, and it shows what a chain alone cannot: lines cut off or added at the
# end.


TORN = "log.torn"
_HEAD_BYTES = 256


@dataclass(frozen=True)
class Head:
    """The last line that was `written`, or the one being written, by process `pid`."""

    n: int
    hash: str
    written: bool
    pid: int


class EventLog:
    """The one writer of a log. Use as a context manager, or `close()`."""

    def __init__(self, path: Path, now: Callable[[], float], secrets: Sequence[str]) -> None:
        self.path, self.now, self.secrets = path, now, forms(secrets)
        self.events: list[Event] = []
        self.notes: list[str] = []  # what opening found, for people
        self.torn: Path | None = None
        self._size = 0
        self._head = open_own(_head_path(path), os.O_RDWR)
        self._log = -1
        _OPEN.add(self)

    @classmethod
    def open(cls, path: Path, now: Callable[[], float] = time.time, secrets: Sequence[str] = ()) -> EventLog:
        """Create or continue the log at `path`. One of `secrets` in later data is blotted out, in any notation.

        SupervisorError when another process writes it; LogDamaged when it was changed by anything else.
        """
        if any(len(s) < SHORTEST for s in secrets):
            raise SupervisorError(f"a secret shorter than {SHORTEST} characters cannot be told from other text")
        path.parent.mkdir(parents=True, exist_ok=True)
        log = cls(path, now, secrets)
        try:
            log._start()
        except BaseException:
            log.close()
            raise
        return log

    def _start(self) -> None:
        if not try_lock(self._head):
            head = _read_head(self.path)
            who = f"process {head.pid}" if head else "another process"
            raise SupervisorError(f"{self.path} is being written by {who}; wait until it ends, or stop it, then resume")
        self._log = open_own(self.path, os.O_RDWR | os.O_APPEND)
        sync_folder(self.path.parent)
        head = _read_head(self.path)
        self.events, tail = _verified(self.path, head, head)
        self._size = os.fstat(self._log).st_size - len(tail)
        if head is None and self.events:
            self.notes.append(f"{_head_path(self.path).name} was missing: the end of the log could not be checked")
        if tail:
            self.torn = set_aside(self.path, self._log, self._size, tail)
            self.notes.append(f"an unfinished last line of {len(tail)} bytes was moved to {self.torn.name}")
        if self.events:
            self._point(self.events[-1], True)
        else:
            self.append(FIRST, {"format": FORMAT, "of": "triune.events"})
        self._report_torn()

    def _report_torn(self) -> None:
        """One event for each file set aside, also by an opening that was itself killed before it could say so."""
        known = {e.data.get("file") for e in self.events if e.kind == TORN}
        for path in sorted(self.path.parent.glob(f"{self.path.stem}.torn-*")):
            if path.name not in known:
                self.append(TORN, {"bytes": path.stat().st_size, "file": path.name})

    def append(self, kind: str, data: Mapping[str, Any]) -> Event:
        """Write one event; once this returns, the event is on disk for good."""
        if self._log < 0:
            raise SupervisorError(f"{self.path}: this log is closed; open it again")
        state = os.fstat(self._log)
        if state.st_size != self._size or not state.st_nlink:
            self.close()
            raise SupervisorError(f"{self.path} was changed by something else while it was open; open it again")
        last = self.events[-1] if self.events else None
        event, line = make(
            len(self.events) + 1, self.now(), kind, plain(data, self.secrets), last.hash if last else START
        )
        try:
            self._point(event, False)
            os.fsync(self._head)  # so that a loss of power never leaves a line that the head does not know
            append_at(self._log, line, self._size)
        except OSError as error:
            self._undo(last)
            raise SupervisorError(f"{self.path}: {error.strerror or error}; free some space, then resume") from error
        self._size += len(line)
        self.events.append(event)
        self._point(event, True)
        return event

    def _undo(self, last: Event | None) -> None:
        """Take back a line that could not be written in full, and stop writing: resuming checks everything."""
        with contextlib.suppress(OSError):
            os.ftruncate(self._log, self._size)
            if last is not None:
                self._point(last, True)
        self.close()

    def _point(self, event: Event, written: bool) -> None:
        told = {"n": event.n, "hash": event.hash, "written": written, "pid": os.getpid()}
        os.pwrite(self._head, json.dumps(told).ljust(_HEAD_BYTES - 1).encode() + b"\n", 0)

    def close(self) -> None:
        """Let go of the files; another process may then continue."""
        for descriptor in (self._log, self._head):
            if descriptor >= 0:
                os.close(descriptor)
        self._log = self._head = -1
        _OPEN.discard(self)

    def __enter__(self) -> EventLog:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


_OPEN: weakref.WeakSet[EventLog] = weakref.WeakSet()


def _forget() -> None:
    """In a forked child: a worker that outlives its parent must neither hold the lock nor be able to write."""
    for log in list(_OPEN):
        log.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def read(path: Path) -> list[Event]:
    """Every complete event, verified, while a writer may be at work; an unfinished last line is left out.

    SupervisorError when there is no log; LogDamaged names the line that something else changed.
    """
    for tried in range(5):
        before = _read_head(path)
        data = _bytes(path)
        try:
            return _verified(path, before, _read_head(path), data)[0]
        except LogDamaged:
            if tried == 4 or data == _bytes(path) and before == _read_head(path):
                raise  # nothing moved: no writer was at work
    raise AssertionError("not reached")


def _bytes(path: Path) -> bytes:
    return read_file(path, "log", SupervisorError)


def _verified(
    path: Path, before: Head | None, after: Head | None, data: bytes | None = None
) -> tuple[list[Event], bytes]:
    """Events and the unfinished tail of a log whose head said `before` and `after` it was read."""
    *lines, tail = (_bytes(path) if data is None else data).split(b"\n")
    events: list[Event] = []
    for line in lines:
        events.append(check(line, len(events) + 1, events[-1].hash if events else START, path.name))
    if events:
        check_first(events[0], path.name)
    if before is not None and len(events) < before.n - (not before.written):
        raise LogDamaged(path.name, len(events) + 1, f"missing, although {before.n} lines were written")
    if after is not None and len(events) > after.n:
        raise LogDamaged(path.name, after.n + 1, "added by something else than the run")
    for head in (before, after):
        if head is not None and 0 < head.n <= len(events) and events[head.n - 1].hash != head.hash:
            raise LogDamaged(path.name, head.n, "not the line that the run wrote")
    return events, tail


def _head_path(path: Path) -> Path:
    return path.with_suffix(".head")


def _read_head(path: Path) -> Head | None:
    """None when there is none, or nothing of use in it."""
    try:
        head = Head(**json.loads(read_file(_head_path(path), "log")[: 2 * _HEAD_BYTES]))
    except (Unreadable, ValueError, TypeError, RecursionError):
        return None
    return head if [type(head.n), type(head.hash), type(head.written)] == [int, str, bool] else None
