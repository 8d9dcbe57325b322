"""Whole programs in ONNX: what onnxruntime's optimiser might break, faults, control flow, tables, shipped policies."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx")
import onnx
from compiler_kit import CONSTANTS, SCHEMA, build, policy, random_vectors
from onnx_kit import equal, session

from logic.language import compile_program, compile_safety
from logic.language.backends.batch import step_batch
from logic.language.backends.onnx import logic_model
from logic.language.ir import Graph
from logic.language.layout import MemoryLayout
from perception.scene import SceneSchema

ZOO = Path(__file__).parents[2] / "zoo"
LEVELS = ("ORT_DISABLE_ALL", "ORT_ENABLE_ALL")
FIELDS = "class Memory:\n    a: float = 0.0\n    b: float = 0.0\n    n: int = 0\n    m: int = 0\n    y: float = 0.0\n"
SCENE = random_vectors(1, 0)[0]


class Machine:
    """A policy text in both back ends, from any memory."""

    def __init__(self, source: str, level: str = "ORT_ENABLE_ALL") -> None:
        self.program = build(source)
        assert self.program.graph is not None
        self.graph: Graph = self.program.graph
        self.layout = MemoryLayout.of(self.graph.fields)
        self.model = logic_model(self.graph, SCHEMA.size, 2)
        self.session = session(self.model, level)

    def step(self, scene: np.ndarray = SCENE, **memory: Any) -> dict[str, Any] | None:
        """Memory afterwards, None for a fault; asserts that Python says the same."""
        state = self.program.start()
        state.restore({**state.snapshot(), **memory})
        before = self.layout.pack(state.snapshot())
        try:
            with np.errstate(divide="raise", invalid="raise", over="ignore", under="ignore"):
                answer = self.program.act(SCHEMA.read(scene), state)
            wanted: Any = (answer[0], self.graph.reasons.index(answer[1]), False)
        except Exception:
            wanted = (2, -1, True)
        action, reason, after, fault = self.session.run(None, {"scene": scene, "memory": before})
        assert (int(action[0]), int(reason[0]), bool(fault[0])) == wanted, memory
        expected = before if wanted[2] else self.layout.pack(state.snapshot())
        assert equal(after, expected), (memory, self.layout.unpack(after))
        return None if wanted[2] else self.layout.unpack(after)


REWRITTEN = [
    "1.0 / memory.a * memory.b", "memory.b * (1.0 / memory.a)", "memory.a + 0.0", "memory.a - -0.0", "memory.a * 1.0",
    "0.0 + memory.a", "-0.0 if memory.b > 1.0 else 0.0", "memory.a ** 2.0", "memory.a ** 3.0", "memory.a * 0.0",
    "(memory.a + 0.1) + 0.2", "memory.a / 3.0 / 7.0", "memory.a - memory.a", "float(int(memory.a))", "-(-memory.a)",
    "max(memory.a, -0.0)", "min(0.0, memory.a)", "clip(memory.a, 0.0, 1.0)", "memory.a // 0.1", "memory.a % -0.1",
    "memory.a * memory.b + 0.5", "memory.b if not memory.a > 0.0 else memory.a",
]  # fmt: skip


@pytest.mark.parametrize("level", LEVELS)
def test_the_optimiser_of_onnxruntime_changes_no_bit(level: str) -> None:
    lines = [f"memory.y = {e}" for e in REWRITTEN]
    values = (-0.0, 0.0, 1.0, 3.0, -7.3, 0.1, 1e-310, 49.0)
    for line in lines:
        machine = Machine(policy(line, memory=FIELDS), level)
        for a in values:
            for b in (2.0, -0.0, 5.7):
                machine.step(a=a, b=b, y=0.5)


def test_division_that_is_not_taken_does_no_harm() -> None:
    machine = Machine(policy("if memory.n > 5:\n    memory.m = 10 // memory.n + 7 % memory.n", memory=FIELDS))
    assert machine.step(n=0, m=4) == {"a": 0.0, "b": 0.0, "n": 0, "m": 4, "y": 0.0}
    assert machine.step(n=6, m=4)["m"] == 2  # type: ignore[index]
    short = Machine(policy("if memory.n != 0 and memory.m // memory.n > 1:\n    memory.y = 1.0", memory=FIELDS))
    assert short.step(n=0, m=9)["y"] == 0.0 and short.step(n=2, m=9)["y"] == 1.0  # type: ignore[index]


@pytest.mark.parametrize("divisor", (0, -1, 1, -(2**53)))
def test_division_of_extremes_never_traps(divisor: int) -> None:
    machine = Machine(policy("memory.m = memory.n * 3 // memory.m", memory=FIELDS))
    for n in (0, 2**53, -(2**53), 5):
        assert machine.step(n=n, m=divisor) is None or divisor


def test_a_product_that_would_wrap_is_a_fault() -> None:
    machine = Machine(policy("memory.m = memory.n * memory.m", memory=FIELDS))
    assert machine.step(n=2**32, m=2**32) is None  # 2**64 wraps to 0
    assert machine.step(n=2**26, m=2**27)["m"] == 2**53  # type: ignore[index]
    assert machine.step(n=2**53, m=2) is None


def test_a_fault_leaves_memory_and_answers_with_the_fallback() -> None:
    machine = Machine(policy("memory.n += 1\nmemory.trail = shift_push(memory.trail, 2.0)\nmemory.x = 1.0 / memory.x"))
    assert machine.step(x=0.0) is None
    after = machine.step(x=4.0)
    assert after is not None and after["n"] == 1 and after["x"] == 0.25 and after["trail"].tolist() == [0.0, 0.0, 2.0]


def test_garbage_after_a_fault_never_reaches_an_index() -> None:
    source = (
        "a = int(clip(memory.a, 0.0, 8.0))\nmemory.y = take(array((1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0)), a)"
    )
    machine = Machine(policy(source, memory=FIELDS))
    assert machine.step(a=float("nan")) is None
    assert machine.step(a=99.0)["y"] == 9.0  # type: ignore[index]


def test_an_action_the_task_does_not_have_is_a_fault() -> None:
    machine = Machine("class Memory:\n    n: int = 0\n\n\ndef act(scene, memory):\n    return memory.n, 'as told'\n")
    assert machine.step(n=4) is None and machine.step(n=-1) is None
    assert machine.step(n=3) == {"n": 3}


def test_loops_leave_early_and_count_as_python_does() -> None:
    source = """
for i in range(20, 0, -3):
    if i * i < memory.n:
        break
    memory.m += i // (memory.n - 3)
    memory.y = memory.y / 2.0 + i
for j in range(5):
    memory.ticks = put(memory.ticks, j % 4, memory.ticks[j % 4] + j)
"""
    fields = FIELDS + "    ticks: Int[4] = zeros_int(4)\n"
    machine = Machine(policy(source, memory=fields))
    assert [machine.step(n=n) is None for n in (0, 3, 50, 400, 1000)] == [False, True, False, False, False]


def test_scenes_grids_and_things_by_number() -> None:
    source = """
k = memory.n
memory.y = scene.enemy[k].x + scene.air + count(scene.bricks)
if scene.enemy[k].seen and scene.bricks[k % 3, 2]:
    memory.a = scene.ball.vx
"""
    machine = Machine(policy(source, memory=FIELDS))
    for i, scene in enumerate(random_vectors(30, 7)):
        assert (machine.step(scene, n=i % 5 - 1) is None) == (i % 5 - 1 not in (0, 1, 2))


def test_a_rule_sees_the_action_and_its_own_memory() -> None:
    source = '''
class Memory:
    calls: int = 0


def calm(scene, memory, action):
    """Never LEFT."""
    memory.calls += 1
    return NOOP if action == LEFT else action
'''
    graph = compile_safety(source, SCHEMA, CONSTANTS).graphs["calm"]
    machine = session(logic_model(graph, SCHEMA.size, 1))
    for action, wanted in ((3, 0), (2, 2)):
        feed = {"scene": SCENE, "memory": np.array([5.0]), "proposed": np.array([action])}
        told, reason, memory, fault = machine.run(None, feed)
        assert (told[0], reason[0], memory[0], fault[0]) == (wanted, -1, 6.0, False)


def test_a_batch_of_one_is_the_same_step() -> None:
    machine = Machine(policy("memory.trail = shift_push(memory.trail, scene.ball.x)\nmemory.x = total(memory.trail)"))
    state, vector = machine.program.start().snapshot(), machine.layout.start()
    batch = {k: np.asarray(v)[None] for k, v in state.items()}
    for scene in random_vectors(8, 3):
        result = step_batch(machine.graph, scene[None], batch)
        vector = machine.session.run(None, {"scene": scene, "memory": vector})[2]
        batch = result.memory
        for name, value in machine.layout.unpack(vector).items():
            assert equal(value, batch[name][0])


def tensors(graph: onnx.GraphProto) -> list[tuple[int, int]]:
    """(depth, elements) of every constant in a graph and its subgraphs."""
    found = [(0, int(np.prod(c.dims))) for c in graph.initializer]
    for node in graph.node:
        for a in node.attribute:
            found += [(1, int(np.prod(a.t.dims)))] if a.HasField("t") else []
            found += [(depth + 1, n) for depth, n in tensors(a.g)] if a.HasField("g") else []
    return found


def test_large_tables_are_stored_once_and_outside_subgraphs() -> None:
    module = "T = arange(5000)\n"
    body = """
if memory.n > 3:
    memory.n = take(T, memory.n)
else:
    for i in range(9):
        memory.ticks = memory.ticks + take(T, memory.ticks)
        if memory.ticks[0] > 6:
            break
    memory.n = total(take(T, memory.ticks))
"""
    machine = Machine(policy(body, module))
    assert [(depth, n) for depth, n in tensors(machine.model.graph) if n > 1000] == [(0, 5000)]
    assert machine.step(n=4) is not None and machine.step(n=0) is not None


# --- shipped policies -----------------------------------------------------------------------------------------------


def shipped(task: str) -> tuple[Any, SceneSchema]:
    """The compiled policy for the task's own protocol, and its schema."""
    config = tomllib.loads((ZOO / task / "system.toml").read_text())
    env, schema = config["env"], SceneSchema.from_config(config["scene"])
    constants = {"FRAMESKIP": 4, "STICKY": 0.25, "HEIGHT": env["height"], "WIDTH": env["width"]}
    constants |= {a: i for i, a in enumerate(env["actions"])}
    return compile_program((ZOO / task / "policy.py").read_text(), schema, constants), schema


def flight(schema: SceneSchema, n: int, seed: int) -> np.ndarray:
    """float32[n, size]: things that fly straight and bounce, seen nine times in ten, over grids that wear away."""
    rng = np.random.default_rng(seed)
    made = np.zeros((n, schema.size), np.float32)
    for thing in schema.things:
        for k in range(thing.count):
            at = schema.slot(thing.name, k).start
            for axis, (size, limit) in enumerate(((4.0, 150.0), (4.0, 190.0))):
                speed, start = rng.uniform(-4, 4, 1 + n // 60).repeat(60)[:n], rng.uniform(0, limit)
                place = np.abs((start + np.cumsum(speed)) % (2 * limit) - limit) + 5.0
                made[:, at + 1 + axis], made[:, at + 3 + axis], made[:, at + 5 + axis] = place.round(), size, speed
            made[:, at] = made[:, at + 7] = rng.random(n) < 0.9
    for name, place in ((g.name, schema.names.index(f"{g.name}[0,0]")) for g in schema.grids):
        size = sum(1 for label in schema.names if label.startswith(name + "["))
        made[:, place : place + size] = rng.random(size) > np.linspace(0, 1, n)[:, None]
    return made


def agreement(task: str, n: int) -> tuple[int, int]:
    """(decisions that differ, steps after which memory differs) over n scenes in a row, each from Python's memory."""
    program, schema = shipped(task)
    layout = MemoryLayout.of(program.graph.fields)
    machine = session(logic_model(program.graph, schema.size, 0))
    state, differ, strange = program.start(), 0, 0
    for scene in flight(schema, n, 5):
        before = layout.pack(state.snapshot())
        action, reason, after, fault = machine.run(None, {"scene": scene, "memory": before})
        with np.errstate(divide="raise", invalid="raise", over="ignore", under="ignore"):
            told = program.act(schema.read(scene), state)
        differ += (action[0], program.graph.reasons[reason[0]], bool(fault[0])) != (*told, False)
        strange += not equal(after, layout.pack(state.snapshot()))
    return differ, strange


@pytest.mark.parametrize("task", ("breakout", "pong"))
def test_shipped_policies_decide_alike(task: str) -> None:
    differ, strange = agreement(task, 300)
    assert (differ, strange) == (0, 0)


@pytest.mark.slow
@pytest.mark.parametrize("task", ("breakout", "pong"))
def test_shipped_policies_decide_alike_for_long(task: str) -> None:
    differ, strange = agreement(task, 10_000)
    print(f"{task}: of 10000 decisions {differ} differ; after {strange} steps memory differs")
    assert (differ, strange) == (0, 0)
