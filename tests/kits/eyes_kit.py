"""What the tests of the native detector share: networks of every shape with random weights, and streams of frames."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from native.eyes import Field, Finder, Gauge, Grid, Group, Layer, Linear, Plan, Reader, Reading

BLOCK = 4
STEPS = ("nothing", "pixel", "box", "box", "shift", "whole", "back")


class Chance:
    """Random parts of a network."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def upto(self, most: int, least: int = 1) -> int:
        return int(self.rng.integers(least, most + 1))

    def weight(self, *shape: int) -> np.ndarray:
        inside = max(1, int(np.prod(shape[:-1])))
        return (self.rng.standard_normal(shape) / np.sqrt(inside)).astype(np.float32)

    def linear(self, inside: int, outside: int) -> Linear:
        return Linear(self.weight(inside, outside), self.weight(1, outside)[0])

    def pixels(self, high: int, wide: int, outside: int, mode: str) -> Layer:
        weight = self.weight(high, wide, 3, outside) / 64
        return Layer(weight, self.weight(1, outside)[0] - 128 * weight.sum((0, 1, 2)), 1, 0, mode)

    def trunk(self, outside: int) -> tuple[Layer, ...]:
        """To cells of two blocks' side, or of one."""
        width, out = self.upto(11), self.upto(40)
        layers = [self.pixels(BLOCK, BLOCK, width, "relu")]
        stride = self.upto(2)
        layers.append(Layer(self.weight(3, 3, width, out), self.weight(1, out)[0], stride, 1))
        for _ in range(self.upto(2)):
            layers.append(Layer(self.weight(3, 3, out), self.weight(1, out)[0], 1, 1, ""))
            layers.append(Layer(self.weight(1, 1, out, out), self.weight(1, out)[0]))
        return (*layers, Layer(self.weight(1, 1, out, outside), self.weight(1, outside)[0], mode=""))


def cells_of(plan_view: tuple[int, int, int, int], trunk: tuple[Layer, ...]) -> tuple[int, int]:
    """Rows and columns of the last layer."""
    rows, cols = plan_view[2] // BLOCK, plan_view[3] // BLOCK
    stride = trunk[1].stride
    return (rows - 1) // stride + 1, (cols - 1) // stride + 1


def random_plan(seed: int) -> Plan:
    """A network with things of one and of several slots, grids, gauges, readings and a window, or some of them."""
    c = Chance(seed)
    view = (c.upto(9, 0), c.upto(9, 0), 8 * c.upto(6, 3), 8 * c.upto(6, 3))
    shape = (view[0] + view[2] + c.upto(9, 0), view[1] + view[3] + c.upto(9, 0))
    finds = c.upto(4) > 1
    finder, size = _finder(c, shape, view) if finds else (None, 0)
    reader = None
    if not finds or c.upto(2) == 1:
        reader, size = _reader(c, view, size)
    return Plan(shape, view, size, c.upto(3), finder, reader)


def _finder(c: Chance, shape: tuple[int, int], view: tuple[int, int, int, int]) -> tuple[Finder, int]:
    counts = (*[1] * c.upto(2, 0), *[c.upto(5, 2) for _ in range(c.upto(2, 0))])
    context, maps, pooled = c.upto(18), c.upto(9), c.upto(20)
    trunk = c.trunk(context + len(counts))
    rows, cols = cells_of(view, trunk)
    slots, groups, size = list(range(sum(counts))), [], 8 * sum(counts)
    while slots:
        n = c.upto(len(slots))
        groups.append(_group(c, tuple(slots[:n]), view, (rows, cols), context))
        slots = slots[n:]
    grids, gauges = [], []
    for _ in range(c.upto(2, 0)):
        high, wide, width = c.upto(7), c.upto(7), c.upto(18)
        down, across = c.upto(shape[0] // high), c.upto(shape[1] // wide)
        top, left = c.upto(shape[0] - down * high, 0), c.upto(shape[1] - across * wide, 0)
        own = c.pixels(high, wide, width, "")
        threshold = c.weight(1, down * across)[0]
        more = (own, c.linear(pooled, width), c.weight(width, 1)[:, 0], threshold)
        grids.append(Grid(size, down, across, top, left, *more))
        size += down * across
    for _ in range(c.upto(2, 0)):
        high, wide, width = c.upto(shape[0]), c.upto(shape[1]), c.upto(18)
        top, left = c.upto(shape[0] - high, 0), c.upto(shape[1] - wide, 0)
        gauges.append(Gauge(size, top, left, c.pixels(high, wide, width, "relu"), c.linear(width, 1)))
        size += 1
    parts = (c.weight(len(counts), rows * cols), c.weight(rows * cols, maps), c.linear(maps * context, pooled))
    heads = (c.linear(pooled, 2), tuple(groups), tuple(grids), tuple(gauges))
    overlap = 0.3 if c.upto(2) == 1 else 0.0
    return Finder(trunk, counts, context, -1e4, *parts, *heads, overlap), max(size, 1)


def _group(
    c: Chance, slots: tuple[int, ...], view: tuple[int, int, int, int], cells: tuple[int, int], context: int
) -> Group:
    high, wide, side, stride = c.upto(min(view[2], 20), 4), c.upto(min(view[3], 20), 4), 4, 2
    spots = ((high - side) // stride + 1) * ((wide - side) // stride + 1)
    edges, hidden, bins, n = c.upto(9), c.upto(20), c.upto(18, 2), cells[0] * cells[1]
    y = np.clip(np.arange(cells[0]) * 8 - high // 2, 0, view[2] - high)
    x = np.clip(np.arange(cells[1]) * 8 - wide // 2, 0, view[3] - wide)
    corners = np.stack(np.meshgrid(y, x, indexing="ij"), -1).reshape(-1, 2)
    edge = Layer(c.weight(side, side, 3, edges), c.weight(1, edges)[0], stride, 0, "clip")
    first = (c.weight(spots * edges, hidden), c.weight(context, hidden), c.weight(len(slots), hidden))
    last = (c.linear(hidden, hidden), c.linear(hidden, 3 + 2 * bins))
    steps = np.broadcast_to(np.arange(bins, dtype=np.float32), (len(slots), 2, bins))
    starts = tuple(8 * s for s in slots)
    return Group(slots, starts, (high, wide), corners, c.weight(n, 2), edge, *first, *last, steps, 60.0)


def _reader(c: Chance, view: tuple[int, int, int, int], start: int) -> tuple[Reader, int]:
    marks, glimpse, hidden = c.upto(10), c.upto(9), c.upto(20)
    trunk = c.trunk(marks + glimpse)
    rows, cols = cells_of(view, trunk)
    code, readings, outs = (5 + glimpse) * marks, [], 0
    for _ in range(c.upto(2)):
        fields, first = [], outs
        outs += 1
        for _ in range(c.upto(2)):
            wrap = c.upto(2) == 1
            fields.append(Field(outs, wrap, -1.0, 1.0, 0.5, 0.25))
            outs += 1 + wrap
        readings.append(Reading(start, first, tuple(fields)))
        start += len(fields) + 2
    parts = (c.linear(code, outs), c.linear(code, hidden), c.linear(hidden, hidden), c.linear(hidden, outs))
    return Reader(trunk, marks, glimpse, 8.0, 8.0, c.weight(rows * cols, 2), *parts, tuple(readings)), start


def stream(shape: tuple[int, ...], seed: int, length: int) -> Iterator[np.ndarray]:
    """Frames uint8[H, W, 3] as a game might give them: little changes, or everything, or it moves, or nothing does."""
    rng = np.random.default_rng(seed)
    first = frame = np.repeat(rng.integers(0, 256, (*shape[:2], 1), np.uint8), 3, 2)
    for _ in range(length):
        yield frame
        kind = STEPS[rng.integers(len(STEPS))]
        if kind == "back":
            frame = first
        elif kind == "shift":
            frame = np.roll(frame, tuple(rng.integers(-3, 4, 2)), (0, 1))
        elif kind == "whole":
            frame = rng.integers(0, 256, (*shape[:2], 3), np.uint8)
        elif kind != "nothing":
            frame = frame.copy()
            high, wide = (1, 1) if kind == "pixel" else rng.integers(1, 12, 2)
            y, x = rng.integers(0, shape[0]), rng.integers(0, shape[1])
            frame[y : y + high, x : x + wide] = rng.integers(0, 256, 3)
