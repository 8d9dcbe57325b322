"""How many labels curation saves: detectors trained on few chosen frames beside others trained on frames drawn at
random.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_flywheel.datasets.collection import make_player
from data_flywheel.datasets.collection_worker import columns
from data_flywheel.datasets.curation import CONSECUTIVE, Pool, build, choose
from data_flywheel.datasets.frozen import FrozenSet
from data_flywheel.datasets.samples import load_samples
from data_flywheel.errors import DataError
from data_flywheel.labelers.teacher import Teacher, Truth, load_teacher
from data_flywheel.labels.frames import DatasetFrames
from data_flywheel.storage.dataset import Dataset, Manifest, Shard
from data_flywheel.storage.files import atomic_write
from data_flywheel.storage.frames import Frames
from envs.actions import Action, ActionSpace
from envs.env import Rules, Simulator, protocol_of, simulator
from envs.spec import SystemSpec
from perception.detector import OnnxDetector
from perception.training.data import Samples
from perception.training.metrics import evaluate
from triune.commands import common
from triune.console import Console, table
from triune.system import System

# ----------------------------------------------------------------------------------------------------
# Ordinary play with labels, every frame of it, in order: what a camera would see that nobody filters.
#
# `record.py` makes data sets to learn from, in which rare situations are many; this makes the pools that curation
# chooses from, and tests of what play is like.


class Stretch(NamedTuple):
    """Steps `start` to `start + length` of the game of `seed` (fewer when it ends before)."""

    seed: int
    start: int
    length: int


def record(spec: SystemSpec, folder: str | Path, stretches: Sequence[Stretch], player: str = "policy") -> Dataset:
    """A data set of stretches, one shard each, under the task's own protocol; one that is there already is kept.

    A frame whose label does not account for the picture is left out, and the shard is then not consecutive.
    DataError: the folder holds other stretches.
    """
    teacher, protocol = load_teacher(spec.folder), protocol_of(spec.env)
    extra = {"plain play": [list(s) for s in stretches], "player": player, "protocol": protocol.name}
    schema = teacher.schema
    manifest = Manifest(
        spec.name, schema.to_config(), schema.fingerprint, teacher.digest, "", len(stretches), extra
    )  # fmt: skip
    folder = Path(folder)
    there = (folder / "manifest.json").exists()
    dataset = Dataset(folder) if there else Dataset.create(folder, manifest)
    if {**dataset.manifest.extra, **extra} != dataset.manifest.extra or dataset.manifest.teacher != teacher.digest:
        raise DataError(f"{folder} holds other play; remove it or name another folder")
    world = simulator(spec.env, protocol)
    for number in dataset.missing():
        rows = _play(spec, teacher, world, protocol, stretches[number], player)
        dataset.write(_shard(number, stretches[number], rows, player, spec.env.actions))
    return dataset


Row = tuple[NDArray[np.uint8], NDArray[np.float32], Action, Truth, bool]


def _play(
    spec: SystemSpec, teacher: Teacher, world: Simulator, protocol: Rules, stretch: Stretch, name: str
) -> Iterator[Row]:
    """Frame, label, the action that led there, truth, whether the label accounts for the picture."""
    player = make_player(name, spec, teacher, protocol, np.random.default_rng(stretch.seed), 0.0)
    world.reset(stretch.seed)
    window, action = [world.frame()], spec.env.fallback
    for step in range(stretch.start + stretch.length):
        truth, frame = world.truth(), window[-1]
        vector = teacher.label(truth, frame)
        if step >= stretch.start:
            good = not teacher.unexplained(truth, frame, vector)
            yield np.maximum.reduce(window), vector, action, truth, good
        action = player(truth, vector)
        world.advance(action)
        if world.done:
            return
        window = [*window, world.frame()][-teacher.schema.window :]


def _shard(number: int, stretch: Stretch, rows: Iterator[Row], player: str, space: ActionSpace) -> Shard:
    every = list(rows)
    good = [row for row in every if row[4]]
    if not good:
        raise DataError(f"the game of seed {stretch.seed} ends before step {stretch.start}; start earlier")
    frames, scenes, actions, truths, _ = zip(*good, strict=True)
    meta = {CONSECUTIVE: len(good) == len(every), "start": stretch.start, "player": player}
    return Shard(
        number, number, stretch.seed, Frames.from_rgb(np.stack(frames)), np.stack(scenes),
        np.array(actions, space.dtype), columns(list(truths)), meta,
    )  # fmt: skip


# ----------------------------------------------------------------------------------------------------
# How many labels curation saves: detectors trained on few chosen frames beside others trained on frames
# drawn at random.
#
# Curation sees no label: it looks with the detector that the labels bought so far have made. Results are kept one by
# one, so that a measurement goes on where it stopped.


POOL = tuple(Stretch(seed, 370 * seed, 500) for seed in range(12))  # 6,000 frames from all parts of the game
TEST = tuple(Stretch(900 + k, 740 * k, 500) for k in range(6))
RANDOM = (150, 300, 600, 1200, 2400)
CURATED = (60, 120, 240, 480)
STEPS = 600
LEAST = 400  # rows that a set is repeated to: the trainer refuses fewer than 200 labels of a thing
Rows = NDArray[np.int64]
Say = Callable[[str], None]
Rung = dict[str, Any]


class Bench:
    """One measurement in one folder. rare: a collected data set, whose test split is a second test."""

    def __init__(self, system: System, folder: Path, rare: Path | None, say: Say) -> None:
        self.system, self.folder, self.say = system, folder, say
        say("plain play: pool and test")
        record(system.spec, folder / "pool", POOL)
        record(system.spec, folder / "test", TEST)
        self.samples = load_samples(folder / "pool")
        self.tests = {"plain": load_samples(folder / "test")}
        if rare is not None:
            self.tests["rare"] = load_samples(rare, "test")
        self.frozen = FrozenSet.of(DatasetFrames(folder / "test").refs())

    def at_random(self, seed: int) -> list[Rung]:
        """A ladder in which each set holds the smaller ones."""
        order = np.random.default_rng([7, seed]).permutation(len(self.samples))
        return [self._trained("random", np.sort(order[:n]), seed) for n in RANDOM]

    def curated(self, seed: int) -> list[Rung]:
        """A ladder in which each rung's detector chooses the frames of the next; the first is by picture alone."""
        chosen: list[int] = []
        ladder: list[Rung] = []
        for size in CURATED:
            rung = self._done("curated", size, seed)
            if rung is None or rung["rows"][: len(chosen)] != chosen:
                more = choose(self._seen(seed, len(chosen)), size - len(chosen), self.frozen, chosen)
                rows = np.array(chosen + [choice.row for choice in more.choices])
                rung = self._trained("curated", rows, seed, causes=more.counts)
            chosen = rung["rows"]
            ladder.append(rung)
        return ladder

    def _path(self, kind: str, frames: int, seed: int) -> Path:
        return self.folder / f"{kind}-{frames}-seed{seed}-steps{STEPS}.json"

    def _seen(self, seed: int, frames: int) -> Pool:
        """The pool as the detector of the last rung sees it; before the first, nothing is seen."""
        schema, pool = self.system.schema, DatasetFrames(self.folder / "pool")
        if not frames:
            return build(schema, pool, lambda frame: schema.empty())
        detector = OnnxDetector.load(self._path("curated", frames, seed).with_suffix(".onnx"), schema)
        return build(schema, pool, detector.look)

    def _done(self, kind: str, frames: int, seed: int) -> Rung | None:
        """What the folder has of an earlier start."""
        path = self._path(kind, frames, seed)
        return json.loads(path.read_text()) if path.is_file() else None

    def _trained(self, kind: str, rows: Rows, seed: int, **more: Any) -> Rung:
        """A detector from scratch on these rows of the pool, measured; from the folder when that was done before."""
        done = self._done(kind, len(rows), seed)
        if done is not None and done["rows"] == rows.tolist():
            return done
        from perception.training.train import train

        self.say(f"{kind}, {len(rows)} frames, training seed {seed}")
        out, schema = self._path(kind, len(rows), seed), self.system.schema
        weights = out.with_suffix(".onnx")
        made = train(self._repeated(rows), schema, weights, steps=STEPS, seed=seed)
        detector = OnnxDetector.load(weights, schema)
        found = {name: evaluate(detector.look, test, schema)["things"] for name, test in self.tests.items()}
        rung = {"kind": kind, "frames": len(rows), "seed": seed, "tests": found, "cpu_s": made["cpu_s"], **more}
        rung["rows"] = rows.tolist()
        atomic_write(out, json.dumps(rung).encode())
        return rung

    def _repeated(self, rows: Rows) -> Samples:
        taken = self.samples.take(np.tile(rows, -(-LEAST // len(rows))))
        splits = np.zeros(len(taken), np.uint8)
        return Samples(taken.frames, taken.palette, taken.scenes, taken.episodes, splits, "pool")


def measure(
    system: System, data: str | None, say: Say, seeds: Sequence[int] = (0,), folder: str = "runs/bench/data"
) -> dict[str, Any]:  # fmt: skip
    """Both ladders, geometric means over the training seeds; per curated rung, how many random frames it is worth.

    data: a collected data set for the second test (default runs/data/TASK if it is there).
    """
    rare = Path(data or f"runs/data/{system.name}")
    bench = Bench(system, Path(folder), rare if data or rare.is_dir() else None, say)
    thing = min(system.schema.things, key=lambda t: t.size[0] * t.size[1]).name
    ladders = {"random": [bench.at_random(s) for s in seeds], "curated": [bench.curated(s) for s in seeds]}
    sets = [_mean(rungs, thing) for ladder in ladders.values() for rungs in zip(*ladder, strict=True)]
    saved = [_saved(row, sets, test) for row in sets if row["kind"] == "curated" for test in bench.tests]
    largest = [told for told in saved if told["test"] == "plain"][-1]
    return {
        "task": system.name, "thing": thing, "steps": STEPS, "seeds": list(seeds), "tests": list(bench.tests),
        "sets": sets, "saved": saved, "share_needed": largest["share"], "at_most": largest["at_most"],
    }  # fmt: skip


def _mean(rungs: Sequence[Rung], thing: str) -> dict[str, Any]:
    """p99 (geometric mean, px) and recall of the same set over the seeds."""
    row: dict[str, Any] = {"kind": rungs[0]["kind"], "frames": rungs[0]["frames"], "causes": rungs[0].get("causes")}
    for test in rungs[0]["tests"]:
        told = [rung["tests"][test][thing] for rung in rungs]
        each = [t["error_px"]["p99"] for t in told]
        p99 = math.exp(sum(map(math.log, each)) / len(each))
        recall = sum(t["recall"] for t in told) / len(told)
        row[test] = {"p99": round(p99, 3), "each": each, "recall": round(recall, 4)}
    return row


def _saved(row: dict[str, Any], sets: Sequence[dict[str, Any]], test: str) -> dict[str, Any]:
    """How many frames drawn at random reach the p99 of a curated set."""
    ladder = [(s["frames"], s[test]["p99"]) for s in sets if s["kind"] == "random"]
    needed, beyond = frames_needed(ladder, row[test]["p99"])
    share = round(row["frames"] / needed, 3)
    words = f"{row['frames']} curated frames on {test}: {'more than ' if beyond > 0 else ''}{needed:.0f} random ones"
    told = {"test": test, "frames": row["frames"], "random": round(needed), "share": share, "at_most": beyond > 0}
    return {**told, "words": words + (" or fewer" if beyond < 0 else "")}


def frames_needed(ladder: Sequence[tuple[int, float]], target: float) -> tuple[float, int]:
    """Frames at which a ladder of (frames, error) reaches an error, and -1, 0, 1: before its first rung, within, never.

    Errors are noisy: a rung that is worse than a smaller one is averaged with it; between rungs, log-log lines.
    """
    pools = [[math.log(error), 1.0] for _, error in ladder]
    at = 0
    while at + 1 < len(pools):
        if pools[at + 1][0] > pools[at][0]:
            weight = pools[at][1] + pools[at + 1][1]
            mean = (pools[at][0] * pools[at][1] + pools[at + 1][0] * pools[at + 1][1]) / weight
            pools[at : at + 2] = [[mean, weight]]
            at = max(0, at - 1)
        else:
            at += 1
    levels = [level for level, weight in pools for _ in range(int(weight))]
    sizes = [math.log(frames) for frames, _ in ladder]
    wanted = math.log(target)
    if wanted >= levels[0]:
        return float(ladder[0][0]), -1
    for i in range(1, len(levels)):
        if levels[i] <= wanted:
            part = (levels[i - 1] - wanted) / (levels[i - 1] - levels[i])
            return math.exp(sizes[i - 1] + part * (sizes[i] - sizes[i - 1])), 0
    return float(ladder[-1][0]), 1


def rows(found: dict[str, Any]) -> list[list[str]]:
    """The sets as a table: kind, frames, p99 and recall on each test."""
    return [
        [row["kind"], str(row["frames"]), *(f"{row[t]['p99']:.2f} px, {row[t]['recall']:.4f}" for t in found["tests"])]
        for row in found["sets"]
    ]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Of `triune bench data`."""
    parser.add_argument("task", nargs="?", default="breakout", help="default breakout")
    parser.add_argument("--trust", action="store_true", help="a teacher.py of unknown origin may run")
    parser.add_argument("--rounds", type=common.positive, default=1, metavar="N", help="training seeds (default 1)")
    parser.add_argument("--data", metavar="FOLDER", help="default runs/data/TASK")


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Payload: the measurement."""
    system = common.load_system(args)

    system.check_teacher()
    found = measure(system, args.data, console.log, range(args.rounds))
    console.say(table(rows(found), ["set", "frames", *found["tests"]], {1, 2, 3}))
    for told in found["saved"]:
        console.say(told["words"])
    return found
