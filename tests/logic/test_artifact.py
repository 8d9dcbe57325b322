"""Compiled policies as bytes: they act as before, and nothing damaged is accepted."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from compiler_kit import CONSTANTS, SCHEMA, build, policy, random_vectors

from logic.errors import LogicError
from logic.language import CompiledProgram, compile_program, compile_safety
from logic.language.artifact import HEAD, MAGIC, VERSION, Artifact, Function, Part, freeze, part_of, read, thaw

POLICY = policy(
    """
memory.n += 1
memory.trail = shift_push(memory.trail, scene.ball.x)
memory.ticks = TABLE[memory.n % 4]
memory.x = FAR[memory.n % 3] + total(memory.trail)
memory.on = not memory.on
if memory.x > EDGE:
    return LEFT, "it's over \\"the\\" édge"
if scene.enemy[memory.n % 3].seen:
    return FIRE, "enemy " + ""
""".replace(' + ""', ""),
    module="""
TABLE = array(((1, 2, 3, 4), (5, 6, 7, 8), (9, 10, 11, 12), (13, 14, 15, 16)))
FAR = array((1.5, -2.0, 0.1))
EDGE = 12.5
""",
)
TITLES = ("Not LEFT twice", "Nor again")
SAFETY = '''
class Memory:
    quiet: float = -0.0

def slow(scene, memory, action):
    """Not LEFT twice."""
    memory.quiet = memory.quiet + 0.5
    return NOOP if action == LEFT and memory.quiet > 1.0 else action

def again(scene, memory, action):
    """Nor again."""
    return action
'''


def frozen(program: CompiledProgram | None = None) -> bytes:
    acting = program or build(POLICY)
    assert acting.graph is not None
    rules = compile_safety(SAFETY, SCHEMA, CONSTANTS)
    modules = (part_of("safety.py", rules.fields, list(zip(TITLES, rules.graphs.values(), strict=True))),)
    return freeze(
        Artifact(acting.reasons, part_of("policy.py", acting.module.fields, [("act", acting.graph)]), modules)
    )


def same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    return type(a) is type(b) and (a == b or a != a and b != b) and math.copysign(1, a) == math.copysign(1, b)


def test_thawed_acts_as_the_original() -> None:
    original, made = build(POLICY), thaw(frozen())
    ours, theirs = original.start(), SimpleNamespace(**made.policy.fields)
    step = made.policy.functions[0].step
    assert step is not None
    for vector in random_vectors(300, 7):
        scene = SCHEMA.read(vector)
        assert step(scene, theirs) == original.act(scene, ours)
        assert all(same(v, theirs.__dict__[k]) for k, v in ours.__dict__.items())
    assert made.titles == TITLES
    assert dict(made.reasons) == {k: tuple(v) for k, v in original.reasons.items()}
    assert same(made.modules[0].fields["quiet"], -0.0)


def test_read_does_not_execute() -> None:
    bomb = Function("act", "1 / 0", {})
    data = freeze(Artifact({}, Part("policy.py", {}, (bomb,))))
    assert read(data).policy.functions[0].step is None
    with pytest.raises(ZeroDivisionError):
        thaw(data)


def test_freezing_is_repeatable_and_shares_arrays() -> None:
    assert frozen() == frozen()
    table = np.zeros(1000, np.float32)
    part = Part("policy.py", {"a": table, "b": table}, (Function("act", "", {"T0": table}),))
    assert len(freeze(Artifact({}, part))) < 2 * table.nbytes


@pytest.mark.parametrize(
    "value",
    [True, -3, 2**53, 0.1, -0.0, math.inf, math.nan, (1.5, -0.0), (True, False), (2**53, -1),
     np.zeros((2, 0, 3), np.int32), np.array([[True], [False]]), np.arange(6, dtype=np.float32)[::-2]],
)  # fmt: skip
def test_every_kind_of_value_comes_back(value: Any) -> None:
    data = freeze(Artifact({}, Part("policy.py", {"x": value}, (Function("act", "", {}),))))
    found = read(data).policy.fields["x"]
    if isinstance(value, tuple):
        assert type(found) is tuple and all(map(same, value, found))
    else:
        assert same(value, found)
    if isinstance(value, np.ndarray):
        assert not found.flags.writeable


@pytest.mark.parametrize("value", [np.zeros(3), "text", None, (1, 1.0), (), np.array(["x"], object), np.float32(1)])
def test_what_the_language_does_not_have_is_not_written(value: Any) -> None:
    with pytest.raises((TypeError, ValueError, LogicError)):
        assert freeze(Artifact({}, Part("p", {"x": value}, (Function("act", "", {}),)))) is None


def test_damage_anywhere_is_noticed() -> None:
    data = frozen()
    for at in [*range(60), *range(60, len(data), 97), len(data) - 1]:
        with pytest.raises(LogicError, match="compile|possible"):
            read(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    for cut in (0, 10, HEAD.size, len(data) // 2, len(data) - 1):
        with pytest.raises(LogicError):
            read(data[:cut])
    with pytest.raises(LogicError):
        read(data + b"\0")


def forged(change: Callable[[dict[str, Any]], Any], extra: bytes = b"") -> bytes:
    """An artifact whose header was changed and whose checksum is right again."""
    data = frozen()
    length = HEAD.unpack_from(data)[2]
    header = json.loads(data[HEAD.size : HEAD.size + length])
    header = change(header) or header
    # Written so that buffers stay where they are: the header only ever shrinks here, and blanks fill it up.
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(len(text) - length) % 16)
    rest = text + data[HEAD.size + length :] + extra
    return HEAD.pack(MAGIC, VERSION, len(text), hashlib.sha256(rest).digest()) + rest


FORGERIES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "not an object": lambda h: [1],
    "a key too many": lambda h: h.update(more=1),
    "a key too few": lambda h: {k: v for k, v in h.items() if k != "modules"},
    "policy is a number": lambda h: h.update(policy=3),
    "two functions": lambda h: h["policy"]["functions"].append(h["policy"]["functions"][0]),
    "no function": lambda h: h["policy"].update(functions=[]),
    "code is not text": lambda h: h["policy"]["functions"][0].__setitem__(1, 5),
    "field is a dunder": lambda h: h["policy"]["fields"][0].__setitem__(0, "__class__"),
    "field is not a name": lambda h: h["policy"]["fields"][0].__setitem__(0, "a b"),
    "a field twice": lambda h: h["policy"]["fields"].append(h["policy"]["fields"][0]),
    "a constant hides a word": lambda h: h["policy"]["functions"][0][2][0].__setitem__(0, "abs"),
    "value of an unknown kind": lambda h: h["policy"]["fields"][0].__setitem__(1, ["code", "1"]),
    "float that is none": lambda h: h["policy"]["fields"][0].__setitem__(1, ["float", "x"]),
    "int that is a bool": lambda h: h["policy"]["fields"][0].__setitem__(1, ["int", True]),
    "array that is not there": lambda h: h["policy"]["fields"][0].__setitem__(1, ["array", 99]),
    "array with a negative number": lambda h: h["policy"]["fields"][0].__setitem__(1, ["array", -1]),
    "another shape": lambda h: h["arrays"][0][1].__setitem__(0, 1),
    "a negative side": lambda h: h["arrays"][0].__setitem__(1, [-1]),
    "an endless side": lambda h: h["arrays"][0].__setitem__(1, [10**30]),
    "a large side": lambda h: h["arrays"][0].__setitem__(1, [10**5]),
    "a shape of many sides": lambda h: h["arrays"][0].__setitem__(1, [1] * 40),
    "objects": lambda h: h["arrays"][0].__setitem__(0, "|O"),
    "an array without a use": lambda h: h["modules"].clear() or h["policy"].update(fields=[]),
    "a reason twice": lambda h: h["reasons"].append(h["reasons"][0]),
    "a reason that is a number": lambda h: h["reasons"].append([1, []]),
    "lines that are none": lambda h: h["reasons"].append(["x", ["y"]]),
    "a very long reason": lambda h: h["reasons"].append(["x" * 1_001, []]),
    "a reason that moves the cursor": lambda h: h["reasons"].append(["\x1b[2J", []]),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_forged_headers_are_refused(name: str) -> None:
    with pytest.raises(LogicError, match="damaged"):
        read(forged(FORGERIES[name]))


def test_forging_without_a_change_is_accepted() -> None:
    assert read(forged(lambda h: None)).titles  # so that the tests above can fail
    with pytest.raises(LogicError, match="too many"):
        read(forged(lambda h: None, bytes(16)))


def test_deep_header_is_refused() -> None:
    text = b"[" * 200_000
    with pytest.raises(LogicError):
        read(HEAD.pack(MAGIC, VERSION, len(text), hashlib.sha256(text).digest()) + text)


def test_broken_code_is_refused_when_thawed() -> None:
    for code in ("def step(:", "x = 1", "\0"):
        with pytest.raises(LogicError, match="damaged"):
            thaw(freeze(Artifact({}, Part("policy.py", {}, (Function("act", code, {}),)))))


def test_zoo_policies_survive() -> None:
    from envs.actions import Discrete
    from envs.env import protocol_of
    from envs.spec import load_spec, task_names
    from perception.scene import SceneSchema

    for name in task_names():
        spec = load_spec(name)
        schema = SceneSchema.from_config(spec.scene)
        space, known = spec.env.actions, spec.constants(protocol_of(spec.env))
        if isinstance(space, Discrete):
            known = {**known, **{a: i for i, a in enumerate(space.names)}}
        program = compile_program((spec.folder / "policy.py").read_text(), schema, known, actions=space)
        assert program.graph is not None
        made = thaw(
            freeze(Artifact(program.reasons, part_of("policy.py", program.module.fields, [("act", program.graph)])))
        )
        ours, theirs = program.start(), SimpleNamespace(**made.policy.fields)
        rng = np.random.default_rng(3)
        for _ in range(50):
            vector = (rng.random(schema.size) * 150).astype(np.float32)
            scene = schema.read(vector)
            step = made.policy.functions[0].step
            assert step is not None
            (mine, reason), (yours, same) = program.act(scene, ours), step(scene, theirs)
            assert space.same(mine, yours) and reason == same
