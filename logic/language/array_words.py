"""The words of the language, second part: moving elements, choices, reductions.

Knows: one method per word: how it types its arguments and which ops it becomes. Does not know: helpers, statements.
"""

from __future__ import annotations

import ast

from logic.language.bound import Bound, Record
from logic.language.ir import INT, Type, Value
from logic.language.ranges import within
from logic.language.record_words import Records
from logic.language.words import Nodes


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
