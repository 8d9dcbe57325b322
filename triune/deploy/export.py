"""A system as one ONNX graph from frame and memory to action (an index, or a vector of controls) and reason, checked
against play.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, version_converter

from data_flywheel.storage.files import atomic_write
from envs.actions import Action, ActionSpace, Box
from envs.env import Rules
from envs.errors import EnvError
from envs.remote import PixelEnv
from envs.spec import SystemSpec
from logic.language.backends.onnx import Emitted, emit, pack_memory, unpack_memory
from logic.language.backends.onnx_ops import OPSET, Nodes
from logic.language.ir import Bounds, Field, Graph
from logic.language.layout import MemoryLayout
from logic.language.solid import invariants
from logic.runtime.controller import Controller, Decision
from logic.runtime.logic import Logic
from logic.runtime.tracker import Tracker
from perception.detector import OnnxDetector
from perception.drift import Ranges
from perception.graph import Foreign, check_graph, session
from perception.scene import Scene, SceneSchema
from triune import runtime as bundle
from triune.deploy.manifest import about, parts, parts_of
from triune.errors import TriuneError
from triune.play.loop import steps
from triune.system import System

# ----------------------------------------------------------------------------------------------------
# Detector, tracker, policy and rules as one ONNX graph: (frame, memory) -> (action, ..., next memory, scene).
#
# Needs the onnx package.


EYES = "eyes/"  # before every name of the detector's graph
TRACKED = ("x", "y", "w", "h", "vx", "vy", "sure")
SIGHT = "sight"  # the input of a graph without a detector: the raw scene


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


def memory_layout(logic: Logic) -> MemoryLayout:
    """All memories in one; a field is called PART.FIELD."""
    fields: dict[str, Field] = {}
    for part, graphs in parts_of(logic).items():
        fields |= {f"{part}.{name}": f for name, f in (graphs[0].fields if graphs else {}).items()}
    return MemoryLayout.of(fields)


def fuse(logic: Logic, weights: bytes | None, frame: tuple[int, int, int]) -> Fused:
    """The whole system as one checked model. `eyes` None: the input is the raw scene `sight` float32[size]."""
    nodes, layout, schema = Nodes(), memory_layout(logic), logic.schema
    past = (schema.window - 1) * int(np.prod(frame)) if weights is not None else 0
    memory, frames = "memory", ""
    if past:
        memory, frames = nodes.split("memory", [layout.size, past])
    sight, seen = SIGHT, ("", frames)
    if weights is not None:
        seen = _window(nodes, schema.window, frame, frames) if past else ("frame", "")
        sight = _add_detector(nodes, weights, seen[0], schema.size)
    held = {
        f"{part}.{name}": bounds
        for part, graphs in parts_of(logic).items()
        for name, bounds in invariants(graphs).items()
    }
    outputs = _add_logic(nodes, logic, unpack_memory(nodes, layout, memory, held), held, sight)
    packed = pack_memory(nodes, layout, {k: v for k, v in outputs.items() if "." in k})
    outputs["next_memory"] = nodes.concat([packed, seen[1]]) if past else packed
    size, rules = layout.size + past, len(logic.rules)
    one = (np.float32, logic.actions.shape) if isinstance(logic.actions, Box) else (np.int64, (1,))
    signatures = {
        "action": one, "reason": (np.int64, (1,)), "proposed": one,
        "interventions": (np.bool_, (rules,)), "faults": (np.bool_, (1 + rules,)),
        "next_memory": (np.float64, (size,)), "scene": (np.float32, (schema.size,)),
    }  # fmt: skip
    for name in signatures:
        nodes.name(outputs[name], name)
    first = ("frame", np.uint8, frame) if weights is not None else (SIGHT, np.float32, (schema.size,))
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


def _add_detector(nodes: Nodes, weights: bytes, frame: str, size: int) -> str:
    """The detector's own nodes, every name prefixed; the raw scene's name."""
    try:
        check_graph(weights, control=False)
    except Foreign as error:
        raise TriuneError(f"this detector is refused: {error}; train one with `triune train`") from None
    model = onnx.load_model_from_string(weights)
    if any(entry.version != OPSET for entry in model.opset_import):
        model = version_converter.convert_version(model, OPSET)
    graph = model.graph
    if len(graph.input) != 1 or len(graph.output) != 1:
        raise TriuneError("this detector does not map one frame to one scene; train one with `triune train`")
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


def _add_logic(
    nodes: Nodes, logic: Logic, memory: Mapping[str, str], held: Mapping[str, Bounds], sight: str
) -> dict[str, str]:
    """The outputs by name, and the memory after the step by PART.FIELD. `held`: bounds of fields, by the same names."""
    now = dict(memory)

    def run(part: str, graph: Graph, scene: str, action: str | None, fallback: Action = logic.fallback) -> Emitted:
        """One graph on the memory that its part has now; the part remembers what the graph hands on."""
        mine = {name: now[f"{part}.{name}"] for name in graph.fields}
        bounds = {name: held[f"{part}.{name}"] for name in graph.fields if f"{part}.{name}" in held}
        made = emit(graph, nodes, scene, mine, action, fallback, bounds)
        now.update({f"{part}.{name}": tensor for name, tensor in made.memory.items()})
        return made

    parts = parts_of(logic)
    (track,), (policy,) = parts.pop("tracker"), parts.pop("policy")
    tracked = run("tracker", track, sight, nodes.const(np.zeros(1, np.int64)), 0)
    scene = _tracked(nodes, logic.schema, {n: now[f"tracker.{n}"] for n in track.fields}, sight)
    decided = run("policy", policy, scene, None)
    action, faults, changed = decided.action, [nodes.op("Or", decided.fault, tracked.fault)], []
    for part, graphs in parts.items():
        for graph in graphs:
            ruled = run(part, graph, scene, action)
            changed.append(_differ(nodes, logic.actions, ruled.action, action))
            faults.append(ruled.fault)
            action = ruled.action
    if isinstance(logic.actions, Box):
        low, high = (nodes.const(bound, np.float32) for bound in (logic.actions.low, logic.actions.high))
        clipped = nodes.op("Min", nodes.op("Max", action, low), high)
        changed.append(_differ(nodes, logic.actions, clipped, action))
        faults.append(nodes.const([False]))
        action = clipped
    found = {"action": action, "reason": decided.reason, "proposed": decided.action, "scene": scene}
    return now | found | {"interventions": nodes.concat(changed), "faults": nodes.concat(faults)}


def _differ(nodes: Nodes, actions: ActionSpace, a: str, b: str) -> str:
    """bool[1]: are two actions not the same?"""
    same = nodes.op("Equal", a, b)
    if isinstance(actions, Box):
        number = nodes.op("Cast", same, to=TensorProto.UINT8)
        same = nodes.op("Cast", nodes.op("ReduceMin", number, nodes.ints(0), keepdims=1), to=TensorProto.BOOL)
    return nodes.op("Not", same)


def _tracked(nodes: Nodes, schema: SceneSchema, tracker: Mapping[str, str], sight: str) -> str:
    """float32[size]: what the tracker remembers of things, in the scene's layout; grids and gauges as seen."""
    parts = [_slots(nodes, thing.name, thing.count, tracker) for thing in schema.things]
    end = schema.slot(schema.things[-1].name, schema.things[-1].count - 1).stop if schema.things else 0
    if end < schema.size:
        parts.append(nodes.op("Slice", sight, nodes.ints(end), nodes.ints(schema.size), nodes.ints(0)))
    return nodes.concat(parts)


def _slots(nodes: Nodes, name: str, count: int, tracker: Mapping[str, str]) -> str:
    """float32[8 * count] of one kind."""
    away = tracker[f"{name}.away"]
    kind: Any = np.float64 if count == 1 else np.float32
    seen = nodes.op("Equal", away, nodes.const(np.zeros(1), kind))
    columns = [nodes.op("Cast", seen, to=TensorProto.DOUBLE if count == 1 else TensorProto.FLOAT)]
    columns += [tracker[f"{name}.{f}"] for f in TRACKED]
    if count == 1:
        return nodes.op("Cast", nodes.concat(columns), to=TensorProto.FLOAT)
    tall = [nodes.op("Reshape", column, nodes.ints(count, 1)) for column in columns]
    return nodes.op("Reshape", nodes.op("Concat", *tall, axis=1), nodes.ints(-1))


# ----------------------------------------------------------------------------------------------------
# A task's folder (or a bundle of format 1) -> one bundle file.


def export(
    system: System, path: str | Path, protocol: str | None = None, pictures: Iterable[np.ndarray] = (),
    frames: int | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Write the bundle of a system for a protocol; its manifest. Nothing is written when a part is bad or the fused
    graph does not decide as the controller does. `pictures`: uint8[H, W, 3] to compare both on, where nobody plays;
    `frames`: of the game, so many are compared (default GAME_STEPS)."""
    _need_onnx()
    rules = system.protocol(protocol)
    system.detector()  # says what is wrong with it
    logic, weights = system.logic(rules.name), system.weights()
    return _write(Path(path), system.spec, system.schema, logic, rules, weights, system.ranges(), pictures, frames)


def _need_onnx() -> None:
    try:
        import onnx  # noqa: F401
    except ImportError:
        raise TriuneError('export needs the onnx package: pip install "triune[export]"') from None


def _write(
    path: Path, spec: SystemSpec, schema: SceneSchema, logic: Logic, protocol: Rules, weights: bytes,
    ranges: Ranges | None = None, pictures: Iterable[np.ndarray] = (), frames: int | None = None,
) -> dict[str, Any]:  # fmt: skip
    from triune.runtime import Bundle

    fused = fuse(logic, weights, (spec.env.height, spec.env.width, 3))
    model = fused.model.SerializeToString(deterministic=True)
    told = about(spec, schema, logic, protocol, _memory_of(fused), weights)
    if ranges is not None:
        told["drift"] = ranges
    told["checked"] = check(model, fused.layout, logic, weights, spec, protocol, pictures, frames)
    data = bundle.pack(model, parts(spec, logic), told)
    bundle.read(data, str(path))
    atomic_write(path, data)
    return Bundle.load(path).manifest


def _memory_of(fused: Fused) -> dict[str, Any]:
    """The manifest's `memory`."""
    fields = {
        name: {"at": [*fused.layout.slots[name]], "type": f.type.kind, "shape": list(f.type.shape or ())}
        for name, f in fused.layout.fields.items()
    }
    return {"size": fused.size, "start": _sparse(fused.start), "fields": fields}


def _sparse(values: np.ndarray) -> list[list[Any]]:
    """[index, value] of what is not zero; NaN and infinities as the words that JavaScript and Python know."""
    words = {np.inf: "Infinity", -np.inf: "-Infinity"}
    kept = [(int(i), float(values[i])) for i in np.flatnonzero((values != 0) | np.signbit(values))]
    return [[i, "NaN" if v != v else words.get(v, v)] for i, v in kept]


# ----------------------------------------------------------------------------------------------------
# Does a fused graph decide as the controller does? Asked before a bundle is written.


GAME_STEPS, MADE_UP = 48, 20
MORE = 500  # a difference may be a tie that rounding decided: compare so many, and allow no second one
SEED = 0
SCENE_TOLERANCE = 1e-3  # px or probability
MEMORY_TOLERANCE = 1e-3  # of float values, relative above 1: what the tracker remembers is what the detector saw
# of a control's range: what the policy computes has the same bits in both, so what is left is the rounding to float32
# (6e-8); the scene that is decided on is the same, see `Reference.step`
CONTROL_TOLERANCE = 1e-5


class Reference:
    """What play does, step by step: detector, tracker, controller."""

    def __init__(self, logic: Logic, detector: OnnxDetector | None) -> None:
        self.logic, self.detector, self.action = logic, detector, logic.fallback
        self.tracker, self.controller = Tracker(logic.schema), Controller(logic, deadline_ms=1e9)

    def reset(self) -> None:
        """A new episode."""
        self.tracker.reset()
        self.controller.reset()
        if self.detector:
            self.detector.reset()

    def memory(self) -> dict[str, Any]:
        """All memory by PART.FIELD, as `triune.deploy.export` names it."""
        parts = (self.tracker.memory, self.controller.memory, *self.controller.rule_memories)
        return {
            f"{part}.{name}": value
            for part, memory in zip(parts_of(self.logic), parts, strict=True)
            for name, value in memory.snapshot().items()
        }

    def step(self, sight: np.ndarray, scene: np.ndarray | None = None) -> tuple[np.ndarray, Decision]:
        """A raw scene (or a frame, with a detector) -> the tracked scene and the decision.

        `scene`: decide on this one. A control follows the scene, so that a rounding of the detector's sums (below
        SCENE_TOLERANCE) moves it by the policy's gain; on one scene, controls can be compared closely.
        """
        vector = self.tracker.update(self.detector.see(sight) if self.detector else sight)
        decision = self.controller.decide(self.logic.schema.read(vector if scene is None else scene))
        self.action = decision.action
        return vector, decision


class Comparison:
    """Plays as the reference does, with the graph of `model` beside it. `counts`: frames compared, by source; `wrong`:
    where the graph said otherwise, in words."""

    def __init__(
        self, model: bytes, layout: MemoryLayout, logic: Logic, detector: OnnxDetector, frames: int | None = None
    ) -> None:
        self._session = session(model, control=True)
        self._names = [output.name for output in self._session.get_outputs()]
        self._layout, self._logic, self._reference = layout, logic, Reference(logic, detector)
        self.counts, self.wrong, self._frames = Counter[str](), list[str](), frames

    def start(self, source: str) -> None:
        """A new episode."""
        self._source, self._state = source, np.zeros(self._session.get_inputs()[1].shape[0])
        self._reference.reset()

    def act(self, frame: np.ndarray) -> tuple[Scene, Decision]:
        """The reference's scene and decision, once they have been compared."""
        logic, layout, reference = self._logic, self._layout, self._reference
        # every step starts from the very same memory, so that a rounding does not grow into a difference
        self._state[: layout.size] = layout.pack(reference.memory())
        outputs = self._session.run(self._names, {"frame": frame, "memory": self._state})
        found = dict(zip(self._names, outputs, strict=True))
        vector, decision = reference.step(frame, found["scene"] if isinstance(logic.actions, Box) else None)
        said = differences(found, vector, decision, logic) or _memory(found["next_memory"], layout, reference.memory())
        self.wrong.extend([f"at step {self.counts.total()}: {said}"] if said else [])
        self._state = found["next_memory"].copy()
        self.counts[self._source] += 1
        return logic.schema.read(vector), decision

    @property
    def settled(self) -> bool:
        """Whether it needs no further frame of the game."""
        seen = self.counts["game"] + self.counts["recorded"]
        wanted = max(self._frames or GAME_STEPS, MORE if self.wrong else 0)
        return len(self.wrong) > self.allowed or seen >= wanted

    @property
    def allowed(self) -> int:
        """How many frames may fall otherwise: ties."""
        return max(1, (self._frames or 0) // MORE)


def check(
    model: bytes, layout: MemoryLayout, logic: Logic, weights: bytes, spec: SystemSpec, protocol: Rules,
    pictures: Iterable[np.ndarray] = (), frames: int | None = None,
) -> dict[str, int]:  # fmt: skip
    """How many frames of which source were compared, and how many of them fell otherwise (`ties`, at most one in MORE);
    TriuneError names the first difference."""
    compared = Comparison(model, layout, logic, OnnxDetector.parse(weights), frames)
    compared.start("made up")
    for frame in _made_up(spec.env.shape):
        compared.act(frame)
    compared.start("recorded")
    for frame in pictures:
        if compared.settled:
            break
        compared.act(frame)
    try:
        with PixelEnv(spec.env, protocol) as env:
            for seed in count(SEED):
                compared.start("game")
                for _ in steps(env, compared, env.reset(seed)):
                    if compared.settled:
                        break
                if compared.settled:
                    break
    except (EnvError, ImportError):
        pass  # the caller sees in the counts that no frame of the game was compared
    counts, wrong = compared.counts, compared.wrong
    if len(wrong) > compared.allowed or wrong and counts.total() < MORE:
        raise TriuneError(
            f"the fused graph of {spec.name} differs from play {wrong[0]}; nothing was written, please report it"
        )
    return {**counts, "ties": len(wrong)}


def _made_up(shape: tuple[int, int, int]) -> Iterator[np.ndarray]:
    """Frames that nobody played: noise, then black."""
    rng = np.random.default_rng(SEED)
    for i in range(MADE_UP):
        yield np.zeros(shape, np.uint8) if i > 5 else rng.integers(0, 256, shape, np.uint8)


def differences(found: dict[str, np.ndarray], vector: np.ndarray, decision: Decision, logic: Logic) -> str:
    """What a fused step says otherwise than play, in words; "" when nothing."""
    assert logic.policy.graph is not None
    reason = int(found["reason"][0])
    words = logic.policy.graph.reasons[reason] if reason >= 0 else "fault"
    flags = found["interventions"].tolist()
    overruled = tuple(rule for rule, flag in zip(logic.rules, flags, strict=True) if flag)
    pairs = {
        "action": _actions(logic.actions, found["action"], decision.action), "reason": (words, decision.reason),
        "proposed": _actions(logic.actions, found["proposed"], decision.proposed),
        "overruled by": (overruled, decision.overruled_by),
        "fault": (bool(found["faults"].any()), bool(decision.fault)),
    }  # fmt: skip
    wrong = [f"{name} {a} instead of {b}" for name, (a, b) in pairs.items() if a != b]
    gap = float(np.abs(found["scene"] - vector).max(initial=0.0))
    if not gap <= SCENE_TOLERANCE:
        wrong.append(f"the scene by {gap:.4g}")
    return ", ".join(wrong)


def _actions(space: ActionSpace, tensor: np.ndarray, wanted: Action) -> tuple[str, str]:
    """What the graph and play chose, in words; the same words where controls differ by a rounding only."""
    if not isinstance(space, Box):
        return space.tell(int(tensor[0])), space.tell(wanted)
    reach = np.maximum(np.subtract(space.high, space.low), np.abs(wanted))  # a proposal may lie beyond the bounds
    if bool(np.all(np.abs(tensor - wanted) <= CONTROL_TOLERANCE * reach)):
        return space.tell(wanted), space.tell(wanted)
    return str(tensor.tolist()), str(np.asarray(wanted).tolist())


def _memory(vector: np.ndarray, layout: MemoryLayout, wanted: dict[str, Any]) -> str:
    for name, found in layout.unpack(vector).items():
        a, b = np.asarray(found, np.float64), np.asarray(wanted[name], np.float64)
        if not np.allclose(a, b, MEMORY_TOLERANCE, MEMORY_TOLERANCE, equal_nan=True):
            return f"memory {name}"
    return ""
