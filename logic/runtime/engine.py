"""Tracker, policy and rules on the native machine: the same decisions, some twenty times sooner.

Python stays the reference. Whatever is out of the ordinary, a fault, is decided again by it from the memory before the
step, and so are some of the other steps as they come (`verify`); a difference is an error and ends the episode.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

import native
from envs.actions import Action, Discrete
from logic.errors import LogicError
from logic.language.backends.bytecode import Code, MemoryBytes, Part, Unfit, program
from logic.language.ir import Value
from logic.language.program import Memory
from logic.runtime.controller import DEADLINE, Controller, Decision
from logic.runtime.logic import Logic
from logic.runtime.tracker import FIELDS, Tracker, compile_tracker
from perception.scene import SLOT_FIELDS, Scene, SceneSchema

VERIFY = 499  # one step in so many is decided by Python too


class Disagreement(LogicError):
    """The native machine and Python made different things of one step."""


def fast_controller(controller: Controller, verify: int = VERIFY) -> Controller:
    """The same on the native machine where that runs and the policy fits it, else the controller itself. `verify`: one
    step in so many is decided by Python too; 0: none."""
    if type(controller) is not Controller or not native.available():
        return controller
    try:
        return NativeController(controller.logic, controller.deadline_ns / 1e6, controller.clock, verify)
    except Unfit:
        return controller


def fast_tracker(schema: SceneSchema, verify: int = VERIFY) -> Tracker:
    """A tracker, on the native machine where that runs."""
    if not native.available():
        return Tracker(schema)
    try:
        return NativeTracker(schema, verify)
    except Unfit:
        return Tracker(schema)


def decider_program(logic: Logic) -> tuple[bytes, list[MemoryBytes]]:
    """(program of the policy and the rules in order, the layout of each memory). Unfit: the machine cannot run them."""
    assert logic.policy.graph is not None
    modules = [logic.policy.graph, *(next(iter(m.graphs.values())) for m in logic.modules)]
    layouts = [MemoryBytes(graph.fields) for graph in modules]
    parts = [Part(logic.policy.graph, 0)]
    parts += [Part(graph, i) for i, module in enumerate(logic.modules, 1) for graph in module.graphs.values()]
    return program(parts, layouts, logic.schema.size, logic.fallback), layouts


def tracker_program(schema: SceneSchema) -> tuple[bytes, MemoryBytes]:
    """(program of a schema's tracker, the layout of its memory). Unfit: the machine cannot run it."""
    (graph,) = compile_tracker(schema).graphs.values()
    layout = MemoryBytes(graph.fields)
    parts = [Part(graph, 0, lambda code, new: _publish(code, new, schema))]
    return program(parts, [layout], schema.size, 0), layout


class NativeController(Controller):
    """`Controller`, decided by the machine. Its `memory` and `rule_memories` are copies of the present ones."""

    def __init__(
        self, logic: Logic, deadline_ms: float = 100.0, clock: Callable[[], int] = time.thread_time_ns,
        verify: int = VERIFY,
    ) -> None:  # fmt: skip
        assert native.engine is not None and logic.policy.graph is not None
        self._engine = native.engine
        words, self._layouts = decider_program(logic)
        self._machine = self._engine.machine_new(words)
        self._ask = self._engine.machine_decide
        self._reference = Controller(logic, 1e9, lambda: 0)
        self._reasons, self._discrete = logic.policy.graph.reasons, isinstance(logic.actions, Discrete)
        self._known: dict[int, Decision] = {}
        self._verify, self._steps = verify, 0
        super().__init__(logic, deadline_ms, clock)
        self.reset()

    @property
    def memory(self) -> Memory:
        """What the policy remembers now."""
        return self._memory_of(0)

    @memory.setter
    def memory(self, memory: Memory) -> None:
        self._engine.machine_load(self._machine, 0, self._layouts[0].pack(memory.snapshot()))

    @property
    def rule_memories(self) -> list[Memory]:
        """What each module of rules remembers now."""
        return [self._memory_of(i) for i in range(1, len(self._layouts))]

    @rule_memories.setter
    def rule_memories(self, memories: list[Memory]) -> None:
        for i, memory in enumerate(memories, 1):
            self._engine.machine_load(self._machine, i, self._layouts[i].pack(memory.snapshot()))

    def _memory_of(self, i: int) -> Memory:
        return Memory(self._layouts[i].unpack(self._engine.machine_save(self._machine, i)))

    def decide(self, scene: Scene) -> Decision:
        """The action for this scene. Never raises on a policy's account; Disagreement: Python decided otherwise."""
        began = self.clock()
        vector = scene.vector
        code = self._ask(self._machine, vector)
        made = self._known.get(code) or self._told(code, scene)
        self._steps += 1
        if self._verify and self._steps % self._verify == 0:
            self._compare(made, scene)
        if self.clock() - began > self.deadline_ns:
            made = made._replace(action=self.fallback, overruled_by=(*made.overruled_by, DEADLINE))
        return made

    def _told(self, code: int, scene: Scene) -> Decision:
        """The decision behind a code. Those without a vector, a fault or a rule's doing are kept."""
        if code >= 0 and self._discrete:
            which, index = divmod(code, len(self.logic.actions.names))
            made = self._known[code] = Decision(index, self._reasons[which], index)
            return made
        told = self._engine.machine_told(self._machine)
        if any(fault for fault, *_ in told):
            return self._compare(None, scene)
        proposed, reason = self._action(told[0][2]), self._reasons[told[0][3]]
        action: Action = proposed
        overruled: list[str] = []
        for (_, rule), (_, _, given, _) in zip(self._rules, told[1:], strict=True):
            ruled = self._action(given)
            if not self._same(ruled, action):
                overruled.append(rule.title)
                action = ruled
        if self._bounds is not None:
            action, limited = self._within(self._bounds, action)
            overruled += limited
        return Decision(action, reason, proposed, tuple(overruled))

    def _action(self, told: Any) -> Action:
        return int(told) if self._discrete else np.frombuffer(told, np.float32)

    def _compare(self, made: Decision | None, scene: Scene) -> Decision:
        """Python's decision on the same scene from the memories before it; Disagreement where it is another one."""
        engine, reference = self._engine, self._reference
        before = [layout.unpack(engine.machine_before(self._machine, i)) for i, layout in enumerate(self._layouts)]
        reference.memory, *rest = [Memory(values) for values in before]
        reference.rule_memories = rest
        wanted = reference.decide(scene)
        # of a fault the machine knows no words, and the limits of a control come after it
        same = bool(wanted.fault) if made is None else made == wanted
        if made is None and self._discrete:
            same &= bool(engine.machine_told(self._machine)[-1][2] == wanted.action)
        for i, memory in enumerate((reference.memory, *reference.rule_memories)):
            same &= _alike(self._layouts[i], memory.snapshot(), engine.machine_save(self._machine, i))
        if not same:
            told = engine.machine_told(self._machine)
            raise Disagreement(
                f"the native engine decided {made or told}, Python {wanted}, on one scene and memory: set "
                "TRIUNE_ENGINE=python and please report it with the policy"
            )
        return wanted


class NativeTracker(Tracker):
    """`Tracker`, run by the machine. Its `memory` is a copy of the present one."""

    def __init__(self, schema: SceneSchema, verify: int = VERIFY) -> None:
        assert native.engine is not None
        self._engine, self._reference = native.engine, Tracker(schema)
        words, self._layout = tracker_program(schema)
        self._machine = self._engine.machine_new(words)
        self._ask, self._size = self._engine.machine_track, schema.size
        self._verify, self._steps = verify, 0
        super().__init__(schema)

    @property
    def memory(self) -> Memory:
        """What is tracked now."""
        return Memory(self._layout.unpack(self._engine.machine_save(self._machine, 0)))

    @memory.setter
    def memory(self, memory: Memory) -> None:
        self._engine.machine_load(self._machine, 0, self._layout.pack(memory.snapshot()))

    def update(self, vector: np.ndarray) -> np.ndarray:
        """Scene vector of this frame -> the same with vx, vy (px per step), identity and coasting; a new array."""
        out = np.empty(self._size, np.float32)
        good = self._ask(self._machine, vector, out)
        self._steps += 1
        if not good or (self._verify and self._steps % self._verify == 0):
            self._compare(vector, out if good else None)
        return out

    def _compare(self, vector: np.ndarray, out: np.ndarray | None) -> None:
        """Disagreement where Python tracks otherwise; what it raises, where the machine faulted."""
        self._reference.memory = Memory(self._layout.unpack(self._engine.machine_before(self._machine, 0)))
        wanted = self._reference.update(vector)
        after = self._engine.machine_save(self._machine, 0)
        same = out is not None and np.array_equal(out, wanted, equal_nan=True)
        if not same or not _alike(self._layout, self._reference.memory.snapshot(), after):
            raise Disagreement(
                f"the native engine tracked {None if out is None else out.tolist()}, Python {wanted.tolist()}: set "
                "TRIUNE_ENGINE=python and please report it with the task"
            )


def _publish(code: Code, new: dict[str, Value], schema: SceneSchema) -> None:
    """What `Tracker` writes into the scene, from the fields that it remembers."""
    for thing in schema.things:
        start, apart = schema.slot(thing.name).start, len(SLOT_FIELDS)
        for name in FIELDS:
            value = new[f"{thing.name}.{name}"]
            if name == "away":
                code.tell_zero(value, start + SLOT_FIELDS.index("seen"), apart)
            else:
                code.tell(value, start + SLOT_FIELDS.index(name), apart)


def _alike(layout: MemoryBytes, wanted: dict[str, Any], data: bytes) -> bool:
    """Equal in value, NaN equal to NaN; the sign of zero is no array's promise."""
    found = layout.unpack(data)
    return all(np.array_equal(np.asarray(wanted[k]), v, equal_nan=True) for k, v in found.items())
