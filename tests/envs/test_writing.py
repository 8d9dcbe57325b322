"""Files and folders appear whole or not at all, a full disk is told with the file's name, nobody writes otherwise."""

from __future__ import annotations

import ast
import errno
import io
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cli_kit import ROOT
from faults_kit import small_files

from envs.writing import DiskFull, atomic_copy, atomic_write, naming, whole
from supervisor.events import EventLog
from triune.commands import improve_setup
from triune.commands.improve_setup import copy_folder
from triune.report.html import write_page
from triune.report.replay import write_mp4, write_webp
from triune.system import load

LAYERS = ("envs", "native", "perception", "logic", "data_flywheel", "supervisor", "triune")
WRITERS = {
    "write_text",
    "write_bytes",
    "imwrite",
    "imwriteanimation",
    "VideoWriter",
    "savez",
    "savez_compressed",
    "tofile",
    "open_own",
}
WRITERS |= {"copyfile", "copy", "copy2", "copytree", "move", "ParquetWriter", "replace", "rename", "save_file"}
MODULES = {
    "os",
    "shutil",
    "np",
    "torch",
    "cv2",
    "pq",
    "pa",
}  # whose `replace`, `copy` and `save` are not those of a text
GUARDS = {"whole"}  # inside `with whole(...)` anything may write

MAY = re.compile("|".join([r"open\(", *WRITERS, r"\.save\("]))  # parsing all would take seconds
EXCEPTIONS = {
    "envs/terminal.py": "the null device",
    "envs/writing.py": "the atomic writer itself",
    "triune/cli.py": "the null device",
    "data_flywheel/storage/log.py": "the append-only log",
    "supervisor/events.py": "the append-only log of an improve run",
    "supervisor/proposers/process_tree.py": "the output of an agent's command, as it comes; read as far as it got",
    "triune/live/telling.py": "a line a step, for whoever follows it; `naming` tells of a full disk",
    "envs/executor.py": "a pipe",
    "supervisor/proposers/spending.py": "a lock, which holds nothing",
    "envs/parcels.py": "moves a folder out of the way, to be removed",
    "envs/remote_process.py": "shared memory and a pipe",
    "envs/rewards.py": "shared memory",
    "data_flywheel/labelers/causal/probe_child.py": "a pipe",
    "data_flywheel/storage/container.py": "a buffer in memory",
}


def writes(source: str) -> list[str]:
    """Calls that write a file, outside `with whole(...)`."""
    found: list[str] = []

    def visit(node: ast.AST, guarded: bool) -> None:
        if isinstance(node, ast.With):
            calls = [item.context_expr for item in node.items]
            guarded |= any(isinstance(c, ast.Call) and _name(c.func) in GUARDS | {"ExitStack"} for c in calls)
        if isinstance(node, ast.Call) and not guarded and _writes(node):
            found.append(f"line {node.lineno}: {ast.unparse(node)[:80]}")
        for child in ast.iter_child_nodes(node):
            visit(child, guarded)

    visit(ast.parse(source), False)
    return found


def _name(node: ast.AST) -> str:
    return getattr(node, "attr", getattr(node, "id", ""))


def _writes(call: ast.Call) -> bool:
    name, owner = _name(call.func), _name(getattr(call.func, "value", call))
    if name in ("open", "fdopen"):
        words = [a for a in (*call.args, *(k.value for k in call.keywords)) if isinstance(a, (ast.Constant, ast.BinOp))]
        flags = {n.attr for a in call.args for n in ast.walk(a) if isinstance(n, ast.Attribute)}
        modes = [w.value for w in words if isinstance(w, ast.Constant) and isinstance(w.value, str)]
        written = any(set(m) <= set("rwxabt+") and set(m) & set("wxa+") for m in modes)
        return written or bool(flags & {"O_WRONLY", "O_RDWR", "O_CREAT"})
    if name in ("replace", "rename", "copy", "move", "save"):
        return owner in MODULES
    return name in WRITERS


def test_every_file_is_written_by_the_atomic_writer() -> None:
    found = {}
    for path in (p for layer in LAYERS for p in (ROOT / layer).rglob("*.py")):
        text = path.read_text()
        if MAY.search(text) and (lines := writes(text)):
            found[path.relative_to(ROOT).as_posix()] = lines
    assert found.keys() == EXCEPTIONS.keys(), {k: v for k, v in found.items() if k not in EXCEPTIONS}


@pytest.mark.parametrize(
    "line",
    [
        "open(p, 'w')", "p.open('ab')", "open(p, mode='x')", "p.write_text(t)", "cv2.imwrite(p, x)", "np.savez(p, x=x)",
        "shutil.copyfile(a, b)", "os.replace(a, b)", "torch.save(s, p)", "os.open(p, os.O_RDWR | os.O_CREAT)",
        "os.fdopen(d, 'wb')", "with whole(p) as q: pass\np.write_bytes(b)",
    ],
)  # fmt: skip
def test_another_writer_is_found(line: str) -> None:
    assert writes(line)


def test_what_writes_nothing_is_let_pass() -> None:
    for line in (
        "open(p)",
        "p.open('rb')",
        "text.replace('a', 'w')",
        "with whole(p) as q: q.write_bytes(b)",
        "x.copy()",
    ):
        assert not writes(line), line


PICTURES = [np.random.default_rng(i).integers(0, 255, (64, 64, 3), dtype=np.uint8) for i in range(3)]


def log(path: Path) -> None:
    with EventLog.open(path) as events:
        events.append("run.started", {"options": "x" * 5000})


def lines(path: Path) -> None:
    with naming(path), path.open("w") as file:
        file.write("x" * 5000)


def picture(path: Path) -> None:
    with whole(path) as partial:
        np.savez(io.FileIO(partial, "w"), x=np.zeros(5000))


MAKERS: dict[str, Callable[[Path], object]] = {
    "page.html": lambda path: write_page(path, "x" * 5000),
    "events.jsonl": log,
    "run.jsonl": lines,
    "array.npz": picture,
    "film.webp": lambda path: write_webp(path, PICTURES, 15),
    "film.mp4": lambda path: write_mp4(path, PICTURES * 9, 15),
    "copied": lambda path: atomic_copy(ROOT / "README.md", path),
}


@pytest.mark.parametrize("name", MAKERS)
def test_a_full_disk_is_told_with_the_files_name(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    kept = name not in ("events.jsonl", "run.jsonl")  # these grow
    if kept:
        path.write_text("old")
    with small_files(300), pytest.raises(Exception, match=name):
        MAKERS[name](path)
    assert not list(tmp_path.glob(".*.part*")) and (not kept or path.read_text() == "old")


class Killed(BaseException):
    """As Ctrl-C, or the end of the process, in the midst."""


@pytest.mark.parametrize("at", range(4))
def test_a_copy_of_a_task_appears_whole_or_not_at_all(at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed at any file, and even where nothing cleans up, nothing stands at --out, and the next run copies afresh."""
    system, left = load("cartpole"), iter(range(at, -1, -1))

    def dying(*args: object, copy: Callable[..., object] = improve_setup._copy) -> object:
        if next(left) == 0:
            raise Killed
        return copy(*args)

    with monkeypatch.context() as patched:
        patched.setattr(improve_setup, "_copy", dying)
        patched.setattr(shutil, "rmtree", lambda *_, **__: None)
        with pytest.raises(Killed):
            copy_folder(system, tmp_path / "copy", history=True)
    assert not (tmp_path / "copy").exists() and list(tmp_path.glob(".copy.*.part"))
    (tmp_path / "copy").mkdir()  # an empty one is as good as none
    copied = copy_folder(system, tmp_path / "copy", history=True)
    assert {p.name for p in copied.iterdir()} >= {"system.toml", "policy.py", "locks", "lineage"}
    assert sorted(p.name for p in (copied / "locks").iterdir()) == sorted(
        p.name for p in (system.folder / "locks").iterdir()
    )


def test_an_error_within_leaves_what_was(tmp_path: Path) -> None:
    for name, make in (("file", Path.touch), ("folder", Path.mkdir)):
        with pytest.raises(ValueError), whole(tmp_path / name) as partial:
            make(partial)
            raise ValueError
    atomic_write(tmp_path / "a", b"1")
    with small_files(10), pytest.raises(DiskFull):
        atomic_write(tmp_path / "a", b"2" * 99)
    assert os.listdir(tmp_path) == ["a"] and (tmp_path / "a").read_bytes() == b"1"


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
@pytest.mark.parametrize("there", ["file", "empty", "dangling", "folder"])
def test_a_new_file_takes_no_others_name(
    there: str, links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also on a file system that has no links."""
    if not links:
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(PermissionError(errno.EPERM, "no links")))
    (tmp_path / "empty").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "dangling").symlink_to("nowhere")
    atomic_write(tmp_path / "file", b"1", new=True)
    with pytest.raises(FileExistsError):
        atomic_write(tmp_path / there, b"2", new=True)
    assert (tmp_path / "file").read_bytes() == b"1" and (tmp_path / "empty").read_bytes() == b""
    assert sorted(os.listdir(tmp_path)) == ["dangling", "empty", "file", "folder"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
@pytest.mark.parametrize("place", ["shared memory", tempfile.gettempdir()])
def test_memory_that_no_disk_has_room_for_is_named(monkeypatch: pytest.MonkeyPatch, number: int, place: str) -> None:
    from envs import remote

    def truncate(descriptor: int, size: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(remote.os, "ftruncate", truncate)
    if place != "shared memory":
        monkeypatch.delattr(remote.os, "memfd_create")
    with pytest.raises(DiskFull, match=f"{place}: .*free some space"), remote.shared_memory(9):
        pass
