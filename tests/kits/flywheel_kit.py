"""Rounds of the wheel on a few stored frames, in children that die when told to: `python -m tests.kits.flywheel_kit`.

A line of stdin, `HOME SECONDS` or `HOME CALL HOW`, runs the wheel in HOME in a process of its own, which gets SIGKILL
after so many seconds, or kills itself at its CALL-th act that changes a file in HOME: before it, or half way through
the write. The answer is the exit status. Rounds, their files, adapting and blending are the wheel's own; play, labels
and verdicts, which take long and write nothing, are stood in for by stored frames.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from cli_kit import ROOT

from data_flywheel.datasets.samples import load_samples
from data_flywheel.self_training import capture, judge
from data_flywheel.self_training.capture import Capture
from data_flywheel.self_training.judge import Sight, Verdict
from data_flywheel.storage.container import array_digest, read_bytes, unpack
from perception.detector import OnnxDetector
from perception.training.data import Samples
from triune.play import self_training as flywheel
from triune.play.self_training import Request, SelfTraining
from triune.system import System, load

ROUNDS, FRAMES = 3, 20  # frames a round
NEVER = 600.0  # seconds


@cache
def stored(folder: Path, split: str) -> Samples:
    """A few frames of the memory."""
    return load_samples(folder, split).take(np.arange(400 if split == "train" else 8))


def game(system: System, seed: int, frames: int) -> Any:
    """The frames of a game that nobody needs to play, uint8[frames, H, W, 3]."""
    memory = stored(system.folder / "memory", "train")
    return np.stack([memory.rgb(i) for i in np.random.default_rng(seed).integers(len(memory), size=frames)])


class SmallWheel(SelfTraining):
    """Two rounds promote, the third keeps; every candidate forgets something until it is blended."""

    def _play(self, detector: Path, frames: int, seed: int, random: bool) -> Capture:
        seen, episodes = np.zeros((frames, self.schema.size), np.float32), np.zeros(frames, np.int64)
        made = game(self.system, seed, frames)
        return Capture(made, seen, np.zeros(frames, np.uint8), episodes, (seed,), {"eyes": detector.name})

    def _sight(self, *_: Any) -> Sight:
        return Sight({"ball": 0.5}, 0.0, None, FRAMES)

    def _weighed(self, candidate: Path, *_: Any) -> Verdict:
        return Verdict("blend" in OnnxDetector.load(candidate).provenance, judge.FORGETS, {})

    def _led(self, candidate: Path, taught: Any, verdict: Verdict, number: int) -> Verdict:
        return Verdict(number < ROUNDS, "better", {})


def training_set(play: Capture, memory: Samples, *rest: Any) -> Any:
    """Stored frames in place of what motion says of `play`."""
    rows = np.random.default_rng(len(play)).permutation(len(memory))
    told = {"labels": array_digest(play.digests())}
    parts = {"new": memory.take(rows[:20]), "rendered": memory.take(rows[20:40])}
    return SimpleNamespace(coverage=1.0, record=lambda: told, **parts)


def run(home: Path) -> None:
    """The wheel, from wherever it stands to its end."""
    system = load("pong")

    def replayed(env: Any, protocol: Any, shift: Any, seeds: Any, actions: Any, episodes: Any) -> Any:
        return np.concatenate([game(system, s, int((episodes == k).sum())) for k, s in enumerate(seeds)])

    capture.replayed, flywheel.training_set, flywheel.load_samples = replayed, training_set, stored
    flywheel.SHARES = flywheel.RECALL = {"new": 2, "memory": 2, "emptied": 1, "rendered": 3}
    request = Request("pong", None, "sticky", ROUNDS, FRAMES, steps=2)
    SmallWheel(system, request, home, lambda text: None).run()


def arm(home: Path, call: int, how: str) -> None:
    """Die at the `call`-th act that changes a file in `home`."""
    left = [call]

    def hook(event: str, args: Any) -> None:
        writes = event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR)
        changes = writes or event in ("os.rename", "shutil.copyfile")
        if not left[0] or not changes or not str(args[0 if writes else 1]).startswith(str(home)):
            return
        left[0] -= 1
        if left[0]:
            return
        if how == "half" and not writes:
            source = Path(args[0])
            half = source.read_bytes()[: source.stat().st_size // 2]
            (Path(args[1]) if event == "shutil.copyfile" else source).write_bytes(half)
        os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def child(home: Path, strike: list[str]) -> None:
    if strike:
        arm(home, int(strike[0]), strike[1])
    run(home)


def main() -> None:
    """Everything slow is loaded once; a child starts with it at hand."""
    import perception.training.finetune  # noqa: F401

    for split in ("train", "test"):
        stored(load("pong").folder / "memory", split)
    for line in sys.stdin:
        home, *rest = line.split()
        strike, seconds = (rest, NEVER) if len(rest) == 2 else ([], float(rest[0]))
        process = multiprocessing.get_context("fork").Process(target=child, args=(Path(home), strike))
        process.start()
        process.join(seconds)
        process.kill()
        process.join()
        print(process.exitcode, flush=True)


class Killer:
    """The process above, asked line by line."""

    def __init__(self) -> None:
        path = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "kits")])
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.kits.flywheel_kit"], cwd=ROOT, env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def __call__(self, home: Path, *how: object) -> int:
        """Exit status of one run; -9 when it was killed."""
        assert self.process.stdin is not None and self.process.stdout is not None
        print(home, *how, file=self.process.stdin, flush=True)
        return int(self.process.stdout.readline())

    def close(self) -> None:
        """End it."""
        self.process.communicate(timeout=60)


def lasting(told: dict[str, Any]) -> dict[str, Any]:
    """A round without how long it took."""
    return {k: v for k, v in told.items() if k not in ("wall_s", "cpu_s")}


def rounds(home: Path) -> dict[str, dict[str, Any]]:
    """The verdicts that are written, by round; every other file there is read, and must be whole."""
    for path in home.glob("round-*/play.npz"):
        unpack(read_bytes(path, capture.KIND), capture.KIND, capture.VERSION, str(path), "")
    for path in home.glob("round-*/candidate.onnx"):
        assert OnnxDetector.load(path).provenance["wheel"]["memory"]
    for path in (home / "wheel.json", home / "result.json"):
        assert not path.exists() or json.loads(path.read_text("utf-8"))
    return {p.parent.name: lasting(json.loads(p.read_text("utf-8"))) for p in sorted(home.glob("round-*/round.json"))}


if __name__ == "__main__":
    main()
