"""A fault at play says which line of which text it came from, wherever the policy runs."""

from __future__ import annotations

import numpy as np
import pytest
from compiler_kit import CONSTANTS, SCHEMA, SPACE, controller, policy

from logic.language import compile_program, compile_safety
from logic.sandbox.compiling import compile_confined
from logic.sandbox.controller import make_step

MODULE = """
T = array((1.0, 2.0, 3.0))


def speed(scene):
    gap = scene.ball.x - scene.enemy[0].x
    return 1.0 / gap
"""
HEAD = policy("", MODULE).split("def act")[0].count("\n") + 2  # the line of the body's first statement
SPEED = policy("", MODULE).split("    return 1.0 / gap")[0].count("\n") + 1
CASES = [
    ("memory.x = 1.0 / scene.ball.x", HEAD), ("memory.n = 3\nmemory.x = 2.0 + 1.0 / scene.ball.x", HEAD + 1),
    ("memory.x = speed(scene)", SPEED), ("memory.x = T[int(scene.ball.x) + 7]", HEAD),
    ("memory.n = 5 // int(scene.ball.x)", HEAD), ("memory.x = math.sqrt(scene.ball.x - 1.0)", HEAD),
    ("memory.n = 1\nif scene.ball.x < 1.0:\n    memory.x = 5.0 % scene.ball.x", HEAD + 2),
    ("for i in range(3):\n    memory.x = memory.x + 1.0 / scene.ball.x", HEAD + 1),
    ("memory.x = total(T / scene.ball.x)", HEAD),
    ("memory.x = 1.0 if scene.ball.seen else math.log(scene.ball.x)", HEAD),
]  # fmt: skip
SCENE = SCHEMA.read(np.zeros(SCHEMA.size, np.float32))


@pytest.mark.parametrize(("body", "line"), CASES)
def test_a_fault_names_its_line(body: str, line: int) -> None:
    source = policy(body, MODULE)
    fault = controller(compile_program(source, SCHEMA, CONSTANTS, name="policy.py")).decide(SCENE).fault
    assert fault.endswith(f"(policy.py, line {line})"), fault


def test_rules_libraries_and_workers_say_it_too() -> None:
    rule = 'def rest(scene, memory, action):\n    """Rest"""\n    return action if 1.0 / scene.ball.x > 1.0 else NOOP\n'
    rules = compile_safety(rule, SCHEMA, CONSTANTS, name="safety.py")
    calm = compile_program(policy(""), SCHEMA, CONSTANTS)
    assert controller(calm, rules).decide(SCENE).fault.endswith("division by zero (safety.py, line 3)")
    helped = "from logic.lib.own import f\n\n\ndef act(scene, memory):\n"
    helped += "    return (LEFT if f(scene.ball.x) > 1.0 else FIRE), 'x'\n"
    library = {"own": "def f(x):\n    return 1.0 / x\n"}
    made = compile_program(helped, SCHEMA, CONSTANTS, library.__getitem__)
    assert controller(made).decide(SCENE).fault.endswith("(lib/own, line 2)")
    data = compile_confined(SCHEMA, policy("memory.x = 1.0 / scene.ball.x"), "", CONSTANTS)
    reply = make_step(data, SCHEMA, SPACE, 0)(SCENE.vector.tobytes())
    assert b"(policy.py, line " in reply


@pytest.mark.parametrize("name", ["a\nimport os\n.py", "#'\"\\.py", "\u2028\ud800.py", "a" * 5000])
def test_a_files_name_is_no_code(name: str) -> None:
    made = compile_program(policy("memory.x = 1.0 / scene.ball.x"), SCHEMA, CONSTANTS, name=name)
    assert all(line.startswith((" ", "def step(")) for line in made.code.rstrip("\n").split("\n"))
    assert ", line " in controller(made).decide(SCENE).fault and len(made.code) < 2000
