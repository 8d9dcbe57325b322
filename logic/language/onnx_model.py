"""Back end 3: a graph of the intermediate form as ONNX nodes, or as a model of its own.

Knows: what goes in and out of a policy or rule, how memory lies in one vector, what a fault does to the answers.
Does not know: single ops, control flow (onnx_flow.py). Scalars are tensors of shape [1]: float64, int64, bool.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx

from envs.actions import Action
from logic.language.ir import INT, Graph
from logic.language.layout import MemoryLayout
from logic.language.onnx_flow import Flow
from logic.language.onnx_nodes import Nodes, Signature, close, dtype_of, form_of, onnx_type
from logic.language.ranges import surely_action
from logic.language.text import deep_stack

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
    graph: Graph, nodes: Nodes, scene: str, memory: Mapping[str, str], action: str | None, fallback: Action
) -> Emitted:
    """One step of a policy or rule. `scene` float32[size]; `memory`: a tensor of the field's own type for each field;
    `action` as in Emitted for a rule. On a fault: action = fallback, reason = -1, memory as it was, fault true."""
    flow = Flow(graph, nodes, scene, memory, action)
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
    held = e.checks.holds()
    reason = found[1] if head == 2 else n.const([-1], np.int64)
    new = dict(zip(graph.fields, found[head:], strict=True))
    if held is None:
        return Emitted(found[0], reason, new, n.const([False]))
    return _settle(graph, n, held, Emitted(found[0], reason, new, ""), fallback, memory)


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


def unpack_memory(nodes: Nodes, layout: MemoryLayout, name: str) -> dict[str, str]:
    """Tensors of the fields' own types from float64[layout.size]."""
    found: dict[str, str] = {}
    groups = [g for g in layout.groups() if g]
    if not groups:
        return found
    parts = nodes.split(name, [sum(layout.fields[n].type.size for n in g) for g in groups])
    for group, part in zip(groups, parts, strict=True):
        kind = dtype_of(layout.fields[group[0]].type)
        if kind != np.float64:
            part = nodes.op("Cast", part, to=onnx_type(kind))
        pieces = nodes.split(part, [layout.fields[n].type.size for n in group])
        for field, piece in zip(group, pieces, strict=True):
            shape = layout.fields[field].type.shape
            flat = shape is None or len(shape) == 1
            found[field] = piece if flat else nodes.op("Reshape", piece, nodes.ints(*shape or ()))
    return {field: found[field] for field in layout.fields}


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
