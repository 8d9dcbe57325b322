"""Records: values of fixed shape in every back end, in Memory, in isolation and traces; what is refused."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from compiler_agree import check_batch, check_onnx, equal, run_both
from compiler_kit import CONSTANTS, SCHEMA, SPACE, build, check, random_vectors
from onnx_kit import equal as same
from onnx_kit import session

from logic.language import compile_program
from logic.language.artifact import Artifact, freeze, part_of, thaw
from logic.language.backends.batch import step_batch
from logic.language.backends.onnx import logic_model
from logic.language.layout import MemoryLayout
from logic.runtime.controller import Controller
from logic.runtime.logic import compile_logic
from logic.runtime.trace import Tracer

TYPES = '''"""Records."""
SLOW = 0.5

class Point:
    x: float = 0.0
    y: float = SLOW * 2.0

class Track:
    at: Point
    vx: float = 0.0
    seen: bool = False
    n: int = 3
    trail: Float[3] = zeros(3)

class Memory:
    k: int = 0
    ball: Track
    legs: Track[4]
    home: Point = Point(3.0, 4.0)
    corners: Point[2] = Point(y=7.0)
'''
STEP = """
def step(t, x):
    if x > 0.0:
        return Track(Point(x, t.at.y), x - t.at.x, True, t.n + 1, shift_push(t.trail, x))
    return t

def swapped(a, b):
    return b, a
"""
BODIES = {
    "helpers, fields, arrays": """
memory.ball = step(memory.ball, scene.ball.x)
memory.ball.at.y += 1.0
i = memory.k % 4
memory.legs = put(memory.legs, i, step(memory.legs[i], scene.enemy[0].x))
memory.legs.vx = memory.legs.vx * 0.5
memory.k = (memory.k + 1) % 100
""",
    "carried by a loop": """
best = memory.ball
count_of = 0
for leg in memory.legs:
    if leg.at.x >= best.at.x:
        best = leg
        count_of += 1
memory.ball = step(best, scene.ball.x)
memory.k = count_of
memory.legs = shift_push(memory.legs, memory.ball)
""",
    "memory carried by a loop": """
for i in range(4):
    memory.ball.at.x = memory.ball.at.x + memory.legs.vx[i]
    memory.legs = put(memory.legs, i, step(memory.legs[i], scene.enemy[i % 3].x))
    if memory.ball.at.x > 9.0:
        break
""",
    "joined": """
a, b = swapped(memory.ball, START)
if scene.ball.seen:
    c = a
elif scene.enemy[0].seen:
    c = Track(vx=scene.ball.x, n=memory.k)
else:
    c = step(b, scene.ball.y)
memory.home = c.at if scene.enemy[1].seen else Point()
memory.ball = c
memory.k = c.n % 100
""",
    "early returns": """
for i in range(4):
    t = memory.legs[i]
    if t.at.x > 3.0 and scene.enemy[i % 3].seen:
        memory.ball = t
        memory.legs = put(memory.legs, i, Track())
        return RIGHT, "found"
    memory.legs = put(memory.legs, i, step(t, scene.enemy[i % 3].x))
""",
    "an index out of range": """
t = memory.legs[int(scene.air) % 7]
memory.ball = t
memory.k = memory.k + 1
memory.corners = put(memory.corners, memory.k % 3, Point(1.0, 2.0))
""",
    "arrays of fields": """
xs = array((scene.enemy[0].x, scene.enemy[1].x))
memory.corners = Point(xs, maximum(memory.corners.y, xs) * 0.5)
both = array((memory.home, Point(scene.ball.x, 1.0)))
memory.home = both[1 if scene.ball.seen else 0]
memory.legs = take(memory.legs, array((3, 2, 1, 0)))
memory.legs.at.x = memory.legs.at.x + float(len(memory.corners))
""",
    "faults leave it": """
memory.ball = step(memory.ball, scene.ball.x)
memory.home.x = 1.0 / (int(scene.air) % 3)
""",
}  # fmt: skip


def text(body: str, module: str = "START = Track(n=7, at=Point(1.0, 2.0))\n") -> str:
    lines = "".join(f"    {line}\n" for line in body.strip("\n").split("\n"))
    return f'{TYPES}\n{module}{STEP}\ndef act(scene, memory):\n{lines}    return LEFT, "end"\n'


@pytest.mark.parametrize("name", BODIES)
def test_all_back_ends_agree(name: str) -> None:
    program = build(text(BODIES[name]))
    graph = program.graph
    assert graph is not None and list(graph.fields)[:4] == ["k", "ball.at.x", "ball.at.y", "ball.vx"]
    vectors, memory = random_vectors(60, 4), program.start()
    before, after, answers = [], [], []
    for vector in vectors:
        before.append(memory.snapshot())
        try:
            answers.append(program.act(SCHEMA.read(vector), memory))
        except Exception:
            answers.append((3, ""))
            assert all(equal(v, before[-1][k]) for k, v in memory.snapshot().items())
        after.append(memory.snapshot())
    batch = step_batch(graph, vectors, {f: np.array([b[f] for b in before]) for f in graph.fields}, 3)
    machine, layout = session(logic_model(graph, SCHEMA.size, 3)), MemoryLayout.of(graph.fields)
    for i, (action, reason) in enumerate(answers):
        a, r, m, f = machine.run(None, {"scene": vectors[i], "memory": layout.pack(before[i])})
        assert (int(a[0]), bool(f[0])) == (batch.actions[i], batch.faults[i]) == (action, not reason), i
        assert not reason or graph.reasons[r[0]] == graph.reasons[batch.reasons[i]] == reason
        for k, value in layout.unpack(m).items():
            assert same(value, after[i][k]) and equal(batch.memory[k][i], after[i][k]), (i, k)
    assert any(not equal(after[-1][k], v) for k, v in program.start().snapshot().items())
    assert name not in ("an index out of range", "faults leave it") or 0 < batch.faults.sum() < 60


PLAIN = '''"""Records that are locals, so that plain Python can run them."""

class Point:
    x: float = 0.0
    y: float = 1.5

class Shot:
    at: Point
    speed: float = 2.0
    n: int = 1

class Memory:
    x: float = 0.0
    n: int = 0

START = Shot(n=4)

def moved(shot, dx):
    if dx == 0.0:
        return shot, 0
    return Shot(Point(shot.at.x + dx, shot.at.y), shot.speed / dx, shot.n + 1), 1

def act(scene, memory):
    shot = START if scene.ball.seen else Shot(Point(y=memory.x), 1.0, memory.n)
    moves = 0
    for i in range(3):
        shot, step = moved(shot, scene.enemy[i].x if scene.enemy[i].seen else 0.0)
        moves = moves + step
        if shot.at.x > 20.0:
            break
    memory.x = shot.at.x + shot.speed * shot.at.y
    memory.n = shot.n % 50
    return (LEFT if moves > 1 else RIGHT), "moved"
'''


def test_plain_python_agrees() -> None:
    steps = run_both(PLAIN, 8)
    check_batch(steps)
    check_onnx(steps)
    assert {action for action, _ in steps.answers} == {2, 3}


def test_memory_starts_with_the_defaults() -> None:
    start = build(text("memory.k = 1")).start().snapshot()
    assert start["ball.at.y"] == 1.0 and start["ball.n"] == 3 and start["home.x"] == 3.0
    assert start["legs.at.y"].tolist() == [1.0] * 4 and start["legs.n"].dtype == np.int32
    assert start["legs.trail"].shape == (4, 3) and start["corners.y"].tolist() == [7.0, 7.0]
    assert start["legs.seen"].dtype == np.bool_ and not start["legs.at.x"].flags.writeable


def test_an_unused_field_costs_nothing() -> None:
    """`legs[i].x` reads one field, and a record that is only passed on makes no op."""
    graph = build(text("if memory.legs[memory.k % 4].vx > 0.0:\n    return RIGHT, 'r'")).graph
    assert graph is not None and sum(op.name == "element" for op in graph.body.ops) == 1


def test_layout_is_that_of_the_fields_written_out() -> None:
    records = MemoryLayout.of(build(text("memory.k = 1")).graph.fields)  # type: ignore[union-attr]
    plain = TYPES.split("class Point")[0] + (
        "class Memory:\n    k: int = 0\n    a: float = 0.0\n    b: float = 1.0\n    c: float = 0.0\n"
        "    d: bool = False\n    e: int = 3\n    f: Float[3] = zeros(3)\n\n"
        'def act(scene, memory):\n    return NOOP, "x"\n'
    )
    flat = MemoryLayout.of(build(plain).graph.fields)  # type: ignore[union-attr]
    groups = [[n for n in g if n == "k" or n.startswith("ball.")] for g in records.groups()]
    names = dict(zip(flat.fields, list(records.fields)[:7], strict=True))
    assert [g for g in groups if g] == [[names[n] for n in g] for g in flat.groups()]


LIBRARY = {
    "motion": "class Track:\n    x: float = 0.0\n    vx: float = 0.0\n\n"
    "def follow(t, x):\n    return Track(x, x - t.x)\n\nREST = Track(1.0, 0.0)\n"
}


def test_records_and_their_functions_come_from_a_library() -> None:
    source = (
        '"""L."""\nfrom logic.lib.motion import REST, Track, follow\n\n'
        "class Pair:\n    a: Track\n    b: Track = REST\n\n"
        "class Memory:\n    ball: Track\n    pair: Pair\n\ndef act(scene, memory):\n"
        "    memory.ball = follow(memory.ball, scene.ball.x)\n    memory.pair = Pair(memory.pair.b, Track(vx=2.0))\n"
        '    return (RIGHT if memory.ball.vx > REST.x else LEFT), "x"\n'
    )
    program = compile_program(source, SCHEMA, CONSTANTS, LIBRARY.__getitem__)
    memory = program.start()
    assert memory.snapshot() == {
        "ball.x": 0.0, "ball.vx": 0.0, "pair.a.x": 0.0, "pair.a.vx": 0.0, "pair.b.x": 1.0, "pair.b.vx": 0.0,
    }  # fmt: skip
    assert program.act(SCHEMA.read(np.full(SCHEMA.size, 5.0, np.float32)), memory) == (2, "x")
    assert memory.snapshot() == {
        "ball.x": 5.0, "ball.vx": 5.0, "pair.a.x": 1.0, "pair.a.vx": 0.0, "pair.b.x": 0.0, "pair.b.vx": 2.0,
    }  # fmt: skip


def test_an_artifact_holds_them() -> None:
    program = build(text(BODIES["carried by a loop"]))
    assert program.graph is not None
    part = part_of("policy.py", program.module.fields, [("act", program.graph)])
    made = thaw(freeze(Artifact(program.reasons, part)))
    assert {k: np.asarray(v).tolist() for k, v in made.policy.fields.items()} == {
        k: np.asarray(v).tolist() for k, v in program.start().snapshot().items()
    }


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the layers are Linux's")
def test_isolation_and_traces() -> None:
    from logic.sandbox import Limits
    from logic.sandbox.compiling import compile_confined
    from logic.sandbox.controller import ConfinedController

    source = text(BODIES["early returns"] + "if memory.ball.at.x > 1.0 and memory.k == 0:\n    return FIRE, 'far'\n")
    logic = compile_logic(SCHEMA, source, "", CONSTANTS, SPACE, 1)
    plain, tracer = Controller(logic, clock=lambda: 0), Tracer(logic, CONSTANTS)
    named: dict[str, Any] = {}
    data = compile_confined(SCHEMA, source, "", CONSTANTS)
    with ConfinedController(data, SCHEMA, SPACE, 1, logic.modules, limits=Limits(wall_s=60.0)) as confined:
        confined.reset()
        for vector in random_vectors(80, 6):
            scene, kept = SCHEMA.read(vector), plain.memory.snapshot()
            policy = tracer.step(scene, kept, [m.snapshot() for m in plain.rule_memories])[0]
            decision = plain.decide(scene)
            assert confined.decide(scene) == decision and policy.action == decision.proposed
            changed = {k: new for k, (_, new) in policy.changed.items()}
            assert all(equal(plain.memory.snapshot()[k], changed.get(k, v)) for k, v in kept.items())
            named |= {name: value for mark in policy.marks for name, value in mark.values.items()}
    assert {"t.at.x", "memory.ball.at.x"} <= named.keys()


REFUSED = {
    "memory.ball.vy = 1.0": ("Track has no field 'vy'", "it has at, vx"),
    "memory.k = memory.ball.seem": ("Track has no field 'seem'", "'seen'"),
    "memory.ball.at.z = 1.0": ("Point has no field 'z'", "x, y"),
    "memory.bal = Track()": ("memory has no field 'bal'", "'ball'"),
    "memory.ball = Point()": ("this is Point, needed is Track", "Track(...)"),
    "memory.ball = 3.0": ("this is float, needed is Track", "Track(...)"),
    "memory.legs = memory.ball": ("this is Track, needed is Track[4]", "Track(...)"),
    "memory.legs = put(memory.legs, 0, Point())": ("this is Point, needed is Track", "Track(...)"),
    "memory.home = Point(1.0)": ("Point has 2 values (x, y), not 1", "give all of them"),
    "memory.home = Point(1.0, 2.0, 3.0)": ("Point has 2 values (x, y), not 3", "give all of them"),
    "memory.home = Point(z=1.0)": ("Point has no field 'z'", "x, y"),
    "memory.home = Point(1.0, x=1.0)": ("'x' is given twice", "once"),
    "memory.home = Point(zeros(2), 'a')": ("Point.y is", "convert"),
    "memory.ball = Track(Point(), 1.0, True, 2.5, zeros(3))": ("Track.n is int, this is float", "one type"),
    "memory.ball = Track(trail=zeros(2))": ("Track.trail is Float[3], this is Float[2]", "one type"),
    "memory.k = memory.ball": ("a record (Track) is neither number nor array", ".at"),
    "memory.k = 1 if memory.ball == memory.ball else 0": ("a record (Track)", "one of its fields"),
    "t = memory.ball if scene.ball.seen else memory.home": ("two sides are of different types", "one type"),
    "t = memory.ball[0]": ("Track is one record, not an array", "Track[4]"),
    "t = memory.legs[0:2]": ("indexed by one int", "legs.x[1:3]"),
    "t = memory.legs[4]": ("index 4 lies outside 0 .. 3", "inside"),
    "t = Trac()": ("unknown function 'Trac'", "'Track'"),
    "t = Track": ("'Track' is a record, not a value", "Track(...)"),
    "t = step(memory.ball, x=1.0)": ("by position", "name before ="),
    "t = memory.ball\nt.vx = 1.0": ("only fields of memory can be assigned", "memory"),
    "if scene.ball.seen:\n    t = memory.ball\nelse:\n    t = memory.home\nmemory.k = int(t.x)": (
        "'t' is Track on one path and Point on the other", "one type",
    ),
}  # fmt: skip


@pytest.mark.parametrize("body", REFUSED)
def test_refused_with_a_fix(body: str) -> None:
    found = check(text(body))
    message, instead = REFUSED[body]
    assert any(message in d.message and instead in d.instead for d in found), found
    assert len(found) == 1 and found[0].construct != "internal", found


CLASSES = {
    "class A:\n    x: float": ("no default", "name: type = default"),
    "class A:\n    pass": ("has no fields", "name: type"),
    "class A:\n    b: B\n\nclass B:\n    x: int = 0": ("'B' is not declared yet", "move class B above"),
    "class A:\n    a: A": ("'A' is not declared yet", "above"),
    "class A:\n    mode: str = 'x'": ("not a type of a field", "records"),
    "class A:\n    x: flaot = 0.0": ("not a type of a field", "'float'"),
    "class A:\n    x: int = 0.5": ("the default is float, the field is int", "equal"),
    "class A:\n    x: int = 0\n    x: int = 1": ("cannot name a field", "unique"),
    "class A(Point):\n    x: int = 0": ("this form of class 'A'", "plain"),
    "class A:\n    x: int = 0\n\nclass A:\n    x: int = 0": ("declared twice", "one"),
    "class step:\n    x: int = 0": ("a class and a function", "another name"),
    "class zeros:\n    x: int = 0": ("a word of the language", "another name"),
    "Z = A()\n\nclass A:\n    x: int = 0": ("used before it is declared", "up"),
    "class A:\n    p: Point[2, 2]": ("one axis", "Point[4]"),
    "class A:\n    p: Point[0]": ("one axis", "Point[4]"),
}  # fmt: skip


@pytest.mark.parametrize("classes", CLASSES)
def test_classes_are_refused_with_a_fix(classes: str) -> None:
    found = check(text("memory.k = 1", f"{classes}\n"))
    message, instead = CLASSES[classes]
    assert any(message in d.message and instead in d.instead for d in found), found
    assert all(d.construct != "internal" for d in found), found


def test_nests_are_bounded() -> None:
    tower = "class T0:\n    " + "\n    ".join(f"f{i}: float = 0.0" for i in range(9)) + "\n"
    for k in range(1, 9):
        tower += f"\nclass T{k}:\n    " + "\n    ".join(f"f{i}: T{k - 1}" for i in range(9)) + "\n"
    assert any("more than 200 fields" in d.message for d in check(text("memory.k = 1", tower)))
