"""Random policies mean the same in plain Python, generated Python and a batch: actions, reasons, memory, faults."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from compiler_fuzz import Maker
from compiler_kit import ACTIONS, CONSTANTS, SCHEMA, build, random_vectors

from benchmarks.plain_runner import load_program
from logic.compiler import CompileError
from logic.compiler.batched import step_batch
from logic.program import Program

SCENES = 30
REFUSED = ("always a fault", "lies outside", "is not one of")  # constant parts that can only fail
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


def compare(seed: int) -> int | None:
    """Run one program; how many of its steps were faults. None: refused, since a constant part always faults."""
    source = Maker(seed).program()
    plain = load_program(source, CONSTANTS)
    try:
        made = build(source)
    except CompileError as e:
        assert all(any(p in d.message for p in REFUSED) for d in e.diagnostics), f"{source}\n{e}"
        return None
    vectors = random_vectors(SCENES, seed)
    assert made.graph is not None
    fields = list(made.graph.fields)
    m1, m2 = plain.start(), made.start()
    before: dict[str, list[Any]] = {f: [] for f in fields}
    after, answers = [], []
    for vector in vectors:
        for f in fields:
            before[f].append(getattr(m2, f))
        scene = SCHEMA.read(vector)
        (a1, r1), (a2, r2) = take_step(plain, scene, m1), take_step(made, scene, m2)
        assert a1 == a2 and (a1 < 0 or r1 == r2), f"{source}\n{made.code}\nplain {a1, r1}, compiled {a2, r2}"
        assert not (a1 < 0 and {r1, r2} & {"TypeError", "NameError", "AttributeError", "KeyError"}), (
            f"{source}\n{r1}, {r2}"
        )
        for f in fields:
            assert equal(getattr(m1, f), getattr(m2, f)), (
                f"{source}\n{made.code}\n{f}: {getattr(m1, f)} {getattr(m2, f)}"
            )
        after.append(m2.snapshot())
        answers.append((a2, r2))
    result = step_batch(made.graph, vectors, {f: np.array(v) for f, v in before.items()}, fallback=-1)
    for i, (action, reason) in enumerate(answers):
        assert (result.actions[i], bool(result.faults[i])) == (action, action < 0), f"{source}\nbatch, scene {i}"
        assert action < 0 or made.graph.reasons[result.reasons[i]] == reason
        for f in fields:
            assert equal(result.memory[f][i], after[i][f]), f"{source}\nbatch, scene {i}, {f}"
    return sum(a < 0 for a, _ in answers)


def test_random_programs_agree() -> None:
    ran = [compare(seed) for seed in QUICK]
    faults = [n for n in ran if n is not None]
    assert len(faults) > 0.8 * len(ran)
    assert 0 < sum(faults) < 0.8 * SCENES * len(faults)  # both outcomes were compared


@pytest.mark.slow
def test_many_random_programs_agree() -> None:
    for seed in FULL:
        compare(seed)
