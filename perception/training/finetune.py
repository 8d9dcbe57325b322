"""A trained detector and a little data: training that goes on from where it stopped."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import numpy_helper
from torch import nn

from envs.files import read_file
from perception.errors import PerceptionError, SampleError
from perception.scene import SceneSchema
from perception.training.augment import Augmentation, Augmenter
from perception.training.batches import Batch, draw_weights
from perception.training.data import Samples
from perception.training.export import export
from perception.training.layout import Layout
from perception.training.losses import total_loss
from perception.training.network import REACH, DetectorNet, GreyConv, Reader, Width

# ----------------------------------------------------------------------------------------------------
# A trained detector's file -> the network it came from, so that training can go on where it stood.


def recall(path: str | Path, schema: SceneSchema, shape: tuple[int, int], width: Width | None = None) -> DetectorNet:
    """The detector whose exported graph is `path`; PerceptionError when the file was made for something else."""
    try:
        model = onnx.load_model_from_string(read_file(Path(path), "weights", PerceptionError))
    except DecodeError as error:
        raise PerceptionError(f"{path} is damaged or no ONNX file ({error}); train from the start") from None
    net = DetectorNet(Layout(schema, shape), width)
    constants = (torch.from_numpy(np.array(numpy_helper.to_array(c))) for c in model.graph.initializer)
    try:
        with torch.no_grad():
            _fill(net, iter([c for c in constants if c.dtype == torch.float32]))
    except (RuntimeError, StopIteration) as error:
        raise PerceptionError(f"{path} does not fit this schema and width ({error}); train from the start") from None
    return net.eval()


def _fill(net: DetectorNet, constants: Iterator[torch.Tensor]) -> None:
    """Walk the constants in the order of `graph.build`."""
    if net.layout.finds:
        _finders(net, constants)
    if net.reader is not None:
        _features(net.reader, constants)
        next(constants), next(constants), next(constants)  # sharpness of the heat, places, how near is near
        for layer in (net.reader.hidden, net.reader.think, net.reader.straight, net.reader.out):
            _linear(layer, constants)


def _features(net: DetectorNet | Reader, constants: Iterator[torch.Tensor]) -> None:
    layers = [*net.stem, *net.trunk, net.head]
    for i, layer in enumerate(layers):
        if isinstance(layer, nn.Conv2d):
            norm = layers[i + 1] if i + 1 < len(layers) and isinstance(layers[i + 1], nn.BatchNorm2d) else None
            _conv(layer, norm, constants)


def _finders(net: DetectorNet, constants: Iterator[torch.Tensor]) -> None:
    _features(net, constants)
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


def _things(net: DetectorNet, constants: Iterator[torch.Tensor]) -> None:
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


# ----------------------------------------------------------------------------------------------------
# A trained detector and a little data -> one that goes on from there for a few hundred steps.
#
# Same detector, sets, steps and seed: same weights.


GENTLE = Augmentation(
    clean=0.6, recolour=0.0, light=0.3, noise=0.2, blur=0.0, lines=0.0, vignette=0.0, shake=0.5, cover=0.5
)


@dataclass(frozen=True)
class Part:
    """`count` frames of every batch come from `samples`, changed by `look`; rare frames oftener if `rare`."""

    samples: Samples
    count: int
    look: Augmentation = field(default_factory=Augmentation)
    rare: bool = False


@dataclass(frozen=True)
class Schedule:
    """Steps, the highest rate (warm-up, then half a cosine), weight decay, gradient clip."""

    steps: int = 500
    rate: float = 1e-3
    warm: int = 30
    decay: float = 1e-3
    clip: float = 5.0


class Mixture:
    """Batches that hold every part, each a function of (seed, step)."""

    def __init__(self, parts: Sequence[Part], schema: SceneSchema, seed: int) -> None:
        self.parts = [p for p in parts if len(p.samples) and p.count]
        if not self.parts:
            raise SampleError("nothing to learn from: every set of frames is empty")
        for part in self.parts:
            part.samples.check(schema)
        self.seed = seed
        self._augment = [Augmenter(schema, p.samples.palette, p.look) for p in self.parts]
        self._edges = [
            np.cumsum(draw_weights(p.samples.scenes, schema) if p.rare else np.full(len(p.samples), 1 / len(p.samples)))
            for p in self.parts
        ]

    def batch(self, step: int) -> Batch:
        """RGB uint8[B, H, W, 3], labels float32[B, size], camera float32[B, 2]."""
        rng, made = np.random.default_rng([self.seed, step]), []
        for part, augment, edges in zip(self.parts, self._augment, self._edges, strict=True):
            rows = np.minimum(np.searchsorted(edges, rng.random(part.count)), len(part.samples) - 1)
            made.append(augment(part.samples.frames[rows], part.samples.scenes[rows], rng))
        frames, scenes, camera = (np.concatenate(column) for column in zip(*made, strict=True))
        return frames, scenes, camera


def adapt(
    weights: Path, out: Path, schema: SceneSchema, parts: Sequence[Part], provenance: dict[str, Any],
    schedule: Schedule | None = None, seed: int = 0,
) -> float:  # fmt: skip
    """Go on training `eyes` on `parts` and write the result to `out`; the last losses' mean.

    PerceptionError when `eyes` were made for another schema, SampleError when there is nothing to learn from.
    """
    schedule, mixture = schedule or Schedule(), Mixture(parts, schema, seed)
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    net = recall(weights, schema, mixture.parts[0].samples.shape)
    loss = _fit(net, mixture, schedule, seed)
    check = mixture.batch(schedule.steps)[0][:32]
    told = {"steps": schedule.steps, "rate": schedule.rate, "seed": seed, **provenance}
    export(net, out, told, check)
    return loss


def blend(
    old: Path, new: Path, share: float, schema: SceneSchema, check: np.ndarray, provenance: dict[str, Any]
) -> None:
    """Move `new`'s weights back towards those of `old`, which it came from: `share` of the way is kept.

    Between the two, a detector has most of what was learned and has forgotten little. `check` uint8[N, H, W, 3].
    """
    shape = (int(check.shape[1]), int(check.shape[2]))
    net, learned = (recall(path, schema, shape) for path in (old, new))
    with torch.no_grad():
        for a, b in zip(net.parameters(), learned.parameters(), strict=True):
            a.lerp_(b, share)
        for a, b in zip(net.buffers(), learned.buffers(), strict=True):
            a.copy_(b)
    export(net, new, {**provenance, "blend": share}, check)


def _fit(net: DetectorNet, mixture: Mixture, schedule: Schedule, seed: int) -> float:
    """Norms stay as they are (`eval`): their statistics belong to all looks."""
    optimiser = torch.optim.AdamW(net.parameters(), lr=schedule.rate, weight_decay=schedule.decay)
    net.eval()
    losses = []
    for step in range(schedule.steps):
        rate = min(1.0, (step + 1) / schedule.warm) * 0.5 * (1 + math.cos(math.pi * step / schedule.steps))
        for group in optimiser.param_groups:
            group["lr"] = schedule.rate * rate
        frames, scenes, camera = (torch.from_numpy(part) for part in mixture.batch(step))
        loss = total_loss(net, frames, scenes, camera, seed * 1_000_003 + step)["total"]
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), schedule.clip)
        optimiser.step()
        losses.append(float(loss.detach()))
    return float(np.mean(losses[-50:])) if losses else 0.0
