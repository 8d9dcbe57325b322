"""A task with controls: its texts are checked, and its policy plays in isolation as in this process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from envs.errors import EnvError
from triune.check import check_text
from triune.play import evaluate
from triune.system import System, load

SYSTEM = """format = 1
name = "swing"
[env]
backend = "gymnasium"
id = "Pendulum-v1"
height = 500
width = 500
fallback = [0.5]
protocol = "default"
[env.actions]
torque = [-2.0, 2.0]
[scene]
crop = [0, 0, 64, 64]
[scene.things.bob]
"""
POLICY = 'def act(scene, memory):\n    return scene.bob.x * 0.5, "push"\n'
SAFETY = 'def gentle(scene, memory, action):\n    """Gentle"""\n    return clip(action, -1.0, 1.0)\n'


@pytest.mark.parametrize("isolate", [False, True])
def test_controls_are_checked_and_play(tmp_path: Path, isolate: bool) -> None:
    for name, text in (("system.toml", SYSTEM), ("policy.py", POLICY), ("safety.py", SAFETY)):
        (tmp_path / name).write_text(text)
    system = load(tmp_path, isolate=isolate)
    for text, rules in ((POLICY, False), (SAFETY, True)):
        assert check_text(text.encode(), "x", rules, system.spec, system.schema).ok
    assert not check_text(b'def act(scene, memory):\n    return NOOP, "x"\n', "x", False, system.spec, system.schema).ok
    vector = system.schema.empty()
    vector[:2] = 1.0, 3.0
    controller = system.controller()
    try:
        controller.reset()
        decision = controller.decide(system.schema.read(vector))
    finally:
        controller.close()
    assert np.array_equal(decision.action, np.array([1.0], np.float32)) and decision.overruled_by == ("Gentle",)
    assert decision.reason == "push" and not decision.fault


def test_check_starts_the_world_of_another_backend(tmp_path: Path) -> None:
    from triune.commands.check import PARTS

    (tmp_path / "system.toml").write_text(SYSTEM)
    assert PARTS["world"](load(tmp_path)) == "Pendulum-v1: starts"
    (tmp_path / "system.toml").write_text(SYSTEM.replace("Pendulum-v1", "Pendulun-v1"))
    with pytest.raises(EnvError, match="Pendulun"):
        PARTS["world"](load(tmp_path))


class Blind:
    """Sees nothing: what a policy gets is the same in every run."""

    def __init__(self, size: int) -> None:
        self.nothing = np.zeros(size, np.float32)

    def reset(self) -> None:
        """Nothing to forget."""

    def see(self, frame: np.ndarray) -> np.ndarray:
        return self.nothing.copy()


def test_evaluation_is_the_same_isolated_and_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in (("system.toml", SYSTEM), ("policy.py", POLICY), ("safety.py", SAFETY)):
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(System, "detector", lambda self: Blind(self.schema.size))
    plain, apart = (evaluate(load(tmp_path, isolate=i), seeds=[1000, 1001], limit=25) for i in (False, True))
    assert plain.scores == apart.scores and plain.steps == 50
    assert all(score < 0 and score != round(score) for score in plain.scores) and plain.scores[0] != plain.scores[1]
