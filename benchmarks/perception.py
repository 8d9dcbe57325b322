"""How good a detector is on held-out frames, and how long one look takes on one core."""

from __future__ import annotations

import argparse
from typing import Any

from benchmarks.speed import one_core
from triune.commands import common
from triune.console import Console, Lines


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Of `triune bench perception`."""
    parser.add_argument("task", nargs="?", default="breakout", help="default breakout")
    parser.add_argument("--trust", action="store_true", help="a teacher.py of unknown origin may run")
    parser.add_argument("--data", metavar="FOLDER", help="default runs/data/TASK")


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Payload: the measurement."""
    system = common.load_system(args)
    from data_flywheel.datasets.samples import load_samples
    from perception.training.metrics import evaluate, time_per_frame
    from perception.training.metrics import table as metrics_table
    from triune.commands.collect import data_folder

    samples = load_samples(args.data or data_folder(system.name), "test")
    detector = system.detector()
    with one_core():
        timing = time_per_frame(detector.look, samples.rgb(0))
    metrics = evaluate(detector.look, samples, system.schema)
    console.say(Lines(metrics_table(metrics)))
    console.say(f"{timing['median']:.3f} ms a frame on one core (10th percentile {timing['p10']:.3f})")
    return {"task": system.name, "split": "test", "metrics": metrics, "ms_per_frame": timing}
