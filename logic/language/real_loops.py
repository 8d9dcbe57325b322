"""A loop kept as one `for` op: what each iteration carries to the next, found by trying the body.

Knows: carried slots, widening of their types and ranges until an attempt holds. Does not know: what is iterated.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from logic.language.bound import FALSE, POISON, TRUE, Bound, Broken, Pack, Record
from logic.language.core import join_types
from logic.language.effects import assigned_names, stored_fields
from logic.language.ir import INT, INT_LIMIT, Block, Op, Value
from logic.language.ranges import bounds, within
from logic.language.records import leaves, with_leaf

if TYPE_CHECKING:
    from logic.language.loops import Lowering

Bind = Callable[[Value], None]
Slot = tuple[str, str, tuple[int, ...]]  # ("local" | "memory", name, place in a record)
ATTEMPTS = 5


@dataclass
class Carried:
    """One value that an iteration hands to the next."""

    slot: Slot
    start: Value
    param: Value


class RealLoop:
    """One `for` statement on its way to a `for` op."""

    def __init__(self, low: Lowering, node: ast.For, steps: range, bind: Bind) -> None:
        self.low, self.node, self.steps, self.bind = low, node, steps, bind
        self.start = low.state
        self.widened: dict[Slot, Value] = {}  # starting values converted to a wider type
        self.open: set[Slot] = set()  # slots whose range could not be held
        self.carried: list[Carried] = []
        self.ends: list[Value] = []
        self.block = Block()

    def run(self) -> bool:
        """Emit the loop; False when it cannot be one (types change, or errors were reported)."""
        for _ in range(ATTEMPTS):
            if not self.carry():
                return False
            outcome = self.attempt()
            if outcome == "failed":
                return False
            if outcome == "done":
                self.finish()
                return True
        return False

    def carry(self) -> bool:
        """Parameters for everything the body may assign; False when something assigned is not a plain value."""
        low, start = self.low, self.start
        low.state = start.copy()
        fields = stored_fields(self.node.body, low.frame.scope)
        held: dict[Slot, Bound] = {
            ("memory", n, ()): start.memory[n] for n in sorted(start.memory) if n.split(".")[0] in fields
        }
        for name in sorted(assigned_names(self.node.body) & start.locals.keys()):
            bound = start.locals[name]
            if isinstance(bound, Record):
                held |= {("local", name, path): value for path, value in leaves(bound)}
            else:
                held["local", name, ()] = bound
        self.carried = []
        for slot, bound in held.items():
            bound = self.widened.get(slot, bound)
            if isinstance(bound, Broken):
                continue
            if not isinstance(bound, Value):
                return False
            self.carried.append(Carried(slot, bound, self.parameter(bound, slot in self.open)))
        for item in self.carried:
            self.put(item.slot, item.param)
        return True

    def parameter(self, start: Value, is_open: bool) -> Value:
        """What an iteration begins with; at first it is hoped to stay in the range of the start."""
        lo, hi = bounds(start)
        if start.type == INT:
            return Value(INT, lo=-INT_LIMIT, hi=INT_LIMIT) if is_open or lo is None else Value(INT, lo=lo, hi=hi)
        if start.type.kind == "int" and not is_open:
            return Value(start.type, lo=lo, hi=hi)
        return Value(start.type)

    def put(self, slot: Slot, value: Value) -> None:
        if slot[0] == "memory":
            self.low.state.memory[slot[1]] = value
        else:
            held = self.low.state.locals[slot[1]]
            self.low.state.locals[slot[1]] = with_leaf(held, slot[2], value)

    def attempt(self) -> Literal["done", "again", "failed"]:
        """Lower the body once with the present parameters."""
        index = Value(INT, lo=min(self.steps[0], self.steps[-1]), hi=max(self.steps[0], self.steps[-1]))
        self.block = Block(params=[index, *(c.param for c in self.carried)])
        with self.low.builder.inside(self.block):
            self.bind(index)
            self.low.block(self.node.body)
            found = [self.end_of(item) for item in self.carried]
        if self.low.reporter.found or any(end is None for end in found):
            return "failed"
        self.ends = [end for end in found if end is not None]
        again = [self.adapt(item, end) for item, end in zip(self.carried, self.ends, strict=True)]
        return "again" if any(again) else "done"

    def end_of(self, item: Carried) -> Value | None:
        """What the iteration leaves in a slot, of the parameter's type where that is implicit."""
        state = self.low.state
        kept, name, path = item.slot
        held = (state.memory if kept == "memory" else state.locals).get(name)
        if path and held is not None:
            held = self.leaf(held, self.start.locals[name], path)
        if held is None and state.returned.const is True:
            return item.param
        if not isinstance(held, Value):
            return None
        made = self.low.convert(self.node, held, item.param.type)
        if made is None:
            return held if join_types(held.type, item.param.type) else None
        if made.type == INT and not within(made, -INT_LIMIT, INT_LIMIT):
            made = self.low.emit(self.node, "bound", made)
        return made

    def leaf(self, held: Bound, start: Bound, path: tuple[int, ...]) -> Bound:
        """One value of a record that is still of the type that it had at the start."""
        if not isinstance(held, Record) or not isinstance(start, Record):
            return POISON
        if held.type is not start.type or held.shape != start.shape:
            return POISON
        for i in path:
            held = held.items[i] if isinstance(held, Record) else held
        return held

    def adapt(self, item: Carried, end: Value) -> bool:
        """Widen what did not hold; True when another attempt is needed."""
        if end.type != item.param.type:
            wanted = join_types(item.param.type, end.type) or end.type
            self.widened[item.slot] = self.low.convert(self.node, item.start, wanted) or item.start
            return True
        param = item.param
        if end is param or param.lo is None or param.hi is None or within(end, param.lo, param.hi):
            return False
        if param.type == INT and (param.lo, param.hi) == (-INT_LIMIT, INT_LIMIT):
            return False
        self.open.add(item.slot)
        return True

    def finish(self) -> None:
        """Emit the op and leave the state as it is after the loop."""
        low, node, ended = self.low, self.node, self.low.state
        attrs = {"start": self.steps.start, "stop": self.steps.stop, "step": self.steps.step}
        args = [c.start for c in self.carried]
        op = Op("for", args, attrs, [], [self.block], node.lineno, low.frame.scope.file)
        op.results = [Value(c.param.type, op, lo=c.param.lo, hi=c.param.hi) for c in self.carried]
        self.block.results = [ended.stop, *self.ends]
        low.meter.node()
        low.builder.block.ops.append(op)
        low.state = self.start.copy()
        for item, result in zip(self.carried, op.results, strict=True):
            self.put(item.slot, result)
        for name in assigned_names([node]) - {c.slot[1] for c in self.carried if c.slot[0] == "local"}:
            low.state.locals[name] = Broken(
                f"{name!r} may have no value after the loop", f"assign {name} before the loop"
            )
        if ended.returned.const is not False:
            self.answer(op, ended.returned, ended.answer)

    def answer(self, op: Op, returned: Value, found: Bound | None) -> None:
        """A return inside the loop: whether, and what, as two more kinds of carried value."""
        state = self.low.state
        state.returned = TRUE if returned.const is True else self.extra(op, returned, FALSE)
        state.skip = state.stop = state.returned
        state.answer = self.handed(op, found)

    def handed(self, op: Op, found: Bound | None) -> Bound:
        if isinstance(found, Pack):
            return Pack(tuple(self.handed(op, item) for item in found.items))
        if isinstance(found, Record):
            return replace(found, items=tuple(self.handed(op, item) for item in found.items))
        if not isinstance(found, Value):
            return found or POISON
        return self.extra(op, found, self.low.builder.undefined(found.type))

    def extra(self, op: Op, end: Value, start: Value) -> Value:
        """One more carried value, which the body never reads."""
        op.args.append(start)
        self.block.params.append(Value(end.type))
        self.block.results.append(end)
        lo, hi = bounds(end)
        made = Value(end.type, op, lo=lo, hi=hi)
        op.results.append(made)
        return made
