"""Random policies mean the same in plain Python, generated Python, a batch and ONNX: actions, reasons, memory, faults.

Actions, reasons, faults, ints and bools must be equal everywhere. So must floats, but for two things in ONNX: in a
program that sums float arrays or takes exponentials of them, floats may differ by a tolerance; and of an element of an
array the sign of a zero does not count. Every step starts from the memory that generated Python left, so that
differences do not add up. A difference of rounding could turn a comparison: none of the programs here does.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from compiler_fuzz import Maker
from compiler_kit import ACTIONS, CONSTANTS, SCHEMA, build, random_vectors

from benchmarks.plain_runner import load_program
from logic.compiler import CompileError
from logic.compiler.batched import step_batch
from logic.compiler.ir import Graph, walk
from logic.program import Program

SCENES = 30
REFUSED = ("always a fault", "lies outside", "is not one of")  # constant parts that can only fail
ROUNDING = {"total", "sum_over", "scatter_add", "matmul", "exp_of"}
HAS_ONNX = importlib.util.find_spec("onnx") is not None
QUICK, FULL = range(150), range(2000)


def take_step(program: Program, scene: Any, memory: Any) -> tuple[int, str]:
    """(action, reason); (-1, type of the fault) with memory as it was."""
    before = memory.snapshot()
    try:
        with np.errstate(divide="raise", invalid="raise", over="ignore", under="ignore"):
            action, reason = program.act(scene, memory)
        if 0 <= int(action) < len(ACTIONS):
            return int(action), reason
        kind = "action"
    except Exception as e:
        kind = type(e).__name__
    memory.restore(before)
    return -1, kind


def equal(a: Any, b: Any) -> bool:
    return bool(np.array_equal(np.asarray(a, float), np.asarray(b, float), equal_nan=True))


@dataclass
class Steps:
    """What generated Python did with each scene: memory before and after, (action or -1, reason or fault)."""

    source: str
    graph: Graph
    vectors: np.ndarray
    before: list[dict[str, Any]]
    after: list[dict[str, Any]]
    answers: list[tuple[int, str]]


def run_both(seed: int) -> Steps | None:
    """Plain and generated Python in step. None: refused, since a constant part always faults."""
    source = Maker(seed).program()
    plain = load_program(source, CONSTANTS)
    try:
        made = build(source)
    except CompileError as e:
        assert all(any(p in d.message for p in REFUSED) for d in e.diagnostics), f"{source}\n{e}"
        return None
    assert made.graph is not None
    steps = Steps(source, made.graph, random_vectors(SCENES, seed), [], [], [])
    m1, m2 = plain.start(), made.start()
    for vector in steps.vectors:
        steps.before.append(m2.snapshot())
        scene = SCHEMA.read(vector)
        (a1, r1), (a2, r2) = take_step(plain, scene, m1), take_step(made, scene, m2)
        assert a1 == a2 and (a1 < 0 or r1 == r2), f"{source}\n{made.code}\nplain {a1, r1}, compiled {a2, r2}"
        assert not (a1 < 0 and {r1, r2} & {"TypeError", "NameError", "AttributeError", "KeyError"}), (
            f"{source}\n{r1}, {r2}"
        )
        for f in made.graph.fields:
            assert equal(getattr(m1, f), getattr(m2, f)), (
                f"{source}\n{made.code}\n{f}: {getattr(m1, f)} {getattr(m2, f)}"
            )
        steps.after.append(m2.snapshot())
        steps.answers.append((a2, r2))
    return steps


def check_batch(steps: Steps) -> None:
    """All scenes at once give the same answers and memories."""
    graph, source = steps.graph, steps.source
    memory = {f: np.array([b[f] for b in steps.before]) for f in graph.fields}
    result = step_batch(graph, steps.vectors, memory, fallback=-1)
    for i, (action, reason) in enumerate(steps.answers):
        assert (result.actions[i], bool(result.faults[i])) == (action, action < 0), f"{source}\nbatch, scene {i}"
        assert action < 0 or graph.reasons[result.reasons[i]] == reason
        for f in graph.fields:
            assert equal(result.memory[f][i], steps.after[i][f]), f"{source}\nbatch, scene {i}, {f}"


def check_onnx(steps: Steps) -> None:
    """The same answers and memories, bit by bit where nothing rounds differently (see ROUNDING)."""
    from onnx_kit import equal as same
    from onnx_kit import session

    from logic.compiler.layout import MemoryLayout
    from logic.compiler.onnx_model import logic_model

    graph = steps.graph
    machine, layout = session(logic_model(graph, SCHEMA.size, 0)), MemoryLayout.of(graph.fields)
    rounding = any(op.name in ROUNDING and op.result.type.kind == "float" for op in walk(graph.body) if not op.blocks)
    for i, (action, reason) in enumerate(steps.answers):
        feed = {"scene": steps.vectors[i], "memory": layout.pack(steps.before[i])}
        a, r, memory, fault = machine.run(None, feed)
        wanted = (0, -1, True) if action < 0 else (action, graph.reasons.index(reason), False)
        assert (int(a[0]), int(r[0]), bool(fault[0])) == wanted, f"{steps.source}\nONNX, scene {i}: {a, r, fault}"
        for f, value in layout.unpack(memory).items():
            loose = rounding and graph.fields[f].type.kind == "float"
            told = f"{steps.source}\nONNX, scene {i}, {f}: {value}, Python {steps.after[i][f]}"
            assert same(value, steps.after[i][f], loose), told


def compare(seed: int, onnx: bool) -> int | None:
    """Run one program in every way there is; how many of its steps were faults. None: refused."""
    steps = run_both(seed)
    if steps is None:
        return None
    check_batch(steps)
    if onnx:
        check_onnx(steps)
    return sum(a < 0 for a, _ in steps.answers)


def test_random_programs_agree() -> None:
    ran = [compare(seed, HAS_ONNX) for seed in QUICK]
    faults = [n for n in ran if n is not None]
    assert len(faults) > 0.8 * len(ran)
    assert 0 < sum(faults) < 0.8 * SCENES * len(faults)  # both outcomes were compared


@pytest.mark.slow
def test_many_random_programs_agree() -> None:
    pytest.importorskip("onnx")
    for seed in FULL:
        compare(seed, True)
