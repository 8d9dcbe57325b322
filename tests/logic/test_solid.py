"""Ranges that hold whatever happened, and what memory can hold between steps."""

from __future__ import annotations

import numpy as np
from compiler_kit import ACTIONS, CONSTANTS, SCHEMA, build, policy
from fused_kit import Runner, logic_of

from envs.actions import Discrete
from logic.language.backends.onnx import logic_model
from logic.language.ir import INT_LIMIT
from logic.language.solid import LARGE, invariants
from logic.runtime.controller import Controller
from logic.runtime.logic import compile_logic
from triune.deploy.export import fuse

MEMORY = """
class Memory:
    n: int = 0
    kind: int = 1
    turn: int = 5
    away: float = 7.0
    last: float = 0.0
    speed: float = 1.0
    trail: Int[3] = zeros_int(3)
    seen: Int[2] = zeros_int(2)
"""
BODY = """
memory.n = memory.n + 1
memory.kind = 2 if scene.ball.seen else memory.kind
memory.turn = TABLE[clip(memory.turn, 0, 2)]
memory.away = 0.0 if scene.ball.seen else memory.away + 1.0
memory.last = memory.last + scene.ball.x
for _i in range(4):
    memory.speed = clip(memory.speed * 2.0, 0.5, 8.0)
memory.trail = shift_push(memory.trail, memory.kind)
memory.seen = memory.seen + 1
"""
TABLE = "TABLE = array((4, 9, 6))"


def test_memory_holds_what_steps_can_leave_there() -> None:
    graph = build(policy(BODY, TABLE, MEMORY)).graph
    assert graph is not None
    found = invariants([graph])
    assert found == {
        "n": (0, INT_LIMIT), "kind": (1, 2), "turn": (4, 9), "away": (0.0, LARGE), "speed": (1.0, 8.0), "trail": (0, 2),
    }  # fmt: skip


def test_played_memories_lie_within() -> None:
    for task in ("breakout", "pong"):
        logic = logic_of(task)
        assert logic.policy.graph is not None
        held = invariants([logic.policy.graph])
        assert {"breakout": "knob", "pong": "lead"}[task] in held
        player, rng = Controller(logic, 1e9), np.random.default_rng(0)
        for _ in range(25):
            scene = rng.uniform(-20, 220, logic.schema.size).astype(np.float32)
            scene[[i for i, name in enumerate(logic.schema.names) if name.endswith("seen")]] = rng.random() < 0.9
            player.decide(logic.schema.read(scene))
            for name, (low, high) in held.items():
                value = np.asarray(player.memory.snapshot()[name])
                assert (value[value == value] >= low).all() and (value[value == value] <= high).all(), name


INDEX = "memory.turn = TABLE[memory.turn]\nmemory.n = 12 // (memory.kind + 1)\nreturn TABLE[memory.turn] % 4, 'end'"
SAFE = "TABLE = array((1, 2, 0, 2))"
NUMBERS = "class Memory:\n    n: int = 0\n    kind: int = 1\n    turn: int = 2\n"


def test_a_memory_that_no_step_left_is_kept_in_range() -> None:
    """Whoever carries it may say anything: indices and divisors stay what they can be."""
    source = policy(INDEX, SAFE, NUMBERS)
    logic = compile_logic(SCHEMA, source, "", CONSTANTS, Discrete(ACTIONS), 0)
    runner = Runner(fuse(logic, None, (9, 9, 3)))
    operators = {node.op_type for node in fuse(logic, None, (9, 9, 3)).model.graph.node}
    assert "Clip" not in operators, "no index is checked"
    start, scene = runner.memory.copy(), SCHEMA.empty()
    for value in (-1.0, -(2.0**62), 4.0, 1e300, np.nan, np.inf):
        for at in range(len(start)):
            runner.memory = start.copy()
            runner.memory[at] = value
            assert 0 <= runner.step(scene)["action"][0] < len(ACTIONS)


def test_what_is_known_is_not_asked() -> None:
    """An array whose elements are all the same, an `if` on it, conditions the other way round."""
    body = "x = 1.0\nif SAME[clip(memory.n, 0, 4)]:\n    x = scene.ball.x\n"
    body += "if not scene.ball.seen:\n    x = x // 3.0 // x\n"
    graph = build(policy(body + "memory.x = x", "SAME = full(5, True)")).graph
    assert graph is not None
    model = logic_model(graph, SCHEMA.size, 0)
    ifs = [node for node in model.graph.node if node.op_type == "If"]
    assert len(ifs) <= 2 and not {"Gather", "Not"} & {made_by(model, node.input[0]) for node in ifs}
    assert not [n for n in model.graph.node if n.op_type == "Identity" and n.output[0] == "next_memory"]


def made_by(model: object, tensor: str) -> str:
    return next((n.op_type for n in model.graph.node if tensor in n.output), "")  # type: ignore[attr-defined]
