"""Back end 2: one graph over a batch of N scenes and memories at once, in numpy. A batch of N equals N singles.

Knows: masks, predicated faults, how control flow becomes choice. Does not know: single ops (batch_ops.py).
Scalars are arrays [N] (float64, int64, bool), arrays [N, *shape]: the batch is the first axis, so that sums over
one item run in the order in which the single program runs them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from envs.actions import Action
from logic.language.batch_arrays import SCALAR_DTYPE
from logic.language.batch_ops import BatchOps
from logic.language.ir import Block, Graph, Op, Type, Value
from logic.language.ops import DTYPE

Array = np.ndarray
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
