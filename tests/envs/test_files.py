"""Only regular files of a bounded size are read, whatever stands in their place."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from envs.files import Unreadable, read_file


def test_what_is_no_small_regular_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "good").write_bytes(b"12345678")
    (tmp_path / "large").write_bytes(b"123456789")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    assert read_file(tmp_path / "good", "lock", 8) == b"12345678"
    for name, said in [
        ("large", "larger than the 8"), ("zero", "not a regular"), ("circle", "cannot read"), ("pipe", "not a regular"),
        ("folder", "this lock|not a regular"), ("none", "no such lock"),
    ]:  # fmt: skip
        with pytest.raises(Unreadable, match=f"{name}: .*({said})"):
            read_file(tmp_path / name, "lock", 8)


def test_a_link_out_of_its_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "task").mkdir()
    (tmp_path / "out").write_bytes(b"secret")
    (tmp_path / "task" / "link").symlink_to("../out")
    with pytest.raises(Unreadable, match="link out of"):
        read_file(tmp_path / "task" / "link", "lock", 8, tmp_path / "task")
