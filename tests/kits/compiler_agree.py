"""Running one policy text in plain Python, generated Python, a batch and ONNX, step by step, and holding them together.

Actions, reasons, faults and numbers must be equal everywhere, bit by bit, but that of an element of an array the sign
of a zero does not count. Every step starts from the memory that generated Python left: differences do not add up.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from compiler_kit import ACTIONS, CONSTANTS, SCHEMA, random_vectors

from benchmarks.plain_runner import load_program
from logic.language import CompiledProgram, compile_program
from logic.language.backends.batch import step_batch
from logic.language.ir import Graph
from logic.language.program import Program

SCENES = 30
NO_IMPORT = "KeyError: '__import__'"  # so numpy refuses an int beyond 32 bits where there are no builtins
BROKEN = re.compile("TypeError(?!.*complex)|NameError|AttributeError|KeyError")  # no fault of a policy, but a bug
BEYOND = "PolicyFault: an integer beyond 2**53"  # plain Python has no such limit


def take_step(program: Program, scene: Any, memory: Any) -> tuple[int, str]:
    """(action, reason); (-1, the fault) with memory as it was."""
    before = memory.snapshot()
    try:
        with np.errstate(divide="raise", invalid="raise", over="ignore", under="ignore"):
            action, reason = program.act(scene, memory)
        if 0 <= int(action) < len(ACTIONS):
            return int(action), reason
        kind = "action"
    except Exception as e:
        kind = f"{type(e).__name__}: {e}"
    memory.restore(before)
    return -1, kind


def equal(a: Any, b: Any) -> bool:
    """Equal in value, NaN equal to NaN, and of scalars in the sign of zero."""
    x, y = np.asarray(a, float), np.asarray(b, float)
    signs = x.ndim > 0 or bool(np.isnan(x)) or bool(np.signbit(x) == np.signbit(y))
    return signs and bool(np.array_equal(x, y, equal_nan=True))


def plain_value(graph: Graph, field: str, memory: Any) -> Any:
    """What plain Python holds in a field, a mode as its number."""
    value = getattr(memory, field)
    return graph.fields[field].modes.index(value) if isinstance(value, str) else value


@dataclass
class Steps:
    """What generated Python did with each scene: memory before and after, (action or -1, reason or fault)."""

    source: str
    graph: Graph
    vectors: np.ndarray
    before: list[dict[str, Any]]
    after: list[dict[str, Any]]
    answers: list[tuple[int, str]]


def run_both(source: str, seed: int = 0, starts: Sequence[Mapping[str, Any]] = ()) -> Steps:
    """Plain and generated Python in step: SCENES scenes, or one for each memory to start from. CompileError: it is
    refused."""
    made: CompiledProgram = compile_program(source, SCHEMA, CONSTANTS)
    plain = load_program(source, CONSTANTS)
    assert made.graph is not None
    steps = Steps(source, made.graph, random_vectors(len(starts) or SCENES, seed), [], [], [])
    m1, m2 = plain.start(), made.start()
    for vector, start in itertools.zip_longest(steps.vectors, starts, fillvalue={}):
        for memory in (m1, m2):
            memory.restore(dict(start))
        steps.before.append(m2.snapshot())
        scene = SCHEMA.read(vector)
        (a1, r1), (a2, r2) = take_step(plain, scene, m1), take_step(made, scene, m2)
        if a2 < 0 and r2 == BEYOND:
            m1.restore(m2.snapshot())
            a1 = a2
        assert a1 == a2 and (a1 < 0 or r1 == r2), f"{source}\n{made.code}\nplain {a1, r1}, compiled {a2, r2}"
        assert a1 >= 0 or r1 == NO_IMPORT or not BROKEN.match(r1), f"{source}\n{r1}"
        assert a1 >= 0 or not BROKEN.match(r2), f"{source}\n{r2}"
        for f in made.graph.fields:
            one, two = plain_value(made.graph, f, m1), getattr(m2, f)
            assert equal(one, two), f"{source}\n{made.code}\n{f}: {one} {two}"
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
    """The same answers and memories, bit by bit."""
    from onnx_kit import equal as same
    from onnx_kit import session

    from logic.language.backends.onnx import logic_model
    from logic.language.layout import MemoryLayout

    graph = steps.graph
    machine, layout = session(logic_model(graph, SCHEMA.size, 0)), MemoryLayout.of(graph.fields)
    for i, (action, reason) in enumerate(steps.answers):
        feed = {"scene": steps.vectors[i], "memory": layout.pack(steps.before[i])}
        a, r, memory, fault = machine.run(None, feed)
        wanted = (0, -1, True) if action < 0 else (action, graph.reasons.index(reason), False)
        assert (int(a[0]), int(r[0]), bool(fault[0])) == wanted, f"{steps.source}\nONNX, scene {i}: {a, r, fault}"
        for f, value in layout.unpack(memory).items():
            told = f"{steps.source}\nONNX, scene {i}, {f}: {value}, Python {steps.after[i][f]}"
            assert same(value, steps.after[i][f]), told
