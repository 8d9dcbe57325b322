"""What the tuner reaches: Breakout with three constants off, improved within a budget of frames, measured on seeds that
the run has not played.

The road is `triune improve FOLDER --proposer tuner --trials 1`, the verdict of the gate included. A run that was
stopped goes on where it was, with the same `--out`.
"""

from __future__ import annotations

import argparse
import contextlib
import resource
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import detune_breakout
from envs.files import read_json, read_text
from supervisor.events import Event, read
from supervisor.loop.loop import LOG
from triune.commands import common, improve
from triune.console import Console, table
from triune.errors import TriuneError
from triune.play.evaluation import ci95
from triune.play.evaluator import TaskEvaluator
from triune.system import load

FIRST, LAST = 1000, 9999  # gate seeds; the last ones that the run has not opened are for measuring


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Of `triune bench tuner`."""
    parser.add_argument("--out", type=Path, metavar="DIR", help="task and run (default: a new one under runs/bench)")
    parser.add_argument("--budget-steps", type=common.finite, default=3e6, metavar="N", help="frames (default 3e6)")
    parser.add_argument("--seeds", type=common.positive, default=30, metavar="N", help="fresh games (default 30)")
    parser.add_argument("--workers", type=common.positive, metavar="N", help="worker processes (default: one per core)")


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Payload: `score_mean, ci95, n, shipped_mean, detuned_mean, share, frames, minutes, cpu_minutes, verdicts`; times
    are those of this start, where a run was gone on with."""
    out = args.out or Path("runs") / "bench" / time.strftime("tuner-%Y%m%d-%H%M%S")
    task, home = out / "task", out / "run"
    if not task.exists():
        detune_breakout.write(task)
    began, used = time.monotonic(), _processor()
    ended = _improved(args, task, home, console)
    minutes, cpu = (time.monotonic() - began) / 60, (_processor() - used) / 60
    events = read(home / LOG)
    texts = {"detuned": _detuned(events, home), "tuned": read_text(task / "policy.py", "policy", TriuneError)}
    shipped = _shipped()
    scores = _played(args, task, out, texts, fresh(events, args.seeds), console)
    means = {name: sum(found) / len(found) for name, found in scores.items()}
    low, high = ci95(scores["tuned"])
    told = {
        "score_mean": means["tuned"], "ci95": [low, high], "n": args.seeds, "shipped_mean": shipped,
        "detuned_mean": means["detuned"], "share": means["tuned"] / shipped,
        "share_ci95": [low / shipped, high / shipped],
        "frames": ended["budgets"]["steps"]["at_least"], "minutes": round(minutes, 1), "cpu_minutes": round(cpu, 1),
        "verdicts": [line["verdict"] for line in ended["trials"]], "scores": scores, "run": str(home),
    }  # fmt: skip
    _show(told, console)
    return told


def _improved(args: argparse.Namespace, task: Path, home: Path, console: Console) -> dict[str, Any]:
    """The payload of `triune improve`, begun or gone on with."""
    parser = argparse.ArgumentParser()
    improve.add_arguments(parser)
    words = ["--trials", "1", "--budget-steps", f"{args.budget_steps:.0f}"]
    words += ["--workers", str(args.workers)] if args.workers else []
    begun = (home / LOG).is_file() and any(event.kind == "run.started" for event in read(home / LOG))
    words += ["--resume", str(home)] if begun else [str(task), "--run", str(home), "--proposer", "tuner"]
    return improve.run(parser.parse_args(words), console)


def _detuned(events: Sequence[Event], home: Path) -> str:
    """The policy that the run began with."""
    from supervisor.loop.folder import Blobs
    from supervisor.loop.loop import BLOBS

    started = next(event.data for event in events if event.kind == "run.started")
    return Blobs(home / BLOBS).get(started["policy"]).decode()


def _shipped() -> float:
    """The score of the shipped policy, as its score card has it."""
    card = read_json(detune_breakout.SHIPPED / "scores.json", "score card", TriuneError, "restore it")
    return float(card["protocols"]["sticky"]["mean"])


def fresh(events: Sequence[Event], n: int) -> list[int]:
    """The last `n` gate seeds that no event of the run names."""
    seen: set[int] = set()
    for event in events:
        data = event.data
        seen |= {data["seed"]} if "seed" in data else set()
        seen |= set(data["seeds"]) if "seeds" in data else set()
    return [seed for seed in range(FIRST, LAST + 1) if seed not in seen][-n:]


def _played(
    args: argparse.Namespace, task: Path, out: Path, texts: dict[str, str], seeds: Sequence[int], console: Console
) -> dict[str, list[float]]:  # fmt: skip
    """Scores by policy, in the order of the seeds, all as one stream; finished games are kept."""
    evaluator = TaskEvaluator(load(task), None, "cnn", out / "work", common.workers(args))
    evaluator.keep_games(out / "games.jsonl")
    wanted = [(text, seed) for seed in seeds for text in dict.fromkeys(texts.values())]
    found: dict[tuple[str, int], float] = {}
    with contextlib.closing(evaluator):
        for text, score in evaluator.play(wanted):
            found[text, score.seed] = score.score
            console.progress(len(found), len(wanted), "games on fresh seeds")
    console.clear()
    return {name: [found[text, seed] for seed in seeds] for name, text in texts.items()}


def _processor() -> float:
    """Seconds of this process and of its children that have ended."""
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(u.ru_utime + u.ru_stime for u in map(resource.getrusage, who))


def _show(told: dict[str, Any], console: Console) -> None:
    rows = [
        [name, f"{sum(s) / len(s):.1f}", *(f"{edge:.1f}" for edge in ci95(s))] for name, s in told["scores"].items()
    ]
    console.say(table(rows, ["policy", "mean", "low", "high"], {1, 2, 3}))
    low, high = told["share_ci95"]
    console.say(f"share      {told['share']:.3f} [{low:.3f}, {high:.3f}] of the shipped score, {told['n']} fresh seeds")
    console.say(f"cost       {told['frames'] / 1e6:.2f} M frames, {told['minutes']} min, {told['cpu_minutes']} CPU min")
    console.say(f"verdicts   {', '.join(told['verdicts']) or 'none'}")
