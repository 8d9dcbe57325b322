"""Actions that are vectors: one meaning in generated Python, batches, ONNX and isolation; limits; what is refused."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compiler_kit import MEMORY, SCHEMA, random_vectors
from onnx_kit import session

from envs.actions import Action, Box, Discrete
from envs.errors import EnvError
from logic.errors import LogicError
from logic.language import check_safety, check_source, compile_program, compile_safety
from logic.language.backends.batch import start_batch, step_batch
from logic.language.backends.onnx import logic_model
from logic.language.layout import MemoryLayout
from logic.runtime.controller import DEADLINE, FAULT, Controller, Decision
from logic.runtime.logic import LIMITS, LOST, Logic, compile_logic
from logic.runtime.regression import Recording, ScenesLock, check_scenes, make_scenes, read, recorded, write
from logic.runtime.trace import Tracer
from triune.deploy.export import fuse

CONSTANTS = {"FRAMESKIP": 4, "STICKY": 0.25, "HEIGHT": 210, "WIDTH": 160}
LEG = Box(("hip", "knee", "ankle"), (-1.0, -2.0, -0.5), (1.0, 2.0, 0.1))
ONE = Box(("torque",), (-2.0,), (2.0,))
FALLBACK = np.array([0.25, -0.5, 0.1], np.float32)


def text(body: str, module: str = "", last: str = 'return (0.5, memory.n, -0.25), "end"') -> str:
    """A policy with this body."""
    lines = "".join(f"    {line}\n" for line in [*body.strip("\n").split("\n"), last])
    return f'"""Test."""\n{module}\n{MEMORY}\n\ndef act(scene, memory):\n{lines}'


POLICIES = {
    "constant": text("memory.n += 1", last='return (1, 0.5, -0.25), "still"'),
    "mixed numbers": text("memory.n += 1", last='return (scene.ball.x / 40.0, memory.n, scene.ball.seen), "mixed"'),
    "faults": text("memory.n += 1\nmemory.x = 1.0 / (int(scene.air) % 5)", last='return (memory.x, 0, 1), "inverse"'),
    "NaN": text(
        "far = scene.ball.x * 1e300 * 1e300\nmemory.n += 1",
        last='return (far * 0.0 if scene.ball.seen else 0.5, 0.0, 0.0), "maybe"',
    ),
    "NaN from memory": text(
        "memory.trail = shift_push(memory.trail, far(scene.ball.x) - far(scene.enemy[0].x))",
        "def far(x):\n    return x * 1e300 * 1e300\n",
        'return memory.trail, "trail"',
    ),
    "ternaries": text(
        "memory.n = (memory.n + 1) % 4",
        last='return (0.5 if scene.ball.seen else -1, memory.n if scene.ball.x > 0.0 else 0.25, '
        'scene.ball.y / (int(scene.air) % 3)), "by part"',
    ),
    "early returns": text(
        'if scene.ball.seen:\n    return LOW, "low"\nif scene.enemy[0].seen:\n    return HIGH * 0.5, "half"\n'
        'if scene.ball.x > 3.0:\n    return (scene.ball.x, 1, 0), "tuple"\nmemory.n += 1',
    ),
    "one ternary": text(
        "memory.n += 1", last='return ((1, 0.5, 2) if scene.ball.seen else memory.trail + 0.125, "either")'
    ),
    "ternary of answers": text(
        "memory.n += 1", last='return ((1, 0.5, 2), "tuple") if scene.ball.seen else (LOW, "array")'
    ),
    "a helper's mixed answers": text(
        "memory.n += 1",
        "def pose(scene):\n    if scene.ball.seen:\n        return (1, 2.5, scene.ball.x)\n    return HIGH\n",
        'return pose(scene), "pose"',
    ),
    "loops": text(
        "a = memory.trail\nfor i in range(3):\n    if scene.enemy[i].seen:\n"
        '        a = put(a, i, scene.enemy[i].x / 9.0)\n    if a[i] > 2.0:\n'
        '        return put(a, HIP, float(i)), "inside"\n'
        "    memory.trail = a\n",
        last='return clip(a, LOW, HIGH), "after"',
    ),
    "controls by name": text("memory.n += 1", last='return put(put(zeros(3), KNEE, 1.5), ANKLE, -9), "named"'),
}  # fmt: skip


def steps_of(source: str, actions: Box = LEG, scenes: int = 60) -> None:
    """Generated Python, a batch and ONNX agree, step by step from the memories that Python leaves."""
    fallback = FALLBACK if actions is LEG else np.array([-1.5], np.float32)
    program = compile_program(source, SCHEMA, CONSTANTS, actions=actions)
    graph = program.graph
    assert graph is not None and graph.action.shape == actions.shape and graph.n_actions == 0
    vectors, memory = random_vectors(scenes, 11), program.start()
    before, after, answers = [], [], []
    for vector in vectors:
        before.append(memory.snapshot())
        try:
            action, reason = program.act(SCHEMA.read(vector), memory)
            assert isinstance(action, np.ndarray) and action.dtype == np.float32 and not np.isnan(action).any()
        except Exception:
            action, reason = fallback, FAULT
            assert all(np.array_equal(memory.snapshot()[k], v, equal_nan=True) for k, v in before[-1].items())
        answers.append((action, reason))
        after.append(memory.snapshot())
    batch = step_batch(graph, vectors, {f: np.array([b[f] for b in before]) for f in graph.fields}, fallback)
    assert batch.actions.dtype == np.float32 and batch.actions.shape == (scenes, *actions.shape)
    machine, layout = session(logic_model(graph, SCHEMA.size, fallback)), MemoryLayout.of(graph.fields)
    for i, (action, reason) in enumerate(answers):
        feed = {"scene": vectors[i], "memory": layout.pack(before[i])}
        a, r, m, f = machine.run(None, feed)
        assert a.dtype == np.float32 and actions.same(a, action) and actions.same(batch.actions[i], action), (i, a)
        assert bool(f[0]) == bool(batch.faults[i]) == (reason == FAULT)
        assert reason == FAULT or graph.reasons[r[0]] == graph.reasons[batch.reasons[i]] == reason
        for name, value in layout.unpack(m).items():
            assert np.array_equal(value, after[i][name], equal_nan=True), name
            assert np.array_equal(batch.memory[name][i], after[i][name], equal_nan=True), name


@pytest.mark.parametrize("name", POLICIES)
def test_all_back_ends_agree(name: str) -> None:
    steps_of(POLICIES[name])


def test_one_control_is_a_number_too() -> None:
    for answer in ("scene.ball.x / 30.0", "memory.n", "(scene.ball.x,)", "HIGH", "LOW if scene.ball.seen else HIGH"):
        steps_of(text("memory.n += 1", last=f'return {answer}, "push"'), ONE)
    steps_of(text('if scene.ball.seen:\n    return 1, "int"\nmemory.n += 1', last='return HIGH, "array"'), ONE)
    rule = compile_safety(
        'def calm(scene, memory, action):\n    """Calm"""\n    return min(action[TORQUE], 0.5)\n',
        SCHEMA, CONSTANTS, actions=ONE,
    )  # fmt: skip
    calm, scene = rule.namespace["calm"], SCHEMA.read(SCHEMA.empty())
    for given, wanted in ((1.5, 0.5), (0.25, 0.25)):
        assert calm(scene, rule.start(), np.array([given], np.float32)).tolist() == [wanted]


SAFETY = '''
class Memory:
    n: int = 0

def low_knee(scene, memory, action):
    """Knee below one"""
    memory.n += 1
    return put(action, KNEE, min(action[KNEE], 1.0))

def rest(scene, memory, action):
    """Rest"""
    if scene.enemy[1].seen and memory.n % 5 == 0:
        return (0.0, 1.0 / (memory.n % 2), action[ANKLE])
    return action if scene.enemy[2].seen else clip(action, LOW * 2.0, HIGH * 2.0)
'''


def logic_of(policy: str = POLICIES["ternaries"], safety: str = SAFETY, fallback: Any = FALLBACK) -> Logic:
    return compile_logic(SCHEMA, policy, safety, CONSTANTS, LEG, fallback, lost_after=3)


def test_rules_clip_replace_and_fault_and_the_limits_have_the_last_word() -> None:
    plain = Controller(logic_of(), clock=lambda: 0)
    decisions = [plain.decide(SCHEMA.read(vector)) for vector in random_vectors(400, 5)]
    assert {rule for d in decisions for rule in d.overruled_by} == {"Knee below one", "Rest", LOST, LIMITS}
    assert any("Rest: ZeroDivisionError" in d.fault for d in decisions) and any(d.reason == FAULT for d in decisions)
    for d in decisions:
        assert isinstance(d.action, np.ndarray)
        LEG.check(d.action)
        assert LIMITS not in d.overruled_by or d.overruled_by[-1] == LIMITS
        assert d.overruled_by or LEG.same(d.action, d.proposed)
        assert LOST not in d.overruled_by or LEG.same(d.action, FALLBACK)
        assert d.reason != FAULT or LEG.same(d.proposed, FALLBACK)
    assert plain.logic.rules == ("Knee below one", "Rest", LOST, LIMITS)


def test_infinity_is_no_fault_and_ends_at_the_bound() -> None:
    far = text("far = scene.ball.x * 1e300 * 1e300", last='return (far, 0.0 - far, 0.0), "far"')
    decision = Controller(logic_of(far, "")).decide(SCHEMA.read(np.ones(SCHEMA.size, np.float32)))
    assert (decision.fault, decision.overruled_by) == ("", (LIMITS,))
    assert isinstance(decision.action, np.ndarray) and decision.action.tolist() == [1.0, -2.0, 0.0]


def test_a_missed_deadline_is_the_fallback() -> None:
    ticks = iter(range(0, 10**12, 10**10))
    decision = Controller(logic_of(), clock=lambda: next(ticks)).decide(SCHEMA.read(SCHEMA.empty()))
    assert decision.overruled_by[-1] == DEADLINE and LEG.same(decision.action, FALLBACK)


def test_decisions_can_be_compared_and_kept_in_sets() -> None:
    a, b = (Decision(FALLBACK.copy(), "x", FALLBACK.copy(), ("r",)) for _ in range(2))
    other = Decision(FALLBACK + 1, "x", FALLBACK, ("r",))
    assert a == b and (a != b) is False and a != other and len({a, b, other}) == 2
    assert Decision(1, "x", 1) == (1, "x", 1, (), "") and Decision(1, "x", 1) != Decision(2, "x", 1)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the layers are Linux's")
@pytest.mark.parametrize("here", [True, False])
@pytest.mark.parametrize("name", ["ternaries", "NaN", "early returns", "loops"])
def test_isolation_decides_as_in_process(name: str, here: bool) -> None:
    from logic.sandbox import Limits
    from logic.sandbox.compiling import compile_confined
    from logic.sandbox.controller import ConfinedController

    logic = logic_of(POLICIES[name])
    patient = Limits(wall_s=60.0)
    data = compile_confined(SCHEMA, POLICIES[name], "" if here else SAFETY, CONSTANTS, actions=LEG)
    rules = logic.modules if here else logic.modules[-1:]
    plain = Controller(logic, clock=lambda: 0)
    with ConfinedController(data, SCHEMA, LEG, FALLBACK, rules, limits=patient) as confined:
        for seed in (1, 2):
            plain.reset()
            confined.reset()
            for vector in random_vectors(150, seed):
                scene = SCHEMA.read(vector)
                assert confined.decide(scene) == plain.decide(scene)
        assert confined.outcome is None


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the layers are Linux's")
def test_a_forged_reply_cannot_bring_NaN() -> None:
    from logic.language.artifact import Artifact, Function, Part, freeze
    from logic.sandbox.controller import ConfinedController

    code = (
        "def step(scene, memory):\n    if not scene.ball.seen:\n        return array((9.0, 0.0, 0.0), F), 'fine'\n"
        "    return array((inf - inf, 0.0, 0.0), F), 'fine'\n"
    ).replace("inf", "1e999")  # fmt: skip
    data = freeze(Artifact({"fine": (1,)}, Part("policy.py", {}, (Function("act", code, {}),))))
    with ConfinedController(data, SCHEMA, LEG, FALLBACK) as confined:
        confined.reset()
        first = confined.decide(SCHEMA.read(SCHEMA.empty()))
        assert (first.overruled_by, LEG.tell(first.action)) == ((LIMITS,), "hip=+1 knee=+0 ankle=+0")
        ended = confined.decide(SCHEMA.read(np.ones(SCHEMA.size, np.float32)))
        assert "no compiled policy" in ended.fault and LEG.same(ended.action, FALLBACK)
        assert LEG.same(confined.decide(SCHEMA.read(SCHEMA.empty())).action, FALLBACK)


def test_the_fused_graph_decides_as_in_process() -> None:
    logic = logic_of(POLICIES["early returns"])
    fused = fuse(logic, None, (1, 1, 3))
    machine, memory = session(fused.model), fused.start
    names = [output.name for output in machine.get_outputs()]
    controller = Controller(logic, clock=lambda: 0)
    seen = set()
    for vector in random_vectors(120, 3):
        found = dict(zip(names, machine.run(None, {"sight": vector, "memory": memory}), strict=True))
        memory = found["next_memory"]
        decision = controller.decide(SCHEMA.read(found["scene"]))
        flags = zip(logic.rules, found["interventions"].tolist(), strict=True)
        assert tuple(rule for rule, flag in flags if flag) == decision.overruled_by
        assert LEG.same(found["action"], decision.action) and LEG.same(found["proposed"], decision.proposed)
        assert bool(found["faults"].any()) == bool(decision.fault)
        seen |= set(decision.overruled_by)
    assert LIMITS in seen and LOST in seen


def test_a_trace_is_what_was_decided() -> None:
    logic = logic_of()
    tracer, controller = Tracer(logic, CONSTANTS), Controller(logic, clock=lambda: 0)
    for vector in random_vectors(80, 7):
        scene = SCHEMA.read(vector)
        memories = controller.memory.snapshot(), [m.snapshot() for m in controller.rule_memories]
        decision = controller.decide(scene)
        policy, *rules = tracer.step(scene, *memories)
        assert LEG.same(policy.action, decision.proposed) and (policy.reason or FAULT) == decision.reason
        assert LEG.same(rules[-1].action, decision.action)
        assert tuple(part.title for part in rules if part.overruled) == decision.overruled_by
        assert bool(policy.fault) == (decision.reason == FAULT)


def test_locks_keep_vectors_to_the_bit(tmp_path: Path) -> None:
    logic = logic_of(text("memory.n += 1", last='return (scene.ball.x / 700.0, 0.1, -0.0), "go"'), "")
    controller = Controller(logic, clock=lambda: 0)
    scenes = random_vectors(40, 2)
    scenes[:, 0] = 1.0
    decisions = [controller.decide(SCHEMA.read(v)) for v in scenes]
    actions = [recorded(LEG, d.action) for d in decisions]
    about: dict[str, Any] = dict(name="leg", task="toy", protocol="sticky", note="", triune="0", source={})
    lock = make_scenes(Recording(scenes, actions, [d.reason for d in decisions]), 20, 40, 4, controller, **about)
    found = read(write(lock, tmp_path / "leg.json", SCHEMA), SCHEMA)
    assert isinstance(found, ScenesLock) and found.digest == lock.digest
    for told, decision in zip(found.actions, decisions[20:], strict=True):
        assert np.array(told, np.float32).tobytes() == np.asarray(decision.action, np.float32).tobytes()
    assert '"action": [' in (tmp_path / "leg.json").read_text() and check_scenes(found, controller) == []
    other = Controller(logic_of(text("memory.n += 1", last='return (scene.ball.x / 700.0, 0.2, 0), "go"'), ""))
    assert "knee=0.2" in str(check_scenes(found, other)[0]) and "instead of" in str(check_scenes(found, other)[0])


REFUSED = {  # body's last line: words of message and fix
    'return 0, "x"': (
        "int; this task's action is a vector of 3 controls (hip, knee, ankle)",
        'write `return (hip, knee, ankle), "why"',
    ),
    'return 0.5, "x"': ("vector of 3 controls", "return (hip"),
    'return NOOP, "x"': ("unknown name 'NOOP'", "vector of 3 controls (hip, knee, ankle): write `return (hip"),
    'return (1.0, 2.0), "x"': ("2 values; this task's action is a vector of 3 controls", "return (hip"),
    'return 1.0, 2.0, 3.0, "x"': ("an action and a reason", "return (hip, knee, ankle)"),
    "return (1.0, 2.0, 3.0)": ("an action and a reason", "return (hip, knee, ankle)"),
    'return zeros(2), "x"': ("Float[2]; this task's action is a vector", "return (hip"),
    'return arange(3), "x"': ("Int[3]; this task's", "return (hip"),
    'return (0.0, zeros(2), 1.0), "x"': ("knee is Float[2], not a number", "return (hip"),
    'return (0.0, "y", 1.0), "x"': ("knee is string, not a number", "return (hip"),
    'return put(LOW, HOP, 1.0), "x"': ("unknown name 'HOP'", "'HIP'"),
    'return LOW, 3': ("the reason is int", "return (hip, knee, ankle)"),
    'return LOW[3], "x"': ("index 3 lies outside", "inside"),
}  # fmt: skip


@pytest.mark.parametrize("last", REFUSED)
def test_refused_with_a_fix(last: str) -> None:
    source = text("memory.n += 1", last=last)
    (found,) = check_source(source, SCHEMA, CONSTANTS, actions=LEG)
    message, instead = REFUSED[last]
    assert message in found.message and instead in found.instead, found
    assert source.split("\n")[found.line - 1].strip() == last


def test_rules_are_refused_with_a_fix() -> None:
    for answer, words in {
        "0": "vector of 3", "action, 1.0": "2 values", 'action, "why"': "action alone", "NOOP": "unknown",
        "action[3]": "3",
    }.items():  # fmt: skip
        rule = f'def rule(scene, memory, action):\n    """Rule"""\n    return {answer}\n'
        (found,) = check_safety(rule, SCHEMA, CONSTANTS, actions=LEG)
        assert words in found.message and found.line == 3, found
        assert "return (hip, knee, ankle)`" in found.instead or answer == "action[3]"


def test_a_vector_where_actions_have_names() -> None:
    named = Discrete(("NOOP", "FIRE"))
    for last, words in {'return (0.0, 1.0), "x"': "a tuple", 'return zeros(2), "x"': "Float[2]"}.items():
        (found,) = check_source(text("memory.n += 1", last=last), SCHEMA, CONSTANTS, actions=named)
        assert words in found.message and "action" in found.instead
    (found,) = check_source(text("memory.n += 1", last='return FIRED, "x"'), SCHEMA, CONSTANTS, actions=named)
    assert "did you mean 'FIRE'" in found.instead


@pytest.mark.parametrize("names", [("low", "b"), ("a", "HIGH"), ("hip", "Hip"), ("frameskip", "b")])
def test_controls_whose_names_clash(names: tuple[str, str]) -> None:
    with pytest.raises(LogicError, match="rename it"):
        compile_program(POLICIES["constant"], SCHEMA, CONSTANTS, actions=Box(names, (0.0, 0.0), (1.0, 1.0)))


def test_names_that_are_taken() -> None:
    (found,) = check_source(text("memory.n += 1", "HIP = 3\n"), SCHEMA, CONSTANTS, actions=LEG)
    assert "'HIP' is a word of the language" in found.message


def test_the_fallback_is_legal_and_nobody_can_change_it() -> None:
    with pytest.raises(EnvError, match="hip is 7"):
        logic_of(fallback=[7.0, 0.0, 0.0])
    given = FALLBACK.copy()
    logic = logic_of(fallback=given)
    given[:] = 0.0
    assert LEG.same(logic.fallback, FALLBACK) and not np.asarray(logic.fallback).flags.writeable


def test_a_batch_of_a_rule() -> None:
    graph = logic_of().modules[0].graphs["low_knee"]
    given: list[Action] = [np.array([0.5, k, 0.0], np.float32) for k in (0.5, 1.5)]
    found = step_batch(graph, random_vectors(2, 0), start_batch(graph, 2), FALLBACK, np.array(given))
    assert found.actions.tolist() == [[0.5, 0.5, 0.0], [0.5, 1.0, 0.0]] and found.memory["n"].tolist() == [1, 1]
