"""`triune migrate OLD NEW`: a file of an older format becomes one of the present format."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from triune.console import Console
from triune.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Old file, new file."""
    parser.add_argument("old", help="recorded exchanges (.jsonl, or a folder of them) of format 1")
    parser.add_argument("new", help="the file to write, NAME.jsonl")


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Payload: files and how many exchanges."""
    from supervisor.proposers.replay import migrate

    old, new = Path(args.old), Path(args.new)
    if new.suffix != ".jsonl":
        raise UsageError(f"{new}: recorded exchanges are written to a .jsonl file")
    count = migrate(old, new)
    console.say(f"exchanges  {new}, {count} of them, in the present format")
    return {"old": str(old), "file": str(new), "exchanges": count}
