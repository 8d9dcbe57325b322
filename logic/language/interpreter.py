"""Runs a block of IR, op by op, paying for ops before they run: how tables with loops are computed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from logic.language import ops
from logic.language.diagnostics import Meter
from logic.language.ir import BOOL, Block, Op, Value

_NONE = Value(BOOL)


class IrFault(Exception):
    """An op faulted; `op` says where."""

    def __init__(self, op: Op, cause: Exception) -> None:
        super().__init__(str(cause))
        self.op = op


class Step(NamedTuple):
    """One op, prepared: `f` of so many `args` (-1: `f(op)` does it all), what it makes, its element type if any."""

    arity: int
    f: Callable[..., Any]
    args: tuple[Value, ...]
    out: Value
    wanted: Any
    op: Op


class Interpreter:
    """Holds the values of one run. `given` are values from outside: inputs and parameters."""

    def __init__(self, meter: Meter, given: dict[Value, Any] | None = None) -> None:
        self.meter = meter
        self.values: dict[Value, Any] = dict(given or {})
        self.plans: dict[
            Block, tuple[float, int, list[Step]]
        ] = {}  # types are fixed: cost and functions are found once
        self.rounds: list[int] = []  # of the loops that are running, outermost first

    def get(self, value: Value) -> Any:
        """What a value is now."""
        return self.values[value] if value.const is None else value.const

    def run(self, block: Block) -> list[Any]:
        """The block's results; its pure ops are paid for before the first runs."""
        if block not in self.plans:
            self.plans[block] = self.plan(block)
        cost, made, steps = self.plans[block]
        self.meter.spend(cost)
        self.meter.make(made)
        values = self.values
        for arity, f, args, out, wanted, op in steps:
            if arity < 0:
                f(op)
                continue
            try:
                if arity == 2:
                    value = f(values[args[0]], values[args[1]])
                else:
                    value = f(*[values[a] for a in args])
            except Exception as e:  # whatever it is, it happened at this op
                raise IrFault(op, e) from None
            if wanted is not None and (type(value) is not np.ndarray or value.dtype != wanted):
                value = np.asarray(value).astype(wanted)
            values[out] = value
        return [values[r] if r.const is None else r.const for r in block.results]

    def plan(self, block: Block) -> tuple[float, int, list[Step]]:
        """What the block's pure ops cost and make together, and its ops prepared; constants take place in `values`."""
        special = {"if": self.branch, "for": self.loop, ops.PROBE: self.probed, **dict.fromkeys(ops.INPUTS, self.load)}
        cost, elements, steps = 0.0, 0, []
        for op in block.ops:
            self.values.update((a, a.const) for a in op.args if a.const is not None)
            if op.name in special:
                steps.append(Step(-1, special[op.name], (), _NONE, None, op))
                continue
            size = op.results[0].type.size
            elements += size
            cost += ops.cost(op) + 1500.0 + (6.0 * size if size > ops.LARGE else 0.0)
            spec, made = ops.SPECS[op.name], op.results[0]
            f = spec.plain or partial(spec.run, op.attrs)
            wanted = None if made.type.shape is None else np.dtype(ops.DTYPE[made.type.kind])
            steps.append(Step(len(op.args), f, tuple(op.args), made, wanted, op))
        return cost, elements, steps

    def branch(self, op: Op) -> None:
        found = self.run(op.blocks[0 if self.values[op.args[0]] else 1])
        self.values.update(zip(op.results, found, strict=True))

    def load(self, op: Op) -> None:
        """An input: given from the start, unless a subclass fetches it."""

    def probed(self, op: Op) -> None:
        """Something worth telling was passed; a subclass tells it."""

    def loop(self, op: Op) -> None:
        body = op.blocks[0]
        index, *params = body.params
        carried = [self.get(a) for a in op.args]
        self.rounds.append(0)
        for i in range(op.attrs["start"], op.attrs["stop"], op.attrs["step"]):
            self.meter.spend(3000.0)
            self.rounds[-1] = i
            self.values[index] = i
            self.values.update(zip(params, carried, strict=True))
            stop, *carried = self.run(body)
            if stop:
                break
        self.rounds.pop()
        self.values.update(zip(op.results, carried, strict=True))
