"""Command lines that a person may repeat. They are made here: each says exactly what was done, quoted for a shell."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence


def command_line(command: str, *words: object, **options: object) -> str:
    """`triune COMMAND WORDS --NAME VALUE`, in this order. None and False leave an option out, True has no value."""
    told = ["triune", command, *map(str, words)]
    for name, value in options.items():
        if value is None or value is False:
            continue
        told += [f"--{name.replace('_', '-')}", *([] if value is True else [str(value)])]
    return shlex.join(told)


def again(args: argparse.Namespace, *more: object, without: Sequence[str] = ()) -> str:
    """The command line of this process as it was typed, with `more` at its end and less the flags `without`."""
    kept = [w for w in args.typed if not (len(w) > 2 and any(flag.startswith(w) for flag in without))]
    return shlex.join(["triune", *kept, *map(str, more)])


def seeds_text(seeds: Sequence[int]) -> str:
    """Seeds as `--seeds` reads them: `100:130`, or `1,5,9`."""
    if len(seeds) > 2 and list(seeds) == list(range(seeds[0], seeds[-1] + 1)):
        return f"{seeds[0]}:{seeds[-1] + 1}"
    return ",".join(map(str, seeds))
