"""The detector natively: a network as a plan of plain arrays, and the door to `eyes.c`, which looks.

A `Plan` says all that the engine knows of a network; `perception/native_plan.py` reads one from an ONNX file. Weights
stand as `x @ weight + bias` wants them, [inside, outside]; those of a convolution [height, width, inside, outside].
Values of a layer lie with channels last. The engine fills channels up to a multiple of LANES; that is done here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from native import engine

FORMAT = 1  # of the numbers that eyes.c reads
LANES = 8
ALIGNED = 16  # every array of weights begins at a multiple of so many
MODES = ("", "relu", "clip")
WINDOW, ALONE, ANEW = range(3)  # ways to look


@dataclass(frozen=True)
class Layer:
    """A convolution: weight [h, w, inside, outside], or [h, w, outside] when each channel goes by itself."""

    weight: np.ndarray
    bias: np.ndarray
    stride: int = 1
    pad: int = 0
    mode: str = "relu"


@dataclass(frozen=True)
class Linear:
    """x @ weight [inside, outside] + bias [outside]."""

    weight: np.ndarray
    bias: np.ndarray


@dataclass(frozen=True)
class Group:
    """Slots that one network refines. `slots` count in the network's order, `starts` in the scene vector.

    corners   int[cells, 2]: y, x in the view of the patch around each cell
    places    float[cells, 2]: x, y in the frame of the same, what a centre is counted from
    edges     weight [h, w, 3, outside], `stride` px apart
    fixed     float[slots, hidden]: the first layer's bias, with each thing's own
    look      weight [rows * cols * edges, hidden], rows and columns of spots where edges are seen
    out       to logit, width, height, then `bins` scores along x and as many along y, at steps [slots, 2, bins] px
    """

    slots: tuple[int, ...]
    starts: tuple[int, ...]
    patch: tuple[int, int]
    corners: np.ndarray
    places: np.ndarray
    edges: Layer
    look: np.ndarray
    context: np.ndarray
    fixed: np.ndarray
    think: Linear
    out: Linear
    steps: np.ndarray
    eps: float


@dataclass(frozen=True)
class Grid:
    """rows * cols windows of pixels from (top, left): above `threshold` a cell is there."""

    start: int
    rows: int
    cols: int
    top: int
    left: int
    own: Layer
    context: Linear
    weight: np.ndarray
    threshold: np.ndarray


@dataclass(frozen=True)
class Gauge:
    """One window of pixels to one number."""

    start: int
    top: int
    left: int
    pixels: Layer
    last: Linear


@dataclass(frozen=True)
class Finder:
    """Features whose channels are `context`, then one a thing, which with `place` [things, cells] is its heat.

    counts   slots of each thing; of one with several, cells that a neighbour exceeds count as `low`
    overlap  share of two boxes of different things from which they are one place, which the surer has; 0: both stay
    maps     [cells, maps]: how cells are pooled; `mix` from [maps * context], relu; `shake`: x, y added to all places
    """

    trunk: tuple[Layer, ...]
    counts: tuple[int, ...]
    context: int
    low: float
    place: np.ndarray
    maps: np.ndarray
    mix: Linear
    shake: Linear
    groups: tuple[Group, ...] = ()
    grids: tuple[Grid, ...] = ()
    gauges: tuple[Gauge, ...] = ()
    overlap: float = 0.0


@dataclass(frozen=True)
class Field:
    """A number read at `at`: times `half` plus `middle`, within low and high; or, if it wraps, the angle over pi of the
    direction (at, at + 1)."""

    at: int
    wrap: bool
    low: float
    high: float
    half: float
    middle: float


@dataclass(frozen=True)
class Reading:
    """A slot at `start`; its presence is read at `logit`."""

    start: int
    logit: int
    fields: tuple[Field, ...]


@dataclass(frozen=True)
class Reader:
    """Features whose channels are `marks` heat maps, then `glimpse`. `places` [cells, 2]: y, x.

    The code has, for every mark: y, x, glimpse, y and x from the marks' middle times `near`, highest heat:
    [(5 + glimpse) * marks], that order first.
    """

    trunk: tuple[Layer, ...]
    marks: int
    glimpse: int
    sharp: float
    near: float
    places: np.ndarray
    straight: Linear
    hidden: Linear
    think: Linear
    out: Linear
    readings: tuple[Reading, ...]


@dataclass(frozen=True)
class Plan:
    """A whole network. `shape` (H, W) of the frame; `view` (top, left, height, width), a whole number of the first
    layer's windows; `size` of the scene vector."""

    shape: tuple[int, int]
    view: tuple[int, int, int, int]
    size: int
    window: int = 1
    finder: Finder | None = None
    reader: Reader | None = None


def up(n: int) -> int:
    """The next multiple of LANES."""
    return -(-n // LANES) * LANES


def filled(array: np.ndarray, **to: int) -> np.ndarray:
    """Zeros behind the values along axes: filled(a, _0=16) makes the first one 16 long."""
    sides = [(0, 0)] * array.ndim
    for axis, length in to.items():
        sides[int(axis[1:])] = (0, length - array.shape[int(axis[1:])])
    return np.pad(array, sides)


@dataclass
class _Written:
    """The numbers and weights of a plan, in the order in which eyes.c reads them."""

    numbers: list[int] = field(default_factory=list)
    arrays: list[np.ndarray] = field(default_factory=list)

    def number(self, *values: int) -> None:
        self.numbers += map(int, values)

    def floats(self, *values: Any) -> None:
        for value in values:
            flat = np.asarray(value, np.float32).reshape(-1)
            self.arrays.append(np.pad(flat, (0, -len(flat) % ALIGNED)))

    def linear(self, layer: Linear, inside: int) -> None:
        self.floats(matrix(layer.weight, inside), filled(layer.bias, _0=up(len(layer.bias))))

    def pixels(self, layer: Layer) -> None:
        width = up(layer.weight.shape[-1])
        self.floats(filled(layer.weight, _3=width), filled(layer.bias, _0=width))

    def plan(self, plan: Plan) -> None:
        parts = [p for p in (plan.finder, plan.reader) if p]
        blocks = {p.trunk[0].weight.shape[:2] for p in parts}
        if len(blocks) != 1:
            raise ValueError(f"the network's parts look at windows of {sorted(blocks)} pixels: they must be equal")
        self.number(FORMAT, *plan.shape, plan.size, plan.window, *blocks.pop(), *plan.view)
        self.number(plan.finder is not None, plan.reader is not None)
        if plan.finder:
            self.finder(plan.finder, plan.view)
        if plan.reader:
            self.reader(plan.reader)

    def trunk(self, layers: tuple[Layer, ...]) -> None:
        self.number(len(layers))
        for i, layer in enumerate(layers):
            high, wide = layer.weight.shape[:2]
            shape = (layer.weight.ndim == 3, high, wide, layer.stride, layer.pad)
            self.number(*(shape if i else ()), layer.weight.shape[-1], MODES.index(layer.mode))
        self.pixels(layers[0])
        for before, layer in pairwise(layers):
            inside, width = up(before.weight.shape[-1]), up(layer.weight.shape[-1])
            axes = {"_2": inside, "_3": width} if layer.weight.ndim == 4 else {"_2": width}
            self.floats(filled(layer.weight, **axes), filled(layer.bias, _0=width))

    def finder(self, f: Finder, view: tuple[int, int, int, int]) -> None:
        context, maps, pooled = up(f.context), f.maps.shape[1], len(f.mix.bias)
        self.number(len(f.counts), f.context, maps, pooled, *f.counts)
        self.trunk((*f.trunk[:-1], spaced(f.trunk[-1], f.context)))
        self.floats(f.low, f.overlap, f.place, f.maps.T)
        mix = f.mix.weight.reshape(maps, f.context, pooled)
        self.linear(Linear(filled(mix, _1=context).reshape(maps * context, pooled), f.mix.bias), maps * context)
        self.linear(f.shake, up(pooled))
        self.number(len(f.groups))
        for group in f.groups:
            self.group(group, context, view[3])
        self.number(len(f.grids))
        for grid in f.grids:
            high, wide = grid.own.weight.shape[:2]
            width = grid.own.weight.shape[3]
            self.number(grid.rows, grid.cols, grid.top, grid.left, high, wide, width, grid.start)
            self.pixels(grid.own)
            self.linear(grid.context, up(pooled))
            self.floats(filled(grid.weight, _0=up(width)), filled(grid.threshold, _0=up(len(grid.threshold))))
        self.number(len(f.gauges))
        for gauge in f.gauges:
            high, wide, _, width = gauge.pixels.weight.shape
            self.number(gauge.top, gauge.left, high, wide, width, gauge.start)
            self.pixels(gauge.pixels)
            self.linear(gauge.last, up(width))

    def group(self, g: Group, context: int, width: int) -> None:
        (high, wide, _, edges), hidden, bins = g.edges.weight.shape, g.look.shape[1], g.steps.shape[2]
        self.number(len(g.slots))
        for pair in zip(g.slots, g.starts, strict=True):
            self.number(*pair)
        self.number(*g.patch, high, wide, g.edges.stride, g.edges.stride, edges, hidden, bins)
        self.number(*(g.corners[:, 0] * width + g.corners[:, 1]))
        self.pixels(g.edges)
        look = filled(g.look.reshape(-1, edges, hidden), _1=up(edges))
        self.floats(matrix(look.reshape(-1, hidden), len(look) * up(edges)), filled(g.fixed, _1=up(hidden)))
        self.floats(matrix(g.context, context))
        self.linear(g.think, up(hidden))
        self.linear(spread(g.out, bins), up(hidden))
        self.floats(g.eps, filled(g.steps, _2=up(bins)), g.places)

    def reader(self, r: Reader) -> None:
        def each(layer: Linear) -> Linear:
            weight = layer.weight.reshape(5 + r.glimpse, r.marks, -1)
            return Linear(filled(weight, _1=up(r.marks)).reshape((5 + r.glimpse) * up(r.marks), -1), layer.bias)

        self.number(r.marks, r.glimpse)
        self.trunk((*r.trunk[:-1], spaced(r.trunk[-1], r.marks)))
        self.floats(r.sharp, r.near, r.places.T)
        hidden, code = len(r.think.bias), (5 + r.glimpse) * up(r.marks)
        self.number(hidden, len(r.out.bias))
        self.linear(each(r.straight), code)
        self.linear(each(r.hidden), code)
        self.linear(r.think, up(hidden))
        self.linear(r.out, up(hidden))
        self.number(len(r.readings))
        for reading in r.readings:
            self.number(reading.start, reading.logit, len(reading.fields))
            for f in reading.fields:
                self.number(f.wrap, f.at)
                self.floats(f.low, f.high, f.half, f.middle)


def matrix(weight: np.ndarray, inside: int) -> np.ndarray:
    """Filled up to `inside` rows, and columns to a multiple of LANES."""
    return filled(weight, _0=inside, _1=up(weight.shape[1]))


def spaced(head: Layer, first: int) -> Layer:
    """The layer with zeros behind its first channels, so that the others begin at a multiple of LANES."""
    gap = [first] * (up(first) - first)
    return Layer(np.insert(head.weight, gap, 0, -1), np.insert(head.bias, gap, 0), head.stride, head.pad, head.mode)


def spread(out: Linear, bins: int) -> Linear:
    """Logit and size up to LANES, and each axis' scores behind them with room that no softmax sees."""
    weight, bias = [], []
    for start, stop, value in ((0, 3, 0.0), (3, 3 + bins, -1e30), (3 + bins, 3 + 2 * bins, -1e30)):
        weight.append(filled(out.weight[:, start:stop], _1=up(stop - start)))
        bias.append(np.pad(out.bias[start:stop], (0, up(stop - start) - (stop - start)), constant_values=value))
    return Linear(np.concatenate(weight, 1), np.concatenate(bias))


def written(plan: Plan) -> tuple[np.ndarray, np.ndarray]:
    """(numbers int32[n], weights float32[m]) as eyes.c reads them."""
    w = _Written()
    w.plan(plan)
    return np.array(w.numbers, np.int32), np.concatenate(w.arrays)


class Eyes:
    """A network that looks. It keeps the last frame, and computes only what the next one changes."""

    def __init__(self, plan: Plan) -> None:
        assert engine is not None, "ask native.available() first"
        self._own = engine.eyes_new(*written(plan))
        self._see, self._size = engine.eyes_see, plan.size

    def see(self, frame: np.ndarray) -> np.ndarray:
        """Frame uint8[H, W, 3], C-contiguous -> scene float32[size]; through the window, if there is one."""
        scene = np.empty(self._size, np.float32)
        self._see(self._own, frame, scene, WINDOW)
        return scene

    def look(self, frame: np.ndarray, anew: bool = False) -> np.ndarray:
        """The same, of a frame that already is the maximum over the window. `anew`: all of it, whatever changed."""
        scene = np.empty(self._size, np.float32)
        self._see(self._own, frame, scene, ANEW if anew else ALONE)
        return scene

    def reset(self) -> None:
        """A new episode: past frames leave the window."""
        engine.eyes_reset(self._own)  # type: ignore[union-attr]

    def share(self) -> float:
        """Of all positions of the trunks, the share that was looked at since this was last asked."""
        return float(engine.eyes_share(self._own))  # type: ignore[union-attr]
