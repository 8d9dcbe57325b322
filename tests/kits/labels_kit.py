"""Small labels to test with, and a process that adds labels until it is killed.

`python -m tests.kits.labels_kit FOLDER SEED [COUNT [CALL HOW]]` tells every acknowledged label on stdout as its id once
`add` has returned. With CALL it kills itself at its CALL-th system call that changes a file.
"""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path
from typing import Any

from data_flywheel.labels.label import FrameRef, Label
from data_flywheel.labels.store import LabelStore
from perception.scene import GaugeSpec, GridSpec, SceneSchema, ThingSpec

SIZE = (40, 60)
SCHEMA = SceneSchema(
    (0, 0, 40, 60),
    (ThingSpec("ball", 1, (2, 4)), ThingSpec("enemy", 2, (4, 4))),
    (GridSpec("bricks", 2, 3, 0, 0, (8, 6)),),
    (GaugeSpec("oxygen", (0, 0, 4, 40)),),
)
BALL = {"ball": [[10.0, 20.0, 2.0, 4.0]]}
ALL = {**BALL, "enemy": [[30.0, 8.0, 4.0, 4.0], None], "bricks": ["111", "101"], "oxygen": 0.5}


def frame(step: int = 0, episode: str = "game", seed: int | None = 3, size: tuple[int, int] = SIZE) -> FrameRef:
    return FrameRef(episode, step, f"{step:064x}", size, seed)


def label(values: Any = None, source: str = "teacher", who: str = "", **rest: Any) -> Label:
    """A label of the first frame unless `frame` says otherwise."""
    where = rest.pop("frame", frame())
    trust = rest.pop("trust", 0.9)
    return Label(where, source, who or source, BALL if values is None else values, trust, **rest)


def store(folder: Path) -> LabelStore:
    return LabelStore.create(folder, "toy", SCHEMA, SIZE, now=lambda: 12.5)


def main(folder: str, seed: str, count: str = "1000000", strike: str = "0", how: str = "before") -> None:
    from tests.kits.events_kit import arm

    write = os.write  # the real one, before it is replaced
    generator = random.Random(int(seed))
    labels = store(Path(folder))
    write(1, b"opened\n")
    if int(strike):
        arm(int(strike), how)
    for step in range(int(count)):
        note = "x" * int(10 ** generator.uniform(0, 2.6))
        added = labels.add([label(frame=frame(step, f"game{seed}"), note=note)])[0]
        write(1, f"{added.id} {step}\n".encode())


if __name__ == "__main__":
    main(*sys.argv[1:])
