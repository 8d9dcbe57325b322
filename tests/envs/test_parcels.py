"""Parcels: the same bytes for the same content, nothing foreign unpacked elsewhere, and a shelf that heals itself."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from envs.errors import EnvError
from envs.parcels import WORK, Shelf, bound, check_name, digest, unwrap, wrap


def task(folder: Path) -> Path:
    folder.mkdir()
    for name in ("system.toml", "policy.py", "perception.onnx"):
        (folder / name).write_text(f"text of {name}\n")
    (folder / "trials.jsonl").write_text("{}\n")
    (folder / ".hidden").write_text("")
    (folder / "lineage").mkdir()
    return folder


def test_a_folder_is_its_content_and_a_file_the_folder_of_one(tmp_path: Path) -> None:
    one, two = task(tmp_path / "one"), task(tmp_path / "two")
    assert wrap(one) == wrap(two)
    assert list(unwrap(wrap(one))) == ["perception.onnx", "policy.py", "system.toml"]
    (two / "trials.jsonl").write_text("{}\n{}\n")  # a ledger grows while its policy is played
    assert wrap(one) == wrap(two)
    (two / "policy.py").write_text("another\n")
    assert wrap(one) != wrap(two)
    assert unwrap(wrap(one / "policy.py")) == {"policy.py": b"text of policy.py\n"}


def test_a_link_out_of_the_folder_and_a_pipe_are_refused(tmp_path: Path) -> None:
    folder = task(tmp_path / "task")
    (tmp_path / "secret").write_text("secret")
    (folder / "teacher.py").symlink_to(tmp_path / "secret")
    with pytest.raises(EnvError, match="link out of"):
        wrap(folder)
    (folder / "teacher.py").unlink()
    os.mkfifo(folder / "teacher.py")
    with pytest.raises(EnvError, match="not a regular file"):
        wrap(folder)


@pytest.mark.parametrize("name", ["../up.py", "/etc/passwd", "a/b", "..", ".", "", ".bashrc", "a\\b", "a\0", "a\nb", 7])
def test_names_that_lead_elsewhere_are_refused(name: object) -> None:
    with pytest.raises(EnvError):
        check_name(name)
    with pytest.raises(EnvError):
        unwrap(bound([(name, b"x")]))  # type: ignore[list-item]


@pytest.mark.parametrize(
    "data",
    [b"", b"x", b"{}\n", b"[]", b"null\n", b'[["a",1]]\n', b'[["a",1]]\nxx', b'[["a",-1],["b",2]]\nx', b'[["a"]]\n',
     b'[["a",1],["a",1]]\nxx', b'[["a","x"]]\nx', b"[" * 9000 + b"\n", b'[["a",1e999]]\nx'],
)  # fmt: skip
def test_damaged_parcels_are_refused(data: bytes) -> None:
    with pytest.raises(EnvError, match="parcel"):
        unwrap(data)


def test_a_shelf_keeps_a_parcel_read_only_and_mends_one_that_was_changed(tmp_path: Path) -> None:
    data = wrap(task(tmp_path / "task"))
    shelf, name = Shelf(tmp_path / "shelf"), digest(data)
    with shelf.using(name) as none:
        assert none is None
    shelf.put(name, data)
    with shelf.using(name) as folder:
        assert folder is not None and wrap(folder) == data
        modes = {p.stat().st_mode & 0o777 for p in folder.iterdir()}
        assert modes == {0o400} and folder.stat().st_mode & 0o777 == 0o500
    os.chmod(shelf.root / name, 0o700)
    (shelf.root / name / "policy.py").unlink()
    (shelf.root / name / "policy.py").write_text("what a stranger put there\n")
    with shelf.using(name) as changed:
        assert changed is None
    shelf.put(name, data)
    with shelf.using(name) as folder:
        assert folder is not None and (folder / "policy.py").read_text() == "text of policy.py\n"
    with pytest.raises(EnvError, match="arrived damaged"):
        shelf.put(digest(b"other"), data)


def test_a_shelf_drops_what_was_unused_for_longest_but_nothing_in_use(tmp_path: Path) -> None:
    parcels = [bound([("a", bytes([i]) * 1000)]) for i in range(4)]
    names = [digest(p) for p in parcels]
    shelf = Shelf(tmp_path / "shelf", most=2600)
    for i in (0, 1):
        shelf.put(names[i], parcels[i])
        os.utime(shelf.root / names[i], (i, i))
    with shelf.using(names[0]):
        os.utime(shelf.root / names[0], (0, 0))  # the oldest, and in use
        shelf.put(names[2], parcels[2])
        assert {p.name for p in shelf.root.iterdir()} == {names[0], names[2]}
    os.utime(shelf.root / names[0], (0, 0))
    shelf.put(names[3], parcels[3])
    assert {p.name for p in shelf.root.iterdir()} == {names[2], names[3]}


def test_a_shelf_is_its_users_alone(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    os.chmod(tmp_path / "open", 0o777)
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "file").write_text("")
    for name in ("open", "link", "file"):
        with pytest.raises(EnvError, match="TRIUNE_CACHE"):
            Shelf(tmp_path / name)


def test_a_place_to_write_in_is_swept_by_the_next_when_its_owner_was_killed(tmp_path: Path) -> None:
    shelf, data = Shelf(tmp_path / "shelf", most=40), wrap(task(tmp_path / "task") / "policy.py")
    places = shelf.root / WORK
    heard, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            with shelf.workplace() as killed:
                (killed / "half").touch()
                os.write(write, str(killed).encode())
                os.kill(os.getpid(), signal.SIGKILL)
        finally:
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == signal.SIGKILL
    left = Path(os.read(heard, 4096).decode())
    assert (left / "half").exists() and list(places.iterdir()) == [left]
    with shelf.workplace() as one, shelf.workplace() as two:
        assert sorted(places.iterdir()) == sorted([one, two]) and one != two
        for i in range(3):  # there is no room for two parcels, and none is made here
            shelf.put(digest(bound([(f"{i}", data)])), bound([(f"{i}", data)]))
        (one / "here").touch()
    assert not list(places.iterdir())
