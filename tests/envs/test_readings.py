"""Tasks that see declared numbers of the observation: the codec, the declaration, the backend, what they refuse."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from envs.backends.gymnasium import GymnasiumSimulator
from envs.env import protocol_of
from envs.errors import EnvError
from envs.readings import STEPS, declared, decode, encode
from envs.remote import PixelEnv
from envs.spec import SystemSpec, parse_spec
from perception.detector import OnnxDetector
from perception.errors import PerceptionError
from perception.readings import ReadingsDetector, graph_of
from perception.scene import SceneSchema
from triune.errors import UsageError
from triune.play import evaluate
from triune.play.loop import Rollout
from triune.report.card import record
from triune.report.drawing import ACCENT, Painter
from triune.system import System

TEXT = """
format = 1
name = "pole"

[env]
backend = "gymnasium"
id = "CartPole-v1"
actions = ["LEFT", "RIGHT"]
fallback = "LEFT"

[observation.pole]
angle = { at = 2, low = -0.5, high = 0.5, unit = "rad" }
spin = { at = 3, low = -4.0, high = 4.0, unit = "rad/s" }

[observation.cart]
x = { at = 0, low = -2.5, high = 2.5, unit = "m" }
"""
POLICY = 'def act(scene, memory):\n    return (RIGHT, "right") if scene.pole.angle > 0.0 else (LEFT, "left")\n'


def task(text: str = TEXT, path: Path = Path("system.toml")) -> SystemSpec:
    return parse_spec(text, path)


def refused(old: str, new: str) -> str:
    assert old in TEXT
    with pytest.raises(EnvError) as error:
        task(TEXT.replace(old, new))
    return str(error.value)


def test_a_number_comes_back_to_a_part_in_sixteen_million_of_its_range() -> None:
    low, high = np.array([-1.0, 0.0, -300.0]), np.array([1.0, 1e-3, 500.0])
    values = np.random.default_rng(0).uniform(low, high, (200, 3))
    for row in values:
        back = decode(encode(row, low, high), low, high)
        assert (np.abs(back - row) <= 0.51 * (high - low) / STEPS + 1e-7 * np.abs(row)).all()


def test_beyond_the_range_it_is_the_nearest_end() -> None:
    low, high = np.array([-1.0, -1.0, -1.0]), np.array([1.0, 1.0, 1.0])
    frame = encode(np.array([-7.0, 9.0, -1.0]), low, high)
    assert frame.shape == (1, 3, 3) and frame.dtype == np.uint8
    assert decode(frame, low, high).tolist() == [-1.0, 1.0, -1.0]


def test_the_scene_is_what_is_declared_in_its_order() -> None:
    spec = task()
    schema = SceneSchema.from_config(spec.scene)
    assert spec.env.shape == (1, 3, 3) and spec.env.observed
    assert schema.names == ("pole.seen", "pole.angle", "pole.spin", "pole.sure", "cart.seen", "cart.x", "cart.sure")
    assert schema.readings[0].required and schema.readings[0].fields[0].unit == "rad"


def test_the_scene_holds_the_observation_and_what_is_not_declared_stays_behind_the_wall() -> None:
    spec = task()
    schema, rules = SceneSchema.from_config(spec.scene), protocol_of(spec.env)
    detector, core = ReadingsDetector(schema), GymnasiumSimulator(spec.env, rules)
    core.reset(5)
    with PixelEnv(spec.env, rules) as env:
        frame = env.reset(5)
        for action in (1, 0, 1, 1):
            x, _, angle, spin = core.truth()["observation"]
            seen = schema.read(detector.see(frame))
            assert (seen.cart.x, seen.pole.angle, seen.pole.spin) == pytest.approx((x, angle, spin), abs=1e-6)
            assert seen.pole.seen and seen.pole.sure == 1.0
            core.advance(action)
            frame = env.step(action)
        assert env.observed.size == 0


def test_its_graph_reads_the_same_bits() -> None:
    pytest.importorskip("onnx")
    schema = SceneSchema.from_config(task().scene)
    plain, graph = ReadingsDetector(schema), OnnxDetector.parse(graph_of(schema), schema)
    for frame in np.random.default_rng(1).integers(0, 256, (50, 1, 3, 3), np.uint8):
        assert np.array_equal(plain.see(frame), graph.see(frame))


def test_another_frame_is_refused() -> None:
    detector = ReadingsDetector(SceneSchema.from_config(task().scene))
    with pytest.raises(PerceptionError, match=r"uint8\[1, 3, 3\], got uint8\[1, 4, 3\]"):
        detector.see(np.zeros((1, 4, 3), np.uint8))


@pytest.mark.parametrize(
    "old, new, said",
    [
        ("at = 2, ", "", "pole.angle says where it stands"),
        ("at = 2, ", "at = -1, ", "at is a whole number from 0, got -1"),
        ("low = -0.5", "low = 0.5", "low below high"),
        ('unit = "rad/s"', 'unt = "rad/s"', "did you mean 'unit'?"),
        ("[observation.cart]", "[scene]\n[observation.cart]", "leave one of them out"),
        ('backend = "gymnasium"', 'backend = "atari"', "the backend atari has no observation"),
        ('fallback = "LEFT"', 'fallback = "LEFT"\nheight = 3', "unknown key 'height'"),
        ('fallback = "LEFT"', 'fallback = "LEFT"\nobservation = []', "unknown key 'observation'"),
        ("[observation.cart]\nx =", "[observation]\nx =", ""),
    ],
)
def test_a_wrong_declaration_is_named(old: str, new: str, said: str) -> None:
    if "unt" in new:  # the keys of a field are the scene's
        with pytest.raises(Exception, match=said):
            SceneSchema.from_config(task(TEXT.replace(old, new)).scene)
    else:
        assert said in refused(old, new)


def test_a_place_that_the_observation_lacks_is_named_when_the_environment_starts() -> None:
    spec = task(TEXT.replace("at = 3", "at = 4"))
    with pytest.raises(EnvError, match="observes 4 numbers, .* at = 4"):
        GymnasiumSimulator(spec.env, protocol_of(spec.env))


@pytest.mark.parametrize("package", ["mujoco", "imageio"])
def test_a_missing_package_is_named_with_its_extra(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [m for m in sys.modules if m.startswith(("gymnasium.envs.mujoco", package))]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)  # type: ignore[arg-type]
    if package == "imageio":
        pytest.importorskip("mujoco", reason="needs the extra mujoco")
    spec = task(TEXT.replace("CartPole-v1", "Hopper-v5"))
    with pytest.raises(EnvError) as error:
        GymnasiumSimulator(spec.env, protocol_of(spec.env))
    wanted = f"'Hopper-v5' needs the package {package}, which is not installed: pip install \"triune[mujoco]\""
    assert str(error.value) == wanted


@pytest.fixture
def system(tmp_path: Path) -> System:
    (tmp_path / "system.toml").write_text(TEXT)
    (tmp_path / "policy.py").write_text(POLICY)
    return System(task(TEXT, tmp_path / "system.toml"), isolate=False)


def test_it_plays_without_a_detector_file(system: System) -> None:
    with Rollout(system) as rollout:
        episode = rollout.record(3)
    assert len(episode) > 10 and episode.meta["weights"] is None
    assert set(episode.actions.tolist()) == {0, 1}


def test_what_needs_a_picture_is_refused_in_one_line(system: System) -> None:
    for asked in ({"shift": "grey"}, {"detector": "teacher"}):
        with pytest.raises(UsageError, match="has none: its scene is the declared numbers"):
            Rollout(system, **asked)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="no detector to train"):
        system.check_pictures()


def test_its_card_does_not_speak_of_pixels(system: System) -> None:
    record(system, evaluate(system, seeds=range(1000, 1002), workers=1), None)
    page = (system.folder / "README.md").read_text()
    assert "declared numbers of the observation" in page and "pixels" not in page
    assert page.splitlines()[-1].count("|") == 6


def test_its_replay_shows_a_gauge_a_number(system: System) -> None:
    """The bar of a number reaches from zero to its value, to the right or to the left."""
    painter, vector = Painter(system.schema, system.spec.env.actions), system.schema.empty()
    frame, bars = np.zeros((1, 3, 3), np.uint8), []
    for angle in (0.4, -0.4, 0.0):
        vector[system.schema.slot("pole")] = 1, angle, 0, 1
        picture = painter.picture(frame, system.schema.read(vector))
        bars.append(np.flatnonzero((picture[30, :320] == ACCENT).all(axis=1)))  # its column
    right, left, none = bars
    assert len(right) > 50 < len(left) and len(none) <= 1 and left.max() <= right.min()
    assert picture.shape[0] % 2 == picture.shape[1] % 2 == 0


@pytest.mark.parametrize(("low", "high"), [(0.0, 1e-320), (2**62, 2**62 + 1)])
def test_a_range_too_narrow_to_be_divided_is_refused(low: float, high: float) -> None:
    with pytest.raises(KeyError, match="has a range"):
        declared({"body": {"x": {"at": 0, "low": low, "high": high}}})
