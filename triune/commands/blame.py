"""`triune blame`: whose failure each one of an episode was: the detector's, the reflexes', both, the world's."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from triune.commands import common
from triune.console import Console, table
from triune.errors import TriuneError, UsageError

if TYPE_CHECKING:
    from data_flywheel.attribution.verdict import Failure
    from data_flywheel.episodes.episode import Episode


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which games, judged how."""
    parser.add_argument("what", metavar="RUN_OR_EPISODE", help="a run's folder, an episode file, or a task")
    parser.add_argument("--seed", type=common.seed, metavar="N", help="of a run: only this game (default: all)")
    parser.add_argument("--at", type=int, metavar="STEP", help="of one game: what went wrong there, whatever the score")
    parser.add_argument("--most", type=common.positive, default=10, metavar="N", help="failures at most (default 10)")
    parser.add_argument("--reference", metavar="FILE", help="a policy that is trusted (default: the shipped one)")
    parser.add_argument(
        "--without-teacher", action="store_true", help="estimate from the record and its frames, as on a camera"
    )
    common.add_policy(parser)
    common.add_trust(parser)


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Payload: `verdicts` (who, way, failure, evidence, figures, odds, line), `counts`, `notes`."""
    from data_flywheel.attribution.verdict import failures
    from triune.play.attribution import Blamer
    from triune.play.evaluation import of_task
    from triune.system import load

    args.task, episodes = find(args.what, args.seed)
    system = common.load_system(args)
    for episode in episodes:
        of_task(system, episode, args.what)
    reference = load(system.folder, system.trust, policy=args.reference) if args.reference else None
    blamer = Blamer(system, reference, not args.without_teacher)
    told: list[dict[str, Any]] = []
    notes: dict[str, None] = {}
    todo = [(episode, failure) for episode in episodes for failure in failures(episode)][: args.most]
    if args.at is not None:
        todo = [(episodes[0], told_at(episodes, args.at))]
    for i, (episode, failure) in enumerate(todo):
        console.progress(i, len(todo), f"seed {episode.meta['seed']}, step {failure.step}: {failure.kind}")
        why = blamer.why_estimate(episode)
        if why and not args.without_teacher:
            notes[f"estimated: {why}"] = None
        told.append({"seed": episode.meta["seed"], **blamer.verdict(episode, failure).to_dict()})
    console.clear()
    _show(told, list(notes), console)
    counts = dict(Counter(v["who"] for v in told))
    return {"task": system.name, "verdicts": told, "counts": counts, "notes": list(notes)}


def told_at(episodes: list[Episode], step: int) -> Failure:
    """The failure that a person names; a film has no score that would tell."""
    from data_flywheel.attribution.verdict import TOLD, Failure

    if len(episodes) != 1:
        raise UsageError("--at is a step of one game; name an episode file, or a run with --seed")
    if not 0 <= step < len(episodes[0]):
        raise UsageError(f"--at {step}: the game has steps 0 to {len(episodes[0]) - 1}")
    return Failure(TOLD, step)


def find(what: str, seed: int | None) -> tuple[str, list[Episode]]:
    """The task's folder or name, and the recorded games; the newest run of a task that is named."""
    from envs.spec import find_folder
    from triune.play.evaluation import Run, latest, load_played

    path = Path(what)
    if path.is_file():
        if seed is not None:
            raise UsageError("--seed chooses a game of a run; an episode file is one game")
        episode = load_played(path)
        return str(episode.meta["task"]), [episode]
    run = Run.read(path if (path / "run.json").is_file() else latest(find_folder(what)))
    episodes = [run.episode(seed)] if seed is not None else list(run)
    if not episodes:
        raise TriuneError(f"{run.path} holds no finished episode; let `triune eval` finish one")
    return str(run.info["request"]["folder"]), episodes


def _show(told: list[dict[str, Any]], notes: list[str], console: Console) -> None:
    if not told:
        console.say("no failure: nothing was lost, and no game was stuck")
        return
    for note in notes:
        console.say(note)
    rows = [
        [str(v["seed"]), str(v["failure"]["step"]), v["failure"]["kind"], v["who"], v["way"] + _odds(v)] for v in told
    ]
    console.say(table(rows, ["seed", "step", "failure", "whose", "found by"], {0, 1}))
    for v in told:
        console.say()
        console.say(f"seed {v['seed']}, step {v['failure']['step']}: {v['who']}")
        for line in v["evidence"]:
            console.say(f"  {line}")


def _odds(v: dict[str, Any]) -> str:
    return f", {v['odds'][v['who']]:.2f}" if v["odds"] else ""
