"""Indexing: elements, rows, constant slices, new axes, slots of things.

Knows: what `a[...]` may hold and which ops it becomes. Does not know: anything that changes an array.
"""

from __future__ import annotations

import ast

from logic.language.bound import Bound, Pack, Record, Thing, Things
from logic.language.conditions import Conditions
from logic.language.ir import INT, Value
from logic.language.ranges import within
from logic.language.records import mapped


class Subscripts(Conditions):
    """Adds subscripts."""

    def on_subscript(self, node: ast.Subscript) -> Bound:
        return self.subscript(node, self.expression(node.value))

    def on_attribute(self, node: ast.Attribute) -> Bound:
        """Of `legs[i].x` it is `legs.x[i]` that is read: no field without need."""
        if not isinstance(node.value, ast.Subscript):
            return super().on_attribute(node)
        owner = self.expression(node.value.value)
        if isinstance(owner, Record) and owner.shape:
            self.record_index(node.value)
            return self.subscript(node.value, self.record_field(node, owner))
        return self.attribute_of(node, self.subscript(node.value, owner))

    def subscript(self, node: ast.Subscript, owner: Bound) -> Bound:
        """An element or part of `owner`."""
        if isinstance(owner, Things):
            return self.slot(node, owner)
        if isinstance(owner, Record):
            if not owner.shape:
                instead = f"declare an array of them in Memory: `{owner.type.name}[4]`"
                raise self.wrong(node, f"{owner} is one record, not an array", instead)
            return self.row(node, owner, self.index(self.record_index(node), owner.shape[0]))
        if isinstance(owner, Pack):
            return self.member(node, owner)
        array = self.value(node.value, owner)
        if array.type.shape is None:
            raise self.wrong(node, f"{array.type} cannot be indexed", "only arrays and things with several slots can")
        parts = list(node.slice.elts) if isinstance(node.slice, ast.Tuple) else [node.slice]
        if not any(isinstance(p, ast.Slice) or is_none(p) for p in parts):
            return self.at(node, array, parts)
        return self.region(node, array, parts)

    def record_index(self, node: ast.Subscript) -> ast.expr:
        """The one index into an array of records."""
        if isinstance(node.slice, (ast.Slice, ast.Tuple)) or is_none(node.slice):
            raise self.wrong(node, "an array of records is indexed by one int", "slice a field: `legs.x[1:3]`")
        return node.slice

    def row(self, node: ast.AST, record: Record, index: Value) -> Record:
        """The record at one index."""
        return mapped(record, record.shape[1:], lambda v: self.row_of(node, v, index))

    def row_of(self, node: ast.AST, array: Value, index: Value) -> Value:
        """An element, or the sub-array that is left."""
        n = (array.type.shape or (0,))[0]
        if len(array.type.shape or ()) == 1:
            return self.emit(node, "element", array, index, safe=within(index, 0, n - 1))
        return self.pick(node, array, index, 0)

    def slot(self, node: ast.Subscript, things: Things) -> Thing:
        """`scene.enemy[i]`."""
        count = next(t.count for t in self.schema.things if t.name == things.name)
        index = self.index(node.slice, count)
        if index.const is not None:
            return Thing(things.name, int(index.const))
        return Thing(things.name, 0, index)

    def member(self, node: ast.Subscript, pack: Pack) -> Bound:
        """A constant index into a constant tuple; a run-time index makes an array of it first."""
        index = self.evaluate(node.slice) if isinstance(node.slice, ast.expr) else None
        if index is None or index.type != INT or not isinstance(index.const, int):
            raise self.wrong(node, "a tuple is indexed by a constant only", "make it an array: `array((1.0, 2.0))`")
        if not -len(pack.items) <= index.const < len(pack.items):
            raise self.wrong(node, f"index {index.const} of a tuple of {len(pack.items)}", "stay inside the tuple")
        return pack.items[index.const]

    def index(self, node: ast.expr, length: int) -> Value:
        """A scalar int index. A negative constant counts from the end; a constant out of range is an error."""
        return self.as_index(node, self.evaluate(node), length)

    def as_index(self, node: ast.expr, value: Value, length: int) -> Value:
        """The same for what is evaluated already: evaluating twice would run a helper's changes to memory twice."""
        value = self.number(node, value)
        if value.type.is_array:
            raise self.wrong(node, "indexing by an array", "write take(a, index)")
        if value.type != INT:
            raise self.wrong(node, f"an index is an int, this is {value.type}", "write int(x)")
        if value.const is None:
            return value
        if not -length <= value.const < length:
            raise self.wrong(node, f"index {value.const} lies outside 0 .. {length - 1}", "stay inside the array")
        return self.builder.const(value.const % length)

    def at(self, node: ast.Subscript, array: Value, parts: list[ast.expr]) -> Value:
        """`a[i]` or `a[i, j]`: an element, or the sub-array that is left."""
        shape = array.type.shape or ()
        if len(parts) > len(shape):
            raise self.wrong(node, f"{len(parts)} indices into {array.type}", f"it has {len(shape)} axes")
        indices = [self.index(p, n) for p, n in zip(parts, shape, strict=False)]
        if len(indices) == len(shape):
            safe = all(within(i, 0, n - 1) for i, n in zip(indices, shape, strict=True))
            return self.emit(node, "element", array, *indices, safe=safe)
        for i in indices:
            array = self.pick(node, array, i, 0)
        return array

    def pick(self, node: ast.AST, array: Value, index: Value, axis: int) -> Value:
        """The sub-array at one index of one axis."""
        n = (array.type.shape or (0,))[axis]
        return self.emit(node, "pick", array, index, axis=axis, safe=within(index, 0, n - 1))

    def region(self, node: ast.Subscript, array: Value, parts: list[ast.expr]) -> Value:
        """Constant slices, `None` for a new axis, scalar indices in between."""
        bounds: list[tuple[int, int]] = []
        picks: list[tuple[int, Value]] = []
        new_axes: list[int] = []
        shape = array.type.shape or ()
        out = 0
        for part in parts:
            axis = len(bounds)
            if is_none(part):
                new_axes.append(out)
                out += 1
                continue
            if axis >= len(shape):
                raise self.wrong(node, f"too many indices into {array.type}", f"it has {len(shape)} axes")
            if isinstance(part, ast.Slice):
                bounds.append(self.slice_bounds(part, shape[axis]))
                out += 1
            else:
                picks.append((axis, self.index(part, shape[axis])))
                bounds.append((0, shape[axis]))
        bounds += [(0, n) for n in shape[len(bounds) :]]
        return self.assemble(node, array, bounds, picks, new_axes)

    def assemble(
        self, node: ast.AST, array: Value, bounds: list[tuple[int, int]], picks: list[tuple[int, Value]], new: list[int]
    ) -> Value:
        if any(b != (0, n) for b, n in zip(bounds, array.type.shape or (), strict=True)):
            array = self.emit(node, "slice", array, bounds=tuple(bounds))
        for axis, index in reversed(picks):
            array = self.pick(node, array, index, axis)
        if new:
            shape = list(array.type.shape or ())
            for axis in new:
                shape.insert(axis, 1)
            array = self.emit(node, "reshape", array, shape=tuple(shape))
        return array

    def slice_bounds(self, node: ast.Slice, length: int) -> tuple[int, int]:
        """(lo, hi) of a constant slice with step 1."""
        if node.step is not None:
            raise self.wrong(node.step, "a slice with a step", "gather with take(a, index)")
        ends = []
        for part, missing in ((node.lower, 0), (node.upper, length)):
            value = missing if part is None else self.constant_int(part, "the end of a slice")
            ends.append(max(0, value + length) if value < 0 else min(value, length))
        return ends[0], max(ends)

    def constant_int(self, node: ast.expr, what: str) -> int:
        """An int known at compile time."""
        value = self.number(node, self.evaluate(node))
        if value.type != INT or not isinstance(value.const, int):
            raise self.wrong(node, f"{what} must be a constant int", "use a module constant or a literal")
        return value.const


def is_none(node: ast.AST) -> bool:
    """`None` as in `a[:, None]`."""
    return isinstance(node, ast.Constant) and node.value is None
