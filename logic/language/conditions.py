"""Conditions: comparisons, ternaries, `and` and `or`: what is evaluated on one path only.

Knows: how a condition splits a path and joins its sides. Does not know: arithmetic (expressions.py), statements.
"""

from __future__ import annotations

import ast
from collections.abc import Callable

from logic.language.bound import Bound, Broken, Pack, Record, Wrong
from logic.language.expressions import Expressions
from logic.language.ir import BOOL, Value
from logic.language.probes import probe

_COMPARE: dict[type[ast.cmpop], str] = {
    ast.Lt: "lt", ast.LtE: "le", ast.Gt: "gt", ast.GtE: "ge", ast.Eq: "eq", ast.NotEq: "ne",
}  # fmt: skip


class Conditions(Expressions):
    """Adds what chooses between expressions."""

    def on_compare(self, node: ast.Compare) -> Bound:
        values = [self.evaluate(node.left)]

        def link(i: int) -> Value:
            values.append(self.evaluate(node.comparators[i]))
            made = self.compare(node, node.ops[i], values[i], values[i + 1])
            if i + 1 == len(node.ops):
                return made
            return self.choose(node, self.truth(node, made), lambda: link(i + 1), lambda: self.builder.const(False))

        return link(0)

    def compare(self, node: ast.Compare, operator: ast.cmpop, a: Value, b: Value) -> Value:
        name = _COMPARE.get(type(operator))
        if name is None:
            raise self.wrong(node, "this comparison is not part of the language", "use == != < <= > >=")
        if a.type.is_array or b.type.is_array:
            if len(node.ops) > 1:
                raise self.wrong(node, "a chained comparison of arrays", "write (low <= a) & (a <= high)")
            return self.elementwise(node, name, a, b)
        a, b = self.number(node, a), self.number(node, b)
        if a.type != b.type:
            a, b = self.as_float(node, a), self.as_float(node, b)
        return self.emit(node, name, a, b)

    def choose(self, node: ast.AST, condition: Value, then: Callable[[], Bound], other: Callable[[], Bound]) -> Value:
        """The value of one of two expressions; only the chosen one is evaluated."""
        return self.value(node, self.choose_any(node, condition, then, other))

    def choose_any(
        self, node: ast.AST, condition: Value, then: Callable[[], Bound], other: Callable[[], Bound]
    ) -> Bound:
        """The same where tuples may be chosen between, too."""
        name = f"${len(self.state.locals)}"

        def side(make: Callable[[], Bound]) -> Callable[[], None]:
            def run() -> None:
                made = make()
                self.state.locals[name] = made if isinstance(made, (Pack, Record)) else self.value(node, made)

            return run

        self.branch(node, condition, side(then), side(other))
        found = self.state.locals.pop(name)
        if isinstance(found, Broken) and found.why:
            raise self.wrong(node, "the two sides are of different types", "give both sides one type")
        return found

    def on_ifexp(self, node: ast.IfExp) -> Bound:
        condition = self.truth(node.test, self.evaluate(node.test))
        probe(self, node, "ternary", node.test, condition)
        return self.choose_any(
            node, condition, lambda: self.expression(node.body), lambda: self.expression(node.orelse)
        )

    def on_boolop(self, node: ast.BoolOp) -> Bound:
        is_and = isinstance(node.op, ast.And)

        def operand(i: int) -> Value:
            value = self.evaluate(node.values[i])
            if value.type != BOOL:
                raise self.not_bool(node, node.values[i], value)
            if i + 1 == len(node.values):
                return value
            rest, done = (lambda: operand(i + 1)), (lambda: self.builder.const(not is_and))
            return self.choose(node, value, rest, done) if is_and else self.choose(node, value, done, rest)

        return operand(0)

    def not_bool(self, node: ast.BoolOp, item: ast.expr, value: Value) -> Wrong:
        word = "and" if isinstance(node.op, ast.And) else "or"
        if value.type.is_array:
            instead = f"write `{'&' if word == 'and' else '|'}` on Bool arrays, any_of(a) for a condition"
        else:
            instead = "compare: `x != 0`; for a default write `x if x != 0 else default`"
        return self.wrong(item, f"`{word}` joins conditions, this is {value.type}", instead)
