"""What people write out of habit gets what to write instead; a helper may be called for memory alone."""

from __future__ import annotations

import numpy as np
import pytest
from compiler_agree import check_batch, run_both
from compiler_kit import SCHEMA, build, check, policy

HINTS = [
    ("memory.x = scene.score", "count in Memory"), ("memory.x = scene.reward", "ball, enemy, bricks, air"),
    ("memory.x = scene.lives", "count in Memory"), ("memory.n = scene.step", "memory.n += 1"),
    ("memory.x = scene.width", "WIDTH"), ("memory.x = scene.pixels", "named things: ball"),
    ("memory.x = score", "count in Memory"), ("return 'RIGHT', 'x'", "write RIGHT, without quotes"),
    ("return 'left', 'x'", "write LEFT, without quotes"), ("return 'RIHGT', 'x'", "write RIGHT, without quotes"),
    ("return 'jump', 'x'", "NOOP, FIRE, RIGHT, LEFT"), ("return right, 'x'", "did you mean 'RIGHT'?"),
    ("return Action.RIGHT, 'x'", "NOOP, FIRE, RIGHT, LEFT"), ("if UPWARDS:\n    memory.n = 1", "top of the file"),
    ("memory.x = DOWNWARDS", "NOOP, FIRE, RIGHT, LEFT"), ("print(memory.n)", "say why in the reason"),
    ("logging.info(1)", "say why in the reason"), ("self.n += 1", "memory.NAME"), ("memory.x = scene.ball.X", "'x'"),
    ("memory.x = scene.ball.velocity", "vx and vy"), ("memory.x = scene.ball.top", "y - h / 2"),
    ("memory.on = scene.ball.visible", "write seen"), ("memory.x = scene.air.velocity", ""),
]  # fmt: skip


@pytest.mark.parametrize(("body", "hint"), HINTS)
def test_a_habit_is_told_what_to_write(body: str, hint: str) -> None:
    found = check(policy(body))
    assert any(hint in d.instead for d in found), [d.instead for d in found]
    assert not any(d.construct == "internal" for d in found)


HELPERS = """
def bump(memory):
    memory.n += 1
    return memory.n

def forget(memory):
    memory.x = 0.0
    memory.trail = zeros(3)

def follow(scene, memory, by):
    if scene.ball.seen:
        memory.x = memory.x + by
        bump(memory)

def counted(memory):
    for i in range(3):
        if memory.ticks[i] < 5:
            memory.ticks = put(memory.ticks, i, memory.ticks[i] + 1)
            return True
    return False
"""
BODIES = [
    "bump(memory)\nbump(memory)", "forget(memory)", "follow(scene, memory, 2.0)",
    "counted(memory)\nmemory.on = counted(memory)",
    "for i in range(4):\n    bump(memory)\n    if memory.n > 5:\n        forget(memory)",
    "if scene.ball.seen:\n    forget(memory)\nelse:\n    follow(scene, memory, 1.0)\n    bump(memory)",
]  # fmt: skip


@pytest.mark.parametrize("body", BODIES)
def test_a_helper_called_for_memory_alone_means_the_same_everywhere(body: str) -> None:
    check_batch(run_both(policy(body, HELPERS)))


def test_it_changes_memory_as_an_assigned_call_does() -> None:
    alone, assigned = build(policy("bump(memory)", HELPERS)), build(policy("memory.n = bump(memory)", HELPERS))
    scene = SCHEMA.read(np.zeros(SCHEMA.size, np.float32))
    for program in (alone, assigned):
        memory = program.start()
        program.act(scene, memory)
        program.act(scene, memory)
        assert memory.n == 2


@pytest.mark.parametrize(
    "body",
    ["forget()", "bump2(memory)", "abs(memory)", "memory.n = forget(memory)", "forget", "memory.n", "total(zeros(3))",
     "forget(memory, 1)", "float(memory)", "math.sqrt(memory.x)"],
)  # fmt: skip
def test_no_other_expression_stands_alone(body: str) -> None:
    found = check(policy(body, HELPERS))
    assert found and len(found) <= 2 and not any(d.construct == "internal" for d in found), found
