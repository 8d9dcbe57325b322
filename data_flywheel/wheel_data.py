"""What a round of the wheel learns from: its play labelled by motion, old scenes in the new paint, and the memory.

Knows: captures, motion labels, paint, the memory's frames. Does not know: networks, who played, whether the result is
good. The last part of every game is held back: nothing is learned from it, eyes are judged on it. Frames of the
memory's frozen set never teach: a picture that equals one of them is left out, wherever it comes from.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_flywheel import motion, render
from data_flywheel.capture import Capture
from data_flywheel.container import array_digest
from data_flywheel.frozen import FrozenSet
from data_flywheel.judge import coverage
from data_flywheel.motion import Floats, Motion, Prior
from perception.batches import draw_weights
from perception.data import Samples
from perception.scene import SceneSchema

HELD_BACK = 0.2  # share of the games' frames on which eyes are judged
RENDERED = 1600  # old scenes drawn anew
LEAST = 0.15  # coverage below which motion says too little: nothing is learned


@dataclass(frozen=True)
class Lesson:
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


def lesson(
    play: Capture, memory: Samples, known: list[Prior], schema: SceneSchema, frozen: FrozenSet,
    seed: int = 0,
) -> Lesson:  # fmt: skip
    """Labels of `play` and the frames to learn. `memory`: old labelled frames; what is `frozen` does not teach."""
    found = motion.label(play.frames, play.episodes, schema, known)
    held = held_back(play.episodes)
    learn = ~held
    paint, _ = render.learn(
        play.frames[learn], play.episodes[learn], Motion(found.scenes[learn], found.trust[learn]), schema
    )
    cells, _, _ = render.cells_of(play.frames, play.episodes, schema)
    rows = np.flatnonzero(learn & found.trust.all(1))
    new = Samples(
        play.frames[rows], None, _whole(found.scenes[rows], cells[rows], schema), play.episodes[rows],
        np.zeros(len(rows), np.uint8), "motion",
    )  # fmt: skip
    rendered = without(drawn(paint, memory, schema, RENDERED, seed), frozen)
    return Lesson(found, cells, held, coverage(found, known), without(new, frozen), rendered)


def _whole(scenes: Floats, cells: Floats, schema: SceneSchema) -> Floats:
    """Things and cells in one vector."""
    out, at = scenes.copy(), 0
    for grid in schema.grids:
        n = grid.rows * grid.cols
        out[:, schema.grid(grid.name)], at = cells[:, at : at + n], at + n
    return out


def drawn(paint: render.Paint, memory: Samples, schema: SceneSchema, n: int, seed: int) -> Samples:
    """`n` old scenes, rare ones oftener, in the new paint; none where a thing's paint is not known."""
    if not all(paint.patches) or not len(memory):
        empty = np.zeros((0, *memory.shape, 3), np.uint8)
        return Samples(empty, None, memory.scenes[:0], memory.episodes[:0], memory.splits[:0], "rendered")
    rng = np.random.default_rng([seed, 11])
    pick = rng.choice(len(memory), n, p=draw_weights(memory.scenes, schema))
    frames = np.stack([render.render(paint, memory.scenes[i], schema, rng) for i in pick])
    return Samples(frames, None, memory.scenes[pick], memory.episodes[pick], memory.splits[pick], "rendered")
