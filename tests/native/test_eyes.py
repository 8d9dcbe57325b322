"""The native detector: what changed is enough, everything is the same everywhere, and nothing wrong gets in."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest
from cli_kit import inside
from eyes_kit import random_plan, stream

import native
from native.eyes import Eyes, written
from perception import native_detector
from perception.detector import OnnxDetector
from perception.errors import PerceptionError
from perception.native_detector import NativeDetector, largest_difference, open_detector
from perception.plan import Unknown, read_plan

ROOT = Path(__file__).resolve().parent.parent.parent
TASKS = ("breakout", "pong", "cartpole", "pendulum")
LEVELS = 3
pytestmark = pytest.mark.skipif(not native.available(), reason=f"the native engine: {native.why_not()}")


def weights(task: str) -> bytes:
    return (ROOT / "zoo" / task / "perception.onnx").read_bytes()


@pytest.fixture
def level() -> object:
    """Choose an instruction set; the widest comes back afterwards."""
    yield native.engine.level
    native.engine.level(LEVELS)


# ----------------------------------------------------------------------------------------------------
# One answer for a frame: whatever came before, on every instruction set.


def seen(seed: int, length: int, most: int, level: object) -> np.ndarray:
    """What one network sees of a stream, held against the full look at every frame."""
    level(most)
    plan = random_plan(seed)
    follows, full, made = Eyes(plan), Eyes(plan), []
    for frame in stream(plan.shape, seed, length):
        made.append(follows.look(frame))
        again = full.look(frame, anew=True)
        assert made[-1].tobytes() == again.tobytes(), (seed, len(made))
    return np.array(made)


@pytest.mark.parametrize("seed", range(24))
def test_what_changed_is_enough(seed: int, level: object) -> None:
    made = [seen(seed, 16, most, level) for most in range(LEVELS)]
    assert made[0].tobytes() == made[1].tobytes() == made[2].tobytes()
    assert np.isfinite(made[0]).all()
    assert seed % 8 or len(np.unique(made[0], axis=0)) > 4  # it does look


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 400))
def test_what_changed_is_enough_for_long(seed: int, level: object) -> None:
    seen(seed, 200, LEVELS, level)


def test_what_does_not_change_costs_nothing() -> None:
    plan = random_plan(3)
    eyes, frames = Eyes(plan), list(stream(plan.shape, 3, 2))
    eyes.look(frames[0])
    assert eyes.share() == 1
    eyes.look(frames[0])
    assert eyes.share() == 0
    changed = frames[0].copy()
    changed[plan.view[0] + 9, plan.view[1] + 9] ^= 255
    eyes.look(changed)
    assert 0 < eyes.share() < 0.5


def test_window_is_the_maximum_of_the_last_frames() -> None:
    for seed in range(4):
        plan = random_plan(seed)
        through, alone = Eyes(plan), Eyes(plan)
        for _ in range(2):
            through.reset()
            frames = list(stream(plan.shape, seed, 6))
            for i, frame in enumerate(frames):
                most = np.maximum.reduce(frames[max(0, i + 1 - plan.window) : i + 1])
                assert through.see(frame).tobytes() == alone.look(most).tobytes()


# ----------------------------------------------------------------------------------------------------
# The same as ONNX Runtime.


@pytest.mark.parametrize("task", TASKS)
def test_the_zoo_is_seen_as_by_its_reference(task: str) -> None:
    detector = open_detector(weights(task))
    assert isinstance(detector, NativeDetector), detector.engine
    frames = list(stream(detector.shape, 1, 8))
    for frame in [*frames, frames[0] // 2]:
        assert not largest_difference(detector.schema, detector.see(frame), detector.reference.look(frame))[0]


def test_frames_that_are_none_are_refused_alike() -> None:
    detector = open_detector(weights("pong"))
    for bad in (None, np.zeros((210, 160), np.uint8), np.zeros((210, 160, 3), np.float32), [1]):
        told = []
        for one in (detector, detector.reference):
            with pytest.raises(PerceptionError) as caught:
                one.see(bad)
            told.append(str(caught.value))
        assert told[0] == told[1]
    turned = np.zeros((160, 210, 3), np.uint8).transpose(1, 0, 2)
    assert detector.see(turned).tobytes() == detector.see(np.zeros((210, 160, 3), np.uint8)).tobytes()


def test_verify_names_frame_and_value(monkeypatch: pytest.MonkeyPatch) -> None:
    detector = open_detector(weights("pong"))
    detector.verify, frame = 2, next(stream(detector.shape, 1, 1))
    detector.see(frame)
    wanted = detector.reference.look(frame)
    wanted[1] += 1
    monkeypatch.setattr(detector.reference, "look", lambda frame: wanted)
    detector.see(frame)  # the second is not compared
    with pytest.raises(PerceptionError, match=r"frame 2: the native engine sees ball\.x = .*, ONNX Runtime"):
        detector.see(frame)
    wanted[7] = 0.50001  # seen or not is rounding there
    detector.see(frame)
    detector.see(frame)


def test_play_is_verified_by_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("play", "cartpole", "--verify", "2", "--steps", "6")
    good = inside(*words, cwd=tmp_path)
    assert good.returncode == 0, good.stderr
    look = Eyes.look
    monkeypatch.setattr(Eyes, "look", lambda eyes, frame, anew=False: look(eyes, frame, anew) + bool(frame.any()))
    bad = inside(*words, cwd=tmp_path)
    assert bad.returncode == 1 and "frame 0: the native engine sees" in bad.stderr
    monkeypatch.setenv(native.CHOICE, "python")
    nothing = inside(*words, cwd=tmp_path)
    assert nothing.returncode == 2 and "--verify has nothing to compare" in nothing.stderr


def test_difference_of_scenes() -> None:
    schema = OnnxDetector.parse(weights("breakout")).schema
    a = schema.empty()
    b = a.copy()
    b[3] = 5e-5
    assert not largest_difference(schema, a, b)[0]
    b[20] = np.nan
    assert largest_difference(schema, a, b)[0] == schema.names[20]
    a[20] = np.nan
    assert not largest_difference(schema, a, b)[0]
    a[3], b[3] = 1e6, 1e6 + 0.5
    assert not largest_difference(schema, a, b)[0]


# ----------------------------------------------------------------------------------------------------
# What is not known, turned off or damaged.


def test_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(native.CHOICE, "python")
    detector = open_detector(weights("pong"))
    assert isinstance(detector, OnnxDetector) and "TRIUNE_ENGINE=python" in detector.engine
    assert native.described().startswith("Python")
    monkeypatch.setenv(native.CHOICE, "rust")
    with pytest.raises(ValueError, match="TRIUNE_ENGINE is native or python, got 'rust'"):
        native.available()


def test_a_network_that_is_another_plays_with_onnx_runtime() -> None:
    onnx = pytest.importorskip("onnx")
    data = weights("pong")

    def changed(change: object) -> bytes:
        model = onnx.load_from_string(data)
        change(model.graph)
        return model.SerializeToString()

    def other_floor(graph: object) -> None:
        node = next(n for n in graph.node if n.op_type == "LayerNormalization")
        next(a for a in node.attribute if a.name == "epsilon").f = 61.0

    def other_clip(graph: object) -> None:
        node = next(n for n in graph.node if n.op_type == "Clip")
        constant = next(c for c in graph.initializer if c.name == node.input[2])
        constant.raw_data = np.float32([0.5]).tobytes()

    def twice(graph: object) -> None:
        node = next(n for n in graph.node if n.op_type == "Sigmoid")
        extra = onnx.helper.make_node("Sigmoid", [node.output[0]], ["again"])
        graph.node.insert(list(graph.node).index(node) + 1, extra)

    for change, why in ((other_clip, "constant"), (twice, "Sigmoid, not")):
        with pytest.raises(Unknown, match=why):
            reference = OnnxDetector.parse(changed(change))
            read_plan(changed(change), reference.schema, reference.shape[:2])
        detector = open_detector(changed(change))
        assert isinstance(detector, OnnxDetector) and "does not know this network" in detector.engine
    detector = open_detector(changed(other_floor))  # is read, not assumed
    frame = next(stream(detector.shape, 5, 1))
    assert isinstance(detector, NativeDetector)
    assert not largest_difference(detector.schema, detector.look(frame), detector.reference.look(frame))[0]
    assert largest_difference(detector.schema, detector.look(frame), open_detector(data).look(frame))[0]


def test_a_black_frame_tells_a_wrong_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrong(Eyes):
        def look(self, frame: np.ndarray, anew: bool = False) -> np.ndarray:
            return super().look(frame, anew) + 1

    monkeypatch.setattr(native_detector, "Eyes", Wrong)
    detector = open_detector(weights("pong"))
    assert isinstance(detector, OnnxDetector) and "in a black frame" in detector.engine


def damaged(seed: int, rounds: int) -> int:
    """Plans with wrong numbers are refused, or look within their memory; how many looked."""
    rng, looked = np.random.default_rng(seed), 0
    plan = random_plan(seed)
    numbers, floats = written(plan)
    for _ in range(rounds):
        wrong = numbers.copy()
        for _ in range(rng.integers(1, 4)):
            at = rng.integers(len(wrong))
            wrong[at] = rng.choice(
                [0, 1, -1, 2**31 - 1, 4096, int(wrong[at]) + 1 & 0xFFFF, int(wrong[at]) - 1, rng.integers(0, 99)]
            )
        wrong = wrong[: len(wrong) - rng.integers(0, 2)]
        try:
            eyes = native.engine.eyes_new(wrong, floats[: len(floats) - 16 * rng.integers(0, 2)])
        except ValueError as error:
            assert "the plan of a network is refused" in str(error)
            continue
        scene = np.empty(wrong[3], np.float32)
        for frame in stream((wrong[1], wrong[2]), seed, 3):
            native.engine.eyes_see(eyes, frame, scene, 0)
        looked += 1
    return looked


def test_damaged_plans() -> None:
    assert sum(damaged(seed, 60) for seed in range(8)) > 0


def test_what_does_not_fit_is_refused() -> None:
    plan = random_plan(1)
    eyes = native.engine.eyes_new(*written(plan))
    frame, scene = np.zeros((*plan.shape, 3), np.uint8), np.zeros(plan.size, np.float32)
    for args in ((frame[1:], scene), (frame, scene[1:]), (frame, np.zeros(plan.size))):
        with pytest.raises(ValueError, match="this network reads"):
            native.engine.eyes_see(eyes, *args, 0)
    with pytest.raises((BufferError, ValueError)):
        native.engine.eyes_see(eyes, frame, bytes(4 * plan.size), 0)
    with pytest.raises((TypeError, ValueError)):
        native.engine.eyes_see(None, frame, scene, 0)
    with pytest.raises(TypeError):
        native.engine.eyes_see(eyes)


SANITIZED = """
import sys; sys.path[:0] = [{root!r}, {root!r} + "/tests/kits", {root!r} + "/tests/native"]
import importlib.util
spec = importlib.util.spec_from_file_location("native._engine", {built!r})
made = sys.modules["native._engine"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(made)
import test_eyes
assert test_eyes.native.engine.__file__ == {built!r}
for seed in range(40):
    for most in range(3):
        test_eyes.seen(seed, 12, most, test_eyes.native.engine.level)
test_eyes.test_window_is_the_maximum_of_the_last_frames()
print("looked", sum(test_eyes.damaged(seed, 300) for seed in range(40)))
"""


@pytest.mark.slow
def test_memory_is_kept_under_sanitizers(tmp_path: Path) -> None:
    compiler = os.environ.get("CC", "gcc")
    asan = subprocess.run([compiler, "-print-file-name=libasan.so"], capture_output=True, text=True).stdout.strip()
    if not Path(asan).is_file():
        pytest.skip(f"{compiler} has no address sanitizer")
    built = tmp_path / "_engine.so"
    flags = ["-std=c11", "-O1", "-g", "-ffp-contract=off", "-Wno-psabi", "-fPIC", "-shared", "-fno-sanitize-recover"]
    sources = sorted(map(str, (ROOT / "native").glob("*.c")))
    include = f"-I{sysconfig.get_path('include')}"
    command = [compiler, *flags, "-fsanitize=address,undefined", include, *sources, "-o", str(built), "-lm"]
    subprocess.run(command, check=True)
    environment = {**os.environ, "LD_PRELOAD": asan, "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1"}
    code = SANITIZED.format(root=str(ROOT), built=str(built))
    ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert ran.returncode == 0 and "looked" in ran.stdout, ran.stdout + ran.stderr[-4000:]
