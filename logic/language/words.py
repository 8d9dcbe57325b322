"""The words of the language, first part: numbers, making arrays, element-wise words.

Knows: one method per word: how it types its arguments and which ops it becomes. Does not know: helpers, statements.
"""

from __future__ import annotations

import ast
from collections.abc import Callable

from logic.language.bound import Bound, Pack, Record, Things
from logic.language.builtins import MATH, PORTABLE
from logic.language.core import FOLDING_FAULTS
from logic.language.ir import FLOAT, INT, Value
from logic.language.subscripts import Subscripts

_MATH = {"sqrt": 1, **PORTABLE}
_ANY = 99
# word -> (fewest, most) arguments
ARITY: dict[str, tuple[int, int]] = {
    "abs": (1, 1), "min": (2, _ANY), "max": (2, _ANY), "int": (1, 1), "float": (1, 1), "bool": (1, 1), "round": (1, 1),
    "len": (1, 1), "zeros": (1, 4), "zeros_int": (1, 4), "ones": (1, 4), "full": (2, 5), "arange": (1, 1),
    "array": (1, 1), "where": (3, 3), "maximum": (2, 2), "minimum": (2, 2), "clip": (3, 3), "sign": (1, 1),
    "floor_of": (1, 1), "exp_of": (1, 1), "abs_of": (1, 1), "to_int": (1, 1), "to_float": (1, 1), "take": (2, 2),
    "reshape": (2, 5), "concat": (1, _ANY), "put": (3, 3), "shift_push": (2, 2), "scatter_add": (3, 3), "top_k": (2, 2),
    "argmax": (1, 1), "argmin": (1, 1), "total": (1, 1), "largest": (1, 1), "smallest": (1, 1), "count": (1, 1),
    "any_of": (1, 1), "all_of": (1, 1), "sum_over": (2, 2), "max_over": (2, 2), "min_over": (2, 2),
    "argmax_over": (2, 2), "matmul": (2, 2), "col_sums": (1, 1), "row_sums": (1, 1), "nearest": (2, 2),
}  # fmt: skip
OTHER_WORDS = ("range", "tunable", "Float", "Int", "Bool", "math")
HABITS = {  # what a wrong number of arguments mostly means
    "min": "of an array write `smallest(a)`", "max": "of an array write `largest(a)`",
    "round": "write `round(x * 100.0) / 100.0` for two digits", "int": "write `int(x)` of a number",
    "arange": "write `arange(n) + start`", "zeros": "give each side: `zeros(3, 4)`",
    "array": "write `array((1.0, 2.0))`",
    "argmax": "along an axis write `argmax_over(a, axis)`", "total": "along an axis write `sum_over(a, axis)`",
    "clip": "write `clip(x, low, high)`", "where": "write `where(condition, a, b)`",
}  # fmt: skip
Nodes = list[ast.expr]


class ScalarWords(Subscripts):
    """Adds the predefined functions. `word_NAME(node, args)`."""

    def words(self) -> frozenset[str]:
        return frozenset((*ARITY, *OTHER_WORDS))

    def word(self, node: ast.Call, name: str) -> Bound:
        """A call of a predefined function."""
        fewest, most = ARITY[name]
        if not fewest <= len(node.args) <= most:
            count = str(fewest) if fewest == most else f"{fewest} to {most}"
            instead = HABITS.get(name) or f"arguments are given by position, {count} of them (docs/language.md)"
            raise self.wrong(node, f"{name} takes {count} arguments, not {len(node.args)}", instead)
        method: Callable[[ast.Call, Nodes], Bound] = getattr(self, "word_" + name)
        return method(node, node.args)

    def math_call(self, node: ast.Call, name: str) -> Value:
        """`math.NAME(...)`; floor and ceil give ints."""
        if name in ("floor", "ceil") and len(node.args) == 1:
            value = self.scalar(node.args[0])
            return self.number(node, value) if value.type != FLOAT else self.emit(node, name, value)
        if name not in _MATH:
            known = ", ".join((*_MATH, "floor", "ceil", "pi"))
            raise self.wrong(node, f"math.{name} is not part of the language", f"there are: {known}")
        if len(node.args) != _MATH[name]:
            raise self.wrong(node, f"math.{name} takes {_MATH[name]} arguments", "give them by position")
        values = [self.as_float(a, self.scalar(a)) for a in node.args]
        if name not in PORTABLE:
            return self.emit(node, name, *values)
        if any(v.const is None for v in values):
            return self.portable(node, name, values)
        self.meter.spend(10_000.0)
        try:
            return self.builder.const(getattr(MATH, name)(*(v.const for v in values)))
        except FOLDING_FAULTS as e:
            raise self.wrong(node, f"this is always a fault: {e}", "guard it, or change the constants") from None

    def portable(self, node: ast.Call, name: str, values: list[Value]) -> Value:
        """A function of lib/maths in place of its call (statements.py)."""
        raise NotImplementedError

    # --- insisting on a kind ---------------------------------------------------------------------

    def scalar(self, node: ast.expr) -> Value:
        """A bool, int or float."""
        value = self.evaluate(node)
        if value.type.is_array:
            raise self.wrong(
                node, f"a number is needed here, this is {value.type}", "take an element, or largest, total, ..."
            )
        return value

    def array_of(self, node: ast.expr, kinds: str = "bool int float", axes: int = 0) -> Value:
        """An array, of one of the kinds, with so many axes when given."""
        return self.arrayed(node, self.evaluate(node), kinds, axes)

    def arrayed(self, node: ast.expr, value: Value, kinds: str = "bool int float", axes: int = 0) -> Value:
        """The same of what is evaluated already."""
        if value.type.shape is None:
            raise self.wrong(
                node, f"an array is needed here, this is {value.type}", "use the word for numbers: abs, min, max, ..."
            )
        if value.type.kind not in kinds.split():
            raise self.wrong(
                node,
                f"this is {value.type}, needed is an array of {kinds.replace(' ', ' or ')}",
                "write to_int(a) or to_float(a)",
            )
        if axes and len(value.type.shape) != axes:
            raise self.wrong(node, f"this is {value.type}, needed is an array with {axes} axes", "reshape it")
        return value

    def shape_of(self, nodes: Nodes) -> tuple[int, ...]:
        """Constant sides of a shape."""
        shape = tuple(self.constant_int(n, "a side of a shape") for n in nodes)
        if any(n < 0 for n in shape):
            raise self.wrong(nodes[0], "a negative side of a shape", "give every side in full")
        size = 1
        for n in shape:
            size *= n
            self.meter.array(size)
        return shape

    def axis_of(self, node: ast.expr, array: Value) -> int:
        axes = len(array.type.shape or ())
        axis = self.constant_int(node, "an axis")
        if not -axes <= axis < axes or axes < 2:
            raise self.wrong(
                node,
                f"axis {axis} of {array.type}",
                "use total, largest or smallest for a vector" if axes < 2 else f"axes are 0 to {axes - 1}",
            )
        return axis % axes

    def filled(self, node: ast.AST, shape: tuple[int, ...], value: Value) -> Value:
        kind = "int" if value.type == INT else value.type.kind
        return self.emit(node, "full", value, shape=shape, kind=kind)

    # --- numbers ---------------------------------------------------------------------------------

    def word_abs(self, node: ast.Call, args: Nodes) -> Value:
        value = self.number(node, self.evaluate(args[0]))
        return self.word_abs_of(node, args) if value.type.is_array else self.emit(node, "abs", value)

    def extreme(self, node: ast.Call, args: Nodes, name: str) -> Value:
        values = [self.number(a, self.scalar(a)) for a in args]
        if any(v.type == FLOAT for v in values):
            values = [self.as_float(node, v) for v in values]
        made = values[0]
        for value in values[1:]:
            made = self.emit(node, name, made, value)
        return made

    def word_min(self, node: ast.Call, args: Nodes) -> Value:
        return self.extreme(node, args, "min")

    def word_max(self, node: ast.Call, args: Nodes) -> Value:
        return self.extreme(node, args, "max")

    def word_int(self, node: ast.Call, args: Nodes) -> Value:
        value = self.number(node, self.scalar(args[0]))
        return value if value.type == INT else self.emit(node, "to_int", value)

    def word_float(self, node: ast.Call, args: Nodes) -> Value:
        return self.as_float(node, self.scalar(args[0]))

    def word_bool(self, node: ast.Call, args: Nodes) -> Value:
        return self.truth(args[0], self.scalar(args[0]))

    def word_round(self, node: ast.Call, args: Nodes) -> Value:
        value = self.number(node, self.scalar(args[0]))
        return value if value.type == INT else self.emit(node, "round", value)

    def word_len(self, node: ast.Call, args: Nodes) -> Value:
        bound = self.expression(args[0])
        if isinstance(bound, Pack):
            return self.builder.const(len(bound.items))
        if isinstance(bound, Record) and bound.shape:
            return self.builder.const(bound.shape[0])
        if isinstance(bound, Things):
            return self.builder.const(next(t.count for t in self.schema.things if t.name == bound.name))
        shape = self.value(args[0], bound).type.shape
        if shape is None:
            raise self.wrong(node, "len of a number", "len takes an array")
        return self.builder.const(shape[0])

    def word_clip(self, node: ast.Call, args: Nodes) -> Value:
        value, low, high = (self.evaluate(a) for a in args)
        if value.type.is_array:
            low, high = (self.paired(node, "clip", value, v) for v in (low, high))
            return self.emit(node, "minimum", self.emit(node, "maximum", value, low), high)
        values = [self.number(node, v) for v in (value, low, high)]
        if any(v.type != INT for v in values):
            values = [self.as_float(node, v) for v in values]
        return self.emit(node, "clip", *values)

    def word_sign(self, node: ast.Call, args: Nodes) -> Value:
        value = self.number(node, self.evaluate(args[0]))
        if value.type.kind == "bool":
            raise self.wrong(node, "sign of a Bool array", "write to_int(a)")
        return self.emit(node, "sign", value)

    # --- making arrays ---------------------------------------------------------------------------

    def word_zeros(self, node: ast.Call, args: Nodes) -> Value:
        return self.filled(node, self.shape_of(args), self.builder.const(0.0))

    def word_zeros_int(self, node: ast.Call, args: Nodes) -> Value:
        return self.filled(node, self.shape_of(args), self.builder.const(0))

    def word_ones(self, node: ast.Call, args: Nodes) -> Value:
        return self.filled(node, self.shape_of(args), self.builder.const(1.0))

    def word_full(self, node: ast.Call, args: Nodes) -> Value:
        return self.filled(node, self.shape_of(args[:-1]), self.scalar(args[-1]))

    def word_arange(self, node: ast.Call, args: Nodes) -> Value:
        import numpy as np

        (n,) = self.shape_of(args)
        self.meter.spend(n * 0.5)
        return self.builder.const(np.arange(n, dtype=np.int32))

    def word_array(self, node: ast.Call, args: Nodes) -> Bound:
        return self.stacked(node, self.expression(args[0]))

    def stacked(self, node: ast.AST, bound: Bound) -> Value:
        """An array of a nested tuple of scalars."""
        shape, leaves = self.flatten(node, bound)
        if not leaves:
            raise self.wrong(node, "an array of nothing", "write zeros(0)")
        kinds = {v.type.kind for v in leaves}
        if "reason" in kinds or any(v.type.is_array for v in leaves):
            raise self.wrong(node, "array takes numbers", "join arrays with concat(a, b)")
        if "bool" in kinds and len(kinds) > 1:
            leaves, kinds = [self.number(node, v) for v in leaves], kinds - {"bool"} or {"int"}
        kind = "float" if "float" in kinds else kinds.pop()
        self.meter.array(len(leaves))
        return self.emit(node, "stack", *leaves, shape=shape, kind=kind)

    def flatten(self, node: ast.AST, bound: Bound) -> tuple[tuple[int, ...], list[Value]]:
        """Shape and scalars of a nested tuple."""
        if not isinstance(bound, Pack):
            raise self.wrong(node, "array takes a tuple of numbers", "write array((1.0, 2.0, 3.0))")
        if not any(isinstance(item, Pack) for item in bound.items):
            return (len(bound.items),), [self.value(node, item) for item in bound.items]
        parts = [self.flatten(node, item) for item in bound.items]
        if len({shape for shape, _ in parts}) > 1:
            raise self.wrong(node, "rows of different lengths", "make every row equally long")
        return (len(parts), *parts[0][0]), [v for _, leaves in parts for v in leaves]

    # --- element-wise ----------------------------------------------------------------------------

    def paired(self, node: ast.AST, word: str, array: Value, other: Value) -> Value:
        """The second operand of an element-wise word, of the first one's kind."""
        _, made = self.same_kind(node, word, array, other)
        self.fitting(node, array, made)
        return made

    def word_where(self, node: ast.Call, args: Nodes) -> Value:
        condition = self.evaluate(args[0])
        if condition.type.kind != "bool" or not condition.type.is_array:
            raise self.wrong(
                args[0],
                f"the condition of where is a Bool array, this is {condition.type}",
                "write `a if c else b` for one condition",
            )
        a, b = self.evaluate(args[1]), self.evaluate(args[2])
        if a.type.is_array or b.type.is_array:
            a, b = self.same_kind(node, "where", a, b)
        else:
            a, b = self.as_elements(node, a, b)
        return self.emit(node, "where", *self.fitting(node, condition, a, b))

    def as_elements(self, node: ast.AST, a: Value, b: Value) -> tuple[Value, Value]:
        """Two scalars as arrays of one element, so that the result has the language's element type."""
        if a.type != b.type:
            a, b = self.number(node, a), self.number(node, b)
            if a.type != b.type:
                a, b = self.as_float(node, a), self.as_float(node, b)
        return self.filled(node, (1,), a), self.filled(node, (1,), b)

    def two(self, node: ast.Call, args: Nodes, name: str) -> Value:
        a, b = self.evaluate(args[0]), self.evaluate(args[1])
        if not a.type.is_array and not b.type.is_array:
            raise self.wrong(node, f"{name} of two numbers", f"write {name[:3]}(a, b)")
        a, b = self.same_kind(node, name, a, b)
        return self.emit(node, name, *self.fitting(node, a, b))

    def word_maximum(self, node: ast.Call, args: Nodes) -> Value:
        return self.two(node, args, "maximum")

    def word_minimum(self, node: ast.Call, args: Nodes) -> Value:
        return self.two(node, args, "minimum")

    def word_floor_of(self, node: ast.Call, args: Nodes) -> Value:
        return self.emit(node, "floor_of", self.array_of(args[0], "float"))

    def word_exp_of(self, node: ast.Call, args: Nodes) -> Value:
        return self.emit(node, "exp_of", self.array_of(args[0], "float"))

    def word_abs_of(self, node: ast.Call, args: Nodes) -> Value:
        return self.emit(node, "abs", self.array_of(args[0], "int float"))

    def word_to_int(self, node: ast.Call, args: Nodes) -> Value:
        a = self.array_of(args[0])
        return a if a.type.kind == "int" else self.emit(node, "to_int", a)

    def word_to_float(self, node: ast.Call, args: Nodes) -> Value:
        a = self.array_of(args[0])
        return a if a.type.kind == "float" else self.emit(node, "to_float", a)
