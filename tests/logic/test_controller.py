"""The controller where the fallback is an action of its own: neither the first, nor what policy or rules would do."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from compiler_kit import constants_with

from envs.actions import Discrete
from logic.runtime.controller import DEADLINE, FAULT, LOST, Controller, Decision
from logic.runtime.logic import compile_logic
from perception.scene import Scene, SceneSchema

ACTIONS = ("NOOP", "FIRE", "RIGHT", "LEFT", "DUCK")
FALLBACK = 4
SCHEMA = SceneSchema.from_config({"crop": [0, 0, 9, 9], "things": {"ball": {"required": True}}})
CONSTANTS = constants_with(ACTIONS)
POLICY = '''"""Chase."""


class Memory:
    n: int = 0


def act(scene, memory):
    memory.n += 1
    x = 1.0 / (scene.ball.x - 7.0)
    return RIGHT if scene.ball.x > 5.0 else FIRE, "chase"
'''
SAFETY = '''class Memory:
    steps: int = 0


def brake(scene, memory, action):
    """Brake"""
    memory.steps += 1
    x = 1.0 / (scene.ball.y - 7.0)
    return LEFT if action == RIGHT else action


def duck(scene, memory, action):
    """Duck"""
    x = 1.0 / (scene.ball.y - 6.0)
    return DUCK if scene.ball.y > 50.0 else action
'''


def controller(
    safety: str = SAFETY, deadline_ms: float = 100.0, clock: Callable[[], int] = lambda: 0, lost_after: int = 3
) -> Controller:
    logic = compile_logic(SCHEMA, POLICY, safety, CONSTANTS, Discrete(ACTIONS), FALLBACK, lost_after)
    return Controller(logic, deadline_ms, clock)


def scene(x: float = 3.0, y: float = 2.0, seen: bool = True, sure: float = 1.0) -> Scene:
    return SCHEMA.read(np.array([seen, x, y, 2, 2, 0, 0, sure], np.float32))


def test_a_fault_of_the_policy_proposes_the_fallback_and_rules_still_run() -> None:
    c = controller()
    d = c.decide(scene(7.0))
    assert d == Decision(FALLBACK, FAULT, FALLBACK, (), d.fault) and d.fault.startswith("ZeroDivisionError: ")
    assert (c.memory.n, c.rule_memories[0].steps) == (0, 1)
    assert c.decide(scene(3.0)) == (1, "chase", 1, (), "")
    assert (c.memory.n, c.rule_memories[0].steps) == (1, 2)


def test_a_fault_of_a_rule_is_the_fallback_by_that_rule_and_the_next_one_sees_it() -> None:
    d = controller().decide(scene(3.0, 7.0))
    assert (d.action, d.proposed, d.overruled_by, d.reason) == (FALLBACK, 1, ("Brake",), "chase")
    assert d.fault.startswith("Brake: ZeroDivisionError: ")
    d = controller().decide(scene(9.0, 6.0))
    assert (d.action, d.overruled_by) == (FALLBACK, ("Brake", "Duck")) and d.fault.startswith("Duck: ")


def test_the_first_fault_is_told() -> None:
    assert controller().decide(scene(7.0, 7.0)).fault.startswith("ZeroDivisionError: ")
    twice = SAFETY.replace("scene.ball.y - 6.0", "scene.ball.y - 7.0")
    assert controller(twice).decide(scene(3.0, 7.0)).fault.startswith("Brake: ")


def test_a_rule_that_falls_back_on_what_was_proposed_overrules_nothing() -> None:
    """The policy faults, so the fallback stands already when the rule faults too."""
    d = controller().decide(scene(7.0, 7.0))
    assert (d.action, d.proposed, d.overruled_by) == (FALLBACK, FALLBACK, ())


def test_a_rule_that_answers_an_equal_action_of_its_own_overrules_nothing() -> None:
    d = controller("def again(scene, memory, action):\n    'Again'\n    return int(float(action))\n").decide(scene())
    assert (d.action, d.overruled_by) == (1, ())


def test_rules_are_named_in_order_with_the_built_in_one_last() -> None:
    assert [r.title for r in controller().rules] == ["Brake", "Duck", LOST]
    assert controller().decide(scene(9.0, 60.0)).overruled_by == ("Brake", "Duck")


@pytest.mark.parametrize("gone", [{"seen": False}, {"sure": 0.4}])
def test_perception_lost_is_the_fallback_from_the_step_that_is_named(gone: dict[str, float]) -> None:
    c = controller()
    assert [c.decide(scene(**gone)).action for _ in range(4)] == [1, 1, FALLBACK, FALLBACK]  # type: ignore[arg-type]
    assert c.decide(scene(sure=0.5)).action == 1, "half sure is sure enough, and one sighting is enough"
    assert c.decide(scene(**gone)).overruled_by == ()  # type: ignore[arg-type]


@pytest.mark.parametrize(("took_ms", "late"), [(0.0, False), (5.0, False), (5.001, True), (80.0, True)])
def test_the_deadline_is_the_fallback_when_more_time_has_passed(took_ms: float, late: bool) -> None:
    ticks = iter([1_000_000_000, 1_000_000_000 + int(took_ms * 1e6)])
    d = controller(deadline_ms=5.0, clock=lambda: next(ticks)).decide(scene(9.0))
    assert (d.action, d.proposed) == ((FALLBACK, 2) if late else (3, 2))
    assert d.overruled_by == (("Brake", DEADLINE) if late else ("Brake",))


def test_the_default_deadline_is_a_tenth_of_a_second_of_this_thread() -> None:
    logic = controller().logic
    assert Controller(logic).deadline_ns == 100_000_000


def test_a_reset_forgets_what_policy_and_rules_remember() -> None:
    c = controller()
    for _ in range(2):
        c.decide(scene(seen=False))
    assert (c.memory.n, c.rule_memories[0].steps) == (2, 2)
    c.reset()
    assert (c.memory.n, c.rule_memories[0].steps) == (0, 0)
    assert [c.decide(scene(seen=False)).action for _ in range(3)] == [1, 1, FALLBACK], "nor how long it was lost"


@pytest.mark.parametrize(
    "other",
    [Decision(3, "r", 1, ("a",), "f"), Decision(2, "s", 1, ("a",), "f"), Decision(2, "r", 0, ("a",), "f"),
     Decision(2, "r", 1, ("b",), "f"), Decision(2, "r", 1, ("a",), "g")],
)  # fmt: skip
def test_decisions_differ_in_any_part(other: Decision) -> None:
    d = Decision(2, "r", 1, ("a",), "f")
    assert d != other and not d.__eq__(other) and d == Decision(2, "r", 1, ("a",), "f")
    assert d != [2, "r", 1, ("a",), "f"] and hash(d) == hash((2, "r", 1, ("a",), "f"))
