"""Single ops over a batch: what the reference function of each does, for N items at once, with faults as masks.

Knows: every pure op and input. Does not know: control flow. Garbage in inactive items never raises.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from logic.language.batch_arrays import SCALAR_DTYPE, Array, BatchArrays
from logic.language.ir import INT, INT_LIMIT, Op, Value
from logic.language.ops import DTYPE

_INFIX: dict[str, Callable[[Any, Any], Any]] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "lt": np.less, "le": np.less_equal, "gt": np.greater,
    "ge": np.greater_equal, "eq": np.equal, "ne": np.not_equal, "and": np.logical_and, "or": np.logical_or,
    "minimum": np.minimum, "maximum": np.maximum,
}  # fmt: skip
_COMPARE = {"lt", "le", "gt", "ge", "eq", "ne"}
_UNARY: dict[str, Callable[[Any], Any]] = {
    "neg": np.negative, "abs": np.absolute, "not": np.logical_not, "floor_of": np.floor, "exp_of": np.exp,
}  # fmt: skip
_ROUND: dict[str, Callable[[Array], Array]] = {"floor": np.floor, "ceil": np.ceil, "round": np.rint, "to_int": np.trunc}


class BatchOps(BatchArrays):
    """Runs one op at a time."""

    def run(self, op: Op) -> Array:
        """The op's result, [N, ...]."""
        name = op.name
        special: Callable[[Op], Array] | None = getattr(self, "op_" + name, None)
        if special is not None:
            return special(op)
        if name in _ROUND and not op.result.type.is_array:
            return self.rounded(op)
        if name in _INFIX:
            return self.infix(op)
        return _UNARY[name](self.get(op.args[0]))

    def pair(self, op: Op) -> tuple[Any, Any]:
        """Both operands of an element-wise op."""
        a, b = op.args
        if a.type.shape is None and b.type.shape is None:
            return self.get(a), self.get(b)
        kind = a.type.kind if a.type.is_array else b.type.kind
        rank = max(len(a.type.shape or ()), len(b.type.shape or ()))
        if op.name in _COMPARE and kind == "int":
            return tuple(self.compared(v, rank) for v in op.args)  # type: ignore[return-value]
        return self.operand(a, kind, rank), self.operand(b, kind, rank)

    def compared(self, value: Value, rank: int) -> Any:
        """Comparing with an int beyond 32 bits is no fault."""
        found = self.get(value)
        if value.type.shape is not None:
            return self.operand(value, "int", rank)
        return found if value.const is not None else found.reshape(self.n, *(1,) * rank)

    # --- element-wise ----------------------------------------------------------------------------

    def infix(self, op: Op) -> Array:
        a, b = self.pair(op)
        if op.name == "mul" and op.result.type == INT:
            wide = np.abs(np.multiply(a, b, dtype=np.float64)) > 2.0**62  # beyond int64 it would wrap
            self.bad(wide)
            a = np.where(wide, 0, a)
        made = _INFIX[op.name](a, b)
        if op.name in ("add", "sub", "mul") and op.result.type.is_array and op.result.type.kind == "float":
            self.bad(np.isnan(made) & ~np.isnan(a) & ~np.isnan(b))
        return np.asarray(made)

    def op_div(self, op: Op) -> Array:
        a, b = self.pair(op)
        made = np.true_divide(a, b)
        if not op.result.type.is_array:
            self.bad(np.asarray(b == 0))
            return np.asarray(made)
        zero = (b == 0) & np.isfinite(a) & (a != 0)
        self.bad(zero | (np.isnan(made) & ~np.isnan(a) & ~np.isnan(b)))
        return np.asarray(made)

    def divided(self, op: Op, run: Callable[[Any, Any], Any]) -> Array:
        """// and %: floor, sign of the divisor."""
        a, b = self.pair(op)
        if not op.result.type.is_array or op.result.type.kind == "int":
            made = np.asarray(run(a, np.where(b == 0, np.ones_like(b), b)))
            self.bad(np.broadcast_to(b == 0, made.shape))
            return made
        made = run(a, b)
        zero = (b == 0) & np.isfinite(a)
        if run is np.floor_divide:  # a quotient that overflows: numpy takes inf - inf on its way
            zero |= (b != 0) & np.isinf(made)
        self.bad(zero | (np.isnan(made) & ~np.isnan(a) & ~np.isnan(b)))
        return np.asarray(made)

    def op_floordiv(self, op: Op) -> Array:
        return self.divided(op, np.floor_divide)

    def op_mod(self, op: Op) -> Array:
        return self.divided(op, np.remainder)

    def op_pow(self, op: Op) -> Array:
        if not op.result.type.is_array:
            return self.each(math.pow, op)
        a, b = self.pair(op)
        if op.args[1].type.is_array:
            made = np.asarray(np.power(a, b))
        else:  # item by item: of one number as exponent, the operator makes squares and roots
            bases, exponents = self.full(op.args[0]), self.scalars(op.args[1]).tolist()
            made = np.array([x**y for x, y in zip(bases, exponents, strict=True)])
        self.bad((np.isnan(made) & ~np.isnan(a) & ~np.isnan(b)) | ((a == 0) & (b < 0)))
        return np.asarray(made)

    def op_sqrt(self, op: Op) -> Array:
        value = self.scalars(op.args[0])
        self.bad(value < 0.0)
        return np.sqrt(value)

    def each(self, f: Callable[..., float], op: Op) -> Array:
        """A function of the C library, item by item, for those whose path this is."""
        made = np.zeros(self.n)
        columns = [self.scalars(a).tolist() for a in op.args]
        for i in np.flatnonzero(self.active).tolist():
            try:
                made[i] = f(*[c[i] for c in columns])
            except (ValueError, OverflowError):
                self.fault[i] = True
        return made

    def rounded(self, op: Op) -> Array:
        """Floats to ints; NaN and what is beyond 2**53 are faults."""
        value = self.scalars(op.args[0])
        if value.dtype == bool:
            return value.astype(np.int64)
        made = _ROUND[op.name](value)
        good = np.abs(made) <= INT_LIMIT
        self.bad(~good)
        return np.where(good, made, 0.0).astype(np.int64)

    def op_sign(self, op: Op) -> Array:
        value = self.get(op.args[0])
        if op.result.type.is_array:
            return np.sign(value)
        return ((value > 0).astype(np.int8) - (value < 0)).astype(SCALAR_DTYPE[op.result.type.kind])

    def op_min(self, op: Op) -> Array:
        a, b = (self.get(v) for v in op.args)
        return np.where(b < a, b, a)

    def op_max(self, op: Op) -> Array:
        a, b = (self.get(v) for v in op.args)
        return np.where(b > a, b, a)

    def op_clip(self, op: Op) -> Array:
        value, low, high = (self.get(v) for v in op.args)
        return np.where(value < low, low, np.where(value > high, high, value))

    def op_bound(self, op: Op) -> Array:
        value = self.scalars(op.args[0])
        wide = (value < -INT_LIMIT) | (value > INT_LIMIT)
        if not wide.any():
            return value
        self.bad(wide)
        return np.where(wide, 0, value)

    def op_to_float(self, op: Op) -> Array:
        kind = DTYPE["float"] if op.result.type.is_array else np.float64
        return np.asarray(self.get(op.args[0])).astype(kind)

    def op_to_int(self, op: Op) -> Array:
        if not op.result.type.is_array:
            return self.rounded(op)
        value = self.get(op.args[0])
        if value.dtype == bool:
            return np.asarray(value.astype(np.int32))
        good = np.abs(value) < 2147483648.0
        self.bad(~good)
        return np.where(good, value, 0).astype(np.int32)

    def op_where(self, op: Op) -> Array:
        rank = max(len(v.type.shape or ()) for v in op.args)
        kind = op.result.type.kind
        condition = self.operand(op.args[0], "bool", rank)
        if kind == "int":  # numpy lets an int that does not fit wrap here
            return np.where(condition, *(self.compared(v, rank) for v in op.args[1:])).astype(np.int32)
        return np.where(condition, self.operand(op.args[1], kind, rank), self.operand(op.args[2], kind, rank))

    # --- inputs ----------------------------------------------------------------------------------

    def op_memory(self, op: Op) -> Array:
        return self.memory[op.attrs["field"]]

    def op_thing(self, op: Op) -> Array:
        offset = op.attrs["offset"]
        if op.args:
            column = self.vectors[self.rows, offset + op.attrs["step"] * self.at(op.args[0], op.attrs["count"])]
        else:
            column = self.vectors[:, offset]
        return column > 0.5 if op.result.type.kind == "bool" else column.astype(np.float64)

    def op_grid(self, op: Op) -> Array:
        size, offset = op.result.type.size, op.attrs["offset"]
        return self.vectors[:, offset : offset + size].reshape(self.n, *(op.result.type.shape or ())) > 0.5

    def op_gauge(self, op: Op) -> Array:
        return self.vectors[:, op.attrs["offset"]].astype(np.float64)
