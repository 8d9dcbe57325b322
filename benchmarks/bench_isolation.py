"""What isolation costs: the same episode from pixels with the policy in this process and in a worker, side by side.

Knows: what a fair comparison is (one core for everything, short alternating blocks of the same steps, decisions that
agree). Does not know how either of them plays.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.speed import one_core
from logic.runtime.controller import Decision
from triune.errors import TriuneError
from triune.play.loop import Rollout
from triune.system import System, load

FIRST_SEED = 0
WARM_UP = 50  # steps in which a forked worker copies what it touches


def measure_cost(task: str | Path, steps: int = 25, rounds: int = 40, protocol: str = "sticky") -> dict[str, Any]:
    """Frames a second of both over `rounds` blocks of `steps` steps each, and `ratio`, isolated over plain, of the
    medians. TriuneError when the two do not decide alike."""
    system = load(task, isolate=False)
    with one_core() as core, _Side(system, protocol) as plain, _Side(load(task, isolate=True), protocol) as isolated:
        sides = {"plain": plain, "isolated": isolated}
        for side in sides.values():
            side.block(WARM_UP)
        times: dict[str, list[float]] = {name: [] for name in sides}
        for i in range(rounds):
            for name, side in list(sides.items())[:: 1 if i % 2 else -1]:
                began = time.perf_counter()
                side.block(steps)
                times[name].append(time.perf_counter() - began)
            if plain.last != isolated.last:
                raise TriuneError(f"isolated, the policy decided {isolated.last} instead of {plain.last}")
        started = isolated.start_ms()
    per_block = steps * system.protocol(protocol).frameskip
    fps = {name: per_block / median(t) for name, t in times.items()}
    return {
        "task": system.name, "protocol": protocol, "core": core, "rounds": rounds, "steps": steps,
        "plain_fps": round(fps["plain"], 1), "isolated_fps": round(fps["isolated"], 1),
        "ratio": round(fps["isolated"] / fps["plain"], 4),
        "added_us": round(1e6 * (median(times["isolated"]) - median(times["plain"])) / steps, 1),
        "start_ms": round(started, 1),
    }  # fmt: skip


class _Side:
    """One way of playing, episode after episode."""

    def __init__(self, system: System, protocol: str) -> None:
        self._rollout, self._seed = Rollout(system, protocol), FIRST_SEED
        self._steps: Iterator[Any] = self._rollout.episode(self._seed)
        self.last: tuple[Decision, ...] = ()

    def block(self, steps: int) -> None:
        """Play so many steps."""
        decided: list[Decision] = []
        while len(decided) < steps:
            step = next(self._steps, None)
            if step is None:
                self._seed += 1
                self._steps = self._rollout.episode(self._seed)
            else:
                decided.append(step.decision)
        self.last = tuple(decided)

    def start_ms(self) -> float:
        """Median milliseconds to start an episode's controller."""
        took = []
        for _ in range(5):
            began = time.perf_counter()
            self._rollout.controller.reset()
            took.append(1e3 * (time.perf_counter() - began))
        return median(took)

    def __enter__(self) -> _Side:
        return self

    def __exit__(self, *_: object) -> None:
        self._rollout.close()
