"""Runs a block of IR, op by op, paying for every op before it runs: how tables with loops are computed.

Knows: the reference meaning of every op (ops.SPECS) and of `if` and `for`. Does not know: code generation.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from logic.compiler import ops
from logic.compiler.ir import Block, Op, Value
from logic.compiler.limits import Meter


class IrFault(Exception):
    """An op faulted; `op` says where."""

    def __init__(self, op: Op, cause: Exception) -> None:
        super().__init__(str(cause))
        self.op = op


class Interpreter:
    """Holds the values of one run. `given` are values from outside: inputs and parameters."""

    def __init__(self, meter: Meter, given: dict[Value, Any] | None = None) -> None:
        self.meter = meter
        self.values: dict[Value, Any] = dict(given or {})
        self.costs: dict[Op, float] = {}  # types are fixed, so each op's cost is worked out once
        self.rounds: list[int] = []  # of the loops that are running, outermost first

    def get(self, value: Value) -> Any:
        """What a value is now."""
        return self.values[value] if value.const is None else value.const

    def run(self, block: Block) -> list[Any]:
        """The block's results."""
        values = self.values
        for op in block.ops:
            if op.name == "if":
                found = self.run(op.blocks[0 if self.get(op.args[0]) else 1])
                values.update(zip(op.results, found, strict=True))
            elif op.name == "for":
                self.loop(op)
            elif op.name in ops.INPUTS:
                self.load(op)
            elif op.name == ops.PROBE:
                self.probed(op)
            else:
                if op not in self.costs:
                    self.costs[op] = ops.cost(op) + 2500.0
                self.meter.spend(self.costs[op])
                values[op.results[0]] = self.pure(op)
        return [self.get(r) for r in block.results]

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

    def pure(self, op: Op) -> Any:
        """One pure op, in the language's types."""
        try:
            value = ops.SPECS[op.name].run(op.attrs, *[self.get(a) for a in op.args])
        except Exception as e:  # whatever it is, it happened at this op
            raise IrFault(op, e) from None
        if op.results[0].type.shape is not None:
            wanted = ops.DTYPE[op.results[0].type.kind]
            return np.asarray(value) if getattr(value, "dtype", None) == wanted else np.asarray(value).astype(wanted)
        return value
