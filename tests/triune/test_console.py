"""What reaches a terminal is cleaned in one place, whoever wrote it."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_kit import copy_task, triune

from triune.console import Console, clean

ODD = ["\x1b[2J", "\x1b]0;title\x07", "\x9b31m", "\x08\x08", "\r", "\u202e", "\u2066", "\ud800", "\x00", "\x7f"]


@pytest.mark.parametrize("odd", ODD)
def test_nothing_reaches_the_terminal_as_it_came(odd: str, capsys: pytest.CaptureFixture[str]) -> None:
    console = Console()
    console.say(f"a{odd}b\n█ · ─ é")
    console.log(f"a{odd}b")
    console.progress(1, 1, f"a{odd}b")
    told = capsys.readouterr()
    for text in (told.out, told.err):
        assert odd not in text and all(c.isprintable() or c == "\n" for c in text)
    assert told.out.endswith("b\n█ · ─ é\n")


def test_lines_and_columns_stay() -> None:
    assert clean("a  b\nc\td\u00a0e\n") == "a  b\nc d e\n"


def test_a_comment_and_a_name_that_hold_escapes(tmp_path: Path) -> None:
    copy_task(tmp_path / "task")
    text = (tmp_path / "task" / "policy.py").read_text()
    (tmp_path / "task" / "policy.py").write_text(f"{text}\nX = eval('1')  # \x1b[2J\x1b]0;gone\x07\n")
    for words in (("check", "task"), ("play", "task", "--steps", "2"), ("play", "\x1b[2Jgone")):
        done = triune(*words, cwd=tmp_path)
        assert done.returncode == 1 or done.returncode == 2
        assert "\x1b" not in done.stdout + done.stderr and "\x07" not in done.stdout + done.stderr
