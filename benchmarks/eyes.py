"""What one look costs: ONNX Runtime, the native engine looking at everything, and at what changed. Frames of play go by
through one buffer, as they do behind the process wall; the ways take turns, block by block, on one core in one run."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import native
from benchmarks.speed import one_core
from envs.visual_shifts import MOVING, SHIFTS, STATIC, make_shift
from native.eyes import Eyes
from perception.native_detector import largest_difference, open_detector
from perception.plan import read_plan
from triune.commands import common
from triune.console import Console, table
from triune.errors import TriuneError
from triune.play.loop import Rollout
from triune.system import System

SEED = 1000
SKIPPED = 300  # steps at the start, before a game is under way
LEVELS = 3  # instruction sets, widest last
WAYS = ("ONNX Runtime", "everything", "what changed", "everything, noise", "what changed, noise")
See = Callable[[np.ndarray], np.ndarray]


def frames_of_play(system: System, protocol: str | None, count: int) -> np.ndarray:
    """uint8[count, H, W, 3] of one game, or of as many as it takes."""
    frames: list[np.ndarray] = []
    with Rollout(system, protocol) as rollout:
        seed = SEED
        while len(frames) < count:
            for step in rollout.episode(seed, limit=SKIPPED + count - len(frames)):
                if step.index >= SKIPPED or seed > SEED:
                    frames.append(step.frame.copy())
            seed += 1
    return np.array(frames[:count])


def measure(system: System, protocol: str | None, level: int, rounds: int, count: int) -> dict[str, Any]:
    """CPU microseconds of each way, the share of cells that was looked at, and whether the ways agree."""
    assert native.engine is not None
    named = native.engine.level(level)
    data = system.weights()
    reference = open_detector(data, system.schema)
    if reference.engine != "native":
        raise TriuneError(f"there is nothing to compare: what sees here is {reference.engine}")
    shape = reference.shape
    plan = read_plan(data, system.schema, (shape[0], shape[1]))
    eyes, other, slow = Eyes(plan), Eyes(plan), reference.reference  # type: ignore[union-attr]
    frames = frames_of_play(system, protocol, count)
    noise = np.random.default_rng(0).integers(0, 256, (16, *shape), np.uint8)
    some = frames[:: max(1, count // 100)]
    sides: tuple[tuple[See, np.ndarray], ...] = (
        (slow.look, some), (lambda f: eyes.look(f, anew=True), some), (eyes.look, frames),
        (lambda f: eyes.look(f, anew=True), noise), (eyes.look, noise),
    )  # fmt: skip
    buffer, took = np.empty(shape, np.uint8), [[] for _ in sides]  # type: tuple[np.ndarray, list[list[int]]]
    worst, share, wrong = 0.0, [], 0
    with one_core() as core:
        for _ in range(rounds):
            for (see, seen), times in zip(sides, took, strict=True):
                for i, frame in enumerate(seen):
                    np.copyto(buffer, frame)
                    began = time.thread_time_ns()
                    see(buffer)
                    if i:  # the first one comes from another side's pictures
                        times.append(time.thread_time_ns() - began)
    eyes.share()
    for frame in frames:
        found = eyes.look(frame)
        share.append(eyes.share())
        wrong += found.tobytes() != other.look(frame, anew=True).tobytes()
        wanted = slow.look(frame)
        worst = max(worst, float(np.abs(found - wanted).max())) if np.isfinite(wanted).all() else np.inf
        wrong += bool(largest_difference(system.schema, found, wanted)[0])
    rows = {
        name: {q: round(float(np.percentile(times, p)) / 1000, 1) for q, p in (("median", 50), ("p99", 99))}
        | {"mean": round(float(np.mean(times)) / 1000, 1), "n": len(times)}
        for name, times in zip(WAYS, took, strict=True)
    }
    return {
        "task": system.name, "instructions": named, "core": core, "frames": count, "rounds": rounds, "cpu_us": rows,
        "share_looked_at": round(float(np.mean(share[1:])), 4), "largest_gap": worst, "frames_that_differ": wrong,
    }  # fmt: skip


def compare_shifts(system: System, protocol: str | None, level: int, count: int) -> dict[str, Any]:
    """Frames in which what changed and everything tell different bytes, for each visual shift: one game after the
    other as it is played without a shift, painted in every one of them. Stops at the first that differs."""
    assert native.engine is not None
    named = native.engine.level(level)
    data = system.weights()
    shape = open_detector(data, system.schema).shape
    plan = read_plan(data, system.schema, (shape[0], shape[1]))
    anew, sides = Eyes(plan), {name: Eyes(plan) for name in (*SHIFTS, *STATIC, *MOVING)}
    seen, seed = 0, SEED
    with Rollout(system, protocol) as rollout:
        while seen < count:
            shifts = {name: make_shift(name, seed, shape) for name in sides}
            for step in rollout.episode(seed, limit=count - seen):
                for name, eyes in sides.items():
                    frame = shifts[name](step.frame)
                    if eyes.look(frame).tobytes() != anew.look(frame, anew=True).tobytes():
                        place = f"seed {seed}, step {step.index}, shift {name}"
                        raise TriuneError(f"{place}: what changed and everything tell different bytes")
                seen += 1
            seed += 1
    return {"task": system.name, "instructions": named, "frames": seen, "games": seed - SEED, "shifts": list(sides)}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Of `triune bench eyes`."""
    parser.add_argument("task", nargs="?", default="breakout", help="default breakout")
    parser.add_argument("--trust", action="store_true", help="a teacher.py of unknown origin may run")
    parser.add_argument("--protocol", help="default: the task's own")
    parser.add_argument("--rounds", type=common.positive, default=8, metavar="N", help="blocks (default 8)")
    parser.add_argument("--frames", type=common.positive, default=500, metavar="N", help="of play (default 500)")
    parser.add_argument("--shifts", action="store_true", help="only compare, in every visual shift, bit by bit")
    parser.add_argument("--level", type=int, choices=range(LEVELS), default=LEVELS - 1,
                        help="0 plain, 1 AVX2, 2 AVX-512 (default: the widest)")  # fmt: skip


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Payload: the measurement, or with `--shifts` what was compared."""
    if not native.available():
        raise TriuneError(f"there is nothing to compare: {native.described()}")
    if args.shifts:
        told = compare_shifts(common.load_system(args), args.protocol, args.level, args.frames)
        kinds = f"{told['frames']} frames of {told['games']} games in each of {len(told['shifts'])} visual shifts"
        console.say(f"{told['task']}, {told['instructions']}: {kinds}, no byte differs from the look at everything")
        return told
    found = measure(common.load_system(args), args.protocol, args.level, args.rounds, args.frames)
    console.say(f"{found['task']}, {found['instructions']}, {found['frames']} frames of play, core {found['core']}")
    rows = [[name, f"{r['median']}", f"{r['p99']}", f"{r['mean']}", f"{r['n']}"] for name, r in found["cpu_us"].items()]
    console.say(table(rows, ["CPU us a look", "median", "p99", "mean", "n"], {1, 2, 3, 4}))
    console.say(f"of the cells {100 * found['share_looked_at']:.1f} % were looked at")
    gap = f"{found['largest_gap']:.1e} from ONNX Runtime at most"
    console.say(f"{gap}; {found['frames_that_differ']} frames differ beyond rounding or from the look at everything")
    return found
