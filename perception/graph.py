"""The detector's graph in ONNX, decoding included, written node by node so that play pays for nothing it does not need.

Knows: every node between `frame` uint8[H, W, 3] and `scene` float32[size]. Colour channels stay interleaved: a
convolution over RGB with kernel k is one over a picture of triple width with kernel (k, 3k), which spares the
transposition. Does not know: files, metadata. Needs onnx and the trained torch modules.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from perception.layout import CELL, Layout
from perception.network import NOT_A_PEAK, PATCH_EPS, REACH, Detector, GreyConv

OPSET = 18
IR_VERSION = 9


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
        """A convolution with its batch norm folded in; a GreyConv reads interleaved colours."""
        weight, bias = layer.weight, layer.bias if layer.bias is not None else torch.zeros(layer.out_channels)
        kernel, stride = list(layer.kernel_size), list(layer.stride)
        if isinstance(layer, GreyConv):
            weight, bias = layer.grey()
            weight = weight.permute(0, 2, 3, 1).reshape(layer.out_channels, 1, kernel[0], -1)
            kernel[1], stride[1] = 3 * kernel[1], 3 * stride[1]
        if norm is not None:
            gain = norm.weight / torch.sqrt(norm.running_var + norm.eps)  # type: ignore[operator]
            weight = weight * gain[:, None, None, None]
            bias = (bias - norm.running_mean) * gain + norm.bias  # type: ignore[operator]
        pads = [int(p) for p in layer.padding] * 2  # type: ignore[union-attr]
        y = self.op("Conv", x, self.const(weight), self.const(bias), kernel_shape=kernel, strides=stride,
                    pads=pads, group=layer.groups)  # fmt: skip
        return str(self.op("Relu", y)) if relu else str(y)

    def linear(self, x: str, weight: torch.Tensor, bias: str, **attributes: Any) -> str:
        """`x @ weight.T + bias`; `weight` as torch keeps it, `bias` the name of a tensor."""
        return str(self.op("Gemm", x, self.const(weight.detach().numpy().T), bias, **attributes))


def build(net: Detector) -> onnx.ModelProto:
    """The whole graph for a trained detector in eval mode."""
    layout, b = net.layout, Builder()
    top, left, height, width = layout.view
    plane = b.cut("frame", top, left, height, width)
    heat, context = _coarse(b, net, plane)
    pooled, camera = _pooled(b, net, context)
    parts = [_things(b, net, plane, heat, context, camera)] if layout.things else []
    parts += [_grid(b, net, number, pooled) for number in range(len(layout.schema.grids))]
    parts += [_gauge(b, net, number) for number in range(len(layout.schema.gauges))]
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


def _coarse(b: Builder, net: Detector, plane: str) -> tuple[str, str]:
    """(heat [things, cells], context [C, cells])."""
    layers = [*net.stem, *net.trunk, net.head]
    x = plane
    for i, layer in enumerate(layers):
        if isinstance(layer, nn.Conv2d):
            norm = layers[i + 1] if i + 1 < len(layers) and isinstance(layers[i + 1], nn.BatchNorm2d) else None
            x = b.conv(x, layer, norm, relu=norm is not None)
    kinds, depth = len(net.layout.things), net.width.context
    flat = b.op("Reshape", x, b.ints(kinds + depth, -1))
    if not kinds:
        return "", flat
    heat, context = b.op("Split", flat, b.ints(kinds, depth), outputs=2, axis=0)
    return b.op("Add", heat, b.const(net.place)), context


def _pooled(b: Builder, net: Detector, context: str) -> tuple[str, str]:
    """(pooled [1, 2C], minus the camera's shake as [1, 4]: -x, -y, 0, 0)."""
    mixed = b.op("Reshape", b.op("MatMul", context, b.const(net.maps)), b.ints(1, -1))
    pooled = b.op("Relu", b.linear(mixed, net.pool.weight, b.const(net.pool.bias)))
    weight, bias = torch.zeros(4, net.camera.in_features), torch.zeros(4)
    weight[:2], bias[:2] = -net.camera.weight.detach()[[1, 0]], -net.camera.bias.detach()[[1, 0]]
    return pooled, b.linear(pooled, weight, b.const(bias))


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


def _things(b: Builder, net: Detector, plane: str, heat: str, context: str, camera: str) -> str:
    """float[slots * 8] in the schema's order."""
    layout = net.layout
    cells = _choose(b, layout, heat)
    pixels = b.op("Reshape", plane, b.ints(layout.view[2] * layout.view[3], 3))
    found = [_refine(b, net, number, pixels, context, cells) for number in range(len(layout.groups))]
    rows = found[0] if len(found) == 1 else b.op("Concat", *found, axis=0)
    order = np.argsort(layout.slot_starts[[s for g in layout.groups for s in g.slots]])
    if (order != np.arange(len(order))).any():
        rows = b.op("Gather", rows, b.ints(*order), axis=0)
    logit, box = b.op("Split", rows, b.ints(1, 4), outputs=2, axis=1)
    seen = b.op("Cast", b.op("Greater", logit, b.const(0.0)), to=TensorProto.FLOAT)
    box = b.op("Mul", b.op("Add", box, camera), seen)
    still = b.const(np.zeros((len(order), 2)))
    return str(b.op("Reshape", b.op("Concat", seen, box, still, b.op("Sigmoid", logit), axis=1), b.ints(-1)))


def _refine(b: Builder, net: Detector, number: int, pixels: str, context: str, cells: str) -> str:
    """float[n, 5] of one group: logit, x, y, w, h in native pixels as seen."""
    layout, refiner = net.layout, net.refiners[number]
    group = layout.groups[number]
    kinds = [layout.slots[s][0] for s in group.slots]
    if group.slots != tuple(range(len(layout.slots))):
        cells = b.op("Gather", cells, b.ints(*group.slots), axis=0)
    origins = layout.origins(group.patch)
    base = b.op("Gather", b.const(origins[:, :1] * layout.view[3] + origins[:, 1:], np.int32), cells, axis=0)
    index = b.op("Add", base, b.const(layout.offsets(group.patch)[None], np.int32))
    patch = b.op("Reshape", b.op("Gather", pixels, index, axis=0), b.ints(len(kinds), -1))
    size = 3 * group.patch[0] * group.patch[1]
    patch = b.op("LayerNormalization", patch, b.const(np.ones(size)), b.const(np.zeros(size)), epsilon=PATCH_EPS)
    fixed = b.const(refiner.look.bias + refiner.kind[kinds])  # type: ignore[operator, union-attr, index]
    around = b.op("Gather", context, cells, axis=1)
    hidden = b.linear(around, refiner.context.weight, fixed, transA=1)  # type: ignore[union-attr, arg-type]
    hidden = b.op("Relu", b.linear(patch, refiner.look.weight, hidden))  # type: ignore[union-attr, arg-type]
    middle = refiner.mid
    hidden = b.op("Relu", b.linear(hidden, middle.weight, b.const(middle.bias)))  # type: ignore[union-attr, arg-type]
    weight, bias = _in_pixels(refiner.out, float(net.sharpness))  # type: ignore[arg-type]
    corner = np.zeros((len(origins), 5), np.float32)
    corner[:, 1], corner[:, 2] = origins[:, 1] + layout.view[1], origins[:, 0] + layout.view[0]
    return b.linear(hidden, weight, b.op("Gather", b.const(corner + bias), cells, axis=0))


def _in_pixels(out: nn.Linear, sharpness: float) -> tuple[torch.Tensor, np.ndarray]:
    """Weight and bias of a refiner's output as logit, x, y, w, h (torch has logit, y, x, h, w in units of REACH)."""
    gain = torch.tensor([sharpness, REACH, REACH, REACH, REACH])
    order = [0, 2, 1, 4, 3]
    return (out.weight * gain[:, None])[order].detach(), (out.bias * gain)[order].detach().numpy()


def _grid(b: Builder, net: Detector, number: int, pooled: str) -> str:
    """float[rows * cols] of one grid, 1 where a cell is present."""
    spec, head = net.layout.schema.grids[number], net.grids[number]
    top, left, height, width = net.layout.grid_window(spec.name)
    cell, out = head.cell, head.out
    plane = b.cut("frame", top, left, spec.rows * height, spec.cols * width)
    own = b.conv(plane, cell, relu=False)  # type: ignore[arg-type]
    shared = b.linear(pooled, head.context.weight, b.const(head.context.bias))  # type: ignore[union-attr, arg-type]
    shared = b.op("Reshape", shared, b.ints(1, -1, 1, 1))
    x = b.conv(b.op("Relu", b.op("Add", own, shared)), out, relu=False)  # type: ignore[arg-type]
    present = b.op("Greater", b.op("Add", x, b.const(head.bias)), b.const(0.0))
    return str(b.op("Reshape", b.op("Cast", present, to=TensorProto.FLOAT), b.ints(-1)))


def _gauge(b: Builder, net: Detector, number: int) -> str:
    """float[1]: one gauge in its own units."""
    spec, reader = net.layout.schema.gauges[number], net.gauges[number]
    top, left, bottom, right = spec.box
    x = b.conv(b.cut("frame", top, left, bottom - top, right - left), reader[0])  # type: ignore[index, arg-type]
    last, span = reader[3], spec.high - spec.low  # type: ignore[index]
    x = b.linear(b.op("Reshape", x, b.ints(1, -1)), last.weight * span, b.const(last.bias * span + spec.low))
    return str(b.op("Reshape", x, b.ints(-1)))


assert CELL == 8  # the trunk's strides are 4 and 2
