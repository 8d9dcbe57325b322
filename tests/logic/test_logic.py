"""The controller's order of authority, and the reference vocabulary."""

from __future__ import annotations

import numpy as np
import pytest
from compiler_kit import constants_with

from envs.actions import Discrete
from logic.errors import PolicyFault
from logic.language import CompileError
from logic.language import builtins as language
from logic.runtime.controller import DEADLINE, FAULT, LOST, Controller
from logic.runtime.logic import compile_logic
from perception.scene import SceneSchema

ACTIONS = ("NOOP", "FIRE", "RIGHT", "LEFT")
SPACE = Discrete(ACTIONS)
CONSTANTS = constants_with(ACTIONS)
SCHEMA = SceneSchema.from_config({"crop": [0, 0, 9, 9], "things": {"ball": {"required": True}}})
POLICY = '''"""Chase."""

SPEED = tunable(3.0, 1.0, 8.0)
TABLE = squares()


class Memory:
    n: int = 0
    trail: Float[3] = zeros(3)


def squares():
    return arange(4) * arange(4)


def act(scene, memory):
    memory.n += 1
    memory.trail = shift_push(memory.trail, scene.ball.x)
    if scene.ball.x > 5.0:
        return RIGHT, "right of middle"
    return take(TABLE, 1), "left of middle"
'''


def controller(policy: str = POLICY, safety: str = "", lost_after: int = 8, **kwargs: object) -> Controller:
    logic = compile_logic(SCHEMA, policy, safety, CONSTANTS, SPACE, 0, lost_after)
    return Controller(logic, **kwargs)  # type: ignore[arg-type]


def scene(x: float = 3.0, seen: bool = True, sure: float = 1.0):
    return SCHEMA.read(np.array([seen, x, 2, 2, 2, 0, 0, sure], np.float32))


def test_policy_runs_with_memory_tables_and_reasons() -> None:
    c = controller()
    assert c.decide(scene(9.0)).action == 2 and c.decide(scene(1.0)).action == 1
    assert c.memory.n == 2 and c.memory.trail.tolist() == [0.0, 9.0, 1.0]
    assert list(c.program.reasons) == ["right of middle", "left of middle"]
    assert c.program.module.tunables == {"SPEED": (3.0, 1.0, 8.0)}
    c.reset()
    assert c.memory.n == 0 and c.memory.trail.tolist() == [0.0, 0.0, 0.0]


def test_augmented_assignment_never_writes_into_a_table_or_a_snapshot() -> None:
    c = controller(
        POLICY.replace("    if scene", "    t = TABLE\n    t += 1\n    memory.trail += 1.0\n    if scene", 1)
    )
    c.decide(scene(1.0))
    assert c.memory.trail.tolist() == [1.0, 1.0, 2.0] and c.program.start().trail.tolist() == [0.0, 0.0, 0.0]


FAULTS = {
    "division": "x = 1.0 / (scene.ball.x - 3.0)",
    "index": "x = take(TABLE, int(scene.ball.x) + 6)",
    "domain": "x = math.sqrt(0.0 - scene.ball.x)",
    "array division": "x = zeros(3) / (zeros(3) + scene.ball.x - 3.0)",
    "nan choice": "x = argmax(zeros(2) * (math.sqrt(scene.ball.x * 1e308) * 1e300 * 0.0))",
}


@pytest.mark.parametrize("name", sorted(FAULTS))
def test_fault_means_fallback_and_memory_unchanged(name: str) -> None:
    c = controller(POLICY.replace("    if scene", f"    {FAULTS[name]}\n    if scene", 1))
    d = c.decide(scene())
    assert (d.action, d.reason) == (0, FAULT) and d.fault
    assert c.memory.n == 0 and c.memory.trail.tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("result", ["int(scene.ball.x) + 4", "int(scene.ball.x) - 4"])
def test_action_outside_the_task_is_a_fault(result: str) -> None:
    d = controller(f'def act(scene, memory):\n    return {result}, "x"\n').decide(scene())
    assert d.action == 0 and d.fault


SAFETY = '''
class Memory:
    steps: int = 0


def no_right(scene, memory, action):
    """Never right."""
    memory.steps += 1
    if action == RIGHT:
        return LEFT
    return action


def no_left_twice(scene, memory, action):
    """Never left"""
    if action == LEFT and scene.ball.x < 50.0:
        return FIRE
    return action
'''


def test_rules_overrule_in_order_and_are_logged_by_name() -> None:
    c = controller(safety=SAFETY)
    d = c.decide(scene(9.0))
    assert (d.proposed, d.action, d.overruled_by) == (2, 1, ("Never right", "Never left"))
    assert c.decide(scene(60.0)).overruled_by == ("Never right",)
    assert c.decide(scene(1.0)).overruled_by == ()
    assert c.rule_memories[0].steps == 3 and not hasattr(c.memory, "steps")


def test_a_faulty_rule_falls_back() -> None:
    c = controller(safety=SAFETY.replace("memory.steps += 1", "memory.steps = 1 // memory.steps"))
    d = c.decide(scene(9.0))
    assert d.action == 0 and d.fault.startswith("Never right: ZeroDivisionError")


def test_perception_lost_after_n_steps_and_back() -> None:
    c = controller(lost_after=3)
    lost = [LOST in c.decide(scene(9.0, seen=False)).overruled_by for _ in range(4)]
    assert lost == [False, False, True, True]
    assert c.decide(scene(9.0)).action == 2
    unsure = [c.decide(scene(9.0, sure=0.3)).action for _ in range(3)]
    assert unsure == [2, 2, 0]


def test_deadline_replaces_the_action() -> None:
    ticks = iter([0, 10_000_000, 0, 1])
    c = controller(deadline_ms=5, clock=lambda: next(ticks))
    assert c.decide(scene(9.0)).overruled_by == (DEADLINE,)
    assert c.decide(scene(9.0)).overruled_by == ()


def test_policy_and_rules_are_both_reported_at_once() -> None:
    with pytest.raises(CompileError) as error:
        controller("x = 1\n", "def rule(scene, memory, action):\n    return action\n")
    assert "def act" in str(error.value) and "docstring" in str(error.value)
    assert {d.file for d in error.value.diagnostics} == {"policy.py", "safety.py"}


def test_primitives_fault_instead_of_clamping() -> None:
    with pytest.raises(PolicyFault):
        language.take(language.arange(3), 3)
    with pytest.raises(PolicyFault):
        language.take(language.arange(3), np.array([-1]))
    with pytest.raises(PolicyFault):
        language.put(language.zeros(2), 2, 1.0)
    with pytest.raises(PolicyFault):
        language.scatter_add(np.array([0, 5]), np.array([1.0, 1.0]), 3)
    with pytest.raises(PolicyFault):
        language.to_int(np.array([np.nan], np.float32))
    with pytest.raises(PolicyFault):
        language.argmax(np.array([np.nan, 1.0]))


def test_primitives_keep_types_and_values() -> None:
    a = language.array((3.0, 1.0, 3.0))
    assert a.dtype == np.float32 and language.arange(3).dtype == np.int32
    assert language.top_k(a, 2).tolist() == [0, 2] and language.argmax(a) == 0
    assert language.scatter_add(np.array([0, 2, 0]), a, 3).tolist() == [6.0, 0.0, 1.0]
    assert language.put(a, 1, 9.0).tolist() == [3.0, 9.0, 3.0] and a[1] == 1.0
    assert language.max_over(language.reshape(language.arange(6), 2, 3), 1).tolist() == [2, 5]
    assert isinstance(language.total(a), float) and isinstance(language.count(a > 2.0), int)
    assert language.where(a > 2.0, 1.0, 0.5).dtype == np.float32
    assert language.clip(5.0, 0.0, 2.0) == 2.0 and language.nearest(a, 1.4) == 1
