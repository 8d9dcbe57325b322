"""Children are started in one place, and the current folder plays no part in what they import."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from envs.process import ROOT, start

LAYERS = ("envs", "native", "perception", "logic", "data_flywheel", "supervisor", "triune", "benchmarks")
# Starts the foreign command itself, and may use the standard library only.
FOREIGN = "supervisor/proposers/process_tree.py"
STARTERS = {"Popen", "run", "call", "check_call", "check_output", "getoutput"}


def starts(source: str) -> bool:
    """Whether a text starts a process."""
    if "subprocess" not in source and "Popen" not in source:
        return False
    calls = [n.func for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Call)]
    names = [f for f in calls if isinstance(f, ast.Attribute) and isinstance(f.value, ast.Name)]
    return any(f.value.id == "subprocess" and f.attr in STARTERS for f in names) or "import Popen" in source  # type: ignore[attr-defined]


def test_one_module_starts_children() -> None:
    found = {
        str(path.relative_to(ROOT)) for layer in LAYERS for path in (ROOT / layer).rglob("*.py")
        if starts(path.read_text())
    }  # fmt: skip
    assert found == {"envs/process.py", FOREIGN}


def hostile(folder: Path) -> Path:
    """A current folder whose names are those of modules that every child imports."""
    for package in ("envs", "triune", "perception", "data_flywheel"):
        (folder / package).mkdir()
    for module in ("numpy", "json", "ale_py", "logic"):
        (folder / f"{module}.py").write_text("raise SystemExit('the current folder was imported')\n")
    (folder / "triune" / "__init__.py").write_text("raise SystemExit('the current folder was imported')\n")
    return folder


@pytest.mark.parametrize("entries", ["", ".", f"{os.pathsep}x{os.pathsep}", "relative"])
def test_the_current_folder_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entries: str) -> None:
    monkeypatch.chdir(hostile(tmp_path))
    monkeypatch.setenv("PYTHONPATH", entries)
    child = start("envs.executor", "triune.play.workers:episodes", "triune.errors:one_line", "no job", text=True)
    said, _ = child.communicate(timeout=60)
    assert '"error": "JSONDecodeError' in said


def test_a_started_command_does_not_import_it_either(tmp_path: Path) -> None:
    """`python -m triune` puts the current folder first, of which some folders are empty here."""
    for name in ("envs", "triune", "numpy", "logic"):
        (tmp_path / name).mkdir()
    names = ("onnxruntime", "argparse", "tomllib", "cv2", "typing", "__future__", "pathlib", "json", "re")
    for name in names:
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the current folder was imported')\n")
    command = [sys.executable, "-m", "triune", "play", "cartpole", "--steps", "3", "--json"]
    full = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=full, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_doctor_tries_a_real_child(monkeypatch: pytest.MonkeyPatch) -> None:
    from envs import remote
    from triune.commands import doctor

    monkeypatch.setattr(remote.PixelEnv, "_module", "envs.no_such_module")
    found = [f for f in doctor._worlds() if "mujoco" not in f["fix"]]  # which may lack here
    assert found and {f["state"] for f in found} == {"problem"}


@pytest.mark.parametrize("words", [("play", "pong"), ("eval", "cartpole", "--seeds", "0:2", "--workers", "2")])
def test_a_hostile_current_folder_changes_nothing(tmp_path: Path, words: tuple[str, ...]) -> None:
    command = [sys.executable, "-P", "-m", "triune", *words, "--steps", "5"]
    here = hostile(tmp_path)
    full = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=here, env=full, timeout=120)
    assert done.returncode == 0, done.stderr
