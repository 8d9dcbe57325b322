"""A detector made of colour rules: the classical alternative, to stand beside the network under visual shifts.

Learned in a second from labelled, unshifted frames: the colours of each thing and where on the screen it lives. A thing
is then a blob of about its size in one of its colours, a cell is there when half of it has one of its row's colours.
Exact where nothing changes, blind as soon as the palette does. Comparison only: nothing else uses it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import cv2
import numpy as np

from envs.env import protocol_of, protocols_of, simulator
from envs.spec import SystemSpec
from perception.scene import GridSpec, SceneSchema, ThingSpec

TOLERANCE = 10  # grey levels a channel
SHARE = 0.01  # of a thing's pixels that a colour must have to be one of its colours
SEEDS, STEPS = (1, 2, 3, 4), 200


@dataclass(frozen=True)
class Look:
    """What is known of a thing (or of a row of cells): its colours and the region (top, left, bottom, right)."""

    colours: np.ndarray  # int16[n, 3]
    region: tuple[int, int, int, int]


class ColourDetector:
    """`see(frame) -> float32[size]` by colour rules."""

    def __init__(self, schema: SceneSchema, looks: dict[str, Look], rows: dict[str, list[Look]]) -> None:
        self.schema, self._looks, self._rows = schema, looks, rows

    @classmethod
    def load(cls, spec: SystemSpec, schema: SceneSchema) -> ColourDetector:
        """Learn from a few labelled games; DataError when the task has no teacher."""
        frames, scenes = _games(spec)
        looks = {t.name: _learn_thing(frames, scenes, schema, t) for t in schema.things}
        rows = {g.name: [_learn_row(frames, scenes, schema, g, r) for r in range(g.rows)] for g in schema.grids}
        return cls(schema, looks, rows)

    def reset(self) -> None:
        """Nothing to forget."""

    def see(self, frame: np.ndarray) -> np.ndarray:
        """Native frame uint8[H, W, 3] -> Scene vector."""
        vector = self.schema.empty()
        for thing in self.schema.things:
            for i, box in enumerate(self._blobs(frame, thing)[: thing.count]):
                left, top, w, h = box
                vector[self.schema.slot(thing.name, i)] = (1, left + w / 2, top + h / 2, w, h, 0, 0, 1)
        for grid in self.schema.grids:
            cells = vector[self.schema.grid(grid.name)].reshape(grid.rows, grid.cols)
            for r, look in enumerate(self._rows[grid.name]):
                mask = _mask(frame, look)
                width = int(grid.cell[0])
                here = mask[:, : grid.cols * width].reshape(mask.shape[0], grid.cols, width)
                cells[r] = here.mean(axis=(0, 2)) > 0.5
        return vector

    def _blobs(self, frame: np.ndarray, thing: ThingSpec) -> list[tuple[int, int, int, int]]:
        """Boxes of about the thing's size, the fullest first."""
        look = self._looks[thing.name]
        if not len(look.colours):
            return []
        top, left = look.region[:2]
        _, _, stats, _ = cv2.connectedComponentsWithStats(_mask(frame, look).astype(np.uint8), connectivity=8)
        found = []
        for x, y, w, h, area in stats[1:].tolist():
            if (
                w <= 1.5 * thing.size[0] + 1
                and h <= 1.5 * thing.size[1] + 1
                and area >= 0.25 * thing.size[0] * thing.size[1]
            ):
                found.append((area, (x + left, y + top, w, h)))
        return [box for _, box in sorted(found, reverse=True)]


def _mask(frame: np.ndarray, look: Look) -> np.ndarray:
    """bool over the region: pixels within TOLERANCE of one of the colours."""
    top, left, bottom, right = look.region
    part = frame[top:bottom, left:right].astype(np.int16)
    mask = np.zeros(part.shape[:2], bool)
    for colour in look.colours:
        mask |= (np.abs(part - colour) <= TOLERANCE).all(axis=2)
    return mask


def _games(spec: SystemSpec) -> tuple[np.ndarray, np.ndarray]:
    """Frames and labels of scripted play on training seeds."""
    from data_flywheel.datasets.collection import make_player
    from data_flywheel.labelers.teacher import load_teacher

    teacher, frames, scenes = load_teacher(spec.folder), [], []
    # "classic" where there is one: what looks were learned from so far
    rules = protocol_of(spec.env, "classic" if "classic" in protocols_of(spec.env) else None)
    world = simulator(spec.env, rules)
    for seed in SEEDS:
        player = make_player("scripted", spec, teacher, rules, np.random.default_rng(seed), 0.0)
        world.reset(seed)
        for _ in range(STEPS):
            if world.done:
                break
            frame, truth = world.frame(), world.truth()
            frames.append(frame)
            scenes.append(teacher.label(truth, frame))
            world.advance(player(truth, scenes[-1]))
    return np.stack(frames), np.stack(scenes)


def _learn_thing(frames: np.ndarray, scenes: np.ndarray, schema: SceneSchema, thing: ThingSpec) -> Look:
    seen: Counter[tuple[int, ...]] = Counter()
    around: Counter[tuple[int, ...]] = Counter()
    edges: list[tuple[int, int, int, int]] = []
    for frame, vector in zip(frames, scenes, strict=True):
        for i in range(thing.count):
            on, x, y, w, h = vector[schema.slot(thing.name, i)][:5]
            if on > 0.5:
                left, top, right, bottom = round(x - w / 2), round(y - h / 2), round(x + w / 2), round(y + h / 2)
                seen.update(map(tuple, frame[top:bottom, left:right].reshape(-1, 3).tolist()))
                ring = frame[max(0, top - 2) : bottom + 2, max(0, left - 2) : right + 2].reshape(-1, 3).tolist()
                around.update(map(tuple, ring))
                edges.append((top, left, bottom, right))
    total = sum(seen.values()) or 1
    # A colour that is as common around the thing as in it is the background's.
    own = [c for c, n in seen.items() if n > SHARE * total and around[c] < 1.5 * n]
    height, width = frames.shape[1:3]
    if not edges:
        return Look(np.zeros((0, 3), np.int16), (0, 0, height, width))
    e = np.array(edges)
    region = (max(0, e[:, 0].min() - 2), 0, min(height, e[:, 2].max() + 2), width)
    return Look(np.array(own, np.int16).reshape(-1, 3), (int(region[0]), 0, int(region[2]), width))


def _learn_row(frames: np.ndarray, scenes: np.ndarray, schema: SceneSchema, grid: GridSpec, row: int) -> Look:
    top, left = int(grid.top + row * grid.cell[1]), int(grid.left)
    region = (top, left, top + int(grid.cell[1]), left + int(grid.cols * grid.cell[0]))
    seen: Counter[tuple[int, ...]] = Counter()
    for frame, vector in zip(frames[::20], scenes[::20], strict=True):
        present = vector[schema.grid(grid.name)].reshape(grid.rows, grid.cols)[row] > 0.5
        for col in np.flatnonzero(present):
            x = left + int(col * grid.cell[0])
            seen.update(map(tuple, frame[region[0] : region[2], x : x + int(grid.cell[0])].reshape(-1, 3).tolist()))
    common = [c for c, _ in seen.most_common(1)]
    return Look(np.array(common, np.int16).reshape(-1, 3), region)
