"""How suspicious a frame is, from what the eyes said of it alone: doubt, disagreement with a label, jumps in time.

Knows Scene vectors. Does not know pixels, queues or what to do about it. Every measure is a score from 0 to 1 with
words for people; below `FLOOR` nothing is said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from data_flywheel.errors import DataError
from data_flywheel.labels.frames import DatasetFrames, EpisodeFrames
from data_flywheel.labels.label import FrameRef
from data_flywheel.labels.review_queue import Suspicion
from perception.scene import SceneSchema

FLOOR = 0.02
_REACH = 4.0  # px beyond a thing's top speed that make a jump certain

U8 = NDArray[np.uint8]
Vector = NDArray[np.float32]


def measures(
    schema: SceneSchema, belief: Vector, label: Vector | None = None, before: Vector | None = None
) -> list[tuple[str, float, str]]:
    """Reason, score, words for all that is odd about what the eyes saw.

    label: what another annotator says of the frame; before: the eyes' Scene a step ago.
    """
    found = [("low sure", *doubt(schema, belief))]
    if label is not None:
        found.append(("disagreement", *disagreement(schema, belief, label)))
    if before is not None:
        found.append(("tracker residual", *jump(schema, before, belief)))
    return [(reason, round(score, 6), words) for reason, score, words in found if score >= FLOOR]


def suspicions(
    schema: SceneSchema, ref: FrameRef, belief: Vector, label: Vector | None = None, before: Vector | None = None
) -> Iterator[Suspicion]:
    """`measures` of one frame, for a queue."""
    seen = tuple(float(v) for v in belief)
    for reason, score, words in measures(schema, belief, label, before):
        yield Suspicion(ref, reason, score, words, seen)


def doubt(schema: SceneSchema, belief: Vector) -> tuple[float, str]:
    """How near the least certain `sure` is to a toss-up: 0 for 0 or 1, 1 for one half."""
    worst = (0.0, "")
    for name, index in _slots(schema):
        sure = float(belief[schema.slot(name, index)][7])
        worst = _worse(worst, (1 - abs(2 * min(max(sure, 0.0), 1.0) - 1), f"{name} {100 * sure:.0f} % sure"))
    return worst


def disagreement(schema: SceneSchema, belief: Vector, label: Vector) -> tuple[float, str]:
    """1 when one sees what the other does not; else by distance, a thing's own size away counting as 1.

    Grids: the share of a row's cells that differ. Slots of a kind are compared in order from left to right.
    """
    worst = (0.0, "")
    for thing in schema.things:
        ours, theirs = (_boxes(schema, thing.name, v) for v in (belief, label))
        if len(ours) != len(theirs):
            worst = _worse(worst, (1.0, f"{len(ours)} {thing.name} seen, {len(theirs)} labelled"))
            continue
        for a, b in zip(ours, theirs, strict=True):
            gap = float(np.abs(a[:2] - b[:2]).max())
            worst = _worse(worst, (min(1.0, gap / max(1.0, *thing.size)), f"{thing.name} {gap:.1f} px apart"))
    for grid in schema.grids:
        cells = (belief[schema.grid(grid.name)] > 0.5) != (label[schema.grid(grid.name)] > 0.5)
        worst = _worse(worst, (min(1.0, float(cells.sum()) / grid.cols), f"{int(cells.sum())} {grid.name} differ"))
    return worst


def jump(schema: SceneSchema, before: Vector, after: Vector) -> tuple[float, str]:
    """By how much a single thing moved further in one step than it can."""
    worst = (0.0, "")
    for thing in schema.things:
        a, b = before[schema.slot(thing.name)], after[schema.slot(thing.name)]
        if thing.count == 1 and a[0] > 0.5 and b[0] > 0.5:
            excess = float(np.abs(b[1:3] - a[1:3]).max()) - thing.max_speed
            worst = _worse(worst, (min(1.0, max(0.0, excess / _REACH)), f"{thing.name} jumped {excess:.1f} px too far"))
    return worst


def _worse(one: tuple[float, str], other: tuple[float, str]) -> tuple[float, str]:
    return other if other[0] > one[0] else one


def _slots(schema: SceneSchema) -> Sequence[tuple[str, int]]:
    return [(thing.name, index) for thing in schema.things for index in range(thing.count)]


def _boxes(schema: SceneSchema, name: str, vector: Vector) -> list[Vector]:
    count = next(thing.count for thing in schema.things if thing.name == name)
    slots = [vector[schema.slot(name, i)] for i in range(count)]
    return sorted((slot[1:5] for slot in slots if slot[0] > 0.5), key=lambda box: (float(box[0]), float(box[1])))


def of_dataset(
    schema: SceneSchema, frames: DatasetFrames, look: Callable[[U8], Vector], problems: list[str] | None = None
) -> Iterator[Suspicion]:
    """Suspicions about every frame that may teach. `look`: the eyes, uint8[H, W, 3] -> Scene vector.

    DataError names a damaged shard; with `problems` it is named there and left out.
    """
    for ref in frames.refs(problems):
        if ref.split != "test":
            yield from suspicions(schema, ref, look(frames.rgb(ref)), frames.vector(ref))


def of_episodes(schema: SceneSchema, frames: EpisodeFrames, problems: list[str] | None = None) -> Iterator[Suspicion]:
    """Suspicions about every step of recorded play, from the scenes that were acted on; `problems` as above.

    A frame's pixels are fetched only when its scenes are odd, because most are not.
    """
    for name in frames.names():
        try:
            scenes = frames.episode(name).scenes
        except DataError as error:
            if problems is None:
                raise
            problems.append(str(error))
            continue
        for step in range(len(scenes)):
            before = scenes[step - 1] if step else None
            if measures(schema, scenes[step], before=before):
                yield from suspicions(schema, frames.ref(name, step), scenes[step], before=before)
