"""How fast the pixel stack is beside the bare emulator, measured interleaved on one core in one run."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

from envs.backends.atari import AtariCore
from triune.commands import common
from triune.console import Console, table
from triune.play.loop import Rollout
from triune.system import System

PROTOCOL = "seed-sticky"  # one decision an emulated frame


@contextmanager
def one_core() -> Iterator[int | None]:
    """Pin this process (and the children it starts) to one core; None where the system cannot."""
    if not hasattr(os, "sched_setaffinity"):
        yield None
        return
    before = os.sched_getaffinity(0)
    core = max(before)
    os.sched_setaffinity(0, {core})
    try:
        yield core
    finally:
        os.sched_setaffinity(0, before)


def speed(
    system: System, protocol: str = PROTOCOL, rounds: int = 12, block: int = 500,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Decisions a second of both, their ratio, and median microseconds of each part."""
    with one_core() as core:
        bare, blind = (_Bare(system, protocol, fetch) for fetch in (True, False))
        with Rollout(system, protocol) as rollout:
            stack = _Stack(rollout)
            sides: dict[str, _Bare | _Stack] = {"bare": bare, "stack": stack, "blind": blind}
            for side in sides.values():
                side.block(block)  # warm up
            times: dict[str, list[float]] = {name: [] for name in sides}
            for i in range(rounds):
                for name, side in list(sides.items())[:: 1 if i % 2 else -1]:
                    began = time.perf_counter()
                    side.block(block)
                    times[name].append(time.perf_counter() - began)
                if progress:
                    progress(i + 1, rounds)
            parts = _parts(stack, blind, block)
    fps = {name: block / median(t) for name, t in times.items()}
    return {
        "task": system.name, "protocol": protocol, "core": core, "blocks": rounds, "frames_a_block": block,
        "emulator_fps": round(fps["bare"], 1), "blind_fps": round(fps["blind"], 1), "stack_fps": round(fps["stack"], 1),
        "ratio": round(sum(times["bare"]) / sum(times["stack"]), 4),
        "ratio_blind": round(sum(times["blind"]) / sum(times["stack"]), 4), "microseconds": parts,
    }  # fmt: skip


class _Bare:
    """The emulator alone, in this process; with `fetch` it delivers a frame a step, as to anybody who looks.

    A game that ends goes back to its first state: loading the ROM again takes as long as a thousand frames and would
    flatter the stack, whose games are longer.
    """

    def __init__(self, system: System, protocol: str, fetch: bool) -> None:
        self.fetch = fetch
        self.core = AtariCore(system.spec.env, system.protocol(protocol))
        self.core.reset(0)
        self.start, self.frame = self.core.clone(), self.core.frame()

    def block(self, frames: int) -> None:
        for i in range(frames):
            if self.core.done:
                self.core.restore(self.start)
            self.core.advance(i // 8 % len(self.core.env.actions.names))
            if self.fetch:
                self.core.frame(self.frame)


class _Stack:
    """Everything that plays: emulator process, transfer, detector, tracker, policy, safety."""

    def __init__(self, rollout: Rollout) -> None:
        self.rollout, self.seed = rollout, 0
        self.steps = rollout.episode(0)

    def block(self, frames: int) -> None:
        for _ in range(frames):
            if next(self.steps, None) is None:
                self.seed += 1
                self.steps = self.rollout.episode(self.seed)


def _parts(stack: _Stack, bare: _Bare, n: int) -> dict[str, float]:
    """Median microseconds of each part, one call at a time."""
    r, names = stack.rollout, ("step", "eyes", "tracker", "policy and safety", "emulator")
    found: dict[str, list[float]] = {name: [] for name in names}

    def timed(name: str, call: Callable[..., Any], *args: Any) -> Any:
        began = time.perf_counter()
        value = call(*args)
        found[name].append(1e6 * (time.perf_counter() - began))
        return value

    frame = r.env.reset(1)
    for part in (r.detector, r.tracker, r.controller):
        part.reset()
    for _ in range(n):
        if r.env.done:
            break
        vector = timed("eyes", r.detector.see, frame)
        scene = timed("tracker", lambda v: r.player.read(r.tracker.update(v)), vector)
        decision = timed("policy and safety", r.controller.decide, scene)
        frame = timed("step", r.env.step, decision.action)
        timed("emulator", bare.block, 1)
    medians = {name: round(median(values), 1) for name, values in found.items()}
    whole = medians.pop("step")
    return {"emulator": medians["emulator"], "transfer": round(whole - medians["emulator"], 1), **medians}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Of `triune bench speed`."""
    parser.add_argument("task", nargs="?", default="breakout", help="default breakout")
    parser.add_argument("--trust", action="store_true", help="a teacher.py of unknown origin may run")
    parser.add_argument("--protocol", metavar="P", default=PROTOCOL, help=f"default {PROTOCOL}: frameskip 1")
    parser.add_argument("--rounds", type=common.positive, default=12, metavar="N", help="blocks (default 12)")


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Payload: the measurement."""
    system = common.load_system(args)

    def told(done: int, total: int) -> None:
        console.progress(done, total, "alternating blocks")

    found = speed(system, args.protocol, args.rounds, progress=told)
    frames = system.protocol(args.protocol).frames_per_step
    console.say(f"{system.name}, {found['protocol']}, frameskip {frames}, core {found['core']}")
    blind = f"{found['blind_fps']:.0f} if nobody fetches frames"
    console.say(f"bare emulator  {found['emulator_fps']:.0f} steps/s ({blind})")
    console.say(f"pixel stack    {found['stack_fps']:.0f} steps/s")
    console.say(f"ratio          {found['ratio']:.3f} ({found['ratio_blind']:.3f})")
    console.say(table([[k, f"{v:.1f}"] for k, v in found["microseconds"].items()], ["part", "us a step, median"], {1}))
    return found
