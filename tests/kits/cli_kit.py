"""Run the command line as a user does."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path

from triune.cli import main

ROOT = Path(__file__).parents[2]


def triune(*words: str, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the real thing."""
    full = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **env}
    return subprocess.run([sys.executable, "-m", "triune", *words], capture_output=True, text=True, cwd=cwd, env=full)


def inside(*words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The same in this process, where a child is not the point: nothing starts, and what was compiled is known."""
    out, log = io.StringIO(), io.StringIO()
    with contextlib.chdir(cwd or "."), contextlib.redirect_stdout(out), contextlib.redirect_stderr(log):
        code = main(words)
    return subprocess.CompletedProcess(words, code, out.getvalue(), log.getvalue())


def copy_task(folder: Path, task: str = "pong") -> None:
    """A task's folder as a stranger would have it."""
    folder.mkdir()
    for name in ("system.toml", "policy.py", "safety.py", "teacher.py", "perception.safetensors", "perception.onnx"):
        source = ROOT / "zoo" / task / name
        if source.is_file():
            (folder / name).write_bytes(source.read_bytes())
