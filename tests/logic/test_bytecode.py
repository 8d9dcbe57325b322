"""The native machine means what generated Python means, and refuses what could hurt."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from compiler_agree import run_both
from compiler_cases import BODIES, EXPRESSIONS, HELPED, MEMORY, STARTS
from compiler_fuzz import Maker
from compiler_kit import SCHEMA, policy, random_vectors

import native
from logic.language import CompileError
from logic.language.backends import bytecode

pytestmark = pytest.mark.skipif(native.engine is None, reason="the native engine was not built")
if native.engine is not None:
    from machine_kit import ENGINE, Machine, check_machine, instructions, tampered


def test_both_sides_number_the_instructions_alike() -> None:
    assert ENGINE.machine_ops() == bytecode.OPS


@pytest.mark.parametrize("part", range(4))
def test_expressions(part: int) -> None:
    for expression in EXPRESSIONS[part::4]:
        check_machine(run_both(policy(f"memory.y = float({expression})", "", MEMORY), 1, STARTS))


def test_statements() -> None:
    for body in BODIES.values():
        check_machine(run_both(policy(body, "", MEMORY), 1, STARTS))
    for module, body in HELPED.values():
        check_machine(run_both(policy(body, module, MEMORY), 1, STARTS))


def test_random_programs() -> None:
    for seed in range(25):
        try:
            steps = run_both(Maker(seed).program(), seed)
        except CompileError:
            continue
        check_machine(steps)


def test_a_loop_that_never_ends_is_a_fault() -> None:
    graph = run_both(policy("for i in range(3):\n    memory.n = (memory.n + i) % 1000")).graph
    machine = Machine(graph)
    words, code = instructions(machine.program)
    code[code[:, 0] == bytecode.CODE["NEXT"], 8] = -1  # where it ends
    endless = ENGINE.machine_new(words.tobytes())
    ENGINE.machine_load(endless, 0, machine.layout.pack({k: f.default for k, f in graph.fields.items()}))
    assert ENGINE.machine_decide(endless, np.zeros(SCHEMA.size, np.float32)) == -1
    assert ENGINE.machine_told(endless)[0][0]


@pytest.mark.parametrize("data", [b"", b"TRIM", bytes(400), b"TRIM" + bytes(399)])
def test_what_is_no_program_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="a program is refused"):
        ENGINE.machine_new(data)


def test_tampered_programs_are_refused_or_harmless() -> None:
    """`make fuzz` does this for long, under the sanitizers."""
    r, refused, ran = random.Random(1), 0, 0
    scenes = random_vectors(4, 1)
    machine = Machine(run_both(Maker(3).program(), 3).graph)
    for _ in range(1500):
        try:
            made = ENGINE.machine_new(tampered(machine.program, r))
        except ValueError:
            refused += 1
            continue
        try:
            ENGINE.machine_decide(made, scenes[r.randrange(4)])
            ran += 1
        except ValueError:  # it wants another scene
            pass
    assert refused > 300 and ran > 300


def test_a_program_writes_into_nothing_but_its_frame_and_memory() -> None:
    """Operands that name the scene or the constants are refused where they are written."""
    machine = Machine(run_both(policy("memory.x = scene.ball.x + 1.0")).graph)
    for space in (bytecode.CONSTANT, bytecode.MEMORY, bytecode.SCENE):
        words, code = instructions(machine.program)
        code[code[:, 0] == bytecode.CODE["ADD"], 1] = np.uint32(space).astype(np.int32)
        with pytest.raises(ValueError, match=r"must not be written|outside its space"):
            ENGINE.machine_new(words.tobytes())


def test_a_division_that_writes_over_its_own_divisors_is_a_fault() -> None:
    graph = run_both(policy("memory.ticks = (memory.ticks + 1) // (memory.ticks + 2)")).graph
    machine = Machine(graph)
    words, code = instructions(machine.program)
    division = code[:, 0] == bytecode.CODE["NFLOORDIV"]
    assert division.sum() == 1
    code[division, 1] = code[division, 3] + 4  # the first quotient becomes the second divisor: 0
    over = ENGINE.machine_new(words.tobytes())
    ENGINE.machine_load(over, 0, machine.layout.pack({k: f.default for k, f in graph.fields.items()}))
    ENGINE.machine_decide(over, np.zeros(SCHEMA.size, np.float32))
    assert ENGINE.machine_told(over)[0][0]


@pytest.mark.slow
def test_a_fuzzer_under_the_sanitizers_finds_nothing() -> None:
    """`make fuzz`, for a minute."""
    script = Path(__file__).parents[1] / "kits" / "machine_fuzz.py"
    done = subprocess.run(
        [sys.executable, str(script), "--seconds", "60", "--seed", "7"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    agreed, tampered_with = done.stdout.splitlines()
    assert int(agreed.split()[0]) > 0 and int(tampered_with.split()[0]) > 1000
