"""The example scripts run as they are."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cli_kit import ROOT

needs_detector = pytest.mark.skipif(
    not (ROOT / "zoo/breakout/perception.onnx").is_file(), reason="breakout has no detector yet"
)
RUNS = [
    ("play_from_python.py", ["breakout", "40"], "mean"),
    ("run_bundle.py", [], "FIRE"),
    ("gym_features.py", [], "ball"),
]


def test_every_example_is_run() -> None:
    elsewhere = {"bundle_plain.py"}  # in test_fused.py, on a bundle
    assert {name for name, _, _ in RUNS} | elsewhere == {p.name for p in (ROOT / "examples").glob("*.py")}


@needs_detector
@pytest.mark.parametrize(("name", "words", "shown"), RUNS, ids=[r[0] for r in RUNS])
def test_example(name: str, words: list[str], shown: str, tmp_path: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    script = ROOT / "examples" / name
    done = subprocess.run([sys.executable, str(script), *words], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert shown in done.stdout
