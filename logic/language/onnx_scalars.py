"""Scalar ops and inputs as ONNX nodes, bit for bit what Python computes.

Knows: float64 and int64 tensors of shape [1]. Does not know: arrays, control flow.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from logic.language.ir import INT_LIMIT, Op, Value
from logic.language.onnx_core import FLOAT64, INT64, Emitter
from logic.language.ranges import within

_DIRECT = {
    "add": "Add", "sub": "Sub", "mul": "Mul", "neg": "Neg", "abs": "Abs", "not": "Not", "and": "And", "or": "Or",
    "lt": "Less", "le": "LessOrEqual", "gt": "Greater", "ge": "GreaterOrEqual", "eq": "Equal",
}  # fmt: skip
_ROOM = 2**62  # ints that no `bound` has seen yet stay within it
_ROUND = {"floor": "Floor", "ceil": "Ceil", "round": "Round"}


class ScalarOps:
    """One method an op; each answers the tensor of the op's result."""

    def __init__(self, emitter: Emitter) -> None:
        self.e = emitter

    def run(self, op: Op) -> str:
        """The tensor of an op's result."""
        special = getattr(self, "op_" + op.name, None)
        if special is not None:
            return str(special(op))
        if op.name not in _DIRECT:
            raise NotImplementedError(f"line {op.line}: the ONNX back end has no op {op.name!r}")
        return self.e.n.op(_DIRECT[op.name], *self.args(op))

    def args(self, op: Op) -> list[str]:
        return [self.e.get(a) for a in op.args]

    # --- arithmetic ------------------------------------------------------------------------------

    def op_add(self, op: Op) -> str:
        """x + 0.0 turns -0.0 into 0.0, but onnxruntime takes it for x."""
        a, b = op.args
        for x, zero in ((a, b), (b, a)):
            if _is_zero(self.e.literal(zero), 1.0):
                return self.e.no_minus_zero(self.e.get(x))
        return self.e.n.op("Add", *self.args(op))

    def op_sub(self, op: Op) -> str:
        a, b = op.args
        if _is_zero(self.e.literal(b), -1.0):
            return self.e.no_minus_zero(self.e.get(a))
        return self.e.n.op("Sub", *self.args(op))

    def op_mul(self, op: Op) -> str:
        """Ints must not wrap: the product in floats tells first."""
        a, b = op.args
        n, made = self.e.n, self.e.n.op("Mul", *self.args(op))
        if op.result.type.kind == "int" and not _product_fits(op.result, a, b):
            size = n.op("Abs", n.op("Mul", *(n.op("Cast", t, to=FLOAT64) for t in self.args(op))))
            self.e.checks.require(n.op("LessOrEqual", size, n.const([2.0**62], np.float64)))
        return made

    def op_div(self, op: Op) -> str:
        a, b = self.args(op)
        self.not_zero(op.args[1])
        if self.e.literal(op.args[0]) == 1.0:  # onnxruntime would make y / x of (1 / x) * y
            return self.e.n.op("Neg", self.e.n.op("Div", self.e.n.const([-1.0], np.float64), b))
        return self.e.n.op("Div", a, b)

    def not_zero(self, value: Value) -> None:
        """Dividing by zero is a fault; by NaN it is not."""
        if value.const is not None and value.const != 0:
            return
        low, high = self.e.sure(value)
        if (low is not None and low > 0) or (high is not None and high < 0):
            return
        zero = self.e.n.op("Equal", self.e.get(value), self.e.number(value, 0))
        self.e.checks.require(self.e.n.op("Not", zero))

    def op_floordiv(self, op: Op) -> str:
        self.not_zero(op.args[1])
        if op.result.type.kind == "int":
            return self.whole_division(op, False)
        n, (a, b) = self.e.n, self.args(op)
        rest, wrong = self.float_rest(op)
        way = n.op("Div", n.op("Sub", a, rest), b)
        way = n.op("Sub", way, n.op("Cast", wrong, to=FLOAT64))
        low = n.op("Floor", way)
        up = n.op("Greater", n.op("Sub", way, low), n.const([0.5], np.float64))
        low = n.op("Add", low, n.op("Cast", up, to=FLOAT64))
        zero = n.const([0.0], np.float64)
        return self.e.select(n.op("Equal", way, zero), n.op("Mul", n.op("Div", a, b), zero), low)

    def op_mod(self, op: Op) -> str:
        self.not_zero(op.args[1])
        if op.result.type.kind == "int":
            return self.whole_division(op, True)
        n, divisor = self.e.n, op.args[1]
        rest, wrong = self.float_rest(op)
        b = self.e.get(divisor)
        made = n.op("Abs", self.e.select(wrong, n.op("Add", rest, b), rest))  # the sign is the divisor's, zero's too
        if divisor.const is not None:
            return made if divisor.const > 0 else n.op("Neg", made)
        return self.e.select(n.op("Less", b, n.const([0.0], np.float64)), n.op("Neg", made), made)

    def float_rest(self, op: Op) -> tuple[str, str]:
        """(C's fmod, whether its sign is not the divisor's)."""
        n, (a, b), zero = self.e.n, self.args(op), self.e.n.const([0.0], np.float64)
        rest = n.op("Mod", a, b, fmod=1)
        if op.args[1].const is not None:
            return rest, n.op("Less", rest, zero) if op.args[1].const > 0 else n.op("Greater", rest, zero)
        sides = n.op("Xor", n.op("Less", b, zero), n.op("Less", rest, zero))
        return rest, n.op("And", sides, n.op("Not", n.op("Equal", rest, zero)))

    def whole_division(self, op: Op, rest_only: bool) -> str:
        """Python's // and % on ints; the processor must never see a zero divisor or -2**63 / -1."""
        n, (a, b), divisor = self.e.n, op.args, op.args[1]
        x, y = self.args(op)
        low = self.e.sure(divisor)[0]
        if divisor.const == 0:
            return self.e.number(divisor, 0)
        if divisor.const == -1:
            return self.e.number(divisor, 0) if rest_only else n.op("Neg", x)
        if divisor.const is None and low is not None and low > 0:
            y = n.op("Max", y, n.const([1], np.int64))
        elif divisor.const is None:
            y = n.op("Add", y, n.op("Cast", n.op("Equal", y, self.e.number(b, 0)), to=INT64))
            x = n.op("Clip", x, n.const(-_ROOM, np.int64), n.const(_ROOM, np.int64))
        least = self.e.sure(a)[0]
        if not rest_only and least is not None and least >= 0 and (divisor.const or low or 0) > 0:
            return n.op("Div", x, y)
        rest = n.op("Mod", x, y)
        return rest if rest_only else n.op("Div", n.op("Sub", x, rest), y)

    def op_pow(self, op: Op) -> str:
        """Finite operands must give a finite power, which is math.pow's rule."""
        n, (a, b) = self.e.n, self.args(op)
        made = n.op("Pow", a, b)
        known = [v for v in op.args if v.const is None or math.isfinite(v.const)]
        fine = self.finite(made)
        for value in op.args:
            if value.const is None:
                fine = n.op("Or", fine, n.op("Not", self.finite(self.e.get(value))))
        if len(known) == 2:
            self.e.checks.require(fine)
        return made

    def finite(self, x: str) -> str:
        n = self.e.n
        return n.op("LessOrEqual", n.op("Abs", x), n.const([float(np.finfo(np.float64).max)], np.float64))

    def op_sign(self, op: Op) -> str:
        """Of NaN it is zero."""
        n, x = self.e.n, self.e.get(op.args[0])
        made = n.op("Sign", x)
        if op.result.type.kind == "int":
            return made
        return self.e.select(n.op("Equal", x, x), made, n.const([0.0], np.float64))

    def op_ne(self, op: Op) -> str:
        return self.e.n.op("Not", self.e.n.op("Equal", *self.args(op)))

    # --- choices ---------------------------------------------------------------------------------

    def op_min(self, op: Op) -> str:
        return self.extreme(op, "Min", "Less")

    def op_max(self, op: Op) -> str:
        return self.extreme(op, "Max", "Greater")

    def extreme(self, op: Op, direct: str, beats: str) -> str:
        """`b if b < a else a`: with NaN and zeros of two signs it is not what Min makes of them."""
        a, b = self.args(op)
        if op.result.type.kind == "int" or _plain(op.args[1]):
            return self.e.n.op(direct, a, b)
        return self.e.select(self.e.n.op(beats, b, a), b, a)

    def op_clip(self, op: Op) -> str:
        n, (x, low, high) = self.e.n, self.args(op)
        v0, v1 = op.args[1].const, op.args[2].const
        kind = op.result.type.kind
        if v0 is not None and v1 is not None and v0 <= v1:
            if kind == "int":
                return n.op("Clip", x, n.const(v0, np.int64), n.const(v1, np.int64))
            if v0 and v1:
                return n.op("Min", n.op("Max", x, low), high)
        inner = self.e.select(n.op("Greater", x, high), high, x)
        return self.e.select(n.op("Less", x, low), low, inner)

    # --- kinds of numbers ------------------------------------------------------------------------

    def op_bound(self, op: Op) -> str:
        tensor = self.e.get(op.args[0])
        low, high = self.e.sure(op.args[0])
        if low is None or high is None or low < -INT_LIMIT or high > INT_LIMIT:
            self.e.checks.exact_int(tensor)
        return tensor

    def op_to_float(self, op: Op) -> str:
        return self.e.n.op("Cast", self.e.get(op.args[0]), to=FLOAT64)

    def op_to_int(self, op: Op) -> str:
        x = self.e.get(op.args[0])
        return self.e.n.op("Cast", x, to=INT64) if op.args[0].type.kind == "bool" else self.rounded(op, x, x)

    def rounded(self, op: Op, x: str, checked: str) -> str:
        """A float made int (towards zero); NaN and what is beyond 2**53 are faults, and garbage stays in range."""
        self.e.checks.exact_float(checked)
        n, value = self.e.n, op.result
        made = n.op("Cast", x, to=INT64)
        if value.lo is None or value.hi is None or not within(value, -INT_LIMIT, INT_LIMIT):
            return made
        return n.op("Clip", made, n.const(value.lo, np.int64), n.const(value.hi, np.int64))

    def op_floor(self, op: Op) -> str:
        x = self.e.n.op(_ROUND[op.name], self.e.get(op.args[0]))
        return self.rounded(op, x, x)

    op_ceil = op_floor
    op_round = op_floor

    # --- functions -------------------------------------------------------------------------------

    def op_sqrt(self, op: Op) -> str:
        n, x = self.e.n, self.e.get(op.args[0])
        self.e.checks.require(n.op("Not", n.op("Less", x, n.const([0.0], np.float64))))
        return n.op("Sqrt", x)


def _is_zero(const: Any, sign: float) -> bool:
    """Is it 0.0 (sign 1.0) or -0.0?"""
    return isinstance(const, float) and const == 0.0 and math.copysign(1.0, const) == sign


def _plain(value: Value) -> bool:
    """A constant that is neither NaN nor zero."""
    return value.const is not None and value.const == value.const and value.const != 0


def _product_fits(made: Value, a: Value, b: Value) -> bool:
    """Does a product stay within 62 bits?"""
    small = any(v.const is not None and abs(v.const) <= 2**9 for v in (a, b))
    return within(made, -_ROOM, _ROOM) or (small and all(within(v, -INT_LIMIT, INT_LIMIT) for v in (a, b)))
