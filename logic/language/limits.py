"""Budgets of a compilation: every way a text can grow has a limit, and reaching it is a diagnostic.

Knows: the limits and a meter that counts against them. Does not know: what is counted.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

SOURCE_CHARS = 200_000
NESTING = 60  # levels of the syntax tree
AST_NODES = 30_000
INT_DIGITS = 20
OPERANDS = 80  # of one `and`, `or` or chain of comparisons
LOOPS = 8  # one inside the other


@dataclass(frozen=True)
class Limits:
    """Counts are deterministic; `seconds` is only a backstop."""

    nodes: int = 12_000  # ops emitted, abandoned attempts included
    calls: int = 4_000  # inlined calls outside tables
    depth: int = 24  # helpers calling helpers
    nested: int = 150  # conditions one inside the other, where `if ...: return` holds all that follows
    unrolled: int = 2_000  # iterations of loops that had to be unrolled outside tables
    table_ns: float = 7.0e8  # estimated cost of all compile-time evaluation
    table_elements: int = 600_000_000  # made by it, one after the other
    array_elements: int = 4_000_000  # any one array
    table_bytes: int = 48_000_000  # all constants a policy ends up holding
    live_bytes: int = 8_000_000  # arrays of one step, all together
    step_ns: float = 2.0e7  # estimated worst cost of one decision
    seconds: float = 10.0


class OverBudget(Exception):
    """A budget is spent; the text says which and, after a semicolon, what to do. `file` and `line`, where known, say
    where it was; else it was where the compiler is looking."""

    def __init__(self, text: str, file: str = "", line: int = 0) -> None:
        super().__init__(text)
        self.file, self.line = file, line


class Meter:
    """Counts against Limits; raises OverBudget."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.nodes = self.calls = self.unrolled = self.elements = self.held = 0
        self.ns = 0.0
        self.until = time.thread_time() + limits.seconds

    def node(self) -> None:
        """One op emitted."""
        self.nodes += 1
        if self.nodes > self.limits.nodes:
            what = f"the program has more than {self.limits.nodes} operations after inlining"
            raise OverBudget(f"{what}; loop or call less, or compute tables")
        if self.nodes % 256 == 0:
            self.tick()

    def call(self) -> None:
        """One helper inlined outside a table."""
        self.calls += 1
        if self.calls > self.limits.calls:
            raise OverBudget(f"more than {self.limits.calls} helper calls after inlining; call helpers fewer times")

    def iteration(self) -> None:
        """One iteration unrolled outside a table."""
        self.unrolled += 1
        if self.unrolled > self.limits.unrolled:
            raise OverBudget(f"more than {self.limits.unrolled} unrolled iterations; compute a table at module level")

    def spend(self, ns: float) -> None:
        """Compile-time evaluation that is about to cost `ns`."""
        self.ns += ns
        if self.ns > self.limits.table_ns:
            raise OverBudget("the constants and tables take too long to compute; make them smaller")

    def array(self, elements: int) -> None:
        """An array of so many elements is about to be made at compile time."""
        if elements > self.limits.array_elements:
            raise OverBudget(f"an array of {elements} elements; at most {self.limits.array_elements}")

    def make(self, elements: int) -> None:
        """Array elements that are about to be made at compile time; they may all have to be kept."""
        self.elements += elements
        if self.elements > self.limits.table_elements:
            raise OverBudget(f"more than {self.limits.table_elements} elements in constants; make tables smaller")

    def hold(self, size: int) -> None:
        """Bytes that a module constant or a default of Memory keeps."""
        self.held += size
        if self.held > self.limits.table_bytes:
            raise OverBudget(f"constants of more than {self.limits.table_bytes} bytes; make tables smaller")

    def tick(self) -> None:
        """The backstop."""
        if time.thread_time() > self.until:
            raise OverBudget(f"compilation took longer than {self.limits.seconds:g} s; make the text simpler")
