"""Sums and products of matrices as ONNX nodes: float32, and float64 where a partial sum leaves float32 (nan_rules.py).

Knows: when that cannot happen, NaN out of numbers as a fault. Does not know: other ops, control flow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from logic.language import ranges
from logic.language.ir import BOOL, Op
from logic.language.onnx_core import FLOAT32, FLOAT64, INT32, INT64, Emitter
from logic.language.onnx_nodes import Nodes, close, form_of, onnx_type

_BYTE, _BOOL = onnx_type(np.uint8), onnx_type(np.bool_)
_ROOM = 1e38  # sums whose terms come to less in size stay within float32
Run = Callable[[Nodes, Sequence[str]], str]  # the op in some graph, on tensors of one float type


class SumOps:
    """One method an op; each answers the tensor of the op's result."""

    def __init__(self, emitter: Emitter) -> None:
        self.e = emitter

    def run(self, op: Op) -> str:
        """The tensor of an op's result."""
        return str(getattr(self, "op_" + op.name)(op))

    # --- ops -------------------------------------------------------------------------------------

    def op_total(self, op: Op) -> str:
        n, value = self.e.n, op.args[0]
        flat = self.e.flat(value)
        if value.type.kind != "float":
            return n.op("ReduceSum", n.op("Cast", flat, to=INT64), n.ints(0), keepdims=1)
        made = self.settled(op, [flat], (1,), value.type.size, _along(0, 1), _along(0, 1))
        return self.e.wide(made, "float")

    def op_count(self, op: Op) -> str:
        """Elements that are not zero."""
        n, value = self.e.n, op.args[0]
        flat = self.e.flat(value)
        true = flat if value.type.kind == "bool" else n.op("Cast", flat, to=_BOOL)
        return n.op("ReduceSum", n.op("Cast", true, to=INT64), n.ints(0), keepdims=1)

    def op_sum_over(self, op: Op) -> str:
        n, value, axis = self.e.n, op.args[0], op.attrs["axis"]
        tensor = self.e.get(value)
        if value.type.kind == "float":
            terms = (value.type.shape or ())[axis]
            return self.settled(op, [tensor], op.result.type.shape or (), terms, _along(axis, 0), _along(axis, 0))
        # onnxruntime's sum of int32 does not wrap as numpy's does
        wide = n.op("ReduceSum", n.op("Cast", tensor, to=INT64), n.ints(axis), keepdims=0)
        return n.op("Cast", wide, to=INT32)

    def op_matmul(self, op: Op) -> str:
        a, b = op.args
        pair = [self.e.get(a), self.e.get(b)]
        if op.result.type.kind != "float":
            return _product(self.e.n, pair)
        return self.settled(op, pair, op.result.type.shape or (), (b.type.shape or (0,))[0], _product, _any)

    def op_scatter_add(self, op: Op) -> str:
        """In float64, as numpy adds."""
        n, (index, values) = self.e.n, op.args
        at = self.e.at(index, op.attrs["length"], bool(op.attrs.get("safe")))
        new = self.e.cast(values, "float")
        zero = n.const(np.zeros(op.attrs["length"]))
        made = n.op("ScatterElements", zero, at, n.op("Cast", new, to=FLOAT64), axis=0, reduction="add")
        made = n.op("Cast", made, to=FLOAT32)
        if not self.small(op, values.type.size, values=1):
            self.e.checks.require(n.op("Or", n.op("Not", _any(n, [made])), _any(n, [new])))
        return made

    # --- what leaves float32 ---------------------------------------------------------------------

    def small(self, op: Op, terms: int, values: int = 0) -> bool:
        """Is no sum of so many terms able to leave float32? (Operands before number `values` are indices.)"""
        size = float(max(terms, 1))
        for value in op.args[values:]:
            low, high = ranges.bounds(value)
            if low is None or high is None:
                return False
            size *= max(abs(low), abs(high))
        return math.isfinite(size) and size < _ROOM

    def settled(self, op: Op, args: list[str], shape: tuple[int, ...], terms: int, run: Run, nan: Run) -> str:
        """`run` on the operands; `nan`: which results have NaN among their operands (one flag for all, or one each)."""
        n = self.e.n
        made = run(n, args)
        if self.small(op, terms):
            return made
        infinity = n.const([math.inf], np.float32)
        size = n.op("Abs", made) if shape == (1,) else n.op("ReduceL1", made, n.ints(*range(len(shape))), keepdims=0)
        good, odd = n.inner(), n.inner()
        wide = run(odd, [odd.op("Cast", a, to=FLOAT64) for a in args])
        whole = odd.op("Less", odd.op("Abs", made), odd.const([math.inf], np.float32))
        mended = odd.op("Where", whole, made, odd.op("Cast", wide, to=FLOAT32))
        had = nan(odd, args) if nan is _any else _counted(odd, nan, args)
        new = odd.op("And", odd.op("IsNaN", wide), odd.op("Not", had))
        held = odd.op("Not", _true(odd, new))
        forms = [(np.float32, shape), form_of(BOOL)]
        sides = close(good, [made, good.const([True])], forms), close(odd, [mended, held], forms)
        condition = n.op("Less", size, infinity)
        found = n.ops("If", condition, outputs=2, then_branch=sides[0], else_branch=sides[1])
        self.e.checks.require(found[1])
        return found[0]


def _along(axis: int, keep: int) -> Run:
    return lambda n, args: n.op("ReduceSum", args[0], n.ints(axis), keepdims=keep)


def _product(n: Nodes, args: Sequence[str]) -> str:
    return n.op("MatMul", *args)


def _counted(n: Nodes, run: Run, args: Sequence[str]) -> str:
    """Has a sum NaN among its terms? The sum of ones for NaN tells."""
    ones = n.op("Cast", n.op("IsNaN", args[0]), to=FLOAT32)
    return n.op("Greater", run(n, [ones]), n.const([0.5], np.float32))


def _any(n: Nodes, args: Sequence[str]) -> str:
    """bool[1]: is there NaN in any of the tensors?"""
    found = _true(n, n.op("IsNaN", args[0]))
    for tensor in args[1:]:
        found = n.op("Or", found, _true(n, n.op("IsNaN", tensor)))
    return found


def _true(n: Nodes, flags: str) -> str:
    """bool[1]: is any flag true?"""
    flat = n.op("Cast", n.op("Reshape", flags, n.ints(-1)), to=_BYTE)
    return n.op("Cast", n.op("ReduceMax", flat, n.ints(0), keepdims=1), to=_BOOL)
