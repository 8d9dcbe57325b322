"""Blocks of the intermediate form as ONNX: which op makes which nodes, `if` as a choice or an If, `for` as a Loop.

Knows: scopes, predicates, what subgraphs hand out. Does not know: single ops (onnx_scalars, onnx_arrays, onnx_moves,
onnx_sums).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from logic.language import ops
from logic.language.core import FOLDING_FAULTS
from logic.language.ir import BOOL, Block, Graph, Op, Value
from logic.language.onnx_arrays import ArrayOps
from logic.language.onnx_core import Emitter
from logic.language.onnx_faults import Checks
from logic.language.onnx_moves import MoveOps
from logic.language.onnx_nodes import Nodes, close, dtype_of, form_of
from logic.language.onnx_plan import Costs, Plan
from logic.language.onnx_scalars import ScalarOps
from logic.language.onnx_sums import SumOps

DEEPEST = 16  # graphs inside graphs, loops aside: protocol buffers are read to a depth of 100, a graph takes three


class Flow:
    """Emits one graph; afterwards `emitter.checks` holds the rules that decide whether the step was a fault."""

    def __init__(self, graph: Graph, nodes: Nodes, scene: str, memory: Mapping[str, str], action: str | None) -> None:
        self.emitter = e = Emitter(nodes, scene, memory)
        self.scalars, self.arrays, self.moves, self.sums = ScalarOps(e), ArrayOps(e), MoveOps(e), SumOps(e)
        self.plan, self.costs = Plan(graph), Costs()
        self.scopes: dict[Block, tuple[Nodes, Checks]] = {}
        self.waiting: dict[Value, Op] = {}
        self.depth = 0  # graphs around the one that is open
        e.demand = self.demand
        if action is not None:
            e.values[graph.params[0]] = action
        e.look(graph)

    # --- ops -------------------------------------------------------------------------------------

    def block(self, block: Block) -> None:
        """Every op of a block, into the scope that is open."""
        self.scopes[block] = self.emitter.n, self.emitter.checks
        for op in block.ops:
            if op in self.plan.home:
                for result in op.results:
                    self.emitter.values.pop(result, None)
                    self.waiting[result] = op
            else:
                self.op(op)

    def demand(self, value: Value) -> str:
        """Emit an op that was put off, in the scope where all its uses can see it."""
        op, e = self.waiting[value], self.emitter
        outer = e.n, e.checks
        e.n, e.checks = self.scopes[self.plan.home[op]]
        self.op(op)
        e.n, e.checks = outer
        return e.values[value]

    def op(self, op: Op) -> None:
        if op.name == "if":
            self.choose(op) if self.depth >= DEEPEST or self.costs.is_choice(op) else self.branch(op)
        elif op.name == "for":
            self.unroll(op) if self.costs.is_unrolled(op) else self.loop(op)
        else:
            self.emitter.values[op.result] = self.single(op)
            self.emitter.note(op)

    def single(self, op: Op) -> str:
        """One op that is not control flow."""
        folded = self.folded(op)
        if folded is not None:
            return folded
        if hasattr(self.sums, "op_" + op.name):
            made = self.sums.run(op)
        elif hasattr(self.moves, "op_" + op.name):
            made = self.moves.run(op)
        elif any(v.type.is_array for v in (*op.args, *op.results)):
            made = self.arrays.run(op)
        else:
            made = self.scalars.run(op)
        if op.result.type.shape == () and any(not a.type.is_array for a in op.args):
            made = self.emitter.n.op("Reshape", made, self.emitter.n.ints())
        return made

    def folded(self, op: Op) -> str | None:
        """A scalar whose operands an unrolled loop has made known. onnxruntime would fold it too, but take x + 0.0 for
        x then."""
        known = [self.emitter.literal(a) for a in op.args]
        if not known or op.result.type.is_array or any(k is None for k in known) or op.name in ops.INPUTS:
            return None
        try:
            with np.errstate(all="ignore"):
                value = ops.SPECS[op.name].run(op.attrs, *known)
        except FOLDING_FAULTS:
            return None  # a fault if this path is taken: left to the rules
        return self.emitter.n.const([value], dtype_of(op.result.type))

    # --- if --------------------------------------------------------------------------------------

    def choose(self, op: Op) -> None:
        """Both sides, then a choice of each result."""
        e = self.emitter
        condition = e.get(op.args[0])
        checks = e.checks
        outer = checks.predicate
        for block, truth in zip(op.blocks, (True, False), strict=True):
            if self.costs.can_fault(block):
                side = condition if truth else e.n.op("Not", condition)
                checks.predicate = side if outer is None else e.n.op("And", outer, side)
            self.block(block)
            checks.predicate = outer
        for result, a, b in zip(op.results, *(block.results for block in op.blocks), strict=True):
            e.values[result] = self.chosen(condition, a, b)

    def chosen(self, condition: str, a: Value, b: Value) -> str:
        n, e = self.emitter.n, self.emitter
        if e.get(a) == e.get(b):
            return e.get(a)
        if a.type.kind != "bool":
            return e.select(condition, e.get(a), e.get(b), a.type.is_array)
        if a.type.is_array or (a.const is None and b.const is None):
            return n.op("Or", n.op("And", condition, e.get(a)), n.op("And", n.op("Not", condition), e.get(b)))
        if a.const is True:
            return condition if b.const is False else n.op("Or", condition, e.get(b))
        if b.const is False:
            return n.op("And", condition, e.get(a))
        other = n.op("Not", condition)
        return other if a.const is False and b.const is True else (
            n.op("Or", other, e.get(a)) if b.const is True else n.op("And", other, e.get(b)))  # fmt: skip

    def branch(self, op: Op) -> None:
        """A real If; whether its rules held is one more output."""
        e = self.emitter
        condition = e.get(op.args[0])
        scopes, outs, holds = [], [], []
        for block in op.blocks:
            outer = self.open()
            self.block(block)
            outs.append([e.get(r) for r in block.results])
            holds.append(e.checks.holds())
            scopes.append(e.n)
            self.leave(outer)
        forms = [form_of(r.type) for r in op.results]
        if any(h is not None for h in holds):
            forms.append(form_of(BOOL))
            for out, held in zip(outs, holds, strict=True):
                out.append(held if held is not None else e.n.const([True]))
        if not forms:
            return
        sides = [close(n, out, forms) for n, out in zip(scopes, outs, strict=True)]
        made = e.n.ops("If", condition, outputs=len(forms), then_branch=sides[0], else_branch=sides[1])
        e.values.update(zip(op.results, made, strict=False))
        if len(made) > len(op.results):
            e.checks.require(made[-1])

    def open(self) -> tuple[Nodes, Checks]:
        """Open a subgraph; gives what to go back to."""
        e = self.emitter
        outer = e.n, e.checks
        e.n = outer[0].inner()
        e.checks = Checks(e.n)
        self.depth += 1
        return outer

    def leave(self, outer: tuple[Nodes, Checks]) -> None:
        """Close the subgraph that is open."""
        self.emitter.n, self.emitter.checks = outer
        self.depth -= 1

    # --- for -------------------------------------------------------------------------------------

    def unroll(self, op: Op) -> None:
        """The body once for each iteration, with the index as a constant."""
        e, body = self.emitter, op.blocks[0]
        index, *params = body.params
        carried = [e.get(a) for a in op.args]
        for i in range(op.attrs["start"], op.attrs["stop"], op.attrs["step"]):
            e.values[index], e.solid[index] = e.n.const([i], np.int64), (i, i)
            e.values.update(zip(params, carried, strict=True))
            self.block(body)
            carried = [e.get(r) for r in body.results[1:]]
        e.values.update(zip(op.results, carried, strict=True))

    def loop(self, op: Op) -> None:
        """A real Loop; whether its rules have held so far is carried along."""
        e, body = self.emitter, op.blocks[0]
        start, stop, step = (op.attrs[k] for k in ("start", "stop", "step"))
        steps = range(start, stop, step)
        carried = [e.get(a) for a in op.args]
        forms = [form_of(a.type) for a in op.args]
        outer = self.open()
        n, names = e.n, [e.n.fresh(k) for k in ("turn", "going", *["carried"] * len(forms))]
        self.number_turns(op, names[0])
        e.solid[body.params[0]] = min(steps), max(steps)
        e.values.update(zip(body.params[1:], names[2:], strict=True))
        self.block(body)
        outs = [e.get(r) for r in body.results[1:]]
        going = n.op("Not", e.get(body.results[0]))
        held = e.checks.holds()
        if held is not None:
            names.append(n.fresh("held"))
            outs.append(n.op("And", names[-1], held))
            forms.append(form_of(BOOL))
        self.leave(outer)
        if held is not None:
            carried.append(e.n.const([True]))
        graph = close(n, [n.op("Reshape", going, n.ints()), *outs], [(np.bool_, ()), *forms], names)
        made = e.n.ops("Loop", e.n.const(len(steps), np.int64), "", *carried, outputs=len(forms), body=graph)
        e.values.update(zip(op.results, made, strict=False))
        if held is not None:
            e.checks.require(made[-1])

    def number_turns(self, op: Op, turn: str) -> None:
        """The index from the number of the iteration, a scalar without axes."""
        n, value = self.emitter.n, turn
        if op.attrs["step"] != 1:
            value = n.op("Mul", value, n.ints(op.attrs["step"]))
        if op.attrs["start"]:
            value = n.op("Add", value, n.ints(op.attrs["start"]))
        if value == turn:
            value = n.op("Reshape", value, n.ints(1))
        self.emitter.values[op.blocks[0].params[0]] = value
