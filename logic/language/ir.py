"""The intermediate form: typed, structured SSA that every back end reads.

Knows: types, values, operations, blocks, graphs and how to print them. Does not know: Python syntax, numpy code.

A Graph is one function: `act` or a safety rule. Its body is a Block; a Block is a list of Ops and the values it
hands on. There are no jumps: `if` owns two blocks, `for` owns one, and whatever a branch or an iteration changes
stands in the block's `results` and in the op's `results`, pairwise. So a back end may emit real control flow,
or run every block and choose by `Where`; docs/ir.md lists every op with its meaning, types and faults.

Scalars are float64, int64 (kept within +-2**53) and bool; `reason` is an index into Graph.reasons. Arrays are
float32, int32 or bool of fixed shape. A scalar operand of an array op is first rounded to the array's type.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

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
