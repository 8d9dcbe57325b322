"""The order of a sum is part of the language: first term to last, products rounded before they are added, in generated
Python, in batches and in ONNX, held against loops over single numbers."""

from __future__ import annotations

import importlib.util
import math
from typing import Any

import numpy as np
import pytest

from logic.language import nan_rules
from logic.language.backends.batch import start_batch, step_batch
from logic.language.ir import Type

F = np.float32
HAS_ONNX = importlib.util.find_spec("onnx") is not None
# so many terms: few and many of them, of few and of many sums, which are added in different ways
SUMS = [((5, 3), 0), ((3, 5), 1), ((7, 400), 0), ((400, 7), 1), ((130, 3), 0), ((4, 130), 1), ((2, 3, 40), 1)]
PRODUCTS = [((9,), (9,)), ((4, 9), (9,)), ((9,), (9, 4)), ((3, 9), (9, 50)), ((40, 3), (3, 40)), ((2, 130), (130, 3))]


def drawn(r: np.random.Generator, *shape: int) -> np.ndarray:
    """float32, of sizes that make every order of a sum another one."""
    return (r.normal(size=shape) * 10.0 ** r.uniform(-3, 3, shape)).astype(F)


def one_by_one(terms: list[Any]) -> Any:
    made = terms[0]
    for term in terms[1:]:
        made = F(made + term)
    return made


def slow_sum(a: np.ndarray, axis: int) -> np.ndarray:
    return np.apply_along_axis(lambda row: one_by_one(list(row)), axis, a)


def slow_product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    rows, columns = a.reshape(-1, a.shape[-1]), b.reshape(b.shape[0], -1)
    made = [one_by_one([F(x * y) for x, y in zip(row, column, strict=True)]) for row in rows for column in columns.T]
    return np.array(made, F).reshape(a.shape[:-1] + b.shape[1:])


@pytest.mark.parametrize("shape, axis", SUMS)
def test_sums_take_their_terms_in_order(shape: tuple[int, ...], axis: int) -> None:
    r = np.random.default_rng(1)
    for a in (drawn(r, *shape), np.asfortranarray(drawn(r, *shape)), drawn(r, *shape[::-1]).T):
        assert np.array_equal(nan_rules.sum_over(a, axis), slow_sum(a, axis))
        assert nan_rules.total(a) == one_by_one(list(a.reshape(-1)))


@pytest.mark.parametrize("left, right", PRODUCTS)
def test_products_of_matrices_are_such_sums(left: tuple[int, ...], right: tuple[int, ...]) -> None:
    r = np.random.default_rng(2)
    a, b = drawn(r, *left), drawn(r, *right)
    assert np.array_equal(nan_rules.matmul(a, b), slow_product(a, b))
    if len(left) == 2:
        a = drawn(r, *left[::-1]).T
        assert np.array_equal(nan_rules.matmul(a, b), slow_product(a, b))


def test_powers_are_those_of_the_c_library_and_exponentials_those_of_the_language() -> None:
    r = np.random.default_rng(3)
    a, b = np.abs(drawn(r, 300)), r.uniform(-3, 3, 300).astype(F)
    assert nan_rules.power(a, b).tolist() == [F(math.pow(x, y)) for x, y in zip(a.tolist(), b.tolist(), strict=True)]
    assert nan_rules.power(a, 3.0).tolist() == [F(math.pow(x, 3.0)) for x in a.tolist()]
    near = [float.fromhex(x) for x in ("0x1.fdff02p-17", "-0x1.e1dbe2p-8", "-0x1.d2259ap+3")]  # to where rounding turns
    x = np.array([*r.uniform(-100, 88, 300), *near], F)
    assert nan_rules.exp_of(x).tolist() == [F(language_exp(v)) for v in x.tolist()]


def language_exp(x: float) -> float:
    from logic.language.builtins import MATH

    return float(MATH.exp(x))


CASES: list[tuple[str, list[tuple[int, ...]], dict[str, Any]]] = [
    *(("sum_over", [shape], {"axis": axis}) for shape, axis in SUMS),
    *(("matmul", list(pair), {}) for pair in PRODUCTS if pair[0][:-1] + pair[1][1:]),
    ("total", [(200,)], {}), ("total", [(9, 30)], {}), ("exp_of", [(60,)], {}), ("pow", [(40,), (40,)], {}),
]  # fmt: skip


@pytest.mark.skipif(not HAS_ONNX, reason="needs onnx")
@pytest.mark.parametrize("name, shapes, attrs", CASES)
def test_every_back_end_adds_alike(name: str, shapes: list[tuple[int, ...]], attrs: dict[str, Any]) -> None:
    from onnx_kit import OneOp

    r = np.random.default_rng(4)
    machine = OneOp(name, [Type("float", s) for s in shapes], attrs)
    for _ in range(8):
        values = [drawn(r, *s) for s in shapes]
        machine.compare([np.clip(values[0], -80, 80)] if name == "exp_of" else [np.abs(values[0]), *values[1:]])
    machine.compare_batch()


def test_a_batch_is_so_many_single_steps() -> None:
    """The same without ONNX."""
    from compiler_kit import SCHEMA, build, policy, random_vectors

    memory = "class Memory:\n    x: float = 0.0\n    w: Float[300] = exp_of(to_float(arange(300) % 7) * 0.3)"
    both = "memory.x = total(memory.w) + matmul(memory.w, memory.w[:, None])[0]"
    program = build(policy(f"memory.w = memory.w * 1.01 + scene.ball.x\n{both}", "", memory))
    vectors = random_vectors(6, 1)
    assert program.graph is not None
    result = step_batch(program.graph, vectors, start_batch(program.graph, 6))
    for i, vector in enumerate(vectors):
        single = program.start()
        program.act(SCHEMA.read(vector), single)
        assert single.snapshot()["x"] == result.memory["x"][i]
