"""Where the network looks: geometry that follows from the schema and the size of the frame."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from perception.errors import PerceptionError
from perception.scene import SceneSchema, ThingSpec

CELL = 8  # px, side of a coarse cell: stride of the trunk
MARGIN = 2  # px a thing may stick out of its cell's patch on each side beyond half its size


@dataclass(frozen=True)
class Group:
    """Things refined together: the patch is (height, width) px, `slots` index the network's order."""

    patch: tuple[int, int]
    slots: tuple[int, ...]


@dataclass(frozen=True)
class Layout:
    """All geometry of one detector. `shape` is (H, W) of the native frame."""

    schema: SceneSchema
    shape: tuple[int, int]

    @cached_property
    def view(self) -> tuple[int, int, int, int]:
        """(top, left, height, width): the crop grown to whole cells and moved inside the frame."""
        top, left, bottom, right = self.schema.crop
        height, width = (-(-n // CELL) * CELL for n in (bottom - top, right - left))
        if bottom > self.shape[0] or right > self.shape[1] or height > self.shape[0] or width > self.shape[1]:
            raise PerceptionError(
                f"crop {list(self.schema.crop)} does not fit a {self.shape[0]}x{self.shape[1]} frame: its sides are "
                f"rounded up to whole cells of {CELL} px; write at most "
                f"{self.shape[0] // CELL * CELL} x {self.shape[1] // CELL * CELL} px in system.toml"
            )
        return min(top, self.shape[0] - height), min(left, self.shape[1] - width), height, width

    @property
    def cells(self) -> tuple[int, int]:
        """(rows, cols) of coarse cells."""
        return self.view[2] // CELL, self.view[3] // CELL

    @cached_property
    def things(self) -> tuple[ThingSpec, ...]:
        """Things in the network's order: single ones first."""
        return tuple(sorted(self.schema.things, key=lambda t: t.count > 1))

    @property
    def singles(self) -> int:
        """How many things have a count of one."""
        return sum(t.count == 1 for t in self.things)

    @cached_property
    def slots(self) -> tuple[tuple[int, int], ...]:
        """(thing number, index) of every slot, in the network's order."""
        return tuple((k, i) for k, t in enumerate(self.things) for i in range(t.count))

    @cached_property
    def slot_starts(self) -> np.ndarray:
        """int[slots]: where each slot of the network's order stands in the Scene vector."""
        return np.array([self.schema.slot(self.things[k].name, i).start for k, i in self.slots])

    @cached_property
    def rivals(self) -> np.ndarray | None:
        """bool[slots, slots]: pairs of different kinds, of which only one can be at a place; None where they can."""
        kinds = np.array([k for k, _ in self.slots])
        different: np.ndarray = kinds[:, None] != kinds
        return different if self.schema.exclusive and different.any() else None

    @property
    def finds(self) -> bool:
        """Whether there is anything to find beside readings."""
        return bool(self.schema.things or self.schema.grids or self.schema.gauges)

    @cached_property
    def readings(self) -> tuple[slice, ...]:
        """Which outputs of the reader belong to each reading: presence, one a field, two for a field that wraps."""
        ends = np.cumsum([0, *(1 + sum(1 + f.wrap for f in r.fields) for r in self.schema.readings)]).tolist()
        return tuple(map(slice, ends, ends[1:]))

    def places(self) -> np.ndarray:
        """float32[cells, 2]: (y, x) of the cells' centres from the view's middle, its longer side from -1 to 1."""
        rows, cols = self.cells
        y, x = np.arange(rows) - (rows - 1) / 2, np.arange(cols) - (cols - 1) / 2
        grid = np.stack(np.meshgrid(y, x, indexing="ij"), -1).reshape(-1, 2)
        return (grid / (max(rows, cols) / 2)).astype(np.float32)

    def patch_of(self, thing: ThingSpec) -> tuple[int, int]:
        """(height, width) of the fine look: cell, thing and margin, in steps of 4 px."""
        sides = (CELL + thing.size[1] + 2 * MARGIN, CELL + thing.size[0] + 2 * MARGIN)
        height, width = (int(-(-s // 4) * 4) for s in sides)
        return min(height, self.view[2]), min(width, self.view[3])

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """Things with equal patches share one refiner."""
        found: dict[tuple[int, int], list[int]] = {}
        for slot, (k, _) in enumerate(self.slots):
            found.setdefault(self.patch_of(self.things[k]), []).append(slot)
        return tuple(Group(patch, tuple(slots)) for patch, slots in found.items())

    def origins(self, patch: tuple[int, int]) -> np.ndarray:
        """int64[cells, 2]: (y, x) in the view of the patch around every cell, kept inside the view."""
        rows, cols = self.cells
        y = np.arange(rows) * CELL + CELL // 2 - patch[0] // 2
        x = np.arange(cols) * CELL + CELL // 2 - patch[1] // 2
        y, x = np.clip(y, 0, self.view[2] - patch[0]), np.clip(x, 0, self.view[3] - patch[1])
        return np.stack(np.meshgrid(y, x, indexing="ij"), -1).reshape(-1, 2)

    def offsets(self, patch: tuple[int, int]) -> np.ndarray:
        """int64[h * w]: pixel numbers of a patch relative to its origin, row-major in the view."""
        return (np.arange(patch[0])[:, None] * self.view[3] + np.arange(patch[1])).reshape(-1)

    def centres(self) -> np.ndarray:
        """float32[cells, 2]: (y, x) of the cells' centres in native pixels."""
        rows, cols = self.cells
        y = self.view[0] + (np.arange(rows) + 0.5) * CELL
        x = self.view[1] + (np.arange(cols) + 0.5) * CELL
        return np.stack(np.meshgrid(y, x, indexing="ij"), -1).reshape(-1, 2).astype(np.float32)

    def grid_window(self, name: str) -> tuple[int, int, int, int]:
        """(top, left, cell height, cell width) of a grid in native pixels; PerceptionError unless whole pixels."""
        grid = next(g for g in self.schema.grids if g.name == name)
        values = (grid.top, grid.left, grid.cell[1], grid.cell[0])
        if any(v != int(v) for v in values):
            raise PerceptionError(f"grid {name!r} needs whole pixels for top, left and cell, got {values}")
        top, left, height, width = (int(v) for v in values)
        if top + grid.rows * height > self.shape[0] or left + grid.cols * width > self.shape[1]:
            raise PerceptionError(f"grid {name!r} reaches beyond the {self.shape[0]}x{self.shape[1]} frame")
        return top, left, height, width
