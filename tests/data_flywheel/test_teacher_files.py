"""What runs as a teacher is what was read, and what it says can be stored."""

from __future__ import annotations

import importlib._bootstrap_external as external  # type: ignore[import-not-found]
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from data_flywheel.errors import DataError
from data_flywheel.labelers.teacher import load_teacher
from envs.spec import ZOO

FRAME = np.zeros((500, 500, 3), np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A task with a teacher of its own."""
    made = tmp_path / "task"
    made.mkdir()
    shutil.copy(ZOO / "pendulum" / "system.toml", made)
    return made


def write(folder: Path, answer: str) -> Path:
    path = folder / "teacher.py"
    path.write_text(f"def label(truth, frame, schema):\n    return {answer}\n")
    return path


def test_a_prepared_byte_code_file_does_not_run(folder: Path) -> None:
    path = write(folder, "schema.empty()")
    cache = folder / "__pycache__" / f"teacher.{sys.implementation.cache_tag}.pyc"
    cache.parent.mkdir()
    code = compile("def label(truth, frame, schema):\n    raise SystemExit('cached')\n", str(path), "exec")
    cache.write_bytes(external._code_to_hash_pyc(code, b"12345678", False))
    assert not load_teacher(folder).label({}, FRAME).any()


def test_a_link_out_of_the_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "other.py").write_text("def label(truth, frame, schema):\n    return schema.empty()\n")
    (folder / "teacher.py").symlink_to(tmp_path / "other.py")
    with pytest.raises(DataError, match="teacher.py"):
        load_teacher(folder)


@pytest.mark.parametrize("answer", ["'x'", "[0] * 9", "[float('nan')] * 3", "None", "[1, float('inf'), 1]"])
def test_a_label_that_cannot_be_stored_is_refused(folder: Path, answer: str) -> None:
    write(folder, answer)
    with pytest.raises(DataError, match="finite"):
        load_teacher(folder).label({}, FRAME)
