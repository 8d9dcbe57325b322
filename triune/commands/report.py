"""`triune report RUN`: the page of an evaluation, or of an improve run, that was made before."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from triune.commands import common
from triune.console import Console


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The run and the file."""
    parser.add_argument("run", help="a run's folder (of eval or improve), or a task: its newest evaluation")
    parser.add_argument("--out", metavar="HTML", help="default: report.html in the run's folder")
    parser.add_argument("--no-replays", action="store_true", help="improve runs: play nothing for the page")
    common.add_trust(parser)


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Payload: `report`, the file, and the mean."""
    folder = Path(args.run)
    out = common.out_file(args.out, ".html") if args.out else None
    if (folder / "events.jsonl").is_file():
        return _improve(folder, out, args, console)
    return _evaluation(args, folder, out, console)


def _improve(folder: Path, out: Path | None, args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """The page of an improve run. `mean` is the incumbent's."""
    from triune.report.improve import write_improve_report
    from triune.report.improve.record import level

    written = write_improve_report(folder, out, console, not args.no_replays, args.trust)
    score = level(written.run, written.run.chain[-1].policy)
    console.say(f"report     {written.path}")
    return {
        "run": str(folder), "report": str(written.path), "mean": score.mean if score else None,
        "trials": len(written.run.trials), "accepted": len(written.run.chain) - 1, "replays": written.replays,
    }  # fmt: skip


def _evaluation(args: argparse.Namespace, folder: Path, out: Path | None, console: Console) -> dict[str, Any]:
    from triune.play.evaluation import Run, latest
    from triune.report.page import write_report

    if not folder.is_dir() or (folder / "system.toml").is_file():
        from envs.spec import load_spec

        args.task = args.run
        common.load_system(args)
        folder = latest(load_spec(args.run).folder)
    found = Run.read(folder)
    out = write_report(found, out, console, args.trust)
    result = found.result()
    console.say(f"report     {out}")
    return {"run": str(found.path), "report": str(out), "mean": result.mean if result else None}
