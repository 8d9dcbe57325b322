"""`triune eval`: play many seeds, print figures with intervals, keep every episode, write a report.

Ctrl-C keeps what is finished; `--resume` continues the newest unfinished run (or a named one).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from envs.repeat import again
from triune.commands import common
from triune.console import Console, table, told_score
from triune.errors import UsageError

if TYPE_CHECKING:
    from triune.play.evaluation import Result
    from triune.system import System


SEEDS = "100:110"
MOST_SHOWN = 30  # stretches of the same decision that are listed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Task, conditions, seeds, workers, where to keep the run."""
    common.add_task(parser)
    common.add_conditions(parser)
    common.add_isolation(parser)
    common.add_policy(parser)
    common.add_record(parser)
    parser.add_argument(
        "--source",
        metavar="S",
        help="look at this video file or folder of pictures instead of playing: a held-out film",
    )
    parser.add_argument(
        "--labels", metavar="FILE", help="with --source: what is on its pictures, in COCO form (frame_000123.png)"
    )
    parser.add_argument("--every", type=common.positive, metavar="N", help="with --source: look at every Nth picture")
    parser.add_argument("--fit", choices=("letterbox", "stretch"), metavar="HOW", help="with --source: of another size")
    parser.add_argument("--seeds", metavar="A:B", help=f"100:130, 7 or 1,5,9 (default {SEEDS})")
    common.add_workers(parser)
    parser.add_argument("--out", metavar="RUN", help="folder of the run (default: a new one under runs/eval)")
    parser.add_argument(
        "--resume", nargs="?", const="", metavar="RUN", help="continue a run (default: the newest unfinished)"
    )
    parser.add_argument(
        "--report", nargs="?", const="", metavar="HTML", help="write report.html (default: into the run)"
    )
    parser.add_argument("--card", action="store_true", help="enter the figures into the task's score card")
    parser.add_argument(
        "--steps", type=common.positive, metavar="N", help="cut episodes short: a quick look, not a score"
    )


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Payload: the Result, without the lines of the single episodes."""
    from envs.env import simulated
    from triune.play.evaluation import Run, new_folder
    from triune.report import card

    system = common.load_system(args)
    if args.source:
        return _film(system, args, console)
    if args.labels or args.every or args.fit:
        raise UsageError("--labels, --every and --fit go with --source")
    if not simulated(system.spec.env):
        raise UsageError(
            f"{system.called} is seen by a camera, nobody plays it: --source FILE, a film that is held out"
        )
    seeds, folder = _what(system, args)
    common.check_conditions(args)
    if args.card:
        card.check(system, args.shift, args.detector, args.steps)
    folder = folder or new_folder(system, system.protocol(args.protocol).name, args.shift, args.detector)
    result = _evaluate(system, args, seeds, folder, console)
    show(result, system.called, console)
    common.show_faults(system, result.fault_texts, console)
    payload = result.to_dict()
    del payload["episodes"]
    if args.record:
        from triune.play.recording import told_recording

        games = [played["recorded_as"] for played in result.episodes if "recorded_as" in played]
        payload |= told_recording(args.record, games, console)
    if args.card:
        console.say(f"card       {card.record(system, result, args.steps, Run.read(folder).info['hashes'])}")
    if args.report is not None:
        from triune.report.page import write_report

        out = common.out_file(args.report, ".html") if args.report else None
        payload["report"] = str(write_report(Run.read(folder), out, console, args.trust))
        console.say(f"report     {payload['report']}")
    return payload


def _what(system: System, args: argparse.Namespace) -> tuple[list[int], Path | None]:
    """Seeds and folder (None: a new one): as asked, or those of the run to be resumed, with all its conditions."""
    from triune.play.evaluation import Run, latest

    seeds = common.parse_seeds(SEEDS if args.seeds is None else args.seeds)
    if args.resume is not None:
        old = Run.read(args.resume or latest(system.folder, unfinished=True))
        request = old.info["request"]
        _same(args, request, seeds)
        args.protocol, args.shift, args.detector = request["protocol"], request["shift"], request["eyes"]
        args.steps = request["limit"]
        if request.get("policy") and not args.policy:
            system.policy_path = Path(request["policy"])
        return request["seeds"], old.path
    return seeds, common.out_folder(args.out) if args.out else None


def _same(args: argparse.Namespace, request: dict[str, Any], seeds: list[int]) -> None:
    """A run that is resumed keeps its conditions: UsageError where others stand beside it."""
    if args.seeds is not None and set(seeds) != set(request["seeds"]):
        raise UsageError(f"--seeds {args.seeds}: the run to be resumed has others; leave --seeds or --resume out")
    for option, key in (("protocol", "protocol"), ("shift", "shift"), ("detector", "eyes"), ("steps", "limit")):
        said = getattr(args, option)
        if said not in (None, request[key]):
            was = request[key] or "none"
            raise UsageError(f"--{option} {said}: the run to be resumed has {was}; leave --{option} or --resume out")


def _evaluate(system: System, args: argparse.Namespace, seeds: list[int], folder: Path, console: Console) -> Result:
    """Play with a bar; Ctrl-C says how to go on."""
    from triune.play.evaluation import evaluate

    workers = min(common.workers(args), len(seeds))
    from triune.play.recording import record_job

    job = record_job(args, system)
    what = [system.name, system.protocol(args.protocol).name, *([args.shift] if args.shift else [])]
    console.log(f"{', '.join(what)}, {args.detector} detector: {len(seeds)} seeds")

    def progress(done: int, total: int, record: dict[str, Any] | None) -> None:
        last = f", seed {record['seed']}: {told_score(record['score'])}" if record else ""
        console.progress(done, total, f"{done}/{total} episodes{last}")

    try:
        return evaluate(
            system, args.protocol, seeds, args.shift, args.detector, workers, run=folder, limit=args.steps,
            progress=progress, record=job,
        )  # fmt: skip
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"continue with: {again(args, '--resume', folder)}") from None


def show(result: Result, called: str, console: Console) -> None:
    """The figures, for people. `called`: the task, as a command line names it."""
    if result.mean is None:
        return
    interval = "one game, no interval"
    if result.ci95:
        interval = f"95 % interval {result.ci95[0]:.2f} to {result.ci95[1]:.2f}   ({len(result.scores)} seeds)"
    console.say(
        f"{result.task}  {result.protocol}{f'  {result.shift}' if result.shift else ''}  {result.detector} detector"
    )
    console.say(f"mean       {result.mean:.2f}   {interval}")
    console.say(
        f"IQM        {result.iqm:.2f}   worst decile {result.worst_decile:.2f}   worst {told_score(min(result.scores))}"
    )
    console.say(f"frames     {result.frames}   {result.frames_per_second or 0:.0f} a second, {result.workers} workers")
    rules = ", ".join(f"{name} {n}" for name, n in result.interventions.items()) or "none"
    console.say(f"overruled  {rules}   faults {result.faults}   deadline misses {result.deadline_misses}")
    from triune.play.drift import warning

    if told := warning(result.drift, called, result.shift):
        console.say(told)
    if result.unfinished:
        console.say(f"unfinished {len(result.unfinished)} episodes were cut short: these are not scores")
    console.say(f"run        {result.run}")


# ----------------------------------------------------------------------------------------------------
# On a film.


GAMES = ("seeds", "resume", "card", "report", "out", "protocol", "shift", "record", "executor")


def _film(system: System, args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Payload: things by name, decisions on a timeline, interventions, conditions, latencies."""
    from triune.live.evaluation import look
    from triune.live.labels import read_labels
    from triune.play.film import Film, check_rate

    given = [name for name in GAMES if getattr(args, name, None) not in (None, False)]
    if given or args.detector not in (None, "cnn"):
        raise UsageError(f"--{(given or ['detector'])[0]} is for games; with --source leave it out")
    env, hz = system.spec.env, system.protocol().control_hz
    film = Film(args.source, args.every or 1, hz)
    try:
        if film.live:
            raise UsageError(f"{film.source} has no end: give eval a film; triune run is for cameras and streams")
        if warning := check_rate(film.rate, hz, args.every, film.source, "the task"):
            console.log(f"rate       {warning}")
        labels = read_labels(Path(args.labels), system.schema, (env.height, env.width)) if args.labels else None
        for line in labels.notes if labels else ():
            console.log(f"labels     {line}")

        def progress(done: int) -> None:
            console.progress(done, film.promised or done, f"{done} pictures")

        found = look(system, film, labels, args.fit, args.steps, progress)
    finally:
        film.close()
    console.clear()
    _show_film(found, console)
    return {"task": system.name, "source": film.source, **found}


def _show_film(found: dict[str, Any], console: Console) -> None:
    rows = [
        [name, str(t["labels"]), *("-" if t[k] is None else f"{t[k]:.3f}" for k in ("precision", "recall", "f1")),
         "-" if t["median_px"] is None else f"{t['median_px']:.2f}"]
        for name, t in found["things"].items()
    ]  # fmt: skip
    if rows:
        console.say(table(rows, ["thing", "labels", "precision", "recall", "F1", "median px"], set(range(1, 6))))
        console.say(f"labelled   {found['labelled_frames']} of {found['frames']} pictures")
    for name, share in found["seen"].items():
        console.say(f"seen       {name} on {100 * share:.0f} % of the pictures")
    for stretch in found["timeline"][:MOST_SHOWN]:
        why = ", ".join([*stretch["rules"], *([stretch["condition"]] if stretch["condition"] else [])])
        console.say(f"{stretch['from']:>6} - {stretch['to']:<6} {stretch['action']:<12} {why or stretch['reason']}")
    if len(found["timeline"]) > MOST_SHOWN:
        console.say(f"           and {len(found['timeline']) - MOST_SHOWN} stretches more: --json has them all")
    rules = ", ".join(f"{name} {n}" for name, n in found["interventions"].items()) or "none"
    console.say(f"overruled  {rules}   faults {found['faults']}")
    if found["conditions"]:
        console.say("conditions " + ", ".join(f"{name} {n}" for name, n in found["conditions"].items()))
    for name, ms in found["latency_ms"].items():
        console.say(f"time       {name}: p50 {ms['p50']} ms, p99 {ms['p99']} ms, longest {ms['max']} ms")
