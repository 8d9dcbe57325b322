"""Loops: `for` over constant ranges, arrays, things; kept as real loops, unrolled where typing needs it."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from logic.language.diagnostics import LOOPS, NOT_HERE
from logic.language.frontend.statements import Statements
from logic.language.frontend.values import (
    FALSE,
    POISON,
    TRUE,
    Bound,
    Broken,
    Pack,
    Record,
    Thing,
    Things,
    Wrong,
    assigned_names,
    join_types,
    leaves,
    stored_fields,
    with_leaf,
)
from logic.language.ir import INT, INT_LIMIT, Block, Op, Value, bounds, within

# ----------------------------------------------------------------------------------------------------
# A loop kept as one `for` op: what each iteration carries to the next, found by trying the body.


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


# ----------------------------------------------------------------------------------------------------
# Loops: `for` over constant ranges, arrays, things; kept as real loops, unrolled where typing needs it.


MOST_STEPS = 1_000_000
MOST_UNROLLED = 64  # iterations of one loop whose types change from one to the next


class Lowering(Statements):
    """The whole language: statements plus loops. `running`: real loops around what is being lowered."""

    running = 0

    def loop(self, node: ast.For) -> None:
        steps, bind = self.source(node)
        if not len(steps):
            return
        if self.tabling or len(steps) == 1:
            self.unrolled(node, steps, bind, 0)
            return
        if self.running >= LOOPS:
            raise self.wrong(node, f"more than {LOOPS} loops one inside the other", "use arrays, or loop less")
        self.running += 1
        try:
            self.kept_or_unrolled(node, steps, bind)
        finally:
            self.running -= 1

    def kept_or_unrolled(self, node: ast.For, steps: range, bind: Bind) -> None:
        """A real loop; written out where types change from one iteration to the next."""
        start = self.state
        with self.reporter.attempt() as said:
            try:
                done = RealLoop(self, node, steps, bind).run()
            except Wrong:  # of what the loop's variables are bound to
                done = False
        if done:
            return
        self.state = start
        if len(steps) <= MOST_UNROLLED:
            self.unrolled(node, steps, bind, 0)
            return
        self.reporter.keep(said)
        for name in assigned_names([node]):
            self.state.locals[name] = POISON
        if not said:
            raise self.wrong(
                node, "a variable changes type or shape from one iteration to the next", "give it one type"
            )

    # --- what is iterated ------------------------------------------------------------------------

    def source(self, node: ast.For) -> tuple[range, Bind]:
        """The constant range, and how an index binds the loop's variables."""
        call = node.iter
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name):
            if call.func.id == "range":
                return self.ranged(call), lambda i: self.assign(node.target, i)
            if call.func.id in ("enumerate", "zip") and call.args and not call.keywords:
                return self.desugared(node, call)
        items, at = self.items(call)
        return range(items), lambda i: self.assign(node.target, at(i))

    def ranged(self, call: ast.Call) -> range:
        if not 1 <= len(call.args) <= 3:
            raise self.wrong(call, "range takes one to three arguments", "write range(CONST)")
        ends = []
        for part in call.args:
            value = self.number(part, self.evaluate(part))
            if value.type != INT or not isinstance(value.const, int):
                instead = "write `for i in range(MAX):` and `if i >= n: break`"
                raise self.wrong(part, "the bound of a loop must be a constant int", instead)
            ends.append(value.const)
        if len(ends) == 3 and ends[2] == 0:
            raise self.wrong(call, "a range with step 0", "use a step of 1 or -1")
        steps = range(*ends)
        if max(map(abs, ends)) > MOST_STEPS:
            raise self.wrong(call, "a loop of so many steps", f"at most {MOST_STEPS}; compute a table at module level")
        return steps

    def desugared(self, node: ast.For, call: ast.Call) -> tuple[range, Bind]:
        """`for i, x in enumerate(a)` and `for a, b in zip(x, y)`."""
        numbered = isinstance(call.func, ast.Name) and call.func.id == "enumerate"
        if numbered and len(call.args) != 1:
            raise self.wrong(call, *NOT_HERE["enumerate"])
        parts = [self.items(a) for a in call.args]
        count = min(n for n, _ in parts)
        if numbered:
            return range(count), lambda i: self.assign(node.target, Pack((i, parts[0][1](i))))
        return range(count), lambda i: self.assign(node.target, Pack(tuple(at(i) for _, at in parts)))

    def items(self, node: ast.expr) -> tuple[int, Callable[[Value], Bound]]:
        """Length of an array or of a row of things, and the item at an index."""
        bound = self.expression(node)
        if isinstance(bound, Things):
            count = self.schema.count(bound.name)
            name = bound.name
            return count, lambda i: Thing(name, 0, i) if i.const is None else Thing(name, int(i.const))
        if isinstance(bound, Record) and bound.shape:
            records = bound
            return bound.shape[0], lambda i: self.row(node, records, i)
        if isinstance(bound, Pack) and not _exact(bound):
            return len(bound.items), lambda i: self.item(node, bound, i)
        array = self.stacked(node, bound) if isinstance(bound, Pack) else self.value(node, bound)
        if array.type.shape is None:
            raise self.wrong(node, "this cannot be looped over", "write `for i in range(CONST):`")
        if len(array.type.shape) == 1:
            return array.type.shape[0], lambda i: self.emit(node, "element", array, i, safe=True)
        return array.type.shape[0], lambda i: self.pick(node, array, i, 0)

    def item(self, node: ast.expr, pack: Pack, index: Value) -> Bound:
        """Of a tuple, one iteration at a time: in an array, floats would be rounded to 32 bits."""
        if not isinstance(index.const, int):
            fix = f"at most {MOST_UNROLLED} values; loop over an array: `for x in array((1.0, 2.0)):`"
            raise self.wrong(node, "a tuple too long to loop over", fix)
        return pack.items[index.const]

    # --- unrolled --------------------------------------------------------------------------------

    def unrolled(self, node: ast.For, steps: range, bind: Bind, first: int) -> None:
        """Iterations one after the other; a break that depends on the scene nests the rest."""
        for k in range(first, len(steps)):
            self.meter.spend(15_000.0) if self.tabling else self.meter.iteration()
            bind(self.builder.const(steps[k]))
            self.block(node.body)
            stop = self.state.stop
            if stop.const is True:
                break
            if stop.const is None:
                if k + 1 < len(steps):
                    self.unless_left(node, stop, lambda: self.unrolled(node, steps, bind, k + 1))  # noqa: B023
                break
            self.state.skip = FALSE
        self.state.skip = self.state.stop = self.state.returned


def _exact(pack: Pack) -> bool:
    """Is a tuple, made an array, still what it was? Constant ints of 32 bits, or constant booleans, are."""
    kinds = {type(item.const) if isinstance(item, Value) else None for item in pack.items}
    if kinds == {bool}:
        return True
    return kinds == {int} and all(-(2**31) <= item.const < 2**31 for item in pack.items)  # type: ignore[union-attr]
