"""Loops: `for` over constant ranges, arrays, things; kept as real loops, unrolled where typing needs it.

Knows: what can be iterated, when types force unrolling. Does not know: what a real loop carries (real_loops.py).
"""

from __future__ import annotations

import ast
from collections.abc import Callable

from logic.language.bound import FALSE, POISON, Bound, Pack, Record, Thing, Things, Wrong
from logic.language.effects import assigned_names
from logic.language.hints import NOT_HERE
from logic.language.ir import INT, Value
from logic.language.limits import LOOPS
from logic.language.real_loops import Bind, RealLoop
from logic.language.statements import Statements

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
            count = next(t.count for t in self.schema.things if t.name == bound.name)
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
