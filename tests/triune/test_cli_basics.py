"""The command line from outside: speed of help, one JSON object, exit codes, one clear line for each mistake."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cli_kit import ROOT, inside, triune

from logic.sandbox import Layer


def test_help_and_import_load_nothing_heavy() -> None:
    code = "import sys, triune, triune.cli; triune.cli.build_parser('eval'); print([m for m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    loaded = done.stdout
    assert done.returncode == 0 and "'triune.cli'" in loaded, done.stderr
    for heavy in ("numpy", "torch", "cv2", "onnxruntime", "gymnasium"):
        assert f"'{heavy}'" not in loaded


def test_help_lists_every_command() -> None:
    from triune.cli import COMMANDS

    result = triune("--help")
    assert result.returncode == 0
    assert all(f"\n    {name} " in result.stdout for name in COMMANDS)
    assert set(COMMANDS) >= {"doctor", "list", "play", "eval", "check", "explain", "report", "export", "run", "bench"}


def test_every_command_has_help_and_json() -> None:
    from triune.cli import COMMANDS, build_parser

    for name in COMMANDS:
        parser = build_parser(name)
        command = next(a for a in parser._actions if a.dest == "command").choices[name]  # type: ignore[index]
        assert "--json" in command.format_help()


HAS_TORCH = importlib.util.find_spec("torch") is not None
MISTAKES = [
    (["evla"], 2, "did you mean 'eval'"),
    ([], 2, "no command"),
    (["eval", "brekout"], 2, "did you mean 'breakout'"),
    (["play", "breakout", "--protocol", "stiky"], 2, "did you mean 'sticky'"),
    (["eval", "breakout", "--shift", "repant"], 2, "did you mean 'repaint'"),
    (["eval", "breakout", "--shift", "dim+nois"], 2, "did you mean 'noise'"),
    (["eval", "breakout", "--eyes", "teecher"], 2, "did you mean 'teacher'"),
    (["eval", "breakout", "--seeds", "9:3"], 2, "holds no seeds"),
    (["eval", "breakout", "--seeds", "a:b"], 2, "100:130"),
    (["eval", "breakout", "--seeds", "900000"], 2, "899999"),
    (["eval", "breakout", "--workers", "0"], 2, "from 1"),
    (["play", "breakout", "--video", "x.gif"], 2, ".webp"),
    (["play", "breakout", "--sede", "3"], 2, "--sede"),
    (["bench", "sped"], 2, "did you mean 'speed'"),
    (["report", "."], 1, "no evaluation run"),
    (["explain", "pong"], 1, "triune eval pong"),
    (["explain", "pong", "--episode", "gone.npz"], 1, "gone.npz"),
    (["run", "gone.onnx"], 1, "triune export"),
    (["eval", "pong", "--resume", "gone"], 1, "no evaluation run"),
    (["train", "pong", "--data", "gone", "--out", "x.onnx"], 1, "gone" if HAS_TORCH else 'pip install "triune[train]"'),
]


@pytest.mark.parametrize(("words", "code", "hint"), MISTAKES, ids=[" ".join(m[0]) or "nothing" for m in MISTAKES])
def test_mistakes_get_one_line_with_the_fix(words: list[str], code: int, hint: str, tmp_path: Path) -> None:
    result = triune(*words, "--json", cwd=tmp_path)
    assert result.returncode == code, result.stderr
    payload = json.loads(result.stdout)
    assert set(payload) == {"error"} and hint in payload["error"]
    assert "Traceback" not in result.stderr


def test_a_missing_extra_names_the_install_command(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError('no torch', name='torch')")
    result = triune("train", "breakout", "--json", cwd=tmp_path, PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}")
    assert result.returncode == 1
    assert 'pip install "triune[train]"' in json.loads(result.stdout)["error"]


def test_a_broken_system_toml_is_named_with_its_line(tmp_path: Path) -> None:
    text = (ROOT / "zoo" / "pong" / "system.toml").read_text()
    for broken, line in (
        (text.replace("[env]", "[env", 1), "line"),
        (text.replace("max_speed = 40", "max_sped = 40"), "max_sped"),
    ):
        (tmp_path / "system.toml").write_text(broken)
        result = triune("check", str(tmp_path))
        assert result.returncode == 1 and "system.toml, line" in result.stderr and line in result.stderr
        assert "Traceback" not in result.stderr


def test_doctor_sees_a_shadowed_layer(tmp_path: Path) -> None:
    (tmp_path / "logic").mkdir()
    (tmp_path / "logic" / "__init__.py").write_text("")
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); sys.path.insert(0, {str(tmp_path)!r}); "
    code += "from triune.commands.doctor import _layers; print(_layers())"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert "'problem'" in result.stdout and "logic" in result.stdout and str(tmp_path) in result.stdout


def test_doctor_names_the_layers_of_isolation_and_those_that_lack(monkeypatch: pytest.MonkeyPatch) -> None:
    import logic.sandbox
    from triune.commands.doctor import _isolation

    told = {"rlimits": Layer(True, ""), "user": Layer(True, ""), "seccomp": Layer(False, "the kernel refused")}
    told |= {"landlock": Layer(True, ""), "namespace": Layer(False, "not asked for")}
    monkeypatch.setattr(logic.sandbox, "layers", lambda: told)
    found = _isolation()
    assert found[0]["detail"] == "3 of 5 layers: rlimits, user, landlock"
    assert [f["detail"] for f in found[1:]] == ["without seccomp (the kernel refused)"] and found[1]["fix"]


def test_doctor_and_list_report_as_json() -> None:
    doctor = json.loads(triune("doctor", "--json").stdout)
    assert {"python", "layers", "packages", "worlds", "isolation"} <= {f["name"] for f in doctor["findings"]}
    assert all(f["fix"] for f in doctor["findings"] if f["state"] == "problem")
    tasks = json.loads(triune("list", "--json").stdout)["tasks"]
    assert {"breakout", "pong"} <= {t["name"] for t in tasks}


@pytest.mark.parametrize(
    "words, cwd",
    [
        (("play", "t\udce9st"), "."), (("eval", "cartpole", "--out=\udcff"), "."), (("play", "link", "--trust"), "."),
        (("eval", "cartpole", "--shift", "d\udce9m"), "."), (("eval", "cartpole", "--record", "link/r"), "."),
        (("play", "cartpole", "--json"), "t\udce9st"), (("play", "cart\ud800pole"), "."),
    ],
)  # fmt: skip
def test_names_that_no_record_could_hold_are_refused_at_once(words: tuple[str, ...], cwd: str, tmp_path: Path) -> None:
    """A word, a link's end or the folder one is in, which are not UTF-8: one line, and nothing is written."""
    (tmp_path / "t\udce9st").mkdir()
    (tmp_path / "link").symlink_to("t\udce9st")
    done = inside(*words, cwd=tmp_path / cwd)
    told = json.loads(done.stdout)["error"] if "--json" in words else done.stderr
    assert done.returncode == 2 and "is not UTF-8" in told and len(done.stderr.splitlines()) == 1, done
    assert len(list(tmp_path.rglob("*"))) == 2


def test_folders_of_any_language_are_taken(tmp_path: Path) -> None:
    (tmp_path / "tést 日本").mkdir()
    done = inside("check", "cartpöle", "--json", cwd=tmp_path / "tést 日本")
    assert "unknown task" in json.loads(done.stdout)["error"]
