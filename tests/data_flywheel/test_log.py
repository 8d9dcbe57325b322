"""The one append-only log: whole lines or none, torn lines set aside, many writers."""

from __future__ import annotations

import ast
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from data_flywheel.storage.log import append, read_lines

ROOT = Path(__file__).parents[2]
LAYERS = ("envs", "native", "perception", "logic", "data_flywheel", "supervisor", "triune")
LOG = "data_flywheel/storage/log.py"
EVENTS = "supervisor/events.py"  # opens its file itself, to hold it; adds to it with `append_at`


def appends(source: str) -> bool:
    """Whether a text opens a file to add to it."""
    if "open" not in source and "O_APPEND" not in source:
        return False
    nodes = list(ast.walk(ast.parse(source)))
    flag = any(isinstance(n, ast.Attribute) and n.attr == "O_APPEND" for n in nodes)
    opens = [n for n in nodes if isinstance(n, ast.Call) and "open" in ast.unparse(n.func)]
    modes = [a.value for n in opens for a in (*n.args, *(k.value for k in n.keywords)) if isinstance(a, ast.Constant)]
    return flag or bool({"a", "ab", "a+", "ab+", "at"} & {m for m in modes if isinstance(m, str)})


def test_one_module_appends() -> None:
    found = {
        str(path.relative_to(ROOT)) for layer in LAYERS for path in (ROOT / layer).rglob("*.py")
        if appends(path.read_text())
    }  # fmt: skip
    assert found == {LOG, EVENTS}


def test_a_file_that_is_not_there_has_no_lines(tmp_path: Path) -> None:
    assert read_lines(tmp_path / "none.jsonl") == ([], b"")
    append(tmp_path / "deep" / "made.jsonl", b"1\n2\n")
    assert read_lines(tmp_path / "deep" / "made.jsonl") == ([b"1", b"2"], b"")


@pytest.mark.parametrize("length", [1, 20, 65_536, 200_000])
@pytest.mark.parametrize("before", [b"", b"first\n", b"x" * 100_000 + b"\n"])
def test_a_torn_line_is_set_aside(tmp_path: Path, length: int, before: bytes) -> None:
    path, torn = tmp_path / "made.jsonl", b"t" * length
    path.write_bytes(before + torn)
    assert read_lines(path)[1] == torn and path.read_bytes() == before + torn  # reading changes nothing
    append(path, b"next\n")
    assert path.read_bytes() == before + b"next\n"
    assert (tmp_path / "made.torn-0").read_bytes() == torn


def test_a_full_disk_keeps_all_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, real = tmp_path / "made.jsonl", os.write
    append(path, b"first\n")

    def full(descriptor: int, data: bytes) -> int:
        if len(data) > 4:
            return real(descriptor, data[:4])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space left"):
            append(path, b"second line\n")
    assert path.read_bytes() == b"first\n"


def test_many_writers_lose_and_mix_nothing(tmp_path: Path) -> None:
    path = tmp_path / "made.jsonl"
    made = [f"{n}:{'x' * (n * 37 % 5000)}" for n in range(200)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda text: append(path, f"{text}\n".encode(), sync=False), made))
    assert sorted(line.decode() for line in read_lines(path)[0]) == sorted(made)
