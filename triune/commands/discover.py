"""`triune discover`: which bytes of the console's memory draw what, found by changing them, and whether that holds."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from triune.commands import common
from triune.console import Console, jsonable, table
from triune.errors import UsageError

if TYPE_CHECKING:
    from data_flywheel.labelers.causal.agreement import Agreement
    from data_flywheel.labelers.causal.masks import Catalogue
    from envs.spec import SystemSpec

BAR = 0.95


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Task or games, number of states, where to write."""
    parser.add_argument("task", nargs="?", help="a name from `triune list`, or a folder with a system.toml")
    parser.add_argument("--game", nargs="+", metavar="ID", help="games of the emulator that have no folder here")
    parser.add_argument(
        "--agree", nargs="*", metavar="ID",
        help="compare labels of kept catalogues with colour teachers on fresh play (default: every game that has both)",
    )  # fmt: skip
    parser.add_argument(
        "--states", type=common.positive, default=12, metavar="N", help="game states to try (default 12)"
    )
    parser.add_argument("--seed", type=common.seed, default=0, metavar="N")
    parser.add_argument("--out", metavar="FILE", help="the catalogue (default: in the task folder, or with the others)")
    parser.add_argument(
        "--frames", type=common.positive, default=360, metavar="N", help="for --agree: frames a game (default 360)"
    )
    parser.add_argument(
        "--sheets", default="runs/agree", metavar="FOLDER", help="for --agree: pictures of frames that differ"
    )


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Payload: the catalogue of a task; {"games": [...]} for games and agreement."""
    if sum(choice is not None for choice in (args.task, args.game, args.agree)) != 1:
        raise UsageError("discover needs one of: a task, --game ID ..., --agree [ID ...]")
    if args.agree is not None:
        return _agree(args, console)
    if args.game:
        if args.out and len(args.game) > 1:
            raise UsageError("--out names one file; give one --game, or leave --out away")
        return {"games": [_discover(_game(game), args, console) for game in args.game]}
    return _discover(common.load_system(args).spec, args, console)


def _game(env_id: str) -> SystemSpec:
    from envs.backends.atari import game_spec
    from envs.errors import EnvError

    try:
        return game_spec(env_id)
    except EnvError as error:
        raise UsageError(str(error)) from None


def _discover(spec: SystemSpec, args: argparse.Namespace, console: Console) -> dict[str, Any]:
    from dataclasses import asdict

    from data_flywheel.labelers.causal.discover import default_path, discover

    out = common.out_file(args.out or str(default_path(spec)), ".json")

    def progress(done: int, total: int, seconds: float) -> None:
        console.progress(done, total, f"{spec.name}: byte {done} of {total}, {seconds:.0f} s")

    found = discover(spec, out, args.states, args.seed, progress=progress)
    console.clear()
    _tell(found, console)
    console.say(f"catalogue    {out}")
    return {"task": spec.name, "file": str(out), "catalogue": jsonable(asdict(found))}


def _tell(found: Catalogue, console: Console) -> None:
    for thing in found.things:
        sizes = ", ".join(f"{w}x{h}" for w, h, _ in thing.sizes[:3])
        console.say(f"{thing.name:<12} seen in {thing.seen:.0%} of the states, {sizes} px")
        for axis, formula in (("x", thing.x), ("y", thing.y)):
            if formula:
                value = f"{formula.code} {formula.byte}"
                console.say(
                    f"    {axis} = {formula.scale:g} * {value} {formula.offset:+g}   exact {formula.exact:.0%}, "
                    f"within 1.5 px {formula.near:.0%} of {formula.distinct} places"
                )
            elif axis in thing.fixed:
                console.say(f"    {axis} = {thing.fixed[axis]}")
    for kind, addresses in found.bytes.items():
        console.say(f"{kind:<12} bytes {', '.join(map(str, addresses))}")


def _agree(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    from data_flywheel.errors import DataError
    from data_flywheel.labelers.causal.agreement import agree
    from data_flywheel.labelers.causal.colours import colour_teachers, teachers_of
    from data_flywheel.labelers.causal.masks import CATALOGUES, Catalogue

    try:
        for env_id in args.agree:
            teachers_of(env_id)
    except DataError as error:
        raise UsageError(str(error)) from None
    games, rows = [], []
    for env_id in args.agree or colour_teachers():
        catalogue = Catalogue.load(CATALOGUES / f"{_game(env_id).name}.json")
        found = agree(catalogue, args.frames, Path(args.sheets), progress=_shown(console, env_id))
        console.clear()
        games.append({**found.record(), "passed": found.f1 >= BAR})
        rows += _rows(found)
    head = ["game", "thing", "as", "F1", "precision", "recall", "formula", "all frames", "n", "dropped", "unsure"]
    console.say(table(rows, head, set(range(3, 11))))
    passed = sum(game["passed"] for game in games)
    console.say(f"{passed} of {len(games)} games with F1@0.5 of at least {BAR}")
    return {"games": games, "bar": BAR, "passed": passed}


def _shown(console: Console, env_id: str) -> Any:
    return lambda done, total: console.progress(done, total, f"{env_id}: frame {done} of {total}")


def _rows(found: Agreement) -> list[list[str]]:
    rows = []
    for name, figures in found.things.items():
        shares = [f"{figures[k]:.3f}" for k in ("f1", "precision", "recall", "f1_formula", "f1_all")]
        counts = [str(figures[k]) for k in ("n", "dropped", "unsure")]
        rows.append([found.env, name, str(figures["as"]), *shares, *counts])
    return rows
