"""An ONNX detector read back as a plan for the native engine: the reverse of `perception/training/export.py`.

The nodes are walked in the order in which the exporter writes them, and every one is checked: its operator, what goes
in, its attributes, and those constants that are no weights. `Unknown` names the first node that is not what a detector
of Triune has there; such a network plays with ONNX Runtime.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from native.eyes import Field, Finder, Gauge, Grid, Group, Layer, Linear, Plan, Reader, Reading
from perception.protobuf import FIXED32, Message, fields
from perception.scene import ReadingSpec, SceneSchema

KINDS = {1: np.float32, 6: np.int32, 7: np.int64, 9: np.bool_}  # of constants, by ONNX's number
FLOAT, INT, INTS = 1, 2, 7  # kinds of attributes
TO_FLOAT = 1  # what Cast makes


class Unknown(ValueError):
    """A network, or a part of one, that the engine does not know."""


class _Node(NamedTuple):
    kind: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any]


@dataclass
class _Graph:
    """The nodes not yet read, in order, and the constants."""

    nodes: list[_Node]
    constants: dict[str, np.ndarray]
    frame: str
    scene: str
    at: int = 0
    found: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, data: bytes) -> _Graph:
        graph = Message(data).message(7)
        nodes = [_Node(n.text(4), n.texts(1), n.texts(2), dict(map(_attribute, n.all(5)))) for n in graph.messages(1)]
        ends = [[port.text(1) for port in graph.messages(number)] for number in (11, 12)]
        if list(map(len, ends)) != [1, 1]:
            raise Unknown("it has more than one input or output")
        return cls(nodes, dict(map(_constant, graph.messages(5))), ends[0][0], ends[1][0])

    @property
    def next(self) -> _Node:
        """The node that is read next; one of no kind at the end."""
        return self.nodes[self.at] if self.at < len(self.nodes) else _Node("end", [], [], {})

    def outs(self, kind: str, *inputs: str | None, **attributes: Any) -> tuple[list[str], list[np.ndarray]]:
        """Read a node: its outputs, and the constants where `inputs` has None. Attributes are exactly those given; of
        one given as `...` the value goes to `found`."""
        node = self.next
        if node.kind != kind or len(node.inputs) != len(inputs) or set(node.attributes) != set(attributes):
            raise Unknown(f"node {self.at} is {node.kind}, not {kind} as a detector of Triune has it")
        constants = []
        for name, wanted in zip(node.inputs, inputs, strict=True):
            if wanted is None and name in self.constants:
                constants.append(self.constants[name])
            elif name != wanted:
                raise Unknown(f"node {self.at}, {kind}, reads {name!r}, which is not what a detector of Triune reads")
        self.found = {}
        for name, value in attributes.items():
            if value is ...:
                self.found[name] = node.attributes[name]
            elif node.attributes[name] != value:
                raise Unknown(f"node {self.at}, {kind}, has {name} {node.attributes[name]}, not {value}")
        self.at += 1
        return node.outputs, constants

    def take(self, kind: str, *inputs: str | None, **attributes: Any) -> tuple[Any, ...]:
        """The same of a node with one output: it, then the constants."""
        outputs, constants = self.outs(kind, *inputs, **attributes)
        if len(outputs) != 1:
            raise Unknown(f"node {self.at - 1}, {kind}, has {len(outputs)} outputs")
        return (outputs[0], *constants)

    def op(self, kind: str, *inputs: str | np.ndarray | Sequence[float] | float, **attributes: Any) -> str:
        """The output of a node whose constants must be those given."""
        asked = [i if isinstance(i, str) else None for i in inputs]
        output, *constants = self.take(kind, *asked, **attributes)
        for found, wanted in zip(constants, (i for i in inputs if not isinstance(i, str)), strict=True):
            value = np.asarray(wanted, found.dtype)
            if not np.array_equal(found.reshape(value.shape) if found.size == 1 else found, value):
                raise Unknown(f"node {self.at - 1}, {kind}, has a constant that no detector of Triune has there")
        return str(output)

    def concat(self, parts: Sequence[str], axis: int) -> str:
        """The parts joined, or the only one."""
        return parts[0] if len(parts) == 1 else self.op("Concat", *parts, axis=axis)

    # What several parts of a detector are made of.

    def cut(self) -> tuple[str, tuple[int, int, int, int]]:
        """A rectangle of the frame as a plane with interleaved colours: its name; top, left, height, width."""
        part, start, end, axes = self.take("Slice", self.frame, None, None, None)
        if axes.tolist() != [0, 1] or len(start) != 2 or len(end) != 2:
            raise Unknown("it cuts more than a rectangle from the frame")
        (top, left), (bottom, right) = start.tolist(), end.tolist()
        box = top, left, bottom - top, right - left
        plane = self.op("Cast", part, to=TO_FLOAT)
        return self.op("Reshape", plane, [1, 1, box[2], 3 * box[3]]), box

    def colours(self, x: str) -> tuple[str, Layer, tuple[int, int]]:
        """A convolution over interleaved colours without padding: its name; itself, weight [h, w, 3, outside]; its
        stride down and across, in pixels."""
        y, weight, bias = self.take("Conv", x, None, None, kernel_shape=..., strides=..., pads=[0] * 4, group=1)
        out, one, high, wide = weight.shape
        down, across = self.found["strides"]
        if one != 1 or wide % 3 or across % 3 or self.found["kernel_shape"] != [high, wide]:
            raise Unknown("it has a convolution that does not read whole pixels")
        weight = weight.reshape(out, high, wide // 3, 3).transpose(1, 2, 3, 0)
        return y, Layer(weight, bias, mode=""), (down, across // 3)

    def relu(self, x: str, layer: Layer) -> tuple[str, Layer]:
        """Relu after a layer, if there is one."""
        if self.next.kind != "Relu":
            return x, layer
        return self.op("Relu", x), Layer(layer.weight, layer.bias, layer.stride, layer.pad, "relu")

    def linear(self, x: str, relu: bool = False) -> tuple[str, Linear]:
        """x @ weight + bias."""
        y, weight, bias = self.take("Gemm", x, None, None)
        return self.op("Relu", y) if relu else y, Linear(weight, bias.reshape(-1))

    def features(self, plane: str) -> tuple[str, tuple[Layer, ...]]:
        """Layer upon layer: the last one's name, and all of them."""
        x, stem, stride = self.colours(plane)
        if stride != stem.weight.shape[:2]:
            raise Unknown("its first layer's windows do not lie side by side")
        x, stem = self.relu(x, stem)
        layers = [stem]
        while self.next.kind == "Conv":
            x, weight, bias = self.take("Conv", x, None, None, kernel_shape=..., strides=..., pads=..., group=...)
            found = self.found
            (stride, other), pads, group = found["strides"], found["pads"], found["group"]
            own = group == len(weight) > 1 and weight.shape[1] == 1
            square = stride == other and len(set(pads)) == 1 and found["kernel_shape"] == list(weight.shape[2:])
            if not square or not (own or group == 1):
                raise Unknown(f"node {self.at - 1}, Conv, is neither whole nor by channel, or not square")
            weight = weight.transpose(2, 3, 1, 0)
            x, layer = self.relu(x, Layer(weight[:, :, 0] if own else weight, bias, stride, pads[0], ""))
            layers.append(layer)
        return x, tuple(layers)


def _attribute(data: memoryview) -> tuple[str, Any]:
    told = Message(data)
    kind = told.integer(20)
    if kind == FLOAT:  # which Message, for graphs' shapes, leaves out
        raw = [data[f.start : f.stop] for f in fields(data) if f.number == 2 and f.wire == FIXED32]
        return told.text(1), struct.unpack("<f", raw[-1])[0] if raw else 0.0
    return told.text(1), told.integer(3) if kind == INT else told.integers(8) if kind == INTS else None


def _constant(tensor: Message) -> tuple[str, np.ndarray]:
    kind = KINDS.get(tensor.integer(2))
    if kind is None or len(tensor.all(9)) != 1:
        raise Unknown(f"its constant {tensor.text(8)!r} is of an unknown kind")
    return tensor.text(8), np.frombuffer(tensor.all(9)[0], kind).reshape(tensor.integers(1))


# ----------------------------------------------------------------------------------------------------
# The parts of a detector, as export.py writes them.


def read_plan(data: bytes, schema: SceneSchema, shape: tuple[int, int]) -> Plan:
    """The plan of an ONNX file that `perception.graph` has let pass. Unknown when it is no such network."""
    try:
        return _read(_Graph.parse(data), schema, shape)
    except Unknown:
        raise
    except (
        ValueError,
        IndexError,
        KeyError,
        TypeError,
    ) as error:  # a shape that does not fit is no such network either
        raise Unknown(f"it is not built as Triune's are ({error})") from None


def _read(g: _Graph, schema: SceneSchema, shape: tuple[int, int]) -> Plan:
    plane, view = g.cut()
    parts: list[str] = []
    finder = reader = None
    if schema.things or schema.grids or schema.gauges:
        finder = _finder(g, schema, plane, view, parts)
    if schema.readings:
        reader = _reader(g, schema, plane, parts)
    if g.op("Concat", *parts, axis=0) != g.scene or g.at != len(g.nodes):
        raise Unknown("it goes on after the scene is made")
    return Plan(shape, view, schema.size, schema.window, finder, reader)


def _finder(g: _Graph, schema: SceneSchema, plane: str, view: tuple[int, int, int, int], parts: list[str]) -> Finder:
    kinds = len(schema.things)
    x, layers = g.features(plane)
    head = layers[-1]
    depth = len(head.bias) - kinds
    x, place = g.op("Reshape", x, [kinds + depth, -1]), np.zeros((0, 0), np.float32)
    heat, context = "", x
    if kinds:
        (heat, context), (sizes,) = g.outs("Split", x, None, axis=0)
        if sizes.tolist() != [kinds, depth]:
            raise Unknown("its head is not split into things and context")
        heat, place = g.take("Add", heat, None)
    mixed, maps = g.take("MatMul", context, None)
    pooled, mix = g.linear(g.op("Reshape", mixed, [1, -1]), relu=True)
    camera, shake = g.linear(pooled)
    low, overlap, groups = 0.0, 0.0, list[Group]()
    if kinds:
        low, overlap, groups = _things(g, schema, plane, view, heat, context, camera, parts)
    order = [*range(kinds, kinds + depth), *range(kinds)]  # context first
    trunk = (*layers[:-1], Layer(head.weight[..., order], head.bias[order], head.stride, head.pad, head.mode))
    swapped = mix.weight.reshape(depth, maps.shape[1], -1).swapaxes(0, 1)  # maps first
    mix = Linear(swapped.reshape(mix.weight.shape), mix.bias)
    start = 8 * sum(t.count for t in schema.things)
    grids, gauges = [], []
    for spec in schema.grids:
        grids.append(_grid(g, start, pooled, parts))
        start += spec.rows * spec.cols
    for _ in schema.gauges:
        gauges.append(_gauge(g, start, parts))
        start += 1
    counts = sorted((t.count for t in schema.things), key=lambda count: count > 1)
    heads = (tuple(groups), tuple(grids), tuple(gauges))
    return Finder(trunk, tuple(counts), depth, low, place, maps, mix, shake, *heads, overlap)


def _things(
    g: _Graph, schema: SceneSchema, plane: str, view: tuple[int, int, int, int], heat: str, context: str, camera: str,
    parts: list[str],
) -> tuple[float, float, list[Group]]:  # fmt: skip
    """(heat of what is no peak, share of two boxes that makes them one place or 0, groups)."""
    counts = sorted((t.count for t in schema.things), key=lambda count: count > 1)
    cells, low = _choose(g, counts, heat)
    pixels = g.op("Reshape", plane, [view[2] * view[3], 3])
    found, rows, corners = [], [], []
    while g.next.kind == "Gather":
        group, row, corner = _group(g, view, sum(counts), pixels, context, cells)
        found.append(group)
        rows.append(row)
        corners.append(corner)
    n = sum(len(group["slots"]) for group in found)
    row, corner = g.concat(rows, 0), g.concat(corners, 0)
    (logit, size, scores), (sizes,) = g.outs("Split", row, None, axis=1)
    bins = int(sizes[2]) // 2
    if sizes.tolist() != [1, 2, 2 * bins]:
        raise Unknown("a slot's answer is not logit, size and places")
    places = g.op("Softmax", g.op("Reshape", scores, [n, 2, bins]), axis=2)
    product, steps = g.take("Mul", places, None)
    centre = g.op("ReduceSum", product, [2], keepdims=0)
    seen = g.op("Cast", g.op("Greater", logit, 0.0), to=TO_FLOAT)
    box = g.op("Concat", g.op("Sum", centre, corner, camera), size, axis=1)
    box, sure, overlap = g.op("Mul", box, seen), g.op("Sigmoid", logit), 0.0
    if g.next.kind == "Split":
        kind = np.repeat(np.arange(len(counts)), counts)[[slot for group in found for slot in group["slots"]]]
        keep, overlap = _unbeaten(g, kind[:, None] != kind, box, logit)
        seen, box, sure = (g.op("Mul", part, keep) for part in (seen, box, sure))
    table = g.op("Concat", seen, box, np.zeros((n, 2)), sure, axis=1)
    order = np.arange(n)
    if g.next.kind == "Gather":
        table, order = g.take("Gather", table, None, axis=0)
    parts.append(g.op("Reshape", table, [-1]))
    if sorted(order) != list(range(n)) or steps.shape != (n, 2, bins):
        raise Unknown("its slots do not make a scene")
    starts, groups, at = 8 * np.argsort(order), [], 0
    for group in found:
        rows_of = slice(at, at + len(group["slots"]))
        groups.append(Group(**group, starts=tuple(starts[rows_of].tolist()), steps=steps[rows_of]))
        at = rows_of.stop
    return low, overlap, groups


def _unbeaten(g: _Graph, rivals: np.ndarray, box: str, logit: str) -> tuple[str, float]:
    """(name of what is 0 for slots that a rival beats, share of two boxes that makes them one place)."""
    across = (1, len(rivals))
    (x, y, w, h), (sizes,) = g.outs("Split", box, None, axis=1)
    if sizes.tolist() != [1] * 4:
        raise Unknown("a box is not x, y, width and height")

    def shared(centre: str, size: str) -> str:
        half = g.op("Mul", size, 0.5)
        low, high = g.op("Sub", centre, half), g.op("Add", centre, half)
        last = g.op("Min", high, g.op("Reshape", high, across))
        return g.op("Relu", g.op("Sub", last, g.op("Max", low, g.op("Reshape", low, across))))

    both, area = g.op("Mul", shared(x, w), shared(y, h)), g.op("Mul", w, h)
    union = g.op("Sub", g.op("Add", area, g.op("Reshape", area, across)), both)
    least, overlap = g.take("Mul", union, None)
    one_place = g.op("Greater", both, least)
    surer = g.op("Greater", g.op("Reshape", logit, across), logit)
    beaten = g.op("And", g.op("And", one_place, surer), rivals)
    worst = g.op("ReduceMax", g.op("Cast", beaten, to=TO_FLOAT), [1], keepdims=1)
    if not overlap.item() > 0:
        raise Unknown("two boxes that do not touch are one place")
    return g.op("Sub", 1.0, worst), overlap.item()


def _choose(g: _Graph, counts: list[int], heat: str) -> tuple[str, float]:
    """(name of the cells of all slots, heat of what is no peak)."""
    parts, low, singles = [], 0.0, counts.count(1)
    if singles:
        own = g.op("Slice", heat, [0], [singles], [0]) if singles < len(counts) else heat
        parts.append(g.op("ArgMax", own, axis=1, keepdims=0))
    for k in range(singles, len(counts)):
        own, shape = g.take("Reshape", g.op("Slice", heat, [k], [k + 1], [0]), None)
        if shape.tolist()[:2] != [1, 1]:
            raise Unknown("a thing's heat is not a plane")
        top = g.op("MaxPool", own, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
        peaks, least = g.take("Where", g.op("Equal", own, top), own, None)
        if low not in (0.0, least.item()):
            raise Unknown("its things have different heats of what is no peak")
        low = least.item()
        (_, chosen), (count,) = g.outs("TopK", g.op("Reshape", peaks, [-1]), None, axis=0)
        if count.tolist() != [counts[k]]:
            raise Unknown("a thing has another number of slots than the schema says")
        parts.append(chosen)
    return g.concat(parts, 0), low


def _group(
    g: _Graph, view: tuple[int, int, int, int], count: int, pixels: str, context: str, cells: str
) -> tuple[dict[str, Any], str, str]:
    """(what a Group is made of, names of its rows and corners)."""
    slots = np.arange(count)
    if g.next.inputs[0] == cells:
        cells, slots = g.take("Gather", cells, None, axis=0)
    base, start = g.take("Gather", None, cells, axis=0)
    index, offset = g.take("Add", base, None)
    patch, shape = g.take("Reshape", g.op("Gather", pixels, index, axis=0), None)
    n, one, high, wide = shape.tolist()
    if n != len(slots) or one != 1 or wide % 3:
        raise Unknown("a patch does not hold whole pixels")
    wide //= 3
    if not np.array_equal(offset[0], (np.arange(high)[:, None] * view[3] + np.arange(wide)).reshape(-1)):
        raise Unknown("a patch is no rectangle")
    side = (1, high, 3 * wide)
    patch = g.op("LayerNormalization", patch, np.ones(side), np.zeros(side), axis=1, epsilon=...)
    eps = g.found["epsilon"]
    x, edges, (stride, other) = g.colours(patch)
    if stride != other:
        raise Unknown("the windows of a patch are not equally far apart down and across")
    x = g.op("Reshape", g.op("Clip", x, 0.0, 1.0), [n, -1])
    near = g.op("Gather", context, cells, axis=1)
    hidden, seen, fixed = g.take("Gemm", near, None, None, transA=1)
    hidden, look = g.take("Gemm", x, None, hidden)
    thought, think = g.linear(g.op("Relu", hidden), relu=True)
    row, out = g.linear(thought)
    corner, places = g.take("Gather", None, cells, axis=0)
    rows, cols = (high - edges.weight.shape[0]) // stride + 1, (wide - edges.weight.shape[1]) // stride + 1
    look = look.reshape(len(edges.bias), rows * cols, -1).swapaxes(0, 1).reshape(look.shape)  # channels last
    corners = np.stack(np.divmod(start[:, 0], view[3]), 1)
    edges = Layer(edges.weight, edges.bias, stride, 0, "clip")
    made = {"slots": tuple(slots.tolist()), "patch": (high, wide), "corners": corners, "places": places, "edges": edges}
    if fixed.shape != (n, look.shape[1]):
        raise Unknown("a group's biases are not one for each slot")
    return made | {"look": look, "context": seen, "fixed": fixed, "think": think, "out": out, "eps": eps}, row, corner


def _grid(g: _Graph, start: int, pooled: str, parts: list[str]) -> Grid:
    plane, (top, left, height, width) = g.cut()
    x, own, stride = g.colours(plane)
    high, wide, _, depth = own.weight.shape
    if stride != (high, wide):
        raise Unknown("a grid's cells do not lie side by side")
    x = g.op("Reshape", x, [depth, -1])
    shared, weight, bias = g.take("Gemm", None, pooled, None, transB=1)
    logit, out = g.take("MatMul", None, g.op("Relu", g.op("Add", x, shared)))
    above, threshold = g.take("Greater", logit, None)
    parts.append(g.op("Reshape", g.op("Cast", above, to=TO_FLOAT), [-1]))
    context = Linear(weight.T, bias.reshape(-1))
    rows, cols = height // high, width // wide
    return Grid(start, rows, cols, top, left, own, context, out.reshape(depth), threshold.reshape(rows * cols))


def _gauge(g: _Graph, start: int, parts: list[str]) -> Gauge:
    plane, (top, left, *size) = g.cut()
    x, pixels, _ = g.colours(plane)
    x, pixels = g.relu(x, pixels)
    if pixels.mode != "relu" or pixels.weight.shape[:2] != tuple(size):
        raise Unknown("a gauge does not read its whole box")
    x, last = g.linear(g.op("Reshape", x, [1, -1]))
    parts.append(g.op("Reshape", x, [-1]))
    return Gauge(start, top, left, pixels, last)


def _reader(g: _Graph, schema: SceneSchema, plane: str, parts: list[str]) -> Reader:
    x, trunk = g.features(plane)
    channels = len(trunk[-1].bias)
    (peaks, seen), (sizes,) = g.outs("Split", g.op("Reshape", x, [channels, -1]), None, axis=0)
    marks, glimpse = sizes.tolist()
    product, sharp = g.take("Mul", peaks, None)
    heat = g.op("Softmax", product, axis=1)
    at, places = g.take("MatMul", heat, None)
    around = g.op("MatMul", heat, g.op("Transpose", seen, perm=[1, 0]))
    middle = g.op("ReduceMean", at, [0], keepdims=1)
    near, times = g.take("Mul", g.op("Sub", at, middle), None)
    highest = g.op("ReduceMax", peaks, [1], keepdims=0)
    code = g.op("Concat", *[g.op("Reshape", part, [1, -1]) for part in (at, around, near, highest)], axis=1)
    x, hidden = g.linear(code, relu=True)
    x, think = g.linear(x, relu=True)
    level, straight = g.linear(code)
    bent, out = g.linear(x)
    raw = g.op("Reshape", g.op("Add", level, bent), [-1])
    if not sharp.item() > 0:
        raise Unknown("its landmarks are where nothing is")
    # by mark there, by value here
    sides = (2, glimpse, 2, 1)
    ends = np.cumsum([0, *(marks * side for side in sides)])
    order = np.concatenate(
        [ends[i] + np.arange(marks * n).reshape(marks, n).T.reshape(-1) for i, n in enumerate(sides)]
    )
    straight, hidden = (Linear(layer.weight[order], layer.bias) for layer in (straight, hidden))
    readings = [_reading(g, spec, schema.slot(spec.name).start, raw, parts) for spec in schema.readings]
    parts[-len(readings) :] = [g.concat(parts[-len(readings) :], 0)]
    read = (places, straight, hidden, think, out, tuple(readings))
    return Reader(trunk, marks, glimpse, sharp.item(), times.item(), *read)


def _reading(g: _Graph, spec: ReadingSpec, start: int, raw: str, parts: list[str]) -> Reading:
    def pick() -> tuple[str, int]:
        name, (place,) = g.take("Gather", raw, None, axis=0)
        return name, int(place)

    def scaled(x: str) -> tuple[str, float, float]:
        x, half = g.take("Mul", x, None)
        x, middle = g.take("Add", x, None)
        return x, half.item(), middle.item()

    logit, presence = pick()
    found, columns = [], []
    for f in spec.fields:
        x, at = pick()
        if f.wrap:
            y, other = x, at
            x, at = pick()
            if other != at + 1:
                raise Unknown("a direction is not read from neighbours")
            x, half, middle = scaled(_angle(g, y, x))
            found.append(Field(at, True, 0.0, 0.0, half, middle))
        else:
            x, half, middle = scaled(x)
            x, low, high = g.take("Clip", x, None, None)
            found.append(Field(at, False, low.item(), high.item(), half, middle))
        columns.append(x)
    seen = g.op("Cast", g.op("Greater", logit, 0.0), to=TO_FLOAT)
    sure = g.op("Sigmoid", logit)
    values = g.op("Mul", g.concat(columns, 0), seen)
    parts.append(g.op("Concat", seen, values, sure, axis=0))
    return Reading(start, presence, tuple(found))


def _angle(g: _Graph, y: str, x: str) -> str:
    xx = g.op("Mul", x, x)
    length = g.op("Sqrt", g.op("Add", xx, g.op("Mul", y, y)))
    ahead = g.op("Div", y, g.op("Add", length, x))
    behind = g.op("Div", g.op("Sub", length, x), y)
    half = g.op("Atan", g.op("Where", g.op("Greater", x, 0.0), ahead, behind))
    return g.op("Mul", half, 2.0)
