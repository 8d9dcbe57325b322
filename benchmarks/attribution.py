"""`triune bench blame`: how often the verdict on a planted fault is the planted cause, with and without a teacher."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import fault_injection as blame_plant
from benchmarks.fault_injection import Injector, make_fault
from data_flywheel.attribution import signs as blame_odds
from data_flywheel.attribution import signs as blame_signs
from data_flywheel.attribution.verdict import PARTIES, Failure
from data_flywheel.labelers import motion
from data_flywheel.labelers import motion as matched
from data_flywheel.labelers import motion as offset
from data_flywheel.labelers import motion as paths
from data_flywheel.storage.files import atomic_write
from triune.commands import common
from triune.console import Console, Lines, table
from triune.system import load, sha256

HOME = Path("runs") / "bench" / "blame"
TASKS = ("breakout", "pong")
FIT, REPORT = range(0, 400), range(400, 800)
TRIALS, FITTED = 208, 240
BARS = {"with_teacher": 0.90, "without_teacher": 0.75}

Row = dict[str, Any]
Say = Callable[[int, int, str], None]


def measure(trials: int, say: Say) -> dict[str, Any]:
    """`trials` faults that showed, of the report seeds; finished ones are not played again."""
    rows, harmless = _gather(REPORT, trials, True, say)
    return {"trials": len(rows), "harmless": harmless, **report(rows)}


def refit(trials: int, say: Say) -> dict[str, Any]:
    """Fit the weights of the estimate on faults of the fit seeds, and write them where they ship."""
    rows, _ = _gather(FIT, trials, False, say)
    made = blame_odds.fit([r["signs"] for r in rows], [r["truth"] for r in rows])
    atomic_write(blame_odds.FILE, (json.dumps(made, indent=1) + "\n").encode())
    return {"trials": len(rows), "weights": made}


def _gather(seeds: Sequence[int], trials: int, swap: bool, say: Say) -> tuple[list[Row], int]:
    kept: list[Row] = []
    harmless = 0
    for task in TASKS:
        store, wanted = _Store(task), trials // len(TASKS)
        rows: list[Row] = []
        injector = None
        try:
            for seed in seeds:
                if len(rows) == wanted:
                    break
                row = store.rows.get(seed)
                if row is None or (swap and row.get("truth") and "swap" not in row):
                    injector = injector or Injector(load(task))
                    row = store.add(_fault(injector, seed, swap))
                if "signs" in row:
                    rows.append(row)
                else:
                    harmless += 1
                say(len(kept) + len(rows), trials, f"{task}: {row['name']}")
        finally:
            if injector:
                injector.close()
        kept += rows
    return kept, harmless


def _fault(injector: Injector, seed: int, swap: bool) -> Row:
    """One seed's fault, played and looked at; one that showed nothing has no `signs`."""
    planted = make_fault(injector.system.name, seed)
    row: Row = {"task": injector.system.name, "seed": seed, "truth": planted.truth, "name": planted.name}
    played = injector.play(planted)
    if isinstance(played, str):
        return row | {"truth": None, "why": played}
    row |= {"failure": played.failure._asdict(), "signs": injector.signs(played)}
    return row | ({"swap": injector.swapped(played).to_dict()} if swap else {})


class _Store:
    """Finished faults of a task under its present detector, policy, plants and signs: one JSON line each."""

    def __init__(self, task: str) -> None:
        hashes = load(task).hashes()
        parts = (blame_plant, blame_signs, motion, matched, paths, offset)
        source = [Path(str(part.__file__)).read_text(encoding="utf-8") for part in parts]
        digest = sha256(json.dumps([hashes, source], sort_keys=True))[:8]
        self.path = HOME / f"{task}-{digest}.jsonl"
        text = self.path.read_text(encoding="utf-8") if self.path.is_file() else ""
        whole = text[: text.rfind("\n") + 1]
        self.rows = {row["seed"]: row for row in map(json.loads, whole.splitlines())}
        if whole != text:  # what a kill left half written
            atomic_write(self.path, whole.encode())

    def add(self, row: Row) -> Row:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        self.rows[row["seed"]] = row
        return row


def report(rows: Sequence[Row]) -> dict[str, Any]:
    """Confusion matrices (planted cause -> verdict -> faults), shares that were right, reliability of the estimate."""
    guesses = [blame_odds.estimate(Failure(**r["failure"]), r["signs"]) for r in rows]
    told = {"with_teacher": [r["swap"]["who"] for r in rows], "without_teacher": [g.who for g in guesses]}
    found: dict[str, Any] = {}
    for way, whos in told.items():
        right = [who == r["truth"] for who, r in zip(whos, rows, strict=True)]
        found[way] = {
            "right": round(sum(right) / len(rows), 4), "bar": BARS[way], "matrix": _matrix(rows, whos),
            "by_task": {t: _share([g for g, r in zip(right, rows, strict=True) if r["task"] == t]) for t in TASKS},
            "wrong": [_words(r, who) for r, who in zip(rows, whos, strict=True) if who != r["truth"]],
        }  # fmt: skip
    pairs = [(g.odds[g.who], g.who == r["truth"]) for g, r in zip(guesses, rows, strict=True)]
    found["without_teacher"]["reliability"] = blame_odds.reliability(pairs)
    found["ok"] = all(found[way]["right"] >= bar for way, bar in BARS.items())
    return found


def lines(found: dict[str, Any]) -> list[str]:
    """The report in words."""
    told = [f"{found['trials']} planted faults; {found['harmless']} more showed nothing and are not counted"]
    for way in BARS:
        part = found[way]
        tasks = ", ".join(f"{task} {share}" for task, share in part["by_task"].items())
        told += ["", f"{way.replace('_', ' ')}: {part['right']:.3f} right (bar {part['bar']:.2f}; {tasks})"]
        rows = [[truth, *(str(n) for n in row.values())] for truth, row in part["matrix"].items()]
        told.append(table(rows, ["planted", *PARTIES], set(range(1, 5))))
    told += ["", "what the estimate says of its own verdicts, and how often they were right:"]
    rows = found["without_teacher"]["reliability"]
    return told + [f"  {r['said']:.2f} said, {r['came_true']:.2f} right (n = {r['n']})" for r in rows]


def _matrix(rows: Sequence[Row], whos: Sequence[str]) -> dict[str, dict[str, int]]:
    pairs = [(r["truth"], who) for r, who in zip(rows, whos, strict=True)]
    return {truth: {who: pairs.count((truth, who)) for who in PARTIES} for truth in PARTIES}


def _words(row: Row, who: str) -> str:
    return f"{row['task']} {row['seed']}: {row['name']} -> {who}"


def _share(right: Sequence[bool]) -> float | None:
    return round(sum(right) / len(right), 4) if right else None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Of `triune bench blame`."""
    parser.add_argument("--trials", type=common.positive, metavar="N", help="faults")
    parser.add_argument("--fit", action="store_true", help="first fit the estimate on the fit seeds")


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Payload: the measurement."""

    if args.fit:
        refit(FITTED, console.progress)
    found = measure(args.trials or TRIALS, console.progress)
    console.clear()
    console.say(Lines("\n".join(lines(found))))
    return found
