"""Records in expressions: making one, and what the words for arrays do to arrays of them."""

from __future__ import annotations

import ast
from collections.abc import Mapping

import numpy as np

from logic.language.bound import Bound, Pack, Record, RecordType, Shape
from logic.language.ir import Type, Value
from logic.language.ranges import within
from logic.language.records import leaves, mapped, type_within
from logic.language.words import Nodes, ScalarWords


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
