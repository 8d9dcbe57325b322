"""`triune web` without a browser: the files that the page reads, the server, the folder."""

from __future__ import annotations

import gzip
import threading
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from triune.errors import TriuneError
from triune.web_data import decode, encode
from triune.web_server import server

RNG = np.random.default_rng(3)
ARRAYS = {
    "frames": RNG.integers(0, 9, (5, 7, 3), dtype=np.uint8),
    "memory": np.array([[0.0, -0.0, np.nan], [1.5, np.inf, 2.0**53], [1.5, -1e-320, 0.1]]),
    "reason": np.array([-1, 3, 32767], np.int16),
    "scene": RNG.normal(size=(3, 4)).astype(np.float32),
    "score": np.array([7], np.int32),
    "nothing": np.zeros((0, 4), np.float32),
}


def test_arrays_come_back_bit_for_bit() -> None:
    data = encode("test", {"task": "päddle"}, ARRAYS, xor=("frames", "memory"))
    header, found = decode(data, "test")
    assert header["task"] == "päddle" and list(found) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert found[name].dtype == array.dtype and found[name].shape == array.shape
        assert found[name].tobytes() == array.tobytes(), name
    assert encode("test", {"task": "päddle"}, ARRAYS, xor=("frames", "memory")) == data
    assert all(block["at"] % 8 == 0 for block in header["blocks"])


def test_frames_that_hardly_change_take_little_room() -> None:
    """A native frame is larger than the window in which deflate sees repetition."""
    frames = np.repeat(RNG.integers(0, 200, (1, 210, 160), dtype=np.uint8), 8, axis=0)
    frames[4:, 3, 3] += 1
    alone = len(encode("test", {}, {"f": frames[:1]}))
    assert len(encode("test", {}, {"f": frames}, xor=("f",))) < 1.2 * alone < len(encode("test", {}, {"f": frames})) / 4


def test_files_that_cannot_be_read_are_refused_in_words() -> None:
    data = encode("episode", {}, ARRAYS)
    for bad in (b"", b"not gzip", data[:40], data[:-9], gzip.compress(b"x"), gzip.compress(b"OTHERWEB" + bytes(8))):
        with pytest.raises(TriuneError, match="triune web"):
            decode(bad, "episode")
    with pytest.raises(TriuneError, match="holds a episode"):
        decode(data, "logic check")
    with pytest.raises(TriuneError, match="float16"):
        encode("episode", {}, {"x": np.zeros(3, np.float16)})


def test_the_server_names_types_that_browsers_insist_on(tmp_path: Path) -> None:
    for name in ("page.js", "ort.mjs", "ort.wasm", "bundle.onnx", "episode.bin.gz", "index.html"):
        (tmp_path / name).write_bytes(b"x")
    wanted = {
        "page.js": "text/javascript", "ort.mjs": "text/javascript", "ort.wasm": "application/wasm",
        "bundle.onnx": "application/octet-stream", "episode.bin.gz": "application/gzip", "": "text/html",
    }  # fmt: skip
    with server(tmp_path) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        try:
            for name, kind in wanted.items():
                with urllib.request.urlopen(f"http://127.0.0.1:{running.server_port}/{name}", timeout=10) as answer:
                    assert answer.headers["Content-Type"].split(";")[0] == kind
                    assert "Content-Encoding" not in answer.headers
        finally:
            running.shutdown()
            thread.join()


def test_a_port_in_use_is_an_error_that_names_the_fix(tmp_path: Path) -> None:
    with server(tmp_path) as running, pytest.raises(TriuneError, match="--serve 0"):
        server(tmp_path, running.server_port)
