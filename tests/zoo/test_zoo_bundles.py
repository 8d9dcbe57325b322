"""The bundle of each task of the zoo."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from world_kit import play_or_skip

from envs.actions import Box
from envs.spec import task_names
from triune.deploy.export import export
from triune.play import play
from triune.runtime import Bundle
from triune.system import load

LONGER = ("breakout", "pong")  # test_fused.py compares more of these two: rules, faults and scenes as well
TASKS = [pytest.param(name, marks=pytest.mark.slow if name in LONGER else ()) for name in task_names()]


@pytest.mark.parametrize("task", TASKS)
def test_its_bundle_decides_as_play_does(task: str, tmp_path: Path) -> None:
    """150 steps of an unseen train seed, each on the frame that play saw."""
    pytest.importorskip("onnx")
    play_or_skip(task)
    system = load(task)
    export(system, tmp_path / "task.onnx")
    bot, space = Bundle.load(tmp_path / "task.onnx", clock=lambda: 0.0), system.spec.env.actions
    state, same, steps = bot.start(), 0, 0
    for step in itertools.islice(play(system, seed=951), 150):
        action, state, why = bot.step(step.frame, state)
        steps += 1
        if isinstance(space, Box):
            near = np.abs(action - step.decision.action) <= 1e-3 * np.subtract(space.high, space.low)
            same += bool(near.all())
        else:
            same += action == step.decision.action and why.reason == step.decision.reason
    assert steps == 150 and same >= 149  # a cell on a threshold may fall either way
