"""Tables: module constants computed by helpers with loops, lowered to IR and run by the interpreter.

Knows: when that pays, how it falls back. Does not know: what the helpers mean. A table whose loops change the
shape of what they carry cannot be lowered as a loop; folding (modules.py) then walks it iteration by iteration.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import replace

from logic.language.bound import Bound, Pack, Record, Scope, State, Wrong
from logic.language.effects import facts, find_function
from logic.language.interpreter import Interpreter, IrFault
from logic.language.ir import Block, Value
from logic.language.limits import Limits, Meter, OverBudget
from logic.language.loops import Lowering

_TRIAL = Limits(nodes=2_000, calls=500, unrolled=150)  # beyond it folding is no slower


class Shortcuts:
    """Helpers with loops of their own that a folded table calls: each call by way of IR, unless that has failed."""

    def __init__(self, low: Lowering) -> None:
        self.low = low
        self.loops: dict[tuple[str, str], bool] = {}

    def failed(self, call: ast.expr, scope: Scope) -> None:
        """A table's own call did not work this way: do not try it again one level down."""
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name):
            target = find_function(call.func.id, scope)
            if target is not None:
                self.loops[target[0].file, target[1].name] = False

    def __call__(
        self, node: ast.Call, scope: Scope, function: ast.FunctionDef, given: dict[str, Bound]
    ) -> Bound | None:
        """The helper's answer, or None."""
        key = (scope.file, function.name)
        if key not in self.loops:
            self.loops[key] = facts(function.body).loops
        if not self.loops[key]:
            return None
        found = tabulate(self.low, lambda: self.low.run_inline(node, scope, function, given), node)
        self.loops[key] = found is not None
        return found


def tabulate(low: Lowering, make: Callable[[], Bound], node: ast.expr) -> Bound | None:
    """The constant that `make` lowers, by way of IR; None when folding must try instead (and report)."""
    block = Block()
    outer = low.tabling, low.state, low.meter, low.builder.block, low.builder.scopes
    trial = Meter(_TRIAL)
    low.tabling, low.state, low.meter, low.builder.meter = False, State(), trial, trial
    low.builder.block, low.builder.scopes = block, [{}]
    try:
        with low.reporter.attempt() as said:
            found: Bound | None = make()
    except (Wrong, OverBudget):
        found = None
    finally:
        low.tabling, low.state, low.meter, low.builder.block, low.builder.scopes = outer
        low.builder.meter = low.meter
    return None if found is None or said else _run(low, block, found, node)


def _run(low: Lowering, block: Block, found: Bound, node: ast.expr) -> Bound:
    machine = Interpreter(low.meter)
    try:
        machine.run(block)
    except IrFault as e:
        where = (e.op.line or node.lineno, 1)
        low.reporter.say(
            e.op.file or low.frame.scope.file,
            where,
            f"this is always a fault: {e}",
            "guard it, or change the constants",
            "table",
        )
        raise Wrong() from None
    return _constants(low, machine, found)


def _constants(low: Lowering, machine: Interpreter, found: Bound) -> Bound:
    if isinstance(found, Pack):
        return Pack(tuple(_constants(low, machine, item) for item in found.items))
    if isinstance(found, Record):
        return replace(found, items=tuple(_constants(low, machine, item) for item in found.items))
    return low.builder.const(machine.get(found)) if isinstance(found, Value) else found
