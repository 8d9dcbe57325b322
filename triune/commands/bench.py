"""`triune bench speed | shift | perception | language | gate | record | blame`: measurements behind README figures."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from triune.commands import common
from triune.console import Console, table
from triune.errors import UsageError, nearest

if TYPE_CHECKING:
    from triune.system import System

KINDS = ("speed", "shift", "perception", "language", "gate", "record", "blame", "data", "drift")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to measure, on which task."""
    parser.add_argument(
        "what",
        help="speed: pixel stack beside the bare emulator; shift: score lost in other looks and won back by the wheel; "
        "perception: errors; "
        "language: the compiler's back ends beside plain Python; gate: how often equal and better policies get in; "
        "record: what recording costs; blame: how often the verdict on a planted fault is right; "
        "data: labels that curation saves; drift: alarms of the drift watch (default: the whole zoo)",
    )
    parser.add_argument("task", nargs="?", help="default breakout (language, shift: the whole zoo)")
    parser.add_argument("--trust", action="store_true", help="a teacher.py of unknown origin may run")
    parser.add_argument("--seeds", metavar="A:B", help="for shift (default 1000:1002; with --shifts 0:5)")
    parser.add_argument("--looks", metavar="L,L", help="for shift: these looks, or `named`, `random` (default: all)")
    parser.add_argument("--protocol", metavar="P", help="for shift, record (default: the task's)")
    parser.add_argument("--shifts", metavar="S,S", help="for shift: evaluate under these, without the wheel")
    parser.add_argument("--eyes", default="cnn,colour", metavar="E,E", help="with --shifts (default cnn,colour)")
    parser.add_argument("--workers", type=common.positive, metavar="N", help="for shift (default: one per core)")
    parser.add_argument(
        "--steps", type=common.positive, metavar="N", help="for shift: cut episodes short (a quick look)"
    )
    parser.add_argument(
        "--rounds", type=common.positive, metavar="N",
        help="blocks (speed 12, language 7, record 200); training seeds (data 1)",
    )  # fmt: skip
    parser.add_argument("--trials", type=common.positive, metavar="N", help="gate: of each kind; blame: faults")
    parser.add_argument(
        "--real", action="store_true", help="for gate: play and judge real episodes first (about 40 minutes, goes on)"
    )
    parser.add_argument("--minutes", type=common.positive, default=60, metavar="M", help="for gate --real: stop after")
    parser.add_argument("--fit", action="store_true", help="for blame: first fit the estimate on the fit seeds")
    parser.add_argument("--data", metavar="FOLDER", help="for perception, data (default runs/data/TASK)")


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Payload: the measurement."""
    if args.what not in KINDS:
        raise UsageError(f"unknown benchmark {args.what!r}; {nearest(args.what, KINDS)}")
    if args.what == "language":
        return _language(args, console)
    if args.what == "gate":
        return _gate(args, console)
    if args.what == "blame":
        return _blame(args, console)
    if args.what == "drift":
        return _drift(args, console)
    if args.what == "shift" and not args.shifts:
        return _looks(args, console)
    args.task = args.task or "breakout"
    system = common.load_system(args)
    kinds = {"speed": _speed, "shift": _shift, "perception": _perception, "record": _record, "data": _data}
    return kinds[args.what](system, args, console)


def _speed(system: System, args: argparse.Namespace, console: Console) -> dict[str, Any]:
    from benchmarks.speed import speed

    rounds = args.rounds or 12
    found = speed(system, rounds, progress=lambda done, total: console.progress(done, total, "alternating blocks"))
    console.say(f"{system.name}, {found['protocol']}, frameskip 1, core {found['core']}")
    blind = f"{found['blind_fps']:.0f} if nobody fetches them"
    console.say(f"bare emulator  {found['emulator_fps']:.0f} frames/s ({blind})")
    console.say(f"pixel stack    {found['stack_fps']:.0f} frames/s")
    console.say(f"ratio          {found['ratio']:.3f} ({found['ratio_blind']:.3f})")
    console.say(table([[k, f"{v:.1f}"] for k, v in found["microseconds"].items()], ["part", "us a frame, median"], {1}))
    return found


def _data(system: System, args: argparse.Namespace, console: Console) -> dict[str, Any]:
    from benchmarks.data import measure, rows

    system.check_teacher()
    found = measure(system, args.data, console.log, range(args.rounds or 1))
    console.say(table(rows(found), ["set", "frames", *found["tests"]], {1, 2, 3}))
    for told in found["saved"]:
        console.say(told["words"])
    return found


def _drift(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    from benchmarks.drift import measure
    from envs.spec import task_names
    from triune.system import load

    systems = [load(task) for task in ([args.task] if args.task else task_names())]
    found = measure(systems, say=console.say)
    console.say(f"false alarms {found['false_alarms']} in {found['plain_games']} games as in training")
    console.say(f"failing eyes found {found['hurting_called_failing']} of {found['hurting']} looks that hurt")
    console.say(f"called failing {found['harmless_called_failing']} of {found['harmless']} looks that do not")
    console.say(f"cost {100 * found['cost']:.1f} % of a step")
    return found


def _record(system: System, args: argparse.Namespace, console: Console) -> dict[str, Any]:
    from benchmarks.record import SIDES, recording_cost

    shift = args.shifts  # one look for all sides
    found = recording_cost(
        system, args.rounds or 200, args.protocol, shift, lambda i, n: console.progress(i, n, "alternating turns")
    )
    console.clear()
    console.say(f"{system.name}, {found['protocol']}, {found['steps']} steps a side, core {found['core']}")
    rows = [[SIDES[0], f"{found['microseconds'][SIDES[0]]:.0f}", "", "", ""]]
    for side in SIDES[1:]:
        low, high = (f"{100 * edge:.1f}" for edge in found["interval"][side])
        told = [f"{100 * found['cost'][side]:.1f} %", f"{low} to {high} %", f"{found['bytes_a_step'][side]:.0f}"]
        rows.append([side, f"{found['microseconds'][side]:.0f}", *told])
    console.say(table(rows, ["frames kept", "us a step", "cost", "95 % interval", "bytes a step"], {1, 2, 3, 4}))
    return found


def _language(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    from benchmarks.language import measure
    from envs.spec import task_names
    from triune.system import load

    figures = []
    for figure in measure([load(t) for t in ([args.task] if args.task else task_names())], rounds=args.rounds or 7):
        budget = "" if figure.budget is None else f"{'ok' if figure.ok else 'OVER'} (at most {figure.budget:g})"
        console.say(f"{figure.task:<10}{figure.name:<40}{figure.value:>10.3f} {figure.unit:<18}{budget}")
        figures.append({**figure._asdict(), "ok": figure.ok})
    return {"figures": figures, "ok": all(f["ok"] for f in figures)}


def _gate(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    from benchmarks import gate as bench_gate

    if args.real:
        from benchmarks.gate_played import measure

        bench_gate.write_recorded(measure(console.log, args.minutes))
    found = bench_gate.measure(args.trials or bench_gate.TRIALS, lambda i, n: console.progress(i, n, "trials"))
    console.clear()
    head = ["scores", "equal", "accepted", "seeds", "better", "accepted", "seeds", "gain / spread"]
    console.say(table([_gate_row(r) for r in found["scenarios"]], head, set(range(1, 8))))
    low, high = found["false_accept_ci95"]
    console.say(f"equal children accepted: {found['false_accept_rate']:.3f} [{low:.3f}, {high:.3f}]")
    low, high = found["power_ci95"]
    console.say(f"children a tenth better: {found['power']:.3f} [{low:.3f}, {high:.3f}]")
    if found["beyond_reach"]:
        away = f"where games spread too much ({', '.join(found['beyond_reach'])})"
        console.say(f"  {away}: {found['power_beyond_reach']:.3f}")
    for kind, told in (found["real"] or {"trials": {}})["trials"].items():
        console.say(
            f"really played, {kind}: {told['accepted']} of {told['trials']} accepted, {told['seeds']} seeds each"
        )
    return found


def _gate_row(row: dict[str, Any]) -> list[str]:
    cells = [row["scores"]]
    for which in ("null", "better"):
        told = row.get(which)
        cells += [str(told["trials"]), f"{told['rate']:.3f}", f"{told['seeds']:.0f}"] if told else ["", "", ""]
    return [*cells, f"{row['effect']:.3f}" if "effect" in row else ""]


def _blame(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    from benchmarks import attribution as bench_blame

    if args.fit:
        bench_blame.refit(bench_blame.FITTED, console.progress)
    found = bench_blame.measure(args.trials or bench_blame.TRIALS, console.progress)
    console.clear()
    console.say("\n".join(bench_blame.lines(found)))
    return found


def _looks(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """What the wheel brings back. Finished looks are kept in runs/bench/shift; the command goes on where it was."""
    import torch  # noqa: F401 - say at once that the extra is missing

    from benchmarks import shift as bench_shift
    from envs.spec import task_names
    from envs.visual_shifts import is_look

    every = bench_shift.all_looks()
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
        plan = bench_shift.Plan(seeds, protocol, args.steps or bench_shift.LIMIT)
        bench = bench_shift.Bench(task, plan, say=console.log)
        for i, row in enumerate(bench.measure(looks)):
            console.progress(i + 1, len(looks), f"{task}, {row['look']}")
            found[f"{task}/{row['look']}"] = row
    console.clear()
    told = bench_shift.summary(list(found.values()))
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
    kinds, seeds = args.eyes.split(","), common.parse_seeds(args.seeds or "0:5")
    for shift in shifts:
        args.shift = shift
        for args.eyes in kinds:
            common.check_conditions(args)
    from triune.play.evaluation import evaluate

    means: dict[str, dict[str, float]] = {kind: {} for kind in kinds}
    jobs = [(kind, shift) for kind in kinds for shift in (None, *shifts)]
    for i, (kind, shift) in enumerate(jobs):
        console.progress(i, len(jobs), f"{kind} eyes, {shift or 'no shift'}")
        workers = min(args.workers or common.cores(), len(seeds))
        result = evaluate(system, args.protocol, seeds, shift, kind, workers, limit=args.steps)
        means[kind][shift or "none"] = float(result.mean or 0.0)
    console.clear()
    worst = system.lowest
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


def _perception(system: System, args: argparse.Namespace, console: Console) -> dict[str, Any]:
    from benchmarks.speed import one_core
    from data_flywheel.datasets.samples import load_samples
    from perception.training.metrics import evaluate, time_per_frame
    from perception.training.metrics import table as metrics_table
    from triune.commands.collect import data_folder

    samples = load_samples(args.data or data_folder(system.name), "test")
    eyes = system.eyes()
    with one_core():
        timing = time_per_frame(eyes.look, samples.rgb(0))
    metrics = evaluate(eyes.look, samples, system.schema)
    console.say(metrics_table(metrics))
    console.say(f"{timing['median']:.3f} ms a frame on one core (10th percentile {timing['p10']:.3f})")
    return {"task": system.name, "split": "test", "metrics": metrics, "ms_per_frame": timing}
