"""Ranges that hold whatever happened before in a step, and what memory can hold at all.

The frontend's ranges (`Value.lo`, `Value.hi`) hold where no op before was a fault. A back end that finds out at the end
of a step whether there was one, and lets garbage flow on until then, needs ranges that garbage keeps too: here an op's
result is bounded by its operands alone. What memory holds between steps comes from steps without a fault: from its
defaults and all that a step can make of them, again and again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from logic.language import ir as ranges
from logic.language.ir import INT, INT_LIMIT, UNKNOWN, Block, Bounds, Graph, Op, Type, Value

LARGE = 1e300  # a float that grows without end is bounded by it: adding to it leaves it as it is
EXACT: Bounds = (-INT_LIMIT, INT_LIMIT)  # whatever is beyond it is a fault
_ROOM = 2**62  # ints beyond it may have wrapped
_PATIENCE = 3  # turns after which a range that still grows is given up


class Solid:
    """`found`: solid bounds of every value of a graph whose memory lies within `memory`, by field."""

    def __init__(self, graph: Graph, memory: Mapping[str, Bounds]) -> None:
        self.found: dict[Value, Bounds] = {}
        self._memory = memory
        self._block(graph.body)

    def of(self, value: Value) -> Bounds:
        """Bounds of one value."""
        return ranges.bounds(value) if value.const is not None else self.found.get(value, UNKNOWN)

    def _block(self, block: Block) -> None:
        for op in block.ops:
            if op.name == "if":
                for side in op.blocks:
                    self._block(side)
                for result, *sides in zip(op.results, *(side.results for side in op.blocks), strict=True):
                    self.found[result] = joined(*map(self.of, sides))
            elif op.name == "for":
                self._loop(op)
            elif op.name == "memory":
                self.found[op.result] = self._memory.get(op.attrs["field"], UNKNOWN)
            else:
                self.found[op.result] = of_op(op, [self.of(a) for a in op.args])

    def _loop(self, op: Op) -> None:
        body, steps = op.blocks[0], range(op.attrs["start"], op.attrs["stop"], op.attrs["step"])
        held = [self.of(a) for a in op.args]
        self.found[body.params[0]] = (min(steps), max(steps)) if steps else UNKNOWN
        for turn in range(2 * _PATIENCE + 1):
            self.found.update(zip(body.params[1:], held, strict=True))
            self._block(body)
            ends = [joined(h, self.of(r)) for h, r in zip(held, body.results[1:], strict=True)]
            if ends == held:
                break
            if turn < _PATIENCE:
                held = ends
            elif turn < 2 * _PATIENCE - 1:
                held = [h if h == e else UNKNOWN for h, e in zip(held, ends, strict=True)]
            else:
                held = [UNKNOWN] * len(held)
        self.found.update(zip(op.results, held, strict=True))


def joined(a: Bounds, b: Bounds) -> Bounds:
    """Bounds of what is one of two."""
    return UNKNOWN if None in (*a, *b) else (min(a[0], b[0]), max(a[1], b[1]))


def of_op(op: Op, args: Sequence[Bounds]) -> Bounds:
    """Solid bounds of the result of an op without blocks, from those of its operands."""
    value = op.result
    if op.name == "bound":  # promises nothing here: it is checked later
        return args[0]
    if op.name in ("to_int", "floor", "ceil", "round"):
        return value.lo, value.hi  # back ends keep them
    shadows = [Value(a.type, None, a.const, *held) for a, held in zip(op.args, args, strict=True)]
    lo, hi = ranges.of_result(op.name, shadows, value.type.kind, value.type.is_array)
    wraps = value.type.kind == "int" and None not in (lo, hi) and not -_ROOM <= lo <= hi <= _ROOM
    return UNKNOWN if wraps else (lo, hi)


def invariants(graphs: Sequence[Graph]) -> dict[str, Bounds]:
    """Bounds of every field that graphs of one memory can leave there, from its defaults on, but for UNKNOWN ones."""
    fields = graphs[0].fields if graphs else {}
    held = {
        name: ranges.bounds(Value(f.type, None, f.default))
        for name, f in fields.items()
        if f.type.kind in ("int", "float")
    }
    grown = dict.fromkeys(held, 0)
    while True:
        ends: dict[str, Bounds] = dict(held)
        for graph in graphs:
            solid = Solid(graph, held)
            head = 2 if graph.has_reason else 1
            for name, result in zip(graph.fields, graph.body.results[head:], strict=True):
                if name in ends:
                    left = _narrowed(solid.of(result), ranges.bounds(result))
                    ends[name] = joined(ends[name], _narrowed(left, EXACT) if fields[name].type == INT else left)
        if ends == held:
            return {name: found for name, found in held.items() if found != UNKNOWN}
        for name, end in ends.items():
            if end != held[name]:
                grown[name] += 1
                held[name] = end if grown[name] <= _PATIENCE else _widened(held[name], end, fields[name].type)


def _narrowed(a: Bounds, b: Bounds) -> Bounds:
    """What both bounds say: a step without a fault kept the frontend's too."""
    if a == UNKNOWN or b == UNKNOWN:
        return b if a == UNKNOWN else a
    return max(a[0], b[0]), min(a[1], b[1])


def _widened(old: Bounds, new: Bounds, kind: Type) -> Bounds:
    """Bounds that will not grow again."""
    if new == UNKNOWN or kind.is_array:
        return UNKNOWN
    most = LARGE if kind.kind == "float" else INT_LIMIT
    if not -most <= new[0] <= new[1] <= most:
        return UNKNOWN
    return (old[0] if new[0] == old[0] else -most), (old[1] if new[1] == old[1] else most)
