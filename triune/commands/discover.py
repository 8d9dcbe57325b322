"""`triune discover`: which bytes of the console's memory draw what, found by changing them."""

from __future__ import annotations

import argparse
from typing import Any

from triune.commands import common
from triune.console import Console, jsonable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Task, number of states, where to write."""
    common.add_task(parser, trust=False)
    parser.add_argument(
        "--states", type=common.positive, default=12, metavar="N", help="game states to try (default 12)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument("--out", metavar="FILE", help="the catalogue (default: catalogue.json in the task folder)")


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Payload: the catalogue."""
    from dataclasses import asdict

    from data_flywheel.discover import discover

    system = common.load_system(args)
    out = common.out_file(args.out or str(system.folder / "catalogue.json"), ".json")

    def progress(done: int, total: int, seconds: float) -> None:
        console.progress(done, total, f"byte {done} of {total}, {seconds:.0f} s")

    found = discover(system.spec, out, args.states, args.seed, progress=progress)
    console.clear()
    payload: dict[str, Any] = jsonable(asdict(found))
    for thing in payload["things"]:
        console.say(", ".join(f"{k} {v}" for k, v in thing.items() if isinstance(v, (str, int, float))))
        for axis in ("x", "y"):
            if thing.get(axis):
                console.say(
                    f"    {axis}: "
                    + ", ".join(f"{k} {v}" for k, v in thing[axis].items() if not isinstance(v, (list, dict)))
                )
    for kind, addresses in payload["bytes"].items():
        console.say(f"{kind:<12} bytes {', '.join(map(str, addresses))}")
    console.say(f"catalogue    {out}")
    return {"task": system.name, "file": str(out), "catalogue": payload}
