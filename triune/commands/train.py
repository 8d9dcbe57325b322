"""`triune train`: a detector for a task, from nothing: collect if there is no data, train, export, measure.

Of a camera's task: from everything that is labelled so far, measured on the end of each film.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from envs.env import simulated
from envs.repeat import again
from perception.weights import weights_beside
from triune.commands import collect, common
from triune.commands.labels import add_recordings, open_films, open_labels
from triune.console import Console, Lines, table
from triune.errors import TriuneError, UsageError

if TYPE_CHECKING:
    from perception.training.data import Samples
    from perception.training.train import Recipe
    from triune.system import System

STEPS = 3500
LARGE = 48  # px: a side from which the middle of a thing lies beyond what the trunk sees at its rim


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Task, data, length, output."""
    common.add_task(parser)
    parser.add_argument(
        "--data", metavar="FOLDER",
        help="train on this data set as it is (default: runs/data/TASK, which is collected if it is missing)",
    )  # fmt: skip
    add_recordings(parser)
    parser.add_argument(
        "--labels", metavar="FOLDER", help="of a camera: where labels are kept, default runs/labels/TASK"
    )
    parser.add_argument(
        "--frames",
        type=common.positive,
        metavar="N",
        help=f"frames to collect (default: as many as the data there were planned to have, else {collect.FRAMES})",
    )
    parser.add_argument("--steps", type=common.positive, metavar="N", help=f"training steps (default {STEPS})")
    parser.add_argument(
        "--minutes",
        type=common.finite,
        metavar="M",
        help="instead of --steps: about this many processor minutes (a few steps are timed)",
    )
    parser.add_argument("--seed", type=common.seed, default=0, metavar="N")
    parser.add_argument(
        "--out",
        metavar="FILE",
        help="default: perception.onnx in the task's folder; trainable weights go beside it",
    )
    parser.add_argument("--fresh", action="store_true", help="start over instead of resuming an unfinished training")


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Payload: the metrics of the exported file on held-out episodes."""
    import torch  # noqa: F401 - say at once that the extra is missing, before minutes of collecting

    system = common.load_system(args)
    system.check_pictures()
    out = common.out_file(args.out or str(system.detector_path), ".onnx")
    if args.minutes is not None and (args.minutes <= 0 or args.steps):
        raise UsageError("--minutes is a positive number, and stands in the place of --steps")
    filmed = _filmed(system, args)
    if (args.frames and filmed) or ((args.recording or args.labels) and not filmed):
        what = "--frames is for games" if filmed else "--recording and --labels are for a camera's task, without --data"
        raise UsageError(f"{what}; leave it out")
    if args.data and args.frames:
        raise UsageError("--frames says how many to collect, and nothing is collected into --data; leave one out")
    folder = Path(args.data) if args.data else collect.data_folder(system.name)
    try:
        learn = _train_on_films if filmed else _train
        metrics = learn(system, args, folder, out, console)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"continue with: {again(args, without=('--fresh',))}") from None
    from perception.training.metrics import table as figures

    if not filmed:
        console.say(Lines(figures(metrics)))
    if not metrics["calibrated"] and (metrics["frames"] or not filmed):
        console.say("no frame is held out for calibration (the split val): `sure` is no probability")
    console.say(f"detector   {out}")
    console.say(f"weights    {weights_beside(out)}, from which training can go on")
    if out.resolve() == system.detector_path.resolve() and (unwatched := system.unwatched()):
        console.say(f"drift      is not watched now: {unwatched}")
    return {
        "task": system.name, "file": str(out), "weights": str(weights_beside(out)),
        "data": None if filmed else str(folder), "steps": metrics.pop("steps"), "metrics": metrics,
    }  # fmt: skip


def _train(system: System, args: argparse.Namespace, folder: Path, out: Path, console: Console) -> dict[str, Any]:
    """Collect what is missing, and train; the metrics."""
    from data_flywheel.datasets.samples import load_samples
    from perception.training.train import train

    if not args.data:
        console.log(f"frames: {folder}")
        collect.collect_into(system, folder, args.frames or _planned(folder), common.cores(), console)
    samples = load_samples(folder)
    steps = _steps(args, samples, system, out, console)
    console.log(f"training on {len(samples.rows('train'))} of {len(samples)} frames, {steps} steps")
    return train(
        samples, system.schema, out, steps=steps, seed=args.seed, resume=not args.fresh, threads=common.cores(),
        progress=console.progress, recipe=_recipe(system),
    ) | {"steps": steps}  # fmt: skip


def _steps(args: argparse.Namespace, samples: Samples, system: System, out: Path, console: Console) -> int:
    """As asked, or as many as go into the minutes; a training that is gone on with keeps its number."""
    from perception.training.train import seconds_a_step, unfinished

    if not args.minutes:
        return int(args.steps or STEPS)
    begun = None if args.fresh else unfinished(out)
    if begun:
        return begun
    one = seconds_a_step(samples, system.schema, _recipe(system))
    steps = max(1, round(args.minutes * 60 / one))
    console.log(f"length     {steps} steps: one takes {1000 * one:.0f} ms here")
    return steps


def _filmed(system: System, args: argparse.Namespace) -> bool:
    """Whether labels of recorded films are learned from."""
    return not simulated(system.spec.env) and not args.data


def _recipe(system: System) -> Recipe:
    """How a task's detector is trained. Of a camera a thing with few labels is no reason to refuse."""
    from perception.training.augment import Augmentation
    from perception.training.network import Width
    from perception.training.train import Recipe

    look = Augmentation(recolour=0.0) if system.spec.keep_colours else Augmentation()
    if simulated(system.spec.env):
        return Recipe(look=look)
    large = any(max(thing.size) > LARGE for thing in system.schema.things)
    return Recipe(look=look, least=0, near=True, width=Width(far=2 if large else 0))


def _train_on_films(
    system: System, args: argparse.Namespace, folder: Path, out: Path, console: Console
) -> dict[str, Any]:
    """Train on what is labelled, and tell how well the end of each film is seen; the metrics."""
    from data_flywheel.labels.film_labels import gather
    from data_flywheel.labels.rounds import GOAL, note_round
    from perception.training.train import label_counts, train

    films = open_films(system, args.recording, console)
    store = open_labels(system, args.labels, console)
    told = lambda done, of: console.progress(done, of, f"{done} of {of} pictures")  # noqa: E731
    found = gather(store, films, system.protocol().control_hz, told)
    console.clear()
    samples, schema = found.samples, system.schema
    for reason, n in found.left_out.items():
        console.log(f"left out   {n} labelled pictures: {reason}")
    learned = samples.scenes[samples.rows("train")]
    counts = label_counts(learned, schema)
    bare = int((~(learned[:, [at.start for _, at in schema.slots()]] > 0.5).any(1)).sum())
    told_counts = ", ".join(f"{n} x {name}" for name, n in counts.items())
    console.say(f"learns     from {len(learned)} of {len(samples)} labelled pictures: {told_counts}; {bare} background")
    if not any(counts.values()):
        raise TriuneError("no box is among them, so there is nothing to learn; label pictures that show the things")
    for name, n in counts.items():
        if n < GOAL:
            what = "it will not be seen" if not n else "it may be seen badly, and the figures below are rough"
            console.log(f"few        {name} has {n} labels to learn from: {what}; {GOAL} are a good beginning")
    steps = _steps(args, samples, system, out, console)
    metrics = train(
        samples, schema, out, steps=steps, seed=args.seed, resume=not args.fresh, threads=common.cores(),
        progress=console.progress, recipe=_recipe(system),
    )  # fmt: skip
    console.clear()
    note_round(store.folder, counts, metrics["things"])
    _show_held_out(metrics, found.stretches, console)
    return metrics | {
        "steps": steps,
        "learned": {"frames": len(learned), "background": bare, "labels": counts},
        "held_out": [{"film": film, "from_s": round(a, 3), "to_s": round(b, 3)} for film, a, b in found.stretches],
        "left_out": dict(found.left_out),
    }  # fmt: skip


def _show_held_out(metrics: dict[str, Any], stretches: list[tuple[str, float, float]], console: Console) -> None:
    """What was measured, and on which pictures; or that nothing was, and why."""
    from data_flywheel.labels.film_labels import FEWEST

    if not metrics["frames"]:
        console.say(f"held out   nothing, so nothing is measured: no film has {FEWEST} labelled pictures yet")
        return
    for film, begin, end in stretches:
        console.say(f"held out   the labelled pictures of {film} from second {begin:.1f} to {end:.1f}")
    rows = []
    for name, m in metrics["things"].items():
        figures = [(m["precision"], ".4f"), (m["recall"], ".4f"), (m["error_px"]["median"], ".2f"),
                   (m["error_px"]["p99"], ".2f")]  # fmt: skip
        rows.append([name, str(m["labels"]), *("-" if v is None else format(v, form) for v, form in figures)])
    console.say(table(rows, ["thing", "n", "precision", "recall", "median px", "p99 px"], right={1, 2, 3, 4, 5}))
    console.say(f"n: labels on {metrics['frames']} pictures that nothing was learned from")


def _planned(folder: Path) -> int:
    """How many frames the collection there, finished or not, was to have."""
    from data_flywheel.storage.dataset import MANIFEST, Dataset

    if not (folder / MANIFEST).is_file():
        return collect.FRAMES
    return int(Dataset(folder).manifest.extra.get("plan", {}).get("frames", collect.FRAMES))
