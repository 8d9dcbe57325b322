"""A task with controls leaves the house: as a bundle, as a page's files, as a replay."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cli_kit import ROOT
from cli_kit import inside as command
from controls_kit import swing
from fused_kit import Runner

import triune
from data_flywheel.episodes.recording import Recording
from envs.actions import Box
from perception.scene import SceneSchema
from triune import runtime
from triune.deploy import export as deploy
from triune.deploy import web
from triune.errors import TriuneError
from triune.play import play
from triune.report.drawing import LEAST, PANEL, Caption, Painter, scale_for
from triune.runtime import Bundle
from triune.system import System

pytest.importorskip("pygame", reason="Pendulum draws with pygame")
STEPS = 60


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> System:
    return triune.load(swing(tmp_path_factory.mktemp("task") / "swing"), isolate=False)


@pytest.fixture(scope="module")
def bundle(system: System, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundle") / "swing.onnx"
    deploy.export(system, path)
    return path


def test_a_bundle_sends_the_vectors_of_play(system: System, bundle: Path) -> None:
    bot = Bundle.load(bundle, clock=lambda: 0.0)  # never late, however busy the machine is
    state, overruled = bot.start(), set()
    for step in play(system, seed=0):
        action, state, why = bot.step(step.frame, state)
        decision = step.decision
        assert isinstance(action, np.ndarray) and action.dtype == np.float32 and action.shape == (1,)
        assert np.abs(action - decision.action).max() <= deploy.CONTROL_TOLERANCE * 4
        assert np.abs(why.wanted - decision.proposed).max() <= deploy.CONTROL_TOLERANCE * 4
        assert (why.reason, why.overruled_by, why.fault) == (decision.reason, decision.overruled_by, "")
        assert why.action == f"torque={action[0]:+.3g}"
        overruled.update(why.overruled_by)
        if step.index == STEPS:
            break
    assert overruled == {"Gentle", "control limits"}


def test_the_manifest_names_the_controls_with_their_bounds(system: System, bundle: Path) -> None:
    bot = Bundle.load(bundle)
    assert bot.manifest["actions"] == ["torque"] and bot.manifest["controls"] == {"torque": [-2.0, 2.0]}
    assert bot.manifest["fallback"] == [0.5] and bot.action_space == Box(("torque",), (-2.0,), (2.0,))
    assert bot.manifest["checked"]["game"] == deploy.GAME_STEPS and not bot.manifest["checked"]["ties"]
    units = dict(zip(bot.manifest["scene"]["names"], bot.manifest["scene"]["units"], strict=True))
    assert (units["pole.lean"], units["pole.seen"], units["rod.x"]) == ("rad", "0 or 1", "px")
    assert "controls" not in named_actions()


def named_actions() -> dict[str, object]:
    """The manifest keys of a bundle with named actions, without writing one."""
    pong = triune.load("pong")
    logic, rules = pong.logic(), pong.protocol()
    weights = pong.detector_path.read_bytes()
    fused = deploy.fuse(logic, None, (210, 160, 3))
    return deploy.about(pong.spec, pong.schema, logic, rules, deploy._memory_of(fused), weights)


def test_late_or_failed_steps_send_the_fallback_vector(bundle: Path) -> None:
    ticks = iter(range(1000))
    late = Bundle.load(bundle, deadline_ms=1.0, clock=lambda: float(next(ticks)))
    action, _, why = late.step(np.zeros(late.frame_shape, np.uint8), late.start())
    assert isinstance(action, np.ndarray) and action.tolist() == [0.5] and why.overruled_by[-1] == runtime.DEADLINE
    assert why.action == "torque=+0.5"
    with pytest.raises(ValueError):
        action[0] = 1.0  # it is the bundle's own


def test_bounds_of_other_names_or_values_are_refused(bundle: Path, tmp_path: Path) -> None:
    data = bundle.read_bytes()
    good = runtime.read(data, "x")
    model = data[: good.manifest["graph_bytes"]]
    wrong = ({"hip": [-2, 2]}, {"torque": [2, -2]}, {"torque": [-2, 2], "hip": [0, 1]}, 7, {"torque": [-0.1, 0.1]})
    for controls in wrong:  # the last: its own fallback would be illegal
        packed = runtime.pack(model, good.parts, {**good.manifest, "controls": controls})
        (tmp_path / "odd.onnx").write_bytes(packed)
        with pytest.raises(TriuneError, match="makes no sense"):
            Bundle.load(tmp_path / "odd.onnx")
    without = {key: value for key, value in good.manifest.items() if key != "controls"} | {"fallback": "torque"}
    (tmp_path / "odd.onnx").write_bytes(runtime.pack(model, good.parts, without))
    with pytest.raises(TriuneError, match="inputs and outputs"):
        Bundle.load(tmp_path / "odd.onnx")


def test_a_graph_that_is_off_by_more_than_rounding_is_not_written(
    system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decide = deploy.Reference.step

    def shifted(self: deploy.Reference, sight: np.ndarray, scene: np.ndarray | None = None) -> object:
        vector, decision = decide(self, sight, scene)
        return vector, decision._replace(action=decision.action + np.float32(by), proposed=decision.proposed)

    monkeypatch.setattr(deploy.Reference, "step", shifted)
    by = 1e-6
    assert deploy.export(system, tmp_path / "close.onnx")["checked"]["ties"] == 0
    by = 1e-3
    with pytest.raises(TriuneError, match=r"differs from play at step 0: action \["):
        deploy.export(system, tmp_path / "off.onnx")
    assert not (tmp_path / "off.onnx").exists()


def test_controls_follow_the_scene_of_the_graph_itself(system: System) -> None:
    """A detector that rounds otherwise moves the controls by the policy's gain: not a fault of the graph."""
    logic = system.logic()
    runner, reference = Runner(deploy.fuse(logic, None, (1, 1, 3))), deploy.Reference(logic, None)
    raw = system.schema.empty()
    raw[system.schema.slot("rod")] = [1, 255, 300, 40, 40, 0, 0, 1]
    found = runner.step(raw + np.float32(9.5e-4) * (raw == 255))
    vector, decision = reference.step(raw, found["scene"])
    assert not deploy.differences(found, vector, decision, logic)
    apart = deploy.Reference(logic, None)
    assert "action" in deploy.differences(found, *apart.step(raw), logic)


def test_run_logs_and_records_controls_by_name(bundle: Path, tmp_path: Path) -> None:
    words = ("run", str(bundle), "--steps", "30", "--log", "log.jsonl", "--record", "rec")
    told = command(*words, cwd=tmp_path)
    assert told.returncode == 0, told.stderr
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    ((_, episode),) = list(Recording(tmp_path / "rec"))
    assert episode.actions.shape == (30, 1) and episode.scores.dtype == np.float64
    for column, wanted in (("action", episode.actions), ("proposed", episode.proposed)):
        assert np.array([[line[column]["torque"]] for line in lines], np.float32).tobytes() == wanted.tobytes()
    low, high = episode.actions.min(), episode.actions.max()
    assert f"torque {low:+.3g} .. {high:+.3g}," in told.stdout
    shadow = json.loads(command("run", str(bundle), "--steps", "5", "--shadow", "--json", cwd=tmp_path).stdout)
    assert shadow["steps"] == 5 and set(shadow["controls"]) == {"torque"}


def test_the_example_without_triune_reads_controls(bundle: Path) -> None:
    words = [sys.executable, str(ROOT / "examples/bundle_plain.py"), str(bundle)]
    done = subprocess.run(words, capture_output=True, text=True, cwd=bundle.parent, env={"PATH": "/usr/bin"})
    assert len(done.stdout.splitlines()) == 3 and done.stdout.startswith("{'torque': "), done.stderr


def test_the_page_gets_vectors(system: System, tmp_path: Path) -> None:
    facts = web.write_site(system, tmp_path / "site", seed=3, steps=8)
    assert isinstance(facts["score"], float)
    header, found = web.decode((tmp_path / "site" / "episode.bin.gz").read_bytes(), web.EPISODE)
    _, cases = web.decode((tmp_path / "site" / "logic.bin.gz").read_bytes(), web.CASES)
    assert header["actions"] == ["torque"] and header["hz"] == 50.0
    for t, step in zip(range(8), play(system, seed=3), strict=False):
        assert np.array_equal(found["action"][t], step.decision.action)
        assert np.array_equal(found["proposed"][t], step.decision.proposed)
    assert cases["action"].dtype == np.float32 and np.array_equal(cases["action"], found["proposed"])


@pytest.mark.parametrize(
    ("size", "shown"),
    [((210, 160), (420, 320)), ((250, 160), (500, 320)), ((400, 600), (400, 600)), ((500, 500), (500, 500)),
     ((84, 84), (420, 420)), ((1080, 1920), (360, 640)), ((60, 600), (LEAST, 600))],
)  # fmt: skip
def test_pictures_of_any_frame_have_a_sensible_size(size: tuple[int, int], shown: tuple[int, int]) -> None:
    schema = SceneSchema.from_config({"crop": [0, 0, *size], "things": {"rod": {}}})
    painter = Painter(schema, ("LEFT", "RIGHT"))
    drawn = painter.paint(
        np.full((*size, 3), 9, np.uint8), schema.read(schema.empty()), Caption("t", 1, 2, 3, 0, 0, 0, "r")
    )
    assert drawn.shape == (shown[0], shown[1] + PANEL, 3)
    assert scale_for(*size) >= 1 or max(drawn.shape[:2]) <= 640 + PANEL


def test_a_replay_tells_controls_by_name_and_value(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    from triune.report import drawing

    said: list[str] = []
    monkeypatch.setattr(drawing, "text", lambda image, words, *_, **__: said.append(words))
    names = tuple(f"joint_{i}" for i in range(17))
    space = Box(names, (-1.0,) * 17, (1.0,) * 17)
    sight = system.schema.empty()
    sight[system.schema.slot("pole")] = 1, 0.5, 1
    frame, scene = np.zeros((480, 480, 3), np.uint8), system.schema.read(sight)
    vector = np.linspace(-1, 1, 17).astype(np.float32)
    painter = Painter(system.schema, space)
    calm = painter.paint(frame, scene, Caption("t", 1, 2, -3.14159, 0, vector, vector, "why"))
    assert {"joint_0 -1.00", "joint_8 +0.00", "-3.14", "why", "lean 0.50 rad"} <= set(said)
    said.clear()
    alarm = painter.paint(frame, scene, Caption("t", 1, 2, -3.14159, 0, vector, vector * 2, "why"))
    assert (calm != alarm).any()
    one = np.array([1.25], np.float32)
    Painter(system.schema, system.spec.env.actions).paint(frame, scene, Caption("t", 1, 2, 3, 0, one, one, "why"))
    assert "torque +1.25" in said and "3" in said


def test_play_writes_a_video_of_controls(system: System, tmp_path: Path) -> None:
    import cv2

    words = ("play", str(system.folder), "--no-isolate", "--seed", "3", "--steps", "12", "--video", "a.webp", "--json")
    done = command(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    good, animation = cv2.imreadanimation(str(tmp_path / "a.webp"))
    assert good and len(animation.frames) == 6 and animation.frames[0].shape[:2] == (500, 500 + PANEL)
