"""Operands of single ops over a batch, and ops that move, choose or sum elements of arrays.

Knows: shapes with the batch as first axis, faults as masks. Does not know: arithmetic (batch_ops.py), control flow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from logic.errors import PolicyFault
from logic.language import nan_rules
from logic.language.ir import Op, Value
from logic.language.ops import DTYPE

Array = np.ndarray
SCALAR_DTYPE = {"bool": np.bool_, "int": np.int64, "float": np.float64, "reason": np.int64}


class BatchArrays:
    """`active`: whose faults count; `fault`: who has had one."""

    def __init__(self, n: int, vectors: Array, memory: Mapping[str, Array], get: Callable[[Value], Any]) -> None:
        self.n, self.vectors, self.memory, self.get = n, vectors, memory, get
        self.active = np.ones(n, bool)
        self.fault = np.zeros(n, bool)
        self.rows = np.arange(n)

    # --- faults and shapes -----------------------------------------------------------------------

    def bad(self, where: Array) -> None:
        """Items at fault; `where` may have more axes, any of which counts."""
        if where.ndim > 1:
            where = np.asarray(np.broadcast_to(where, (self.n, *where.shape[1:])).reshape(self.n, -1).any(1))
        np.logical_or(self.fault, self.active & where, out=self.fault)

    def operand(self, value: Value, kind: str, rank: int) -> Any:
        """An operand of an array op: of the array's element type, its axes aligned after the batch axis."""
        found = self.get(value)
        if value.type.shape is None:
            if value.const is not None:
                if kind == "int" and not -(2**31) <= found < 2**31:
                    self.bad(np.array(True))
                    found = 0
                return DTYPE[kind](found)
            if kind == "int":
                wide = (found < -(2**31)) | (found >= 2**31)
                self.bad(wide)
                found = np.where(wide, 0, found)
            return found.astype(DTYPE[kind]).reshape(self.n, *(1,) * rank)
        if value.const is not None or len(value.type.shape) == rank:
            return found
        return found.reshape(self.n, *(1,) * (rank - len(value.type.shape)), *value.type.shape)

    def full(self, value: Value) -> Array:
        """A batch of an array value, constants repeated."""
        found = self.get(value)
        return np.broadcast_to(found, (self.n, *(value.type.shape or ()))) if value.const is not None else found

    def scalars(self, value: Value) -> Array:
        """[N] of a scalar value."""
        if value.const is None:
            found: Array = self.get(value)
            return found
        return np.broadcast_to(np.asarray(self.get(value), SCALAR_DTYPE[value.type.kind]), (self.n,))

    # --- moving elements -------------------------------------------------------------------------

    def at(self, index: Value, length: int) -> Array:
        """[N] indices within range; those outside are faults."""
        found = self.scalars(index)
        wrong = (found < 0) | (found >= length)
        self.bad(wrong)
        return np.where(wrong, 0, found)

    def op_element(self, op: Op) -> Array:
        array, *index = op.args
        at = tuple(self.at(i, n) for i, n in zip(index, array.type.shape or (), strict=True))
        found = self.get(array)[at] if array.const is not None else self.get(array)[(self.rows, *at)]
        return found.astype(SCALAR_DTYPE[array.type.kind])

    def op_pick(self, op: Op) -> Array:
        array, axis = op.args[0], op.attrs["axis"]
        at = self.at(op.args[1], (array.type.shape or ())[axis])
        return np.moveaxis(self.full(array), axis + 1, 1)[self.rows, at]

    def op_slice(self, op: Op) -> Array:
        cuts = tuple(slice(lo, hi) for lo, hi in op.attrs["bounds"])
        return self.full(op.args[0])[(slice(None), *cuts)]

    def op_reshape(self, op: Op) -> Array:
        return np.ascontiguousarray(self.full(op.args[0])).reshape(self.n, *op.attrs["shape"])

    def op_gather(self, op: Op) -> Array:
        array, index = op.args
        length = (array.type.shape or (0,))[0]
        at = self.full(index)
        wrong = (at < 0) | (at >= length)
        self.bad(wrong)
        at = np.where(wrong, 0, at)
        if array.const is not None:
            return np.asarray(array.const[at])
        return self.get(array)[self.rows.reshape(self.n, *(1,) * (at.ndim - 1)), at]

    def op_concat(self, op: Op) -> Array:
        return np.concatenate([self.full(a) for a in op.args], axis=1)

    def item(self, value: Value, array: Value) -> Array:
        """A new element or row for each array of the batch."""
        if value.type.is_array:
            return self.full(value)
        return np.broadcast_to(np.reshape(self.operand(value, array.type.kind, 0), -1), (self.n,))

    def op_put(self, op: Op) -> Array:
        array, index, value = op.args
        at = self.at(index, (array.type.shape or (0,))[0])
        made = np.array(self.full(array))
        new = self.item(value, array)
        made[self.rows, at] = new.reshape(self.n, *(1,) * (made.ndim - 1 - new.ndim), *new.shape[1:])
        return made

    def op_shift_push(self, op: Op) -> Array:
        old, new = self.full(op.args[0]), self.item(op.args[1], op.args[0])
        made = np.empty_like(old)
        made[:, :-1] = old[:, 1:]
        made[:, -1] = new.reshape(self.n, *(1,) * (made.ndim - 1 - new.ndim), *new.shape[1:])
        return made

    def op_full(self, op: Op) -> Array:
        value = self.operand(op.args[0], op.attrs["kind"], len(op.attrs["shape"]))
        return np.array(np.broadcast_to(value, (self.n, *op.attrs["shape"])))

    def op_stack(self, op: Op) -> Array:
        columns = [np.broadcast_to(self.operand(v, op.attrs["kind"], 0), (self.n,)) for v in op.args]
        return np.stack(columns, axis=1).reshape(self.n, *op.attrs["shape"])

    # --- choices and reductions ------------------------------------------------------------------

    def flat(self, value: Value) -> Array:
        return np.ascontiguousarray(self.full(value)).reshape(self.n, -1)

    def no_nan(self, values: Array) -> Array:
        if values.dtype.kind == "f":
            self.bad(np.isnan(values))
        return values

    def rarely(self, made: Array, run: Callable[..., Any], *operands: Array) -> Array:
        """Results with the items that are not finite as the reference function has them, or at fault."""
        odd = self.active & ~np.isfinite(made).reshape(self.n, -1).all(1)
        for i in np.flatnonzero(odd).tolist():
            try:
                made[i] = run(*(v[i] for v in operands))
            except PolicyFault:
                self.fault[i] = True
        return made

    def op_scatter_add(self, op: Op) -> Array:
        index, values, length = self.full(op.args[0]), self.full(op.args[1]), op.attrs["length"]
        wrong = (index < 0) | (index >= length)
        self.bad(wrong)
        index = np.where(wrong, 0, index)
        rows = np.array([np.bincount(i, v, length) for i, v in zip(index, values, strict=True)]).astype(np.float32)
        return self.rarely(rows, lambda i, v: nan_rules.scatter_add(i, v, length), index, values)

    def op_top_k(self, op: Op) -> Array:
        values = self.no_nan(self.full(op.args[0]))
        return np.argsort(-values, axis=1, kind="stable")[:, : op.attrs["k"]].astype(np.int32)

    def op_argmax(self, op: Op) -> Array:
        return self.no_nan(self.flat(op.args[0])).argmax(1)

    def op_argmin(self, op: Op) -> Array:
        return self.no_nan(self.flat(op.args[0])).argmin(1)

    def op_total(self, op: Op) -> Array:
        values = self.flat(op.args[0])
        made = values.sum(1)
        if values.dtype.kind == "f":
            made = self.rarely(made, nan_rules.total, values)
        return made.astype(SCALAR_DTYPE[op.result.type.kind])

    def op_largest(self, op: Op) -> Array:
        return self.no_nan(self.flat(op.args[0])).max(1).astype(SCALAR_DTYPE[op.result.type.kind]) + 0

    def op_smallest(self, op: Op) -> Array:
        return self.no_nan(self.flat(op.args[0])).min(1).astype(SCALAR_DTYPE[op.result.type.kind]) + 0

    def op_count(self, op: Op) -> Array:
        return np.count_nonzero(self.flat(op.args[0]), axis=1)

    def op_any_of(self, op: Op) -> Array:
        return np.asarray(self.flat(op.args[0]).any(1))

    def op_all_of(self, op: Op) -> Array:
        return np.asarray(self.flat(op.args[0]).all(1))

    def op_sum_over(self, op: Op) -> Array:
        values, axis = self.full(op.args[0]), op.attrs["axis"]
        made = np.asarray(values.sum(axis + 1, dtype=DTYPE[op.result.type.kind]))
        return self.rarely(made, lambda v: nan_rules.sum_over(v, axis), values) if values.dtype.kind == "f" else made

    def op_max_over(self, op: Op) -> Array:
        return np.asarray(self.full(op.args[0]).max(op.attrs["axis"] + 1))

    def op_min_over(self, op: Op) -> Array:
        return np.asarray(self.full(op.args[0]).min(op.attrs["axis"] + 1))

    def op_argmax_over(self, op: Op) -> Array:
        return self.no_nan(self.full(op.args[0])).argmax(op.attrs["axis"] + 1).astype(np.int32)

    def op_matmul(self, op: Op) -> Array:
        """Item by item: one product over the batch would round differently."""
        a, b = (self.full(v) for v in op.args)
        return self.rarely(np.array([x @ y for x, y in zip(a, b, strict=True)]), nan_rules.matmul, a, b)
