"""Only regular files of a bounded size are read, whatever stands in their place; sizes are known before memory is."""

from __future__ import annotations

import io
import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from envs import files
from envs.arrays import ARRAY_ERRORS, arrays_of
from envs.files import KINDS, Unreadable, read_file, read_json, read_text


def test_what_is_no_small_regular_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "good").write_bytes(b"12345678")
    (tmp_path / "large").write_bytes(b"123456789")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    assert read_file(tmp_path / "good", "lock", most=8) == b"12345678"
    for name, said in [
        ("large", "larger than the 8"), ("zero", "not a regular"), ("circle", "cannot read"), ("pipe", "not a regular"),
        ("folder", "this lock|not a regular"), ("none", "no such lock"), ("nul\0", "null"), ("n" * 300, "too long"),
    ]:  # fmt: skip
        with pytest.raises(Unreadable, match=f"{name}: .*({said})"):
            read_file(tmp_path / name, "lock", most=8)


def test_a_link_out_of_its_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "task").mkdir()
    (tmp_path / "out").write_bytes(b"secret")
    (tmp_path / "task" / "link").symlink_to("../out")
    (tmp_path / "task" / "circle").symlink_to("circle")
    with pytest.raises(Unreadable, match="link out of"):
        read_file(tmp_path / "task" / "link", "lock", within=tmp_path / "task")
    with pytest.raises(Unreadable, match="cannot read"):
        read_file(tmp_path / "task" / "circle", "lock", within=tmp_path / "task")


def test_every_kind_has_a_limit_and_a_reason(tmp_path: Path) -> None:
    for name, kind in KINDS.items():
        assert kind.most > 0 and kind.why and kind.missing
        path = tmp_path / name.replace(" ", "-")
        with open(path, "wb") as file:
            file.truncate(kind.most + 1)  # sparse: it takes no room
        with pytest.raises(Unreadable, match=f"larger than the {kind.most} bytes .*is it another file"):
            read_file(path, name)


def test_text_comes_as_people_save_it(tmp_path: Path) -> None:
    path = tmp_path / "policy.py"
    path.write_bytes("\ufeffa = 1\r\nb = 'é'\rc".encode())
    assert read_text(path, "policy") == "a = 1\nb = 'é'\nc"
    for data, said in [
        (b"a\n\xff", "line 2: not UTF-8"),
        (b"a\n\nb\0", "line 3: a NUL"),
        ("a".encode("utf-16"), "UTF-8"),
    ]:
        path.write_bytes(data)
        with pytest.raises(Unreadable, match=said):
            read_text(path, "policy")


@pytest.mark.parametrize("data", [b"", b"{", b"[" * 100_000, b"9" * 10_000, b'"\xff"', b"{}\0", b"\xff\xfe{\0}\0"])
def test_what_is_no_json_is_said(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(data)
    with pytest.raises(KeyError, match="x.json: damaged or half-written settings .*; write it again"):
        read_json(path, "settings", KeyError, "write it again")
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps({"a": 1}).encode())
    assert read_json(path, "settings") == {"a": 1}


def npz(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def npy(array: np.ndarray, shape: tuple[int, ...] | None = None) -> bytes:
    """As numpy saves it; `shape`: what the header says instead."""
    buffer = io.BytesIO()
    if shape is None:
        np.save(buffer, array)
    else:
        np.lib.format.write_array_header_1_0(buffer, {"descr": array.dtype.str, "fortran_order": False, "shape": shape})
        buffer.write(array.tobytes())
    return buffer.getvalue()


def test_arrays_are_those_that_were_saved() -> None:
    made = {"a": np.arange(6.0).reshape(2, 3), "b": np.zeros((0, 4), np.uint8), "c": np.array("text")}
    made |= {"d": np.asfortranarray(made["a"]), "e": np.array([b"ab"]), "f": np.array([True, False])}
    made |= {t: np.arange(3).astype(t) for t in ("i1", "i8", "u2", "f2", "f4", "c8", "c16")}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **made)  # type: ignore[arg-type]
    found = arrays_of(buffer.getvalue())
    assert found.keys() == made.keys() and all(np.array_equal(found[k], made[k]) for k in made)
    assert all((found[k].dtype, found[k].flags.writeable) == (made[k].dtype, True) for k in made)
    assert set(arrays_of(buffer, {"b"})) == {"b"}


def test_no_python_is_parsed_to_read_an_array(monkeypatch: pytest.MonkeyPatch) -> None:
    data = npz({"a.npy": npy(np.arange(3))})
    monkeypatch.delattr("ast.parse")  # what fails beside other threads in Python 3.11
    assert arrays_of(data)["a"].tolist() == [0, 1, 2]


def test_arrays_that_lie_about_their_size_are_not_allocated() -> None:
    small = np.zeros(100, np.uint8)
    lies = {
        "shape": npz({"a.npy": npy(small, (99_999_999_999,))}),
        "objects": npz({"a.npy": npy(np.array([None] * 3))}),
        "records": npz({"a.npy": npy(np.zeros(3, [("a", "i4")]))}),
        "no type": npz({"a.npy": npy(small).replace(b"|u1", b"|z1")}),
        "no header": npz({"a.npy": npy(small).replace(b"{", b"(")}),
        "less than nothing": npz({"a.npy": npy(small, (-1, 100))}),
        "method": npz({"a.npy": npy(small)}, zipfile.ZIP_LZMA),
        "no zip": b"PK\3\4",
        "no array": npz({"a.npy": b"text"}),
        "short": npz({"a.npy": npy(small)[:-1]}),
    }
    size = npz({"a.npy": npy(small)})
    at = size.index(b"PK\1\2") + 24  # the directory's word for the inflated size
    lies["inflated"] = size[:at] + (0xFFFFFFF0).to_bytes(4, "little") + size[at + 4 :]
    for name, data in lies.items():
        with pytest.raises(ARRAY_ERRORS):
            arrays_of(data)
            pytest.fail(name)
    with pytest.raises(KeyError):
        arrays_of(size, {"header"})


@pytest.mark.parametrize(
    "text", ["[" + "[]," * 99 + "1]", "[" + "0," * 99 + "1]", '{"a": [' + "{}," * 60 + "{}]}", "[" * 60 + "0," * 60]
)
def test_a_small_file_makes_no_large_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(files, "MOST_VALUES", 90)
    (tmp_path / "x").write_text(text)
    with pytest.raises(Unreadable, match="x: damaged.*more than 90 values"):
        read_json(tmp_path / "x", "run record")
    assert files.loads('["' + "," * 70 + '", 1, 2]') and files.loads("[" + "12345678" * 2 + "]")
