"""`triune eval`: play many seeds, print figures with intervals, keep every episode, write a report.

Ctrl-C keeps what is finished; `--resume` continues the newest unfinished run (or a named one).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from triune.commands import common
from triune.console import Console

if TYPE_CHECKING:
    from triune.evaluate import Result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Task, conditions, seeds, workers, where to keep the run."""
    common.add_task(parser)
    common.add_conditions(parser)
    parser.add_argument("--seeds", default="100:110", metavar="A:B", help="100:130, 7 or 1,5,9 (default 100:110)")
    parser.add_argument("--workers", type=common.positive, metavar="N", help="worker processes (default: one per core)")
    parser.add_argument("--out", metavar="RUN", help="folder of the run (default: a new one under runs/eval)")
    parser.add_argument(
        "--resume", nargs="?", const="", metavar="RUN", help="continue a run (default: the newest unfinished)"
    )
    parser.add_argument(
        "--report", nargs="?", const="", metavar="HTML", help="write report.html (default: into the run)"
    )
    parser.add_argument(
        "--steps", type=common.positive, metavar="N", help="cut episodes short: a quick look, not a score"
    )


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Payload: the Result, without the lines of the single episodes."""
    from triune.runs import Run, latest, new_folder

    system = common.load_system(args)
    common.check_conditions(args)
    seeds, folder, limit = common.parse_seeds(args.seeds), args.out, args.steps
    if args.resume is not None:
        old = Run.read(args.resume or latest(args.task if "/" not in args.task else system.name, unfinished=True))
        request = old.info["request"]
        folder, seeds, limit = old.path, request["seeds"], request["limit"]
        args.protocol, args.shift, args.eyes = request["protocol"], request["shift"], request["eyes"]
    protocol = system.protocol(args.protocol).name
    folder = Path(folder or new_folder(system.name, protocol, args.shift, args.eyes))
    workers = min(args.workers or common.cores(), len(seeds))
    console.log(
        f"{system.name}, {protocol}{f', {args.shift}' if args.shift else ''}, {args.eyes} eyes: {len(seeds)} seeds"
    )

    def progress(done: int, total: int, record: dict[str, Any] | None) -> None:
        console.progress(
            done, total, f"{done}/{total} episodes, seed {record['seed']}: {record['score']}" if record else ""
        )

    try:
        result = system.evaluate(
            protocol, seeds, args.shift, args.eyes, workers, run=folder, limit=limit, progress=progress
        )
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"continue with: triune eval {args.task} --resume {folder}") from None
    show(result, console)
    payload = result.to_dict()
    del payload["episodes"]
    if args.report is not None:
        from triune.report import write_report

        payload["report"] = str(write_report(Run.read(folder), Path(args.report) if args.report else None, console))
        console.say(f"report     {payload['report']}")
    return payload


def show(result: Result, console: Console) -> None:
    """The figures, for people."""
    if result.mean is None or result.ci95 is None:
        return
    low, high = result.ci95
    console.say(f"{result.task}  {result.protocol}{f'  {result.shift}' if result.shift else ''}  {result.eyes} eyes")
    console.say(f"mean       {result.mean:.2f}   95 % interval {low:.2f} to {high:.2f}   ({len(result.scores)} seeds)")
    console.say(f"IQM        {result.iqm:.2f}   worst decile {result.worst_decile:.2f}   worst {min(result.scores)}")
    console.say(f"frames     {result.frames}   {result.frames_per_second or 0:.0f} a second, {result.workers} workers")
    rules = ", ".join(f"{name} {n}" for name, n in result.interventions.items()) or "none"
    console.say(f"overruled  {rules}   faults {result.faults}   deadline misses {result.deadline_misses}")
    if result.unfinished:
        console.say(f"unfinished {len(result.unfinished)} episodes were cut short: these are not scores")
    console.say(f"run        {result.run}")
