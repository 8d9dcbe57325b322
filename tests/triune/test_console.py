"""What reaches a terminal is cleaned in one place, whoever wrote it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_kit import copy_task, inside

from triune.console import Console, Lines, clean, table

ODD = ["\x1b[2J", "\x1b]0;title\x07", "\x9b31m", "\x08\x08", "\r", "\u202e", "\u2066", "\ud800", "\x00", "\x7f"]


@pytest.mark.parametrize("odd", ODD)
def test_nothing_reaches_the_terminal_as_it_came(odd: str, capsys: pytest.CaptureFixture[str]) -> None:
    console = Console()
    console.say(Lines(f"a{odd}b\n█ · ─ é"))
    console.log(f"a{odd}b")
    console.progress(1, 1, f"a{odd}b")
    told = capsys.readouterr()
    for text in (told.out, told.err):
        assert odd not in text and all(c.isprintable() or c == "\n" for c in text)
    assert told.out.endswith("b\n█ · ─ é\n")


def test_lines_and_columns_stay() -> None:
    assert clean(Lines("a  b\nc\td\u00a0e\n")) == "a  b\nc d e\n"
    assert table([["a\nb", "c"]], ["x", "y"]).split("\n") == ["x    y", "───  ─", "a b  c"]


def test_a_comment_and_a_name_that_hold_escapes(tmp_path: Path) -> None:
    copy_task(tmp_path / "task", "cartpole")
    text = (tmp_path / "task" / "policy.py").read_text()
    (tmp_path / "task" / "policy.py").write_text(f"{text}\nX = eval('1')  # \x1b[2J\x1b]0;gone\x07\n")
    for words in (("check", "task"), ("play", "task", "--steps", "2"), ("play", "\x1b[2Jgone")):
        done = inside(*words, cwd=tmp_path)
        assert done.returncode == 1 or done.returncode == 2
        assert "\x1b" not in done.stdout + done.stderr and "\x07" not in done.stdout + done.stderr


FAKE = "a\x1b[2J\u202e\nscore      1000000\u2028b\x9b31m"


def sound(told: str) -> bool:
    """Nothing in it moves a cursor, and no line was made by what FAKE holds."""
    lines = told.split("\n")
    return all(map(str.isprintable, lines)) and not any(line.startswith(("score      1000000", "b?")) for line in lines)


def test_text_of_strangers_stays_on_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console()
    console.say(f"reason     {FAKE}")
    console.log(FAKE)
    console.progress(1, 1, FAKE)
    console.say(table([[FAKE, "1"]], ["reason", "n"]))
    told = capsys.readouterr()
    assert sound(told.out) and sound(told.err) and told.out.count("\n") == 4 and told.err.count("\n") == 2


def test_json_says_the_same_in_escapes(capsys: pytest.CaptureFixture[str]) -> None:
    Console(as_json=True).emit({"reason": FAKE, "name": "é\ud800\U000e0001"})
    told = capsys.readouterr().out
    assert told.removesuffix("\n").isprintable() and "é" in told
    assert json.loads(told) == {"reason": FAKE, "name": "é\ud800\U000e0001"}


def test_reasons_titles_and_file_names_of_a_task(tmp_path: Path) -> None:
    folder = tmp_path / FAKE
    copy_task(folder, "cartpole")
    (folder / "policy.py").write_text(f"def act(scene, memory):\n    return LEFT, {FAKE!r}\n")
    (folder / f"{FAKE}.py").write_text("def act(scene, memory):\n    return NOP, 'x'\n")
    played = inside("play", FAKE, "--steps", "3", cwd=tmp_path)
    assert sound(played.stdout) and sound(played.stderr)
    assert played.returncode == 1 and "printable" in played.stderr  # the language takes no such reason
    other = f"{FAKE}/{FAKE}.py"
    for words in (("check", FAKE), ("check", other, "--task", "cartpole"), ("export", FAKE, f"{FAKE}.onnx")):
        done = inside(*words, cwd=tmp_path)
        assert sound(done.stdout) and sound(done.stderr) and "Traceback" not in done.stderr
    text = (folder / "system.toml").read_text()
    (folder / "system.toml").write_text(text.replace('"CartPole"', json.dumps(FAKE)))
    titled = inside("check", FAKE, cwd=tmp_path)
    assert titled.returncode == 1 and "title is one line" in titled.stderr and sound(titled.stderr)
