"""The event log: readable after a kill at any instant, nothing acknowledged ever lost, any change of it shown."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from events_kit import HOW, opened

from supervisor.errors import SupervisorError
from supervisor.events import START, TORN, LogDamaged, make, read

ROOT = Path(__file__).parents[2]


@pytest.fixture
def log_path(tmp_path: Path) -> Path:
    """A closed log of ten events."""
    path = tmp_path / "run" / "events.jsonl"
    with opened(path) as log:
        for i in range(9):
            log.append("work", {"i": i, "text": "ü" * i, "list": [1.25, None, True, {"b": 1, "a": 2}]})
    return path


def test_what_is_appended_is_read(log_path: Path) -> None:
    events = read(log_path)
    assert [e.n for e in events] == list(range(1, 11))
    assert events[0].kind == "log" and events[0].data["format"] == 1 and events[0].prev == START
    assert events[4].data == {"i": 3, "text": "üüü", "list": [1.25, None, True, {"a": 2, "b": 1}]}
    assert all(a.hash == b.prev for a, b in zip(events, events[1:], strict=False))
    with opened(log_path) as log:
        assert log.events == events and not log.notes and log.torn is None
        assert log.append("work", {}) == read(log_path)[-1]


def test_a_line_is_what_the_documentation_says(log_path: Path) -> None:
    import hashlib

    for line in log_path.read_text("ascii").splitlines():
        assert list(json.loads(line)) == ["n", "at", "kind", "data", "prev", "hash"]
        body, _, rest = line.rpartition(',"hash":')
        assert hashlib.sha256((body + "}").encode()).hexdigest() == rest.strip('"}')


# --- kill -9 -----------------------------------------------------------------------------------------------------


def worker(path: Path, *words: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-S", "-m", "tests.kits.events_kit", str(path), *map(str, words)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def told(lines: list[str]) -> dict[int, str]:
    """Acknowledged events by number."""
    return {int(n): digest for n, digest in (line.split() for line in lines if line.endswith("\n")) if n != "opened"}


def checked(path: Path, acknowledged: dict[int, str]) -> bytes:
    """The torn tail; every acknowledged event must be there."""
    if not path.exists():
        assert not acknowledged
        return b""
    assert acknowledged.items() <= {e.n: e.hash for e in read(path)}.items()
    return path.read_bytes().rpartition(b"\n")[2]


def test_killed_from_outside_at_random_instants(tmp_path: Path) -> None:
    path, known = tmp_path / "events.jsonl", {}
    for seed in range(12):
        process = worker(path, seed)
        assert process.stdout is not None
        wanted = random.Random(seed).randrange(1, 25)
        lines = [process.stdout.readline() for _ in range(wanted)]
        process.kill()
        lines += process.stdout.readlines()
        process.stdout.close()
        assert process.wait() == -signal.SIGKILL
        assert lines[0].startswith("opened")
        fresh = told(lines[1:])
        assert len(fresh) >= wanted - 1 and not fresh.keys() & known.keys()
        known |= fresh
        checked(path, known)
    assert len(known) > 100
    with opened(path) as log:
        assert len(log.events) >= len(known)


def test_killed_at_every_kind_of_system_call(tmp_path: Path) -> None:
    path, known, torn = tmp_path / "events.jsonl", {}, set()
    cases = [(call, how) for how in HOW for call in range(1, 15)]
    random.Random(0).shuffle(cases)
    cases = cases[:26]
    for seed, (call, how) in enumerate(cases):
        process = worker(path, seed, call, how)
        lines, _ = process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL
        known |= told([line for line in lines.splitlines(True) if not line.startswith("opened")])
        torn.add(checked(path, known))
    assert len(torn - {b""}) >= 2
    with opened(path) as log:
        found = sorted(p.name for p in tmp_path.glob("events.torn-*"))
        assert torn - {b""} <= {(tmp_path / name).read_bytes() for name in found}
        assert sorted(e.data["file"] for e in log.events if e.kind == TORN) == found  # each reported, and once
        assert len({e.data["seed"] for e in log.events if e.kind == "work"}) > 5
    assert checked(path, known) == b""


def test_a_torn_tail_is_set_aside_and_never_trusted(log_path: Path) -> None:
    before = read(log_path)
    whole = make(11, 1.5, "work", {"forged": True}, before[-1].hash)[1]
    for k, tail in enumerate([b'{"n":11,"at', b"\0" * 700, whole[:-1]]):
        with log_path.open("ab") as handle:
            handle.write(tail)
        assert [e.n for e in read(log_path)] == list(range(1, 11 + k))
        with opened(log_path) as log:
            assert log.torn == log_path.with_name(f"events.torn-{k}") and log.torn.read_bytes() == tail
            assert log.events[:10] == before and log.events[-1].kind == TORN
            assert str(len(tail)) in log.notes[0]


# --- tampering ---------------------------------------------------------------------------------------------------


def lines_of(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def damaged(path: Path) -> int:
    """The line that both reading and opening name."""
    with pytest.raises(LogDamaged) as found:
        read(path)
    with pytest.raises(LogDamaged) as also:
        opened(path)
    assert found.value.line == also.value.line and f"line {found.value.line}" in str(found.value)
    return found.value.line


def test_any_changed_byte_is_found_and_its_line_named(log_path: Path) -> None:
    good = log_path.read_bytes()
    generator = random.Random(1)
    places = [i for i in generator.sample(range(len(good)), 250) if good[i] != 10]
    for place in places:
        other = generator.choice([b for b in range(256) if b not in (10, good[place])])
        bad = good[:place] + bytes([other]) + good[place + 1 :]
        log_path.write_bytes(bad)
        with pytest.raises(LogDamaged) as found:
            read(log_path)
        assert found.value.line == good[:place].count(b"\n") + 1
    log_path.write_bytes(good)
    assert len(read(log_path)) == 10


@pytest.mark.parametrize("line", range(10))
def test_a_removed_line(log_path: Path, line: int) -> None:
    lines = lines_of(log_path)
    del lines[line]
    log_path.write_bytes(b"".join(lines))
    assert damaged(log_path) == line + 1  # the last one too: the head knows that it was written


def test_swapped_and_repeated_lines(log_path: Path) -> None:
    good = lines_of(log_path)
    for i, j in ((1, 2), (3, 8), (8, 9)):
        lines = list(good)
        lines[i], lines[j] = lines[j], lines[i]
        log_path.write_bytes(b"".join(lines))
        assert damaged(log_path) == i + 1
    log_path.write_bytes(b"".join([*good[:5], good[4], *good[5:]]))
    assert damaged(log_path) == 6


def test_a_forged_line_at_the_end_even_with_a_right_hash(log_path: Path) -> None:
    last = read(log_path)[-1]
    good = log_path.read_bytes()
    for prev in (last.hash, START):
        log_path.write_bytes(good + make(11, 1.5, "work", {"verdict": "accept"}, prev)[1])
        assert damaged(log_path) == 11


def test_a_replaced_line_with_a_right_hash(log_path: Path) -> None:
    lines, events = lines_of(log_path), read(log_path)
    lines[4] = make(5, 1.5, "work", {"verdict": "accept"}, events[3].hash)[1]
    log_path.write_bytes(b"".join(lines))
    assert damaged(log_path) == 6  # the line after it does not continue the forgery
    lines[9] = make(10, 1.5, "work", {"verdict": "accept"}, events[8].hash)[1]
    log_path.write_bytes(b"".join([*good_up_to(events, 9), lines[9]]))
    assert damaged(log_path) == 10


def good_up_to(events: list[Any], n: int) -> list[bytes]:
    return [make(e.n, e.at, e.kind, e.data, e.prev)[1] for e in events[:n]]


@pytest.mark.parametrize(
    "line",
    [
        b"\n", b"[]\n", b"{}\n", b"null\n", b"NaN\n", b'"x"\n', b"\xff\xfe\n", b"[" * 100_000 + b"\n",
        b"9" * 5000 + b"\n", b'{"n":11,"n":11}\n', b'{"n":1e999,"at":1.5,"kind":"x","data":{},"prev":"0","hash":"0"}\n',
    ],
)  # fmt: skip
def test_garbage_lines(log_path: Path, line: bytes) -> None:
    log_path.write_bytes(log_path.read_bytes() + line)
    assert damaged(log_path) == 11


def test_rewriting_the_text_of_a_line_without_changing_its_meaning_is_tampering(log_path: Path) -> None:
    lines = lines_of(log_path)
    lines[3] = json.dumps(json.loads(lines[3])).encode() + b"\n"
    log_path.write_bytes(b"".join(lines))
    assert damaged(log_path) == 4


def test_a_log_without_its_head_can_be_read_and_is_remarked(log_path: Path) -> None:
    log_path.with_suffix(".head").unlink()
    assert len(read(log_path)) == 10
    with opened(log_path) as log:
        assert "events.head" in log.notes[0]


def test_a_newer_format_and_a_foreign_file(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(make(1, 1.0, "log", {"format": 2}, START)[1])
    with pytest.raises(SupervisorError, match="update Triune"):
        opened(path)
    path.write_bytes(make(1, 1.0, "other", {}, START)[1])
    assert damaged(path) == 1
    with pytest.raises(SupervisorError, match="no such log"):
        read(tmp_path / "none.jsonl")


# --- one writer --------------------------------------------------------------------------------------------------


def test_one_writer_at_a_time(log_path: Path) -> None:
    with opened(log_path) as log:
        with pytest.raises(SupervisorError, match=f"being written by process {os.getpid()}"):
            opened(log_path)
        log.append("work", {})
        assert len(read(log_path)) == 11  # reading is free
    opened(log_path).close()


def test_a_worker_that_outlives_its_parent_does_not_keep_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    code = (
        "import os, signal, sys, pathlib\n"
        "from supervisor.events import EventLog\n"
        f"log = EventLog.open(pathlib.Path({str(path)!r}), now=lambda: 1.0)\n"
        "r, w = os.pipe()\n"
        "if os.fork() == 0:\n"
        "    try: log.append('stray', {})\n"
        "    except Exception as e: os.write(1, type(e).__name__.encode() + b'\\n')\n"
        "    os.close(w); sys.stdin.read(); os._exit(0)\n"
        "os.close(w); os.read(r, 1)\n"  # the child has tried
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdin is not None
    assert process.stdout.readline() == "SupervisorError\n"
    assert process.wait() == -signal.SIGKILL
    with opened(path) as log:  # the child still waits for its input
        assert [e.kind for e in log.events] == ["log"]
    process.stdin.close()
    process.stdout.close()


def test_a_change_from_outside_stops_the_writer(log_path: Path) -> None:
    with opened(log_path) as log:
        with log_path.open("ab") as handle:
            handle.write(b"x")
        with pytest.raises(SupervisorError, match="changed by something else"):
            log.append("work", {})
        with pytest.raises(SupervisorError, match="closed"):
            log.append("work", {})


def test_a_full_disk_loses_nothing(log_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write

    def full(descriptor: int, data: bytes) -> int:
        if len(data) > 40:
            return real(descriptor, data[:40])
        raise OSError(28, "No space left on device")

    before = read(log_path)
    with opened(log_path) as log:
        monkeypatch.setattr(os, "write", full)
        with pytest.raises(SupervisorError, match="No space left on device; free some space"):
            log.append("work", {"text": "x" * 100})
        monkeypatch.undo()
    assert read(log_path) == before
    with opened(log_path) as log:
        assert log.torn is None and log.append("work", {}).n == 11


# --- what an event can hold --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (float("nan"), "data.a"), (float("inf"), "data.a"), (10**30, "data.a"), ({1: 2}, "key 1"), (b"x", "bytes"),
        (object(), "object"), ([{"b": {2}}], "data.a[0].b"), ("x" * 5_000_000, "sha256"),
    ],
)  # fmt: skip
def test_what_json_cannot_hold_is_refused_before_anything_is_written(log_path: Path, value: Any, said: str) -> None:
    before = log_path.read_bytes()
    with opened(log_path) as log:
        with pytest.raises(SupervisorError) as found:
            log.append("work", {"a": value})
        assert said in str(found.value)
        deep: Any = 1
        for _ in range(5000):
            deep = [deep]
        with pytest.raises(SupervisorError, match="nested deeper"):
            log.append("work", {"a": deep})
        with pytest.raises(SupervisorError, match="cannot name a kind"):
            log.append("Work\n", {})
        assert log_path.read_bytes() == before
        assert log.append("work", {"odd": "\ud800\x00\u2028\n", "tiny": 5e-324, "minus": -0.0}) == read(log_path)[-1]


def test_a_secret_never_reaches_the_file(log_path: Path) -> None:
    key = "sk-abc\"def'\\ghijklmnop"
    with opened(log_path, secrets=[key]) as log:
        event = log.append("answer", {"text": f"the key is {key}.", "deep": [{key: [key]}], "n": 1})
    assert event.data == {"text": "the key is [secret].", "deep": [{"[secret]": ["[secret]"]}], "n": 1}
    assert b"ghijklmnop" not in log_path.read_bytes()
    with pytest.raises(SupervisorError, match="shorter"):
        opened(log_path, secrets=["a"])
