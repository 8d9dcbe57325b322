"""`triune web` without a browser: the files that the page reads, the server, the folder."""

from __future__ import annotations

import gzip
import json
import threading
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from cli_kit import inside as run_triune

from triune.deploy import web
from triune.deploy.web import decode, encode, server
from triune.errors import TriuneError
from triune.play import play

STEPS = 40
POLICY = """
class Memory:
    tick: int = 0
    x: float = 0.1


def act(scene, memory):
    memory.tick = (memory.tick * 7 - 3) % 1009
    memory.x = math.sqrt(abs(memory.x - scene.paddle.x)) / (memory.tick % 5)  # every now and then a fault
    return (RIGHT, "far") if memory.x > 3.0 else (LEFT, "near")
"""
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
    with server(tmp_path) as running, pytest.raises(TriuneError, match="--serve PORT .0 for any"):
        server(tmp_path, running.server_port)


def test_rules_with_commas_in_their_names_stay_whole() -> None:
    import triune

    system = triune.load("pong")
    episode, frames, overruled = web.record(system, None, 1, 3)
    assert overruled == [(), (), ()]
    told = [("Never this, or that", "lost"), (), ("lost",)]
    data = web.episode_file(system, episode, frames, told, ["Never this, or that", "other", "lost"])
    _, found = decode(data, web.EPISODE)
    assert found["interventions"].tolist() == [[1, 0, 1], [0, 0, 0], [0, 0, 1]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Written by the command line, as by a user."""
    pytest.importorskip("onnx", reason="exporting a bundle needs the onnx package")
    home = tmp_path_factory.mktemp("web")
    (home / "small.py").write_text(POLICY)
    words = ("web", "breakout", "--out", str(home / "site"), "--seed", "7", "--steps", str(STEPS))
    done = run_triune(*words, "--policy", str(home / "small.py"), "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["task"] == "breakout" and said["steps"] == STEPS and said["folder"] == str(home / "site")
    assert set(said["files"]) == {str(p.relative_to(home / "site")) for p in (home / "site").rglob("*") if p.is_file()}
    return home / "site"


def test_the_folder_is_complete(folder: Path) -> None:
    site = json.loads((folder / "site.json").read_text())
    named = [site["bundle"], site["episode"], *(c[key] for c in site["checks"] for key in ("model", "cases"))]
    assert all((folder / name).stat().st_size > 500 for name in named)
    assert [c["name"] for c in site["checks"]] == ["policy", "small"]
    page = (folder / "index.html").read_text()
    assert all((folder / name).is_file() for name in ("page.js", "style.css")) and 'src="page.js"' in page
    for script in folder.glob("*.js"):  # every module that is imported is there, and nothing comes from elsewhere
        for line in script.read_text().splitlines():
            if line.startswith("import ") and '"' in line:
                assert (folder / line.split('"')[1]).is_file(), line
    assert all("://" not in (folder / name).read_text() for name in ("index.html", "style.css"))
    assert (site["onnxruntime_web"] is None) != (folder / "ort" / "ort-wasm-simd-threaded.wasm").is_file()


def test_the_recording_is_native_play_frame_by_frame(folder: Path) -> None:
    import triune

    header, found = decode((folder / "episode.bin.gz").read_bytes(), web.EPISODE)
    assert header["steps"] == STEPS and header["protocol"]["name"] == "sticky" and header["recorded"]["seed"] == 7
    for t, step in zip(range(STEPS), play(triune.load("breakout"), seed=7), strict=False):
        assert np.array_equal(found["palette"][found["frames"][t]], step.frame)
        assert np.array_equal(found["scene"][t], step.scene.vector)
        assert found["action"][t] == step.decision.action and found["proposed"][t] == step.decision.proposed
        assert header["reasons"][found["reason"][t]] == step.decision.reason
        named = tuple(rule for rule, on in zip(header["rules"], found["interventions"][t], strict=True) if on)
        assert named == step.decision.overruled_by and bool(found["fault"][t]) == bool(step.decision.fault)


def test_logic_cases_are_answers_that_the_model_gives_too(folder: Path) -> None:
    """What the page does in the browser, here with native ONNX Runtime."""
    import onnxruntime

    header, cases = decode((folder / "logic-small.bin.gz").read_bytes(), web.CASES)
    session = onnxruntime.InferenceSession((folder / "logic-small.onnx").read_bytes())
    assert header["steps"] == STEPS and cases["memory"].shape == (STEPS + 1, 2)
    assert 0 < cases["fault"].sum() < STEPS and {field[0] for field in header["fields"]} == {"tick", "x"}
    for t in range(STEPS):
        feeds = {"scene": cases["scene"][t], "memory": cases["memory"][t]}
        answer = dict(zip([o.name for o in session.get_outputs()], session.run(None, feeds), strict=True))
        assert int(answer["action"][0]) == cases["action"][t] and int(answer["reason"][0]) == cases["reason"][t]
        assert bool(answer["fault"][0]) == bool(cases["fault"][t])
        assert answer["next_memory"].tobytes() == cases["memory"][t + 1].tobytes()


def test_what_cannot_be_done_is_said_before_anything_is_played(tmp_path: Path) -> None:
    for words, said in (
        (("breakuot",), "did you mean 'breakout'"), (("breakout", "--protocol", "stiky"), "sticky"),
        (("breakout", "--policy", "nowhere.py"), "no policy at nowhere.py"), (("breakout", "--seed", "-3"), "seeds"),
    ):  # fmt: skip
        done = run_triune("web", *words, cwd=tmp_path)
        assert done.returncode == 2 and said in done.stderr, done.stderr
    assert not list(tmp_path.iterdir())


def test_the_runtime_is_copied_where_npm_has_put_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "RUNTIME", tmp_path / "module")
    (tmp_path / "site").mkdir()
    assert web.copy_runtime(tmp_path / "site") is None and not (tmp_path / "site" / "ort").exists()
    (tmp_path / "module" / "dist").mkdir(parents=True)
    for name in web.RUNTIME_FILES:
        (tmp_path / "module" / name).write_text('{"version": "9.8.7"}')
    assert web.copy_runtime(tmp_path / "site") == "9.8.7"
    assert (tmp_path / "site" / "ort" / "ort.wasm.bundle.min.mjs").is_file()


def test_the_pinned_version_is_locked() -> None:
    pinned = json.loads((web.PAGE / "package.json").read_text())["dependencies"]["onnxruntime-web"]
    locked = json.loads((web.PAGE / "package-lock.json").read_text())["packages"]
    assert locked["node_modules/onnxruntime-web"]["version"] == pinned and pinned[0].isdigit()
    assert all("resolved" not in entry for entry in locked.values()), "names of package hosts are not kept"


def test_an_installed_package_says_what_the_page_needs_before_any_extra(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import sys

    import triune

    for missing in ("onnx", "triune.deploy.export"):
        monkeypatch.setitem(sys.modules, missing, None)
    monkeypatch.setattr(web, "PAGE", tmp_path)
    with pytest.raises(TriuneError, match="source checkout"):
        web.write_site(triune.load("cartpole"), tmp_path / "out")
    assert not (tmp_path / "out").exists()
