"""Eyes, tracker, policy and rules as one ONNX graph: (frame, memory) -> (action, ..., next memory, scene).

Knows: how the parts are joined, in the order and with the meaning of `logic.controller`, and how their memories lie in
one vector. Does not know: how a part becomes nodes (logic.compiler), files, metadata. Needs the onnx package.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, version_converter

from logic.language.ir import Field, Graph
from logic.language.layout import MemoryLayout
from logic.language.onnx_model import Emitted, emit, pack_memory, unpack_memory
from logic.language.onnx_nodes import OPSET, Nodes
from logic.runtime.compiled import Logic
from perception.scene import SceneSchema
from triune.errors import TriuneError

EYES = "eyes/"  # before every name of the eyes' graph
TRACKED = ("x", "y", "w", "h", "vx", "vy", "sure")
SIGHT = "sight"  # the input of a graph without eyes: the raw scene


@dataclass(frozen=True)
class Fused:
    """A fused model and how its memory lies: the logic's fields, then past frames where the schema has a window."""

    model: onnx.ModelProto
    layout: MemoryLayout
    size: int

    @property
    def start(self) -> np.ndarray:
        """float64[size] at the beginning of an episode."""
        return np.concatenate([self.layout.start(), np.zeros(self.size - self.layout.size)])


def parts_of(logic: Logic) -> dict[str, tuple[Graph, ...]]:
    """The graphs that share one memory, by its name: tracker, policy, safety (where there is one), lost."""
    names = [f"safety{i or ''}" for i in range(len(logic.modules) - 1)] + ["lost"]
    found = {"tracker": tuple(logic.tracker.graphs.values())}
    assert logic.policy.graph is not None
    found["policy"] = (logic.policy.graph,)
    return found | {name: tuple(m.graphs.values()) for name, m in zip(names, logic.modules, strict=True)}


def memory_layout(logic: Logic) -> MemoryLayout:
    """All memories in one; a field is called PART.FIELD."""
    fields: dict[str, Field] = {}
    for part, graphs in parts_of(logic).items():
        fields |= {f"{part}.{name}": f for name, f in (graphs[0].fields if graphs else {}).items()}
    return MemoryLayout.of(fields)


def fuse(logic: Logic, eyes: bytes | None, frame: tuple[int, int, int]) -> Fused:
    """The whole system as one checked model. `eyes` None: the input is the raw scene `sight` float32[size]."""
    nodes, layout, schema = Nodes(), memory_layout(logic), logic.schema
    past = (schema.window - 1) * int(np.prod(frame)) if eyes is not None else 0
    memory, frames = "memory", ""
    if past:
        memory, frames = nodes.split("memory", [layout.size, past])
    sight, seen = SIGHT, ("", frames)
    if eyes is not None:
        seen = _window(nodes, schema.window, frame, frames) if past else ("frame", "")
        sight = _add_eyes(nodes, eyes, seen[0], schema.size)
    outputs = _add_logic(nodes, logic, unpack_memory(nodes, layout, memory), sight)
    packed = pack_memory(nodes, layout, {k: v for k, v in outputs.items() if "." in k})
    outputs["next_memory"] = nodes.concat([packed, seen[1]]) if past else packed
    size, rules = layout.size + past, len(logic.rules)
    signatures = {
        "action": (np.int64, (1,)), "reason": (np.int64, (1,)), "proposed": (np.int64, (1,)),
        "interventions": (np.bool_, (rules,)), "faults": (np.bool_, (1 + rules,)),
        "next_memory": (np.float64, (size,)), "scene": (np.float32, (schema.size,)),
    }  # fmt: skip
    for name in signatures:
        nodes.name(outputs[name], name)
    first = ("frame", np.uint8, frame) if eyes is not None else (SIGHT, np.float32, (schema.size,))
    inputs = [first, ("memory", np.float64, (size,))]
    model = nodes.model("triune", inputs, [(name, *signatures[name]) for name in signatures])
    return Fused(model, layout, size)


def _window(nodes: Nodes, window: int, frame: tuple[int, int, int], frames: str) -> tuple[str, str]:
    """(uint8[H, W, 3] maximum over the window, float64 past frames of the next step). Frames that were not yet seen are
    black, which a maximum does not notice."""
    now = nodes.op("Reshape", nodes.op("Cast", "frame", to=TensorProto.DOUBLE), nodes.ints(1, -1))
    rows = nodes.op("Concat", nodes.op("Reshape", frames, nodes.ints(window - 1, -1)), now, axis=0)
    most = nodes.op("ReduceMax", rows, nodes.ints(0), keepdims=0)
    later = nodes.op("Slice", rows, nodes.ints(1), nodes.ints(window), nodes.ints(0))
    picture = nodes.op("Cast", nodes.op("Reshape", most, nodes.ints(*frame)), to=TensorProto.UINT8)
    return picture, nodes.op("Reshape", later, nodes.ints(-1))


def _add_eyes(nodes: Nodes, eyes: bytes, frame: str, size: int) -> str:
    """The eyes' own nodes, every name prefixed; the raw scene's name."""
    model = onnx.load_model_from_string(eyes)
    versions = {entry.domain: entry.version for entry in model.opset_import}
    if set(versions) - {"", "ai.onnx"} or model.functions:
        raise TriuneError("these eyes need operators outside the ONNX standard; train them with `triune train`")
    if versions.get("", OPSET) != OPSET:
        model = version_converter.convert_version(model, OPSET)
    graph = model.graph
    if len(graph.input) != 1 or len(graph.output) != 1:
        raise TriuneError("these eyes do not map one frame to one scene; train them with `triune train`")
    _rename(graph, {graph.input[0].name: frame, "": ""})
    nodes.nodes += graph.node
    nodes.constants += graph.initializer
    return str(graph.output[0].name)


def _rename(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    """Prefix every name in a graph and the graphs inside it, but for those in `names`."""

    def new(name: str) -> str:
        return names.get(name, EYES + name)

    for tensor in (*graph.initializer, *graph.input, *graph.output):
        tensor.name = new(tensor.name)
    for node in graph.node:
        node.input[:], node.output[:] = map(new, node.input), map(new, node.output)
        node.name = EYES + node.name if node.name else ""
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else ()), *attribute.graphs):
                _rename(inner, names)


def _add_logic(nodes: Nodes, logic: Logic, memory: Mapping[str, str], sight: str) -> dict[str, str]:
    """The outputs by name, and the memory after the step by PART.FIELD."""
    now = dict(memory)

    def run(part: str, graph: Graph, scene: str, action: str | None) -> Emitted:
        """One graph on the memory that its part has now; the part remembers what the graph hands on."""
        mine = {name: now[f"{part}.{name}"] for name in graph.fields}
        made = emit(graph, nodes, scene, mine, action, logic.fallback)
        now.update({f"{part}.{name}": tensor for name, tensor in made.memory.items()})
        return made

    parts = parts_of(logic)
    (track,), (policy,) = parts.pop("tracker"), parts.pop("policy")
    tracked = run("tracker", track, sight, nodes.const(np.zeros(1, np.int64)))
    scene = _tracked(nodes, logic.schema, {n: now[f"tracker.{n}"] for n in track.fields}, sight)
    decided = run("policy", policy, scene, None)
    action, faults, changed = decided.action, [nodes.op("Or", decided.fault, tracked.fault)], []
    for part, graphs in parts.items():
        for graph in graphs:
            ruled = run(part, graph, scene, action)
            changed.append(nodes.op("Not", nodes.op("Equal", ruled.action, action)))
            faults.append(ruled.fault)
            action = ruled.action
    found = {"action": action, "reason": decided.reason, "proposed": decided.action, "scene": scene}
    return now | found | {"interventions": nodes.concat(changed), "faults": nodes.concat(faults)}


def _tracked(nodes: Nodes, schema: SceneSchema, tracker: Mapping[str, str], sight: str) -> str:
    """float32[size]: what the tracker remembers of things, in the scene's layout; grids and gauges as seen."""
    parts = [_slots(nodes, thing.name, thing.count, tracker) for thing in schema.things]
    end = schema.slot(schema.things[-1].name, schema.things[-1].count - 1).stop if schema.things else 0
    if end < schema.size:
        parts.append(nodes.op("Slice", sight, nodes.ints(end), nodes.ints(schema.size), nodes.ints(0)))
    return nodes.concat(parts)


def _slots(nodes: Nodes, name: str, count: int, tracker: Mapping[str, str]) -> str:
    """float32[8 * count] of one kind."""
    away = tracker[f"{name}_away"]
    kind: Any = np.float64 if count == 1 else np.float32
    seen = nodes.op("Equal", away, nodes.const(np.zeros(1), kind))
    columns = [nodes.op("Cast", seen, to=TensorProto.DOUBLE if count == 1 else TensorProto.FLOAT)]
    columns += [tracker[f"{name}_{f}"] for f in TRACKED]
    if count == 1:
        return nodes.op("Cast", nodes.concat(columns), to=TensorProto.FLOAT)
    tall = [nodes.op("Reshape", column, nodes.ints(count, 1)) for column in columns]
    return nodes.op("Reshape", nodes.op("Concat", *tall, axis=1), nodes.ints(-1))
