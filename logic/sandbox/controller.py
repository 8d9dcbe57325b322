"""Play a stranger's compiled policy: `Controller`'s interface, with a hardened worker of its own for every episode."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from struct import Struct
from types import SimpleNamespace, TracebackType
from typing import Any, NamedTuple, Self

import numpy as np

import native
from envs.actions import Action, ActionSpace, Discrete
from logic.errors import LogicError
from logic.language import CompiledModule, CompiledProgram
from logic.language.artifact import Artifact, read, thaw
from logic.language.backends.bytecode import MemoryBytes
from logic.language.backends.python import place_of
from logic.language.program import Memory, Module
from logic.runtime.controller import FAULT, Controller, Decision
from logic.runtime.logic import Logic, own
from logic.runtime.tracker import compile_tracker
from logic.sandbox import Kind, Limits, Outcome, OutOfFuel, Stopped, Worker
from perception.scene import SLOT, Scene, SceneSchema, ThingView

# ----------------------------------------------------------------------------------------------------
# The scene as the worker sees it: the names and values of `SceneSchema.read`, in one object that every step fills.
#
# A policy keeps no reference to a scene, so nothing need be made anew; parts that the code does not name are left
# out.


_NAMED = re.compile(r"\bscene\.([A-Za-z_]\w*)")


def reader(schema: SceneSchema, codes: Iterable[str]) -> Callable[[bytes], Any]:
    """From the bytes of a scene vector to the scene, with the parts that the codes name."""
    named = {name for code in codes for name in _NAMED.findall(code)}
    scene = SimpleNamespace()
    slots: list[tuple[ThingView, int]] = []
    for thing in schema.things:
        if thing.name in named:
            views = [ThingView([0.0] * SLOT) for _ in range(thing.count)]
            setattr(scene, thing.name, views[0] if thing.count == 1 else tuple(views))
            slots += [(view, schema.slot(thing.name, i).start) for i, view in enumerate(views)]
    end = max((at + SLOT for _, at in slots), default=0)
    grids = [(g.name, g.rows * g.cols, 4 * schema.grid(g.name).start, (g.rows, g.cols)) for g in schema.grids]
    grids = [grid for grid in grids if grid[0] in named]
    gauges = [(g.name, schema.gauge(g.name)) for g in schema.gauges if g.name in named]
    readings = []
    for reading in schema.readings:
        if reading.name in named:
            one = SimpleNamespace()
            setattr(scene, reading.name, one)
            values = Struct(f"<{len(reading.slot)}f").unpack_from
            readings.append((one, reading.slot[1:], 4 * schema.slot(reading.name).start, values))
    unpack, number = Struct(f"<{end}f").unpack_from, Struct("<f").unpack_from
    as_vector, kind = np.frombuffer, np.dtype("<f4")

    def read(data: bytes) -> Any:
        flat = unpack(data)
        for view, k in slots:
            seen, view.x, view.y, view.w, view.h, view.vx, view.vy, view.sure = flat[k : k + SLOT]
            view.seen = seen > 0.5
        for name, count, at, shape in grids:
            setattr(scene, name, as_vector(data, kind, count, at).reshape(shape) > 0.5)
        for name, place in gauges:
            setattr(scene, name, number(data, 4 * place)[0])
        for one, fields, at, values in readings:
            seen, *rest = values(data, at)
            one.__dict__.update(zip(fields, rest, strict=True), seen=seen > 0.5)
        return scene

    return read


# ----------------------------------------------------------------------------------------------------
# One step of an isolated policy on the wire: the scene vector one way, a decision of fixed size the other.
#
# The reply is `action, proposed` as the task's space packs them, then `reason, rules that overruled (a bit each),
# fault`: numbers that index tables which the parent holds, and a short text that is only ever shown.


FAULT_MOST = 160  # bytes of the text of a fault
RULES_MOST, ACTIONS_MOST, REASONS_MOST = 64, 255, 32_767
_FLOAT = np.dtype("<f4")
FAULTED = -1  # the reason of a step on which the policy faulted
Step = Callable[[bytes], bytes]


class Answer(NamedTuple):
    """What the worker decided. `reason` is an index or FAULTED; bit i of `overruled` stands for rule i."""

    action: Action
    proposed: Action
    reason: int
    overruled: int
    fault: str


def reply_of(actions: ActionSpace) -> Struct:
    """The layout of a reply."""
    return Struct(f"<{actions.packed}s{actions.packed}shQB{FAULT_MOST}s")


def request(vector: np.ndarray) -> bytes:
    """A scene vector, float32[size], as the worker reads it."""
    return vector.tobytes() if vector.dtype == _FLOAT else vector.astype(_FLOAT).tobytes()


def make_step(data: bytes, schema: SceneSchema, actions: ActionSpace, fallback: Action) -> Step:
    """The worker's side: thaws the artifact, keeps its memory, answers requests. Faults are answers; what is no fault
    of the language (no memory, no fuel, worse) ends the worker."""
    made = thaw(data)
    if made.program and native.available():
        return _native_step(made, schema, actions, fallback)
    return _python_step(made, schema, actions, fallback)[0]


def _native_step(made: Artifact, schema: SceneSchema, actions: ActionSpace, fallback: Action) -> Step:
    """The same on the native machine. What is out of the ordinary, a fault or a rule's doing, is decided again in
    Python, from the memory before it. A program that does not fit the rest ends the worker."""
    engine: Any = native.engine
    machine = engine.machine_new(made.program)
    slow, memories = _python_step(made, schema, actions, fallback)
    layouts = [MemoryBytes.of_values(memory.snapshot()) for memory in memories]

    def put() -> None:
        for i, memory in enumerate(memories):
            engine.machine_load(machine, i, layouts[i].pack(memory.snapshot()))

    put()
    known: dict[int, bytes] = {}
    discrete, most = isinstance(actions, Discrete), len(actions.names)
    pack, packed, ask = reply_of(actions).pack, actions.pack, engine.machine_decide

    def step(data: bytes) -> bytes:
        code = ask(machine, data)
        reply = known.get(code)
        if reply is not None:
            return reply
        if code < 0:
            for i, memory in enumerate(memories):
                memory.restore(layouts[i].unpack(engine.machine_before(machine, i)))
            reply = slow(data)
            put()
            return reply
        if discrete:
            reason, action = divmod(code, most)
            made = known[code] = pack(packed(action), packed(action), reason, 0, 0, b"")
            return made
        vector = engine.machine_told(machine)[0][2]
        return pack(vector, vector, code, 0, 0, b"")

    return step


def _python_step(
    made: Artifact, schema: SceneSchema, actions: ActionSpace, fallback: Action
) -> tuple[Step, list[Memory]]:
    """The step, and the memories that it works on: the policy's and each module's."""
    act, memory = made.policy.functions[0].step, Memory(made.policy.fields)
    numbers = {reason: i for i, reason in enumerate(made.reasons)}
    parts = [(part, Memory(part.fields)) for part in made.modules]
    rules = [(f.title, f.step, kept) for part, kept in parts for f in part.functions]
    read = reader(schema, [f.code for part in (made.policy, *made.modules) for f in part.functions])
    pack, packed, same = reply_of(actions).pack, actions.pack, actions.same

    def step(data: bytes) -> bytes:
        scene = read(data)
        fault, overruled = "", 0
        try:
            proposed, text = act(scene, memory)  # type: ignore[misc]
            reason = numbers[text]
        except (MemoryError, OutOfFuel):
            raise
        except Exception as error:
            proposed, reason, fault = fallback, FAULTED, f"{type(error).__name__}: {error}{place_of(error)}"
        action = proposed
        for i, (title, rule, kept) in enumerate(rules):
            try:
                ruled = rule(scene, kept, action)  # type: ignore[misc]
            except (MemoryError, OutOfFuel):
                raise
            except Exception as error:
                ruled, fault = fallback, fault or f"{title}: {type(error).__name__}: {error}{place_of(error)}"
            if ruled is not action and not same(ruled, action):
                overruled |= 1 << i
                action = ruled
        short = fault.encode(errors="replace")[:FAULT_MOST] if fault else b""
        return pack(packed(action), packed(proposed), reason, overruled, len(short), short)

    return step, [memory, *(kept for _, kept in parts)]


class Checker:
    """The parent's side: accepts a reply only when everything in it can be."""

    def __init__(self, actions: ActionSpace, reasons: int, rules: int, fallback: Action) -> None:
        self._actions, self._reasons, self._rules = actions, reasons, rules
        self._fallback, self._layout = actions.pack(fallback), reply_of(actions)

    def check(self, reply: bytes) -> Answer | None:
        """The answer, or None for one that no compiled policy gives."""
        action, proposed, reason, overruled, length, text = self._layout.unpack(reply)
        faulted = reason == FAULTED
        good = (
            FAULTED <= reason < self._reasons
            and not overruled >> self._rules
            and (overruled or action == proposed)
            and length <= FAULT_MOST
            and not text[length:].strip(b"\0")
            and (not faulted or (length and proposed == self._fallback))
        )
        decided, first = self._action(action), self._action(proposed)
        if not good or decided is None or first is None:
            return None
        shown = "".join(c if c.isprintable() else " " for c in text[:length].decode(errors="replace"))
        return Answer(decided, first, reason, overruled, shown)

    def _action(self, data: bytes) -> Action | None:
        """An action as a policy may propose it: a vector need not be within its bounds yet."""
        if isinstance(self._actions, Discrete):
            return data[0] if data[0] < len(self._actions.names) else None
        vector = np.frombuffer(data, _FLOAT)
        return None if np.isnan(vector).any() else vector


# ----------------------------------------------------------------------------------------------------
# Play a stranger's compiled policy: `Controller`'s interface, with a hardened worker of its own for every episode.
#
# In the worker: the policy, and safety rules whose text is a stranger's too. Here: everything else. Rules that ship
# with Triune and the built-in one run on what comes back, so that code which got out of the language could still
# only choose among the task's actions, under these rules. What the worker sends is checked; nothing of it is run.


# An episode. A decision takes 20 ms at worst by the compiler's estimate; the wall clock only ends what hangs.
LIMITS = Limits(start_s=60.0, wall_s=10.0, life_s=24 * 3600.0, cpu_s=3600, memory_mib=256)
KNOWN_MOST = 10_000  # replies


class ConfinedController(Controller):
    """A policy from `compile_confined` and the rules that are run here, for one episode at a time.

    `reset` starts a worker, `decide` asks it. When it ends early, `outcome` says how, and every remaining step of the
    episode is the fallback action with the outcome as its fault (rules that are run here still have the last word).
    `rules`: modules compiled from text that is trusted, in order of running; `titles` names the rules in the worker,
    which come before them. IsolationError from `reset` when `require_isolation` is set and a layer is missing.
    There is no deadline for a decision but `limits`.
    """

    def __init__(
        self, artifact: bytes, schema: SceneSchema, actions: ActionSpace, fallback: Action,
        rules: Sequence[CompiledModule] = (), limits: Limits = LIMITS, require_isolation: bool = False,
    ) -> None:  # fmt: skip
        if len(actions.names) > ACTIONS_MOST:
            told = f"the task has {len(actions.names)}"
            raise LogicError(f"at most {ACTIONS_MOST} actions can be run in isolation, {told}")
        made, fallback = read(artifact), own(actions.check(fallback))
        program = CompiledProgram(
            Module("policy.py", {}, (), {}, {}), _elsewhere, {reason: list(n) for reason, n in made.reasons.items()}
        )
        super().__init__(Logic(schema, actions, fallback, program, tuple(rules), compile_tracker(schema)))
        self.titles, self._reasons = made.titles, tuple(made.reasons)
        self._checker = Checker(actions, len(self._reasons), len(self.titles), fallback)
        self.outcome: Outcome | None = None
        start = partial(make_step, artifact, schema, actions, fallback)
        self._worker = Worker(start, 4 * schema.size, reply_of(actions).size, limits, require_isolation)
        self._step: Step = self._worker.step
        self._known: dict[bytes, Decision] = {}

    def reset(self) -> None:
        """Forget the episode: another worker, fresh memory."""
        super().reset()
        self.outcome, self._step = None, self._worker.step
        try:
            self._worker.start()
        except Stopped as stopped:
            self._end(stopped.outcome)

    def decide(self, scene: Scene) -> Decision:
        """The action for this scene. Never raises on a policy's account."""
        try:
            reply = self._step(request(scene.vector))
            asked = self._known.get(reply) or self._asked(reply)
        except Stopped as stopped:
            asked = self._end(stopped.outcome)
        action, reason, proposed, overruled, fault = asked
        for i, rule in self._rules:
            ruled, why = self._apply(rule, self.rule_memories[i], scene, action)
            fault = fault or why
            if ruled is not action and not self._same(ruled, action):
                overruled = (*overruled, rule.title)
                action = ruled
        if self._bounds is not None:
            action, limited = self._within(self._bounds, action)
            overruled += limited
        return Decision(action, reason, proposed, overruled, fault)

    def _asked(self, reply: bytes) -> Decision:
        """What a reply says. Without a fault it is kept: the next like it needs no check."""
        answer = self._checker.check(reply)
        if answer is None:
            self._worker.close()
            return self._end(Outcome(Kind.PROTOCOL, detail="a reply that no compiled policy gives"))
        reason = FAULT if answer.reason == FAULTED else self._reasons[answer.reason]
        names = self._names(answer.overruled)
        made = Decision(answer.action, reason, answer.proposed, names, answer.fault)
        if not answer.fault and len(self._known) < KNOWN_MOST:
            self._known[reply] = made
        return made

    def _end(self, outcome: Outcome) -> Decision:
        """From here on the episode is the fallback action."""
        self.outcome = outcome

        def ended(request: bytes) -> bytes:
            raise Stopped(outcome)

        self._step = ended
        return Decision(self.fallback, FAULT, self.fallback, (), f"isolated policy: {outcome}")

    def _names(self, bits: int) -> tuple[str, ...]:
        return tuple(title for i, title in enumerate(self.titles) if bits >> i & 1)

    @property
    def lost(self) -> str:
        """How the worker ended, when it was killed from outside."""
        return f"isolated policy: {self.outcome}" if self.outcome and self.outcome.lost else ""

    def close(self) -> None:
        """End the worker. Safe to call twice; `reset` starts another."""
        self._worker.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def _elsewhere(scene: Any, memory: Any) -> tuple[Action, str]:
    """What stands for the policy here."""
    raise LogicError("this policy runs in an isolated worker: ask the controller")
