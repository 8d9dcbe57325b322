"""One graph against the parts it was made of: frames, scenes, faults, memory, protocols, other languages."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from cli_kit import ROOT
from fused_kit import FRAME, SCALAR, Pair, Runner, logic_of, scenes

import triune as front
from benchmarks.language import measure_bundle as measure
from envs.backends.atari_protocols import PROTOCOLS
from envs.remote import PixelEnv
from perception.detector import OnnxDetector
from perception.scene import SceneSchema
from triune.deploy.export import Reference, differences, export, fuse, memory_layout
from triune.play import play
from triune.runtime import Bundle, State
from triune.system import build_logic

TASKS = ("breakout", "pong")
needs_detector = pytest.mark.skipif(
    not all((ROOT / "zoo" / task / "perception.onnx").is_file() for task in TASKS), reason="a task has no detector yet"
)


@pytest.fixture(scope="module", params=TASKS)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A task and its bundle."""
    path = tmp_path_factory.mktemp("fused") / f"{request.param}.onnx"
    export(front.load(request.param), path)
    return request.param, path


def agreement(task: str, bot: Bundle, protocol: str, seed: int, steps: int) -> tuple[int, int, int, float]:
    """(steps, equal actions, equal reasons and rules, largest gap of a scene) over an episode of play. After another
    action the bundle goes on from play's memory: it would have been another game."""
    system = front.load(task)
    play, layout = Reference(system.logic(protocol), system.detector()), memory_layout(system.logic(protocol))
    state, n, actions, reasons, gap = bot.start(), 0, 0, 0, 0.0
    with PixelEnv(system.spec.env, system.protocol(protocol)) as env:
        frame = env.reset(seed)
        while n < steps and not env.done:
            action, state, why = bot.step(frame, state)
            vector, decision = play.step(frame)
            n, actions = n + 1, actions + (action == decision.action)
            wanted = decision.reason, decision.overruled_by, bool(decision.fault)
            reasons += (why.reason, why.overruled_by, bool(why.fault)) == wanted
            gap = max(gap, float(np.abs(why.scene.vector - vector).max()))
            if action != decision.action:
                state = State(layout.pack(play.memory()))
            frame = env.step(decision.action)
    return n, actions, reasons, gap


@needs_detector
def test_a_bundle_decides_as_play_does(exported: tuple[str, Path]) -> None:
    task, path = exported
    bot = Bundle.load(path, clock=lambda: 0.0)
    n, actions, reasons, gap = agreement(task, bot, "sticky", seed=3, steps=150)
    assert n == 150 and actions >= 0.999 * n and reasons >= 0.999 * n and gap <= 1e-3


@needs_detector
def test_the_file_is_one_graph_of_standard_operators(exported: tuple[str, Path]) -> None:
    _, path = exported
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert [i.name for i in model.graph.input] == ["frame", "memory"]
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 18)]
    assert path.stat().st_size <= 10 * 2**20
    assert not list(path.parent.glob(f"{path.name}*"))[1:]  # no sidecar


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_scalars_are_bit_equal_when_fed_the_same_scenes(protocol: str) -> None:
    pair = Pair(logic_of("breakout", protocol, SCALAR))
    seen = set()
    for i, sight in enumerate(scenes(pair.logic.schema, 400, seed=1)):
        wrong = pair.compare(sight)
        assert not wrong, f"step {i}: {wrong}"
        seen.add(pair.play.action)
    assert seen == {0, 1, 2, 3}


@pytest.mark.parametrize("task", TASKS)
def test_zoo_logic_on_scenes_nobody_played(task: str) -> None:
    pair = Pair(logic_of(task))
    wrong = [pair.compare(sight) for sight in scenes(pair.logic.schema, 250, seed=2)]
    assert wrong.count("") >= 249, [w for w in wrong if w][:3]


FAULTY = '''"""Divides by what may be zero."""

class Memory:
    count: int = 0
    last: float = 1.0

def act(scene, memory):
    memory.count += 1
    memory.last = 12.0 / (scene.ball.x - 80.0)
    return RIGHT, "fine"
'''
RULES = '''"""Rules of which one faults."""

class Memory:
    calls: int = 0

def never_left(scene, memory, action):
    """No left"""
    memory.calls += 1
    return NOOP if action == LEFT else action

def faulty(scene, memory, action):
    """Faults at 40"""
    memory.calls += 1000
    return RIGHT if 7 // (round(scene.ball.x) - 40) > 100 else action

def after(scene, memory, action):
    """Serve after a fault"""
    memory.calls += 1
    return FIRE if action == NOOP else action
'''


def ball_at(schema: SceneSchema, x: float) -> np.ndarray:
    vector = schema.empty()
    vector[schema.slot("ball")] = [1, x, 100, 2, 4, 0, 0, 1]
    vector[schema.slot("paddle")] = [1, 70, 189, 16, 4, 0, 0, 1]
    return vector


def test_faults_mean_fallback_and_old_memory() -> None:
    pair = Pair(logic_of("breakout", policy=FAULTY, safety=RULES))
    schema, rules = pair.logic.schema, pair.logic.rules
    assert rules == ("No left", "Faults at 40", "Serve after a fault", "perception lost")
    for x, proposed, action, faults, changed in (
        (50, 2, 2, [], []), (80, 0, 1, ["policy"], ["Serve after a fault"]),
        (40, 2, 1, ["Faults at 40"], ["Faults at 40", "Serve after a fault"]), (60, 2, 2, [], []),
    ):  # fmt: skip
        before = pair.fused.remembered()
        found, vector, decision = pair.step(ball_at(schema, x))
        after = pair.fused.remembered()
        assert (found["proposed"][0], found["action"][0]) == (proposed, action)
        assert [n for n, f in zip(("policy", *rules), found["faults"], strict=True) if f] == faults
        assert [n for n, f in zip(rules, found["interventions"], strict=True) if f] == changed
        assert found["reason"][0] == (-1 if "policy" in faults else 0)
        same = {n for n in after if n.startswith("policy.") and after[n] == before[n]}
        assert same == ({"policy.count", "policy.last"} if "policy" in faults else set())
        assert after["safety.calls"] - before["safety.calls"] == (2 if "Faults at 40" in faults else 1002)
        assert not differences(found, vector, decision, pair.logic) and pair.play.memory() == after


def test_perception_lost_comes_last() -> None:
    pair = Pair(logic_of("breakout", policy=FAULTY, safety=RULES))
    schema = pair.logic.schema
    sight = ball_at(schema, 50)
    sight[schema.slot("paddle")] = 0
    actions = []
    for _ in range(10):
        found, vector, decision = pair.step(sight)
        assert not differences(found, vector, decision, pair.logic)
        actions.append(int(found["action"][0]))
    assert actions == [2] * 7 + [0] * 3 and found["interventions"].tolist() == [False, False, False, True]


@needs_detector
def test_past_frames_live_in_memory_where_the_schema_has_a_window() -> None:
    system = front.load("pong")
    schema = SceneSchema.from_config({**system.schema.to_config(), "window": 3})
    logic = build_logic(system.spec, schema, system.texts, system.protocol("classic"))
    data = system.detector_path.read_bytes()
    detector = OnnxDetector.parse(data)
    detector.schema = schema
    native, fused = Reference(logic, detector), Runner(fuse(logic, data, FRAME))
    one = fused.memory
    assert one.size == fused.layout.size + 2 * 210 * 160 * 3
    shown = np.zeros(FRAME, np.uint8)  # as in play, one array that every step overwrites
    differ = 0
    for step in play(system, seed=1, protocol="classic"):
        shown[:] = step.frame
        found = fused.step(shown)
        vector, decision = native.step(shown)
        assert not differences(found, vector, decision, logic), step.index
        differ += bool((vector != step.scene.vector).any())
        if step.index == 40:
            break
    assert differ > 5  # the maximum over three frames shows another scene


@needs_detector
def test_measure(exported: tuple[str, Path]) -> None:
    found = measure(exported[1], [np.zeros(FRAME, np.uint8)] * 5)
    assert found["steps"] == 5 and 0 < found["ms_median"] <= found["ms_most"]


def recorded(task: str, path: Path, steps: int = 60) -> tuple[Path, list[str]]:
    """Frames of the game in a raw file, and what the bundle says to them."""
    bot, frames, said = Bundle.load(path, clock=lambda: 0.0), [], []
    state = bot.start()
    for step in play(front.load(task), seed=4):
        frames.append(step.frame.copy())
        action, state, why = bot.step(step.frame, state)
        said.append(f"{bot.actions[int(action)] if not why.overruled_by else why.action} {why.reason}")
        if step.index == steps:
            break
    raw = path.with_suffix(".raw")
    np.stack(frames).tofile(raw)
    return raw, said


@needs_detector
def test_example_in_python_without_triune(exported: tuple[str, Path]) -> None:
    task, path = exported
    raw, said = recorded(task, path)
    words = [sys.executable, str(ROOT / "examples/bundle_plain.py"), str(path), str(raw)]
    done = subprocess.run(words, capture_output=True, text=True, cwd=path.parent, env={"PATH": "/usr/bin"})
    assert done.stdout.splitlines() == said, done.stderr
    assert len(set(said)) > 2


@needs_detector
@pytest.mark.browser
def test_example_in_javascript(exported: tuple[str, Path], tmp_path: Path) -> None:
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("needs node and npm")
    task, path = exported
    raw, said = recorded(task, path)
    words = [
        "npm",
        "install",
        "--no-audit",
        "--no-fund",
        "--ignore-scripts",
        "--prefix",
        str(tmp_path),
        "onnxruntime-web",
    ]
    try:
        got = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    except subprocess.TimeoutExpired:
        pytest.skip("npm took more than five minutes")
    if got.returncode:
        pytest.skip(f"npm cannot install onnxruntime-web: {got.stderr.strip()[-200:]}")
    shutil.copy(ROOT / "examples/bundle_node.mjs", tmp_path)
    words = ["node", "bundle_node.mjs", str(path), str(raw)]
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    lines = done.stdout.splitlines()
    assert len(lines) == len(said), done.stderr
    assert sum(a == b for a, b in zip(lines, said, strict=True)) >= 0.999 * len(said)


@needs_detector
@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_agreement_over_ten_thousand_frames(task: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    export(front.load(task), tmp_path / "t.onnx")
    bot = Bundle.load(tmp_path / "t.onnx", clock=lambda: 0.0)
    found = [agreement(task, bot, "sticky", seed, 1000) for seed in range(10)]
    n, actions, reasons = (sum(f[i] for f in found) for i in range(3))
    gap = max(f[3] for f in found)
    with capsys.disabled():
        print(
            f"\n{task}: {n} frames of 10 episodes, actions {actions / n:.3%}, reasons {reasons / n:.3%}, gap {gap:.1g}"
        )
    assert actions >= 0.999 * n and reasons >= 0.999 * n and gap <= 1e-3


@needs_detector
@pytest.mark.slow
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("task", TASKS)
def test_every_protocol(task: str, protocol: str, tmp_path: Path) -> None:
    export(front.load(task), tmp_path / "t.onnx", protocol)
    n, actions, reasons, gap = agreement(task, Bundle.load(tmp_path / "t.onnx", clock=lambda: 0.0), protocol, 6, 400)
    assert n >= 250 and actions >= 0.999 * n and reasons >= 0.999 * n and gap <= 1e-3
