"""Back end 3: a graph of the intermediate form as ONNX nodes, or as a model of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from envs.actions import Action
from logic.language import ops
from logic.language.backends.onnx_ops import (
    ArrayOps,
    Checks,
    Emitter,
    MoveOps,
    Nodes,
    ScalarOps,
    Signature,
    SumOps,
    close,
    dtype_of,
    form_of,
    onnx_type,
)
from logic.language.frontend.text import deep_stack
from logic.language.frontend.values import FOLDING_FAULTS
from logic.language.ir import BOOL, INT, Block, Bounds, Graph, Op, Value, surely_action
from logic.language.layout import MemoryLayout
from logic.language.solid import Solid, joined

# ----------------------------------------------------------------------------------------------------
# Where the ops of a graph are best emitted: later, inside the one branch that needs them; and which `if`s are worth
# a real branch, which loops a real loop.


# Microseconds of onnxruntime, one thread.
NODE, CHOICE, BRANCH, OUTPUT = 0.45, 0.85, 2.0, 0.4
_NODES = {
    "floordiv": 4.0, "mod": 3.0, "pow": 6.0, "sign": 3.0, "min": 2.0, "max": 2.0, "clip": 3.0, "bound": 2.0, "ne": 2.0,
    "floor": 4.0, "ceil": 4.0, "round": 4.0, "to_int": 3.0, "element": 3.0, "div": 3.0, "memory": 0.0, "thing": 0.0,
    "gauge": 0.0, "sqrt": 4.0,
}  # fmt: skip
_UNROLLED = 48.0  # microseconds of a loop's body times iterations


class Plan:
    """`home[op]`: the block in which an op that cannot fault is emitted when first needed; absent: where it stands."""

    def __init__(self, graph: Graph) -> None:
        self.home: dict[Op, Block] = {}
        self._parent: dict[Block, tuple[Op, Block]] = {}
        self._uses: dict[Value, list[Block]] = {}
        self._visit(graph.body)

    def _use(self, values: list[Value], block: Block) -> None:
        for value in values:
            if value.const is None:
                self._uses.setdefault(value, []).append(block)

    def _visit(self, block: Block) -> None:
        """Last op first, so that all uses of a result are known."""
        self._use(block.results, block)
        for op in reversed(block.ops):
            place = self._place(op, block)
            if place is not block:
                self.home[op] = place
            for inner in op.blocks:
                self._parent[inner] = op, place
            for inner in op.blocks:
                self._visit(inner)
            self._use(op.args, place)

    def _place(self, op: Op, block: Block) -> Block:
        if ops.can_fault(op):
            return block
        common: list[Block] | None = None
        for result in op.results:
            for use in self._uses.get(result, []):
                path = self._path(use, block)
                common = path if common is None else [a for a, b in zip(common, path, strict=False) if a is b]
        return common[-1] if common else block

    def _path(self, block: Block, top: Block) -> list[Block]:
        """Blocks from `top` down to `block`, ending before a loop's body."""
        found = [block]
        while block is not top:
            op, block = self._parent[block]
            if op.name == "for":
                found = []
            found.append(block)
        return found[::-1]


class Costs:
    """Which `if`s are worth a branch and which loops a Loop. Remembers: a nest is looked at once, not once a level."""

    def __init__(self) -> None:
        self.spent: dict[Block, float] = {}
        self.plain: dict[Block, bool] = {}
        self.faults: dict[Op, bool] = {}

    def scalar_only(self, block: Block) -> bool:
        """Nothing but scalar ops, and `if`s of nothing but them."""
        if block not in self.plain:
            self.plain[block] = all(
                op.name != "for"
                and not any(v.type.is_array for v in op.results)
                and (op.name == "element" or not any(a.type.is_array for a in op.args))
                and all(self.scalar_only(inner) for inner in op.blocks)
                for op in block.ops
            )
        return self.plain[block]

    def can_fault(self, block: Block) -> bool:
        """May anything in the block fault?"""
        return any(ops.can_fault(op, self.faults) for op in block.ops)

    def estimate(self, block: Block) -> float:
        """Microseconds of a block of scalar ops."""
        if block not in self.spent:
            self.spent[block] = sum(
                min(self.chosen(op), self.branch(op)) if op.name == "if" else NODE * _NODES.get(op.name, 1.0)
                for op in block.ops
            )
        return self.spent[block]

    def chosen(self, op: Op) -> float:
        """An `if` as both sides and a choice of each result."""
        sides = sum(self.estimate(block) for block in op.blocks)
        faults = sum(2 * NODE for block in op.blocks if self.can_fault(block))
        return sides + faults + NODE + sum(map(_choice, op.results, *(block.results for block in op.blocks)))

    def branch(self, op: Op) -> float:
        """An `if` as a branch: the sides are taken to be equally likely."""
        spent = BRANCH + OUTPUT * len(op.results)
        for block in op.blocks:
            own = {r for inner in block.ops for r in inner.results}
            faults = NODE if self.can_fault(block) else 0.0
            spent += (self.estimate(block) + NODE * sum(r not in own for r in block.results) + faults) / 2
        return spent

    def is_choice(self, op: Op) -> bool:
        """Is an `if` cheaper without a branch?"""
        small = all(r.type.size <= 256 for r in op.results)
        return small and all(self.scalar_only(block) for block in op.blocks) and self.chosen(op) <= self.branch(op)

    def is_unrolled(self, op: Op) -> bool:
        """Is a `for` cheaper written out? Only where no iteration can leave early."""
        count = len(range(op.attrs["start"], op.attrs["stop"], op.attrs["step"]))
        body = op.blocks[0]
        if count <= 1:
            return True
        stays = body.results[0].const is False
        return stays and count <= 8 and self.scalar_only(body) and count * self.estimate(body) <= _UNROLLED


def _choice(result: Value, a: Value, b: Value) -> float:
    """Choosing one result."""
    known = (a.const is not None) + (b.const is not None)
    return (2 - known) * NODE if result.type.kind == "bool" else CHOICE if known < 2 else NODE


# ----------------------------------------------------------------------------------------------------
# Blocks of the intermediate form as ONNX: which op makes which nodes, `if` as a choice or an If, `for` as a Loop.


DEEPEST = 16  # graphs inside graphs, loops aside: protocol buffers are read to a depth of 100, a graph takes three


class Flow:
    """Emits one graph; afterwards `emitter.checks` holds the rules that decide whether the step was a fault."""

    def __init__(
        self, graph: Graph, nodes: Nodes, scene: str, memory: Mapping[str, str], action: str | None,
        held: Mapping[str, Bounds],
    ) -> None:  # fmt: skip
        self.emitter = e = Emitter(nodes, scene, memory, Solid(graph, held).found)
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
        if op.name == "if" and (known := self.emitter.literal(op.args[0])) is not None:
            self.taken(op, op.blocks[0 if known else 1])
        elif op.name == "if":
            self.choose(op) if self.depth >= DEEPEST or self.costs.is_choice(op) else self.branch(op)
        elif op.name == "for":
            self.unroll(op) if self.costs.is_unrolled(op) else self.loop(op)
        else:
            self.emitter.values[op.result] = self.single(op)
            self.emitter.note(op)

    def single(self, op: Op) -> str:
        """One op that is not control flow."""
        folded = self.folded(op) or self.uniform(op)
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

    def uniform(self, op: Op) -> str | None:
        """What is taken from a constant array whose elements are all the same; the index may still be wrong."""
        array = op.args[0].const if op.name in ("element", "gather") else None
        if array is None or not array.size or len({x.tobytes() for x in array.reshape(-1)}) > 1:
            return None
        sides = array.shape if op.name == "element" else array.shape[:1]
        for index, side in zip(op.args[1:], sides, strict=True):
            self.emitter.at(index, side, bool(op.attrs.get("safe")))
        shape = op.result.type.shape
        return self.emitter.n.const(np.full((1,) if shape is None else shape, array.flat[0]), dtype_of(op.result.type))

    # --- if --------------------------------------------------------------------------------------

    def taken(self, op: Op, block: Block) -> None:
        """The one side whose condition is known to hold."""
        e = self.emitter
        self.block(block)
        for result, inner in zip(op.results, block.results, strict=True):
            e.values[result], e.solid[result] = e.get(inner), e.sure(inner)

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
            e.solid[result] = joined(e.sure(a), e.sure(b))

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
        if condition in e.n.root.negated:
            condition, sides = e.n.root.negated[condition], sides[::-1]
        made = e.n.ops("If", condition, outputs=len(forms), then_branch=sides[0], else_branch=sides[1])
        e.values.update(zip(op.results, made, strict=False))
        for result, *pair in zip(op.results, *(block.results for block in op.blocks), strict=True):
            e.solid[result] = joined(*map(e.sure, pair))
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
        carried, solid = [e.get(a) for a in op.args], [e.sure(a) for a in op.args]
        for i in range(op.attrs["start"], op.attrs["stop"], op.attrs["step"]):
            e.values[index], e.solid[index] = e.n.const([i], np.int64), (i, i)
            e.values.update(zip(params, carried, strict=True))
            e.solid.update(zip(params, solid, strict=True))
            self.block(body)
            carried, solid = [e.get(r) for r in body.results[1:]], [e.sure(r) for r in body.results[1:]]
        e.values.update(zip(op.results, carried, strict=True))
        e.solid.update(zip(op.results, solid, strict=True))

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


# ----------------------------------------------------------------------------------------------------
# Back end 3: a graph of the intermediate form as ONNX nodes, or as a model of its own.
#
# Scalars are tensors of shape [1]: float64, int64, bool.


__all__ = ["Emitted", "Nodes", "emit", "logic_model", "pack_memory", "unpack_memory"]


@dataclass(frozen=True)
class Emitted:
    """Names of tensors: `action` int64[1] or float32[n], `reason` int64[1] (-1 on a fault and for rules), `fault`
    bool[1], memory."""

    action: str
    reason: str
    memory: dict[str, str]
    fault: str


def emit(
    graph: Graph, nodes: Nodes, scene: str, memory: Mapping[str, str], action: str | None, fallback: Action,
    held: Mapping[str, Bounds] | None = None,
) -> Emitted:  # fmt: skip
    """One step of a policy or rule. `scene` float32[size]; `memory`: a tensor of the field's own type for each field;
    `action` as in Emitted for a rule. On a fault: action = fallback, reason = -1, memory as it was, fault true. `held`:
    bounds within which fields are known to lie."""
    flow = Flow(graph, nodes, scene, memory, action, held or {})
    with deep_stack():
        flow.block(graph.body)
    e, n = flow.emitter, nodes
    found = [e.get(r) for r in graph.body.results]
    head = 2 if graph.has_reason else 1
    if surely_action(graph):
        pass
    elif graph.action.is_array:
        e.checks.require(n.op("Not", n.op("IsNaN", found[0])), graph.action.shape or ())
    else:
        kept = n.op("Clip", found[0], n.const(0, np.int64), n.const(graph.n_actions - 1, np.int64))
        e.checks.require(n.op("Equal", found[0], kept))
    fine = e.checks.holds()
    reason = found[1] if head == 2 else n.const([-1], np.int64)
    new = dict(zip(graph.fields, found[head:], strict=True))
    if fine is None:
        return Emitted(found[0], reason, new, n.const([False]))
    return _settle(graph, n, fine, Emitted(found[0], reason, new, ""), fallback, memory)


def _settle(graph: Graph, n: Nodes, held: str, new: Emitted, fallback: Action, old: Mapping[str, str]) -> Emitted:
    """What the step came to if every rule held, else the fallback. A branch: Where would lose the sign of zero."""
    groups: list[list[str]] = []
    for group in MemoryLayout.of(graph.fields).groups():
        changed = [f for f in group if new.memory[f] != old[f]]
        groups += [[f] for f in changed] if graph.fields[group[0]].type.is_array else [changed] if changed else []
    good, bad = n.inner(), n.inner()
    lone = [form_of(graph.action), form_of(INT)][: 2 if graph.has_reason else 1]
    other = [n.const(np.reshape(fallback, lone[0][1]), lone[0][0]), n.const([-1], np.int64)]
    yes, no = [new.action, new.reason][: len(lone)], other[: len(lone)]
    yes += [good.concat([new.memory[f] for f in group]) for group in groups]
    no += [bad.concat([old[f] for f in group]) for group in groups]
    forms = lone + [form_of(graph.fields[group[0]].type, len(group)) for group in groups]
    sides = close(good, yes, forms), close(bad, no, forms)
    made = n.ops("If", held, outputs=len(forms), then_branch=sides[0], else_branch=sides[1])
    memory = dict(new.memory)
    for group, tensor in zip(groups, made[len(lone) :], strict=True):
        memory.update(zip(group, n.split(tensor, [1] * len(group)), strict=True))
    return Emitted(made[0], made[1] if graph.has_reason else new.reason, memory, n.op("Not", held))


def unpack_memory(
    nodes: Nodes, layout: MemoryLayout, name: str, held: Mapping[str, Bounds] | None = None
) -> dict[str, str]:
    """Tensors of the fields' own types from float64[layout.size]; ints within the bounds that `held` has for a field,
    whatever is given."""
    found: dict[str, str] = {}
    groups = [g for g in layout.groups() if g]
    if not groups:
        return found
    parts = nodes.split(name, [sum(layout.fields[n].type.size for n in g) for g in groups])
    for group, part in zip(groups, parts, strict=True):
        kind = dtype_of(layout.fields[group[0]].type)
        if kind != np.float64:
            part = nodes.op("Cast", part, to=onnx_type(kind))
        if held and kind in (np.int64, np.int32):
            part = _kept(nodes, part, layout, group, held, kind)
        pieces = nodes.split(part, [layout.fields[n].type.size for n in group])
        for field, piece in zip(group, pieces, strict=True):
            shape = layout.fields[field].type.shape
            flat = shape is None or len(shape) == 1
            found[field] = piece if flat else nodes.op("Reshape", piece, nodes.ints(*shape or ()))
    return {field: found[field] for field in layout.fields}


def _kept(
    nodes: Nodes, part: str, layout: MemoryLayout, group: list[str], held: Mapping[str, Bounds], kind: Any
) -> str:
    """A group of int fields, each within its bounds."""
    room = np.iinfo(kind)
    limits = [
        np.concatenate(
            [
                np.full(layout.fields[f].type.size, held.get(f, (room.min, room.max))[side], np.int64).astype(kind)
                for f in group
            ]
        )
        for side in (0, 1)
    ]
    return nodes.op("Min", nodes.op("Max", part, nodes.const(limits[0])), nodes.const(limits[1]))


def pack_memory(nodes: Nodes, layout: MemoryLayout, tensors: Mapping[str, str]) -> str:
    """float64[layout.size] from tensors of the fields' own types."""
    if not layout.size:
        return nodes.const(np.zeros(0))
    groups = []
    for group in layout.groups():
        parts = []
        for field in group:
            shape = layout.fields[field].type.shape
            flat = shape is None or len(shape) == 1
            parts.append(tensors[field] if flat else nodes.op("Reshape", tensors[field], nodes.ints(-1)))
        joined = nodes.concat(parts)
        wide = dtype_of(layout.fields[group[0]].type) == np.float64
        groups.append(joined if wide else nodes.op("Cast", joined, to=onnx_type(np.float64)))
    return nodes.concat(groups)


def logic_model(graph: Graph, schema_size: int, fallback: Action) -> onnx.ModelProto:
    """A model of one policy or rule: scene float32[schema_size], memory float64[M] and, for a rule, the action it sees
    as `proposed` -> action (int64[1] or float32[n]), reason int64[1], next_memory float64[M], fault bool[1]."""
    nodes, layout = Nodes(), MemoryLayout.of(graph.fields)
    inputs: list[Signature] = [("scene", np.float32, (schema_size,)), ("memory", np.float64, (layout.size,))]
    if not graph.has_reason:
        inputs.append(("proposed", *form_of(graph.action)))
    made = emit(
        graph,
        nodes,
        "scene",
        unpack_memory(nodes, layout, "memory"),
        None if graph.has_reason else "proposed",
        fallback,
    )
    found = {
        "action": made.action, "reason": made.reason, "next_memory": pack_memory(nodes, layout, made.memory),
        "fault": made.fault,
    }  # fmt: skip
    for name, tensor in found.items():
        nodes.name(tensor, name)
    outputs = [
        ("action", *form_of(graph.action)), ("reason", np.int64, (1,)),
        ("next_memory", np.float64, (layout.size,)), ("fault", np.bool_, (1,)),
    ]  # fmt: skip
    return nodes.model(graph.name, inputs, outputs)
