"""`triune collect`: labelled frames for training, resumable at any instant."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from envs.repeat import again
from triune.commands import common
from triune.console import Console

if TYPE_CHECKING:
    from triune.system import System

FRAMES = 20_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Task, frames, where to."""
    common.add_task(parser)
    parser.add_argument("--frames", type=common.positive, default=FRAMES, metavar="N", help=f"default {FRAMES}")
    parser.add_argument("--out", metavar="FOLDER", help="default runs/data/TASK; a folder with data is continued")
    common.add_workers(parser)


def data_folder(task: str) -> Path:
    """Where a task's data set lies unless told otherwise."""
    return Path("runs") / "data" / task


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Payload: the report of the collection."""
    system = common.load_system(args)
    system.check_pictures()
    folder = common.out_folder(args.out) if args.out else data_folder(system.name)
    try:
        return collect_into(system, folder, args.frames, common.workers(args), console)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"continue with: {again(args)}") from None


def collect_into(system: System, folder: Path, frames: int, workers: int, console: Console) -> dict[str, Any]:
    """Collect (or continue) and say what came of it."""
    from data_flywheel.datasets.collection import collect
    from envs.env import check_simulated

    check_simulated(system.spec.env)

    def progress(done: int, total: int, seconds: float) -> None:
        console.progress(done, total, f"{done} of {total} frames, {seconds:.0f} s")

    report = collect(system.spec, folder, frames, workers, progress=progress)
    console.clear()
    console.say(
        f"{report.frames} frames in {folder}, {report.seconds:.0f} s; {report.refused} refused by the label check"
    )
    return {"task": system.name, **vars(report)}
