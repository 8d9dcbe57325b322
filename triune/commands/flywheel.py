"""`triune flywheel`: a detector that stopped seeing learns from the task's own play, without teacher or score."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from envs.repeat import again, command_line
from triune.commands import common
from triune.console import Console, table
from triune.errors import TriuneError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Task, look, length, folder."""
    common.add_task(parser)
    parser.add_argument("--shift", metavar="S", help="another look of the game (default: as it is)")
    parser.add_argument("--protocol", metavar="P", help="default: the task's")
    parser.add_argument("--rounds", type=common.positive, default=3, metavar="N", help="at most (default 3)")
    parser.add_argument("--frames", type=common.positive, default=3000, metavar="N", help="a round (default 3000)")
    parser.add_argument("--steps", type=common.positive, default=400, metavar="N", help="of each stretch (default 400)")
    parser.add_argument(
        "--games",
        type=int,
        metavar="N",
        help="whose score may not fall (default: 2, and 0 with --shift: no score is seen)",
    )
    parser.add_argument("--run", dest="home", metavar="DIR", help="default runs/flywheel/TASK[-S]; one there goes on")
    parser.add_argument("--install", action="store_true", help="put a promoted detector into the task's folder")


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Payload: `outcome`, `rounds` with what each played, learned and decided, `eyes`, `report`."""
    import torch  # noqa: F401 - say at once that the extra is missing

    from triune.play.drift import measure
    from triune.play.self_training import PROMOTED, Request, SelfTraining, take_over
    from triune.report.self_training import write_report

    args.detector = "cnn"
    system = common.load_system(args)
    system.check_pictures()
    common.check_conditions(args)
    if args.frames < 400:
        raise TriuneError("--frames: motion needs 400 frames at least to tell things from the field")
    home = Path(args.home or f"runs/flywheel/{system.name}{'-' + args.shift if args.shift else ''}")
    protocol = system.protocol(args.protocol).name
    games = args.games if args.games is not None else 0 if args.shift else 2
    ask = Request(system.name, args.shift, protocol, args.rounds, args.frames, args.steps, games=games)
    try:
        told = SelfTraining(system, ask, home, console.log).run()
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"continue with: {again(args)}") from None
    told["report"] = str(write_report(system, home))
    console.say(table([_row(r) for r in told["rounds"]], ["round", "coverage", "frames", "sight", "after", "outcome"]))
    console.say(f"{told['outcome']}: {told['reason']}")
    if args.install and told["outcome"] == PROMOTED:
        take_over(Path(told["eyes"]), system.detector_path)
        measure(system)
        console.say(f"installed  {system.detector_path}; the drift watch has measured them")
        console.say(f"           the score card is no longer true: {command_line('eval', system.called, card=True)}")
    console.say(f"detector   {told['eyes']}")
    console.say(f"report     {told['report']}")
    return {"task": system.name, **told}


def _row(told: dict[str, Any]) -> list[str]:
    taught, figures = told["lesson"], told.get("figures", {})
    after = f"{figures['new']['score']:.3f}" if figures else ""
    frames = f"{taught['new']} + {taught['rendered']}" if figures else ""
    sight = f"{told['sight']['score']:.3f}"
    return [str(told["round"]), f"{taught['coverage']:.2f}", frames, sight, after, told["outcome"]]
