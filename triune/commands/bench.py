"""`triune bench NAME`: a measurement behind the figures of README and docs, from benchmarks/ of a checkout."""

from __future__ import annotations

import argparse
import importlib
from typing import Any

from triune.commands import common
from triune.console import Console
from triune.errors import TriuneError, UsageError, nearest


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which benchmark; the rest is its own."""
    parser.add_argument("what", help=f"one of {', '.join(_known())}")
    parser.add_argument("rest", nargs=argparse.REMAINDER, help="its arguments: triune bench NAME --help")


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Payload: the measurement."""
    known = _known()
    if not known:
        raise TriuneError("benchmarks/ is not installed with Triune: run `triune bench` in a checkout of it")
    if args.what not in known:
        raise UsageError(f"unknown benchmark {args.what!r}; {nearest(args.what, known)}")
    from benchmarks import MODULES

    module = importlib.import_module(f"benchmarks.{MODULES.get(args.what, args.what)}")
    parser = argparse.ArgumentParser(f"triune bench {args.what}", description=known[args.what], exit_on_error=False)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, nothing else there")
    common.add_executor(parser)
    module.add_arguments(parser)
    try:
        own, unknown = parser.parse_known_args(args.rest)
    except argparse.ArgumentError as error:
        raise UsageError(f"{error} (see `{parser.prog} --help`)") from None
    if unknown:
        raise UsageError(f"unrecognized arguments: {' '.join(unknown)} (see `{parser.prog} --help`)")
    common.use_executor(own)
    payload: dict[str, Any] = module.run(own, console)
    return payload


def _known() -> dict[str, str]:
    """Benchmarks by name; none where Triune was installed without a checkout."""
    try:
        from benchmarks import BENCHMARKS
    except ImportError:
        return {}
    return BENCHMARKS
