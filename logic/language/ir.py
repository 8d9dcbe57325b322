"""The intermediate form: typed, structured SSA that every back end reads, and the proven ranges of its values."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

# ----------------------------------------------------------------------------------------------------
# The intermediate form: typed, structured SSA that every back end reads.
#
# Python syntax, numpy code.
#
# A Graph is one function: `act` or a safety rule. Its body is a Block; a Block is a list of Ops and the values it
# hands on. There are no jumps: `if` owns two blocks, `for` owns one, and whatever a branch or an iteration changes
# stands in the block's `results` and in the op's `results`, pairwise. So a back end may emit real control flow, or
# run every block and choose by `Where`; docs/ir.md lists every op with its meaning, types and faults.


IR_FORMAT = 1
INT_LIMIT = 2**53  # scalar ints beyond it are a fault: exact in float64, int64 and JavaScript alike


class Type(NamedTuple):
    """`kind` is bool, int, float or reason; `shape` None for a scalar, else the fixed shape of an array."""

    kind: str
    shape: tuple[int, ...] | None = None

    @property
    def is_array(self) -> bool:
        """Arrays hold float32, int32 or bool; scalars float64, int64 or bool."""
        return self.shape is not None

    @property
    def size(self) -> int:
        """Number of elements; 1 for a scalar."""
        n = 1
        for side in self.shape or ():
            n *= side
        return n

    def __str__(self) -> str:
        if self.shape is None:
            return "string" if self.kind == "reason" else self.kind
        return f"{self.kind.capitalize()}[{', '.join(map(str, self.shape))}]"


BOOL, INT, FLOAT, REASON = Type("bool"), Type("int"), Type("float"), Type("reason")


class Value:
    """One value. `const` is a Python scalar or a read-only array when known at compile time, else None.

    `lo`, `hi` bound every element that is not NaN (None: unknown). `op` made it, unless it is a constant or a
    block parameter. Values are compared by identity.
    """

    __slots__ = ("type", "op", "const", "lo", "hi")

    def __init__(self, type: Type, op: Op | None = None, const: Any = None, lo: Any = None, hi: Any = None) -> None:
        self.type, self.op, self.const, self.lo, self.hi = type, op, const, lo, hi


@dataclass(eq=False)
class Op:
    """One operation: name, operands, compile-time attributes, results, owned blocks, line it stands for."""

    name: str
    args: list[Value]
    attrs: dict[str, Any] = field(default_factory=dict)
    results: list[Value] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    line: int = 0
    file: str = ""

    @property
    def result(self) -> Value:
        """The single result of an op that is not `if` or `for`."""
        return self.results[0]


@dataclass(eq=False)
class Block:
    """Straight-line ops. `params`: for a loop body the index, then the carried values. `results`: what it hands on.

    The results of a loop body are `stop` (bool: leave after this iteration), then the carried values.
    """

    ops: list[Op] = field(default_factory=list)
    params: list[Value] = field(default_factory=list)
    results: list[Value] = field(default_factory=list)


@dataclass(frozen=True)
class Field:
    """One field of Memory: type and default (Python scalar or read-only array). `modes`: what the numbers 0, 1, 2 ...
    of a field declared `str` are called in the text."""

    type: Type
    default: Any
    modes: tuple[str, ...] = ()


@dataclass(eq=False)
class Graph:
    """One compiled function.

    Results of `body`: action, reason (policies only), then every memory field in the order of `fields`; a field
    that a path does not change is handed on as the very `memory` op that loaded it. `params`: [] for a policy,
    [action] for a rule. On a fault none of the results counts: the action is the task's fallback, memory stays.
    An action is an int below `n_actions`; where that is 0, a float array without NaN.
    """

    name: str
    body: Block
    fields: Mapping[str, Field]
    reasons: list[str]
    n_actions: int
    params: list[Value] = field(default_factory=list)

    @property
    def has_reason(self) -> bool:
        """Policies answer (action, reason), rules an action."""
        return not self.params

    @property
    def action(self) -> Type:
        """Type of the action."""
        return self.body.results[0].type


def walk(block: Block) -> Iterator[Op]:
    """Every op of a block and of the blocks inside it, each before the ops it owns."""
    for op in block.ops:
        yield op
        for inner in op.blocks:
            yield from walk(inner)


def show(graph: Graph) -> str:
    """The graph as text, for people and golden tests."""
    printer = _Printer()
    lines = [f"graph {graph.name}({', '.join(printer.name(p) for p in graph.params)})"]
    printer.block(graph.body, "  ", lines)
    return "\n".join(lines)


class _Printer:
    def __init__(self) -> None:
        self.names: dict[Value, str] = {}

    def name(self, value: Value) -> str:
        if value.const is not None:
            return f"{value.type}:const" if value.type.is_array else repr(value.const)
        return self.names.setdefault(value, f"%{len(self.names)}")

    def block(self, block: Block, pad: str, lines: list[str]) -> None:
        for op in block.ops:
            left = ", ".join(f"{self.name(r)}: {r.type}" for r in op.results)
            attrs = "".join(f" {k}={v}" for k, v in op.attrs.items())
            lines.append(f"{pad}{left} = {op.name}({', '.join(map(self.name, op.args))}){attrs}")
            for inner in op.blocks:
                lines.append(f"{pad}  [{', '.join(map(self.name, inner.params))}]")
                self.block(inner, pad + "    ", lines)
        lines.append(f"{pad}-> {', '.join(map(self.name, block.results))}")


# ----------------------------------------------------------------------------------------------------
# Proven ranges of values: what elides index checks and integer checks.


Bounds = tuple[Any, Any]
UNKNOWN: Bounds = (None, None)
_INT32 = 2**31 - 1
_EXACT = 2**20  # float32 bounds are trusted up to here


def bounds(value: Value) -> Bounds:
    """(lo, hi) of a value; constant arrays are measured once, on demand."""
    const = value.const
    if const is None or value.type.kind == "reason":
        return value.lo, value.hi
    if isinstance(const, np.ndarray):
        if value.lo is None and const.size and const.dtype != bool:
            value.lo, value.hi = _measure(const)
        return value.lo, value.hi
    return (None, None) if const != const else (const, const)


def _measure(a: np.ndarray) -> Bounds:
    lo, hi = a.min().item(), a.max().item()
    return (None, None) if lo != lo else (lo, hi)


def within(value: Value, low: float, high: float) -> bool:
    """Is every element (NaN aside) proven to lie in [low, high]?"""
    lo, hi = bounds(value)
    return lo is not None and hi is not None and low <= lo and hi <= high


def surely_action(graph: Graph) -> bool:
    """Is what the graph answers proven to be an action? A rule is given one."""
    found = graph.body.results[0]
    if not found.type.is_array:
        return within(found, 0, graph.n_actions - 1)
    return found.const is not None or found in graph.params


def _corners(f: Callable[[Any, Any], Any]) -> Callable[[list[Bounds]], Bounds]:
    def rule(args: list[Bounds]) -> Bounds:
        (a, b), (c, d) = args
        if None in (a, b, c, d):
            return UNKNOWN
        points = [f(x, y) for x in (a, b) for y in (c, d)]
        return (None, None) if any(p != p for p in points) else (min(points), max(points))

    return rule


def _pick(best: Callable[..., Any], lo_any: bool, hi_any: bool) -> Callable[[list[Bounds]], Bounds]:
    def side(values: Sequence[Any], enough: bool) -> Any:
        known = [v for v in values if v is not None]
        return best(known) if known and (enough or len(known) == len(values)) else None

    return lambda args: (side([a for a, _ in args], lo_any), side([b for _, b in args], hi_any))


def _abs(args: list[Bounds]) -> Bounds:
    lo, hi = args[0]
    if lo is None or hi is None:
        return UNKNOWN
    return (0 if lo <= 0 <= hi else min(abs(lo), abs(hi))), max(abs(lo), abs(hi))


def _clip(args: list[Bounds]) -> Bounds:
    (v0, v1), (lo, _), (_, hi) = args
    if lo is None or hi is None or lo > hi:
        return UNKNOWN
    return (lo if v0 is None else max(min(v0, hi), lo)), (hi if v1 is None else min(max(v1, lo), hi))


def _floordiv(args: list[Bounds]) -> Bounds:
    (a, b), (c, d) = args
    if c is None or c <= 0 or None in (a, b):
        return UNKNOWN
    far = -1 if d is None else b // d  # a divisor without an upper bound brings everything to 0 or -1
    near = 0 if d is None else a // d
    return (near if a >= 0 else a // c), (b // c if b >= 0 else far)


def _mod(args: list[Bounds]) -> Bounds:
    (_, _), (c, d) = args
    if c is None or c <= 0:
        return UNKNOWN
    return (0, d - 1) if isinstance(d, int) else (0, d)


def _union(args: list[Bounds]) -> Bounds:
    if any(a is None or b is None for a, b in args):
        return UNKNOWN
    return min(a for a, _ in args), max(b for _, b in args)


def _rounded(down: Callable[[Any], int], up: Callable[[Any], int]) -> Callable[[list[Bounds]], Bounds]:
    def rule(args: list[Bounds]) -> Bounds:
        lo, hi = args[0]
        if lo is None or hi is None or math.isinf(lo) or math.isinf(hi):
            return UNKNOWN
        return down(lo), up(hi)

    return rule


def _first(args: list[Bounds]) -> Bounds:
    return args[0]


_RULES: dict[str, Callable[[list[Bounds]], Bounds]] = {
    "add": _corners(lambda a, b: a + b), "sub": _corners(lambda a, b: a - b), "mul": _corners(lambda a, b: a * b),
    "neg": lambda args: (None if args[0][1] is None else -args[0][1], None if args[0][0] is None else -args[0][0]),
    "abs": _abs, "clip": _clip, "floordiv": _floordiv, "mod": _mod, "sign": lambda args: (-1, 1),
    "min": _pick(min, False, True), "minimum": _pick(min, False, True),
    "max": _pick(max, True, False), "maximum": _pick(max, True, False),
    "to_int": _rounded(math.floor, math.ceil), "floor": _rounded(math.floor, math.floor),
    "ceil": _rounded(math.ceil, math.ceil), "round": _rounded(round, round),
    "floor_of": _rounded(math.floor, math.floor),
    "to_float": _first, "element": _first, "pick": _first, "slice": _first, "reshape": _first, "gather": _first,
    "full": _first, "bound": _first, "max_over": _first, "min_over": _first, "largest": _first, "smallest": _first,
    "where": lambda args: _union(args[1:]), "concat": _union, "stack": _union,
    "shift_push": _union, "put": lambda args: _union([args[0], args[2]]),
}  # fmt: skip


def of_result(name: str, args: Sequence[Value], kind: str, is_array: bool) -> Bounds:
    """Bounds of an op's result."""
    if kind not in ("int", "float"):
        return UNKNOWN
    if name in ("argmax", "argmin", "count", "top_k"):
        return 0, args[0].type.size - (name != "count")
    if name == "argmax_over":
        return 0, max(args[0].type.shape or (1,)) - 1
    rule = _RULES.get(name)
    if rule is None:
        return UNKNOWN
    found = rule([_of_operand(a) for a in args])
    return _trusted(found, kind) if is_array else found


def _of_operand(value: Value) -> Bounds:
    """Bounds of an operand; an element of an int array is one of 32 bits."""
    if value.type.kind == "bool":
        return 0, 1
    found = bounds(value)
    return (-_INT32 - 1, _INT32) if found == UNKNOWN and value.type.is_array and value.type.kind == "int" else found


def _trusted(found: Bounds, kind: str) -> Bounds:
    lo, hi = found
    limit = _INT32 if kind == "int" else _EXACT  # int32 wraps; float32 rounds
    if lo is not None and hi is not None and -limit <= lo and hi <= limit:
        return lo, hi
    return UNKNOWN
