"""The evaluator on tasks with readings: who ended an episode, what is the same behaviour, what is surely decided."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from triune.play.evaluator import STRIDE, WALK_STEPS, TaskEvaluator, walks
from triune.system import load

LEAN = '''"""Push to the side to which the pole leans."""


def act(scene, memory):
    return (RIGHT, "leans right") if scene.pole.angle > 0.0 else (LEFT, "leans left")
'''
REWRITTEN = LEAN.replace("(RIGHT", "(1").replace("(LEFT", "(0")
# None of its games gets so far from the middle.
AT_THE_END = LEAN.replace("scene.pole.angle >", "scene.cart.x < 1.0 and scene.pole.angle >")
STILL = '''"""Hang."""


def act(scene, memory):
    return 0.0, "hang"
'''


@pytest.fixture(scope="module")
def evaluator(tmp_path_factory: pytest.TempPathFactory) -> TaskEvaluator:
    return TaskEvaluator(load("cartpole"), None, "cnn", tmp_path_factory.mktemp("evaluator"), floors=False)


@pytest.fixture(scope="module")
def episode(evaluator: TaskEvaluator) -> Any:
    return evaluator.record(LEAN, [0])[0]


def test_an_episode_tells_when_the_clock_ended_it(evaluator: TaskEvaluator, episode: Any, tmp_path: Path) -> None:
    assert len(episode) < 100 and "truncated" not in episode.meta
    swing = TaskEvaluator(load("pendulum"), None, "cnn", tmp_path, floors=False).record(STILL, [0])[0]
    assert len(swing) == 200 and swing.meta["truncated"] is True


def test_children_that_differ_where_no_episode_was_are_no_duplicates(evaluator: TaskEvaluator, episode: Any) -> None:
    evaluator._locks = []  # whose scenes show the good policy
    evaluator.watch([episode])
    assert [a.tolist() for a in evaluator.decisions(LEAN, [episode.scenes])] == [
        a.tolist() for a in evaluator.decisions(AT_THE_END, [episode.scenes])
    ]
    assert evaluator.behaviour(LEAN) == evaluator.behaviour(REWRITTEN) != evaluator.behaviour(AT_THE_END)


def test_made_up_scenes_reach_the_ends_of_every_range_in_small_steps() -> None:
    schema = load("cartpole").schema
    scenes = np.stack(walks(schema))
    assert scenes.shape[1:] == (WALK_STEPS, schema.size) and (scenes == np.stack(walks(schema))).all()
    for reading in schema.readings:
        for at, f in enumerate(reading.fields, schema.slot(reading.name).start + 1):
            values = scenes[..., at]
            assert f.low <= values.min() < f.low + 0.1 * (f.high - f.low)
            assert f.high >= values.max() > f.high - 0.1 * (f.high - f.low)
            assert np.abs(np.diff(values, axis=1)).max() < 6 * STRIDE * (f.high - f.low)
    assert walks(load("breakout").schema) == []


def test_a_reading_is_nudged_by_little_of_its_range(evaluator: TaskEvaluator, episode: Any) -> None:
    schema = evaluator.system.schema
    moved = evaluator._nudged(episode.scenes, 0)
    off = np.abs(moved - episode.scenes)
    for name, most in (("cart", 0.15), ("pole", 0.02)):  # six standard deviations
        slot = schema.slot(name)
        assert 0 < off[:, slot.start + 1].max() < most
        assert not off[:, slot.start].any() and not off[:, slot.stop - 1].any()  # seen and sure stay
    agree, fallback = evaluator.settled([LEAN, REWRITTEN], episode)
    angle = np.abs(episode.scenes[:, schema.slot("pole").start + 1])
    assert fallback == 0 and agree[angle > 0.02].all() and not agree.all()
