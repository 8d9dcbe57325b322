"""Standard streams: whatever is printed is clean and fits, a closed one leads nowhere, a reader may leave."""

from __future__ import annotations

import ast
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cli_kit import ROOT, triune

from envs.terminal import Guarded
from triune.cli import main
from triune.console import Console, table

ESCAPE = "a\x1b]0;gone\x07\x9b31m\u202e\r\ud800b"


def stream(encoding: str = "utf-8") -> Guarded:
    return Guarded(io.TextIOWrapper(io.BytesIO(), encoding, write_through=True))


def shown(guarded: Guarded) -> str:
    return guarded.buffer.getvalue().decode(guarded.encoding)


def test_prints_and_tracebacks_are_clean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", stream())
    print(ESCAPE, file=sys.stderr)
    try:
        raise ValueError(ESCAPE)
    except ValueError:
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
    told = shown(sys.stderr)  # type: ignore[arg-type]
    assert told.count("gone") >= 2 and all(c.isprintable() or c == "\n" for c in told)


@pytest.mark.parametrize("error", [RuntimeError(ESCAPE), KeyError(ESCAPE), UnicodeError(ESCAPE), AssertionError()])
def test_a_bug_is_told_in_clean_words_and_one_object(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise error

    monkeypatch.setattr("triune.cli._run", broken)
    assert main(["list", "--json"]) == 1
    told = capsys.readouterr()
    assert type(error).__name__ in json.loads(told.out)["error"] and "Traceback" in told.err
    assert all(c.isprintable() or c == "\n" for c in told.out + told.err)


def test_a_child_that_fails_is_clean(tmp_path: Path) -> None:
    (tmp_path / "odd.py").write_text(f"def target(job):\n    raise ValueError({ESCAPE!r})\n")
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}
    child = [sys.executable, "-P", "-m", "envs.executor", "odd:target", "", "{}"]
    done = subprocess.run(child, env=environment, input="", capture_output=True, text=True)
    assert "ValueError" in done.stderr and all(c.isprintable() or c == "\n" for c in done.stderr)


def test_every_process_guards_its_streams() -> None:
    """Each program among the packages calls `guard` itself, or runs the `main` of one that does."""
    # the standard library only: one speaks over pipes, one says nothing
    alone = {"supervisor/proposers/process_tree.py", "envs/cluster_guard.py"}
    for path in (p for layer in ("envs", "native", "perception", "logic", "data_flywheel", "supervisor", "triune")
                 for p in (ROOT / layer).rglob("*.py")):  # fmt: skip
        text = path.read_text()
        if "__main__" not in text or (name := path.relative_to(ROOT).as_posix()) in alone:
            continue
        called = {n.func.id for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Call) and hasattr(n.func, "id")}
        assert "guard" in called or called & {"main", "entry"} and "def main" not in text, name


ENCODINGS = ["latin-1", "ascii", "cp1252", "cp437", "koi8-r", "shift_jis", "utf-16", "utf-8"]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_any_encoding_takes_tables_bars_and_objects(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, stream(encoding))
    console = Console()
    console.say(table([["µs ─ 界", "é"]], ["a", "b"]))
    console.progress(1, 2, "×")
    out, err = shown(sys.stdout), shown(sys.stderr)  # type: ignore[arg-type]
    assert (
        out.splitlines()[1].replace("─", "-").replace(" ", "").strip("-") == ""
        and " 50%" in err
        and "?" not in out.splitlines()[1]
    )
    monkeypatch.setattr(sys, "stdout", stream(encoding))
    Console(as_json=True).emit({"reason": f"é ─ 界 {ESCAPE}"})
    assert json.loads(shown(sys.stdout)) == {"reason": f"é ─ 界 {ESCAPE}"}  # type: ignore[arg-type]


def test_the_console_script_prints_latin_1() -> None:
    done = triune("list", PYTHONIOENCODING="latin-1")
    assert done.returncode == 0 and "-----" in done.stdout and not done.stderr


CLOSED = [("list", "<&-"), ("list", ">&-"), ("list --json", "2>&-"), ("evla", "<&- >&-"), ("list", "<&- >&- 2>&-")]


@pytest.mark.parametrize(("words", "closed"), CLOSED)
def test_closed_streams(words: str, closed: str) -> None:
    command = f"{sys.executable} -m triune {words} {closed}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["sh", "-c", command], env=environment, capture_output=True, text=True)
    assert done.returncode == (2 if words == "evla" else 0) and "Traceback" not in done.stderr
    assert ("pong" in done.stdout) == (words != "evla" and " >&-" not in f" {closed}")


@pytest.mark.parametrize("closed", [(0,), (1,), (0, 2), (0, 1, 2)])
def test_isolation_with_closed_descriptors(closed: tuple[int, ...]) -> None:
    """Through Python, too, where nobody guards."""
    code = f"""import os
for d in {closed}: os.close(d)
from logic.sandbox import run_isolated
os._exit(0 if run_isolated(lambda r: r + b"!", b"x", 9).reply == b"x!" else 1)"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    assert subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True).returncode == 0


class Gone(io.StringIO):
    """A pipe that nobody reads."""

    encoding = "utf-8"  # type: ignore[assignment]

    def write(self, text: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")


LEAVE = [
    ("list", "stdout"), ("list --json", "stdout"), ("--version", "stdout"), ("evla", "stderr"),
    ("evla --json", "stdout"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "name"), LEAVE)
def test_a_reader_may_leave(words: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, name, Gone())
    monkeypatch.setattr(os, "dup2", lambda *_: None)
    assert main(words.split()) == 0


def test_a_child_whose_pipe_broke_is_no_reader_that_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr("triune.cli._run", broken)
    assert main(["list"]) == 1 and "Broken pipe" in capsys.readouterr().err


@pytest.mark.parametrize(("as_json", "lines"), [(False, 3), (True, 0)])
def test_progress_floods_nothing(as_json: bool, lines: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", stream())
    now = iter(range(1000, 10_000))
    monkeypatch.setattr("triune.console.time.monotonic", lambda: float(next(now)))
    console = Console(as_json)
    for step in range(1, 46):  # seconds
        console.progress(step, 45, f"step {step}")
    assert shown(sys.stderr).count("step") == lines and "\r" not in shown(sys.stderr)  # type: ignore[arg-type]


def test_a_bar_on_a_terminal_goes_back_to_its_start(monkeypatch: pytest.MonkeyPatch) -> None:
    guarded = stream()
    monkeypatch.setattr(guarded.stream, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys, "stderr", guarded)
    console = Console()
    console.progress(1, 2, ESCAPE)
    console.clear()
    assert shown(guarded).count("\r") == 3 and "\x1b" not in shown(guarded)
