"""Compiled policies at play: values, faults, safety rules, the shipped policies, batches, what the code looks like."""

from __future__ import annotations

import math
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compiler_kit import CONSTANTS, SCHEMA, build, controller, policy, random_vectors

from benchmarks.plain_runner import load_program
from envs.actions import Discrete
from envs.spec import load_spec
from logic.language import CompileError, compile_program, compile_safety
from logic.language.backends.batch import start_batch, step_batch
from logic.language.ir import show, walk
from perception.scene import SceneSchema

ZOO = Path(__file__).parents[2] / "zoo"
# The plain runner knows named actions only.
NAMED = [p for p in sorted(ZOO.glob("*/policy.py")) if isinstance(load_spec(p.parent).env.actions, Discrete)]


def value_of(expression: str, **memory: Any) -> float:
    """What an expression over memory gives, computed at play."""
    program = build(policy(f"memory.y = float({expression})", memory=FIELDS))
    state = program.start()
    state.restore(memory)
    program.act(SCHEMA.read(random_vectors(1, 0)[0]), state)
    return float(state.y)


FIELDS = "class Memory:\n    a: float = 0.0\n    b: float = 0.0\n    n: int = 0\n    m: int = 0\n    y: float = 0.0\n"
NUMERICS = [
    ("memory.n % memory.m", {"n": -7, "m": 3}, 2.0), ("memory.n % memory.m", {"n": 7, "m": -3}, -2.0),
    ("memory.n // memory.m", {"n": -7, "m": 2}, -4.0),
    ("memory.a // memory.b", {"a": -7.5, "b": 2.0}, -4.0),
    ("memory.a % memory.b", {"a": -0.5, "b": 2.0}, 1.5), ("round(memory.a)", {"a": 2.5}, 2.0),
    ("round(memory.a)", {"a": -3.5}, -4.0), ("int(memory.a)", {"a": -2.7}, -2.0),
    ("math.floor(memory.a)", {"a": -2.1}, -3.0),
    ("memory.b if memory.a == 0.0 else memory.b / memory.a", {"a": 0.0, "b": 3.0}, 3.0),
    ("memory.a != 0.0 and memory.b / memory.a > 1.0", {"a": 0.0, "b": 3.0}, 0.0),
    ("1.0 < memory.a <= 2.0", {"a": 2.0}, 1.0), ("max(memory.a, memory.b)", {"a": -0.0, "b": 0.0}, -0.0),
    ("min(memory.a, memory.b)", {"a": math.nan, "b": 1.0}, math.nan),
    ("min(memory.a, memory.b)", {"a": 1.0, "b": math.nan}, 1.0),
    ("memory.a ** memory.b", {"a": 2.0, "b": 0.5}, 2.0**0.5),
    ("math.hypot(memory.a, memory.b)", {"a": 3.3, "b": 4.7}, math.hypot(3.3, 4.7)),
    ("memory.n / memory.m", {"n": 2**53, "m": 3}, 2**53 / 3), ("sign(memory.a)", {"a": -3.0}, -1.0),
    ("clip(memory.a, 0.0, 1.0)", {"a": math.nan}, math.nan), ("memory.n ** 3", {"n": -5}, -125.0),
    ("take(array((1.5, 2.5)), memory.n)", {"n": 1}, 2.5),
]  # fmt: skip


@pytest.mark.parametrize("expression, memory, expected", NUMERICS)
def test_numbers_mean_what_python_means(expression: str, memory: dict[str, float], expected: float) -> None:
    got = value_of(expression, **memory)
    same_sign = math.copysign(1, got) == math.copysign(1, expected)
    assert (math.isnan(got) and math.isnan(expected)) or (got == expected and same_sign)


FAULTS = {
    "memory.a / memory.b": {"a": 1.0, "b": 0.0}, "memory.n // memory.m": {"n": 1, "m": 0},
    "memory.n % memory.m": {"n": 1},
    "math.sqrt(memory.a)": {"a": -1.0}, "math.log(memory.a)": {"a": 0.0}, "math.exp(memory.a)": {"a": 1e4},
    "int(memory.a)": {"a": math.nan}, "round(memory.a)": {"a": math.inf}, "int(memory.a) + memory.n": {"a": 1e300},
    "memory.a ** memory.b": {"a": -8.0, "b": 1 / 3}, "memory.n * memory.m": {"n": 2**40, "m": 2**40},
    "take(arange(3), memory.n)": {"n": 3}, "take(arange(3), memory.m)": {"m": -1}, "scene.enemy[memory.n].x": {"n": 3},
    "largest(zeros(3) * memory.a)": {"a": math.inf}, "argmax(zeros(2) + memory.a)": {"a": math.nan},
    "total(zeros(2) / memory.a)": {"a": 0.0}, "total(put(zeros_int(2), 0, memory.n))": {"n": 2**40},
    "total(to_int(zeros(2) + memory.a))": {"a": 1e12}, "total(top_k(zeros(2) + memory.a, 2))": {"a": math.nan},
}  # fmt: skip


@pytest.mark.parametrize("expression", sorted(FAULTS))
def test_a_fault_leaves_memory_and_gives_the_fallback_alone_and_in_a_batch(expression: str) -> None:
    source = policy(f"memory.n += 1\nmemory.y = float({expression})\nmemory.b = 9.0", memory=FIELDS)
    program = build(source)
    player = controller(program)
    player.memory.restore(FAULTS[expression])
    before = player.memory.snapshot()
    vector = random_vectors(1, 1)
    decision = player.decide(SCHEMA.read(vector[0]))
    assert decision.fault and decision.action == 0 and player.memory.snapshot() == before
    assert program.graph is not None
    memory = {k: np.array([v]) for k, v in before.items()}
    result = step_batch(program.graph, vector, memory, fallback=3)
    assert result.faults.tolist() == [True] and result.actions.tolist() == [3] and result.memory["n"][0] == before["n"]


NESTED = """
for i in range(3):
    for j in range(3):
        if j > i:
            break
        memory.n += 1
"""
LOOPS = {
    "break": ("for i in range(9):\n    if i == 4:\n        break\n    memory.n += i", 6),
    "continue": ("for i in range(5):\n    if i % 2 == 0:\n        continue\n    memory.n += i", 4),
    "backwards": ("for i in range(5, 0, -2):\n    memory.n = memory.n * 10 + i", 531),
    "nested": (NESTED, 6),
    "grid rows": ("for row in scene.bricks:\n    memory.n += len(row)", 12),
    "enumerate": ("for i, v in enumerate(array((5, 6))):\n    memory.n += i * v", 6),
    "zip": ("for a, b in zip(array((1, 2)), array((3, 4))):\n    memory.n += a * b", 11),
    "things": ("for e in scene.enemy:\n    memory.n += 1 if e.w == e.w else 0", 3),
    "widening": ("x = 0\nfor i in range(4):\n    x = x + 0.5\nmemory.n = int(x)", 2),
    "growing shape": ("a = zeros(1)\nfor i in range(3):\n    a = concat(a, a)\nmemory.n = len(a)", 8),
    "swap": ("a = 1\nb = 2\nfor i in range(3):\n    a, b = b, a + b\nmemory.n = a * 100 + b", 508),
    "early return": ('for i in range(9):\n    if i == 3:\n        memory.n = i\n        return FIRE, "found"', 3),
    "after a break": ("for i in range(4):\n    if scene.ball.x > 1e9:\n        break\nmemory.n = 7", 7),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(LOOPS))
def test_loops(name: str) -> None:
    text, expected = LOOPS[name]
    program = build(policy(text))
    memory = program.start()
    program.act(SCHEMA.read(random_vectors(1, 2)[0]), memory)
    assert memory.n == expected
    assert program.graph is not None
    result = step_batch(program.graph, random_vectors(4, 2), start_batch(program.graph, 4))
    assert result.memory["n"].tolist() == [expected] * 4 and not result.faults.any()


SAFETY = '''
class Memory:
    steps: int = 0


def near(scene, x):
    return abs(scene.ball.x - x) < 5.0


def no_right(scene, memory, action):
    """Never right."""
    memory.steps += 1
    return LEFT if action == RIGHT else action


def no_left_near(scene, memory, action):
    """No left near the wall"""
    if action == LEFT and near(scene, 0.0):
        return FIRE
    return action
'''


def test_compiled_rules_overrule_in_the_controller() -> None:
    rules = compile_safety(SAFETY, SCHEMA, CONSTANTS)
    program = build('def act(scene, memory):\n    return RIGHT, "go"\n')
    c = controller(program, rules)
    far, near = SCHEMA.empty(), SCHEMA.empty()
    far[SCHEMA.slot("ball")] = (1, 50, 5, 2, 2, 0, 0, 1)
    assert (c.decide(SCHEMA.read(far)).action, c.decide(SCHEMA.read(near)).action) == (3, 1)
    assert c.decide(SCHEMA.read(near)).overruled_by == ("Never right", "No left near the wall")
    assert c.rule_memories[0].steps == 3
    batch = step_batch(
        rules.graphs["no_right"], np.stack([far, near]), {"steps": np.zeros(2, int)}, action=np.array([2, 1])
    )
    assert batch.actions.tolist() == [3, 1] and batch.memory["steps"].tolist() == [1, 1]


def test_a_rule_may_be_named_like_anything_in_the_generated_code() -> None:
    for name in ("gather", "T0", "v1", "step", "bad_int", "errstate"):
        text = f'def {name}(scene, memory, action):\n    """R"""\n    return take(arange(4), 3 - action)\n'
        rules = compile_safety(text, SCHEMA, CONSTANTS)
        assert rules.namespace[name](None, rules.start(), 1) == 2


def task(name: str, frameskip: int, sticky: float) -> tuple[SceneSchema, dict[str, Any], list[str]]:
    config = tomllib.loads((ZOO / name / "system.toml").read_text())
    actions = config["env"]["actions"]
    constants = {"FRAMESKIP": frameskip, "STICKY": sticky, "HEIGHT": 210, "WIDTH": 160} | {
        a: i for i, a in enumerate(actions)
    }
    return SceneSchema.from_config(config["scene"]), constants, actions


def wandering(schema: SceneSchema, frameskip: int, n: int) -> np.ndarray:
    """Scenes in which things drift, bounce, vanish and jump."""
    rng = np.random.default_rng(0)
    place = {t.name: rng.uniform(20, 140, 2) for t in schema.things}
    speed = {t.name: rng.integers(-3, 4, 2) * frameskip * 0.5 for t in schema.things}
    vectors = []
    for _ in range(n):
        v = schema.empty()
        for t in schema.things:
            if rng.random() < 0.02:
                speed[t.name] = rng.integers(-3, 4, 2) * frameskip * 0.5
            place[t.name] = np.clip(place[t.name] + speed[t.name], 8, (150, 195))
            speed[t.name] = np.where(
                (place[t.name] <= 8) | (place[t.name] >= (150, 195)), -speed[t.name], speed[t.name]
            )
            if rng.random() < 0.95:
                v[schema.slot(t.name)] = (
                    1,
                    place[t.name][0] + rng.normal(0, 0.05),
                    place[t.name][1],
                    *t.size,
                    0,
                    0,
                    0.99,
                )
        for r in schema.readings:
            if rng.random() < 0.95:
                v[schema.slot(r.name)] = (1, *(rng.uniform(f.low, f.high) for f in r.fields), 0.99)
        for g in schema.grids:
            v[schema.grid(g.name)] = rng.random(g.rows * g.cols) < 0.9
        vectors.append(v)
    return np.stack(vectors)


@pytest.mark.parametrize("frameskip, sticky", [(1, 0.0), (1, 0.25), (4, 0.25)])
@pytest.mark.parametrize("path", NAMED, ids=lambda p: p.parent.name)
def test_shipped_policies_compiled_equal_the_plain_runner(path: Path, frameskip: int, sticky: float) -> None:
    schema, constants, actions = task(path.parent.name, frameskip, sticky)
    source = path.read_text()
    plain, made = load_program(source, constants), compile_program(source, schema, constants)
    a, b = (controller(p, schema=schema, n_actions=len(actions)) for p in (plain, made))
    assert made.module.tunables == plain.module.tunables
    for vector in wandering(schema, frameskip, 400):
        scene = schema.read(vector)
        with np.errstate(divide="raise", invalid="raise"):  # as generated code has it
            x, y = a.decide(scene), b.decide(scene)
        assert (x.action, x.reason, bool(x.fault)) == (y.action, y.reason, bool(y.fault))
        old, new = a.memory.snapshot(), b.memory.snapshot()
        assert list(old) == list(new) and all(np.array_equal(old[k], new[k], equal_nan=True) for k in old)


def test_ir_is_typed_and_constants_fold() -> None:
    program = build(policy("memory.n = 3 * 4 + FRAMESKIP\nunused = scene.ball.x * 2.0"))
    assert program.graph is not None
    assert [op.name for op in walk(program.graph.body)] == ["memory"] * 4 and "16" in show(program.graph)


def test_equal_expressions_are_computed_once() -> None:
    program = build(
        policy("memory.x = math.sqrt(scene.ball.x * scene.ball.x) + math.sqrt(scene.ball.x * scene.ball.x)")
    )
    assert program.code.count("sqrt(") == 1 and program.code.count("scene.ball") == 1


def test_reasons_and_lines() -> None:
    program = build(policy('if scene.ball.seen:\n    return FIRE, "it\'s \\"seen\\""'))
    assert list(program.reasons) == ['it\'s "seen"', "end"]
    scene = SCHEMA.read(np.ones(SCHEMA.size, np.float32))
    assert program.act(scene, program.start()) == (1, 'it\'s "seen"')


def test_generated_code_has_no_builtins() -> None:
    program = build(policy(""))
    assert program.act.__globals__["__builtins__"] == {}


def test_error_carries_its_diagnostics() -> None:
    with pytest.raises(CompileError) as error:
        build(policy("x = scene.bal.x"))
    assert error.value.diagnostics[0].instead == "did you mean 'ball'?"
