"""Tracing a step: conditions as the text has them, in order, with what they came to; and the same step as at play."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from compiler_kit import CONSTANTS, SCHEMA, SPACE, random_vectors

import triune
from logic.language.ir import walk
from logic.runtime.controller import Controller
from logic.runtime.logic import Logic, compile_logic
from logic.runtime.regression import ScenesLock
from logic.runtime.trace import Mark, PartTrace, Tracer, brief, change, same
from triune.system import constants_of

EMPTY = SCHEMA.empty()


def logic_of(policy: str, safety: str = "", lost_after: int = 10_000, library: Any = None) -> Logic:
    more = {"library": library} if library else {}
    return compile_logic(SCHEMA, policy, safety, CONSTANTS, SPACE, 0, lost_after, **more)


def trace(logic: Logic, vector: np.ndarray = EMPTY, **memory: Any) -> tuple[PartTrace, ...]:
    """One step from fresh memory, but for the fields given."""
    fresh = logic.policy.start().snapshot() | memory
    return Tracer(logic, CONSTANTS).step(SCHEMA.read(vector), fresh, [m.start().snapshot() for m in logic.modules])


def scene(**values: float) -> np.ndarray:
    """`ball_x=3.0` and so on."""
    vector = SCHEMA.empty()
    for name, value in values.items():
        vector[SCHEMA.names.index(name.replace("_", ".", 1))] = value
    return vector


def told(logic: Logic, part: PartTrace) -> list[tuple[int, str, Any]]:
    """(line, text, outcome) of every mark."""
    tracer = Tracer(logic, CONSTANTS)
    return [(m.line, tracer.text(m), m.outcome) for m in part.marks]


BRANCHES = '''"""Branches."""
NEAR = 3.0


class Memory:
    mode: int = 0
    gap: float = 0.0


def side(scene, memory):
    if not scene.ball.seen:
        return 0
    memory.gap = scene.ball.x - 80.0
    if abs(memory.gap) < NEAR and memory.mode >= 0:
        return 0
    return 1 if memory.gap > 0.0 else 2


def act(scene, memory):
    to = side(scene, memory)
    if to == 1:
        memory.mode = 1
        return RIGHT, "right"
    elif to == 2:
        memory.mode = 2
        return LEFT, "left"
    return NOOP, "stay"
'''


def test_conditions_stand_in_order_with_text_outcome_and_values() -> None:
    logic = logic_of(BRANCHES)
    part = trace(logic, scene(ball_seen=1, ball_x=90.5))[0]
    assert told(logic, part) == [
        (11, "not scene.ball.seen", False),
        (14, "abs(memory.gap) < NEAR and memory.mode >= 0", False),
        (16, "memory.gap > 0.0", True),
        (16, "1 if memory.gap > 0.0 else 2", [1]),
        (21, "to == 1", True),
        (23, 'RIGHT, "right"', [2, "right"]),
    ]
    assert [m.kind for m in part.marks] == ["if", "if", "ternary", "return", "if", "return"]
    assert [m.function for m in part.marks] == ["side"] * 4 + ["act"] * 2
    assert [m.depth for m in part.marks] == [1] * 4 + [0] * 2
    values = [m.values for m in part.marks]
    assert values[0] == {"scene.ball.seen": True}
    assert values[1] == {"memory.gap": 10.5, "NEAR": 3.0, "memory.mode": 0}  # the new gap, the old mode
    assert values[4] == {"to": 1}
    assert (part.action, part.reason, part.fault) == (2, "right", "")
    assert part.changed == {"mode": (0, 1), "gap": (0.0, 10.5)}


def test_only_the_taken_path_is_told() -> None:
    logic = logic_of(BRANCHES)
    part = trace(logic, scene(ball_x=90.5))[0]
    assert [m.line for m in part.marks] == [11, 12, 21, 24, 27]
    assert part.reason == "stay" and part.changed == {}
    part = trace(logic, scene(ball_seen=1, ball_x=10.0))[0]
    assert [(m.line, m.outcome) for m in part.marks][-3:] == [(21, False), (24, True), (26, [3, "left"])]


def test_a_condition_without_effect_is_told_too() -> None:
    text = 'def act(scene, memory):\n    x = 1\n    if scene.ball.x > 5.0:\n        x = 2\n    return NOOP, "end"\n'
    logic = logic_of(text)
    assert not [op for op in walk(logic.policy.graph.body) if op.name == "if"]  # type: ignore[union-attr]
    marks = trace(logic, scene(ball_x=6.0))[0].marks
    assert [(m.line, m.outcome) for m in marks] == [(3, True), (5, [0, "end"])]


def test_graphs_for_play_have_no_probes() -> None:
    graph = logic_of(BRANCHES).policy.graph
    assert graph and not [op for op in walk(graph.body) if op.name == "probe"]
    assert [op for op in walk(Tracer(logic_of(BRANCHES), CONSTANTS).policy.body) if op.name == "probe"]


LOOP = '''"""A loop."""


def first(scene, x):
    for i in range(3):
        if scene.enemy[i].seen and scene.enemy[i].x > x:
            return i
    return -1


def act(scene, memory):
    found = 0
    for k in range(10):
        if k >= 2:
            break
        found += 1
    if STICKY > 0.5 or first(scene, 40.0) == 2:
        return FIRE, "hit"
    return NOOP, "none"
'''


def test_rounds_of_loops_are_counted_and_what_the_protocol_settles_is_marked() -> None:
    vector = scene()
    for i, x in enumerate((10.0, 50.0, 60.0)):
        slot = SCHEMA.slot("enemy", i)
        vector[slot.start], vector[slot.start + 1] = i != 1, x
    marks = trace(logic_of(LOOP), vector)[0].marks
    loop = [(m.outcome, m.rounds, m.values["scene.enemy[i].x"]) for m in marks if m.line == 6]
    assert loop == [(False, (0,), 10.0), (False, (1,), 50.0), (True, (2,), 60.0)]
    assert [(m.outcome, m.rounds) for m in marks if m.line == 14] == [(False, (0,)), (False, (1,)), (True, (2,))]
    assert marks[-1].outcome == [1, "hit"] and not marks[-1].rounds
    settled = logic_of(
        'def act(scene, memory):\n    if STICKY > 0.5:\n        return FIRE, "a"\n    return NOOP, "b"\n'
    )
    assert [(m.settled, m.outcome) for m in trace(settled)[0].marks] == [(True, False), (True, [0, "b"])]


def test_a_fault_ends_the_trace_and_leaves_memory() -> None:
    text = BRANCHES.replace(
        "    to = side(scene, memory)", "    to = side(scene, memory)\n    memory.gap = 1.0 / scene.ball.y"
    )
    part = trace(logic_of(text), scene(ball_seen=1, ball_x=90.0))[0]
    assert part.fault and "policy.py, line 21" in part.fault
    assert (part.action, part.reason, part.changed) == (0, "", {})
    assert [m.line for m in part.marks] == [11, 14, 16, 16]
    wild = 'class Memory:\n    n: int = 9\n\n\ndef act(scene, memory):\n    return memory.n, "wild"\n'
    assert "9" in trace(logic_of(wild))[0].fault


RULES = '''"""Rules."""


class Memory:
    held: int = 0


def no_fire(scene, memory, action):
    """Never fire at an unseen ball."""
    if action == FIRE and not scene.ball.seen:
        memory.held += 1
        return RIGHT
    return action


def no_right(scene, memory, action):
    """Never go right twice."""
    return LEFT if action == RIGHT and memory.held > 0 else action
'''


def test_rules_are_told_in_order_with_the_built_in_one() -> None:
    logic = logic_of('def act(scene, memory):\n    return FIRE, "fire"\n', RULES, lost_after=1)
    parts = trace(logic, scene())
    assert [(p.title, p.came_in, p.action, p.overruled) for p in parts] == [
        ("policy", None, 1, False),
        ("Never fire at an unseen ball", 1, 2, True),
        ("Never go right twice", 2, 3, True),  # sees what the rule before it remembered
        ("perception lost", 3, 0, True),
    ]
    assert parts[1].changed == {"held": (0, 1)}
    assert [(m.file, m.line, m.outcome) for m in parts[1].marks] == [("safety.py", 10, True), ("safety.py", 12, [2])]
    assert parts[3].file == "built-in rule" and parts[3].marks
    calm = trace(logic, scene(ball_seen=1, ball_sure=1))
    assert not any(p.overruled for p in calm)


def test_library_lines_are_marked() -> None:
    def library(name: str) -> str:
        assert name == "tiny"
        return "def sign_of(x):\n    return 1 if x > 0.0 else -1\n"

    text = "from logic.lib.tiny import sign_of\n\n\ndef act(scene, memory):\n"
    text += '    if sign_of(scene.ball.x) > 0:\n        return RIGHT, "r"\n    return LEFT, "l"\n'
    logic = logic_of(text, library=library)
    part = trace(logic, scene(ball_x=1.0))[0]
    assert [(m.file, m.in_library) for m in part.marks] == [
        ("lib/tiny", True), ("lib/tiny", True), ("policy.py", False), ("policy.py", False),
    ]  # fmt: skip
    assert told(logic, part)[0] == (2, "x > 0.0", True)


def test_a_guarded_index_is_not_read_for_the_trace() -> None:
    text = "class Memory:\n    i: int = 7\n\n\ndef act(scene, memory):\n    i = memory.i\n"
    text += '    if i < 3 and scene.enemy[i].x > 0.0:\n        return FIRE, "a"\n    return NOOP, "b"\n'
    part = trace(logic_of(text))[0]
    assert not part.fault and part.marks[0].outcome is False and part.marks[0].values == {"i": 7}


def check_equals_play(logic: Logic, constants: dict[str, float], scenes: np.ndarray) -> int:
    """Every step traced and played: same decision, same memory. How many marks were seen."""
    tracer, controller, marks = Tracer(logic, constants), Controller(logic, clock=lambda: 0), 0
    for vector in scenes:
        view = logic.schema.read(vector)
        memory, rules = controller.memory.snapshot(), [m.snapshot() for m in controller.rule_memories]
        parts = tracer.step(view, memory, rules)
        decision = controller.decide(view)
        assert bool(parts[0].fault) == (decision.reason == "fault")
        assert parts[0].action == decision.proposed and parts[-1].action == decision.action
        assert parts[0].fault or parts[0].reason == decision.reason
        assert tuple(p.title for p in parts if p.overruled) == decision.overruled_by
        after = memory | {field: new for field, (_, new) in parts[0].changed.items()}
        assert all(same(after[k], v) for k, v in controller.memory.snapshot().items())
        marks += sum(len(p.marks) for p in parts)
    return marks


@pytest.mark.parametrize("task", ["breakout", "pong"])
def test_a_traced_step_is_the_step_that_is_played(task: str) -> None:
    system = triune.load(task)
    moments = [k for k in system.locks() if isinstance(k, ScenesLock)]
    logic, constants = system.logic("sticky"), constants_of(system.spec, system.protocol("sticky"))
    for moment in moments:
        assert check_equals_play(logic, constants, moment.scenes[::2]) > 100


@pytest.mark.parametrize("text", [BRANCHES, LOOP])
def test_random_scenes_too(text: str) -> None:
    assert check_equals_play(logic_of(text, RULES, lost_after=2), CONSTANTS, random_vectors(40, 5)) > 100


def test_values_become_json() -> None:
    big = np.zeros((4, 5), np.float32)
    assert brief(big) == "Float[4, 5]" and brief(np.arange(3, dtype=np.int32)) == [0, 1, 2]
    assert change(big, big + 1) == {"old": "Float[4, 5]", "new": "Float[4, 5]", "differ": 20}
    assert change(1, 2) == {"old": 1, "new": 2} and type(brief(np.float32(1.5))) is float
    assert same(float("nan"), float("nan")) and not same(0.0, -0.0) and not same(1, 1.0)
    assert isinstance(Mark("a", 1, "if", True, {}, "f", 0), Mark)
