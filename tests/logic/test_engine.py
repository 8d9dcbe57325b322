"""The native controller and tracker beside Python's, and how loud it is when they differ."""

from __future__ import annotations

import numpy as np
import pytest
from compiler_kit import CONSTANTS, SCHEMA, SPACE, random_vectors

import native
from envs.actions import Box
from logic.runtime.controller import FAULT, Controller
from logic.runtime.engine import Disagreement, NativeController, NativeTracker, fast_controller, fast_tracker
from logic.runtime.logic import Logic, compile_logic
from logic.runtime.tracker import Tracker

needs_engine = pytest.mark.skipif(native.engine is None, reason="the native engine was not built")
POLICY = """
class Memory:
    n: int = 0
    trail: Float[40] = zeros(40)


def act(scene, memory):
    memory.n += 1
    memory.trail = shift_push(memory.trail, scene.ball.x) if scene.ball.seen else memory.trail
    x = 1.0 / (memory.n % 5 - 2 if scene.ball.seen else 1)  # now and then by zero
    if total(memory.trail) * x > scene.enemy[memory.n % 3].x:
        return RIGHT, "right"
    return LEFT, "left"
"""
SAFETY = """
class Memory:
    count: int = 0


def never_left(scene, memory, action):
    \"\"\"Never left where the air is thin\"\"\"
    memory.count += 1
    return NOOP if action == LEFT and scene.air < 0.0 else action


def in_turn(scene, memory, action):
    \"\"\"Fire now and then\"\"\"
    return FIRE if memory.count % 11 == 0 else action
"""
TWICE = """
class Memory:
    count: int = 0
    last: float = 0.0


def counts(scene, memory, action):
    \"\"\"Counts\"\"\"
    memory.count += 1
    return action


def counts_again(scene, memory, action):
    \"\"\"Counts again, and faults when nothing is seen\"\"\"
    memory.count += 2
    memory.last = 1.0 / (scene.ball.x if scene.ball.seen else 0.0)
    return action
"""
LEG = Box(("hip", "knee"), (-1.0, -2.0), (1.0, 2.0))
CONTROLS = """
def act(scene, memory):
    if not scene.ball.seen:
        return (scene.ball.y / 50.0, 0.0 / scene.ball.w), "may fault"
    return (scene.ball.x, 0.5), "follow"
"""


def logic(policy: str = POLICY, safety: str = SAFETY) -> Logic:
    return compile_logic(SCHEMA, policy, safety, CONSTANTS, SPACE, 0)


@needs_engine
@pytest.mark.parametrize("safety", [SAFETY, TWICE])
def test_the_memory_before_a_step_can_be_asked_for_after_it(safety: str) -> None:
    made = NativeController(logic(safety=safety), 1e9, verify=0)
    made.reset()
    engine, machine, count = made._engine, made._machine, len(made._layouts)
    faults = changes = 0
    for vector in random_vectors(60, 4):
        here = [engine.machine_save(machine, i) for i in range(count)]
        faults += engine.machine_decide(machine, vector) < 0
        assert [engine.machine_before(machine, i) for i in range(count)] == here
        changes += [engine.machine_save(machine, i) for i in range(count)] != here
    assert faults and changes


def both(made: Logic, steps: int) -> list[tuple[object, object]]:
    """What each decided on a stream of scenes, each from its own memory."""
    one, other = Controller(made, 1e9), NativeController(made, 1e9, verify=3)
    one.reset()
    other.reset()
    found = []
    for vector in random_vectors(steps, 4):
        found.append((one.decide(SCHEMA.read(vector)), other.decide(SCHEMA.glance(vector))))
        for a, b in zip((one.memory, *one.rule_memories), (other.memory, *other.rule_memories), strict=True):
            assert all(np.array_equal(a.snapshot()[k], v) for k, v in b.snapshot().items())
    return found


@needs_engine
def test_decisions_and_memories_are_those_of_python() -> None:
    found = both(logic(), 120)
    assert all(a == b for a, b in found)
    decisions = [a for a, _ in found]
    assert {d.reason for d in decisions} == {"left", "right", FAULT}  # type: ignore[attr-defined]
    assert len({d.overruled_by for d in decisions}) >= 3  # type: ignore[attr-defined]


@needs_engine
def test_controls_too() -> None:
    made = compile_logic(SCHEMA, CONTROLS, "", CONSTANTS, LEG, np.zeros(2, np.float32))
    found = both(made, 60)
    assert all(a == b for a, b in found)
    assert {bool(a.fault) for a, _ in found} == {True, False}  # type: ignore[attr-defined]


@needs_engine
def test_the_tracker_is_that_of_python() -> None:
    one, other = Tracker(SCHEMA), NativeTracker(SCHEMA, 3)
    for vector in random_vectors(80, 5):
        assert np.array_equal(one.update(vector), other.update(vector))
        assert all(np.array_equal(one.memory.snapshot()[k], v) for k, v in other.memory.snapshot().items())


@needs_engine
def test_a_difference_is_an_error() -> None:
    controller = NativeController(logic(), 1e9, verify=1)
    controller.reset()
    vector = random_vectors(1, 6)[0]
    controller.decide(SCHEMA.read(vector))
    wrong = logic(POLICY.replace("memory.n += 1", "memory.n += 2"))
    controller._reference = Controller(wrong, 1e9)
    with pytest.raises(Disagreement, match="TRIUNE_ENGINE=python"):
        controller.decide(SCHEMA.read(vector))


@needs_engine
def test_the_engine_can_be_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIUNE_ENGINE", "python")
    plain = Controller(logic())
    assert fast_controller(plain) is plain and type(fast_tracker(SCHEMA)) is Tracker


def test_a_scene_reads_its_parts_when_asked() -> None:
    vector = random_vectors(1, 7)[0]
    scene, seen = SCHEMA.read(vector), SCHEMA.glance(vector)
    assert seen.vector is vector and seen.as_dict() == scene.as_dict()
    assert (seen.ball.x, seen.enemy[1].seen, seen.air) == (scene.ball.x, scene.enemy[1].seen, scene.air)
    with pytest.raises(AttributeError, match="did you mean 'ball'"):
        _ = SCHEMA.glance(vector).bal
    with pytest.raises(AttributeError, match="read-only"):
        seen.ball = 3
