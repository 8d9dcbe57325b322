"""What a run shows while it goes: drawn in place on a terminal, lines elsewhere, events for programs."""

from __future__ import annotations

import io
import json
import os
import re
import sys
from pathlib import Path

import pytest
from cli_kit import inside
from improve_kit import GATE, FakeArena, Scripted, answer, constant, make_folder, parts

from supervisor.events import EventLog, read
from supervisor.loop.loop import Loop
from supervisor.loop.parts import Settings
from triune.commands.live import interval, view
from triune.console import Console

STYLE = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
IDEAS = [answer([constant("SKILL", 30)], hypothesis="more skill"), answer([constant("SKILL", 10)])]


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def shown(
    path: Path, monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, term: str = "xterm",
    console: Console | None = None, events: bool = False,
) -> str:  # fmt: skip
    """What a run of two trials writes to stderr."""
    console = console or Console()
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", term)
    monkeypatch.setenv("COLUMNS", "120")
    folder = make_folder(path / "task")
    made = parts(path / "run", folder, Scripted(IDEAS), FakeArena())
    made.say, made.progress = console.log, console.progress
    with EventLog.open(path / "run" / "events.jsonl", now=lambda: 0.0) as log:
        loop = Loop(made, Settings(trials=2, shown=2, limits={}, gate=GATE), log, (folder / "policy.py").read_text())
        with view(console, loop, events):
            loop.run()
    assert console.screen is None
    return stream.getvalue()


def test_a_terminal_sees_trials_pairs_interval_and_cost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("triune.commands.live.EVERY", 0.0)
    told = shown(tmp_path, monkeypatch, Terminal())
    plain = STYLE.sub("", told)
    assert "fake · none" in plain and "trial 1: more skill" in plain
    assert re.search(r"full +\d+ pairs +\+[\d.]+ \[\+.*\] +┃[·─├●┤]+", plain), "how the interval stands"
    assert re.search(r"1  accept  [\d.]+ → [\d.]+ ", plain) and "frames" in plain
    assert plain.index("trial 1: accept") < plain.rindex("trial 2:"), "lines stay above the drawing"


def test_elsewhere_there_are_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = shown(tmp_path, monkeypatch, io.StringIO())
    assert "\x1b" not in told and "trial 1: accept" in told and "╭" not in told


def test_a_terminal_that_cannot_be_drawn_on_gets_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "╭" not in shown(tmp_path, monkeypatch, Terminal(), "dumb")


def test_programs_hear_every_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with Console(as_json=True) as console:
        told = shown(tmp_path, monkeypatch, Terminal(), console=console, events=True)
    events = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [e["hash"] for e in events] == [e.hash for e in read(tmp_path / "run" / "events.jsonl")][1:]
    assert events[0]["kind"] == "run.started" and "╭" not in told


def test_events_go_with_json(tmp_path: Path) -> None:
    done = inside("improve", "cartpole", "--events", cwd=tmp_path)
    assert done.returncode == 2 and "--json" in done.stderr


@pytest.mark.parametrize(
    ("low", "mean", "high", "scale", "picture"),
    [
        (1.0, 2.0, 3.0, (0.0, 4.0), "┃·├─●─┤··"),
        (-4.0, -2.0, 2.0, (-4.0, 4.0), "├─●─┃─┤··"),
        (float("-inf"), 1.0, float("inf"), (0.0, 2.0), "┃───●────"),
        (0.0, 0.0, 0.0, (0.0, 0.0), "    ●    "),
    ],
)
def test_an_interval_is_drawn_to_scale(
    low: float, mean: float, high: float, scale: tuple[float, float], picture: str
) -> None:
    assert interval(low, mean, high, scale, 9) == picture
