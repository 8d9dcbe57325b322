"""`python -m triune.commands.workbench NAME`: what `./eval`, `./play` and their kin in a workspace run."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from supervisor.proposers.workspace import COMMANDS
from triune.cli import Parser, main
from triune.commands.workbench import commands
from triune.commands.workbench.bench import Bench
from triune.console import Console

SUBMIT = "write answer.json, if it can be used: the keys of ANSWER.md as one JSON object on standard input"


def run(words: Sequence[str], console: Console) -> tuple[int, dict[str, Any]]:
    """One command in the current folder, which is a workspace."""
    parser = Parser("workbench", description="Try a policy before it is judged, on training seeds 0-999 only.")
    found = parser.add_subparsers(dest="command", metavar="command", parser_class=Parser, required=True)
    for name, what in {**COMMANDS, "submit": SUBMIT}.items():
        told = f"{what[0].upper()}{what[1:]}."
        child = found.add_parser(name, prog=f"./{name}", help=what, description=told)
        child.add_argument("--json", action="store_true", help="one JSON object on stdout, nothing else there")
        commands.ARGUMENTS[name](child)
    args = parser.parse_args(list(words))
    payload = commands.RUN[args.command](Bench(Path.cwd()), args, console)
    return int(payload.pop("exit_code", 0)), payload


if __name__ == "__main__":
    sys.exit(main(run=run))
