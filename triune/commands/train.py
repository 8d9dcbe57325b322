"""`triune train`: a detector for a task, from nothing: collect if there is no data, train, export, measure."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from envs.repeat import again
from perception.weights import weights_beside
from triune.commands import collect, common
from triune.console import Console, Lines
from triune.errors import TriuneError, UsageError

if TYPE_CHECKING:
    from triune.system import System

STEPS = 3500
SECONDS_A_STEP = 0.12  # on one core of 2024; only turns --minutes into a number of steps


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Task, data, length, output."""
    common.add_task(parser)
    parser.add_argument(
        "--data", metavar="FOLDER",
        help="train on this data set as it is (default: runs/data/TASK, which is collected if it is missing)",
    )  # fmt: skip
    parser.add_argument(
        "--frames",
        type=common.positive,
        metavar="N",
        help=f"frames to collect (default: as many as the data there were planned to have, else {collect.FRAMES})",
    )
    parser.add_argument("--steps", type=common.positive, metavar="N", help=f"training steps (default {STEPS})")
    parser.add_argument(
        "--minutes", type=float, metavar="M", help="instead of --steps: about this many processor minutes"
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
    out = common.out_file(args.out or str(system.detector_path), ".onnx")
    if args.minutes is not None and args.minutes <= 0:
        raise TriuneError("--minutes is a positive number")
    if args.data and args.frames:
        raise UsageError("--frames says how many to collect, and nothing is collected into --data; leave one out")
    steps = args.steps or (round(args.minutes * 60 / SECONDS_A_STEP) if args.minutes else STEPS)
    folder = Path(args.data) if args.data else collect.data_folder(system.name)
    try:
        metrics = _train(system, args, folder, out, steps, console)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"continue with: {again(args, without=('--fresh',))}") from None
    from perception.training.metrics import table

    console.say(Lines(table(metrics)))
    if not metrics["calibrated"]:
        console.say("no frame is held out for calibration (the split val): `sure` is no probability")
    console.say(f"detector   {out}")
    console.say(f"weights    {weights_beside(out)}, from which training can go on")
    return {
        "task": system.name, "file": str(out), "weights": str(weights_beside(out)), "data": str(folder),
        "steps": steps, "metrics": metrics,
    }  # fmt: skip


def _train(
    system: System, args: argparse.Namespace, folder: Path, out: Path, steps: int, console: Console
) -> dict[str, Any]:
    """Collect what is missing, and train; the metrics."""
    from data_flywheel.datasets.samples import load_samples
    from perception.training.train import train

    if not args.data:
        console.log(f"frames: {folder}")
        collect.collect_into(system, folder, args.frames or _planned(folder), common.cores(), console)
    samples = load_samples(folder)
    console.log(f"training on {len(samples.rows('train'))} of {len(samples)} frames, {steps} steps")
    return train(
        samples, system.schema, out, steps=steps, seed=args.seed, resume=not args.fresh, threads=common.cores(),
        progress=console.progress,
    )  # fmt: skip


def _planned(folder: Path) -> int:
    """How many frames the collection there, finished or not, was to have."""
    from data_flywheel.storage.dataset import MANIFEST, Dataset

    if not (folder / MANIFEST).is_file():
        return collect.FRAMES
    return int(Dataset(folder).manifest.extra.get("plan", {}).get("frames", collect.FRAMES))
