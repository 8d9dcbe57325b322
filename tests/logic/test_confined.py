"""A stranger's policy, compiled and played in a worker: the same decisions, and nothing it does reaches further."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from logic.errors import LogicError
from logic.language import CompileError, compile_safety
from logic.language.artifact import Artifact, Function, Part, freeze, read
from logic.language.frontend.modules import maths_scope
from logic.runtime.controller import FAULT, Controller, Decision
from logic.runtime.logic import compile_logic
from logic.sandbox import IsolationError, Limits, OutOfFuel
from logic.sandbox import compiling as confined_compile
from logic.sandbox.compiling import compile_confined, shipped_texts
from logic.sandbox.controller import ConfinedController
from tests.kits.compiler_kit import CONSTANTS, SCHEMA, SPACE, policy, random_vectors
from tests.kits.confined_kit import ATTACKS, PATIENT, artifact, hostile, scene
from tests.kits.isolation_kit import COMPLETE, descriptors, endless, fork, gigabyte, gone, read_file

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the layers are Linux's")

POLICY = policy(
    """
memory.n = memory.n + 1
memory.trail = shift_push(memory.trail, scene.ball.x / scene.ball.y)
memory.x = 1.0 / (int(scene.air) % 9) + total(memory.trail)
memory.ticks = put(memory.ticks, 2 + int(scene.air) % 3, 1)
if scene.enemy[memory.n % 3].seen:
    return LEFT if count(scene.bricks) > 6 else RIGHT, "enemy"
if memory.x > 0.5 and memory.n % 3 == 0:
    return FIRE, "far"
"""
)
SAFETY = '''
class Memory:
    n: int = 0

def never_left(scene, memory, action):
    """Never LEFT."""
    memory.n += 1
    return NOOP if action == LEFT else action

def rest(scene, memory, action):
    """Rest now and then."""
    if scene.enemy[1].seen and memory.n % 7 == 0:
        return memory.n // (memory.n % 2) * 0
    return action
'''


def built(safety_here: bool, text: str = POLICY, safety: str = SAFETY, **options: Any) -> ConfinedController:
    """The confined twin of `compile_logic`: the rules in the worker, or here."""
    data = compile_confined(SCHEMA, text, "" if safety_here else safety, CONSTANTS, limits=PATIENT)
    logic = compile_logic(SCHEMA, text, safety, CONSTANTS, SPACE, 0, 4)
    rules = logic.modules if safety_here else logic.modules[-1:]
    return ConfinedController(data, SCHEMA, SPACE, 0, rules, **{"limits": PATIENT, **options})


@pytest.mark.parametrize("safety_here", [True, False])
def test_decides_as_in_process(safety_here: bool) -> None:
    plain = Controller(compile_logic(SCHEMA, POLICY, SAFETY, CONSTANTS, SPACE, 0, 4), clock=lambda: 0)
    seen: set[Decision] = set()
    with built(safety_here) as confined:
        for seed in (1, 2):
            plain.reset()
            confined.reset()
            for vector in random_vectors(300, seed):
                expected = plain.decide(SCHEMA.read(vector))
                assert confined.decide(SCHEMA.read(vector)) == expected
                seen.add(expected)
    assert {d.reason for d in seen} >= {FAULT, "enemy", "end"}
    assert {n for d in seen for n in d.overruled_by} == {"Never LEFT", "Rest now and then", "perception lost"}
    assert any("Rest now and then:" in d.fault for d in seen) and any("Zero" in d.fault for d in seen)


def test_the_zoo_decides_as_in_process() -> None:
    from triune import load
    from triune.system import constants_of

    for task in ("breakout", "pong"):
        system = load(task)
        known = constants_of(system.spec, system.protocol("sticky"))
        data = compile_confined(system.schema, system.texts.policy, system.texts.safety, known)
        logic = system.logic("sticky")
        confined = ConfinedController(data, system.schema, logic.actions, logic.fallback, logic.modules[-1:])
        plain = Controller(logic, clock=lambda: 0)
        rng = np.random.default_rng(5)
        with confined:
            confined.reset()
            for _ in range(100):
                vector = (rng.random(system.schema.size) * 160).astype(np.float32)
                vector[rng.random(system.schema.size) < 0.3] = 0
                now = system.schema.read(vector)
                assert confined.decide(now) == plain.decide(now)
            assert confined.outcome is None


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_end_the_episode_and_nothing_else(name: str) -> None:
    code, expected, words, limits = ATTACKS[name]
    controller = hostile(code, limits)
    controller.reset()
    assert controller.decide(scene(False)) == Decision(3, "fine", 3)
    pid = controller._worker.pid
    for seen in (True, False, False):
        decision = controller.decide(scene(seen))
        assert decision[:4] == (0, FAULT, 0, ()), decision
        assert f"{expected}:" in decision.fault and words in decision.fault
    assert controller.outcome is not None and controller.outcome.name == expected
    assert gone(pid)
    controller.reset()
    assert controller.outcome is None
    assert controller.decide(scene(False)) == Decision(3, "fine", 3)
    controller.close()
    assert not Path("/tmp/confined-was-here").exists()


@pytest.mark.parametrize("code", ["os.fork()", "1 / 0", "B.bytearray(1 << 30)"])
def test_attacks_while_thawing(code: str) -> None:
    text = f"B = abs.__self__\nos = B.__import__('os')\n{code}\ndef step(scene, memory):\n    return 0, 'fine'\n"
    data = freeze(Artifact({"fine": ()}, Part("policy.py", {}, (Function("act", text, {}),))))
    with ConfinedController(data, SCHEMA, SPACE, 1, limits=PATIENT) as controller:
        for _ in range(2):
            controller.reset()
            assert controller.outcome is not None and not controller.outcome.ok
            assert controller.decide(scene(False))[:3] == (1, FAULT, 1)


def test_rules_that_are_kept_here_cannot_be_overridden() -> None:
    """Code that writes its own reply may choose an action; the rules here are run on it all the same."""
    data = artifact("say(record(SIZE, body=(b'\\3\\3' + B.bytes(10)).ljust(SIZE, b'\\0')))")
    rules = compile_safety(SAFETY, SCHEMA, CONSTANTS)
    with ConfinedController(data, SCHEMA, SPACE, 0, [rules], limits=PATIENT) as controller:
        controller.reset()
        assert controller.decide(scene(False)) == Decision(0, "fine", 3, ("Never LEFT",))
        assert controller.decide(scene(True)) == Decision(0, "fine", 3, ("Never LEFT",))


def test_rules_here_still_judge_the_fallback_of_a_dead_worker() -> None:
    text = 'def on(scene, memory, action):\n    """Keep firing."""\n    return FIRE\n'
    rules = compile_safety(text, SCHEMA, CONSTANTS)
    with ConfinedController(artifact("os.abort()"), SCHEMA, SPACE, 0, [rules], PATIENT) as controller:
        controller.reset()
        decision = controller.decide(scene(True))
        assert decision[:4] == (1, FAULT, 0, ("Keep firing",)) and "SIGABRT" in decision.fault


def test_episodes_share_nothing() -> None:
    code = "return (1 if memory.n == 1 else 2), 'fine'"
    with hostile(code, PATIENT) as controller:
        for _ in range(2):
            controller.reset()
            assert [controller.decide(scene(True)).action for _ in range(3)] == [1, 2, 2]


def test_nothing_is_left_behind() -> None:
    before = sorted(os.listdir("/proc/self/fd"))
    controller = hostile("os.abort()", PATIENT)
    controller.close()
    for _ in range(3):
        controller.reset()
        pid = controller._worker.pid
        controller.decide(scene(False))
        controller.close()
        controller.close()
        assert gone(pid)
    controller.reset()
    pid = controller._worker.pid
    del controller
    assert gone(pid)
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_fault_texts_are_cut_and_printable() -> None:
    with hostile("raise B.ValueError('\\x1b[2J' + 'ä' * 500)", PATIENT) as controller:
        controller.reset()
        decision = controller.decide(scene(True))
        assert controller.outcome is None  # a fault of the policy, not an end of the worker
        assert decision.fault.startswith("ValueError:  [2Jää") and len(decision.fault) < 160
        assert decision.fault.isprintable()


def test_required_isolation_is_refused_where_layers_are_missing() -> None:
    limits = Limits(wall_s=60.0, skip=frozenset({"seccomp"}))
    with pytest.raises(IsolationError, match="seccomp"):
        compile_confined(SCHEMA, POLICY, "", CONSTANTS, limits=limits, require_isolation=True)
    controller = ConfinedController(artifact(""), SCHEMA, SPACE, 0, (), limits, require_isolation=True)
    with pytest.raises(IsolationError, match="seccomp"):
        controller.reset()


@pytest.mark.skipif(not COMPLETE, reason="layers are missing here")
def test_required_isolation_is_given() -> None:
    with built(True, require_isolation=True) as controller:
        controller.reset()
        assert controller.decide(scene(True)).reason in ("end", "far", "enemy", FAULT)


# --- compiling ---------------------------------------------------------------------------------------------------


def test_the_same_diagnostics() -> None:
    bad = policy("while True:\n    x = scene.bal.x", module="import os\nA = [1]")
    rules = 'def f(scene, memory, action):\n    """F."""\n    return open(1)\n'
    with pytest.raises(CompileError) as plain:
        compile_logic(SCHEMA, bad, rules, CONSTANTS, SPACE, 0)
    with pytest.raises(CompileError) as confined:
        compile_confined(SCHEMA, bad, rules, CONSTANTS)
    assert confined.value.diagnostics == plain.value.diagnostics
    assert {d.file for d in plain.value.diagnostics} == {"policy.py", "safety.py"}


def test_library_modules_are_found_without_files() -> None:
    first = next(iter(shipped_texts()))
    with pytest.raises(CompileError, match=f"no library module 'nowhere'; there are: {first}, "):
        compile_confined(SCHEMA, policy("", module="from logic.lib.nowhere import x"), "", CONSTANTS)
    own = {"mine": '"""Mine."""\n\n\ndef twice(x):\n    return x + x\n'}
    text = policy("memory.x = twice(1.5)", module="from logic.lib.mine import twice")
    assert read(compile_confined(SCHEMA, text, "", CONSTANTS, own)).policy.name == "policy.py"


def test_portable_maths_is_found_without_files() -> None:
    """Even where this process has compiled no text that uses it."""
    maths_scope.cache_clear()
    text = policy("memory.x = math.sin(scene.ball.x) + math.atan2(scene.ball.y, 2.0)")
    assert read(compile_confined(SCHEMA, text, "", CONSTANTS, limits=PATIENT)).reasons


def test_bombs_are_diagnostics_here_too() -> None:
    for module in ("A = 9**9**9", "A = zeros(10**9)", "A = " + "-" * 5000 + "1"):
        with pytest.raises(CompileError):
            compile_confined(SCHEMA, policy("", module=module), "", CONSTANTS)


@pytest.mark.parametrize(
    ("attack", "name"),
    [(fork, "killed(syscall)"), (read_file, "killed(syscall)"), (gigabyte, "killed(memory)"),
     (descriptors, "killed(syscall)"), (endless, "killed(cpu)")],
)  # fmt: skip
def test_a_compiler_that_was_taken_over(attack: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confined_compile, "_compile", lambda *a: attack(b""))
    with pytest.raises(LogicError, match=name.replace("(", r"\(").replace(")", r"\)")):
        compile_confined(SCHEMA, POLICY, "", CONSTANTS, limits=Limits(wall_s=60.0, cpu_s=1, memory_mib=256))
    monkeypatch.undo()
    assert read(compile_confined(SCHEMA, POLICY, "", CONSTANTS)).titles == ()


def test_other_ways_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    def fuel(*a: Any) -> Artifact:
        raise OutOfFuel("1000 nodes")

    for work, expected in (
        (lambda *a: b"?what", "protocol"), (lambda *a: b"D[]", "protocol"), (lambda *a: b'D[{"line": 1}]', "protocol"),
        (lambda *a: b"D" + b"[" * 10**5, "protocol"), (lambda *a: b"Anonsense", "not a compiled policy"),
        (lambda *a: "text", "protocol"), (fuel, "fuel"), (lambda *a: 1 // 0, "fault"),
        (lambda *a: b"Lsaid no", "said no"),
    ):  # fmt: skip
        monkeypatch.setattr(confined_compile, "_work", work)
        with pytest.raises(LogicError, match=expected):
            compile_confined(SCHEMA, POLICY, "", CONSTANTS)


def test_many_diagnostics_fit() -> None:
    text = policy("\n".join(f"x{i} = unknown_{i}(scene.nothing_{i})" for i in range(500)))
    with pytest.raises(CompileError) as caught:
        compile_confined(SCHEMA, text, "", CONSTANTS)
    assert len(caught.value.diagnostics) > 50


def test_functions_of_math_compile_in_a_fresh_process_too() -> None:
    """They stand for a text that ships with Triune, which the worker cannot open."""
    maths_scope.cache_clear()
    shipped_texts.cache_clear()
    text = policy("return LEFT if math.cos(scene.ball.x) > math.exp(-scene.ball.y) else RIGHT, 'far'")
    for library in (None, {}):
        assert read(compile_confined(SCHEMA, text, "", CONSTANTS, library, PATIENT)).reasons
