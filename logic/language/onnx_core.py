"""What every emitter of single ops shares: operands, guards of indices, rules to keep.

Knows: the tensor of every value, which ranges hold even for garbage after a fault. Does not know: single ops.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from logic.language import ranges
from logic.language.ir import Graph, Op, Value, walk
from logic.language.onnx_faults import Checks
from logic.language.onnx_nodes import Nodes, dtype_of, onnx_type
from logic.language.ops import DTYPE

FLOAT64, INT64, FLOAT32, INT32 = (onnx_type(k) for k in (np.float64, np.int64, np.float32, np.int32))
_INT32_RANGE = (-(2**31), 2**31 - 1)


class Emitter:
    """State while one graph is emitted: `n` the nodes of the scope that is open, `checks` its rules."""

    def __init__(self, nodes: Nodes, scene: str, memory: Mapping[str, str]) -> None:
        self.n, self.checks = nodes, Checks(nodes)
        self.scene, self.memory = scene, memory
        self.values: dict[Value, str] = {}
        self.demand: Callable[[Value], str] = self.values.__getitem__  # makes what has been put off
        self.fixed: dict[tuple[bool, int], str] = {}
        self.solid: dict[Value, ranges.Bounds] = {}

    # --- operands --------------------------------------------------------------------------------

    def get(self, value: Value) -> str:
        """The tensor of a value in its own type; scalars are [1]."""
        if value.const is None:
            return self.values[value] if value in self.values else self.demand(value)
        if value.type.is_array:
            return self.n.const(value.const)
        return self.n.const([value.const], dtype_of(value.type))

    def literal(self, value: Value) -> Any:
        """What a value is known to be here: a constant, or a scalar that an unrolled loop has made one. Else None."""
        if value.const is not None or value.type.is_array:
            return value.const
        known = self.n.root.values.get(self.values.get(value, ""))
        return None if known is None else known.item()

    def number(self, value: Value, like: Any) -> str:
        """A scalar constant of a value's type."""
        return self.n.const([like], dtype_of(value.type))

    def operand(self, value: Value, kind: str) -> str:
        """An operand of an array op: a scalar is rounded to float32, or must fit int32."""
        if value.type.is_array:
            return self.get(value)
        if value.const is not None:
            if kind == "int" and not -(2**31) <= value.const < 2**31:
                self.checks.require(self.n.const([False]))
                return self.n.const([0], np.int32)
            return self.n.const([value.const], DTYPE[kind])
        if value.type.kind != kind:
            return self.cast(value, kind)
        return self.narrow(self.get(value), kind, ranges.within(value, *_INT32_RANGE))

    def cast(self, value: Value, kind: str) -> str:
        """A value as elements of another kind."""
        same = value.type.is_array and value.type.kind == kind
        return self.get(value) if same else self.n.op("Cast", self.get(value), to=onnx_type(DTYPE[kind]))

    def narrow(self, tensor: str, kind: str, fits: bool, size: int = 1) -> str:
        """Wide scalars (a vector of them) as elements of an array."""
        if kind == "bool":
            return tensor
        made = self.n.op("Cast", tensor, to=onnx_type(DTYPE[kind]))
        if kind == "int" and not fits:
            self.checks.require(self.n.op("Equal", self.n.op("Cast", made, to=INT64), tensor), (size,))
        return made

    def wide(self, tensor: str, kind: str) -> str:
        """An element of an array as a scalar."""
        return tensor if kind == "bool" else self.n.op("Cast", tensor, to=FLOAT64 if kind == "float" else INT64)

    def flat(self, value: Value) -> str:
        """An array as a vector."""
        shape = value.type.shape or ()
        return self.get(value) if len(shape) == 1 else self.n.op("Reshape", self.get(value), self.n.ints(-1))

    def select(self, condition: str, a: str, b: str, arrays: bool = False) -> str:
        """`a if condition else b`. onnxruntime's Where is slower for scalars and loses the sign of zero."""
        n, known = self.n, self.n.root.values
        if arrays:
            return n.op("Where", condition, a, b)
        pair = n.const(np.concatenate([known[b], known[a]])) if a in known and b in known else n.concat([b, a])
        return n.op("Gather", pair, n.op("Cast", condition, to=INT64), axis=0)

    def no_minus_zero(self, x: str) -> str:
        """A float scalar, zero without a sign."""
        zero = self.n.const([0.0], np.float64)
        return self.select(self.n.op("Equal", x, zero), zero, x)

    # --- the scene -------------------------------------------------------------------------------

    def look(self, graph: Graph) -> None:
        """Fetch every number and flag at a fixed place at once."""
        places: dict[bool, dict[int, None]] = {True: {}, False: {}}
        for op in walk(graph.body):
            if op.name in ("thing", "gauge") and not op.args:
                places[op.result.type.kind == "bool"][op.attrs["offset"]] = None
        for is_flag, found in places.items():
            read = self.seen if is_flag else self.measured
            if len(found) > 1:
                parts = self.n.split(read(self.n.ints(*found)), [1] * len(found))
                self.fixed.update(zip(((is_flag, offset) for offset in found), parts, strict=True))

    def read(self, offset: int, is_flag: bool) -> str:
        """A flag or number at a fixed place."""
        if (is_flag, offset) in self.fixed:
            return self.fixed[is_flag, offset]
        return self.seen(self.n.ints(offset)) if is_flag else self.measured(self.n.ints(offset))

    def seen(self, places: str) -> str:
        return self.n.op("Greater", self.n.op("Gather", self.scene, places, axis=0), self.n.const([0.5], np.float32))

    def measured(self, places: str) -> str:
        return self.n.op("Cast", self.n.op("Gather", self.scene, places, axis=0), to=FLOAT64)

    # --- ranges that hold for garbage too --------------------------------------------------------

    def sure(self, value: Value) -> ranges.Bounds:
        """Bounds that hold whatever happened before; `bound` promises nothing here, since it is checked later."""
        return ranges.bounds(value) if value.const is not None else self.solid.get(value, ranges.UNKNOWN)

    def note(self, op: Op) -> None:
        """Work out the solid bounds of an op's result."""
        value = op.result
        if op.name == "bound":
            self.solid[value] = self.sure(op.args[0])
        elif op.name in ("to_int", "floor", "ceil", "round"):
            self.solid[value] = value.lo, value.hi  # kept by the emitter
        else:
            shadows = [Value(a.type, None, a.const, *self.sure(a)) for a in op.args]
            self.solid[value] = ranges.of_result(op.name, shadows, value.type.kind, value.type.is_array)

    def at(self, index: Value, length: int, safe: bool) -> str:
        """An index tensor (scalar or array) that lies within 0 .. length - 1; being outside is a fault."""
        low, high = self.sure(index)
        tensor = self.get(index)
        if low is not None and high is not None and low >= 0 and high < length:
            return tensor
        kind = np.int32 if index.type.is_array else np.int64
        kept = self.n.op("Clip", tensor, self.n.const(0, kind), self.n.const(length - 1, kind))
        if not safe:
            self.checks.require(self.n.op("Equal", tensor, kept), index.type.shape or (1,))
        return kept
