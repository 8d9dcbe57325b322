"""What decides never holds what it must not: RAM, simulator state, info, reward."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from world_kit import play_or_skip

from envs.spec import task_names
from triune.play.loop import Rollout
from triune.system import load

STEPS = 120


@pytest.mark.parametrize("task", task_names())
def test_false_privileged_values_change_no_decision(task: str) -> None:
    """RAM that is noise, a score that jumps by a million a step and 77 lives: same actions, same scenes."""
    play_or_skip(task)
    episodes = []
    for canary in (False, True):
        system = load(task)
        named = "seed-sticky" if system.spec.env.backend == "atari" else None
        with Rollout(system, named, canary=canary) as rollout:
            episodes.append(rollout.record(5, limit=STEPS))
    honest, false = episodes
    assert 100 <= len(honest) <= STEPS
    assert np.array_equal(honest.actions, false.actions)
    assert np.array_equal(honest.scenes, false.scenes)
    assert not np.array_equal(honest.scores, false.scores), "the canary did not sing: the false channel is not in use"
    assert not np.array_equal(honest.lives, false.lives) or not honest.lives.any()


def test_the_teacher_would_notice_the_canary() -> None:
    """The same lie reaches eyes that do read RAM, so the test above can fail."""
    scenes = []
    for canary in (False, True):
        with Rollout(load("breakout"), "sticky", detector="teacher", canary=canary) as rollout:
            scenes.append(rollout.record(5, limit=20).scenes)
    assert not np.array_equal(*scenes)


def test_deciding_process_never_loads_the_emulator_or_the_teacher() -> None:
    code = """
import json, sys
from triune.play import play
from triune.system import load
steps = sum(1 for step, _ in zip(play(load("breakout"), seed=1), range(30)))
privileged = ("ale_py", "gymnasium", "envs.backends.atari", "torch", "data_flywheel.labelers.teacher")
print(json.dumps([steps, [m for m in privileged if m in sys.modules]]))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(run.stdout.splitlines()[-1]) == [30, []]
