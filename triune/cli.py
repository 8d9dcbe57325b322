"""The command line: finds the command, keeps stdout clean, turns errors into one line and an exit code."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from envs.shape import writable
from envs.terminal import ReaderGone, guard
from triune.console import Console
from triune.errors import EXIT_DONE, EXIT_FAILED, EXIT_USAGE, UsageError, nearest, one_line

COMMANDS = {
    "doctor": "what works here, and the fix for what does not",
    "list": "tasks in the zoo with their score card",
    "new": "a task folder for a camera, with a policy and a safety rule that pass `check`",
    "play": "play one episode; write a replay or watch it live",
    "eval": "score over many seeds, with intervals and a report",
    "check": "is this task folder sound: schema, detector, policy, safety",
    "explain": "why the system did what it did at one step",
    "blame": "whose failure it was: the detector's, the reflexes', both, the world's",
    "lock": "keep a recorded moment, or a score floor, from being lost unnoticed",
    "report": "a self-contained report.html of an evaluation or an improve run",
    "improve": "revise the policy from its own replays, and keep only what is proven better",
    "discover": "which bytes of a console's memory draw which pixels",
    "record": "record a film, a camera or a stream, to be labelled",
    "collect": "record labelled frames for training",
    "look": "what the detector sees beside what the labels say, along whole games",
    "curate": "choose the recorded frames that are most worth a label, and say why",
    "dataset": "export recorded games or labelled frames: COCO, Minari, Parquet",
    "review": "a page where people look at suspicious frames and correct their labels",
    "labels": "boxes drawn in other tools, in and out: COCO (CVAT, Label Studio), YOLO",
    "flywheel": "a detector that stopped seeing learns from play alone, and is kept only if it is better",
    "drift": "does play still look as in training: measure the ranges, or show them",
    "train": "train the detector and put it into the task folder",
    "export": "one deployable file that runs by itself: detector, tracker, policy, safety rules",
    "mcp": "the workbench of a workspace for coding agents: an MCP server over stdio",
    "migrate": "bring recorded exchanges of an older format up to date",
    "run": "run such a file on the game, a video or a camera",
    "web": "a page in which such a file plays a recorded game, in any browser",
    "bench": "speed, visual shifts, perception",
}
EPILOG = """A task is a name from `triune list` or a folder. Every command takes --json.
Exit codes: 0 done, 1 failed or refused, 2 usage."""


class Parser(argparse.ArgumentParser):
    """Raises instead of exiting, and answers an unknown choice with the nearest one."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see `{self.prog} --help`)")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            name = action.metavar or action.dest
            raise UsageError(f"unknown {name} {value!r}; {nearest(str(value), map(str, action.choices))}")


def build_parser(only: str | None = None) -> Parser:
    """The parser; `only` fills in the arguments of one command (all others are just named)."""
    parser = Parser("triune", description="Play games from pixels with readable reflexes.", epilog=EPILOG)
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, nothing else there")
    commands = parser.add_subparsers(dest="command", metavar="command", parser_class=Parser)
    for name, text in COMMANDS.items():
        child = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        child.add_argument("--json", action="store_true", help="one JSON object on stdout, nothing else there")
        if name == only:
            importlib.import_module(f"triune.commands.{name}").add_arguments(child)
    return parser


def _first_word(argv: Sequence[str]) -> str | None:
    return next((a for a in argv if not a.startswith("-")), None)


def _check_names(words: Sequence[str]) -> None:
    """UsageError for a word, or the place that it leads to from here, that is no UTF-8: no record could hold it."""
    for word in words:
        found = word
        with contextlib.suppress(OSError):  # the folder that this is run in is gone
            found = os.path.realpath(word.rpartition("=")[2]) if writable(word) else word
        if not writable(found):
            raise UsageError(f"{found!r} is not UTF-8, so no record could name it; rename it, or work elsewhere")


def _run(argv: Sequence[str], console: Console) -> tuple[int, dict[str, Any]]:
    _check_names(argv)
    parser = build_parser(_first_word(argv))
    args = parser.parse_args(list(argv))
    args.typed = list(argv)
    if args.version:
        from triune.version import __version__

        console.say(f"triune {__version__}")
        return EXIT_DONE, {"version": __version__}
    if args.command is None:
        if not console.as_json:
            parser.print_help()
        return EXIT_USAGE, {"error": f"no command given; choose from {', '.join(COMMANDS)}"}
    module = importlib.import_module(f"triune.commands.{args.command}")
    payload: dict[str, Any] = module.run(args, console)
    return int(payload.pop("exit_code", EXIT_DONE)), payload


Command = Callable[[Sequence[str], Console], tuple[int, dict[str, Any]]]  # words to exit code and payload


def main(argv: Sequence[str] | None = None, run: Command | None = None) -> int:
    """Run one command line; the exit code (0 done, 1 failed or refused, 2 usage). `run`: of another program than
    `triune` itself."""
    words = list(sys.argv[1:] if argv is None else argv)
    guard()
    console = Console("--json" in words)
    try:
        code, payload = _outcome(words, console, run or _run)
        console.emit(payload)
        sys.stdout.flush()
    except ReaderGone:  # `triune list | head`: the reader has what it wanted
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        return EXIT_DONE
    except OSError as error:  # of the words themselves: `triune list > /dev/full`
        console.log(f"triune: standard output: {error.strerror or error}")
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return EXIT_FAILED
    return code


def _outcome(words: Sequence[str], console: Console, run: Command) -> tuple[int, dict[str, Any]]:
    """Exit code and payload, an error in words."""
    try:
        with console:
            return run(words, console)
    except ReaderGone:
        raise
    except KeyboardInterrupt as stop:
        code, line = 128 + signal.SIGINT, f"interrupted{_hint(stop)}"
    except Exception as error:
        told = one_line(error)
        if told is None or os.environ.get("TRIUNE_DEBUG"):
            traceback.print_exc()
        code = EXIT_USAGE if isinstance(error, UsageError) else EXIT_FAILED
        line = told or f"this is a fault of Triune's: {type(error).__name__}: {error}"
    console.log(f"triune: {line}")
    return code, {"error": line}


def _hint(stop: KeyboardInterrupt) -> str:
    return f"; {stop.args[0]}" if stop.args else ""


def entry() -> NoReturn:
    """Console script."""
    raise SystemExit(main())


if __name__ == "__main__":
    entry()
