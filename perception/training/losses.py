"""What the detector should have said, and how wrong it was. torch, training only.

Positions in targets are as seen: truth plus the camera's shake.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from perception.training.layout import CELL, Layout
from perception.training.network import BINS, DetectorNet

SPREAD = 3.5  # px, how far the coarse target reaches around a centre
NEAR = 1.15 * CELL  # px on each axis between a cell's centre and a thing that its patch should report
NEAR_SHARE = 1 / 8  # of its side: the same of a large thing, whose middle is hard to tell to a cell
WEIGHTS = {"heat": 1.0, "presence": 2.0, "box": 1.0, "place": 0.2, "camera": 0.5, "grid": 2.0, "gauge": 1.0,
           "read": 1.0, "readable": 0.3}  # fmt: skip


class Targets:
    """Boxes of every slot as seen: `seen` [B, slots], `box` [B, slots, 4] (y, x, h, w)."""

    def __init__(self, layout: Layout, scenes: Tensor, camera: Tensor) -> None:
        starts = torch.from_numpy(layout.slot_starts)
        slots = scenes[:, starts[:, None] + torch.arange(5)]
        self.seen = slots[..., 0] > 0.5
        self.box = slots[..., [2, 1, 4, 3]].clone()
        self.box[..., :2] += camera[:, None]


def total_loss(net: DetectorNet, frames: Tensor, scenes: Tensor, camera: Tensor, seed: int) -> dict[str, Tensor]:
    """Every part of the loss and their weighted sum under `total`."""
    out = net(frames)
    parts: dict[str, Tensor] = {}
    if net.layout.things:
        targets = Targets(net.layout, scenes, camera)
        parts["heat"] = heat_loss(net.layout, out["heat"], targets)
        parts["presence"], parts["box"], parts["place"] = fine_loss(net, out, targets, seed)
    if net.layout.finds and bool((camera != 0).any()):
        parts["camera"] = F.smooth_l1_loss(out["camera"], camera, beta=0.3)
    schema = net.layout.schema
    for grid in schema.grids:
        truth = scenes[:, schema.grid(grid.name)]
        parts["grid"] = parts.get("grid", 0) + F.binary_cross_entropy_with_logits(out[f"grid:{grid.name}"], truth)
    for gauge in schema.gauges:
        span = gauge.high - gauge.low
        error = (out[f"gauge:{gauge.name}"] - scenes[:, schema.gauge(gauge.name)]) / span
        parts["gauge"] = parts.get("gauge", 0) + error.abs().mean()
    if net.layout.readings:
        parts["read"], parts["readable"] = reading_loss(net.layout, out["read"], scenes)
    parts["total"] = torch.stack([WEIGHTS[k] * v for k, v in parts.items()]).sum()
    return parts


def reading_loss(layout: Layout, raw: Tensor, scenes: Tensor) -> tuple[Tensor, Tensor]:
    """(mean error of the fields that are seen in shares of half their range, cross-entropy of presence).

    A field that wraps is a direction: the distance from the unit vector, and a little for a length that is not 1.
    """
    values, present = raw.new_zeros(()), raw.new_zeros(())
    for reading, part in zip(layout.schema.readings, layout.readings, strict=True):
        mine, truth = raw[:, part], scenes[:, layout.schema.slot(reading.name)]
        seen, at = truth[:, 0] > 0.5, 1
        present = present + F.binary_cross_entropy_with_logits(mine[:, 0], seen.float())
        if not bool(seen.any()):
            continue
        mine, truth = mine[seen], truth[seen]
        for k, f in enumerate(reading.fields, 1):
            share = (truth[:, k] - (f.low + f.high) / 2) / ((f.high - f.low) / 2)
            if f.wrap:
                arrow, turn = mine[:, at : at + 2], math.pi * share
                length = arrow.norm(dim=1, keepdim=True).clamp(min=1e-3)
                wanted = torch.stack([turn.cos(), turn.sin()], 1)
                values = values + (arrow / length - wanted).norm(dim=1).mean() + 0.02 * ((length - 1) ** 2).mean()
            else:
                values = values + (mine[:, at] - share).abs().mean()
            at += 1 + f.wrap
    return values, present


def heat_loss(layout: Layout, heat: Tensor, targets: Targets) -> Tensor:
    """Cross-entropy over cells for single things that are seen; per-cell cross-entropy for kinds with many."""
    centres = torch.from_numpy(layout.centres())
    loss, slot = heat.new_zeros(()), 0
    for k, thing in enumerate(layout.things):
        seen, box = targets.seen[:, slot : slot + thing.count], targets.box[:, slot : slot + thing.count]
        slot += thing.count
        near = torch.exp(-((box[:, :, None, :2] - centres) ** 2).sum(-1) / (2 * SPREAD**2)) * seen[..., None]
        if thing.count == 1:
            wanted = near[:, 0] / near[:, 0].sum(1, keepdim=True).clamp(min=1e-6)
            loss = loss - (wanted * heat[:, k].log_softmax(1)).sum(1).mean()
        else:
            wanted = near.amax(1)
            weight = 1 + 20 * wanted
            loss = loss + 10 * F.binary_cross_entropy_with_logits(heat[:, k], wanted, weight)
    return loss / len(layout.things)


def fine_loss(net: DetectorNet, out: dict[str, Tensor], targets: Targets, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """(presence, box, place): the refiners at the chosen cells and at random cells around every seen thing."""
    layout = net.layout
    chosen = net.choose(out["heat"].detach())
    around = _cells_around(layout, targets.box[..., :2], seed)
    presence, boxes, placed = [], [], []
    for number, group in enumerate(layout.groups):
        slots = torch.tensor(group.slots)
        row = torch.arange(len(chosen))[:, None].expand(-1, len(slots)).reshape(-1)
        slot = slots.repeat(len(chosen))
        keep = targets.seen[row, slot]
        rows, slots_ = torch.cat([row, row[keep]]), torch.cat([slot, slot[keep]])
        cells = torch.cat([chosen[row, slot], around[row, slot][keep]])
        kinds = torch.tensor([k for k, _ in layout.slots])[slots_]
        found, places, corner = net.refine(out, number, rows, cells, kinds)
        near, box = _nearest(layout, targets, rows, slots_, cells)
        presence.append(F.binary_cross_entropy_with_logits(found[:, 0], near.float()))
        if bool(near.any()):
            boxes.append(F.smooth_l1_loss(found[near, 1:], box[near], beta=0.3))
            spacing = net.refiners[number].spacing()
            placed.append(place_loss(places[near], (box[near, :2] - corner[near]) / spacing))
    nothing = [out["heat"].new_zeros(())]
    return torch.stack(presence).mean(), torch.stack(boxes or nothing).mean(), torch.stack(placed or nothing).mean()


def place_loss(places: Tensor, truth: Tensor) -> Tensor:
    """Cross-entropy of log-probabilities [N, 2, BINS] against the two places around truth [N, 2] (in places).

    A mean alone may lie between two wrong guesses (a ball at one end of a paddle); this makes it choose.
    """
    truth = truth.clamp(0, BINS - 1)
    share = (1 - (truth[..., None] - torch.arange(BINS)).abs()).clamp(min=0)
    return -(share * places).sum(2).mean()


def _cells_around(layout: Layout, centre: Tensor, seed: int) -> Tensor:
    """int[B, slots]: the cell of a point within +-5 px of each centre (y, x)."""
    wobble = torch.rand(centre.shape, generator=torch.Generator().manual_seed(seed)) * 10 - 5
    corner = torch.tensor(layout.view[:2])
    cell = ((centre + wobble - corner) / CELL).floor().long()
    rows, cols = layout.cells
    return cell[..., 0].clamp(0, rows - 1) * cols + cell[..., 1].clamp(0, cols - 1)


def _nearest(layout: Layout, targets: Targets, row: Tensor, slot: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """(is a thing of the slot's kind near the cell?, box of the nearest one) for every (row, slot, cell)."""
    kinds = torch.tensor([k for k, _ in layout.slots])
    same = kinds[slot][:, None] == kinds
    sides = torch.tensor([layout.things[k].size[::-1] for k in kinds.tolist()])
    away = (targets.box[row][..., :2] - torch.from_numpy(layout.centres())[cell][:, None]).abs()
    away = (away / (NEAR_SHARE * sides).clamp(min=NEAR)).amax(-1)
    away = torch.where(same & targets.seen[row], away, torch.inf)
    distance, which = away.min(1)
    return distance <= 1, targets.box[row, which]
