"""The event log's checks one by one: what a line and a head may say, and what is refused before anything is written."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from events_kit import opened

from supervisor import events
from supervisor.errors import SupervisorError
from supervisor.events import START, TORN, LogDamaged, check, check_first, make, plain, read
from supervisor.secrets import SHORTEST


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A closed log of four events."""
    path = tmp_path / "run" / "events.jsonl"
    with opened(path) as log:
        for i in range(3):
            log.append("work", {"i": i})
    return path


def head(path: Path) -> dict[str, Any]:
    return json.loads(path.with_suffix(".head").read_bytes())


def say(path: Path, **changes: Any) -> None:
    """Change the head."""
    path.with_suffix(".head").write_text(json.dumps({**head(path), **changes}))


# --- one line


def forged(**changes: Any) -> bytes:
    """A line with a right hash, without its newline."""
    told = {"n": 2, "at": 1.5, "kind": "work", "data": {"i": 0}, "prev": START, **changes}
    digest = told.pop("hash", None)
    body = json.dumps(told, separators=(",", ":")).encode()
    digest = digest or hashlib.sha256(body).hexdigest()
    return body[:-1] + f',"hash":"{digest}"}}'.encode()


def test_a_right_line_is_read_whatever_may_stand_in_it() -> None:
    event = check(forged(data={"a": [None, True, "x", {"b": 1.5}]}), 2, START, "log")
    assert (event.n, event.at, event.kind, event.prev) == (2, 1.5, "work", START)
    assert event.data == {"a": [None, True, "x", {"b": 1.5}]}
    for kind in ("a", "a" * 40, "a1.b_c-d"):
        assert check(forged(kind=kind), 2, START, "log").kind == kind


@pytest.mark.parametrize(
    "changes",
    [{"n": "2"}, {"n": 2.0}, {"n": True}, {"at": 1}, {"at": "1.5"}, {"at": None}, {"kind": 3}, {"kind": "Work"},
     {"kind": "a" * 41}, {"kind": ""}, {"kind": "work\n"}, {"data": [1]}, {"data": None}, {"prev": "0" * 63},
     {"prev": "G" * 64}, {"prev": 0}, {"prev": START + "0"}, {"more": 1}, {"hash": "x" * 64}, {"hash": "0" * 63}],
)  # fmt: skip
def test_a_field_of_the_wrong_kind_is_no_event(changes: dict[str, Any]) -> None:
    with pytest.raises(LogDamaged, match=r"log, line 7: not an event of this log") as found:
        check(forged(**changes), 7, START, "log")
    assert found.value.line == 7 and "restore the file from a copy" in str(found.value)


@pytest.mark.parametrize("line", [b"", b"[]", b"{}", b"null", b"\xff", b"[" * 100_000, b'{"n":NaN}', b'{"n":1e999}'])
def test_what_is_no_json_of_an_event(line: bytes) -> None:
    with pytest.raises(LogDamaged, match="not an event"):
        check(line, 1, START, "log")


def test_each_way_in_which_a_line_does_not_belong() -> None:
    line = forged()
    for wrong, n, prev, says in (
        (forged(hash="0" * 64), 2, START, "its text was changed"),
        (line, 3, START, "it holds event 2"),
        (line, 1, START, "it holds event 2"),
        (line, 2, "1" * 64, "does not continue the line before"),
        (line.replace(b'"n":2,"at":1.5', b'"at":1.5,"n":2'), 2, START, "not the text that the log writes"),
        (line.replace(b'"n":2', b'"n": 2'), 2, START, "not the text that the log writes"),
    ):
        with pytest.raises(LogDamaged, match=says):
            check(wrong, n, prev, "log")


@pytest.mark.parametrize("version", [None, True, "1", 1.0, 0, -1])
def test_a_first_line_that_names_no_format(version: Any) -> None:
    event = make(1, 1.0, "log", {"format": version}, START)[0]
    with pytest.raises(LogDamaged, match="line 1: the first event does not name"):
        check_first(event, "log")
    check_first(make(1, 1.0, "log", {"format": 1}, START)[0], "log")
    with pytest.raises(LogDamaged):
        check_first(make(1, 1.0, "work", {"format": 1}, START)[0], "log")
    with pytest.raises(SupervisorError, match="log format 2, but this program reads format 1"):
        check_first(make(1, 1.0, "log", {"format": 2}, START)[0], "log")


# --- what an event can hold


def test_keys_stand_in_one_order_at_every_depth() -> None:
    line = make(1, 1.0, "work", {"b": 1, "a": {"d": 1, "c": 2}}, START)[1]
    assert b'"data":{"a":{"c":2,"d":1},"b":1}' in line and check(line[:-1], 1, START, "log").kind == "work"


@pytest.mark.parametrize("at", [True, "1", None, float("nan"), float("inf"), -float("inf"), [1]])
def test_an_event_happens_at_a_finite_time(at: Any) -> None:
    with pytest.raises(SupervisorError, match="finite seconds"):
        make(1, at, "work", {}, START)
    assert make(1, 3, "work", {}, START)[0].at == 3.0 and b'"at":3.0' in make(1, 3, "work", {}, START)[1]


def test_a_line_may_be_as_long_as_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    length = len(make(1, 1.0, "work", {"text": "x" * 2000}, START)[1])
    monkeypatch.setattr(events, "MOST_BYTES", length)
    assert make(1, 1.0, "work", {"text": "x" * 2000}, START)[1].endswith(b'"}\n')
    with pytest.raises(SupervisorError, match=r"work of 2 kB \(at most 2\)"):
        make(1, 1.0, "work", {"text": "x" * 2001}, START)


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def test_depth_numbers_and_names_of_places() -> None:
    assert plain(deep(60)) == deep(60)
    with pytest.raises(SupervisorError, match="deeper than 60"):
        plain(deep(61))
    nested: Any = 1
    for _ in range(61):
        nested = {"a": nested}
    with pytest.raises(SupervisorError, match="deeper than 60"):
        plain(nested)
    assert plain([2**63 - 1, 1 - 2**63, 0.5, None, True, "x", (1, 2)]) == [
        2**63 - 1, 1 - 2**63, 0.5, None, True, "x", [1, 2]
    ]  # fmt: skip
    for wrong in (2**63, -(2**63), float("nan"), float("inf"), b"x", {1}):
        with pytest.raises(SupervisorError, match=r"data\.aaa\[1\]\.b: "):
            plain({"aaa": [0, {"b": wrong}]})
    with pytest.raises(SupervisorError, match=r"^data\.k{40}: "):
        plain({"k" * 50: b"x"})
    with pytest.raises(SupervisorError, match=r"data\.a: the key 3 is no string"):
        plain({"a": {3: 1}})


@pytest.mark.parametrize("secret", ["s" * SHORTEST, "s" * (SHORTEST + 5)])
def test_the_shortest_secret_is_blotted_out_of_keys_and_values(path: Path, secret: str) -> None:
    with opened(path, secrets=[secret]) as log:
        assert log.append("work", {f"a{secret}": [f"{secret}!"]}).data == {"a[secret]": ["[secret]!"]}
    with pytest.raises(SupervisorError, match=f"shorter than {SHORTEST}"):
        opened(path, secrets=[secret, "s" * (SHORTEST - 1)])


# --- the files


@pytest.mark.parametrize("how", ["deleted", "replaced by a copy", "cut off", "added to"])
def test_a_log_that_something_else_touched_is_written_no_more(path: Path, how: str) -> None:
    with opened(path) as log:
        data = path.read_bytes()
        if how == "deleted":
            path.unlink()
        elif how == "replaced by a copy":
            (path.parent / "copy").write_bytes(data)
            os.replace(path.parent / "copy", path)
        elif how == "cut off":
            os.truncate(path, len(data) - 1)
        else:
            path.write_bytes(data + b"x")
        with pytest.raises(SupervisorError, match="changed by something else while it was open"):
            log.append("work", {})
        with pytest.raises(SupervisorError, match="closed; open it again"):
            log.append("work", {})
        assert len(log.events) == 4 and head(path)["n"] == 4


def test_both_files_are_readable_by_all_and_written_by_their_owner(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        opened(tmp_path / "a" / "events.jsonl").close()
    finally:
        os.umask(before)
    modes = {p.name: p.stat().st_mode & 0o777 for p in (tmp_path / "a").iterdir()}
    assert modes == {"events.jsonl": 0o644, "events.head": 0o644}


def test_the_head_is_on_disk_before_the_line_and_says_who_wrote_what(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(path) as log:
        done: list[str] = []
        sync, write = os.fsync, events.append_at
        monkeypatch.setattr(os, "fsync", lambda fd: (done.append("head" if fd == log._head else "log"), sync(fd))[1])

        def noted(fd: int, line: bytes, size: int) -> None:
            done.append(f"written {head(path)['written']} {head(path)['n']}")
            write(fd, line, size)

        monkeypatch.setattr(events, "append_at", noted)
        event = log.append("work", {})
        assert done == ["head", "written False 5", "log"]
    assert head(path) == {"n": 5, "hash": event.hash, "written": True, "pid": os.getpid()}
    assert path.with_suffix(".head").stat().st_size == 256


def test_a_new_log_is_kept_in_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(events, "sync_folder", synced.append)
    with opened(tmp_path / "a" / "b" / "events.jsonl") as log:
        assert synced == [tmp_path / "a" / "b"] and [e.kind for e in log.events] == ["log"]
        assert log.events[0].data == {"format": 1, "of": "triune.events"} and not log.notes


@pytest.mark.parametrize("known", [True, False])
def test_who_else_writes_is_told_where_it_is_known(path: Path, known: bool) -> None:
    with opened(path):
        if not known:
            path.with_suffix(".head").write_bytes(b"?")
        with pytest.raises(SupervisorError, match=f"by {f'process {os.getpid()}' if known else 'another process'};"):
            opened(path)


def test_a_line_that_found_no_room_leaves_both_files_as_they_were(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = path.read_bytes()
    with opened(path) as log:
        told = head(path)

        def full(fd: int, line: bytes, size: int) -> None:
            os.write(fd, line[:20])
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(events, "append_at", full)
        with pytest.raises(SupervisorError, match="No space left on device; free some space"):
            log.append("work", {})
        assert path.read_bytes() == before and head(path) == told and len(log.events) == 4
        with pytest.raises(SupervisorError, match="closed"):
            log.append("work", {})


def test_a_torn_line_is_set_aside_once_and_said_once(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b'{"n":')
    with opened(path) as log:
        assert log.torn is not None and log.torn.read_bytes() == b'{"n":'
        assert [(e.kind, e.data) for e in log.events[4:]] == [(TORN, {"bytes": 5, "file": log.torn.name})]
        assert "an unfinished last line of 5 bytes" in log.notes[0] and len(log.notes) == 1
        (path.parent / "events.torn-zz").write_bytes(b"123")  # an opening that was killed before it could say so
    with opened(path) as log:
        assert log.torn is None and log.events[5].data == {"bytes": 3, "file": "events.torn-zz"}
        assert len(log.events) == 6 and not log.notes


# --- the head and the lines


@pytest.mark.parametrize(
    ("n", "written", "lines", "says"),
    [
        (4, True, 4, ""), (4, False, 4, ""), (4, False, 3, ""), (4, True, 3, "line 4: missing, although 4"),
        (4, False, 2, "line 3: missing"), (3, True, 4, "line 4: added"), (3, False, 4, "line 4: added"),
        (0, False, 0, ""), (5, False, 4, ""), (5, True, 4, "line 5: missing"),
    ],
)  # fmt: skip
def test_the_head_says_how_many_lines_there_are(path: Path, n: int, written: bool, lines: int, says: str) -> None:
    kept = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(kept[:lines]))
    hashes = [json.loads(line)["hash"] for line in kept]
    say(path, n=n, written=written, hash=hashes[n - 1] if 0 < n <= 4 else "5" * 64)
    if not says:
        assert len(read(path)) == lines
        return
    with pytest.raises(LogDamaged, match=says):
        read(path)


@pytest.mark.parametrize("n", [1, 3, 4])
def test_the_line_that_the_head_names_has_the_hash_that_it_names(path: Path, n: int) -> None:
    kept = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(kept[:n]))
    say(path, n=n, hash="1" * 64)
    with pytest.raises(LogDamaged, match=f"line {n}: not the line that the run wrote"):
        read(path)


@pytest.mark.parametrize("changes", [{"n": "4"}, {"hash": 1}, {"written": 1}, {"n": None}, {"more": 1}])
def test_a_head_that_says_nothing_is_none(path: Path, changes: dict[str, Any]) -> None:
    say(path, **changes)
    assert len(read(path)) == 4
    with opened(path) as log:
        assert log.notes == ["events.head was missing: the end of the log could not be checked"]


# --- reading beside a writer


@pytest.fixture
def moving(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes]]:
    """What reading finds, one after the other; the last for the rest."""
    found: list[bytes] = []
    monkeypatch.setattr(events, "_bytes", lambda _: found.pop(0) if len(found) > 1 else found[0])
    yield found


def test_a_log_that_moves_while_it_is_read_is_read_again(path: Path, moving: list[bytes]) -> None:
    good = path.read_bytes()
    moving += [good + forged() + b"\n", good, good]
    assert len(read(path)) == 4
    moving[:] = [b"x\n"]
    with pytest.raises(LogDamaged):
        read(path)


def test_a_log_that_never_rests_is_damaged_after_five_tries(path: Path, moving: list[bytes]) -> None:
    moving += [b"%d\n" % i for i in range(20)]
    with pytest.raises(LogDamaged):
        read(path)
    assert len(moving) == 20 - 9, "five times, and four times to see whether it moved"
