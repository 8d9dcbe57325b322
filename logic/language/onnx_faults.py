"""What must hold in one ONNX graph, gathered while its nodes are made and joined into one flag at its end.

Knows: scalars that must be finite or within 2**53, flags that must be true, the condition under which each counts.
Does not know: ops. Values that broke a rule flow on as garbage: whoever indexes or divides by one must guard it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from logic.language.ir import INT_LIMIT
from logic.language.onnx_nodes import Nodes, onnx_type

_BOOL, _BYTE = onnx_type(np.bool_), onnx_type(np.uint8)
_FEW = 4  # flags up to this many are joined one by one
Flag = tuple[str, int]  # name of a bool vector, its length


class Checks:
    """Rules of one graph. `predicate` (bool[1] or None): the path on which what is added now counts."""

    def __init__(self, nodes: Nodes) -> None:
        self.nodes = nodes
        self.predicate: str | None = None
        self._flags: dict[str | None, dict[str, int]] = {}
        self._ints: dict[str | None, dict[str, None]] = {}
        self._floats: dict[str | None, dict[str, None]] = {}

    def require(self, flag: str, shape: Sequence[int] = (1,)) -> None:
        """Every element of a bool tensor must be true."""
        if len(shape) != 1:
            flag = self.nodes.op("Reshape", flag, self.nodes.ints(-1))
        size = int(np.prod(shape, dtype=int))
        if size:
            self._flags.setdefault(self.predicate, {})[flag] = size

    def exact_int(self, value: str) -> None:
        """An int64[1] must lie within 2**53."""
        self._ints.setdefault(self.predicate, {})[value] = None

    def exact_float(self, value: str) -> None:
        """A float64[1] must be a number within 2**53."""
        self._floats.setdefault(self.predicate, {})[value] = None

    def holds(self) -> str | None:
        """bool[1]: has every rule held? None: there are no rules."""
        found: list[Flag] = []
        for predicate in {**self._flags, **self._ints, **self._floats}:
            flags = list(self._flags.get(predicate, {}).items())
            flags += self._in_range(list(self._ints.get(predicate, {})))
            flags += self._numbers(list(self._floats.get(predicate, {})))
            if predicate is not None:
                flags = [(self.nodes.op("Or", self._all(flags), self.nodes.op("Not", predicate)), 1)]
            found += flags
        return self._all(found) if found else None

    def _in_range(self, values: list[str]) -> list[Flag]:
        """Lowest and highest of all of them at once."""
        n = self.nodes
        if not values:
            return []
        low, high = n.const([-INT_LIMIT], np.int64), n.const([INT_LIMIT], np.int64)
        if len(values) == 1:
            least, most = values[0], values[0]
        else:
            least, most = n.op("Min", *values), n.op("Max", *values)
        return [(n.op("GreaterOrEqual", least, low), 1), (n.op("LessOrEqual", most, high), 1)]

    def _numbers(self, values: list[str]) -> list[Flag]:
        if not values:
            return []
        size = self.nodes.op("Abs", self.nodes.concat(values))
        return [(self.nodes.op("LessOrEqual", size, self.nodes.const([float(INT_LIMIT)], np.float64)), len(values))]

    def _all(self, flags: list[Flag]) -> str:
        """bool[1]: is every element of every vector true?"""
        n = self.nodes
        if len(flags) <= _FEW and all(size == 1 for _, size in flags):
            joined = flags[0][0]
            for flag, _ in flags[1:]:
                joined = n.op("And", joined, flag)
            return joined
        number = n.op("Cast", n.concat([flag for flag, _ in flags]), to=_BYTE)
        return n.op("Cast", n.op("ReduceMin", number, n.ints(0), keepdims=1), to=_BOOL)
