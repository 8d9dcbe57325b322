"""What recording costs: the same games played with and without it, in turns of fifty steps, on one core.

Other programs disturb single turns, so each turn is compared with the one beside it, and the median counts. What a
game takes once it is over is measured by itself and spread over its steps.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.speed import one_core
from data_flywheel.episodes.episode import EpisodeRecorder
from triune.commands import common
from triune.console import Console, table
from triune.play.loop import Rollout, finish
from triune.play.recording import open_recorder
from triune.system import System

PLAIN = "not recorded"
SIDES = (PLAIN, "none", "failures", "sampled:10", "all")
BLOCK, STEPS = 50, 2000  # steps a turn, steps a game (real ones are longer)
FIRST_SEED = 600  # of the training seeds


def recording_cost(
    system: System, rounds: int = 200, protocol: str | None = None, shift: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Microseconds a step, the share of them that is recording (`cost`), and bytes a step, of every side."""
    protocol = system.protocol(protocol).name
    turns: dict[str, list[float]] = {side: [] for side in SIDES}
    with one_core() as core, tempfile.TemporaryDirectory(dir=".") as place, ExitStack() as stack:
        games = {
            side: _Games(
                stack.enter_context(Rollout(system, protocol, shift)), side, Path(place) / side.replace(":", "")
            )
            for side in SIDES
        }
        for i in range(-1, rounds):  # the first turn is to warm up
            for side in SIDES:  # always in turn: a side that played twice running would find its memory warm
                began = time.perf_counter()
                for _ in itertools.islice(games[side].steps, BLOCK):
                    pass
                turns[side].append((time.perf_counter() - began) / BLOCK)
            if progress:
                progress(i + 1, rounds)
        plain = median(turns[PLAIN][1:])
        cost = {side: _cost(turns[side][1:], turns[PLAIN][1:], games[side], plain) for side in SIDES[1:]}
        sizes = {side: round(games[side].bytes() / max(1, games[side].written), 1) for side in SIDES[1:]}
    return {
        "task": system.name, "protocol": protocol, "shift": shift, "core": core, "steps": rounds * BLOCK,
        "microseconds": {PLAIN: round(1e6 * plain, 1)} | {side: found["us"] for side, found in cost.items()},
        "cost": {side: found["cost"] for side, found in cost.items()},
        "interval": {side: found["interval"] for side, found in cost.items()}, "bytes_a_step": sizes,
    }  # fmt: skip


def _cost(turns: list[float], beside: list[float], games: _Games, plain: float) -> dict[str, Any]:
    """Median and its 95 % interval of what recording takes beside playing; microseconds a step of both together."""
    ratios = middle(turns, beside)
    after = games.after / max(1, games.written) / plain
    shares = [round(1 - 1 / (ratio + after), 4) for ratio in ratios]
    return {"us": round(1e6 * plain * (ratios[0] + after), 1), "cost": shares[0], "interval": shares[1:]}


def middle(turns: list[float], beside: list[float]) -> tuple[float, float, float]:
    """Of the ratios of turns that stand beside each other: median, and the ends of its 95 % interval."""
    ratios = sorted(one / other for one, other in zip(turns, beside, strict=True))
    n, half = len(ratios), 0.98 * len(ratios) ** 0.5  # ranks either side of the median
    return median(ratios), ratios[max(0, int(n / 2 - half))], ratios[min(n - 1, int(n / 2 + half))]


class _Games:
    """Game after game, a step at a time; a game is on disk before the next begins.

    after: processor seconds that games took once they were over; written: steps of those games.
    """

    def __init__(self, rollout: Rollout, side: str, folder: Path) -> None:
        self.folder, self.after, self.written = folder, 0.0, 0
        self.steps = self._play(rollout, side)

    def _play(self, rollout: Rollout, side: str) -> Iterator[None]:
        job = {"folder": str(self.folder), "frames": side, "disk": 1 << 40}
        recorder = None if side == PLAIN else open_recorder(job, rollout.system)
        for seed in itertools.count(FIRST_SEED):
            rows = EpisodeRecorder(rollout.meta(seed))
            frame_buffer = recorder.frame_buffer() if recorder else None
            for step in rollout.episode(seed, frame_buffer):
                if step.index == STEPS:
                    break
                if recorder:
                    rows.add(step.scene.vector, step.decision, 0, 0)  # type: ignore[arg-type]
                yield
            if recorder:
                sheet, began = rollout.outcome(), time.process_time()
                episode = finish(rows, sheet, 0.0)
                recorder.keep(episode, frame_buffer)
                recorder.settle()
                self.after, self.written = self.after + time.process_time() - began, self.written + len(episode)

    def bytes(self) -> int:
        """Of all episodes and frames on disk."""
        return sum(path.stat().st_size for path in self.folder.rglob("*.npz"))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Of `triune bench record`."""
    parser.add_argument("task", nargs="?", default="breakout", help="default breakout")
    parser.add_argument("--trust", action="store_true", help="a teacher.py of unknown origin may run")
    parser.add_argument("--rounds", type=common.positive, default=200, metavar="N", help="turns (default 200)")
    parser.add_argument("--protocol", metavar="P", help="default: the task's")
    parser.add_argument("--shifts", metavar="S", help="a visual shift for all sides")


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Payload: the measurement."""
    system = common.load_system(args)

    shift = args.shifts  # one look for all sides
    found = recording_cost(
        system, args.rounds, args.protocol, shift, lambda i, n: console.progress(i, n, "alternating turns")
    )
    console.clear()
    console.say(f"{system.name}, {found['protocol']}, {found['steps']} steps a side, core {found['core']}")
    rows = [[SIDES[0], f"{found['microseconds'][SIDES[0]]:.0f}", "", "", ""]]
    for side in SIDES[1:]:
        low, high = (f"{100 * edge:.1f}" for edge in found["interval"][side])
        told = [f"{100 * found['cost'][side]:.1f} %", f"{low} to {high} %", f"{found['bytes_a_step'][side]:.0f}"]
        rows.append([side, f"{found['microseconds'][side]:.0f}", *told])
    console.say(table(rows, ["frames kept", "us a step", "cost", "95 % interval", "bytes a step"], {1, 2, 3, 4}))
    return found
