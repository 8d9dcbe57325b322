"""`triune report RUN`: the page of an evaluation that was made before."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from triune.commands import common
from triune.console import Console


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The run and the file."""
    parser.add_argument("run", help="a run's folder, or a task: its newest run")
    parser.add_argument("--out", metavar="HTML", help="default: report.html in the run's folder")


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Payload: `report`, the file, and the mean."""
    from triune.report import write_report
    from triune.runs import Run, latest

    folder = Path(args.run)
    if not folder.is_dir() or (folder / "system.toml").is_file():
        from envs.spec import load_spec

        args.task = args.run
        common.load_system(args)
        folder = latest(load_spec(args.run).name)
    found = Run.read(folder)
    out = write_report(found, common.out_file(args.out, ".html") if args.out else None, console)
    result = found.result()
    console.say(f"report     {out}")
    return {"run": str(found.path), "report": str(out), "mean": result.mean if result else None}
