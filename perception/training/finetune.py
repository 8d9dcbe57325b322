"""A trained detector and a little data: training that goes on from where it stopped, for a few hundred steps.

Same detector, sets, steps and seed: same weights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from perception.errors import SampleError
from perception.scene import SceneSchema
from perception.training.augment import Augmentation, Augmenter
from perception.training.batches import Batch, draw_weights
from perception.training.data import Samples
from perception.training.export import export, load_net
from perception.training.losses import total_loss
from perception.training.network import DetectorNet

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
    start: Path, out: Path, schema: SceneSchema, parts: Sequence[Part], provenance: dict[str, Any],
    schedule: Schedule | None = None, seed: int = 0,
) -> float:  # fmt: skip
    """Go on training the detector `start` on `parts` and write the result to `out`; the last losses' mean.

    PerceptionError when `start` was made for another schema or has no weights beside it, SampleError when there is
    nothing to learn from or frames have another size.
    """
    schedule, mixture = schedule or Schedule(), Mixture(parts, schema, seed)
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    net = load_net(start, schema)
    for part in mixture.parts:
        if part.samples.shape != net.layout.shape:
            found, wanted = ("x".join(map(str, shape)) for shape in (part.samples.shape, net.layout.shape))
            raise SampleError(f"frames of {found} px, {start} reads {wanted}; collect them from its own task")
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
    net, learned = (load_net(path, schema) for path in (old, new))
    with torch.no_grad():
        for a, b in zip(net.parameters(), learned.parameters(), strict=True):
            a.lerp_(b, share)
        for a, b in zip(net.buffers(), learned.buffers(), strict=True):
            a.copy_(b)
    export(net, new, {**provenance, "blend": share}, check)


def _fit(net: DetectorNet, mixture: Mixture, schedule: Schedule, seed: int) -> float:
    """Norms stay as they are (`eval`): their statistics belong to all looks."""
    optimiser = torch.optim.AdamW(net.parameters(), lr=schedule.rate, weight_decay=schedule.decay, fused=True)
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
