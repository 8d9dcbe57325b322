"""The detector as a torch module, built from the scene schema: for boxes a coarse look at the whole field, then a fine
look at the chosen cells; for readings, landmarks and what is seen around them.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor, nn
from torch.nn import functional as F

from perception.scene import OVERLAP, ReadingSpec
from perception.training.layout import Group, Layout

# ----------------------------------------------------------------------------------------------------
# The detector: a coarse look at the whole field, then a fine look at the chosen cells. torch, training only.
#
# A strided trunk gives one feature vector per 8 px cell; a heatmap per thing with a learned position bias chooses
# cells; a refiner reads a patch of raw pixels around each chosen cell and gives presence, centre and size; pooled
# features give the camera's shake, the context for grids, which are sampled at their cells, and gauges read their
# box.


REACH = 8.0  # px per unit of a refiner's sizes


@dataclass(frozen=True)
class Width:
    """Sizes of the detector. Channel counts that are not multiples of 8 cost as much as the next one. `far`: further
    blocks of the trunk that look 2, 4, ... cells away, for things that are much larger than a cell."""

    stem: int = 8
    trunk: int = 32
    depth: int = 2
    far: int = 0
    context: int = 16
    edges: int = 8
    hidden: int = 64
    maps: int = 8
    cell: int = 16
    landmarks: int = 8
    glimpse: int = 8

    def to_config(self) -> dict[str, int]:
        """JSON-able; of detectors that look no further, as it ever was."""
        return {name: value for name, value in asdict(self).items() if name != "far" or value}


def _trunk(width: Width, bias: bool = True) -> nn.Sequential:
    """From the stem's channels at stride 4 to features at stride 8."""
    blocks: list[nn.Module] = [nn.Conv2d(width.stem, width.trunk, 3, 2, 1, bias=bias)]
    blocks += [nn.BatchNorm2d(width.trunk), nn.ReLU()]
    for away in [1] * width.depth + [2 << n for n in range(width.far)]:
        blocks += [nn.Conv2d(width.trunk, width.trunk, 3, 1, away, away, width.trunk, bias=False)]
        blocks += [nn.Conv2d(width.trunk, width.trunk, 1, bias=bias), nn.BatchNorm2d(width.trunk), nn.ReLU()]
    return nn.Sequential(*blocks)


class GreyConv(nn.Conv2d):  # type: ignore[misc]
    """A first layer that reads grey levels 0..255 as -2..2 without a scaled copy of the frame."""

    def grey(self) -> tuple[Tensor, Tensor]:
        """The weight and bias that apply to grey levels."""
        weight = self.weight / 64
        bias = torch.zeros(self.out_channels) if self.bias is None else self.bias
        return weight, bias - 128 * weight.flatten(1).sum(1)

    def forward(self, input: Tensor) -> Tensor:
        """float[B, C, H, W] in 0..255."""
        return F.conv2d(input, *self.grey(), self.stride, self.padding)


class Refiner(nn.Module):  # type: ignore[misc]
    """Fine look at one patch per slot: presence logit, centre (y, x) and size (h, w) in px.

    The patch is normalised to zero mean and unit variance, so that contrast and brightness do not matter, and edges
    saturate, so that a bright thing does not outweigh its dull neighbour. The centre is the mean of a distribution
    over BINS places along each axis: exact where a plain regression blurs.
    """

    def __init__(self, layout: Layout, group: Group, width: Width) -> None:
        super().__init__()
        high, wide = group.patch
        kinds = [layout.slots[s][0] for s in group.slots]
        self.patch = (high, wide)
        self.edges = nn.Conv2d(3, width.edges, 4, 2)
        spots = ((high - 4) // 2 + 1) * ((wide - 4) // 2 + 1)
        self.look = nn.Linear(spots * width.edges, width.hidden)
        self.context = nn.Linear(width.context, width.hidden, bias=False)
        self.kind = nn.Parameter(torch.zeros(len(layout.things), width.hidden))
        self.think = nn.Linear(width.hidden, width.hidden)
        self.out = nn.Linear(width.hidden, 3 + 2 * BINS)
        sizes = torch.tensor([layout.things[k].size[::-1] for k in kinds], dtype=torch.float32).mean(0)
        with torch.no_grad():
            self.out.bias[:3] = torch.cat([torch.zeros(1), sizes / REACH])

    def forward(self, patch: Tensor, context: Tensor, kind: Tensor) -> tuple[Tensor, Tensor]:
        """patch [N, h, w, 3] grey levels, context [N, C], kind int [N] -> [N, 5]: logit; y, x from the origin; h, w,
        and the places' log-probabilities [N, 2, BINS] along y and x."""
        planes = F.layer_norm(patch, patch.shape[1:], eps=PATCH_EPS).permute(0, 3, 1, 2)
        x = self.edges(planes).clamp(0, 1).flatten(1)
        x = F.relu(self.look(x) + self.context(context) + self.kind[kind])
        y: Tensor = self.out(F.relu(self.think(x)))
        places = y[:, 3:].unflatten(1, (2, BINS)).log_softmax(2)
        mean = places.exp() @ torch.arange(BINS, dtype=torch.float32)
        return torch.cat([y[:, :1], mean * self.spacing(), y[:, 1:3] * REACH], 1), places

    def spacing(self) -> Tensor:
        """float[2]: px between neighbouring places along y and x."""
        return torch.tensor(self.patch) / (BINS - 1)


BINS = 16  # places along each axis of a patch, rim to rim
PATCH_EPS = 60.0  # variance floor of a patch, grey levels squared


class GridHead(nn.Module):  # type: ignore[misc]
    """One logit per cell from its own pixels and the pooled context (which colour is "nothing"?)."""

    def __init__(self, rows: int, cols: int, cell: tuple[int, int], context: int, width: int) -> None:
        super().__init__()
        self.cell = GreyConv(3, width, cell, stride=cell)
        self.context = nn.Linear(context, width)
        self.out = nn.Conv2d(width, 1, 1)
        self.bias = nn.Parameter(torch.zeros(rows, cols))

    def forward(self, pixels: Tensor, context: Tensor) -> Tensor:
        """pixels [B, 3, rows * h, cols * w], context [B, C] -> logits [B, rows * cols]."""
        x = F.relu(self.cell(pixels) + self.context(context)[:, :, None, None])
        return (self.out(x)[:, 0] + self.bias).flatten(1)


def _gauge_reader(box: tuple[int, int, int, int]) -> nn.Module:
    """Reads a number in 0..1 off all pixels of a box (top, left, bottom, right)."""
    pixels = GreyConv(3, 16, (box[2] - box[0], box[3] - box[1]))
    return nn.Sequential(pixels, nn.ReLU(), nn.Flatten(), nn.Linear(16, 1))


SHARP = 8.0  # heat is multiplied by it before the softmax: landmarks are places from the first step on
NEAR = 8.0  # landmarks relative to their mean are so many times larger: small moves drown in places of a whole picture


class Reader(nn.Module):  # type: ignore[misc]
    """Declared numbers off the whole view: landmarks are the mean places of heat maps; places, places relative to each
    other and the features around them go through a small network.
    """

    def __init__(self, layout: Layout, width: Width) -> None:
        super().__init__()
        w = self.width = width
        self.stem = nn.Sequential(GreyConv(3, w.stem, 4, 4), nn.BatchNorm2d(w.stem), nn.ReLU())
        self.trunk = _trunk(w, bias=False)
        self.head = nn.Conv2d(w.trunk, w.landmarks + w.glimpse, 1)
        self.register_buffer("places", torch.from_numpy(layout.places()), persistent=False)
        inside, outs = (5 + w.glimpse) * w.landmarks, layout.readings[-1].stop
        self.straight = nn.Linear(inside, outs)
        self.hidden, self.think = nn.Linear(inside, w.hidden), nn.Linear(w.hidden, w.hidden)
        self.out = nn.Linear(w.hidden, outs)

    def forward(self, planes: Tensor) -> Tensor:
        """float[B, 3, h, w] grey levels -> [B, outs], for `read_slot`."""
        x = self.head(self.trunk(self.stem(planes))).flatten(2)
        marks = x[:, : self.width.landmarks]
        heat = (SHARP * marks).softmax(2)
        at = heat @ self.places
        around = heat @ x[:, self.width.landmarks :].transpose(1, 2)
        near = NEAR * (at - at.mean(1, keepdim=True))
        code = torch.cat([at.flatten(1), around.flatten(1), near.flatten(1), marks.amax(2)], 1)  # a peak, or nothing?
        hidden: Tensor = F.relu(self.think(F.relu(self.hidden(code))))
        answer: Tensor = self.straight(code) + self.out(hidden)
        return answer


def read_slot(reading: ReadingSpec, raw: Tensor, sharpness: Tensor) -> Tensor:
    """raw [B, outs of this reading] -> its slot in the Scene vector: seen, the fields in their units, sure."""
    sure, at, columns = torch.sigmoid(raw[:, 0] * sharpness), 1, []
    for f in reading.fields:
        middle, half = (f.low + f.high) / 2, (f.high - f.low) / 2
        if f.wrap:  # the direction (cos, sin), of any length
            columns.append(torch.atan2(raw[:, at + 1], raw[:, at]) * half / math.pi + middle)
        else:
            columns.append((raw[:, at] * half + middle).clamp(f.low, f.high))
        at += 1 + f.wrap
    seen = (raw[:, :1] > 0).float()
    return torch.cat([seen, torch.stack(columns, 1) * seen, sure[:, None]], 1)


class DetectorNet(nn.Module):  # type: ignore[misc]
    """Frames to coarse heat, context and the parts read off the whole picture."""

    def __init__(self, layout: Layout, width: Width | None = None) -> None:
        super().__init__()
        self.layout, self.width = layout, width or Width()
        w = self.width
        self.sharpness = nn.Buffer(torch.ones(()))  # presence logits are multiplied by it; fitted for calibration
        if layout.finds:
            self._finders(layout, w)
        self.reader = Reader(layout, w) if layout.schema.readings else None

    def _finders(self, layout: Layout, w: Width) -> None:
        """What finds boxes, cells and gauges."""
        self.stem = nn.Sequential(GreyConv(3, w.stem, 4, 4), nn.BatchNorm2d(w.stem), nn.ReLU())
        self.trunk = _trunk(w)
        kinds, cells = len(layout.things), layout.cells[0] * layout.cells[1]
        self.head = nn.Conv2d(w.trunk, kinds + w.context, 1)
        self.place = nn.Parameter(torch.zeros(kinds, cells))
        self.refiners = nn.ModuleList(Refiner(layout, g, w) for g in layout.groups)
        self.maps = nn.Parameter(torch.randn(cells, w.maps) / cells)
        self.pool = nn.Linear(w.context * w.maps, 2 * w.context)
        self.camera = nn.Linear(2 * w.context, 2)
        grids = layout.schema.grids
        cell_sizes = [layout.grid_window(g.name)[2:] for g in grids]
        self.grids = nn.ModuleList(
            GridHead(g.rows, g.cols, size, 2 * w.context, w.cell) for g, size in zip(grids, cell_sizes, strict=True)
        )
        self.gauges = nn.ModuleList(_gauge_reader(g.box) for g in layout.schema.gauges)
        for group, _ in enumerate(layout.groups):
            patch = layout.groups[group].patch
            self.register_buffer(f"origin{group}", torch.from_numpy(layout.origins(patch)), persistent=False)

    def forward(self, frames: Tensor) -> dict[str, Tensor]:
        """uint8[B, H, W, 3] -> heat [B, things, cells], context [B, C, cells], camera [B, 2] (y, x px), grid:NAME,
        gauge:NAME, `read` [B, outs] of the readings, and `view` uint8[B, h, w, 3] for `refine`."""
        top, left, height, width = self.layout.view
        view = frames[:, top : top + height, left : left + width].contiguous()
        # The pictures' own order, colours side by side, is also the faster one for every convolution that follows.
        planes = view.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.channels_last)
        read = {} if self.reader is None else {"read": self.reader(planes)}
        if not self.layout.finds:
            return read
        head = self.head(self.trunk(self.stem(planes))).flatten(2)
        kinds = len(self.layout.things)
        heat, context = head[:, :kinds] + self.place, head[:, kinds:]
        pooled = F.relu(self.pool((context @ self.maps).flatten(1)))
        out = {"heat": heat, "context": context, "camera": self.camera(pooled), "view": view}
        for spec, grid in zip(self.layout.schema.grids, self.grids, strict=True):
            y, x, h, w = self.layout.grid_window(spec.name)
            pixels = frames[:, y : y + spec.rows * h, x : x + spec.cols * w].permute(0, 3, 1, 2)
            out[f"grid:{spec.name}"] = grid(pixels.float(), pooled)
        for gauge, reader in zip(self.layout.schema.gauges, self.gauges, strict=True):
            y, x, bottom, right = gauge.box
            pixels = frames[:, y:bottom, x:right].permute(0, 3, 1, 2).float()
            out[f"gauge:{gauge.name}"] = reader(pixels)[:, 0] * (gauge.high - gauge.low) + gauge.low
        return out | read

    def refine(
        self, out: dict[str, Tensor], group: int, row: Tensor, cell: Tensor, kind: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Look closely at `cell` of frame `row` (int[N] each) for things of `kind` -> [N, 5]: logit, then y, x, h, w
        in native pixels *as seen* (the camera's shake is not taken out); the places; the patches' corners [N, 2]."""
        origin = getattr(self, f"origin{group}")[cell]
        top, left, _, _ = self.layout.view
        # numpy takes whole rows of a patch at once; torch would look up every pixel by a number of its own
        windows = sliding_window_view(out["view"].numpy(), self.layout.groups[group].patch, axis=(1, 2))
        patch = torch.from_numpy(windows[row.numpy(), origin[:, 0].numpy(), origin[:, 1].numpy()])
        patch = patch.permute(0, 2, 3, 1).float()
        found, places = self.refiners[group](patch, out["context"][row, :, cell], kind)
        corner = origin.float() + torch.tensor([top, left], dtype=torch.float32)
        return torch.cat([found[:, :1], found[:, 1:3] + corner, found[:, 3:]], 1), places, corner

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def scenes(self, frames: Tensor, slack: float = 0.0) -> Tensor:
        """uint8[B, H, W, 3] -> Scene vectors float32[B, size]; what the exported graph computes, written plainly.

        slack: by how much overlap and sureness may fail for a rival to be beaten nevertheless.
        """
        layout = self.layout
        logits = torch.zeros(len(frames), len(layout.slots))
        out, scene = self(frames), torch.zeros(len(frames), layout.schema.size)
        cells = self.choose(out["heat"]) if layout.things else scene
        kinds = torch.tensor([k for k, _ in layout.slots])
        for number, group in enumerate(layout.groups):
            for slot in group.slots:
                row = torch.arange(len(frames))
                found = self.refine(out, number, row, cells[:, slot], kinds[slot].expand(len(frames)))[0]
                logits[:, slot] = found[:, 0] * self.sharpness
                sure = torch.sigmoid(logits[:, slot])
                seen = (sure > 0.5).float()[:, None]
                y, x = (found[:, 1:3] - out["camera"]).unbind(1)
                columns = torch.stack([torch.ones_like(x), x, y, found[:, 4], found[:, 3], 0 * x, 0 * x], 1)
                start = int(layout.slot_starts[slot])
                scene[:, start : start + 8] = torch.cat([columns * seen, sure[:, None]], 1)
        if layout.rivals is not None:
            starts = torch.from_numpy(layout.slot_starts)
            keep = ~beaten(
                scene[:, starts[:, None] + torch.arange(1, 5)], logits, torch.from_numpy(layout.rivals), slack
            )
            for slot, start in enumerate(layout.slot_starts):
                scene[:, start : start + 8] *= keep[:, slot, None]
        for grid in layout.schema.grids:
            scene[:, layout.schema.grid(grid.name)] = (out[f"grid:{grid.name}"] > 0).float()
        for gauge in layout.schema.gauges:
            scene[:, layout.schema.gauge(gauge.name)] = out[f"gauge:{gauge.name}"]
        for reading, part in zip(layout.schema.readings, layout.readings, strict=True):
            scene[:, layout.schema.slot(reading.name)] = read_slot(reading, out["read"][:, part], self.sharpness)
        return scene

    def choose(self, heat: Tensor) -> Tensor:
        """heat [B, things, cells] -> int[B, slots]: arg-max for single things, highest local maxima for others."""
        rows, cols = self.layout.cells
        chosen = []
        for k, thing in enumerate(self.layout.things):
            if thing.count == 1:
                chosen.append(heat[:, k].argmax(1, keepdim=True))
                continue
            plane = heat[:, k].view(-1, 1, rows, cols)
            peak = plane == F.max_pool2d(plane, 3, 1, 1)
            chosen.append(torch.where(peak, plane, NOT_A_PEAK).flatten(1).topk(thing.count, 1).indices)
        return torch.cat(chosen, 1)


def beaten(boxes: Tensor, logits: Tensor, rivals: Tensor, slack: float = 0.0) -> Tensor:
    """bool[B, slots]: slots at whose place a thing of another kind is surer. boxes [B, slots, 4] (x, y, w, h; all 0
    where nothing is seen), logits [B, slots], rivals bool[slots, slots]."""
    low, high = boxes[..., :2] - boxes[..., 2:] / 2, boxes[..., :2] + boxes[..., 2:] / 2
    sides = torch.minimum(high[:, :, None], high[:, None]) - torch.maximum(low[:, :, None], low[:, None])
    both, area = sides.clamp(min=0).prod(-1), boxes[..., 2:].prod(-1)
    one_place = both > (OVERLAP - slack) * (area[:, :, None] + area[:, None] - both)
    return (one_place & rivals & (logits[:, None] > logits[:, :, None] - slack)).any(2)


NOT_A_PEAK = -1e4  # heat of a cell that is no local maximum
