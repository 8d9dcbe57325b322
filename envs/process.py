"""Child processes: the one place where Triune starts a Python of its own, or a command that somebody named."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from envs.env import registered
from envs.terminal import open_standard

ROOT = Path(__file__).resolve().parent.parent  # what this Triune was imported from: a checkout or site-packages


def start(
    module: str, *arguments: str, variables: Mapping[str, str] | None = None, **options: Any
) -> subprocess.Popen[Any]:
    """`python -m module arguments...` with this Triune, over pipes on stdin and stdout; a `subprocess.Popen`.

    variables: added to this process's environment, as are the backends registered here. options: of `Popen`; bytes
    unless `text=True`. The current folder plays no part in what the child imports.
    """
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    env = {**os.environ, "PYTHONPATH": _path(), **registered(), **(variables or {})}
    # -P: without it, -m puts the current folder first, and a stranger's `numpy.py` there would run.
    open_standard()  # the child speaks over what would else become its 0, 1 or 2
    return subprocess.Popen([sys.executable, "-P", "-m", module, *arguments], env=env, **pipes | options)


def start_file(file: str | Path, *arguments: str, env: Mapping[str, str], **options: Any) -> subprocess.Popen[Any]:
    """`python file arguments...` alone: the standard library, no packages, this environment and no other."""
    return subprocess.Popen([sys.executable, "-I", str(file), *arguments], env=dict(env), **options)


def start_command(words: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
    """A command that the user named, not a shell: words as they are. options: of `Popen`. OSError: there is none."""
    open_standard()
    return subprocess.Popen(list(words), **options)


def _path() -> str:
    """PYTHONPATH: this Triune, then what was there; an empty or relative entry would mean the current folder."""
    there = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return os.pathsep.join([str(ROOT), *(entry for entry in there if os.path.isabs(entry))])
