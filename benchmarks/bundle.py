"""What a deployed system costs a frame, and whether it decides as play does: the ONNX bundle, the native bundle, and
detector and generated Python apart, on the same frames of play. The ways take turns, block by block, on one core."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import native
from benchmarks.speed import one_core
from logic.runtime.controller import Controller
from logic.runtime.tracker import Tracker
from perception.detector import OnnxDetector
from triune.commands import common
from triune.console import Console, table
from triune.deploy.export import export
from triune.deploy.native import export_native
from triune.errors import TriuneError
from triune.native_bundle import SUFFIX
from triune.play.loop import Pipeline, Rollout
from triune.runtime import OUTPUTS, Bundle
from triune.system import System

SEED = 1000
BLOCK = 250  # frames that one way decides on before the next has its turn
Step = Callable[[np.ndarray], Any]


class _Way:
    """A way to decide. `step`: what is timed; `actions`: of all frames so far, as plain values."""

    def __init__(self, name: str, begin: Callable[[], Step], action: Callable[[Any], Any]) -> None:
        self.name, self.begin, self._action = name, begin, action
        self.actions: list[Any] = []
        self.times: list[int] = []
        self.step = begin()

    def decide(self, frames: np.ndarray, buffer: np.ndarray) -> None:
        """One block through one buffer, as frames come from a game."""
        for frame in frames:
            np.copyto(buffer, frame)
            began = time.thread_time_ns()
            found = self.step(buffer)
            self.times.append(time.thread_time_ns() - began)
            self.actions.append(np.asarray(self._action(found)).tolist())


def ways_of(system: System, protocol: str | None, folder: Path) -> list[_Way]:
    """All of them; the bundles are exported into the folder."""
    rules = system.protocol(protocol)
    logic = system.logic(rules.name)
    files = [folder / f"bundle{suffix}" for suffix in (".onnx", SUFFIX)]
    export(system, files[0], rules.name)
    export_native(system, files[1], rules.name)
    space = logic.actions.shape

    def apart() -> Step:
        detector = OnnxDetector.parse(system.weights(), system.schema)
        player = Pipeline(system.schema, detector, Controller(logic, 1e9), tracker=Tracker(system.schema))
        player.reset()
        return player.act

    def bundle(path: Path, whole: bool) -> Callable[[], Step]:
        def begin() -> Step:
            bot = Bundle.load(path, 1e9)
            state = bot.start()
            memory, session = state.memory, bot._session

            def step(frame: np.ndarray) -> Any:
                nonlocal state
                action, state, _ = bot.step(frame, state)
                return action

            def bare(frame: np.ndarray) -> Any:
                nonlocal memory
                found = session.run(OUTPUTS, {"frame": frame, "memory": memory})
                memory = found[5]
                return found[0] if space else int(found[0][0])

            return step if whole else bare

        return begin

    return [
        _Way("detector and Python apart", apart, lambda found: found[1].action),
        _Way("ONNX bundle", bundle(files[0], False), lambda found: found),
        _Way("ONNX bundle, Bundle.step", bundle(files[0], True), lambda found: found),
        _Way("native bundle", bundle(files[1], False), lambda found: found),
        _Way("native bundle, Bundle.step", bundle(files[1], True), lambda found: found),
    ]


def measure(system: System, protocol: str | None, frames: int) -> dict[str, Any]:
    """CPU microseconds a frame of each way, and on how many frames each decided otherwise than play did."""
    shape = (system.spec.env.height, system.spec.env.width, 3)
    buffer, played, games, seed = np.empty(shape, np.uint8), list[Any](), 0, SEED
    with tempfile.TemporaryDirectory() as folder, one_core() as core, Rollout(system, protocol) as rollout:
        ways = ways_of(system, protocol, Path(folder))
        while len(played) < frames:
            for way in ways:
                way.step = way.begin()
            block: list[np.ndarray] = []
            for step in rollout.episode(seed, limit=frames - len(played)):
                block.append(step.frame.copy())
                played.append(np.asarray(step.action).tolist())
                if len(block) == BLOCK:
                    _turns(ways, block, buffer)
            _turns(ways, block, buffer)
            games, seed = games + 1, seed + 1
    rows = {
        way.name: {
            "median": round(float(np.median(way.times)) / 1000, 1), "mean": round(float(np.mean(way.times)) / 1000, 1),
            "p99": round(float(np.percentile(way.times, 99)) / 1000, 1),
            "differ": sum(a != b for a, b in zip(way.actions, played, strict=True)),
        }
        for way in ways
    }  # fmt: skip
    assert native.engine is not None
    return {
        "task": system.name, "instructions": native.engine.level(), "core": core, "frames": len(played),
        "games": games, "cpu_us": rows,
    }  # fmt: skip


def _turns(ways: list[_Way], block: list[np.ndarray], buffer: np.ndarray) -> None:
    if block:
        for way in ways:
            way.decide(np.array(block), buffer)
    block.clear()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Of `triune bench bundle`."""
    parser.add_argument("task", nargs="?", default="breakout", help="default breakout")
    parser.add_argument("--trust", action="store_true", help="a teacher.py of unknown origin may run")
    parser.add_argument("--protocol", help="default: the task's own")
    parser.add_argument("--frames", type=common.positive, default=10_000, metavar="N", help="of play (default 10000)")


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Payload: the measurement."""
    if not native.available():
        raise TriuneError(f"there is no native bundle to measure: {native.described()}")
    found = measure(common.load_system(args), args.protocol, args.frames)
    console.say(f"{found['task']}, {found['instructions']}, {found['frames']} frames of {found['games']} games")
    rows = [[n, *(f"{r[k]}" for k in ("median", "mean", "p99", "differ"))] for n, r in found["cpu_us"].items()]
    console.say(table(rows, ["CPU us a frame", "median", "mean", "p99", "actions unlike play"], {1, 2, 3, 4}))
    return found
