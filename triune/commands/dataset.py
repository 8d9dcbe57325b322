"""`triune dataset export SOURCE --to FORMAT --out FOLDER`: recordings and data sets for other people's tools."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from triune.commands import common
from triune.console import Console
from triune.errors import TriuneError, UsageError, nearest

FORMATS = ("coco", "minari", "parquet")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to do, from where, to where."""
    parser.add_argument("what", help="export")
    parser.add_argument(
        "source", metavar="SOURCE", help="a recording folder (--record), or a data set (triune collect)"
    )
    parser.add_argument("--to", required=True, metavar="FORMAT", help="coco, minari or parquet; see docs/recording.md")
    parser.add_argument("--task", metavar="FOLDER", help="the task's folder, where it is not in the zoo (for minari)")
    parser.add_argument("--out", required=True, metavar="FOLDER", help="a new folder")


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Payload: counts of what was written, and problems: what could not be read."""
    from data_flywheel.datasets.exports import Source

    if args.what != "export":
        raise UsageError(f"unknown action {args.what!r}; {nearest(args.what, ['export'])}")
    if args.to not in FORMATS:
        raise UsageError(f"unknown format {args.to!r}; {nearest(args.to, FORMATS)}")
    out = common.out_folder(args.out)
    if out.exists() and any(out.iterdir()):
        raise TriuneError(f"{out} is not empty; name a new folder")
    source = Source(args.source, args.task)
    counts = _export(args.to, source, out)
    for problem in source.problems:
        console.log(f"left out   {problem}")
    told = ", ".join(f"{value} {name}" for name, value in counts.items() if isinstance(value, int))
    console.say(f"{out}: {told}")
    if args.to == "coco" and not source.schema.things:
        console.say("note       COCO holds boxes, and this task has none; minari and parquet hold its readings")
    if "id" in counts:
        console.say(
            f"read it    MINARI_DATASETS_PATH={out} python -c \"import minari; minari.load_dataset('{counts['id']}')\""
        )
    return {"task": source.task, "format": args.to, "out": str(out), **counts, "problems": source.problems}


def _export(kind: str, source: Any, out: Path) -> dict[str, Any]:
    if kind == "coco":
        from data_flywheel.datasets.exports import export_coco

        return dict(export_coco(source, out))
    if kind == "minari":
        from data_flywheel.datasets.exports import export_minari

        return export_minari(source, out)
    from data_flywheel.datasets.exports import export_parquet

    return dict(export_parquet(source, out))
