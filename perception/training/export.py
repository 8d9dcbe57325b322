"""A trained detector as two files: an ONNX graph that plays, and the weights that training goes on from.

The graph holds all decoding and, in its metadata, where it came from. It is written node by node, so that play pays
for nothing it does not need. Colour channels stay interleaved: a convolution over RGB with kernel k is one over a
picture of triple width with kernel (k, 3k), which spares the transposition.
"""

from __future__ import annotations

import json
import math
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from envs.writing import whole
from perception.detector import FORMAT, OnnxDetector
from perception.errors import PerceptionError
from perception.scene import OVERLAP, ReadingSpec, SceneSchema
from perception.training.layout import CELL, Layout
from perception.training.network import (
    BINS,
    NEAR,
    NOT_A_PEAK,
    PATCH_EPS,
    REACH,
    SHARP,
    DetectorNet,
    GreyConv,
    Reader,
    Width,
)  # fmt: skip
from perception.weights import FIX, Header, header_size, read_weights, sha256, weights_beside

OPSET = 18
IR_VERSION = 9
TOLERANCE = 2e-2  # px or probability: float32 sums in another order, amplified by the patches' normalisation
assert CELL == 8  # the trunk's strides are 4 and 2


def export(net: DetectorNet, path: str | Path, provenance: dict[str, Any], check: np.ndarray) -> float:
    """Write `net` to `path`, its trainable weights beside it (`weights_beside`), and return the ONNX file's largest
    disagreement with torch on `check` uint8[N, H, W, 3].

    PerceptionError when they disagree beyond rounding, or the disk is full: nothing is written then.
    """
    data, gap = serialised(net, provenance, check)
    # the ONNX file last: what can be played changes with the last step, and doing all of it again is always right
    _replace({weights_beside(path): _trainable(net, data), Path(path): data})
    return gap


def serialised(net: DetectorNet, provenance: dict[str, Any], check: np.ndarray) -> tuple[bytes, float]:
    """The bytes of the ONNX file, and its largest disagreement with torch on `check`.

    PerceptionError when they disagree beyond rounding.
    """
    net.eval()
    model, schema = build(net), net.layout.schema
    versions = {"torch": torch.__version__, "onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__}
    metadata = {
        "triune.format": str(FORMAT),
        "triune.schema": json.dumps(schema.to_config()),
        "triune.fingerprint": schema.fingerprint,
        "triune.versions": json.dumps(versions),
        "triune.provenance": json.dumps(provenance, sort_keys=True),
    }
    onnx.helper.set_model_props(model, metadata)
    data = model.SerializeToString()
    gap = disagreement(net, OnnxDetector.parse(data, schema), check)
    if gap > TOLERANCE:
        raise PerceptionError(f"the exported detector differs from the trained one by {gap:.4f}; nothing was written")
    return data, gap


def _trainable(net: DetectorNet, data: bytes) -> bytes:
    """Every parameter and buffer of `net`, to lie beside the ONNX file of bytes `data`. Equal nets give equal bytes."""
    state = {name: value.contiguous() for name, value in net.state_dict().items()}
    plain = save(state)
    layout, tensors = net.layout, sha256(plain[8 + header_size(plain) :])
    header = Header(layout.schema.fingerprint, layout.shape, net.width.to_config(), sha256(data), tensors)
    made: bytes = save(state, header.to_metadata())
    return made


def load_net(path: str | Path, schema: SceneSchema) -> DetectorNet:
    """The very network that was exported to `path`, in eval mode, from the weights beside it.

    PerceptionError when they are missing, damaged, of another schema, or belong to another ONNX file.
    """
    header, data = read_weights(path)
    beside = weights_beside(path)
    if header.fingerprint != schema.fingerprint:
        raise PerceptionError(
            f"{beside} was trained for another scene schema ({header.fingerprint[:12]}, the task has "
            f"{schema.fingerprint[:12]}); train again or restore system.toml"
        )
    try:
        tensors, width = load(data), Width(**header.width)
    except (SafetensorError, TypeError) as error:
        raise PerceptionError(f"{beside} is damaged ({error}); {FIX}") from None
    with torch.device("meta"):  # shapes without memory, whatever width the file claims
        net = DetectorNet(Layout(schema, header.shape), width)
    wanted, found = (
        {(name, value.dtype, value.shape) for name, value in state.items()} for state in (net.state_dict(), tensors)
    )
    if wanted != found:
        names = sorted({name for name, *_ in wanted ^ found})
        raise PerceptionError(f"{beside} does not hold this network's weights ({names[0]}); {FIX}")
    net.load_state_dict(tensors, assign=True)
    return net.eval()


def _replace(files: dict[Path, bytes]) -> None:
    """All files, in this order, or none; PerceptionError says why none."""
    path = next(iter(files))
    try:
        with ExitStack() as stack:
            for path, data in reversed(files.items()):  # the last one entered takes its place first
                stack.enter_context(whole(path)).write_bytes(data)
    except OSError as error:
        fix = "not written: free some space or name another place, then run the same command again"
        raise PerceptionError(f"{error.filename or path}: {error.strerror or error}; {fix}") from error


def disagreement(net: DetectorNet, detector: OnnxDetector, frames: np.ndarray) -> float:
    """Largest difference between torch and ONNX Runtime over fields of the Scene, ties on a threshold left out."""
    wanted = net.scenes(torch.from_numpy(frames)).numpy()
    found = np.stack([detector.look(frame).copy() for frame in frames])
    schema, different = net.layout.schema, np.abs(wanted - found)
    if net.layout.rivals is not None:  # so is which of two kinds is at a place
        near = [net.scenes(torch.from_numpy(frames), slack).numpy() for slack in (TOLERANCE, -TOLERANCE)]
        for start in net.layout.slot_starts:
            different[near[0][:, start] != near[1][:, start], start : start + 8] = 0
    for reading in schema.readings:
        for k, f in enumerate(reading.fields, schema.slot(reading.name).start + 1):
            different[:, k] = np.abs(f.away(wanted[:, k], found[:, k]))
    for _, slot in schema.slots():
        close = np.abs(wanted[:, slot.stop - 1] - 0.5) < TOLERANCE  # seen or not is a matter of rounding there
        different[close, slot] = 0
    for grid in schema.grids:
        cells = different[:, schema.grid(grid.name)]
        if cells.mean() < 1e-3:  # a cell on the threshold may fall either way
            cells[:] = 0
    return float(different.max(initial=0.0))


def build(net: DetectorNet) -> onnx.ModelProto:
    """The whole graph for a trained detector in eval mode."""
    layout, b = net.layout, Builder()
    top, left, height, width = layout.view
    plane, parts = b.cut("frame", top, left, height, width), []
    if layout.finds:
        heat, context = _coarse(b, net, plane)
        pooled, camera = _pooled(b, net, context)
        parts += [_things(b, net, plane, heat, context, camera)] if layout.things else []
        parts += [_grid(b, net, number, pooled) for number in range(len(layout.schema.grids))]
        parts += [_gauge(b, net, number) for number in range(len(layout.schema.gauges))]
    if net.reader is not None:
        parts.append(_readings(b, net, plane))
    b.nodes.append(helper.make_node("Concat", parts, ["scene"], axis=0))
    graph = helper.make_graph(
        b.nodes, "eyes",
        [helper.make_tensor_value_info("frame", TensorProto.UINT8, [*layout.shape, 3])],
        [helper.make_tensor_value_info("scene", TensorProto.FLOAT, [layout.schema.size])],
        b.constants,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(model, full_check=True)
    return model


class Builder:
    """Collects nodes and constants; every method returns the name of its output."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def const(self, value: Any, kind: type | np.dtype = np.float32) -> str:
        """A constant tensor; torch tensors welcome."""
        value = value.detach().numpy() if isinstance(value, torch.Tensor) else value
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(np.asarray(value, kind)), name))
        return name

    def ints(self, *values: int) -> str:
        """An int64 vector constant."""
        return self.const(values, np.int64)

    def op(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        """One node; a list of names when it has several outputs."""
        names = [f"{kind.lower()}{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, **attributes))
        return names[0] if outputs == 1 else names

    def cut(self, x: str, top: int, left: int, height: int, width: int) -> str:
        """A rectangle of the first two axes as one float plane [1, 1, height, 3 * width] of interleaved colours."""
        ends, axes = self.ints(top + height, left + width), self.ints(0, 1)
        part = self.op("Cast", self.op("Slice", x, self.ints(top, left), ends, axes), to=TensorProto.FLOAT)
        return str(self.op("Reshape", part, self.ints(1, 1, height, 3 * width)))

    def conv(self, x: str, layer: nn.Conv2d, norm: nn.BatchNorm2d | None = None, relu: bool = True) -> str:
        """A convolution with its batch norm folded in; one over colours reads them interleaved."""
        weight, bias = layer.weight, layer.bias if layer.bias is not None else torch.zeros(layer.out_channels)
        kernel, stride = list(layer.kernel_size), list(layer.stride)
        if isinstance(layer, GreyConv):
            weight, bias = layer.grey()
        if layer.in_channels == 3:
            weight = weight.permute(0, 2, 3, 1).reshape(layer.out_channels, 1, kernel[0], -1)
            kernel[1], stride[1] = 3 * kernel[1], 3 * stride[1]
        if norm is not None:
            gain = norm.weight / torch.sqrt(norm.running_var + norm.eps)  # type: ignore[operator]
            weight = weight * gain[:, None, None, None]
            bias = (bias - norm.running_mean) * gain + norm.bias  # type: ignore[operator]
        pads = [int(p) for p in layer.padding] * 2  # type: ignore[union-attr]
        apart: dict[str, Any] = {"dilations": list(layer.dilation)} if layer.dilation != (1, 1) else {}
        y = self.op("Conv", x, self.const(weight), self.const(bias), kernel_shape=kernel, strides=stride,
                    pads=pads, group=layer.groups, **apart)  # fmt: skip
        return str(self.op("Relu", y)) if relu else str(y)

    def linear(self, x: str, weight: torch.Tensor, bias: str, **attributes: Any) -> str:
        """`x @ weight.T + bias`; `weight` as torch keeps it, `bias` the name of a tensor."""
        return str(self.op("Gemm", x, self.const(weight.detach().numpy().T), bias, **attributes))


def _features(b: Builder, net: DetectorNet | Reader, plane: str) -> str:
    """Stem, trunk and head of either, one after the other."""
    layers, x = [*net.stem, *net.trunk, net.head], plane
    for i, layer in enumerate(layers):
        if isinstance(layer, nn.Conv2d):
            norm = layers[i + 1] if i + 1 < len(layers) and isinstance(layers[i + 1], nn.BatchNorm2d) else None
            x = b.conv(x, layer, norm, relu=norm is not None)
    return x


def _coarse(b: Builder, net: DetectorNet, plane: str) -> tuple[str, str]:
    """(heat [things, cells], context [C, cells])."""
    x = _features(b, net, plane)
    kinds, depth = len(net.layout.things), net.width.context
    flat = b.op("Reshape", x, b.ints(kinds + depth, -1))
    if not kinds:
        return "", flat
    heat, context = b.op("Split", flat, b.ints(kinds, depth), outputs=2, axis=0)
    return b.op("Add", heat, b.const(net.place)), context


def _pooled(b: Builder, net: DetectorNet, context: str) -> tuple[str, str]:
    """(pooled [1, 2C], minus the camera's shake [1, 2] as x, y)."""
    mixed = b.op("Reshape", b.op("MatMul", context, b.const(net.maps)), b.ints(1, -1))
    pooled = b.op("Relu", b.linear(mixed, net.pool.weight, b.const(net.pool.bias)))
    return pooled, b.linear(pooled, -net.camera.weight[[1, 0]], b.const(-net.camera.bias[[1, 0]]))


def _choose(b: Builder, layout: Layout, heat: str) -> str:
    """int64[slots]: the cell of every slot, in the network's order."""
    parts = []
    if layout.singles:
        own = heat
        if layout.singles < len(layout.things):
            own = b.op("Slice", heat, b.ints(0), b.ints(layout.singles), b.ints(0))
        parts.append(b.op("ArgMax", own, axis=1, keepdims=0))
    for k in range(layout.singles, len(layout.things)):
        plane = b.op("Slice", heat, b.ints(k), b.ints(k + 1), b.ints(0))
        plane = b.op("Reshape", plane, b.ints(1, 1, *layout.cells))
        top = b.op("MaxPool", plane, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
        peaks = b.op("Where", b.op("Equal", plane, top), plane, b.const(NOT_A_PEAK))
        count = b.ints(layout.things[k].count)
        parts.append(b.op("TopK", b.op("Reshape", peaks, b.ints(-1)), count, outputs=2, axis=0)[1])
    return parts[0] if len(parts) == 1 else b.op("Concat", *parts, axis=0)


def _things(b: Builder, net: DetectorNet, plane: str, heat: str, context: str, camera: str) -> str:
    """float[slots * 8] in the schema's order."""
    layout = net.layout
    cells = _choose(b, layout, heat)
    pixels = b.op("Reshape", plane, b.ints(layout.view[2] * layout.view[3], 3))
    pairs = [_refine(b, net, number, pixels, context, cells) for number in range(len(layout.groups))]
    slots = [s for g in layout.groups for s in g.slots]
    rows, corners = (p[0] if len(p) == 1 else b.op("Concat", *p, axis=0) for p in zip(*pairs, strict=True))
    logit, size, places = b.op("Split", rows, b.ints(1, 2, 2 * BINS), outputs=3, axis=1)
    places = b.op("Softmax", b.op("Reshape", places, b.ints(len(slots), 2, BINS)), axis=2)
    # the mean place in pixels: MatMul with the places' distances from the rim, which differ by the group's patch
    sides = np.array([g.patch[::-1] for g in layout.groups for _ in g.slots], np.float32)
    steps = np.arange(BINS)[None, None, :] * sides[:, :, None] / (BINS - 1)
    centre = b.op("ReduceSum", b.op("Mul", places, b.const(steps)), b.ints(2), keepdims=0)
    seen = b.op("Cast", b.op("Greater", logit, b.const(0.0)), to=TensorProto.FLOAT)
    box = b.op("Concat", b.op("Sum", centre, corners, camera), size, axis=1)
    still = b.const(np.zeros((len(slots), 2)))
    box, sure = b.op("Mul", box, seen), b.op("Sigmoid", logit)
    if layout.rivals is not None:
        keep = _unbeaten(b, layout.rivals[np.ix_(slots, slots)], box, logit)
        seen, box, sure = (b.op("Mul", part, keep) for part in (seen, box, sure))
    table = b.op("Concat", seen, box, still, sure, axis=1)
    order = np.argsort(layout.slot_starts[slots])
    if (order != np.arange(len(order))).any():
        table = b.op("Gather", table, b.ints(*order), axis=0)
    return str(b.op("Reshape", table, b.ints(-1)))


def _unbeaten(b: Builder, rivals: np.ndarray, box: str, logit: str) -> str:
    """float[slots, 1]: 0 where a thing of another kind is surer at the same place; see `network.beaten`."""
    across = b.ints(1, len(rivals))
    x, y, w, h = b.op("Split", box, b.ints(1, 1, 1, 1), outputs=4, axis=1)

    def shared(centre: str, size: str) -> str:
        """float[slots, slots]: how long two boxes overlap along an axis."""
        half = b.op("Mul", size, b.const(0.5))
        low, high = b.op("Sub", centre, half), b.op("Add", centre, half)
        last = b.op("Min", high, b.op("Reshape", high, across))
        return str(b.op("Relu", b.op("Sub", last, b.op("Max", low, b.op("Reshape", low, across)))))

    both, area = b.op("Mul", shared(x, w), shared(y, h)), b.op("Mul", w, h)
    union = b.op("Sub", b.op("Add", area, b.op("Reshape", area, across)), both)
    one_place = b.op("Greater", both, b.op("Mul", union, b.const(OVERLAP)))
    surer = b.op("Greater", b.op("Reshape", logit, across), logit)
    beaten = b.op("And", b.op("And", one_place, surer), b.const(rivals, np.bool_))
    worst = b.op("ReduceMax", b.op("Cast", beaten, to=TensorProto.FLOAT), b.ints(1), keepdims=1)
    return str(b.op("Sub", b.const(1.0), worst))


def _refine(b: Builder, net: DetectorNet, number: int, pixels: str, context: str, cells: str) -> tuple[str, str]:
    """One group: float[n, 3 + 2 BINS] (logit, w, h, places along x and y) and the patches' corners [n, 2] (x, y)."""
    layout, refiner = net.layout, net.refiners[number]
    group = layout.groups[number]
    kinds, (high, wide) = [layout.slots[s][0] for s in group.slots], group.patch
    if group.slots != tuple(range(len(layout.slots))):
        cells = b.op("Gather", cells, b.ints(*group.slots), axis=0)
    origins = layout.origins(group.patch)
    base = b.op("Gather", b.const(origins[:, :1] * layout.view[3] + origins[:, 1:], np.int32), cells, axis=0)
    index = b.op("Add", base, b.const(layout.offsets(group.patch)[None], np.int32))
    shape = (1, high, 3 * wide)
    patch = b.op("Reshape", b.op("Gather", pixels, index, axis=0), b.ints(len(kinds), *shape))
    ones, zeros = b.const(np.ones(shape)), b.const(np.zeros(shape))
    patch = b.op("LayerNormalization", patch, ones, zeros, axis=1, epsilon=PATCH_EPS)
    edges = b.op("Clip", b.conv(patch, refiner.edges, relu=False), b.const(0.0), b.const(1.0))
    edges = b.op("Reshape", edges, b.ints(len(kinds), -1))
    fixed = b.const(refiner.look.bias + refiner.kind[kinds])
    hidden = b.linear(b.op("Gather", context, cells, axis=1), refiner.context.weight, fixed, transA=1)
    hidden = b.op("Relu", b.linear(edges, refiner.look.weight, hidden))
    hidden = b.op("Relu", b.linear(hidden, refiner.think.weight, b.const(refiner.think.bias)))
    gain = torch.ones(3 + 2 * BINS)
    gain[0], gain[1:3] = net.sharpness, REACH
    order = [0, 2, 1, *range(3 + BINS, 3 + 2 * BINS), *range(3, 3 + BINS)]  # torch says y before x
    weight, bias = (refiner.out.weight * gain[:, None])[order], (refiner.out.bias * gain)[order]
    corner = origins[:, ::-1] + np.array([layout.view[1], layout.view[0]])
    return b.linear(hidden, weight, b.const(bias)), b.op("Gather", b.const(corner), cells, axis=0)


def _grid(b: Builder, net: DetectorNet, number: int, pooled: str) -> str:
    """float[rows * cols] of one grid, 1 where a cell is present."""
    spec, head = net.layout.schema.grids[number], net.grids[number]
    top, left, height, width = net.layout.grid_window(spec.name)
    plane = b.cut("frame", top, left, spec.rows * height, spec.cols * width)
    own = b.op("Reshape", b.conv(plane, head.cell, relu=False), b.ints(net.width.cell, -1))
    column = b.const(head.context.bias[:, None])
    shared = b.op("Gemm", b.const(head.context.weight), pooled, column, transB=1)
    logit = b.op("MatMul", b.const(head.out.weight.flatten(1)), b.op("Relu", b.op("Add", own, shared)))
    present = b.op("Greater", logit, b.const(-(head.bias + head.out.bias).reshape(1, -1)))
    return str(b.op("Reshape", b.op("Cast", present, to=TensorProto.FLOAT), b.ints(-1)))


def _gauge(b: Builder, net: DetectorNet, number: int) -> str:
    """float[1]: one gauge in its own units."""
    spec, reader = net.layout.schema.gauges[number], net.gauges[number]
    top, left, bottom, right = spec.box
    x = b.conv(b.cut("frame", top, left, bottom - top, right - left), reader[0])  # type: ignore[index, arg-type]
    last, span = reader[3], spec.high - spec.low  # type: ignore[index]
    x = b.linear(b.op("Reshape", x, b.ints(1, -1)), last.weight * span, b.const(last.bias * span + spec.low))
    return str(b.op("Reshape", x, b.ints(-1)))


def _readings(b: Builder, net: DetectorNet, plane: str) -> str:
    """float[n]: the slots of all readings in the schema's order."""
    reader, layout = net.reader, net.layout
    assert reader is not None
    marks, glimpse = reader.width.landmarks, reader.width.glimpse
    flat = b.op("Reshape", _features(b, reader, plane), b.ints(marks + glimpse, -1))
    peaks, seen = b.op("Split", flat, b.ints(marks, glimpse), outputs=2, axis=0)
    heat = b.op("Softmax", b.op("Mul", peaks, b.const(SHARP)), axis=1)
    at = b.op("MatMul", heat, b.const(layout.places()))
    around = b.op("MatMul", heat, b.op("Transpose", seen, perm=[1, 0]))
    near = b.op("Mul", b.op("Sub", at, b.op("ReduceMean", at, b.ints(0), keepdims=1)), b.const(NEAR))
    highest = b.op("ReduceMax", peaks, b.ints(1), keepdims=0)
    code = b.op("Concat", *(b.op("Reshape", part, b.ints(1, -1)) for part in (at, around, near, highest)), axis=1)
    x = b.op("Relu", b.linear(code, reader.hidden.weight, b.const(reader.hidden.bias)))
    x = b.op("Relu", b.linear(x, reader.think.weight, b.const(reader.think.bias)))
    gain = torch.ones(layout.readings[-1].stop)
    gain[[part.start for part in layout.readings]] = net.sharpness
    straight = b.linear(code, gain[:, None] * reader.straight.weight, b.const(gain * reader.straight.bias))
    bent = b.linear(x, gain[:, None] * reader.out.weight, b.const(gain * reader.out.bias))
    raw = b.op("Reshape", b.op("Add", straight, bent), b.ints(-1))
    slots = [
        _reading(b, spec, part.start, raw) for spec, part in zip(layout.schema.readings, layout.readings, strict=True)
    ]
    return str(slots[0] if len(slots) == 1 else b.op("Concat", *slots, axis=0))


def _reading(b: Builder, spec: ReadingSpec, start: int, raw: str) -> str:
    """float[fields + 2]: one slot, as `network.read_slot` makes it."""

    def pick(*places: int) -> str:
        return str(b.op("Gather", raw, b.ints(*places), axis=0))

    logit, at, columns = pick(start), start + 1, []
    for f in spec.fields:
        middle, half = (f.low + f.high) / 2, (f.high - f.low) / 2
        if f.wrap:
            turn = b.op("Mul", _angle(b, pick(at + 1), pick(at)), b.const(half / math.pi))
            columns.append(b.op("Add", turn, b.const(middle)))
        else:
            value = b.op("Add", b.op("Mul", pick(at), b.const(half)), b.const(middle))
            columns.append(b.op("Clip", value, b.const(f.low), b.const(f.high)))
        at += 1 + f.wrap
    seen = b.op("Cast", b.op("Greater", logit, b.const(0.0)), to=TensorProto.FLOAT)
    sure = b.op("Sigmoid", logit)
    values = columns[0] if len(columns) == 1 else b.op("Concat", *columns, axis=0)
    return str(b.op("Concat", seen, b.op("Mul", values, seen), sure, axis=0))


def _angle(b: Builder, y: str, x: str) -> str:
    """atan2, which ONNX does not have, by the half angle: each formula where its denominator does not vanish."""
    length = b.op("Sqrt", b.op("Add", b.op("Mul", x, x), b.op("Mul", y, y)))
    ahead = b.op("Div", y, b.op("Add", length, x))
    behind = b.op("Div", b.op("Sub", length, x), y)
    half = b.op("Atan", b.op("Where", b.op("Greater", x, b.const(0.0)), ahead, behind))
    return str(b.op("Mul", half, b.const(2.0)))
