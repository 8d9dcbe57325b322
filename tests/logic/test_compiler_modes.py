"""Named modes: strings in the text, small ints everywhere else, in every back end the same."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from compiler_agree import check_batch, check_onnx, run_both
from compiler_kit import SCHEMA, build, check, policy, random_vectors

MODES = 'class Memory:\n    mode: str = "search"\n    last: str = "none"\n    n: int = 0\n'
HAS_ONNX = importlib.util.find_spec("onnx") is not None
BODIES = {
    "assign and compare": 'if memory.mode == "search":\n    memory.mode = "chase"\nelse:\n    memory.mode = "search"',
    "unequal": 'if memory.mode != "chase" and scene.ball.seen:\n    memory.mode = "chase"\n    memory.n += 1',
    "on the other side": 'if "search" == memory.mode:\n    memory.mode = "rest"\n    memory.n = 3',
    "ternaries": 'memory.mode = "up" if scene.ball.y > 9.0 else "down" if scene.ball.y > 0.0 else "search"',
    "two fields": 'memory.last = "in" if scene.ball.seen else "none"\nif memory.last == "in":\n    memory.mode = "go"',
    "constants": "memory.mode = CHASE\nif memory.mode == CHASE:\n    memory.n = 2",
    "in a loop": 'for e in scene.enemy:\n    if e.seen:\n        memory.mode = "flee"\n        break',
    "in a helper": "memory.n = step(memory)",
    "chosen by a mode": 'return (LEFT if memory.mode == "search" else RIGHT), "by mode"',
}
HELPERS = """
CHASE = "chase"


def step(memory):
    memory.mode = "far"
    return 1 if memory.mode == "far" else 0
"""


@pytest.mark.parametrize("name", sorted(BODIES))
def test_every_back_end_agrees(name: str) -> None:
    steps = run_both(policy(BODIES[name], HELPERS, MODES), 3)
    check_batch(steps)
    if HAS_ONNX:
        check_onnx(steps)


def test_a_mode_is_the_number_of_its_string_in_order_of_appearance() -> None:
    program = build(policy('memory.mode = "chase" if scene.ball.seen else "rest"', memory=MODES))
    assert program.graph is not None and program.graph.fields["mode"].modes == ("search", "chase", "rest")
    memory = program.start()
    assert memory.mode == 0
    program.act(SCHEMA.read(np.ones_like(random_vectors(1, 0)[0])), memory)
    assert memory.mode == 1


REFUSED = {
    'memory.mode = "chase"\nif memory.mode == "chas":\n    memory.n = 1': "did you mean 'chase'?",
    'if memory.mode == "hunt":\n    memory.n = 1': "its modes are 'search'",
    "memory.mode = 1": "string constant",
    "memory.mode = memory.last": "string constant",
    "memory.mode = f(1)": "string constant",
    'memory.mode = "a" + "b"': "string constant",
    "memory.n = memory.mode": "==",
    "memory.n = memory.mode + 1": "==",
    'if memory.mode < "search":\n    memory.n = 1': "==",
    'if "a" < memory.mode < "b":\n    memory.n = 1': "==",
    "if memory.mode:\n    memory.n = 1": "==",
    "if memory.mode == memory.last:\n    memory.n = 1": "==",
    'if memory.mode in ("search", "chase"):\n    memory.n = 1': "==",
    'memory.mode += "x"': "==",
    'memory.mode, memory.n = "chase", 1': "==",
    "for memory.mode in range(3):\n    pass": "==",
    "return NOOP, memory.mode": "==",
    "return memory.mode, 'x'": "==",
    'memory.mode = ""': "short plain word",
    'memory.mode = "\\x1b[2J"': "short plain word",
    'memory.mode = "' + "x" * 65 + '"': "short plain word",
    'memory.mode = "search" if memory.mode else "chase"': "==",
}


@pytest.mark.parametrize("body", sorted(REFUSED))
def test_what_a_mode_cannot_do_is_refused_with_a_way_out(body: str) -> None:
    found = check(policy("memory.n = 0\n" + body, "def f(a):\n    return a", MODES))
    assert any(REFUSED[body] in d.instead for d in found), found


@pytest.mark.parametrize("default", ["1", "None", "CHASE + CHASE", "f'a'", "''", "'\\n'", "('a', 'b')"])
def test_the_default_is_a_string_constant(default: str) -> None:
    found = check(policy("", 'CHASE = "chase"', f"class Memory:\n    mode: str = {default}\n"))
    assert found and all(d.instead and d.construct != "internal" for d in found)


def test_a_constant_may_be_the_default() -> None:
    program = build(policy("memory.mode = CHASE", 'CHASE = "chase"', "class Memory:\n    mode: str = CHASE\n"))
    assert program.graph is not None and program.graph.fields["mode"].modes == ("chase",)
