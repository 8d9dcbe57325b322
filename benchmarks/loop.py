"""The whole road of a revision: from a naive Pong policy by stored answers of a model, judged anew with every game.

`pong_naive.py` is the policy to start from, `loop_exchange.jsonl` the answers. The road ends with an evaluation on
seeds that the run has not opened.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.gate import BEFORE
from envs.process import start
from supervisor.gate.seeds import GATE, SeedLedger
from supervisor.loop.loop import plain_gate
from triune.commands import common
from triune.console import Console, table
from triune.errors import TriuneError

NAIVE, EXCHANGE = (Path(__file__).resolve().with_name(n) for n in ("pong_naive.py", "loop_exchange.jsonl"))
TASK, PROTOCOL = "pong", "sticky"
SEEDS = 30  # of the evaluation at the end
GOAL, MOST_FRAMES, MOST_MINUTES = 20.0, 3e6, 15.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Of `triune bench loop`."""
    parser.add_argument("--workers", type=common.positive, metavar="N", help="processes (default: one a core)")
    parser.add_argument("--before", action="store_true", help="also under the old gate's settings: half an hour more")


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Payload: `score_mean, ci95, frames, minutes, verdicts` of the road, `processor_minutes` of all cores together;
    `before`: the same under the old gate."""
    workers = args.workers or common.cores()
    now = road(workers, None)
    payload: dict[str, Any] = {**now, "goal": GOAL}
    payload["ok"] = now["score_mean"] >= GOAL and now["frames"] <= MOST_FRAMES and now["minutes"] <= MOST_MINUTES
    rows = [("now", now)]
    if args.before:
        payload["before"] = road(workers, plain_gate(BEFORE))
        rows.append(("before", payload["before"]))
    head = ["gate", "score", "95 %", "frames", "minutes", "verdicts"]
    console.say(table([_row(name, told) for name, told in rows], head, {1, 3, 4}))
    return payload


def _row(name: str, told: dict[str, Any]) -> list[str]:
    low, high = told["ci95"]
    kinds = ", ".join(f"{v['verdict']} ({v['pairs']})" for v in told["verdicts"])
    return [name, f"{told['score_mean']:.1f}", f"[{low:.1f}, {high:.1f}]", f"{told['frames']:,.0f}",
            f"{told['minutes']:.1f}", kinds]  # fmt: skip


def road(workers: int, gate: dict[str, Any] | None) -> dict[str, Any]:
    """Replay the exchange in a folder of its own, then play the policy that came out of it."""
    with tempfile.TemporaryDirectory() as folder:
        home, out = Path(folder) / "run", Path(folder) / TASK
        words = ["--proposer", "replay", "--recording", str(EXCHANGE), "--protocol", PROTOCOL,
                 "--policy", str(NAIVE), "--out", str(out), "--run", str(home)]  # fmt: skip
        if gate is not None:
            settings = Path(folder) / "gate.json"
            settings.write_text(json.dumps({k: v for k, v in gate.items() if k != "limits"}), encoding="utf-8")
            # other games, other evidence: the answers are found by trial and policy
            words += ["--gate", str(settings), "--rekey", str(Path(folder) / "exchange.jsonl")]
        trials = sum(1 for _ in EXCHANGE.open(encoding="utf-8"))
        began, used = time.monotonic(), _busy()
        told = _triune("improve", TASK, *words, "--trials", str(trials), "--workers", str(workers))
        minutes, busy = (time.monotonic() - began) / 60, (_busy() - used) / 60
        uses = SeedLedger.open(out / "seeds.jsonl").uses
        opened = {seed for use in uses for seed in use.seeds}
        fresh = [seed for seed in reversed(GATE) if seed not in opened][:SEEDS]
        played = _triune("eval", str(out), "--protocol", PROTOCOL, "--seeds", ",".join(map(str, sorted(fresh))),
                         "--workers", str(workers), "--out", str(Path(folder) / "eval"))  # fmt: skip
        lines = [json.loads(line) for line in (out / "trials.jsonl").read_text(encoding="utf-8").splitlines()]
        shutil.rmtree(home)
    verdicts = [
        {"trial": line["trial"], "verdict": line["verdict"], "stage": line["stage"], "frames": line["cost"]["steps"],
         "pairs": int(line["numbers"].get("full_pairs", 0) + line["numbers"].get("confirm_pairs", 0))}
        for line in lines
    ]  # fmt: skip
    return {
        "score_mean": played["mean"], "ci95": played["ci95"], "n": len(played["scores"]),
        "frames": told["budgets"]["steps"]["spent"], "minutes": round(minutes, 2),
        "processor_minutes": round(busy, 2), "workers": workers,
        "verdicts": verdicts,
    }  # fmt: skip


def _busy() -> float:
    """Seconds of processor time of all children that have ended."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def _triune(*words: str) -> dict[str, Any]:
    """What a command prints as JSON; what it says on the way goes to stderr as always."""
    process = start("triune", *words, "--json", text=True, stderr=sys.stderr)
    said, _ = process.communicate()
    if process.returncode:
        raise TriuneError(f"triune {words[0]} ended with exit code {process.returncode}")
    found: dict[str, Any] = json.loads(said)
    return found
