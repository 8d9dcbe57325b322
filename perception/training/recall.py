"""A trained file of eyes -> the network it came from, so that training can go on where it stood.

Knows: the order in which `graph.build` writes its constants, and how to undo what it folded: batch norms become the
identity (their statistics are frozen), sums of biases stay summed. Does not know: training. torch and onnx.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn

from perception.errors import PerceptionError
from perception.scene import SceneSchema
from perception.training.layout import Layout
from perception.training.network import REACH, Detector, GreyConv, Width


def recall(path: str | Path, schema: SceneSchema, shape: tuple[int, int], width: Width | None = None) -> Detector:
    """The detector whose exported graph is `path`; PerceptionError when the file was made for something else."""
    model = onnx.load(str(path))
    net = Detector(Layout(schema, shape), width)
    constants = (torch.from_numpy(np.array(numpy_helper.to_array(c))) for c in model.graph.initializer)
    try:
        with torch.no_grad():
            _fill(net, iter([c for c in constants if c.dtype == torch.float32]))
    except (RuntimeError, StopIteration) as error:
        raise PerceptionError(f"{path} does not fit this schema and width ({error}); train from the start") from None
    return net.eval()


def _fill(net: Detector, constants: Iterator[torch.Tensor]) -> None:
    """Walk the constants in the order of `graph.build`."""
    layers = [*net.stem, *net.trunk, net.head]
    for i, layer in enumerate(layers):
        if isinstance(layer, nn.Conv2d):
            norm = layers[i + 1] if i + 1 < len(layers) and isinstance(layers[i + 1], nn.BatchNorm2d) else None
            _conv(layer, norm, constants)
    layout = net.layout
    if layout.things:
        net.place.copy_(next(constants))
    net.maps.copy_(next(constants))
    _linear(net.pool, constants)
    net.camera.bias.copy_(-next(constants)[[1, 0]])
    net.camera.weight.copy_(-next(constants).T[[1, 0]])
    if layout.things:
        _things(net, constants)
    for head in net.grids:
        _conv(head.cell, None, constants)
        head.context.bias.copy_(next(constants)[:, 0])
        head.context.weight.copy_(next(constants))
        head.out.weight.copy_(next(constants).view_as(head.out.weight))
        head.out.bias.zero_()
        head.bias.copy_(-next(constants).view_as(head.bias))
    for spec, reader in zip(layout.schema.gauges, net.gauges, strict=True):
        _conv(reader[0], None, constants)
        span = spec.high - spec.low
        reader[3].bias.copy_((next(constants) - spec.low) / span)
        reader[3].weight.copy_(next(constants).T / span)


def _conv(layer: nn.Conv2d, norm: nn.BatchNorm2d | None, constants: Iterator[torch.Tensor]) -> None:
    """A convolution as it was folded; its norm, if any, becomes the identity."""
    weight, bias = next(constants), next(constants)
    if layer.in_channels == 3:
        high, wide = layer.kernel_size
        weight = weight.reshape(layer.out_channels, high, wide, 3).permute(0, 3, 1, 2)
    if isinstance(layer, GreyConv):
        bias = bias + 128 * weight.flatten(1).sum(1)
        weight = weight * 64
    if norm is not None:
        norm.running_mean.zero_()  # type: ignore[operator, union-attr]
        norm.running_var.fill_(1 - norm.eps)  # type: ignore[operator, union-attr]
        norm.weight.fill_(1.0)
        norm.bias.zero_()
        if layer.bias is None:  # what the norm added has no other place
            norm.bias.copy_(bias)
    layer.weight.copy_(weight)
    if layer.bias is not None:
        layer.bias.copy_(bias)


def _linear(layer: nn.Linear, constants: Iterator[torch.Tensor]) -> None:
    """Bias and weight, in the order in which they are written."""
    layer.bias.copy_(next(constants))
    layer.weight.copy_(next(constants).T)


def _things(net: Detector, constants: Iterator[torch.Tensor]) -> None:
    """The refiners, in the order of their groups."""
    layout, singles = net.layout, len(net.layout.things) - net.layout.singles
    for _ in range(singles):
        next(constants)  # NOT_A_PEAK
    for number, group in enumerate(layout.groups):
        refiner, kinds = net.refiners[number], [layout.slots[s][0] for s in group.slots]
        next(constants), next(constants)  # ones and zeros of the layer norm
        _conv(refiner.edges, None, constants)
        next(constants), next(constants)  # the clip's ends
        fixed = next(constants)
        refiner.look.bias.zero_()
        for row, kind in zip(fixed, kinds, strict=True):
            refiner.kind[kind] = row
        refiner.context.weight.copy_(next(constants).T)
        refiner.look.weight.copy_(next(constants).T)
        _linear(refiner.think, constants)
        gain = torch.ones(refiner.out.out_features)
        gain[1:3] = REACH  # the sharpness stays in the logit: it is 1 from here on
        bins = (len(gain) - 3) // 2
        order = [0, 2, 1, *range(3 + bins, 3 + 2 * bins), *range(3, 3 + bins)]
        weight, bias = torch.empty_like(refiner.out.weight), torch.empty_like(refiner.out.bias)
        bias[order], weight[order] = next(constants), next(constants).T
        refiner.out.weight.copy_(weight / gain[:, None])
        refiner.out.bias.copy_(bias / gain)
        next(constants)  # the patches' corners
    next(constants), next(constants), next(constants)  # threshold, places' steps, stillness
