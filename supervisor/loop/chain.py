"""One line of the event log: a JSON record that carries the hash of the line before it and its own.

Knows: the canonical text of a record, its checks. Does not know: files, writers, what the kinds of events mean.

A line is `{"n", "at", "kind", "data", "prev", "hash"}` in this order, ASCII, without spaces, the keys of `data` sorted;
`hash` is the sha256 of the line without `,"hash":"..."`. `n` counts from 1 and is the line's number.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from supervisor.errors import SupervisorError

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
    """A copy made of plain JSON values with every secret blotted out; SupervisorError names what is not plain."""
    if depth > _DEEPEST:
        raise SupervisorError(f"{where[:80]}: nested deeper than {_DEEPEST} levels; keep it in a file of its own")
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, _HIDDEN)
        return str(value)
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
