"""Back end 2: one graph over a batch of N scenes and memories at once, in numpy. A batch of N equals N singles."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from envs.actions import Action
from logic.errors import PolicyFault
from logic.language import nan_rules
from logic.language.ir import INT, INT_LIMIT, Block, Graph, Op, Type, Value
from logic.language.ops import DTYPE

# ----------------------------------------------------------------------------------------------------
# Operands of single ops over a batch, and ops that move, choose or sum elements of arrays.


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
        if values.dtype.kind == "f":
            made = self.rarely(nan_rules.summed(values, 1), nan_rules.total, values)
        else:
            made = values.sum(1)
        return np.asarray(made).astype(SCALAR_DTYPE[op.result.type.kind])

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
        if values.dtype.kind != "f":
            return np.asarray(values.sum(axis + 1, dtype=DTYPE[op.result.type.kind]))
        made = nan_rules.summed(values, axis + 1)
        return self.rarely(made, lambda v: nan_rules.sum_over(v, axis), values)

    def op_max_over(self, op: Op) -> Array:
        return np.asarray(self.full(op.args[0]).max(op.attrs["axis"] + 1))

    def op_min_over(self, op: Op) -> Array:
        return np.asarray(self.full(op.args[0]).min(op.attrs["axis"] + 1))

    def op_argmax_over(self, op: Op) -> Array:
        return self.no_nan(self.full(op.args[0])).argmax(op.attrs["axis"] + 1).astype(np.int32)

    def op_matmul(self, op: Op) -> Array:
        """Item by item, which takes the least memory."""
        a, b = (self.full(v) for v in op.args)
        run = nan_rules.product if op.result.type.kind == "float" else np.matmul
        return self.rarely(np.array([run(x, y) for x, y in zip(a, b, strict=True)]), nan_rules.matmul, a, b)


# ----------------------------------------------------------------------------------------------------
# Single ops over a batch: what the reference function of each does, for N items at once, with faults as masks.
#
# Garbage in inactive items never raises.


_INFIX: dict[str, Callable[[Any, Any], Any]] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "lt": np.less, "le": np.less_equal, "gt": np.greater,
    "ge": np.greater_equal, "eq": np.equal, "ne": np.not_equal, "and": np.logical_and, "or": np.logical_or,
    "minimum": np.minimum, "maximum": np.maximum,
}  # fmt: skip
_COMPARE = {"lt", "le", "gt", "ge", "eq", "ne"}
_UNARY: dict[str, Callable[[Any], Any]] = {
    "neg": np.negative, "abs": np.absolute, "not": np.logical_not, "floor_of": np.floor, "exp_of": nan_rules.exp_of,
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
        made = nan_rules.powers(a, b)
        root = (b == 0.5) & (not op.args[1].type.is_array)
        self.bad((np.isnan(made) & ~np.isnan(a) & ~np.isnan(b)) | ((a == 0) & (b < 0)) | (root & (a < 0)))
        return made

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


# ----------------------------------------------------------------------------------------------------
# Back end 2: one graph over a batch of N scenes and memories at once, in numpy. A batch of N equals N singles.
#
# Scalars are arrays [N] (float64, int64, bool), arrays [N, *shape]: the batch is the first axis, so that sums over
# one item run in the order in which the single program runs them.


SCALAR = {"bool": np.bool_, "int": np.int64, "float": np.float64, "reason": np.int64}


@dataclass(frozen=True)
class BatchResult:
    """What N steps decided: `actions` int64[N] or float32[N, n], `reasons` int64[N] into graph.reasons, new memory,
    `faults` bool[N].

    Where a fault happened the action is the fallback given, the reason -1 and the memory the old one.
    """

    actions: Array
    reasons: Array
    memory: dict[str, Array]
    faults: Array


def start_batch(graph: Graph, n: int) -> dict[str, Array]:
    """Fresh memories for N environments."""
    return {
        k: np.array(np.broadcast_to(_typed(f.default, f.type), (n, *(f.type.shape or ()))))
        for k, f in graph.fields.items()
    }


def _typed(value: Any, type: Type) -> Array:
    return np.asarray(value, DTYPE[type.kind] if type.is_array else SCALAR_DTYPE[type.kind])


def step_batch(
    graph: Graph, vectors: Array, memory: Mapping[str, Array], fallback: Action = 0, action: Array | None = None
) -> BatchResult:
    """One step of N environments. `vectors` float32[N, size]; `memory` as from `start_batch`; `action` for a rule."""
    with np.errstate(all="ignore"):
        run = _Run(graph, vectors, memory, action)
        results = run.block(graph.body)
    head = 2 if graph.has_reason else 1
    faults = run.ops.fault
    actions: Array = results[0].astype(np.float32 if graph.action.is_array else np.int64)
    if graph.action.is_array:
        faults = faults | np.isnan(actions).any(1)
    else:
        faults = faults | (actions < 0) | (actions >= graph.n_actions)
    reasons = np.broadcast_to(results[1], (run.n,)).astype(np.int64) if head == 2 else np.full(run.n, -1)
    kept = {}
    for (name, field), new in zip(graph.fields.items(), results[head:], strict=True):
        kept[name] = np.where(_mask(faults, field.type), memory[name], new)
    actions = np.where(_mask(faults, graph.action), np.asarray(fallback, actions.dtype), actions)
    return BatchResult(actions, np.where(faults, -1, reasons), kept, faults)


def _mask(flags: Array, type: Type) -> Array:
    """bool[N] as it chooses between batches of a type."""
    return flags.reshape(len(flags), *(1,) * len(type.shape or ()))


class _Run:
    """One step. `active`: the environments whose path this is."""

    def __init__(self, graph: Graph, vectors: Array, memory: Mapping[str, Array], action: Array | None) -> None:
        self.n = len(vectors)
        self.values: dict[Value, Array] = {}
        if graph.params and action is not None:
            self.values[graph.params[0]] = _typed(action, graph.params[0].type)
        self.ops = BatchOps(self.n, vectors, memory, self.get)

    def get(self, value: Value) -> Any:
        """A batch [N, ...], or an unbatched constant."""
        return self.values[value] if value.const is None else value.const

    def whole(self, value: Value) -> Array:
        """A value as a batch, constants repeated."""
        if value.const is None:
            return self.values[value]
        return np.broadcast_to(_typed(value.const, value.type), (self.n, *(value.type.shape or ())))

    def loose(self, value: Value) -> Array:
        """A value as a batch, a constant as it is: numpy repeats it where it meets a batch."""
        if value.const is None:
            return self.values[value]
        return value.const if value.type.is_array else SCALAR[value.type.kind](value.const)

    def block(self, block: Block) -> list[Array]:
        """Run the ops; the results as batches."""
        self.ops_of(block)
        return [self.whole(r) for r in block.results]

    def ops_of(self, block: Block) -> None:
        for op in block.ops:
            if op.name == "if":
                self.branch(op)
            elif op.name == "for":
                self.loop(op)
            else:
                self.values[op.results[0]] = self.ops.run(op)

    @contextmanager
    def only(self, mask: Array) -> Iterator[None]:
        """Inside, only the faults of these environments count."""
        outer, self.ops.active = self.ops.active, mask
        try:
            yield
        finally:
            self.ops.active = outer

    def choose(self, mask: Array, a: Array, b: Array, rank: int) -> Array:
        return np.where(mask.reshape(self.n, *(1,) * rank) if rank else mask, a, b)

    def branch(self, op: Op) -> None:
        condition, active = self.get(op.args[0]), self.ops.active
        masks = (active & condition, active & ~condition)
        taken = [i for i in (0, 1) if masks[i].any()]
        for i in taken:
            with self.only(masks[i]):
                self.ops_of(op.blocks[i])
        if len(taken) < 2:  # where nobody is active at all, any values do
            found = [self.whole(r) if taken else self.nothing(r) for r in op.blocks[(taken or [0])[0]].results]
        else:
            pairs = zip(op.results, op.blocks[0].results, op.blocks[1].results, strict=True)
            found = [self.choose(condition, self.loose(a), self.loose(b), len(r.type.shape or ())) for r, a, b in pairs]
        self.values.update(zip(op.results, found, strict=True))

    def nothing(self, value: Value) -> Array:
        """Zeros in place of a value that no environment needs."""
        kind = DTYPE[value.type.kind] if value.type.is_array else SCALAR_DTYPE[value.type.kind]
        return np.zeros((self.n, *(value.type.shape or ())), kind)

    def loop(self, op: Op) -> None:
        body = op.blocks[0]
        index, *params = body.params
        carried = [self.whole(a) for a in op.args]
        ranks = [len(p.type.shape or ()) for p in params]
        going = self.ops.active
        for i in range(op.attrs["start"], op.attrs["stop"], op.attrs["step"]):
            if not going.any():
                break
            self.values[index] = np.full(self.n, i, np.int64)
            self.values.update(zip(params, carried, strict=True))
            with self.only(going):
                stop, *ends = self.block(body)
            carried = [self.choose(going, *pair) for pair in zip(ends, carried, ranks, strict=True)]
            going = going & ~stop
        self.values.update(zip(op.results, carried, strict=True))
