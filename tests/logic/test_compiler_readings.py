"""Readings of a scene (declared numbers instead of a box): one meaning in every back end, helpful refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx_kit import session

from envs.actions import Box, Discrete
from logic.errors import LogicError
from logic.language import compile_program
from logic.language.backends.batch import step_batch
from logic.language.backends.onnx import logic_model
from logic.language.layout import MemoryLayout
from logic.runtime.controller import Controller
from logic.runtime.logic import LOST, compile_logic
from logic.runtime.trace import Tracer
from logic.runtime.tracker import Tracker
from logic.sandbox.controller import reader
from perception.scene import SceneError, SceneSchema

CONFIG: dict[str, Any] = {
    "crop": [0, 0, 64, 64],
    "things": {"ball": {"count": 2}},
    "gauges": {"air": {"box": [0, 0, 4, 4]}},
    "readings": {
        "pole": {
            "required": True,
            "fields": {"angle": {"low": -0.25, "high": 0.25, "unit": "rad"}, "x": {"low": -2.4, "high": 2.4}},
        },
        "hand": {"fields": {"turn": {"low": -3.5, "high": 3.5, "wrap": True}}},
    },
}
SCHEMA = SceneSchema.from_config(CONFIG)
CONSTANTS = {"FRAMESKIP": 1, "STICKY": 0.0, "HEIGHT": 64, "WIDTH": 64}
PUSH = Box(("push",), (-9.0,), (9.0,))
POLICY = '''"""Push under the pole."""


class Memory:
    last: float = 0.0


def lean(pole, gain):
    return pole.angle * gain + pole.x


def act(scene, memory):
    if not scene.pole.seen:
        return memory.last, "blind"
    hand = scene.hand
    memory.last = lean(scene.pole, 3.0) + (hand.turn if hand.seen else scene.ball[1].x) + scene.pole.sure
    return memory.last, "push"
'''


def vectors(n: int = 80) -> np.ndarray:
    """float32[n, size] at random, flags about half the time."""
    made = np.random.default_rng(3).normal(0, 1, (n, SCHEMA.size)).astype(np.float32)
    return made


def test_readings_stand_last_and_are_read_by_name() -> None:
    pole, hand = ("pole.seen", "pole.angle", "pole.x", "pole.sure"), ("hand.seen", "hand.turn", "hand.sure")
    assert SCHEMA.names[-7:] == pole + hand
    vector = SCHEMA.empty()
    vector[SCHEMA.slot("pole")] = (1.0, 0.125, -2.0, 0.75)
    scene = SCHEMA.read(vector)
    assert (scene.pole.seen, scene.pole.angle, scene.pole.x, scene.pole.sure) == (True, 0.125, -2.0, 0.75)
    assert scene.hand.seen is False and SCHEMA.fields("pole") == ("seen", "angle", "x", "sure")
    again = SceneSchema.from_config(SCHEMA.to_config())
    assert again == SCHEMA and again.fingerprint == SCHEMA.fingerprint
    without = SceneSchema.from_config({k: v for k, v in CONFIG.items() if k != "readings"})
    assert "readings" not in without.to_config()
    assert SceneSchema.from_config({**CONFIG, "things": {}, "gauges": {}}).size == 7


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "declares its fields"),
        ({"seen": {"low": 0, "high": 1}}, "can be called 'seen'"),
        ({"lambda": {"low": 0, "high": 1}}, "can be called 'lambda'"),
        ({"a b": {"low": 0, "high": 1}}, "a name is a word"),
        ({"angle": {"low": 1, "high": 1}}, "low is below high"),
        ({"angle": {"low": 0, "high": float("inf")}}, "high is a number"),
        ({"angle": {"low": 0}}, "missing high"),
        ({"angle": {"low": 0, "high": 1, "wraps": True}}, "did you mean 'wrap'"),
        ({"angle": {"low": 0, "high": 1, "unit": 3}}, "unit is a text"),
        ({"angle": 3}, "table"),
    ],
)
def test_a_bad_field_names_its_place(fields: Any, message: str) -> None:
    with pytest.raises(SceneError, match=message) as found:
        SceneSchema.from_config({"crop": [0, 0, 8, 8], "readings": {"pole": {"fields": fields}}})
    assert found.value.key[:2] == ("readings", "pole")


def test_two_parts_cannot_share_a_name() -> None:
    with pytest.raises(SceneError, match="two parts"):
        SceneSchema.from_config({**CONFIG, "things": {"pole": {}}})


def test_python_batch_onnx_and_isolation_read_the_same() -> None:
    program = compile_program(POLICY, SCHEMA, CONSTANTS, actions=PUSH)
    graph, memory = program.graph, program.start()
    assert graph is not None
    fallback, layout = np.zeros(1, np.float32), MemoryLayout.of(graph.fields)
    machine = session(logic_model(graph, SCHEMA.size, fallback))
    inside = reader(SCHEMA, ["scene.pole scene.hand scene.ball"])
    reasons = set()
    for vector in vectors():
        before = memory.snapshot()
        with_reader = program.start()
        with_reader.__dict__.update(memory.__dict__)
        action, reason = program.act(SCHEMA.read(vector), memory)
        again, _ = program.act(inside(vector.tobytes()), with_reader)
        batch = step_batch(graph, vector[None], {f: np.array([before[f]]) for f in graph.fields}, fallback)
        a, r, _, faulted = machine.run(None, {"scene": vector, "memory": layout.pack(before)})
        assert PUSH.same(action, again) and PUSH.same(action, batch.actions[0]) and PUSH.same(action, a)
        assert not faulted and graph.reasons[int(r[0])] == reason
        reasons.add(reason)
    assert reasons == {"blind", "push"}


def test_a_wrong_field_is_a_compile_error_that_names_the_nearest() -> None:
    with pytest.raises(LogicError, match="did you mean 'angle'"):
        compile_program(POLICY.replace("pole.angle", "pole.angel"), SCHEMA, CONSTANTS, actions=PUSH)
    with pytest.raises(LogicError, match="it has seen, turn, sure"):
        compile_program(POLICY.replace("hand.turn", "hand.vx"), SCHEMA, CONSTANTS, actions=PUSH)
    with pytest.raises(LogicError, match="did you mean 'pole'"):
        compile_program(POLICY.replace("scene.pole.seen", "scene.poles.seen"), SCHEMA, CONSTANTS, actions=PUSH)


def test_a_required_reading_that_is_lost_ends_in_the_fallback() -> None:
    text = 'class Memory:\n    n: int = 0\n\n\ndef act(scene, memory):\n    return GO, "go"\n'
    logic = compile_logic(SCHEMA, text, "", CONSTANTS, Discrete(("STOP", "GO")), 0, lost_after=3)
    controller, vector = Controller(logic, clock=lambda: 0), SCHEMA.empty()
    assert [controller.decide(SCHEMA.read(vector)).action for _ in range(4)] == [1, 1, 0, 0]
    vector[SCHEMA.slot("pole")] = (1.0, 0.0, 0.0, 0.9)
    decision = controller.decide(SCHEMA.read(vector))
    assert decision.action == 1 and LOST not in decision.overruled_by


def test_the_tracker_passes_readings_through() -> None:
    tracker, vector = Tracker(SCHEMA), vectors(1)[0]
    out = tracker.update(vector)
    assert np.array_equal(out[-7:], vector[-7:])


def test_a_trace_names_what_was_read() -> None:
    logic = compile_logic(SCHEMA, POLICY, "", CONSTANTS, PUSH, np.zeros(1, np.float32), lost_after=3)
    vector, program = SCHEMA.empty(), compile_program(POLICY, SCHEMA, CONSTANTS, actions=PUSH)
    vector[SCHEMA.slot("pole")] = (1.0, 0.1, 0.5, 0.9)
    rules = [module.start().snapshot() for module in logic.modules]
    tracer = Tracer(logic, CONSTANTS)
    part = tracer.step(SCHEMA.read(vector), program.start().snapshot(), rules)[0]
    told = [tracer.text(mark) for mark in part.marks]
    assert any("scene.pole.seen" in line for line in told), told
