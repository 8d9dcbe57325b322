"""Every expression is evaluated once: a helper that changes memory changes it once, wherever its answer is used."""

from __future__ import annotations

import numpy as np
import pytest
from compiler_kit import SCHEMA, build

SOURCE = '''"""A helper with a memory."""
T = array((1.0, 2.0, 3.0, 4.0, 5.0, 6.0))


class Memory:
    n: int = 0
    x: float = 0.0
    a: Float[6] = zeros(6)


def bump(memory):
    memory.n += 1
    return memory.n


def act(scene, memory):
    memory.x = {}
    return NOOP, "done"
'''
PLACES = [
    "take(T, bump(memory))", "take(reshape(T, 3, 2), bump(memory))[0]", "T[bump(memory)]",
    "scene.enemy[bump(memory)].x",
    "total(put(memory.a, bump(memory), 3.0))", "total(shift_push(memory.a, float(bump(memory))))",
    "float(clip(bump(memory), 0, 9))", "float(max(bump(memory), 0))", "math.sqrt(bump(memory))",
    "0.0 + bump(memory) ** 3",
    "total(full(3, bump(memory))) + 0.0", "total(where(T > bump(memory), 1.0, 0.0))", "float(0 < bump(memory) < 3)",
    "float(nearest(T, float(bump(memory))))", "float(sign(bump(memory)))", "float(round(bump(memory) / 2.0))",
]  # fmt: skip


@pytest.mark.parametrize("expression", PLACES)
def test_an_argument_is_evaluated_once(expression: str) -> None:
    program = build(SOURCE.format(expression))
    memory = program.start()
    program.act(SCHEMA.read(np.zeros(SCHEMA.size, np.float32)), memory)
    assert memory.n == 1
