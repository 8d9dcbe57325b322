"""`triune check` and `triune lock`: every diagnostic with its place, nothing run, locks kept and noticed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cli_kit import ROOT, copy_task, inside, triune

from triune.check import Checked, check_text, render
from triune.cli import main
from triune.console import printable

PROTOCOLS = ["seed", "seed-sticky", "classic", "sticky"]
BAD = '''"""Bad."""
import os


class Memory:
    n: int = 0


def act(scene, memory):
    é = 1
    memory.n = 1.5
    while scene.bal.x > 3.0:
        memory.n += 1
    y = scene.padle.x if STICKY > 0.0 else 0.0
    return NOOOP, "x"
'''


def payload(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> dict[str, Any]:
    assert main([*words, "--json"]) == code
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def checked(text: str | bytes, task: str = "pong", rules: bool = False) -> Checked:
    from triune.system import load

    system = load(task)
    file = "safety.py" if rules else "policy.py"
    return check_text(text if isinstance(text, bytes) else text.encode(), file, rules, system.spec, system.schema)


# --- a folder -------------------------------------------------------------------------------------


def test_a_shipped_task_is_sound_with_its_figures(capsys: pytest.CaptureFixture[str]) -> None:
    found = payload(capsys, "check", "breakout")
    assert found["ok"] and found["diagnostics"] == [] and all(c["ok"] for c in found["checks"])
    assert {c["name"] for c in found["checks"]} >= {"system.toml", "schema", "world", "eyes", "policy", "safety"}
    sizes = [f for f in found["figures"] if f["file"] == "policy.py"]
    assert [f["protocol"] for f in sizes] == PROTOCOLS
    for f in sizes:
        assert (
            f["ops"] > 100 and f["worst_us"] > 1 and f["code_lines"] > 100 and f["memory_values"] >= f["memory_fields"]
        )
    bonus = next(u for u in found["tunables"] if u["name"] == "BONUS")
    assert bonus["low"] <= bonus["default"] <= bonus["high"]
    assert found["rules"][-1] == "perception lost" and len(found["rules"]) == 3
    states = {k["name"]: k["ok"] for k in found["locks"]}
    assert states.pop("floor") is None and len(states) >= 2 and all(states.values())


def test_every_violation_is_reported_at_its_place_without_running_anything(tmp_path: Path) -> None:
    copy_task(tmp_path / "mine", "cartpole")
    trap = tmp_path / "trap"
    policy = BAD + f"\n\nX = open({str(trap)!r}, 'w')\n"
    (tmp_path / "mine" / "policy.py").write_text(policy)
    result = triune("check", "mine", "--json", cwd=tmp_path)
    assert result.returncode == 1 and "Traceback" not in result.stderr and not trap.exists()
    found = json.loads(result.stdout)
    places = {(d["line"], d["construct"]) for d in found["diagnostics"]}
    assert {(2, "import"), (12, "while loop")} <= places
    assert all(d["file"] == "policy.py" and d["message"] for d in found["diagnostics"])
    assert "line 2" in next(c for c in found["checks"] if c["name"] == "policy")["detail"]
    text = inside("check", "mine", cwd=tmp_path).stdout
    assert "policy.py:2:1: " in text and "errors in policy.py" in text and "import os" in text


def test_a_strangers_sound_policy_needs_no_trust(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy_task(tmp_path / "mine", "cartpole")
    policy = tmp_path / "mine" / "policy.py"
    policy.write_text(policy.read_text() + "\n# mine\n")
    assert payload(capsys, "check", str(tmp_path / "mine"))["ok"]
    (tmp_path / "mine" / "safety.py").unlink()  # what is built in is enough
    assert payload(capsys, "check", str(tmp_path / "mine"))["rules"] == ["perception lost"]
    policy.unlink()
    found = payload(capsys, "check", str(tmp_path / "mine"), code=1)
    assert "policy.py" in next(c for c in found["checks"] if c["name"] == "policy")["detail"]


@pytest.mark.parametrize("stage", ["api.lower", "api.to_python", "frontend.modules.parse"])
def test_a_bug_of_the_compiler_is_a_diagnostic(
    stage: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*args: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(f"logic.language.{stage}", broken)
    found = payload(capsys, "check", "cartpole", code=1)
    assert {d["construct"] for d in found["diagnostics"]} == {"internal"}
    assert all("internal compiler error: ZeroDivisionError: a bug" in d["message"] for d in found["diagnostics"])
    assert found["locks"] and all(k["ok"] is None for k in found["locks"])


def test_a_bug_outside_its_stages_is_one_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object, **kwargs: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("triune.check.compile_program", broken)
    assert [d.construct for d in checked("x = 1\n").found] == ["internal"]


# --- diagnostics for people -----------------------------------------------------------------------


def test_the_caret_stands_under_the_error_and_protocols_are_named() -> None:
    lines = render([checked(BAD.replace("import os\n", "").replace("    while scene.bal.x > 3.0:\n    ", ""))])
    at = lines.index("   12 |     y = scene.padle.x if STICKY > 0.0 else 0.0")
    assert lines[at + 1].index("^") == lines[at].index("scene.padle")
    assert lines[at - 1].endswith("[under seed-sticky, sticky]")
    first = next(i for i, line in enumerate(lines) if line.startswith("policy.py:"))
    assert lines[-1].endswith(" errors in policy.py") and int(lines[-1].split()[0]) >= 3 and first == 0


def test_an_error_in_a_long_or_wide_line_is_shown_whole() -> None:
    pad = '"' + "é" * 150 + '"'
    text = f'def act(scene, memory):\n    x = 1.0 if {pad} == {pad} else scene.bal.x\n    return NOOP, "x"\n'
    lines = render([checked(text)])
    quoted = next(line for line in lines if line.startswith("    2 | "))
    caret = lines[lines.index(quoted) + 1].index("^")
    assert len(quoted) < 130 and quoted[caret] in ('"', "é", "s")


def test_what_would_drive_a_terminal_is_not_printed() -> None:
    assert printable("a\x1b[2Jb\tc\u202ed") == "a?[2Jb c?d"
    text = "\n".join(render([checked("x = 1\x1b[2J\n"), checked(b"\xff\xfe"), checked('x = "\u202e" + y\n')]))
    assert "\x1b" not in text and "\u202e" not in text and "not UTF-8" in text


def test_one_text_can_be_checked_against_a_task(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = tmp_path / "good.py", tmp_path / "bad.py"
    good.write_text('def act(scene, memory):\n    return (RIGHT if scene.ball.x > 80.0 else LEFT), "go"\n')
    bad.write_text(good.read_text().replace("ball", "bal"))
    found = payload(capsys, "check", str(good), "--task", "breakout")
    assert found["ok"] and [f["protocol"] for f in found["figures"]] == PROTOCOLS
    found = payload(capsys, "check", str(bad), "--task", "breakout", code=1)
    [diagnostic] = found["diagnostics"]
    assert (diagnostic["file"], diagnostic["line"], diagnostic["protocols"]) == ("bad.py", 2, PROTOCOLS)
    assert "did you mean 'ball'?" in diagnostic["instead"]
    rule = tmp_path / "rule.py"
    rule.write_text('def r(scene, memory, action):\n    """Never."""\n    return action\n')
    assert not payload(capsys, "check", str(rule), "--task", "pong", code=1)["ok"]
    assert payload(capsys, "check", str(rule), "--task", "pong", "--safety")["ok"]


USAGE = [
    (["check", "x.py"], 2, "--task"),
    (["check", "gone.py", "--task", "pong"], 1, "gone.py"),
    (["check", "pong", "--task", "pong"], 2, "single text"),
    (["check", "x.py", "--task", "pnog"], 2, "did you mean 'pong'"),
    (["lock", "pong", "--episode", "x.npz"], 2, "--step"),
    (["lock", "pong", "--step", "3", "--from", "1"], 2, "not both"),
    (["lock", "pong", "--from", "9", "--to", "3"], 2, "--from A and --to B"),
    (["lock", "pong", "--floor", "3", "--floor-auto"], 2, "not both"),
    (["lock", "pong", "--floor", "3", "--step", "1"], 2, "whole episode"),
    (["lock", "pong", "--step", "3", "--warmup", "-1"], 2, "from 0"),
    (["lock", "pong", "--step", "3", "--episode", "gone.npz"], 1, "gone.npz"),
]


@pytest.mark.parametrize(("words", "code", "hint"), USAGE, ids=[" ".join(u[0]) for u in USAGE])
def test_mistakes_name_the_fix(words: list[str], code: int, hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    if words[1] == "x.py":
        assert hint in payload(capsys, *words, code=code)["error"]
    else:
        found = payload(capsys, *words, code=code)
        assert hint in found["error"]


# --- locks ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def game(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder of one's own and a short recorded game of it."""
    home = tmp_path_factory.mktemp("game")
    copy_task(home / "mine", "cartpole")
    words = ("play", "mine", "--eyes", "teacher", "--trust", "--seed", "3", "--steps", "130", "--json")
    played = inside(*words, cwd=home)
    assert played.returncode == 0, played.stderr
    return home / "mine", home / json.loads(played.stdout)["episode"]


def test_a_lock_is_made_kept_and_noticed(game: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    folder, episode = game
    words = ("lock", str(folder), "--episode", str(episode), "--name", "meeting", "--note", "why  it\nexists")
    made = payload(capsys, *words, "--from", "60", "--to", "90", "--reasons")["lock"]
    assert made["file"] == str(folder / "locks" / "meeting.json") and made["note"] == "why it exists"
    assert (made["from"], made["to"], made["reasons"]) == (60, 90, True)
    told = json.loads((folder / "locks" / "meeting.json").read_text())
    assert told["source"]["seed"] == 3 and told["source"]["eyes"] == "teacher" and len(told["source"]["episode"]) == 64
    assert "exists" in payload(capsys, *words, "--step", "60", code=1)["error"]  # never overwritten
    found = payload(capsys, "check", str(folder))
    assert [(k["name"], k["ok"]) for k in found["locks"]] == [("meeting", True)]
    policy = (folder / "policy.py").read_text()
    try:
        (folder / "policy.py").write_text(policy.replace('"lean back to the middle"', '"hang about"'))
        found = payload(capsys, "check", str(folder), code=1)
        [lock] = found["locks"]
        assert lock["ok"] is False and "hang about" in lock["detail"]
        assert lock["differences"][0]["expected_reason"] == "lean back to the middle"
        assert all(c["ok"] for c in found["checks"])
        (folder / "locks" / "meeting.json").write_text("{")
        assert "damaged" in payload(capsys, "check", str(folder), code=1)["locks"][0]["detail"]
    finally:
        (folder / "policy.py").write_text(policy)
        (folder / "locks" / "meeting.json").unlink()


def test_a_floor_is_played_only_when_asked(
    game: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from logic.runtime.regression import FloorLock, path_of, write
    from triune.system import System, load

    folder, episode = game
    words = ("lock", str(folder), "--episode", str(episode), "--floor-auto")
    assert "cut short" in payload(capsys, *words, code=1)["error"]
    lock = FloorLock("floor", "cartpole", "default", 3, 10, 12, note="n", triune="0", source={})
    path = write(lock, path_of(folder, "floor"), load("pong").schema)
    played: list[Any] = []

    class Played:
        scores = [9]

    def evaluate(self: System, protocol: str, seeds: list[int], shift: str | None, detector: str) -> Played:
        played.append((protocol, seeds, shift, detector))
        return Played()

    monkeypatch.setattr("triune.play.evaluation.evaluate", evaluate)
    try:
        assert payload(capsys, "check", str(folder))["locks"][0]["ok"] is None and not played
        found = payload(capsys, "check", str(folder), "--floors", code=1)
        assert found["locks"][0]["score"] == 9 and "the floor is 10" in found["locks"][0]["detail"]
        assert played == [("default", [3], None, "cnn")]
        Played.scores = [10]
        assert payload(capsys, "check", str(folder), "--floors")["locks"][0]["ok"] is True
    finally:
        path.unlink()


def test_help_says_what_a_lock_is_for() -> None:
    assert "lock" in triune("--help").stdout and "--floor-auto" in triune("lock", "--help", cwd=ROOT).stdout
