"""`triune curate POOL --frames K --out FOLDER`: choose the frames of recorded play that are most worth a label."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from envs.env import simulated
from triune.commands import common
from triune.console import Console, table
from triune.errors import UsageError

if TYPE_CHECKING:
    from data_flywheel.datasets.frozen import FrozenSet


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Pool, how many, where to."""
    common.add_trust(parser)
    parser.add_argument("pool", help="a data set, or a folder of recorded episodes")
    parser.add_argument("--frames", type=common.positive, required=True, metavar="K", help="how many to choose")
    parser.add_argument("--out", required=True, metavar="FOLDER", help="an empty folder for the choice and its reasons")
    parser.add_argument("--task", metavar="T", help="default: the task that the pool names")
    parser.add_argument(
        "--requests", metavar="FILE",
        help="what the supervisor asks for: a list of {what, why, count} in JSON, or the folder of an improve run",
    )  # fmt: skip
    parser.add_argument(
        "--frozen", metavar="FILE", help="pictures never to touch, besides the test split (default runs/frozen/TASK)"
    )


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Payload: frames chosen, per cause, left out with reasons, requests, content hash, folder."""
    from data_flywheel.datasets.curation import build, choose, write
    from data_flywheel.datasets.frozen import FrozenSet
    from data_flywheel.labels.frames import EpisodeFrames, open_frames

    args.task = args.task or task_of(Path(args.pool))
    system = common.load_system(args)
    frames = open_frames(args.pool, system.spec)
    requests = read_requests(Path(args.requests)) if args.requests else []
    console.log(f"looking at {args.pool}")
    pool = build(system.schema, frames, system.detector().look)
    frozen = frozen_set(system.name, args.frozen)
    if isinstance(frames, EpisodeFrames) and not simulated(system.spec.env):
        frozen |= FrozenSet(films=True)
    selection = choose(pool, args.frames, frozen, requests=requests)
    about = {"pool": str(args.pool), "frames": args.frames, "eyes": system.hashes()["eyes"]}
    record = write(selection, pool, frames, frozen, args.out, system.name, about)
    console.say(table([[cause, str(n)] for cause, n in selection.counts.items()], ["cause", "frames"], {1}))
    for reason, count in selection.left_out.items():
        console.say(f"left out   {count} {reason}")
    for told in selection.requests:
        fit = f"{told['fit']} frames fit, {told['taken']} taken" if told["fit"] else "not understood, or nothing fits"
        console.say(f"request    {told['what'][:60]}: {fit}")
    console.say(f"chosen     {len(selection.choices)} of {len(pool)}; {args.out}, version {selection.version[:12]}")
    del record["chosen"]
    return {**record, "folder": args.out, "count": len(selection.choices), "pool_frames": len(pool)}


def frozen_set(task: str, path: str | None) -> FrozenSet:
    """The task's frozen pictures: those of a file, and the usual file's where there is one."""
    from data_flywheel.datasets.frozen import FrozenSet

    usual = Path("runs") / "frozen" / f"{task}.json"
    named = FrozenSet.load(path) if path else FrozenSet()
    return named | (FrozenSet.load(usual) if usual.is_file() else FrozenSet())


def task_of(pool: Path) -> str:
    """The task that a pool's manifest, or its first episode, names."""
    from data_flywheel.episodes.episode import Episode
    from data_flywheel.errors import DataError
    from data_flywheel.storage.dataset import MANIFEST, Dataset

    if (pool / MANIFEST).is_file():
        return Dataset(pool).manifest.task
    for path in [pool] if pool.is_file() else sorted(pool.rglob("*.npz")):
        try:
            return str(Episode.load(path).meta["task"])
        except (DataError, KeyError):
            continue
    raise UsageError(f"{pool}: no data set and no recorded episode; name one made by `triune collect` or `triune eval`")


def read_requests(path: Path) -> list[dict[str, Any]]:
    """The supervisor's data requests from a file or an improve run."""
    if path.is_dir():
        from supervisor.events import read

        asked = [e.data["data_requests"] for e in read(path / "events.jsonl") if e.kind == "proposal.read"]
        return [request for requests in asked for request in requests]
    from envs.files import read_json

    found = read_json(path, "requests", UsageError, "write a list of requests")
    if not isinstance(found, list) or not all(isinstance(r, dict) and isinstance(r.get("what"), str) for r in found):
        raise UsageError(f'{path}: requests are a JSON list of {{"what": TEXT, "why": TEXT, "count": N}}')
    return found
