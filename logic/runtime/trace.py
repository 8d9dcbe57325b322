"""What one step did: the conditions that were evaluated, what they came to, what was remembered, which rule spoke."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from envs.actions import Action, Discrete
from logic.errors import LogicError, PolicyFault
from logic.language.api import probed_graphs
from logic.language.diagnostics import Limits, Meter, OverBudget
from logic.language.interpreter import Interpreter, IrFault
from logic.language.ir import Graph, Op, Value
from logic.language.program import Module
from logic.runtime.logic import LIMITS, Logic, rules_of
from perception.scene import Scene

MOST_MARKS = 5_000  # of one part in one step; a loop that evaluates more than that helps nobody
SMALL = 8  # elements of an array that is shown whole


@dataclass(frozen=True)
class Mark:
    """One condition that was evaluated (`if`, `ternary`) or one `return` that was taken, in order.

    `outcome`: the condition, or what was returned (reasons as text). `values`: what the line names, as it was then.
    `settled`: known when the text was compiled for this protocol. `rounds`: of the loops around it, outermost first.
    """

    file: str
    line: int
    kind: str
    outcome: Any
    values: dict[str, Any]
    function: str
    depth: int
    settled: bool = False
    rounds: tuple[int, ...] = ()
    span: tuple[int, int, int, int] = (0, 0, 0, 0)  # of the condition or the answer, as in `ast`

    @property
    def in_library(self) -> bool:
        """Does the line stand in a library module?"""
        return self.file.startswith("lib/")


@dataclass(frozen=True)
class PartTrace:
    """The policy, one rule, or the limits of a vector action. `title` is "policy" or the rule's name; `came_in` the
    action a rule was given (None for the policy); `reason` "" for rules; `fault` is empty when there was none."""

    title: str
    file: str
    came_in: Action | None
    action: Action
    reason: str
    marks: tuple[Mark, ...]
    changed: dict[str, tuple[Any, Any]]
    fault: str = ""

    @property
    def overruled(self) -> bool:
        """Did this rule change the action?"""
        return self.came_in is not None and not np.array_equal(self.came_in, self.action)


class Tracer:
    """Runs single steps of a compiled Logic under observation. `constants` are those it was compiled with."""

    def __init__(self, logic: Logic, constants: Mapping[str, Any]) -> None:
        self.logic = logic
        self.policy = _probed(logic, logic.policy.module, constants, False)["act"]
        self.rules = [(module, _probed(logic, module, constants, True)) for module in logic.modules]

    def step(
        self, scene: Scene, memory: Mapping[str, Any], rule_memories: list[dict[str, Any]]
    ) -> tuple[PartTrace, ...]:
        """The policy, then every rule, from the memories before the step (they are not changed), then the limits."""
        logic = self.logic
        parts = [_run(self.policy, "policy", logic.policy.module.name, scene, memory, None, logic.fallback)]
        for (module, graphs), before in zip(self.rules, rule_memories, strict=True):
            kept = dict(before)
            titles = {r.function: r.title for r in rules_of(module)}
            for name, graph in graphs.items():
                title = titles[module.namespace[name]]
                part = _run(graph, title, module.name, scene, kept, parts[-1].action, logic.fallback)
                kept.update({field: new for field, (_, new) in part.changed.items()})
                parts.append(part)
        if not isinstance(logic.actions, Discrete):
            given = parts[-1].action
            parts.append(PartTrace(LIMITS, "built-in rule", given, logic.actions.clip(np.asarray(given)), "", (), {}))
        return tuple(parts)

    def text(self, mark: Mark) -> str:
        """The condition, or what is returned, as it is written; white space made single."""
        line, column, end_line, end_column = mark.span
        for module in (self.logic.policy.module, *self.logic.modules):
            if mark.file in module.sources:
                lines = module.sources[mark.file].encode().split(b"\n")[line - 1 : end_line]
                lines[-1] = lines[-1][:end_column]
                lines[0] = lines[0][column:]
                return " ".join(b" ".join(lines).decode().split())
        return ""


def _probed(logic: Logic, module: Module, constants: Mapping[str, Any], rules: bool) -> dict[str, Graph]:
    def library(name: str) -> str:
        try:
            return module.sources[f"lib/{name}"]
        except KeyError:
            raise LogicError(f"no library module {name!r} in what was compiled") from None

    text = module.sources[module.name]
    return probed_graphs(text, logic.schema, constants, library, module.name, rules, logic.actions)


def _run(
    graph: Graph, title: str, file: str, scene: Scene, memory: Mapping[str, Any], action: Action | None,
    fallback: Action,
) -> PartTrace:  # fmt: skip
    given = {} if action is None else {graph.params[0]: action}
    machine = _Machine(graph, scene, memory, given)
    try:
        with np.errstate(divide="raise", invalid="raise"):
            first, *rest = machine.run(graph.body)
        if graph.action.is_array and np.isnan(first).any():
            raise PolicyFault("NaN in the action")
        if not graph.action.is_array and not 0 <= first < graph.n_actions:
            raise PolicyFault(f"action {first} is not one of 0 .. {graph.n_actions - 1}")
    except (IrFault, PolicyFault, OverBudget) as error:
        at = f" ({error.op.file}, line {error.op.line})" if isinstance(error, IrFault) else ""
        return PartTrace(title, file, action, fallback, "", tuple(machine.marks), {}, f"{error}{at}")
    reason = graph.reasons[rest.pop(0)] if graph.has_reason else ""
    after = dict(zip(graph.fields, rest, strict=True))
    changed = {name: (memory[name], new) for name, new in after.items() if not same(memory[name], new)}
    decided = first if graph.action.is_array else int(first)
    return PartTrace(title, file, action, decided, reason, tuple(machine.marks), changed)


class _Machine(Interpreter):
    """The interpreter, with inputs from a scene and a memory, and an ear for probes."""

    def __init__(self, graph: Graph, scene: Scene, memory: Mapping[str, Any], given: dict[Any, Any]) -> None:
        super().__init__(Meter(Limits(table_ns=1e12, seconds=60.0)), given)
        self.graph, self.scene, self.memory = graph, scene, memory
        self.marks: list[Mark] = []

    def load(self, op: Op) -> None:
        value: Any
        if op.name == "memory":
            value = self.memory[op.attrs["field"]]
        elif op.name == "thing":
            value = getattr(self.thing(op), op.attrs["field"])
        else:
            value = getattr(self.scene, op.attrs["name"])
        self.values[op.result] = value

    def thing(self, op: Op) -> Any:
        """The slot that the op reads."""
        found, count = getattr(self.scene, op.attrs["thing"]), op.attrs["count"]
        at = self.get(op.args[0]) if op.args else op.attrs["slot"]
        if not 0 <= at < count:
            raise IrFault(op, PolicyFault(f"index {at} lies outside 0 .. {count - 1}"))
        return found if count == 1 else found[at]

    def probed(self, op: Op) -> None:
        if len(self.marks) >= MOST_MARKS:
            return
        a, n = op.attrs, op.attrs["answers"]
        values = {name: self.answer(v) for name, v in zip(a["names"], op.args[n:], strict=True)}
        told = [self.answer(v) for v in op.args[:n]]
        settled = n > 0 and all(v.const is not None for v in op.args[:n])
        outcome = told if a["kind"] == "return" else told[0]
        place, inside = (op.file, op.line, a["kind"]), (a["function"], a["depth"])
        self.marks.append(Mark(*place, outcome, values, *inside, settled, tuple(self.rounds), a["span"]))

    def answer(self, value: Value) -> Any:
        found = self.get(value)
        return self.graph.reasons[found] if value.type.kind == "reason" else found


def same(a: Any, b: Any) -> bool:
    """Bit for bit: NaN equals itself, 0.0 is not -0.0."""
    x, y = np.asarray(a), np.asarray(b)
    return x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes()


def brief(value: Any) -> Any:
    """A value as JSON: scalars and small arrays whole, others as their type."""
    if isinstance(value, np.ndarray):
        kind = {"b": "Bool", "i": "Int", "f": "Float"}.get(value.dtype.kind, "?")
        return value.tolist() if value.size <= SMALL else f"{kind}{list(value.shape)}"
    return value.item() if isinstance(value, np.generic) else value


def change(old: Any, new: Any) -> dict[str, Any]:
    """`old` and `new` of a memory field as JSON; of a large array how many elements differ."""
    record = {"old": brief(old), "new": brief(new)}
    if isinstance(old, np.ndarray) and old.size > SMALL:
        record["differ"] = int(np.count_nonzero(old != new))
    return record
