"""lib/maths: close to the true values, the same bits in every back end, Python's faults, not too many operations."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from decimal import Decimal, getcontext
from typing import Any

import numpy as np
import pytest
from compiler_kit import SCHEMA, build, policy, random_vectors

from logic.language.backends.batch import step_batch
from logic.language.builtins import MATH, PORTABLE
from logic.language.diagnostics import Limits, Meter
from logic.language.interpreter import Interpreter
from logic.language.ir import walk

D = Decimal
PI = D("3.14159265358979323846264338327950288419716939937510582097494459230781640628620899")
FIELDS = "class Memory:\n    a: float = 0.0\n    b: float = 0.0\n    y: float = 0.0\n"


@pytest.fixture(autouse=True)
def many_digits() -> Any:
    before = getcontext().prec
    getcontext().prec = 60
    yield
    getcontext().prec = before


def sin(x: Decimal) -> Decimal:
    x = x % (2 * PI)
    total = term = x - 2 * PI if x > PI else x + 2 * PI if x < -PI else x
    square, k = total * total, 1
    while abs(term) > D(10) ** -58:
        term, k = -term * square / ((k + 1) * (k + 2)), k + 2
        total += term
    return total


def atan(x: Decimal) -> Decimal:
    if abs(x) > D("0.2"):
        return 2 * atan(x / (1 + (1 + x * x).sqrt()))
    total = power = x
    k = 1
    while abs(power) > D(10) ** -58:
        power, k = -power * x * x, k + 2
        total += power / k
    return total


def atan2(y: Decimal, x: Decimal) -> Decimal:
    if x == 0:
        return PI / 2 if y > 0 else -PI / 2
    return atan(y / x) + (0 if x > 0 else PI if y >= 0 else -PI)


TRUE: dict[str, Callable[..., Decimal]] = {
    "sin": sin, "cos": lambda x: sin(x + PI / 2), "tan": lambda x: sin(x) / sin(x + PI / 2),
    "asin": lambda x: atan2(x, ((1 - x) * (1 + x)).sqrt()), "acos": lambda x: atan2(((1 - x) * (1 + x)).sqrt(), x),
    "atan": atan, "atan2": atan2, "exp": lambda x: x.exp(), "log": lambda x: x.ln(),
    "hypot": lambda x, y: (x * x + y * y).sqrt(),
}  # fmt: skip
MOST_ULPS = {"sin": 1.0, "cos": 1.0, "exp": 1.0, "log": 1.0, "hypot": 1.5}


def samples(name: str, n: int) -> list[tuple[float, ...]]:
    """Arguments over the useful range, where series and reductions meet among them."""
    r = random.Random(name)
    if name in ("asin", "acos"):
        return [(r.uniform(-1, 1),) for _ in range(n)]
    near = [r.uniform(-4, 4) for _ in range(n)]
    far = [r.choice((-1, 1)) * 10 ** r.uniform(-12, 5.9) for _ in range(n)]
    if PORTABLE[name] == 2:
        return list(zip(near + far, r.sample(near, n) + r.sample(far, n), strict=True))
    if name == "exp":
        return [(x,) for x in near + [r.uniform(-740, 709) for _ in range(n)]] + [(0.0,), (-745.1,), (709.78,)]
    if name == "log":
        ends = [5e-324, 1e-310, 1.7e308, 1.0, math.sqrt(0.5), math.sqrt(2.0)]
        return [(abs(x),) for x in near + [r.uniform(0.999, 1.001) for _ in range(n)] + ends]
    return [(x,) for x in near + far + [k * math.pi / 4 for k in range(1, 400, 7)]]


@pytest.mark.parametrize("name", sorted(PORTABLE))
def test_values_are_close_to_the_true_ones(name: str) -> None:
    for given in samples(name, 150):
        true = TRUE[name](*map(D, given))
        off = abs(D(getattr(MATH, name)(*given)) - true) / D(math.ulp(float(true)))
        assert off <= MOST_ULPS.get(name, 2.0), (given, off)


ODD = [0.0, -0.0, 1.0, -1.0, math.inf, -math.inf, math.nan, 1e300, -1e300, 5e-324, 1e-310, -1e-310, 0.5, 2.0, 710.0]


@pytest.mark.parametrize("name", sorted(PORTABLE))
def test_generated_code_batches_and_interpreter_give_the_same_bits(name: str) -> None:
    odd = [(x,) for x in ODD] if PORTABLE[name] == 1 else [(x, y) for x in ODD for y in ODD]
    given = odd + samples(name, 60)
    args = "memory.a" if PORTABLE[name] == 1 else "memory.a, memory.b"
    program = build(policy(f"memory.y = math.{name}({args})", memory=FIELDS))
    scene, graph = SCHEMA.read(random_vectors(1, 0)[0]), program.graph
    assert graph is not None
    memory = {"a": np.array([g[0] for g in given]), "b": np.array([g[-1] for g in given]), "y": np.zeros(len(given))}
    batch = step_batch(graph, random_vectors(len(given), 0), memory, fallback=-1)
    loads = {op.attrs["field"]: op.results[0] for op in walk(graph.body) if op.name == "memory"}
    for i, values in enumerate(given):
        try:
            expected = getattr(MATH, name)(*values)
        except (ValueError, ArithmeticError):
            assert batch.faults[i]
            continue
        state = program.start()
        state.restore({"a": values[0], "b": values[-1]})
        assert program.act(scene, state)[0] == 0
        put_in = {value: float(memory[field][i]) for field, value in loads.items()}
        folded = Interpreter(Meter(Limits()), put_in).run(graph.body)[2 + list(graph.fields).index("y")]
        assert {bits(expected), bits(state.y), bits(folded), bits(batch.memory["y"][i])} == {bits(expected)}, values


def bits(value: float) -> str:
    return "nan" if value != value else float(value).hex()


@pytest.mark.parametrize("name", sorted(PORTABLE))
def test_faults_are_those_of_python(name: str) -> None:
    for given in [(x,) for x in ODD] if PORTABLE[name] == 1 else [(x, y) for x in ODD for y in ODD]:
        answers = []
        for made in (getattr(math, name), getattr(MATH, name)):
            try:
                answers.append(float(made(*given)))
            except (ValueError, ArithmeticError):
                answers.append("fault")
        if name == "hypot" and "fault" not in answers:  # ours may reach infinity sooner, and NaN wins over infinity
            continue
        a, b = answers
        same = a == b == "fault" or (a != "fault" and b != "fault" and (a != a) == (b != b))
        assert same, (given, answers)


def test_a_policys_own_library_cannot_change_what_math_means() -> None:
    from compiler_kit import CONSTANTS

    from logic.language import compile_program

    source = policy("memory.y = math.sin(memory.a)", memory=FIELDS)
    other = compile_program(source, SCHEMA, CONSTANTS, library=lambda name: "def sin(x):\n    return 0.0\n")
    assert other.code == build(source).code and "lib/maths" not in other.module.sources


@pytest.mark.parametrize("name", sorted(PORTABLE))
def test_operations_stay_few_and_portable(name: str) -> None:
    args = "memory.a" if PORTABLE[name] == 1 else "memory.a, memory.b"
    program = build(policy(f"memory.y = math.{name}({args})", memory=FIELDS))
    assert program.graph is not None
    made = [op.name for op in walk(program.graph.body)]
    assert len(made) < (230 if name == "tan" else 130)
    assert not {"pow", "exp_of", *PORTABLE} & set(made)


def test_equal_calls_are_inlined_once() -> None:
    one = build(policy("memory.y = math.sin(memory.a)", memory=FIELDS))
    two = build(policy("memory.y = math.sin(memory.a) + math.sin(memory.a)", memory=FIELDS))
    assert one.graph is not None and two.graph is not None
    assert len(list(walk(two.graph.body))) == len(list(walk(one.graph.body))) + 1
