"""`triune drift TASK`: the ranges that tell whether play still looks as it did in training."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from triune.commands import common
from triune.commands.record import recording_folder
from triune.console import Console, table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Task, whether to measure."""
    common.add_task(parser)
    parser.add_argument(
        "--measure", action="store_true", help="play training seeds with the present detector and write ranges.json"
    )
    parser.add_argument(
        "--recording", metavar="FOLDER",
        help="with --measure, of a camera's task: what was recorded (default runs/recordings/TASK)",
    )  # fmt: skip
    parser.add_argument(
        "--steps", type=common.positive, metavar="N", help="with --measure: cut games shorter (a quick look)"
    )


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Payload: the file, the weights it is of, lowest, usual and highest value of every statistic."""
    from envs.env import simulated
    from perception.drift import PICTURE, scene_names
    from triune.play.drift import LONGEST, measure, measure_film

    system = common.load_system(args)
    system.check_pictures()
    if args.measure and not simulated(system.spec.env):
        folder = Path(args.recording) if args.recording else recording_folder(system.name)
        measure_film(system, folder, lambda done, n: console.progress(done, n, f"piece {done} of {n}"))
        console.clear()
    elif args.measure:
        steps = args.steps or LONGEST
        measure(system, steps, lambda done, n: console.progress(done, n, f"game {done} of {n}"))
        console.clear()
    ranges = system.read_ranges()
    names = [("picture", stat) for stat in PICTURE] + [(part, stat) for part, stat, _ in scene_names(ranges["scene"])]
    values = dict(zip((f"{part} {stat}" for part, stat in names), ranges["picture"] + ranges["eyes"], strict=True))
    rows = [[name, *(f"{v:.2f}" for v in ends or ())] for name, ends in values.items()]
    console.say(table([row for row in rows if len(row) > 1], ["statistic", "lowest", "usual", "highest"], {1, 2, 3}))
    console.say(f"ranges     {system.ranges_path}, of {ranges['samples']} samples, detector {ranges['weights'][:12]}")
    return {"task": system.name, "file": str(system.ranges_path), "weights": ranges["weights"], "ranges": values}
