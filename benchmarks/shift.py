"""How much of the score is left in another look, and how much the wheel brings back from play alone.

Scores are read only here, by the referee's sheet, after the wheel has decided; the wheel itself reads none. Every
figure is a share of the unshifted score of the same detector on the same seeds.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data_flywheel.storage.files import atomic_write
from envs.visual_shifts import RANDOM, STATIC
from triune.commands import common
from triune.console import Console, table
from triune.errors import UsageError, nearest
from triune.play.evaluation import HOME, evaluate
from triune.play.self_training import Request, SelfTraining, with_detector
from triune.system import load

if TYPE_CHECKING:
    from triune.system import System

LIMIT = 9000  # decisions; a perfect game of Breakout takes about 7500
SHORT = 3000  # decisions after which a game that has nearly nothing is not played further
NOTHING = 0.05  # share of the unshifted score that is nearly nothing
LOST = 0.5  # looks on which the first detector keeps at most this count as shifted
RANDOM_LOOKS = 24
IDLE = {"pong": -21.0}  # the score of doing nothing, where it is not 0

Say = Callable[[str], object]


def idle_score(system: System) -> float:
    """The score of doing nothing."""
    return IDLE.get(system.name, 0.0)


@dataclass(frozen=True)
class Plan:
    """What is measured: `limit` cuts games after so many decisions, in every condition alike."""

    seeds: tuple[int, ...]
    protocol: str
    limit: int = LIMIT
    rounds: int = 3
    frames: int = 3000
    colour: bool = True


def all_looks(randoms: int = RANDOM_LOOKS) -> list[str]:
    """The named static looks, then the first of the generator's."""
    return [*STATIC, *(f"{RANDOM}{i}" for i in range(randoms))]


class Bench:
    """One task. `home` keeps a JSON file per look: what is there is not measured again."""

    def __init__(self, task: str, plan: Plan, home: Path | None = None, say: Say = print) -> None:
        self.system, self.plan, self.say = load(task), plan, say
        self.home = (home or HOME / "bench" / "shift") / self.system.name
        self.plain = self._kept("none", lambda: {"mean": self._score(self.system, None)})["mean"]

    def measure(self, looks: Sequence[str]) -> Iterator[dict[str, Any]]:
        """The row of each look, in order."""
        for look in looks:
            yield self._kept(look, lambda look=look: self._row(look))  # type: ignore[misc]

    def _kept(self, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        path = self.home / f"{name}.json"
        key = {"plan": {**vars(self.plan), "seeds": list(self.plan.seeds)}, "hashes": self.system.hashes()}
        if path.is_file():
            found: dict[str, Any] = json.loads(path.read_text("utf-8"))
            if found["key"] == key:
                return found["row"]
        row = make()
        atomic_write(path, json.dumps({"key": key, "row": row}, indent=1).encode())
        return row

    def _row(self, look: str) -> dict[str, Any]:
        ask = Request(self.system.name, look, self.plan.protocol, self.plan.rounds, self.plan.frames)
        run = self.home / "wheels" / look
        began = time.monotonic()
        told = SelfTraining(self.system, ask, run, self.say).run()
        wall = time.monotonic() - began
        row: dict[str, Any] = {
            "look": look, "outcome": told["outcome"], "rounds": len(told["rounds"]), "wall_s": round(wall, 1),
            "coverage": told["rounds"][0]["lesson"]["coverage"], "reasons": [r["reason"] for r in told["rounds"]],
            "before": self._share(self.system, look),
        }  # fmt: skip
        if told["outcome"] == "promoted":
            adapted = with_detector(self.system, Path(told["eyes"]), run / "task")
            row |= {"after": self._share(adapted, look), "old_look_after": self._share(adapted, None)}
        else:
            row |= {"after": row["before"], "old_look_after": 1.0}
        if self.plan.colour:
            row["colour"] = self._share(self.system, look, "colour")
        self.say(json.dumps(row))
        return row

    def _share(self, system: System, shift: str | None, detector: str = "cnn") -> float:
        """Of the unshifted score, over the score of doing nothing."""
        score = self._score(system, shift, detector, SHORT)
        if (score - idle_score(self.system)) > NOTHING * (self.plain - idle_score(self.system)):
            score = self._score(system, shift, detector)
        return round((score - idle_score(self.system)) / (self.plain - idle_score(self.system)), 4)

    def _score(self, system: System, shift: str | None, detector: str = "cnn", most: int | None = None) -> float:
        limit = min(most or self.plan.limit, self.plan.limit)
        found = evaluate(system, self.plan.protocol, self.plan.seeds, shift, detector, limit=limit)
        return float(found.mean or 0.0)


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means over the looks on which the first detector keeps at most half, named and random apart."""

    def means(chosen: Sequence[dict[str, Any]]) -> dict[str, Any]:
        lost = [r for r in chosen if r["before"] <= LOST]
        return {
            "n": len(chosen), "shifted": len(lost),
            "shifted_fraction": _mean([r["before"] for r in lost]),
            "recovered_fraction": _mean([r["after"] for r in lost]),
            "old_look_after": _mean([r["old_look_after"] for r in chosen]),
            "worse": [r["look"] for r in chosen if r["after"] < r["before"] - 0.02],
        }  # fmt: skip

    named = [r for r in rows if not r["look"].startswith(RANDOM)]
    return {**means(named), "random": means([r for r in rows if r["look"].startswith(RANDOM)])}


def _mean(values: Sequence[float]) -> float | None:
    return round(float(np.mean(values)), 4) if values else None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Of `triune bench shift`."""
    parser.add_argument("task", nargs="?", help="default: the whole zoo")
    parser.add_argument("--trust", action="store_true", help="a teacher.py of unknown origin may run")
    parser.add_argument("--seeds", metavar="A:B", help="default 1000:1002; with --shifts 0:5")
    parser.add_argument("--looks", metavar="L,L", help="these looks, or `named`, `random` (default: all)")
    parser.add_argument("--protocol", metavar="P", help="default: the task's")
    parser.add_argument("--shifts", metavar="S,S", help="evaluate under these, without self-training")
    parser.add_argument(
        "--detector", "--eyes", default="cnn,colour", metavar="E,E", help="with --shifts (default cnn,colour)"
    )
    parser.add_argument("--workers", type=common.positive, metavar="N", help="default: one per core")
    parser.add_argument("--steps", type=common.positive, metavar="N", help="cut episodes short (a quick look)")


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Payload: the measurement."""
    if not args.shifts:
        return _self_training(args, console)
    args.task = args.task or "breakout"
    return _shift(common.load_system(args), args, console)


def _self_training(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """What self-training brings back. Finished looks are kept in runs/bench/shift; the command goes on where it was."""
    import torch  # noqa: F401 - say at once that the extra is missing

    from envs.spec import task_names
    from envs.visual_shifts import is_look

    every = all_looks()
    groups = {
        "named": [n for n in every if n[-1:] not in "0123456789"],
        "random": [n for n in every if n[-1:].isdigit()],
    }
    looks = groups.get(args.looks, args.looks.split(",") if args.looks else every)
    for look in looks:
        if not is_look(look):
            raise UsageError(f"unknown look {look!r}; {nearest(look, every)}")
    seeds = tuple(common.parse_seeds(args.seeds or "1000:1002"))
    found: dict[str, dict[str, Any]] = {}
    for task in [args.task] if args.task else task_names():
        protocol = common.load_system(argparse.Namespace(task=task, trust=False)).protocol(args.protocol).name
        plan = Plan(seeds, protocol, args.steps or LIMIT)
        bench = Bench(task, plan, say=console.log)
        for i, row in enumerate(bench.measure(looks)):
            console.progress(i + 1, len(looks), f"{task}, {row['look']}")
            found[f"{task}/{row['look']}"] = row
    console.clear()
    told = summary(list(found.values()))
    heads = ["look", "before", "after", "old look after", "colour rules", "outcome", "rounds", "seconds"]
    console.say(table([_look_row(name, row) for name, row in found.items()], heads, {1, 2, 3, 4, 6, 7}))
    for which, means in (("named", told), ("random", told["random"])):
        console.say(f"{which}: {means['shifted']} of {means['n']} looks cost half of the score: "
                    f"{means['shifted_fraction']} before, {means['recovered_fraction']} after")  # fmt: skip
    return {"seeds": list(seeds), "looks": found, **told}


def _look_row(name: str, row: dict[str, Any]) -> list[str]:
    shares = [f"{row[k]:.2f}" if k in row else "" for k in ("before", "after", "old_look_after", "colour")]
    return [name, *shares, row["outcome"], str(row["rounds"]), f"{row['wall_s']:.0f}"]


def _shift(system: System, args: argparse.Namespace, console: Console) -> dict[str, Any]:
    from envs.visual_shifts import SHIFTS

    shifts = args.shifts.split(",") if args.shifts != "all" else list(SHIFTS)
    kinds, seeds = args.detector.split(","), common.parse_seeds(args.seeds or "0:5")
    for shift in shifts:
        args.shift = shift
        for args.detector in kinds:
            common.check_conditions(args)
    from triune.play.evaluation import evaluate

    means: dict[str, dict[str, float]] = {kind: {} for kind in kinds}
    jobs = [(kind, shift) for kind in kinds for shift in (None, *shifts)]
    for i, (kind, shift) in enumerate(jobs):
        console.progress(i, len(jobs), f"{kind} detector, {shift or 'no shift'}")
        workers = min(common.workers(args), len(seeds))
        result = evaluate(system, args.protocol, seeds, shift, kind, workers, limit=args.steps)
        means[kind][shift or "none"] = float(result.mean or 0.0)
    console.clear()
    worst = idle_score(system)
    kept = {kind: {s: _kept(m[s], m["none"], worst) for s in shifts} for kind, m in means.items()}
    rows = [
        [s, *(f"{means[k][s]:.1f}" + (f" ({kept[k][s]:.2f})" if s in kept[k] else "") for k in kinds)]
        for s in ("none", *shifts)
    ]
    console.say(table(rows, ["shift", *(f"{k}: mean (share kept)" for k in kinds)]))
    protocol = system.protocol(args.protocol).name
    return {
        "task": system.name,
        "protocol": protocol,
        "seeds": seeds,
        "limit": args.steps,
        "means": means,
        "kept": kept,
    }


def _kept(score: float, plain: float, worst: float) -> float:
    """Share of what there is to lose that is kept; 1 without loss. `worst` is the score of doing nothing."""
    return round((score - worst) / (plain - worst), 4) if plain > worst else 0.0
