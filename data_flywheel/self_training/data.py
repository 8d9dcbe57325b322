"""What a round of the wheel learns from: its play labelled by motion, old scenes in the new paint, and the memory.

The last part of every game is held back: nothing is learned from it, detectors are judged on it. Frames of the memory's
frozen set never teach: a picture that equals one of them is left out, wherever it comes from.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_flywheel.datasets.frozen import FrozenSet
from data_flywheel.labelers import motion
from data_flywheel.labelers import motion as paths
from data_flywheel.labelers.cells import cells_of
from data_flywheel.labelers.motion import Floats, Motion, Prior
from data_flywheel.self_training import render
from data_flywheel.self_training.capture import Capture
from data_flywheel.self_training.judge import coverage
from data_flywheel.storage.container import array_digest
from perception.scene import SLOT, SceneSchema
from perception.training.batches import draw_weights
from perception.training.data import Samples

HELD_BACK = 0.2  # share of the games' frames on which detectors are judged
RENDERED = 1600  # old scenes drawn anew
EMPTY = 0.2  # share of them without what flies
LEAST = 0.15  # coverage below which motion says too little: nothing is learned


@dataclass(frozen=True)
class TrainingSet:
    """`new` and `rendered` frames with labels, and the labels of the whole capture. `held` bool[N]: judged on."""

    motion: Motion
    cells: Floats
    held: NDArray[np.bool_]
    coverage: float
    new: Samples
    rendered: Samples

    def record(self) -> dict[str, Any]:
        """JSON values: how much there is of what, and from which source each label comes."""
        return {
            "coverage": round(self.coverage, 4), "new": len(self.new), "rendered": len(self.rendered),
            "held_back": int(self.held.sum()),
            "sources": {"new": "motion: temporal consistency and physics, trusted rows only",
                        "new grids": "change: a cell that stays different has vanished",
                        "rendered": "memory: old labels, drawn in the paint of the new look"},
            "labels": hashlib.sha256(self.motion.scenes.tobytes() + self.motion.trust.tobytes()).hexdigest(),
        }  # fmt: skip


def pictures(samples: Samples) -> list[str]:
    """A digest of the pixels of each frame, the same for every encoding; as `FrameRef.digest`."""
    return [array_digest(samples.rgb(i)) for i in range(len(samples))]


def without(samples: Samples, frozen: FrozenSet) -> Samples:
    """The frames whose picture is not frozen."""
    return samples.take(np.flatnonzero([p not in frozen.digests for p in pictures(samples)]))


def held_back(episodes: NDArray[np.int64]) -> NDArray[np.bool_]:
    """bool[N]: whole games from the end until HELD_BACK of the frames are reached, or the end of a single game."""
    held, names = np.zeros(len(episodes), bool), np.unique(episodes)
    for name in names[:0:-1]:
        if held.mean() >= HELD_BACK:
            break
        held |= episodes == name
    if not held.any() or held.mean() > 0.5:
        held[:] = False
        held[int(len(held) * (1 - HELD_BACK)) :] = True
    return held


def training_set(
    play: Capture, memory: Samples, known: list[Prior], schema: SceneSchema, frozen: FrozenSet,
    seed: int = 0,
) -> TrainingSet:  # fmt: skip
    """Labels of `play` and the frames to learn. `memory`: old labelled frames; what is `frozen` does not teach."""
    found = motion.label(play.frames, play.episodes, schema, known, old=field_in(memory))
    held = held_back(play.episodes)
    learn = ~held
    paint, _ = render.learn(play.frames[learn], play.episodes[learn], found.take(learn), schema)
    cells, _, _ = cells_of(play.frames, play.episodes, schema, found.field)
    starts = [start for _, start in motion.slots(schema)]
    rows = np.flatnonzero(learn & found.trust.all(1))
    rows = rows[[found.shows(play.frames[i], found.field.look, found.scenes[i], starts) for i in rows]]
    new = Samples(
        play.frames[rows], None, _whole(found.scenes[rows], cells[rows], schema), play.episodes[rows],
        np.zeros(len(rows), np.uint8), "motion",
    )  # fmt: skip
    rendered = without(drawn(paint, found, memory, known, schema, RENDERED, seed), frozen)
    return TrainingSet(found, cells, held, coverage(found, known), without(new, frozen), rendered)


def emptied(samples: Samples, schema: SceneSchema, known: list[Prior]) -> Samples:
    """Frames whose flying things were painted over with the field, and their scenes without them; others left out.

    Where nothing flies, a detector may take a hole among the cells for a thing; ordinary play hardly shows that."""
    field = np.median(samples.frames[np.linspace(0, len(samples) - 1, min(200, len(samples))).astype(int)], axis=0)
    hidden, flying = motion.grid_mask(schema, samples.shape), [k for k, p in enumerate(known) if paths.flies(p)]
    frames, scenes, rows = list[NDArray[np.uint8]](), list[Floats](), list[int]()
    for i, (frame, scene) in enumerate(zip(samples.frames, samples.scenes, strict=True)):
        boxes = [motion.slots(schema)[k][1] for k in flying]
        spots = [_pixels(scene[at : at + SLOT]) for at in boxes if scene[at] > 0.5]
        if not spots or any(hidden[spot].any() for spot in spots):
            continue
        frame, scene = frame.copy(), scene.copy()
        for spot in spots:
            frame[spot] = field[spot]
        for at in boxes:
            scene[at : at + SLOT] = 0.0
        frames.append(frame)
        scenes.append(scene)
        rows.append(i)
    left = samples.take(np.array(rows, int))
    if not rows:
        return left
    return replace(left, frames=np.stack(frames), scenes=np.stack(scenes), source="memory without what flies")


def _pixels(box: Floats) -> tuple[slice, slice]:
    """Rows and columns of a box (seen, x, y, w, h)."""
    x, y, w, h = (float(v) for v in box[1:5])
    rows, cols = (slice(max(round(c - s / 2), 0), max(round(c + s / 2), 0)) for c, s in ((y, h), (x, w)))
    return rows, cols


def field_in(memory: Samples) -> Floats:
    """float32[H, W, 3]: the field as old frames show it."""
    rows = np.linspace(0, len(memory) - 1, min(200, len(memory))).astype(int)
    return np.asarray(np.median([memory.rgb(i) for i in rows], axis=0), np.float32)


def _whole(scenes: Floats, cells: Floats, schema: SceneSchema) -> Floats:
    """Things and cells in one vector."""
    out, at = scenes.copy(), 0
    for grid in schema.grids:
        n = grid.rows * grid.cols
        out[:, schema.grid(grid.name)], at = cells[:, at : at + n], at + n
    return out


def drawn(
    paint: render.Paint, found: Motion, memory: Samples, known: list[Prior], schema: SceneSchema, n: int, seed: int
) -> Samples:  # fmt: skip
    """`n` old scenes, rare ones oftener, in the new paint; none where a thing's paint is not known.

    Scenes in which something cannot be told from the field are left out: they would teach to guess."""
    if not all(paint.patches) or not len(memory):
        empty = np.zeros((0, *memory.shape, 3), np.uint8)
        return Samples(empty, None, memory.scenes[:0], memory.episodes[:0], memory.splits[:0], "rendered")
    rng, starts = np.random.default_rng([seed, 11]), [start for _, start in motion.slots(schema)]
    flying = [start for start, prior in zip(starts, known, strict=True) if paths.flies(prior)]
    frames, scenes, pick = list[NDArray[np.uint8]](), list[Floats](), list[int]()
    for i in rng.choice(len(memory), 2 * n, p=draw_weights(memory.scenes, schema)):
        if len(pick) == n:
            break
        scene = memory.scenes[i].copy()
        if rng.random() < EMPTY:
            for at in flying:
                scene[at : at + SLOT] = 0.0
        frame, bare = render.render(paint, scene, schema, rng)
        if found.shows(frame, bare, scene, starts):
            frames.append(frame)
            scenes.append(scene)
            pick.append(int(i))
    rows = np.array(pick, int)
    made = np.stack(frames) if frames else np.zeros((0, *memory.shape, 3), np.uint8)
    told = np.stack(scenes) if scenes else memory.scenes[:0]
    return Samples(made, None, told, memory.episodes[rows], memory.splits[rows], "rendered")
