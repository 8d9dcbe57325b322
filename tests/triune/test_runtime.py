"""Bundles at work: what is refused, what decides, and that numpy and onnxruntime are enough."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from cli_kit import ROOT, copy_task, inside, triune
from onnx import TensorProto, helper

from triune import runtime
from triune import runtime as bundle
from triune.errors import TriuneError
from triune.play import play
from triune.runtime import Bundle

needs_detector = pytest.mark.skipif(
    not (ROOT / "zoo/pong/perception.onnx").is_file(), reason="pong has no detector yet"
)
BLACK = np.zeros((210, 160, 3), np.uint8)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of Pong, made by the command."""
    path = tmp_path_factory.mktemp("bundle") / "pong.onnx"
    result = inside("export", "pong", str(path))
    assert result.returncode == 0, result.stderr
    return path


ONLY = """
import sys
ALLOWED = {"numpy", "onnxruntime", "envs", "perception", "logic", "native", "triune"}
class Wall:
    def find_spec(self, name, path=None, target=None):
        top = name.split(".")[0]
        if top not in ALLOWED and top not in sys.stdlib_module_names and not top.startswith("_"):
            raise ImportError(f"blocked: {name}")
sys.meta_path.insert(0, Wall())
try:
    import cv2
except ImportError as error:
    assert "blocked" in str(error)
else:
    raise SystemExit("the wall has a hole")
import numpy as np
from triune.runtime import Bundle
bot = Bundle.load(sys.argv[1])
state = bot.start()
rng = np.random.default_rng(0)
for _ in range(30):
    action, state, why = bot.step(rng.integers(0, 256, (210, 160, 3), dtype=np.uint8), state)
    assert 0 <= action < len(bot.actions) and why.action == bot.actions[action] and why.reason
tops = {"cv2", "gymnasium", "ale_py", "torch", "onnx"} & {m.split(".")[0] for m in sys.modules}
print("fine", *sorted(tops), *sorted(m for m in sys.modules if m.startswith("logic.")))
"""


@needs_detector
def test_numpy_and_onnxruntime_are_enough_and_nothing_compiles(exported: Path) -> None:
    result = subprocess.run([sys.executable, "-c", ONLY, str(exported)], capture_output=True, text=True, cwd=ROOT)
    assert result.stdout.strip() == "fine", result.stderr + result.stdout


def test_words_are_those_of_the_controller() -> None:
    from logic.runtime import controller

    assert (runtime.DEADLINE, runtime.FAULT) == (controller.DEADLINE, controller.FAULT)


@needs_detector
def test_states_are_values(exported: Path) -> None:
    import triune as front

    bot = Bundle.load(exported, clock=lambda: 0.0)
    state, answers, kept = bot.start(), [], []
    other = bot.start()
    for step in play(front.load("pong"), seed=5):
        kept.append((step.frame.copy(), state))
        action, state, why = bot.step(step.frame, state)
        answers.append((action, why.reason, state.memory.tobytes()))
        _, other, _ = bot.step(BLACK, other)  # another episode beside it does not disturb
        if step.index == 40:
            break
    assert len({memory for *_, memory in answers}) > 30
    for (frame, old), answer in zip(kept, answers, strict=True):
        action, new, why = bot.step(frame, old)
        assert (action, why.reason, new.memory.tobytes()) == answer
    with pytest.raises(ValueError):
        state.memory[0] = 1.0


@needs_detector
def test_wrong_frames_are_refused_in_words(exported: Path) -> None:
    bot = Bundle.load(exported)
    for frame in (np.zeros((84, 84, 3), np.uint8), BLACK.astype(np.float32), BLACK[..., 0], BLACK.tolist()):
        with pytest.raises(TriuneError, match=r"uint8\[210, 160, 3\]"):
            bot.step(frame, bot.start())


@needs_detector
def test_a_missed_deadline_means_the_fallback(exported: Path) -> None:
    ticks = iter(range(1000))
    late = Bundle.load(exported, deadline_ms=999.0, clock=lambda: float(next(ticks)))
    fine = Bundle.load(exported, clock=lambda: 0.0)
    action, state, why = late.step(BLACK, late.start())
    _, expected, _ = fine.step(BLACK, fine.start())
    assert why.action == "NOOP" == late.actions[action] and why.overruled_by[-1] == runtime.DEADLINE
    np.testing.assert_array_equal(state.memory, expected.memory)  # it was late, not lost
    ticks = iter(range(1000))
    in_time = Bundle.load(exported, deadline_ms=1000.0, clock=lambda: float(next(ticks)))
    assert runtime.DEADLINE not in in_time.step(BLACK, in_time.start())[2].overruled_by


def hollow(
    tmp_path: Path, rules: int = 1, memory: int = 2, action: Any = (0,), reason: Any = (0,), seen: Any = (0.0,)
) -> Path:
    """A bundle whose graph looks up the top left pixel in tables of one row: every level but 0 is out of range."""
    const = {"one": np.zeros(1, np.int64), "no": np.zeros(rules, bool), "not": np.zeros(rules + 1, bool)}
    made = [
        helper.make_node("Slice", ["frame", "start3", "end3"], ["corner"]),
        helper.make_node("Cast", ["corner"], ["level"], to=TensorProto.INT64),
        helper.make_node("Reshape", ["level", "end"], ["at"]),
        helper.make_node("Gather", ["table", "at"], ["action"]),
        helper.make_node("Gather", ["words", "at"], ["reason"]),
        helper.make_node("Gather", ["levels", "at"], ["seen"]),
        helper.make_node("Add", ["nothing", "seen"], ["scene"]),
    ]
    pairs = {"proposed": "one", "interventions": "no", "faults": "not", "next_memory": "memory"}
    made += [helper.make_node("Identity", [a], [b]) for b, a in pairs.items()]
    tensors = {
        "start3": np.zeros(3, np.int64), "end3": np.ones(3, np.int64), "end": np.ones(1, np.int64),
        "table": np.array(action, np.int64), "words": np.array(reason, np.int64),
        "levels": np.array(seen, np.float32), "nothing": np.zeros(8, np.float32), **const,
    }  # fmt: skip
    kinds = {
        f"tensor({name})": getattr(TensorProto, name.upper()) for name in ("uint8", "double", "int64", "bool", "float")
    }
    shapes = {"frame": [2, 2, 3], "memory": [memory], "next_memory": [memory], "scene": [8], "interventions": [rules],
              "faults": [rules + 1]}  # fmt: skip
    ports = [helper.make_tensor_value_info(n, kinds[t], shapes.get(n, [1])) for n, t in runtime._TYPES.items()]
    held = [onnx.numpy_helper.from_array(v, k) for k, v in tensors.items()]
    graph = helper.make_graph(made, "g", ports[:2], ports[2:], held)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    schema = {"crop": [0, 0, 2, 2], "things": {"ball": {}}}
    about = {
        "task": "t", "title": "T", "actions": ["STAY", "GO"], "fallback": "STAY", "reasons": ["r"], "rules": ["lost"],
        "scene": {"schema": schema}, "memory": {"size": 2, "start": [[1, "-Infinity"]]}, "frame": [2, 2, 3],
        "protocol": {"name": "p", "frameskip": 1, "sticky": 0, "noop_max": 0}, "deadline_ms": 1e9, "versions": {},
    }  # fmt: skip
    text = (ROOT / "zoo/pong/system.toml").read_text()
    path = tmp_path / "hollow.onnx"
    path.write_bytes(bundle.pack(model.SerializeToString(), {"system.toml": text, "policy.py": ""}, about))
    return path


def test_a_graph_that_gives_up_is_a_fault(tmp_path: Path) -> None:
    bot = Bundle.load(hollow(tmp_path))
    state = bot.start()
    assert state.memory.tolist() == [0.0, -np.inf]
    action, after, why = bot.step(np.full((2, 2, 3), 9, np.uint8), state)
    assert action == 0 and after is state and why.reason == "fault" and "graph failed" in why.fault
    assert not bot.step(np.zeros((2, 2, 3), np.uint8), state)[2].fault


def test_a_graph_and_a_manifest_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    for wrong in ({"rules": 2}, {"memory": 3}):
        with pytest.raises(TriuneError, match="inputs and outputs"):
            Bundle.load(hollow(tmp_path, **wrong))


def test_a_manifest_that_makes_no_sense_is_refused(tmp_path: Path) -> None:
    data = hollow(tmp_path).read_bytes()
    good = bundle.read(data, "x")
    model = data[: good.manifest["graph_bytes"]]
    for key, value in (
        ("scene", {}), ("scene", {"schema": {"crop": 1}}), ("protocol", 3), ("fallback", "FLY"), ("actions", 7),
        ("frame", None), ("deadline_ms", "soon"), ("reasons", None), ("deadline_ms", 0), ("deadline_ms", -1.5),
        ("deadline_ms", True), ("deadline_ms", [1]), ("reasons", "abc"), ("reasons", [1]), ("reasons", ["x" * 2000]),
        ("reasons", {"r": 1}), ("rules", [None]), ("task", 5), ("task", "../../esc"), ("task", "a/b"), ("task", ""),
        ("title", ["T"]),
        ("actions", [f"A{i}" for i in range(300)]),
        ("actions", ["GÖ", "STAY"]), ("frame", [2, 2, 4]), ("frame", [2.0, 2, 3]), ("frame", [10**9, 2, 3]),
        ("frame", [-2, -2, 3]), ("frame", "223"), ("protocol", {**good.manifest["protocol"], "frameskip": 10**9}),
        ("protocol", {**good.manifest["protocol"], "sticky": "x"}), ("protocol", {"name": "p"}), ("scene", "ball"),
        ("scene", {"schema": {"crop": [0, 0, 2, 2], "things": {"ball": {"count": 10**9}}}}), ("scene", {"schema": []}),
    ):  # fmt: skip
        (tmp_path / "odd.onnx").write_bytes(bundle.pack(model, good.parts, {**good.manifest, key: value}))
        with pytest.raises(TriuneError, match="makes no sense") as said:
            Bundle.load(tmp_path / "odd.onnx")
        assert "\n" not in str(said.value) and len(str(said.value)) < 500
    for text in ("name = 3", "", "format = " + "9" * 5000, good.parts["system.toml"].replace('"pong"', '"../../esc"')):
        parts = {**good.parts, "system.toml": text}
        (tmp_path / "odd.onnx").write_bytes(bundle.pack(model, parts, good.manifest))
        with pytest.raises(TriuneError, match="system.toml, line"):
            Bundle.load(tmp_path / "odd.onnx")
    huge = bundle.pack(model, good.parts, {**good.manifest, "deadline_ms": 10**400})
    (tmp_path / "odd.onnx").write_bytes(huge)
    with pytest.raises(TriuneError, match="no JSON object"):
        Bundle.load(tmp_path / "odd.onnx")


@pytest.mark.parametrize(
    "wrong, words",
    [
        ({"action": (0, 2)}, "action 2"), ({"action": (0, -1)}, "action -1"), ({"action": (1, 2**62)}, "action 4"),
        ({"reason": (0, 1)}, "reason 1"), ({"reason": (0, -2)}, "reason -2"), ({"reason": (0, 2**40)}, "reason 1"),
        ({"seen": (0.0, np.nan)}, "no numbers"), ({"seen": (0.0, -np.inf)}, "no numbers"),
    ],
)  # fmt: skip
def test_answers_that_do_not_exist_are_faults_and_refused_at_the_start(
    wrong: dict[str, Any], words: str, tmp_path: Path
) -> None:
    sound: dict[str, Any] = {"action": (1, 1), "reason": (0, 0), "seen": (0.0, 0.0)} | wrong
    bot = Bundle.load(hollow(tmp_path, **sound))
    bright = np.ones((2, 2, 3), np.uint8)
    state = bot.start()
    action, after, why = bot.step(bright, state)
    assert action == bot.fallback == 0 and after is state and why.reason == "fault" and words in why.fault
    late = {name: values[::-1] for name, values in sound.items()}
    with pytest.raises(TriuneError, match=f"cannot be run: .*{words}"):
        Bundle.load(hollow(tmp_path, **late))


@needs_detector
def test_tampered_truncated_and_strange_bundles_are_refused(exported: Path, tmp_path: Path) -> None:
    data = exported.read_bytes()
    at = data.rindex(b"def act(scene, memory)")
    (tmp_path / "bad.onnx").write_bytes(data[:at] + b"def Act" + data[at + 7 :])
    (tmp_path / "cut.onnx").write_bytes(data[: len(data) // 3])
    (tmp_path / "eyes.onnx").write_bytes((ROOT / "zoo/pong/perception.onnx").read_bytes())
    (tmp_path / "text.onnx").write_text("hello")
    for name, words in (
        ("bad", "policy.py does not match"), ("cut", "damaged"), ("eyes", "no bundle"), ("text", "damaged"),
        ("gone", "no such bundle"),
    ):  # fmt: skip
        result = inside("run", f"{name}.onnx", "--steps", "3", "--json", cwd=tmp_path)
        assert result.returncode == 1 and words in json.loads(result.stdout)["error"]


@needs_detector
def test_a_strangers_policy_is_compiled_and_needs_no_trust(tmp_path: Path) -> None:
    copy_task(tmp_path / "mine", "cartpole")
    policy = tmp_path / "mine" / "policy.py"
    text = policy.read_text()
    policy.write_text(text + "\n# mine\n")
    assert inside("export", "mine", "mine.onnx", cwd=tmp_path).returncode == 0
    assert inside("run", "mine.onnx", "--steps", "3", cwd=tmp_path).returncode == 0
    before = (tmp_path / "mine.onnx").read_bytes()
    policy.write_text(text + "\nimport os\n")
    refused = inside("export", "mine", "mine.onnx", cwd=tmp_path)
    assert refused.returncode == 1 and "import" in refused.stderr and "Traceback" not in refused.stderr
    assert (tmp_path / "mine.onnx").read_bytes() == before and len(list(tmp_path.iterdir())) == 2


@needs_detector
def test_export_without_onnx_names_the_fix(tmp_path: Path) -> None:
    (tmp_path / "onnx.py").write_text("raise ImportError('not here', name='onnx')\n")
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    result = triune("export", "pong", "pong.onnx", cwd=tmp_path, PYTHONPATH=path)
    assert result.returncode == 1 and 'pip install "triune[export]"' in result.stderr
    assert not (tmp_path / "pong.onnx").exists()


@needs_detector
def test_a_graph_that_decides_otherwise_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import triune as front
    from triune.deploy import export as fuse
    from triune.deploy.export import export

    monkeypatch.setattr(fuse, "TRACKED", ("y", "x", "w", "h", "vx", "vy", "sure"))
    with pytest.raises(TriuneError, match="differs from play at step .* the scene by"):
        export(front.load("pong"), tmp_path / "pong.onnx")
    assert not list(tmp_path.iterdir())


@needs_detector
@pytest.mark.parametrize(("odd", "written"), [({60}, True), ({30, 90}, False)])
def test_one_tie_is_told_from_a_wrong_graph(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, odd: set[int], written: bool
) -> None:
    import triune as front
    from triune.deploy import export as export_check
    from triune.deploy.export import export

    calls = iter(range(1, 1000))
    monkeypatch.setattr(export_check, "MORE", 120)
    monkeypatch.setattr(export_check, "differences", lambda *_: "action 1 instead of 2" if next(calls) in odd else "")
    if written:
        assert export(front.load("pong"), tmp_path / "pong.onnx")["checked"] == {"game": 120, "made up": 20, "ties": 1}
    else:
        with pytest.raises(TriuneError, match="differs from play at step 29: action 1 instead of 2"):
            export(front.load("pong"), tmp_path / "pong.onnx")
        assert not list(tmp_path.iterdir())


@needs_detector
def test_run_on_the_game_logs_and_shadow_sends_the_fallback(exported: Path, tmp_path: Path) -> None:
    words = ("run", str(exported), "--steps", "120", "--json")
    played = json.loads(inside(*words, "--log", "log.jsonl", cwd=tmp_path).stdout)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert played["steps"] == len(lines) == 120 and sum(played["reasons"].values()) == 120
    assert {line["action"] for line in lines} - {"NOOP"}
    shadow = json.loads(inside(*words, "--shadow", "--log", "shadow.jsonl", cwd=tmp_path).stdout)
    # nobody carries the decisions out, so the same episode ends otherwise
    assert shadow["reasons"] != played["reasons"]
    assert shadow["shadow"] and shadow["steps"] == 120
    assert {json.loads(line)["proposed"] for line in (tmp_path / "shadow.jsonl").read_text().splitlines()} - {"NOOP"}


def write_video(path: Path, frames: list[np.ndarray], code: str = "MJPG") -> None:
    """RGB frames as a video file."""
    import cv2

    height, width, _ = frames[0].shape
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*code), 15, (width, height))
    for frame in frames:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()


@needs_detector
def test_run_on_a_video_of_the_game(exported: Path, tmp_path: Path) -> None:
    import cv2

    import triune as front

    frames = []
    for step in play(front.load("pong"), seed=2):
        if step.index >= 40:  # by now there is a ball
            frames.append(step.frame.copy())
        if len(frames) == 31:
            break
    write_video(tmp_path / "native.avi", frames)
    write_video(tmp_path / "native.mp4", frames, "mp4v")
    write_video(tmp_path / "large.avi", [cv2.resize(f, (480, 640)) for f in frames[:9]])
    for name in ("native.avi", "native.mp4"):
        good = inside("run", str(exported), "--source", name, "--log", "log.jsonl", "--json", cwd=tmp_path)
        seen = json.loads(good.stdout)
        assert seen["steps"] == 31 and len(seen["reasons"]) > 1 and not seen["faults"]
    refused = inside("run", str(exported), "--source", "large.avi", cwd=tmp_path)
    assert refused.returncode == 1 and "480x640" in refused.stderr and "--fit letterbox" in refused.stderr
    for how in ("letterbox", "stretch"):
        fitted = inside("run", str(exported), "--source", "large.avi", "--fit", how, "--json", cwd=tmp_path)
        assert json.loads(fitted.stdout)["steps"] == 9
    assert inside("run", str(exported), "--source", "large.avi", "--fit", "crop", cwd=tmp_path).returncode == 2


def test_how_frames_are_fitted() -> None:
    from triune.play.film import fitted

    wide = np.full((100, 400, 3), 200, np.uint8)
    boxed = fitted(wide, (210, 160, 3), "letterbox", "x")
    assert boxed.shape == (210, 160, 3) and (boxed[85:125] == 200).all()
    assert not boxed[:85].any() and not boxed[125:].any()  # 160x40 in the middle
    assert (fitted(wide, (210, 160, 3), "stretch", "x") == 200).all()
    assert fitted(BLACK, (210, 160, 3), None, "x") is BLACK


@needs_detector
@pytest.mark.parametrize(
    ("source", "words"),
    [("gone.mp4", "no such video"), ("97", "camera 97 cannot be opened"), ("text.mp4", "cannot be opened")],
)
def test_sources_that_give_no_frames(exported: Path, tmp_path: Path, source: str, words: str) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    bad = inside("run", str(exported), "--source", source, cwd=tmp_path)
    assert bad.returncode == 1 and words in bad.stderr and "Traceback" not in bad.stderr
