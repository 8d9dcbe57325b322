"""Inputs, and array ops that move, choose or sum elements, as ONNX nodes.

Knows: gathers on clamped indices, first-of-ties, NaN in a choice as a fault. Does not know: arithmetic, control flow.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from logic.language.ir import Op, Value
from logic.language.onnx_core import INT32, Emitter
from logic.language.onnx_nodes import onnx_type
from logic.language.ops import DTYPE

_BYTE = onnx_type(np.uint8)
_BOOL = onnx_type(np.bool_)


class MoveOps:
    """One method an op; each answers the tensor of the op's result."""

    def __init__(self, emitter: Emitter) -> None:
        self.e = emitter

    def run(self, op: Op) -> str:
        """The tensor of an op's result."""
        return str(getattr(self, "op_" + op.name)(op))

    def shaped(self, tensor: str, shape: Sequence[int]) -> str:
        return self.e.n.op("Reshape", tensor, self.e.n.ints(*shape))

    # --- inputs ----------------------------------------------------------------------------------

    def op_memory(self, op: Op) -> str:
        return self.e.memory[op.attrs["field"]]

    def op_thing(self, op: Op) -> str:
        n, offset = self.e.n, op.attrs["offset"]
        if op.args:
            at = self.e.at(op.args[0], op.attrs["count"], bool(op.attrs.get("safe")))
            place = n.op("Mul", at, n.ints(op.attrs["step"])) if op.attrs["step"] != 1 else at
            place = n.op("Add", place, n.ints(offset)) if offset else place
            return self.e.seen(place) if op.result.type.kind == "bool" else self.e.measured(place)
        return self.e.read(offset, op.result.type.kind == "bool")

    def op_grid(self, op: Op) -> str:
        n, shape, offset = self.e.n, op.result.type.shape or (), op.attrs["offset"]
        part = n.op("Slice", self.e.scene, n.ints(offset), n.ints(offset + op.result.type.size), n.ints(0))
        made = n.op("Greater", part, n.const([0.5], np.float32))
        return made if len(shape) == 1 else self.shaped(made, shape)

    def op_gauge(self, op: Op) -> str:
        return self.e.read(op.attrs["offset"], False)

    # --- moving ----------------------------------------------------------------------------------

    def op_element(self, op: Op) -> str:
        n, (array, *index) = self.e.n, op.args
        shape, safe = array.type.shape or (), bool(op.attrs.get("safe"))
        places = [self.e.at(i, m, safe) for i, m in zip(index, shape, strict=True)]
        flat = places[0]
        for place, side in zip(places[1:], shape[1:], strict=True):
            flat = n.op("Add", n.op("Mul", flat, n.ints(side)), place)
        return self.e.wide(n.op("Gather", self.e.flat(array), flat, axis=0), array.type.kind)

    def op_pick(self, op: Op) -> str:
        n, axis = self.e.n, op.attrs["axis"]
        at = self.e.at(op.args[1], (op.args[0].type.shape or ())[axis], bool(op.attrs.get("safe")))
        return n.op("Gather", self.e.get(op.args[0]), n.op("Reshape", at, n.ints()), axis=axis)

    def op_slice(self, op: Op) -> str:
        n, tensor = self.e.n, self.e.get(op.args[0])
        cuts = [(lo, hi, i) for i, ((lo, hi), side) in enumerate(
            zip(op.attrs["bounds"], op.args[0].type.shape or (), strict=True)) if (lo, hi) != (0, side)]  # fmt: skip
        if not cuts:
            return tensor
        starts, ends, axes = zip(*cuts, strict=True)
        return n.op("Slice", tensor, n.ints(*starts), n.ints(*ends), n.ints(*axes))

    def op_reshape(self, op: Op) -> str:
        return self.shaped(self.e.get(op.args[0]), op.attrs["shape"])

    def op_gather(self, op: Op) -> str:
        array, index = op.args
        at = self.e.at(index, (array.type.shape or (0,))[0], bool(op.attrs.get("safe")))
        return self.e.n.op("Gather", self.e.get(array), at, axis=0)

    def op_concat(self, op: Op) -> str:
        return self.e.n.concat([self.e.get(a) for a in op.args])

    def row(self, value: Value, array: Value, lead: int) -> str:
        """A new element or row of an array, with `lead` axes of 1 before it."""
        n, kind, inner = self.e.n, array.type.kind, (array.type.shape or ())[1:]
        made = self.e.operand(value, kind)
        if not inner and not value.type.is_array:
            return made
        if (value.type.shape or ()) != inner:
            made = n.op("Expand", made, n.ints(*inner))
        return self.shaped(made, (1,) * lead + inner)

    def op_put(self, op: Op) -> str:
        n, (array, index, value) = self.e.n, op.args
        shape = array.type.shape or ()
        at = self.e.at(index, shape[0], self.within(index, shape[0]))
        if len(shape) == 1:
            return n.op("ScatterElements", self.e.get(array), at, self.row(value, array, 1), axis=0)
        return n.op("ScatterND", self.e.get(array), self.shaped(at, (1, 1)), self.row(value, array, 1))

    def within(self, index: Value, length: int) -> bool:
        """`safe` of a put means value and index; here only the index counts."""
        low, high = (index.const, index.const) if index.const is not None else (index.lo, index.hi)
        return low is not None and high is not None and low >= 0 and high < length

    def op_shift_push(self, op: Op) -> str:
        n, (array, value) = self.e.n, op.args
        shape = array.type.shape or ()
        new = self.row(value, array, 1)
        if shape[0] == 1:
            return new
        return n.op("Concat", n.op("Slice", self.e.get(array), n.ints(1), n.ints(shape[0]), n.ints(0)), new, axis=0)

    def op_full(self, op: Op) -> str:
        return self.e.n.op("Expand", self.e.operand(op.args[0], op.attrs["kind"]), self.e.n.ints(*op.attrs["shape"]))

    def op_stack(self, op: Op) -> str:
        """Scalars of one kind are joined first and rounded together."""
        kind, shape, kinds = op.attrs["kind"], op.attrs["shape"], {a.type.kind for a in op.args}
        if len(kinds) == 1:
            made = self.e.n.concat([self.e.get(a) for a in op.args])
            if kinds != {kind}:
                made = self.e.n.op("Cast", made, to=onnx_type(DTYPE[kind]))
            else:
                fits = all(a.const is not None and -(2**31) <= a.const < 2**31 for a in op.args)
                made = self.e.narrow(made, kind, fits, len(op.args))
        else:
            made = self.e.n.concat([self.e.cast(a, kind) for a in op.args])
        return made if len(shape) == 1 else self.shaped(made, shape)

    # --- choices ---------------------------------------------------------------------------------

    def no_nan(self, op: Op) -> None:
        value = op.args[0]
        if value.type.kind == "float" and not op.attrs.get("safe"):
            tensor = self.e.get(value)
            self.e.checks.require(self.e.n.op("Not", self.e.n.op("IsNaN", tensor)), value.type.shape or ())

    def ordered(self, tensor: str, kind: str) -> str:
        """Booleans as bytes, which can be compared and counted."""
        return self.e.n.op("Cast", tensor, to=_BYTE) if kind == "bool" else tensor

    def op_top_k(self, op: Op) -> str:
        self.no_nan(op)
        n, value = self.e.n, op.args[0]
        tensor, whole = self.e.get(value), value.type.kind == "int"
        if whole:  # as numpy sorts: by the negative, which is itself for the least int
            tensor = n.op("Neg", tensor)
        found = n.ops("TopK", tensor, n.ints(op.attrs["k"]), outputs=2, axis=0, largest=int(not whole))
        return n.op("Cast", found[1], to=INT32)

    def op_argmax(self, op: Op) -> str:
        self.no_nan(op)
        flat = self.ordered(self.e.flat(op.args[0]), op.args[0].type.kind)
        return self.e.n.op("ArgMax" if op.name == "argmax" else "ArgMin", flat, axis=0, keepdims=1)

    op_argmin = op_argmax

    def op_argmax_over(self, op: Op) -> str:
        self.no_nan(op)
        tensor = self.ordered(self.e.get(op.args[0]), op.args[0].type.kind)
        found = self.e.n.op("ArgMax", tensor, axis=op.attrs["axis"], keepdims=0)
        return self.e.n.op("Cast", found, to=INT32)

    def op_largest(self, op: Op) -> str:
        self.no_nan(op)
        value = op.args[0]
        kind = "ReduceMax" if op.name == "largest" else "ReduceMin"
        made = self.e.n.op(kind, self.ordered(self.e.flat(value), value.type.kind), self.e.n.ints(0), keepdims=1)
        made = self.e.wide(made, value.type.kind)
        return self.e.no_minus_zero(made) if value.type.kind == "float" else made

    op_smallest = op_largest

    def op_any_of(self, op: Op) -> str:
        n = self.e.n
        number = self.ordered(self.e.flat(op.args[0]), "bool")
        made = n.op("ReduceMax" if op.name == "any_of" else "ReduceMin", number, n.ints(0), keepdims=1)
        return n.op("Cast", made, to=_BOOL)

    op_all_of = op_any_of

    def op_max_over(self, op: Op) -> str:
        """A chain of maxima over the slices: ReduceMax loses NaN."""
        n, (value,), axis = self.e.n, op.args, op.attrs["axis"]
        shape = value.type.shape or ()
        tensor = self.ordered(self.e.get(value), value.type.kind)
        if value.type.kind != "float":
            made = n.op("ReduceMax" if op.name == "max_over" else "ReduceMin", tensor, n.ints(axis), keepdims=0)
            return n.op("Cast", made, to=_BOOL) if value.type.kind == "bool" else made
        if shape[axis] == 1:
            return self.shaped(tensor, shape[:axis] + shape[axis + 1 :])
        parts = n.ops("Split", tensor, n.ints(*(1,) * shape[axis]), outputs=shape[axis], axis=axis)
        made = n.op("Max" if op.name == "max_over" else "Min", *parts)
        return self.shaped(made, shape[:axis] + shape[axis + 1 :])

    op_min_over = op_max_over
