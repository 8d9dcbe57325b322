"""Builder: emits ops, folding constants and sharing common subexpressions as it goes.

Knows: result types of pure ops, scopes of blocks, budgets. Does not know: Python syntax, names, statements.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from logic.language import ops, ranges
from logic.language.ir import BOOL, FLOAT, INT, INT_LIMIT, REASON, Block, Op, Type, Value
from logic.language.limits import Meter

_KINDS = {"b": "bool", "i": "int", "f": "float"}
_COMPARE = {"lt", "le", "gt", "ge", "eq", "ne"}
_SCALAR_INT = {"argmax", "argmin", "count", "floor", "ceil", "round"}
_SCALAR_BOOL = {"any_of", "all_of"}
_SAME = {"neg", "abs", "sign", "sqrt", "bound", "not", "floor_of", "exp_of", "put", "shift_push"}
_ROOM = 2**62  # intermediate ints stay in 64 bits


_PLAIN = {bool: BOOL, int: INT, float: FLOAT}


def type_of(value: Any) -> Type:
    """Type of a Python scalar or an array."""
    if isinstance(value, np.ndarray):
        return Type(_KINDS[value.dtype.kind], value.shape)
    return BOOL if isinstance(value, bool) else INT if isinstance(value, int) else FLOAT


def result_type(name: str, args: tuple[Value, ...], attrs: dict[str, Any]) -> Type:
    """Type of a pure op's result; operands are already of the right types (ValueError: shapes do not fit)."""
    kinds, shapes = [a.type.kind for a in args], [a.type.shape for a in args]
    first = args[0].type
    if name in _SAME:
        return first
    if name in _SCALAR_INT:
        return INT
    if name in _SCALAR_BOOL:
        return BOOL
    if name in ("element", "largest", "smallest"):
        return Type(first.kind)
    if name == "total":
        return Type("int" if first.kind == "bool" else first.kind)
    if name in ("full", "stack"):
        return Type(attrs["kind"], attrs["shape"])
    if name in ("to_float", "to_int"):
        return Type(name[3:], first.shape)
    if shapes[0] is not None and name in _SHAPED:
        return _shaped(name, args, attrs)
    shape = _broadcast(shapes)
    kind = "bool" if name in _COMPARE else kinds[1] if name == "where" else kinds[0]
    return Type("float" if name == "div" else kind, shape)


_SHAPED = {
    "pick", "slice", "reshape", "gather", "concat", "scatter_add", "top_k", "sum_over", "max_over", "min_over",
    "argmax_over", "matmul",
}  # fmt: skip


def _shaped(name: str, args: tuple[Value, ...], attrs: dict[str, Any]) -> Type:
    kind, shape = args[0].type.kind, args[0].type.shape or ()
    if name in ("pick", "sum_over", "max_over", "min_over", "argmax_over"):
        axis = attrs["axis"]
        kind = "int" if name == "argmax_over" or (name == "sum_over" and kind == "bool") else kind
        return Type(kind, shape[:axis] + shape[axis + 1 :])
    if name == "slice":
        return Type(kind, tuple(hi - lo for lo, hi in attrs["bounds"]))
    if name == "reshape":
        return Type(kind, attrs["shape"])
    if name == "gather":
        return Type(kind, (args[1].type.shape or ()) + shape[1:])
    if name == "concat":
        return Type(kind, (sum((a.type.shape or (0,))[0] for a in args), *shape[1:]))
    if name == "scatter_add":
        return Type("float", (attrs["length"],))
    if name == "top_k":
        return Type("int", (attrs["k"],))
    b = args[1].type.shape or ()
    return Type(kind, shape[:-1] + b[1:])


def _broadcast(shapes: list[tuple[int, ...] | None]) -> tuple[int, ...] | None:
    arrays = [s for s in shapes if s is not None]
    return np.broadcast_shapes(*arrays) if arrays else None


_SCALAR_OPS = {
    "add", "sub", "mul", "div", "floordiv", "mod", "neg", "lt", "le", "gt", "ge", "eq", "ne", "not", "clip",
}  # fmt: skip
_NO_ATTRS: dict[str, Any] = {}


class Builder:
    """Emits into the current block. `line`, `file` are stamped on every op."""

    def __init__(self, meter: Meter) -> None:
        self.meter = meter
        self.block = Block()
        self.scopes: list[dict[Any, Value]] = [{}]
        self.line, self.file = 0, ""

    def const(self, value: Any) -> Value:
        """A constant; arrays become read-only."""
        plain = _PLAIN.get(type(value))
        if plain is not None:
            return Value(plain, None, value)
        if isinstance(value, np.ndarray):
            value.setflags(write=False)
        elif isinstance(value, np.generic):
            value = value.item()
        return Value(type_of(value), const=value)

    def reason(self, index: int) -> Value:
        """A reason, by its place in the table."""
        return Value(REASON, const=index)

    def emit(self, name: str, *args: Value, **attrs: Any) -> Value:
        """The op's result: folded, shared with an equal op, or new. Faults of folding are raised as they are."""
        known = True
        for a in args:
            known = known and a.const is not None
        if known and name in _SCALAR_OPS and args[0].type.shape is None and args[-1].type.shape is None:
            return self.fold_scalars(name, args)
        kind = result_type(name, args, attrs)
        if known:
            return self.fold(name, args, attrs, kind)
        key = (name, tuple(identity(a) for a in args), tuple(sorted(attrs.items())))
        for scope in self.scopes:
            if key in scope:
                return scope[key]
        lo, hi = ranges.of_result(name, args, kind.kind, kind.is_array)
        made = self.push(name, list(args), attrs, kind, lo, hi)
        if kind == INT and not ranges.within(made, -_ROOM, _ROOM):
            made = self.push("bound", [made], {}, INT, -INT_LIMIT, INT_LIMIT)
        self.scopes[-1][key] = made
        return made

    def push(self, name: str, args: list[Value], attrs: dict[str, Any], type: Type, lo: Any, hi: Any) -> Value:
        """Append an op as it is."""
        self.meter.node()
        if type.shape is not None:
            self.meter.array(type.size)
        op = Op(name, args, attrs, line=self.line, file=self.file)
        value = Value(type, op, lo=lo, hi=hi)
        op.results.append(value)
        self.block.ops.append(op)
        return value

    def fold_scalars(self, name: str, args: tuple[Value, ...]) -> Value:
        """The common case of tables, made short."""
        self.meter.spend(1500.0)
        value = ops.SPECS[name].run(_NO_ATTRS, *[a.const for a in args])
        if type(value) is int and not -INT_LIMIT <= value <= INT_LIMIT:
            ops.bounded(value)
        return self.const(value)

    def fold(self, name: str, args: tuple[Value, ...], attrs: dict[str, Any], kind: Type) -> Value:
        """Evaluate on constants, paying for it first."""
        self.meter.array(kind.size)
        arrays = kind.is_array or any(a.type.is_array for a in args)
        biggest = max(kind.size, *(a.type.size for a in args))
        if name == "matmul":
            biggest *= max(args[1].type.shape or (1,))
        spec = ops.SPECS[name]
        self.meter.spend(ops.fold_cost(name, biggest, arrays))
        self.meter.make(kind.size)
        value = spec.run(attrs, *(a.const for a in args))
        if kind.is_array:
            value = np.asarray(value)
            if value.dtype != ops.DTYPE[kind.kind]:
                value = value.astype(ops.DTYPE[kind.kind])
        elif kind == INT:
            value = ops.bounded(int(value))
        elif kind == FLOAT:
            value = float(value)
        return self.const(value)

    @contextmanager
    def inside(self, block: Block) -> Iterator[Block]:
        """Emit into `block`, seeing the expressions of the blocks around it."""
        outer, self.block = self.block, block
        self.scopes.append({})
        try:
            yield block
        finally:
            self.block = outer
            self.scopes.pop()

    def undefined(self, type: Type) -> Value:
        """A value that is never looked at, for a path on which there is none."""
        if not type.is_array:
            zero = {"bool": False, "int": 0, "float": 0.0, "reason": 0}[type.kind]
            return Value(type, const=zero)
        return self.const(np.zeros(type.shape or (), ops.DTYPE[type.kind]))


def identity(value: Value) -> Any:
    """Equal scalars are one; everything else is itself. repr tells 0.0 from -0.0 and True from 1."""
    if value.const is not None and not value.type.is_array:
        return value.type.kind, repr(value.const)
    return value
