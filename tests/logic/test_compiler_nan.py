"""Faults of float arrays depend on numbers, not on the machine: not on flags, not on the order of a sum.

Flags are heard of + - * / alone, where IEEE 754 ties them to the result, and must stay silent in all the other kernels
that generated code uses as they are; both are checked here for every length of the vector units' tails.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from compiler_kit import SCHEMA, build, policy, random_vectors

from logic.errors import PolicyFault
from logic.language import nan_rules
from logic.language.backends.batch import step_batch

F = np.float32
HEARD: Any = {"divide": "raise", "invalid": "raise", "over": "ignore", "under": "ignore"}  # as in generated code
SPECIAL = np.array([np.nan, np.inf, -np.inf, 3e38, -3e38, 1e-40, 0.0, -0.0, 1.0, -2.5, 7.0, 1e19, 2.0**31], F)
LENGTHS = [*range(1, 40), 63, 64, 65, 129]
RULES: dict[str, Callable[..., Any]] = {
    "matmul": lambda a: nan_rules.matmul(a, a.T), "matvec": lambda a: nan_rules.matmul(a, a[0]),
    "total": nan_rules.total, "sum_over 0": lambda a: nan_rules.sum_over(a, 0),
    "sum_over 1": lambda a: nan_rules.sum_over(a, 1), "exp_of": nan_rules.exp_of, "floor_of": nan_rules.floor_of,
    "power": lambda a: nan_rules.power(a, a[::-1]), "square": lambda a: nan_rules.power(a, 2.0),
    "root": lambda a: nan_rules.power(np.where(np.isfinite(a), np.abs(a), a), 0.5),
    "floordiv": lambda a: nan_rules.floordiv(a, a[::-1]),
    "mod": lambda a: nan_rules.mod(a, a[::-1]), "mod 3": lambda a: nan_rules.mod(a, 3.0),
    "scatter_add": lambda a: nan_rules.scatter_add(np.arange(a.size) % 3, a.reshape(-1), 3),
}  # fmt: skip
SILENT: dict[str, Callable[..., Any]] = {
    "lt": operator.lt, "le": operator.le, "gt": operator.gt, "ge": operator.ge, "eq": operator.eq, "ne": operator.ne,
    "maximum": np.maximum, "minimum": np.minimum, "where": lambda a, b: np.where(a < b, a, b),
    "sign": lambda a, b: np.sign(a), "abs": lambda a, b: np.absolute(a), "neg": lambda a, b: -a,
    "isnan": lambda a, b: np.isnan(a), "isfinite": lambda a, b: np.isfinite(a), "max": lambda a, b: a.max(),
    "min": lambda a, b: a.min(), "argmax": lambda a, b: a.argmax(), "argmin": lambda a, b: a.argmin(),
    "argsort": lambda a, b: np.argsort(-a, kind="stable"), "full": lambda a, b: np.full(3, float(a[0]), F),
    "bincount": lambda a, b: np.bincount(np.zeros(a.size, int), a),
    "narrow": lambda a, b: a.astype(np.float64).astype(F), "take": lambda a, b: a.take(np.arange(a.size)),
    "max_over": lambda a, b: np.stack([a, b], 1).max(1), "concatenate": lambda a, b: np.concatenate((a, b)),
    "compare a scalar": lambda a, b: a < 2147483648.0,
}  # fmt: skip
EXACT = {"add": operator.add, "sub": operator.sub, "mul": operator.mul, "div": operator.truediv}


def drawn(r: np.random.Generator, *shape: int, tame: float = 0.6) -> np.ndarray:
    """float32 array, special elements now and then."""
    return np.where(r.random(shape) < tame, r.integers(-3, 4, shape), r.choice(SPECIAL, shape)).astype(F)


def outcome(run: Callable[..., Any], *args: Any) -> Any:
    """What it gives, or the fault."""
    try:
        return np.asarray(run(*args))
    except PolicyFault:
        return "fault"


def alike(a: Any, b: Any) -> bool:
    if isinstance(a, str) or isinstance(b, str):
        return isinstance(a, str) and isinstance(b, str)
    return bool(np.array_equal(a, b, equal_nan=True))


@pytest.mark.parametrize("name", sorted(RULES))
def test_flags_make_no_difference(name: str) -> None:
    r, faults = np.random.default_rng(1), 0
    for n, tame in itertools.product(LENGTHS, (0.8, 0.95, 0.99)):
        a = drawn(r, 4, n, tame=tame)
        with np.errstate(all="ignore"):
            plain = outcome(RULES[name], a)
        with np.errstate(**HEARD):
            raised = outcome(RULES[name], a)
        assert alike(plain, raised), a
        faults += isinstance(plain, str)
    assert faults < 3 * len(LENGTHS) and (faults > 0) == (name not in ("exp_of", "floor_of", "square")), faults


@pytest.mark.parametrize("name", sorted(SILENT))
def test_kernels_whose_flags_are_heard_raise_none(name: str) -> None:
    r = np.random.default_rng(2)
    for n in LENGTHS:
        a, b = drawn(r, n), drawn(r, n)
        with np.errstate(**HEARD):
            SILENT[name](a, b)


@pytest.mark.parametrize("name", sorted(EXACT))
def test_arithmetic_raises_flags_exactly_where_nan_or_infinity_comes_of_numbers(name: str) -> None:
    r, raised = np.random.default_rng(3), 0
    for n, tame in itertools.product(LENGTHS, (0.5, 0.8, 0.95, 0.99)):
        a, b = drawn(r, n, tame=tame), drawn(r, n, tame=tame)
        b = np.where((b == 0) & (r.random(n) < 0.9), 1, b).astype(F)
        with np.errstate(all="ignore"):
            made = EXACT[name](a, b)
            new = np.isnan(made) & ~np.isnan(a) & ~np.isnan(b)
            zero = (b == 0) & np.isfinite(a) if name == "div" else np.zeros(n, bool)
        try:
            with np.errstate(**HEARD):
                EXACT[name](a, b)
            told = False
        except FloatingPointError:
            told = True
        assert told == bool((new | zero).any()), (a, b)
        raised += told
    assert 0 < raised < 4 * len(LENGTHS)


def close(a: Any, b: Any, size: float) -> bool:
    """The same fault, the same NaN and infinities, numbers within rounding of the largest term."""
    if isinstance(a, str) or isinstance(b, str):
        return isinstance(a, str) and isinstance(b, str)
    return bool(np.allclose(a.astype(float), b.astype(float), rtol=1e-4, atol=1e-6 * size, equal_nan=True))


def test_the_order_of_a_sum_makes_no_difference() -> None:
    r, faults = np.random.default_rng(4), 0
    for n in LENGTHS * 3:
        a, b, order = drawn(r, 3, n, tame=0.95), drawn(r, n, 2, tame=0.95), r.permutation(n)
        size = float(max(np.abs(v[np.isfinite(v)]).max(initial=0.0) for v in (a, b)))
        with np.errstate(all="ignore"):
            made, other = (
                [outcome(nan_rules.matmul, x, y), outcome(nan_rules.total, x), outcome(nan_rules.sum_over, x, 1)]
                for x, y in ((a, b), (a[:, order], b[order]))
            )
        assert close(made[0], other[0], size * size) and close(made[1], other[1], size), (a, b, made, other)
        assert close(made[2], other[2], size), (a, made, other)
        faults += isinstance(made[0], str)
    assert 0 < faults < 3 * len(LENGTHS)


OVERFLOW = {
    "total(memory.trail * 3e38)": ((1.0, 1.0, -1.0), 3e38),
    "total(memory.trail * 1e38)": ((3.0, 3.0, -3.0), 3e38),
    "matmul(reshape(memory.trail, 1, 3), full(3, 3e38))[0]": ((2.0, -2.0, 1.0), 3e38),
    "sum_over(reshape(memory.trail * 3e38, 1, 3), 1)[0]": ((1.0, 1.0, -1.0), 3e38),
    "total(memory.trail)": ((np.inf, -np.inf, 0.0), None), "total(memory.trail) ": ((np.inf, -np.inf, np.nan), np.nan),
    "matmul(reshape(memory.trail, 3, 1), zeros(1))[0]": ((np.inf, 0.0, 0.0), None),
    "matmul(reshape(memory.trail, 1, 3), ones(3))[0]": ((np.inf, -np.inf, 0.0), None),
    "matmul(reshape(memory.trail, 1, 3), ones(3))[0] ": ((np.inf, -np.inf, np.nan), np.nan),
    "scatter_add(array((0, 0, 1)), memory.trail, 2)[0]": ((np.inf, -np.inf, 0.0), None),
    "scatter_add(array((0, 0, 1)), memory.trail, 2)[1]": ((np.inf, -np.inf, np.nan), np.nan),
    "largest(memory.trail * -1.0)": ((0.0, 0.0, 0.0), 0.0), "(memory.trail ** 0.5)[0]": ((-np.inf, 1.0, 1.0), None),
    "(memory.trail ** -1.0)[0]": ((0.0, 1.0, 1.0), None), "(memory.trail // 1e-38)[0]": ((3e38, 0.0, 0.0), None),
    "(memory.trail % 1e-60)[0]": ((3.0, 1.0, 1.0), None), "(memory.trail % 2.0)[0]": ((np.inf, 1.0, 1.0), None),
}  # fmt: skip


@pytest.mark.parametrize("expression", sorted(OVERFLOW))
def test_what_leaves_float32_on_its_way(expression: str) -> None:
    """None: a fault. Generated Python and a batch; ONNX is held to generated Python op by op."""
    trail, expected = OVERFLOW[expression]
    program = build(policy(f"memory.x = {expression}"))
    state, start = program.start(), np.array(trail, F)
    state.trail = start
    vector = random_vectors(1, 0)
    try:
        program.act(SCHEMA.read(vector[0]), state)
        assert expected is not None
        assert np.isclose(state.x, expected, equal_nan=True) and not (state.x == 0 and np.signbit(state.x))
    except (PolicyFault, FloatingPointError):
        assert expected is None
    assert program.graph is not None
    memory = {k: np.array([v]) for k, v in {**program.start().snapshot(), "trail": start}.items()}
    batch = step_batch(program.graph, vector, memory)
    assert bool(batch.faults[0]) == (expected is None)
    assert expected is None or np.isclose(batch.memory["x"][0], expected, equal_nan=True)
