"""`triune look TASK`: what the detector sees beside what the labels say, along whole games; and a sheet to look at."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from perception.scene import SceneSchema
from triune.commands import common
from triune.console import Console, table

if TYPE_CHECKING:
    from triune.system import System

SHOWN = 8  # pictures on a sheet
SCALE, ACROSS = 3, 4  # of a picture on it, and how many in a row
NAME = 14  # px of a name
PARTS = ("first third", "second third", "last third")
MOST_COMPARED = 3000  # steps of a game; a longer one is thinned


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Task, games, who sees, the sheet."""
    common.add_task(parser)
    parser.add_argument("--protocol", metavar="NAME", help="default: the task's own")
    parser.add_argument("--seeds", default="0:2", metavar="A:B", help="games to look at, default 0:2 (training seeds)")
    parser.add_argument("--limit", type=common.positive, metavar="N", help="at most so many steps a game")
    parser.add_argument(
        "--labels", action="store_true",
        help="play by the labels and look at them alone (so where there is no detector yet)",
    )  # fmt: skip
    parser.add_argument("--sheet", metavar="FILE", help="write pictures with their boxes: FILE.png")


@dataclass
class Looked:
    """One game: of every step that was compared what was seen and what the labels say, float32[size] each."""

    seen: list[np.ndarray] = field(default_factory=list)
    told: list[np.ndarray] = field(default_factory=list)
    pictures: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = field(default_factory=list)


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Payload: of every thing and third of the games labels, precision, recall, F1 at half overlap, median error; or,
    of labels alone, how often each thing is there and how often it is gone for a single step."""
    from perception.training.metrics import compare
    from triune.play.loop import Rollout

    system = common.load_system(args)
    alone = args.labels or not system.detector_path.is_file()
    common.check_protocol(system.spec.env, args.protocol)
    sheet = common.out_file(args.sheet, ".png") if args.sheet else None
    seeds = common.parse_seeds(args.seeds)
    with Rollout(system, args.protocol, detector="teacher" if alone else "cnn", labelled=True) as rollout:
        games = [_game(rollout, seed, args.limit, sheet is not None) for seed in _told(seeds, console)]
    console.clear()
    schema = system.schema
    result: dict[str, Any] = {"task": system.name, "games": len(games), "steps": sum(len(g.told) for g in games)}
    if alone:
        result["things"] = _steadiness(games, schema)
        rows = [[name, *(str(v) for v in row.values())] for name, row in result["things"].items()]
        console.say(table(rows, ["thing", "in steps", "most", "gone for one step"], {1, 2, 3}))
    else:
        thirds = [_joined(games, part) for part in range(len(PARTS))]
        metrics = [compare(seen, told, schema) for seen, told in thirds]
        result["thirds"] = metrics
        rows = [
            [thing.name, where, *_figures(found["things"][thing.name])]
            for thing in schema.things
            for where, found in zip(PARTS, metrics, strict=True)
            if found["frames"]
        ]
        heads = ["thing", "of the games", "n", "precision", "recall", "F1", "median px"]
        console.say(table(rows, heads, {2, 3, 4, 5, 6}))
        console.say("n: labels; F1: boxes that overlap by half or more")
    if sheet:
        _draw(games, system, alone, sheet)
        result["sheet"] = str(sheet)
        console.say(f"sheet      {sheet}" + ("" if alone else ": labels on the left, beside them what is seen"))
    return result


def _told(seeds: list[int], console: Console) -> Iterator[int]:
    for i, seed in enumerate(seeds):
        console.progress(i, len(seeds), f"game {i + 1} of {len(seeds)}")
        yield seed


def _game(rollout: Any, seed: int, limit: int | None, pictures: bool) -> Looked:
    """One game; of a long one every other step is dropped when there are too many."""
    found, apart = Looked(), 1
    shown: dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
    for step in rollout.episode(seed, limit=limit):
        if step.index % apart:
            continue
        seen, told = rollout.player.seen.copy(), rollout.env.observed.copy()
        found.seen.append(seen)
        found.told.append(told)
        if pictures:
            shown[step.index] = (step.frame.copy(), seen, told)
            if len(shown) > 4 * SHOWN:
                shown = {at: shown[at] for at in list(shown)[::2]}
        if len(found.told) >= 2 * MOST_COMPARED:
            found.seen, found.told, apart = found.seen[::2], found.told[::2], 2 * apart
    rollout.outcome()
    found.pictures = list(shown.values())
    return found


def _joined(games: list[Looked], part: int) -> tuple[np.ndarray, np.ndarray]:
    """One third of every game."""
    sides: list[list[np.ndarray]] = [[], []]
    for game in games:
        low, high = (round(len(game.told) * k / len(PARTS)) for k in (part, part + 1))
        sides[0] += game.seen[low:high]
        sides[1] += game.told[low:high]
    seen, told = (np.stack(side) if side else np.zeros((0, 0), np.float32) for side in sides)
    return seen, told


def _figures(found: dict[str, Any]) -> list[str]:
    figures = [found["precision"], found["recall"], found["f1_iou50"], found["error_px"]["median"]]
    forms = (".3f", ".3f", ".3f", ".2f")
    return [str(found["labels"]), *("-" if v is None else format(v, f) for v, f in zip(figures, forms, strict=True))]


def _steadiness(games: list[Looked], schema: SceneSchema) -> dict[str, dict[str, Any]]:
    """Of every thing the share of steps it is in, the most at once, and the share of steps in which it is gone although
    it was there before and is there after: flicker, or a label that misses."""
    found = {}
    for thing in schema.things:
        starts = [schema.slot(thing.name, i).start for i in range(thing.count)]
        counts = [np.array([vector[starts] for vector in game.told]).reshape(-1, thing.count).sum(1) for game in games]
        blinks = sum(int(((c[1:-1] < c[:-2]) & (c[1:-1] < c[2:])).sum()) for c in counts)
        every = np.concatenate(counts)
        found[thing.name] = {
            "in_steps": round(float((every > 0).mean()), 3), "most": int(every.max(initial=0)),
            "gone_for_one_step": round(blinks / max(1, len(every)), 3),
        }  # fmt: skip
    return found


def _draw(games: list[Looked], system: System, alone: bool, path: Path) -> None:
    """Pictures from all along the games: what the labels say, and beside it what is seen; names in their colours."""
    from envs.writing import atomic_write
    from triune.report.drawing import Painter, text

    painter = Painter(system.schema, system.spec.env.actions, SCALE, panel=False)
    pictures = [picture for game in games for picture in game.pictures]
    some = [pictures[i] for i in np.linspace(0, len(pictures) - 1, min(SHOWN, len(pictures))).astype(int)]
    tiles = []
    for frame, seen, told in some:
        sides = [told] if alone else [told, seen]
        tile = np.hstack([painter.picture(frame, system.schema.read(side)) for side in sides])
        for i, (name, colour) in enumerate(painter.colours.items()):
            text(tile, name, 4, NAME * (i + 1), NAME - 2, colour)
        tiles.append(tile)
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % ACROSS)
    rows = [np.hstack(tiles[i : i + ACROSS]) for i in range(0, len(tiles), ACROSS)]
    atomic_write(path, cv2.imencode(".png", np.vstack(rows)[..., ::-1])[1].tobytes())
