"""What recording costs: the same games played with and without it, in turns of a hundred steps, on one core.

Knows what a fair comparison is: each side has its own emulator and plays the same seeds in the same process; without
recording, nothing at all is kept. On a busy machine seconds say little, processor time says more: that of the emulator
is left out, which makes recording look dearer, and so does waiting for the disk, which a run does while it plays on.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from data_flywheel.episode import EpisodeRecorder
from triune.bench_speed import one_core
from triune.recording import open_recorder
from triune.rollout import Rollout, finish
from triune.system import System

PLAIN = "not recorded"
SIDES = (PLAIN, "none", "failures", "sampled:10", "all")
BLOCK, STEPS = 100, 2000  # steps a turn, steps a game (real ones are longer)
FIRST_SEED = 600  # of the training seeds


def recording_cost(
    system: System, rounds: int = 100, protocol: str | None = None, shift: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Steps a second of every side, 1 - time without / time with by processor (`cpu`) and clock, and bytes a step."""
    spent = {side: [0.0, 0.0] for side in SIDES}
    protocol = system.protocol(protocol).name
    with one_core() as core, tempfile.TemporaryDirectory(dir=".") as place, ExitStack() as stack:
        folders = {side: Path(place) / side.replace(":", "") for side in SIDES}
        games = {
            side: _steps(stack.enter_context(Rollout(system, protocol, shift)), side, folders[side]) for side in SIDES
        }
        for i in range(-1, rounds):  # the first turn is to warm up
            for side in SIDES[:: 1 if i % 2 else -1]:
                cpu, wall = time.process_time(), time.perf_counter()
                for _ in itertools.islice(games[side], BLOCK):
                    pass
                if i >= 0:
                    spent[side][0] += time.process_time() - cpu
                    spent[side][1] += time.perf_counter() - wall
            if progress:
                progress(i + 1, rounds)
        written = (rounds + 1) * BLOCK // STEPS * STEPS
        sizes = {side: sum(p.stat().st_size for p in folders[side].rglob("*.npz")) for side in SIDES[1:]}
    share = {side: [round(1 - spent[PLAIN][i] / spent[side][i], 4) for i in (0, 1)] for side in SIDES[1:]}
    return {
        "task": system.name, "protocol": protocol, "shift": shift, "core": core, "steps": rounds * BLOCK,
        "steps_per_second": {side: round(rounds * BLOCK / wall, 1) for side, (_, wall) in spent.items()},
        "cpu": {side: cpu for side, (cpu, _) in share.items()},
        "wall": {side: wall for side, (_, wall) in share.items()},
        "bytes_a_step": {side: round(size / max(1, written), 1) for side, size in sizes.items()},
    }  # fmt: skip


def _steps(rollout: Rollout, side: str, folder: Path) -> Iterator[None]:
    """Game after game, a step at a time; a game is on disk before the next begins."""
    job = {"folder": str(folder), "frames": side, "disk": 1 << 40}
    recorder = None if side == PLAIN else open_recorder(job, rollout.system)
    for seed in itertools.count(FIRST_SEED):
        rows, began = EpisodeRecorder(rollout.meta(seed)), time.perf_counter()
        tape = recorder.tape() if recorder else None
        for step in rollout.episode(seed):
            if step.index == STEPS:
                break
            if recorder:
                rows.add(step.scene.vector, step.decision, 0, 0)  # type: ignore[arg-type]
            if tape:
                tape.see(step.index, step.frame)
            yield
        if recorder:
            recorder.keep(finish(rows, rollout.sheet(), time.perf_counter() - began), tape)
            recorder.settle()
