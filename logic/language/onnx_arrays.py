"""Element-wise array ops as ONNX nodes: float32, int32 and bool tensors of fixed shape, one operand maybe a scalar.

Knows: IEEE faults (finite / 0, 0 / 0, inf - inf; NaN in gives NaN out), numpy's // and %. Does not know: control flow.
"""

from __future__ import annotations

import numpy as np

from logic.language import ranges
from logic.language.ir import Op, Value
from logic.language.onnx_core import FLOAT32, INT32, INT64, Emitter
from logic.language.onnx_nodes import onnx_type

_COMPARE = {"lt": "Less", "le": "LessOrEqual", "gt": "Greater", "ge": "GreaterOrEqual", "eq": "Equal", "ne": "Equal"}
_PAIRS = {"add": "Add", "sub": "Sub", "mul": "Mul", "and": "And", "or": "Or", "minimum": "Min", "maximum": "Max"}
_UNARY = {"neg": "Neg", "abs": "Abs", "sign": "Sign", "not": "Not", "floor_of": "Floor", "exp_of": "Exp"}
_BYTE = onnx_type(np.uint8)


class ArrayOps:
    """One method an op; each answers the tensor of the op's result."""

    def __init__(self, emitter: Emitter) -> None:
        self.e = emitter

    def run(self, op: Op) -> str:
        """The tensor of an op's result."""
        if op.name in _COMPARE:
            return self.compare(op)
        if op.name in _UNARY:
            return self.e.n.op(_UNARY[op.name], self.e.get(op.args[0]))
        special = getattr(self, "op_" + op.name, None)
        if special is not None:
            return str(special(op))
        made = self.e.n.op(_PAIRS[op.name], *self.pair(op))
        if op.name in ("add", "sub", "mul"):
            self.not_invalid(op, made)
        return made

    def kind(self, op: Op) -> str:
        """Element type of the operands."""
        return next(a.type.kind for a in op.args if a.type.is_array)

    def pair(self, op: Op) -> tuple[str, str]:
        kind = self.kind(op)
        return self.e.operand(op.args[0], kind), self.e.operand(op.args[1], kind)

    def compare(self, op: Op) -> str:
        """Comparing with an int beyond 32 bits is no fault."""
        kind, n = self.kind(op), self.e.n
        narrow = all(a.type.is_array or ranges.within(a, -(2**31), 2**31 - 1) for a in op.args)
        if kind == "int" and not narrow:
            pair = [n.op("Cast", self.e.get(a), to=INT64) if a.type.is_array else self.e.get(a) for a in op.args]
        else:
            pair = list(self.pair(op))
        made = n.op(_COMPARE[op.name], *pair)
        return n.op("Not", made) if op.name == "ne" else made

    # --- faults ----------------------------------------------------------------------------------

    def not_invalid(self, op: Op, made: str) -> None:
        """NaN made of operands that are not NaN is a fault; finite operands cannot make one by + - *."""
        if op.result.type.kind != "float" or all(_finite(a) for a in op.args):
            return
        self.e.checks.require(self.explained(op, made), op.result.type.shape or ())

    def explained(self, op: Op, made: str) -> str:
        """bool of the result's shape: no NaN, or one that came from an operand."""
        n = self.e.n
        good = n.op("Not", n.op("IsNaN", made))
        for value, tensor in zip(op.args, self.pair(op), strict=True):
            if value.const is None or bool(np.isnan(value.const).any()):
                good = n.op("Or", good, n.op("IsNaN", tensor))
        return good

    def not_zero(self, op: Op, zero_by_zero: bool) -> None:
        """A finite number divided by zero is a fault; so is zero by zero, if that is not seen as NaN made."""
        if nonzero(op.args[1]):
            return
        n, (a, b) = self.e.n, self.pair(op)
        zero = n.const([0.0], np.float32)
        wrong = n.op("And", n.op("Equal", b, zero), n.op("Not", n.op("Or", n.op("IsNaN", a), n.op("IsInf", a))))
        if not zero_by_zero:
            wrong = n.op("And", wrong, n.op("Not", n.op("Equal", a, zero)))
        self.e.checks.require(n.op("Not", wrong), op.result.type.shape or ())

    # --- division --------------------------------------------------------------------------------

    def op_div(self, op: Op) -> str:
        n, (a, b) = self.e.n, self.pair(op)
        made = n.op("Div", a, b)
        self.not_zero(op, False)
        if not (nonzero(op.args[1]) and _finite(op.args[0])):
            self.e.checks.require(self.explained(op, made), op.result.type.shape or ())
        return made

    def op_floordiv(self, op: Op) -> str:
        return self.whole_division(op, False) if self.kind(op) == "int" else self.float_floordiv(op)

    def op_mod(self, op: Op) -> str:
        return self.whole_division(op, True) if self.kind(op) == "int" else self.float_mod(op)

    def float_rest(self, op: Op) -> tuple[str, str]:
        """(C's fmod, whether its sign is not the divisor's)."""
        n, (a, b), zero = self.e.n, self.pair(op), self.e.n.const([0.0], np.float32)
        rest = n.op("Mod", a, b, fmod=1)
        sides = n.op("Xor", n.op("Less", b, zero), n.op("Less", rest, zero))
        return rest, n.op("And", sides, n.op("Not", n.op("Equal", rest, zero)))

    def float_mod(self, op: Op) -> str:
        n, (_, b) = self.e.n, self.pair(op)
        rest, wrong = self.float_rest(op)
        made = n.op("Abs", n.op("Where", wrong, n.op("Add", rest, b), rest))
        made = n.op("Where", n.op("Less", b, n.const([0.0], np.float32)), n.op("Neg", made), made)
        self.not_zero(op, True)
        self.e.checks.require(self.explained(op, made), op.result.type.shape or ())
        return made

    def float_floordiv(self, op: Op) -> str:
        n, (a, b), zero = self.e.n, self.pair(op), self.e.n.const([0.0], np.float32)
        rest, wrong = self.float_rest(op)
        plain = n.op("Div", a, b)
        way = n.op("Sub", n.op("Div", n.op("Sub", a, rest), b), n.op("Cast", wrong, to=FLOAT32))
        low = n.op("Floor", way)
        up = n.op("Greater", n.op("Sub", way, low), n.const([0.5], np.float32))
        low = n.op("Add", low, n.op("Cast", up, to=FLOAT32))
        made = n.op("Where", n.op("Equal", way, zero), n.op("Mul", plain, zero), low)
        made = n.op("Where", n.op("Equal", b, zero), plain, made)
        self.not_zero(op, True)
        overflow = n.op("Not", n.op("IsInf", way))  # numpy takes inf - inf on its way
        self.e.checks.require(n.op("And", overflow, self.explained(op, made)), op.result.type.shape or ())
        return made

    def whole_division(self, op: Op, rest_only: bool) -> str:
        """// and % on int32; the processor must never see a zero divisor or -2**31 / -1."""
        n, (a, b), divisor = self.e.n, self.pair(op), op.args[1]
        if not nonzero(divisor):
            low = self.e.sure(divisor)[0]
            if low is None or low <= 0:
                zero = n.op("Equal", b, n.const([0], np.int32))
                self.e.checks.require(n.op("Not", zero), divisor.type.shape or (1,))
                b = n.op("Add", b, n.op("Cast", zero, to=INT32))
        wide = not _never_minus_one(divisor)
        if wide:
            a, b = (n.op("Cast", t, to=INT64) for t in (a, b))
        low = self.e.sure(op.args[0])[0]
        if not rest_only and low is not None and low >= 0 and (self.e.sure(divisor)[0] or 0) > 0:
            made = n.op("Div", a, b)
        else:
            rest = n.op("Mod", a, b)
            made = rest if rest_only else n.op("Div", n.op("Sub", a, rest), b)
        return n.op("Cast", made, to=INT32) if wide else made

    def op_pow(self, op: Op) -> str:
        n, (a, b), zero = self.e.n, self.pair(op), self.e.n.const([0.0], np.float32)
        made = n.op("Pow", a, b)
        if not op.args[1].type.is_array:  # numpy takes the square root instead, for which -inf is a fault
            root = n.op("And", n.op("Equal", b, n.const([0.5], np.float32)), n.op("Less", a, zero))
            self.e.checks.require(n.op("Not", root), op.result.type.shape or ())
        self.e.checks.require(self.explained(op, made), op.result.type.shape or ())
        wrong = n.op("And", n.op("Equal", a, zero), n.op("Less", b, zero))
        self.e.checks.require(n.op("Not", wrong), op.result.type.shape or ())
        return made

    # --- choices and kinds -----------------------------------------------------------------------

    def op_where(self, op: Op) -> str:
        n, kind = self.e.n, op.result.type.kind
        c = self.e.get(op.args[0])
        a, b = (self.e.cast(v, kind) for v in op.args[1:])  # numpy lets an int that does not fit wrap here
        if kind != "bool":
            return n.op("Where", c, a, b)
        return n.op("Or", n.op("And", c, a), n.op("And", n.op("Not", c), b))

    def op_to_float(self, op: Op) -> str:
        return self.e.n.op("Cast", self.e.get(op.args[0]), to=FLOAT32)

    def op_to_int(self, op: Op) -> str:
        """Towards zero; NaN and what is beyond 32 bits are faults, and garbage stays in range."""
        n, value, result = self.e.n, op.args[0], op.result
        x = self.e.get(value)
        made = n.op("Cast", x, to=INT32)
        if value.type.kind == "bool":
            return made
        limit = n.const([2.0**31], np.float32)
        self.e.checks.require(n.op("Less", n.op("Abs", x), limit), result.type.shape or ())
        if result.lo is None or result.hi is None or not ranges.within(result, -(2**31), 2**31 - 1):
            return made
        return n.op("Clip", made, n.const(result.lo, np.int32), n.const(result.hi, np.int32))


def _finite(value: Value) -> bool:
    """Is every element proven finite (or NaN)?"""
    low, high = ranges.bounds(value)
    return low is not None and high is not None and np.isfinite(low) and np.isfinite(high)


def nonzero(value: Value) -> bool:
    """Is every element proven not to be zero?"""
    if value.const is not None:
        return bool(np.all(np.asarray(value.const) != 0))
    low, high = ranges.bounds(value)
    return value.type.kind == "float" and ((low is not None and low > 0) or (high is not None and high < 0))


def _never_minus_one(value: Value) -> bool:
    if value.const is not None:
        return bool(np.all(np.asarray(value.const) != -1))
    low, _ = ranges.bounds(value)
    return low is not None and low >= 0
