"""The contract of a zoo folder. A new folder enters by existing."""

from __future__ import annotations

import json

import numpy as np
import pytest
from world_kit import picture_or_skip, play_or_skip

from data_flywheel.labelers.teacher import load_teacher
from envs.env import protocols_of, simulator
from envs.remote import PixelEnv
from envs.spec import ZOO, load_spec, task_names
from logic.runtime.controller import Controller
from logic.runtime.tracker import Tracker
from triune.system import System, load

TASKS = task_names()
pytestmark = pytest.mark.parametrize("task", TASKS, scope="module")  # task by task: what compiled once is known


def controllers(system: System) -> list[Controller]:
    """One for every protocol of the task's backend."""
    return [system.controller(name) for name in protocols_of(system.spec.env)]


def test_zoo_is_not_empty(task: str) -> None:
    assert (ZOO / task / "policy.py").is_file()
    assert (ZOO / task / "perception.onnx").is_file() != load_spec(task).env.observed


def test_policy_and_rules_load_for_every_protocol(task: str) -> None:
    for c in controllers(load(task)):
        assert c.program.reasons and all(c.rules[i].title for i in range(len(c.rules)))


def test_memory_keeps_types_and_shapes_over_an_episode(task: str) -> None:
    """A field that changes type or shape would not compile; it must not happen in play either."""
    play_or_skip(task)
    system = load(task)
    c, tracker = system.controller(), Tracker(system.schema)
    see = system.detector().see if system.spec.env.observed else None
    teacher = None if see else load_teacher(system.folder)
    core = simulator(system.spec.env, system.protocol())
    core.reset(0)
    kinds = {k: np.asarray(v).dtype.kind + str(np.shape(v)) for k, v in vars(c.memory).items()}
    for _ in range(400):
        exact = teacher.label(core.truth(), core.frame()) if teacher else see(core.frame())
        scene = system.schema.read(tracker.update(exact))
        decision = c.decide(scene)
        assert not decision.fault, decision.fault
        assert decision.reason in c.program.reasons
        core.advance(decision.action)
        if core.done:
            break
    assert {k: np.asarray(v).dtype.kind + str(np.shape(v)) for k, v in vars(c.memory).items()} == kinds


def test_decisions_repeat_exactly(task: str) -> None:
    """Same scenes, same decisions: nothing random, nothing left over from the episode before."""
    system = load(task)
    c = system.controller()
    rng = np.random.default_rng(0)
    vectors = rng.uniform(0, 200, (60, system.schema.size)).astype(np.float32)
    runs = []
    for _ in range(2):
        c.reset()
        runs.append([repr(c.decide(system.schema.read(v))) for v in vectors])
    assert runs[0] == runs[1] and len(set(runs[0])) > 1


def test_policy_survives_absurd_scenes(task: str) -> None:
    """NaN, infinities and huge values may be faults; they are never exceptions and always give a legal action."""
    system = load(task)
    for c in controllers(system):
        for value in (np.nan, np.inf, -np.inf, 1e30, -1e30, 0.0):
            for seen in (0.0, 1.0):
                vector = np.full(system.schema.size, value, np.float32)
                for _, slot in system.schema.slots():
                    vector[slot.start] = seen
                with np.errstate(all="ignore"):
                    decision = c.decide(system.schema.read(vector))
                system.spec.env.actions.check(decision.action)


def test_eyes_fit_the_schema_and_carry_their_provenance(task: str) -> None:
    picture_or_skip(task)
    system = load(task)
    detector = system.detector()
    assert detector.schema.fingerprint == system.schema.fingerprint
    assert json.loads(json.dumps(detector.provenance))


def test_eyes_agree_with_the_teacher_in_play(task: str) -> None:
    """300 steps of an unseen train seed: what is there is seen, where it is, to 1.5 px at the 99th percentile; what is
    read, to 3 % of its range."""
    picture_or_skip(task)
    system = load(task)
    detector, teacher = system.detector(), load_teacher(system.folder)
    core = simulator(system.spec.env, system.protocol())
    core.reset(950)
    c, tracker = system.controller(), Tracker(system.schema)
    errors: list[float] = []
    misread: list[float] = []
    wrong = steps = labels = 0
    while steps < 300 and not core.done:
        steps += 1
        frame = core.frame()
        true, seen = teacher.label(core.truth(), frame), detector.see(frame)
        for thing in system.schema.things:
            slots = [system.schema.slot(thing.name, i) for i in range(thing.count)]
            there = [true[at][1:3] for at in slots if true[at][0] > 0.5]
            found = [seen[at][1:3] for at in slots if seen[at][0] > 0.5]
            wrong += abs(len(there) - len(found))
            labels += max(len(there), 1)
            for place in found if there else ():  # the nearest: which slot it has says nothing
                errors.append(min(float(np.hypot(*(place - other))) for other in there))
        for reading in system.schema.readings:
            a, b = true[system.schema.slot(reading.name)], seen[system.schema.slot(reading.name)]
            wrong += bool(a[0] > 0.5) != bool(b[0] > 0.5)
            for f, x, y in zip(reading.fields, a[1:-1].tolist(), b[1:-1].tolist(), strict=True):
                misread.append(abs(f.away(x, y)) / (f.high - f.low))
        core.advance(c.decide(system.schema.read(tracker.update(true))).action)
    assert len(errors) > 300 or not system.schema.things
    assert not errors or np.percentile(errors, 99) <= 1.5
    assert len(misread) >= steps * len(system.schema.readings) and steps >= 200
    assert not misread or np.percentile(misread, 99) <= 0.03
    assert wrong <= 0.01 * (labels + steps * len(system.schema.readings))


def test_teacher_matches_its_schema_on_the_first_frame(task: str) -> None:
    picture_or_skip(task)
    spec = load_spec(task)
    rules = next(iter(protocols_of(spec.env).values()))
    core = simulator(spec.env, rules)
    core.reset(1)
    vector = load_teacher(spec.folder).label(core.truth(), core.frame())
    assert vector.shape == (load(task).schema.size,) and np.isfinite(vector).all()
    with PixelEnv(spec.env, rules) as env:
        assert np.array_equal(env.reset(1), core.frame())
