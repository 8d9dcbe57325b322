"""Calls of builtins: numbers, making arrays, element-wise work, moving elements, reductions, records."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping

import numpy as np

from logic.language.builtins import MATH, PORTABLE
from logic.language.frontend.expressions import Subscripts
from logic.language.frontend.values import (
    FOLDING_FAULTS,
    Bound,
    Pack,
    Record,
    RecordType,
    Shape,
    Things,
    leaves,
    mapped,
    type_within,
)
from logic.language.ir import FLOAT, INT, Type, Value, within

# ----------------------------------------------------------------------------------------------------
# The words of the language, first part: numbers, making arrays, element-wise words.


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
            return self.builder.const(self.schema.count(bound.name))
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


# ----------------------------------------------------------------------------------------------------
# Records in expressions: making one, and what the words for arrays do to arrays of them.


class Records(ScalarWords):
    """Adds making records and words for arrays of them."""

    # --- making one ------------------------------------------------------------------------------

    def construct(self, node: ast.Call, record: RecordType) -> Record:
        """`Track(1.0, 0.0, True)`, `Track(x=1.0)`, `Track()`; of arrays with one axis more, an array of records."""
        names = list(record.fields)
        count = len(node.args)
        if count > len(names) or (count and count < len(names) and not node.keywords):
            told = f"{record.name} has {len(names)} value{'s' * (len(names) != 1)} ({', '.join(names)}), not {count}"
            raise self.wrong(node, told, f"give all of them, or name some: {record.name}({names[-1]}=...)")
        given = {name: (arg, self.expression(arg)) for name, arg in zip(names, node.args, strict=False)}
        for keyword in node.keywords:
            name = keyword.arg or ""
            if name not in record.fields:
                raise self.no_field(keyword.value, record, name)
            if name in given:
                raise self.wrong(keyword.value, f"{name!r} is given twice", "give every value once")
            given[name] = keyword.value, self.expression(keyword.value)
        return self.assembled(node, record, given)

    def assembled(self, node: ast.AST, record: RecordType, given: Mapping[str, tuple[ast.expr, Bound]]) -> Record:
        """A record of these values and defaults."""
        shape: tuple[int, ...] = ()
        for name, (_, bound) in given.items():
            own = _axes(bound)
            inner = _axes_of(record.fields[name])
            if len(own) > len(inner) and own[len(own) - len(inner) :] == inner:
                shape = own[: len(own) - len(inner)]
        items: list[Bound] = []
        for name, kind in record.fields.items():
            place, bound = given.get(name, (node, record.defaults[name]))
            told = f"{record.name}.{name}"
            if isinstance(kind, Shape):
                wanted = Record(kind.record, (), shape + kind.shape)
                items.append(self.record_like(place, self.repeated(place, bound, shape, kind), wanted))
            else:
                items.append(self.field_leaf(place, told, self.value(place, bound), kind, shape))
        return Record(record, tuple(items), shape)

    def repeated(self, node: ast.AST, bound: Bound, shape: tuple[int, ...], kind: Shape) -> Bound:
        """One record as an array of equal ones, where its neighbours are arrays."""
        if not shape or not isinstance(bound, Record) or bound.shape != kind.shape:
            return bound
        return mapped(bound, shape + bound.shape, lambda v: self.spread(node, v, shape))

    def field_leaf(self, node: ast.AST, told: str, value: Value, kind: Type, shape: tuple[int, ...]) -> Value:
        """A value as a field of that type, in a record with axes `shape`, holds it."""
        wanted = type_within(kind, shape)
        if value.type == wanted:
            return value
        made = self.convert(node, value, kind)
        if made is None:
            whole = f"{wanted}, this is {value.type}"
            raise self.wrong(node, f"{told} is {whole}", "keep one type and shape per field; convert it first")
        return self.spread(node, made, shape) if shape else made

    def spread(self, node: ast.AST, value: Value, shape: tuple[int, ...]) -> Value:
        """The same value in every place of an array with axes `shape` in front."""
        wanted = type_within(value.type, shape)
        if not value.type.is_array:
            return self.emit(node, "full", value, shape=wanted.shape, kind=wanted.kind)
        self.meter.array(wanted.size)
        row = self.emit(node, "reshape", value, shape=(1, *(value.type.shape or ())))
        return self.emit(node, "gather", row, self.builder.const(np.zeros(shape, np.int32)), safe=True)

    def record_like(self, node: ast.AST, bound: Bound, wanted: Record) -> Record:
        """The record itself, when it is one of the type and shape wanted."""
        if not isinstance(bound, Record):
            what = self.value(node, bound).type
            raise self.wrong(node, f"this is {what}, needed is {wanted}", f"make it: {wanted.type.name}(...)")
        if bound.type is not wanted.type or bound.shape != wanted.shape:
            raise self.wrong(node, f"this is {bound}, needed is {wanted}", f"make it: {wanted.type.name}(...)")
        return bound

    # --- arrays of records -----------------------------------------------------------------------

    def array_or_records(self, node: ast.expr) -> Value | Record:
        """An array, of numbers or of records."""
        found = self.expression(node)
        return found if isinstance(found, Record) and found.shape else self.arrayed(node, self.value(node, found))

    def rows(self, array: Value | Record) -> int:
        """Length along the first axis."""
        return array.shape[0] if isinstance(array, Record) else (array.type.shape or (0,))[0]

    def replaced(self, node: ast.AST, word: str, record: Record, new: Bound, at: Value | None) -> Record:
        """`put` or `shift_push` of one record, field by field."""
        made = self.record_like(node, new, Record(record.type, (), record.shape[1:]))
        pairs = iter([v for _, v in leaves(made)])

        def one(array: Value) -> Value:
            value, n = next(pairs), (array.type.shape or (0,))[0]
            safe = self.fits(array, value) and (at is None or within(at, 0, n - 1))
            args = [array, value] if at is None else [array, at, value]
            return self.emit(node, word, *args, safe=safe)

        return mapped(record, record.shape, one)

    def gathered(self, node: ast.AST, record: Record, index: Value) -> Record:
        """`take(records, Int[k])`."""
        safe = within(index, 0, record.shape[0] - 1)
        shape = (*(index.type.shape or ()), *record.shape[1:])
        return mapped(record, shape, lambda v: self.emit(node, "gather", v, index, safe=safe))

    def stacked_records(self, node: ast.AST, items: tuple[Bound, ...]) -> Record:
        """`array((Track(...), Track(...)))`."""
        first = items[0]
        assert isinstance(first, Record)
        rows = [[v for _, v in leaves(self.record_like(node, item, first))] for item in items]
        columns = iter(zip(*rows, strict=True))
        return mapped(first, (len(items), *first.shape), lambda v: self.column(node, next(columns)))

    def column(self, node: ast.AST, values: tuple[Value, ...]) -> Value:
        kind = values[0].type
        if not kind.is_array:
            return self.emit(node, "stack", *values, shape=(len(values),), kind=kind.kind)
        rows = [self.emit(node, "reshape", v, shape=(1, *(kind.shape or ()))) for v in values]
        return self.emit(node, "concat", *rows)

    def word_array(self, node: ast.Call, args: Nodes) -> Bound:
        found = self.expression(args[0])
        if isinstance(found, Pack) and found.items and isinstance(found.items[0], Record):
            return self.stacked_records(node, found.items)
        return self.stacked(node, found)

    def fits(self, array: Value, value: Value) -> bool:
        """Can the value be stored without a 32-bit overflow?"""
        return array.type.kind != "int" or value.type.is_array or within(value, -(2**31), 2**31 - 1)


def _axes(bound: Bound) -> tuple[int, ...]:
    return bound.shape if isinstance(bound, Record) else (bound.type.shape or ()) if isinstance(bound, Value) else ()


def _axes_of(kind: Type | Shape) -> tuple[int, ...]:
    return kind.shape or ()


# ----------------------------------------------------------------------------------------------------
# The words of the language, second part: moving elements, choices, reductions.


class Words(Records):
    """All predefined functions."""

    # --- moving elements -------------------------------------------------------------------------

    def word_take(self, node: ast.Call, args: Nodes) -> Bound:
        array, index = self.array_or_records(args[0]), self.evaluate(args[1])
        n = self.rows(array)
        if index.type.is_array:
            if index.type.kind != "int":
                raise self.wrong(args[1], f"an index array is of ints, this is {index.type}", "write to_int(a)")
            if isinstance(array, Record):
                return self.gathered(node, array, index)
            return self.emit(node, "gather", array, index, safe=within(index, 0, n - 1))
        at = self.position(args[1], index, n)
        if isinstance(array, Record):
            return self.row(node, array, at)
        if len(array.type.shape or ()) == 1:
            return self.emit(node, "element", array, at, safe=within(at, 0, n - 1))
        return self.pick(node, array, at, 0)

    def position(self, node: ast.expr, value: Value, length: int) -> Value:
        """An index of take and put: these do not count from the end."""
        if value.type == INT and value.const is not None and value.const < 0:
            raise self.wrong(node, f"index {value.const} lies outside 0 .. {length - 1}", "stay inside the array")
        return self.as_index(node, value, length)

    def word_reshape(self, node: ast.Call, args: Nodes) -> Value:
        array, shape = self.array_of(args[0]), self.shape_of(args[1:])
        if Type("float", shape).size != array.type.size:
            raise self.wrong(
                node,
                f"{array.type} has {array.type.size} elements, {list(shape)} has {Type('float', shape).size}",
                "keep the number of elements",
            )
        return array if shape == array.type.shape else self.emit(node, "reshape", array, shape=shape)

    def word_concat(self, node: ast.Call, args: Nodes) -> Value:
        parts = [self.array_of(a) for a in args]
        tails = {(p.type.kind, (p.type.shape or ())[1:]) for p in parts}
        if len(tails) > 1:
            shown = ", ".join(str(p.type) for p in parts)
            raise self.wrong(node, f"concat of {shown}", "join arrays of one kind whose other axes are equal")
        return self.emit(node, "concat", *parts)

    def inserted(self, node: ast.AST, array: Value, value: Value) -> Value:
        """A new element or row of an array: of its kind, its shape that of a row."""
        shape = (array.type.shape or ())[1:]
        made = self.follow(node, value, array) if not value.type.is_array else value
        if made.type.kind != array.type.kind or (made.type.is_array and made.type.shape != shape):
            raise self.wrong(
                node, f"{value.type} does not fit into {array.type}", f"a row is {Type(array.type.kind, shape or None)}"
            )
        return made

    def word_put(self, node: ast.Call, args: Nodes) -> Bound:
        array = self.array_or_records(args[0])
        n = self.rows(array)
        at = self.position(args[1], self.evaluate(args[1]), n)
        if isinstance(array, Record):
            return self.replaced(args[2], "put", array, self.expression(args[2]), at)
        value = self.inserted(args[2], array, self.evaluate(args[2]))
        return self.emit(node, "put", array, at, value, safe=self.fits(array, value) and within(at, 0, n - 1))

    def word_shift_push(self, node: ast.Call, args: Nodes) -> Bound:
        array = self.array_or_records(args[0])
        if isinstance(array, Record):
            return self.replaced(args[1], "shift_push", array, self.expression(args[1]), None)
        value = self.inserted(args[1], array, self.evaluate(args[1]))
        if not array.type.size:
            raise self.wrong(node, f"shift_push into {array.type}", "give it at least one element")
        return self.emit(node, "shift_push", array, value, safe=self.fits(array, value))

    def word_scatter_add(self, node: ast.Call, args: Nodes) -> Value:
        index, values = self.array_of(args[0], "int", 1), self.array_of(args[1], "float", 1)
        (length,) = self.shape_of(args[2:])
        if index.type.shape != values.type.shape:
            raise self.wrong(node, f"{index.type} and {values.type} differ in length", "one index per value")
        return self.emit(node, "scatter_add", index, values, length=length, safe=within(index, 0, length - 1))

    def word_top_k(self, node: ast.Call, args: Nodes) -> Value:
        values, k = self.array_of(args[0], "int float", 1), self.constant_int(args[1], "k")
        if not 0 < k <= values.type.size:
            raise self.wrong(node, f"the {k} largest of {values.type.size}", "k lies between 1 and the length")
        return self.emit(node, "top_k", values, k=k, safe=values.type.kind == "int")

    # --- choices and reductions ------------------------------------------------------------------

    def reduced(self, node: ast.Call, args: Nodes, name: str, kinds: str) -> Value:
        array = self.array_of(args[0], kinds)
        if not array.type.size and name != "total":
            raise self.wrong(node, f"{name} of an empty array", "give it at least one element")
        return self.emit(node, name, array, safe=array.type.kind != "float")

    def word_argmax(self, node: ast.Call, args: Nodes) -> Value:
        return self.reduced(node, args, "argmax", "bool int float")

    def word_argmin(self, node: ast.Call, args: Nodes) -> Value:
        return self.reduced(node, args, "argmin", "bool int float")

    def word_total(self, node: ast.Call, args: Nodes) -> Value:
        return self.reduced(node, args, "total", "bool int float")

    def word_largest(self, node: ast.Call, args: Nodes) -> Value:
        return self.reduced(node, args, "largest", "int float")

    def word_smallest(self, node: ast.Call, args: Nodes) -> Value:
        return self.reduced(node, args, "smallest", "int float")

    def word_count(self, node: ast.Call, args: Nodes) -> Value:
        return self.emit(node, "count", self.array_of(args[0], "bool"))

    def word_any_of(self, node: ast.Call, args: Nodes) -> Value:
        return self.emit(node, "any_of", self.array_of(args[0], "bool"))

    def word_all_of(self, node: ast.Call, args: Nodes) -> Value:
        return self.emit(node, "all_of", self.array_of(args[0], "bool"))

    def over(self, node: ast.Call, args: Nodes, name: str, kinds: str = "int float") -> Value:
        array = self.array_of(args[0], kinds)
        axis = self.axis_of(args[1], array)
        if name != "sum_over" and not (array.type.shape or ())[axis]:
            raise self.wrong(node, f"{name} of nothing: {array.type}", "give that axis at least one element")
        return self.emit(node, name, array, axis=axis, safe=array.type.kind != "float")

    def word_sum_over(self, node: ast.Call, args: Nodes) -> Value:
        return self.over(node, args, "sum_over", "bool int float")

    def word_max_over(self, node: ast.Call, args: Nodes) -> Value:
        return self.over(node, args, "max_over")

    def word_min_over(self, node: ast.Call, args: Nodes) -> Value:
        return self.over(node, args, "min_over")

    def word_argmax_over(self, node: ast.Call, args: Nodes) -> Value:
        return self.over(node, args, "argmax_over", "bool int float")

    def word_matmul(self, node: ast.Call, args: Nodes) -> Value:
        a, b = self.array_of(args[0], "float"), self.array_of(args[1], "float")
        x, y = a.type.shape or (), b.type.shape or ()
        if len(x) > 2 or len(y) > 2 or len(x) + len(y) < 3 or x[-1] != y[0]:
            raise self.wrong(
                node,
                f"matmul of {a.type} and {b.type}",
                "inner sides must be equal; for two vectors write total(a * b)",
            )
        return self.emit(node, "matmul", a, b)

    def word_col_sums(self, node: ast.Call, args: Nodes) -> Value:
        return self.emit(node, "sum_over", self.array_of(args[0], "bool", 2), axis=0, safe=True)

    def word_row_sums(self, node: ast.Call, args: Nodes) -> Value:
        return self.emit(node, "sum_over", self.array_of(args[0], "bool", 2), axis=1, safe=True)

    def word_nearest(self, node: ast.Call, args: Nodes) -> Value:
        values = self.array_of(args[0], "int float", 1)
        target = self.follow(args[1], self.scalar(args[1]), values)
        if not values.type.size:
            raise self.wrong(node, "nearest of an empty array", "give it at least one element")
        away = self.emit(node, "abs", self.emit(node, "sub", values, target))
        return self.emit(node, "argmin", away, safe=values.type.kind == "int")
