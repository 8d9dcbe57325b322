"""Labels that are declared: `[labels]` in system.toml says by which colours, where, each part of the scene shows.

For simulators that draw things in colours of their own, as consoles do. No Python, so no trust is asked for. The table
has a part for each of `[scene]`:

    [labels.things.car]
    colours = ["D2D240", "87B754"]   # pixels of these that touch are one car; or `but`, of any colour but these
    region = [26, 8, 182, 160]       # top, left, bottom, right: of the picture, where cars are (default: the crop)
    smallest = [1, 6]                # width, height: what is smaller is none (default 1, 1)
    largest = [8, 10]                # what is larger is none (default: any)
    gap = 1                          # so many px between pixels of one car (default 0)
    bands = [42, 58]                 # no car reaches over these rows

    [labels.grids.bricks]
    empty = ["000000"]               # a cell is there where most of its pixels are none of these

    [labels.gauges.oxygen]
    colours = ["D6D6D6"]             # of its box in [scene], as far as these reach
    edge = "right"                   # the side that moves: left, right, top, bottom
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import cv2
import numpy as np
from numpy.typing import NDArray

from data_flywheel.errors import DataError
from envs.env import nearest
from envs.spec import SystemSpec, find_line
from perception.scene import GaugeSpec, GridSpec, SceneSchema, ThingSpec

U8 = NDArray[np.uint8]
Packed = NDArray[np.uint32]  # [H, W], 0xRRGGBB
Region = tuple[int, int, int, int]  # top, left, bottom, right
EDGES = ("left", "right", "top", "bottom")
MOST_COLOURS = 64


class Declared:
    """The labeller of a task. `vector` labels a picture; `surplus` says how many things in it have no slot left."""

    def __init__(self, spec: SystemSpec) -> None:
        """DataError names file, line and fix of what is wrong in `[labels]`."""
        self.schema = SceneSchema.from_config(spec.scene)
        table = _Table(spec, self.schema)
        self.things = [_thing(table, thing, self.schema.crop) for thing in self.schema.things]
        self.grids = [_grid(table, grid) for grid in self.schema.grids]
        self.gauges = [_gauge(table, gauge) for gauge in self.schema.gauges]
        if self.schema.readings:
            table.fail((), f"the reading {self.schema.readings[0].name!r} has no colour; label readings in teacher.py")
        self.digest = hashlib.sha256(json.dumps(spec.labels, sort_keys=True).encode()).hexdigest()

    def vector(self, frame: U8) -> NDArray[np.float32]:
        """The scene vector float32[size] of a true picture uint8[H, W, 3]: boxes from top to bottom, then from left to
        right; no velocities, sure = seen. Of too many things the largest are taken."""
        picture, vector = packed(frame), self.schema.empty()
        for thing in self.things:
            for i, (left, top, right, bottom) in enumerate(thing.boxes(picture)[: thing.count]):
                middle = (left + right) / 2, (top + bottom) / 2, right - left, bottom - top
                vector[self.schema.slot(thing.name, i)] = (1, *middle, 0, 0, 1)
        for grid in self.grids:
            vector[self.schema.grid(grid.grid.name)] = grid.cells(picture)
        for gauge in self.gauges:
            vector[self.schema.gauge(gauge.gauge.name)] = gauge.value(picture)
        return vector

    def surplus(self, frame: U8) -> int:
        """How many things are beyond what the scene has slots for: such a picture can't be labelled truly."""
        picture = packed(frame)
        return sum(max(0, len(thing.boxes(picture)) - thing.count) for thing in self.things)


def packed(frame: U8) -> Packed:
    """A picture uint8[H, W, 3] with one number a pixel."""
    wide = frame.astype(np.uint32)
    return (wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]).astype(np.uint32, copy=False)


def within(picture: Packed, colours: Sequence[int]) -> NDArray[np.bool_]:
    """Where a picture has one of the colours."""
    mask = np.zeros(picture.shape, bool)
    for colour in colours:
        mask |= picture == colour
    return mask


@dataclass(frozen=True)
class Blobs:
    """How a thing shows: pixels of some colours (`but`: of any others) that touch, or are `gap` px apart."""

    name: str
    count: int
    colours: tuple[int, ...]
    but: bool
    region: Region
    smallest: tuple[int, int]
    largest: tuple[int, int]
    gap: int
    bands: tuple[int, ...]

    def boxes(self, picture: Packed) -> list[tuple[int, int, int, int]]:
        """Left, top, right, bottom of each, row by row; where there are more than `count`, the largest come first."""
        top, left, bottom, right = self.region
        mask = (within(picture[top:bottom, left:right], self.colours) ^ self.but).view(np.uint8)
        edges = [0, *(row - top for row in self.bands if top < row < bottom), bottom - top]
        found = []
        for low, high in zip(edges, edges[1:], strict=False):
            for x, y, w, h in self._parts(mask[low:high]):
                found.append((left + x, top + low + y, left + x + w, top + low + y + h))
        if len(found) > self.count:
            found.sort(key=lambda b: -(b[2] - b[0]) * (b[3] - b[1]))
            return sorted(found[: self.count], key=_reading) + found[self.count :]
        return sorted(found, key=_reading)

    def _parts(self, mask: U8) -> list[tuple[int, int, int, int]]:
        """Left, top, width, height of what belongs together and has the right size."""
        wide = self.gap + 1  # every pixel grown by the gap: what then touches is one thing, its box as much larger
        if self.gap:
            mask = cv2.dilate(np.pad(mask, self.gap), np.ones((wide, wide), np.uint8), anchor=(0, 0))
        _, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
        boxes = stats[1:, :4] - (0, 0, self.gap, self.gap)
        fits = ((boxes[:, 2:] >= self.smallest) & (boxes[:, 2:] <= self.largest)).all(1)
        return [(x, y, w, h) for x, y, w, h in boxes[fits].tolist()]


def _reading(box: tuple[int, int, int, int]) -> tuple[int, int]:
    return box[1], box[0]


@dataclass(frozen=True)
class Cells:
    """A grid whose cells show other colours than what lies behind them."""

    grid: GridSpec
    empty: tuple[int, ...]

    def cells(self, picture: Packed) -> NDArray[np.float32]:
        """float32[rows * cols]: 1 where most pixels of a cell are of no colour of the background."""
        grid, there = self.grid, ~within(picture, self.empty)
        found = np.zeros((grid.rows, grid.cols), np.float32)
        for r in range(grid.rows):
            for c in range(grid.cols):
                y, x = round(grid.top + r * grid.cell[1]), round(grid.left + c * grid.cell[0])
                cell = there[max(y, 0) : y + round(grid.cell[1]), max(x, 0) : x + round(grid.cell[0])]
                found[r, c] = cell.size > 0 and cell.mean() > 0.5
        return found.ravel()


@dataclass(frozen=True)
class Reach:
    """A gauge that is read off how far its colours reach inside its box."""

    gauge: GaugeSpec
    colours: tuple[int, ...]
    edge: str

    def value(self, picture: Packed) -> float:
        """From `low`, where no pixel has the colours, to `high`, where they reach the edge that moves."""
        top, left, bottom, right = self.gauge.box
        mask = within(picture[top:bottom, left:right], self.colours)
        filled = np.flatnonzero(mask.any(0 if self.edge in ("left", "right") else 1))
        length = mask.shape[1 if self.edge in ("left", "right") else 0]
        if not filled.size:
            share = 0.0
        elif self.edge in ("right", "bottom"):
            share = (filled[-1] + 1) / length
        else:
            share = (length - filled[0]) / length
        return self.gauge.low + (self.gauge.high - self.gauge.low) * float(share)


# ----------------------------------------------------------------------------------------------------
# Reading the table.


class _Table:
    """`[labels]` of a task; whatever is wrong is told with its line."""

    def __init__(self, spec: SystemSpec, schema: SceneSchema) -> None:
        self.spec, self.schema = spec, schema
        self.only((), spec.labels, "things", "grids", "gauges")

    def fail(self, key: Sequence[str], message: str) -> NoReturn:
        line = find_line(self.spec.text, ("labels", *key))
        raise DataError(f"{self.spec.folder / 'system.toml'}, line {line}: {message}")

    def only(self, key: Sequence[str], table: Any, *known: str) -> Mapping[str, Any]:
        """The table at a key, if it is one and has no other keys."""
        if not isinstance(table, Mapping):
            self.fail(key, f"{'.'.join(('labels', *key))} is a table, got {table!r:.60}")
        for name in table:
            if name not in known:
                self.fail((*key, name), f"unknown key {name!r}{nearest(name, known)}")
        return table

    def part(self, kind: str, name: str, *known: str) -> Mapping[str, Any]:
        """The table of one part of the scene."""
        names = [part.name for part in getattr(self.schema, kind)]
        tables = self.only((kind,), self.spec.labels.get(kind, {}), *names)
        if name not in tables:
            self.fail((kind,), f"nothing says how {name!r} shows; add [labels.{kind}.{name}]")
        return self.only((kind, name), tables[name], *known)

    def colours(self, key: Sequence[str], table: Mapping[str, Any], name: str) -> tuple[int, ...]:
        """Colours as six hexadecimal digits."""
        given: Any = table.get(name)
        right = isinstance(given, list) and 0 < len(given) <= MOST_COLOURS
        if not right or not all(isinstance(c, str) and re.fullmatch("#?[0-9A-Fa-f]{6}", c) for c in given):
            what = f'{name} is a list of 1 to {MOST_COLOURS} colours of six hexadecimal digits, such as ["D2D240"]'
            self.fail((*key, name), f"{what}; got {given!r:.60}")
        return tuple(int(c.lstrip("#"), 16) for c in given)

    def numbers(
        self, key: Sequence[str], table: Mapping[str, Any], name: str, default: Sequence[int]
    ) -> tuple[int, ...]:
        """As many whole numbers from 0 as the default has; any count where that is empty."""
        given = table.get(name, list(default))
        whole = isinstance(given, list) and all(type(v) is int and 0 <= v <= 1 << 16 for v in given)
        if not whole or default and len(given) != len(default):
            count = f"{len(default)} " if default else ""
            self.fail((*key, name), f"{name} is a list of {count}whole numbers from 0, got {given!r:.60}")
        return tuple(given)


def _thing(table: _Table, thing: ThingSpec, crop: tuple[int, int, int, int]) -> Blobs:
    key = ("things", thing.name)
    given = table.part("things", thing.name, "colours", "but", "region", "smallest", "largest", "gap", "bands")
    if ("colours" in given) == ("but" in given):
        table.fail(key, f"{thing.name} has either colours, or but: every colour but these")
    colours = table.colours(key, given, "but" if "but" in given else "colours")
    top, left, bottom, right = table.numbers(key, given, "region", [int(v) for v in crop])
    if not (top < bottom <= table.spec.env.height and left < right <= table.spec.env.width):
        size = f"{table.spec.env.height} rows and {table.spec.env.width} columns"
        got = [top, left, bottom, right]  # or [scene] crop, its default
        table.fail((*key, "region"), f"region is top, left, bottom, right inside {size}, got {got}")
    smallest = table.numbers(key, given, "smallest", (1, 1))
    largest = table.numbers(key, given, "largest", (1 << 16, 1 << 16))
    if any(a > b for a, b in zip(smallest, largest, strict=True)):
        table.fail((*key, "largest"), f"largest {list(largest)} is smaller than smallest {list(smallest)}")
    gap = given.get("gap", 0)
    if type(gap) is not int or not 0 <= gap <= 32:
        table.fail((*key, "gap"), f"gap is a whole number of px from 0 to 32, got {gap!r}")
    bands = tuple(sorted(set(table.numbers(key, given, "bands", ()))))
    region = (max(top, int(crop[0])), max(left, int(crop[1])), min(bottom, int(crop[2])), min(right, int(crop[3])))
    if region[0] >= region[2] or region[1] >= region[3]:
        table.fail((*key, "region"), f"region lies outside [scene] crop, which is all that is looked at: {list(crop)}")
    w, h = smallest[:2], largest[:2]
    return Blobs(thing.name, thing.count, colours, "but" in given, region, (w[0], w[1]), (h[0], h[1]), gap, bands)


def _grid(table: _Table, grid: GridSpec) -> Cells:
    given = table.part("grids", grid.name, "empty")
    return Cells(grid, table.colours(("grids", grid.name), given, "empty"))


def _gauge(table: _Table, gauge: GaugeSpec) -> Reach:
    key = ("gauges", gauge.name)
    given = table.part("gauges", gauge.name, "colours", "edge")
    edge = given.get("edge", "right")
    if edge not in EDGES:
        table.fail((*key, "edge"), f"unknown edge {edge!r}{nearest(str(edge), EDGES)}")
    return Reach(gauge, table.colours(key, given, "colours"), edge)
