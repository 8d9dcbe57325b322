"""`triune curate POOL --frames K --out FOLDER`: choose the frames of recorded play that are most worth a label.

Of a camera's task, `triune curate TASK`: of all pictures recorded for it that have no label yet.
"""

from __future__ import annotations

import argparse
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from envs.env import simulated
from envs.repeat import command_line
from envs.spec import load_spec
from triune.commands import common
from triune.commands.labels import add_recordings, open_films, open_labels
from triune.console import Console, table
from triune.errors import UsageError

FRAMES = 60
BESIDE = 3  # pictures on either side of where a rule steps in, or out, that are worth a look too

if TYPE_CHECKING:
    from collections.abc import Iterator

    from data_flywheel.datasets.curation import Pool
    from data_flywheel.datasets.frozen import FrozenSet
    from triune.system import System


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Pool, how many, where to."""
    common.add_trust(parser)
    parser.add_argument("pool", help="a data set, a folder of recorded episodes, or a camera's task")
    parser.add_argument(
        "--frames", type=common.positive, default=FRAMES, metavar="K", help=f"how many to choose, default {FRAMES}"
    )
    parser.add_argument(
        "--out", metavar="FOLDER", help="an empty folder for the choice and its reasons (default: under runs/curated)"
    )
    parser.add_argument("--task", metavar="T", help="default: the task that the pool names")
    parser.add_argument(
        "--requests", metavar="FILE",
        help="what the supervisor asks for: a list of {what, why, count} in JSON, or the folder of an improve run",
    )  # fmt: skip
    parser.add_argument(
        "--frozen", metavar="FILE", help="pictures never to touch, besides the test split (default runs/frozen/TASK)"
    )
    parser.add_argument(
        "--flag", action="append", default=[], metavar="A[:B]",
        help="of a camera: pictures of the film that somebody found wrong, by number (may be repeated)",
    )  # fmt: skip
    add_recordings(parser)
    parser.add_argument("--labels", metavar="FOLDER", help="of a camera: where labels are kept")


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Payload: frames chosen, per cause, left out with reasons, requests, content hash, folder."""
    from data_flywheel.datasets.curation import build, choose, write
    from data_flywheel.datasets.frozen import FrozenSet
    from data_flywheel.labels.frames import DatasetFrames, open_frames

    filmed = _camera(args)
    args.task = args.task or (args.pool if filmed else task_of(Path(args.pool)))
    system = common.load_system(args)
    if not filmed and (args.flag or args.recording or args.labels):
        raise UsageError("--flag, --recording and --labels are for a camera's task: triune curate TASK")
    requests = read_requests(Path(args.requests)) if args.requests else []
    frames: DatasetFrames | list[str]
    taken: list[int] = []
    wanted: list[int] = []
    if filmed:
        pool, taken, wanted, frames = _of_films(system, args, console)
    else:
        source = open_frames(args.pool, system.spec)
        console.log(f"looking at {args.pool}")
        pool = build(system.schema, source, system.detector().look)
        frames = source if isinstance(source, DatasetFrames) else [str(source.folder)]
    frozen = frozen_set(system.name, args.frozen)
    if not simulated(system.spec.env) and not isinstance(frames, DatasetFrames):
        frozen |= FrozenSet(films=True)
    selection = choose(pool, args.frames, frozen, taken, requests, wanted=wanted)
    about = {"pool": str(args.pool), "frames": args.frames, "eyes": system.hashes()["eyes"]}
    args.out = args.out or str(_new_folder(system.name))
    record = write(selection, pool, frames, frozen, args.out, system.name, about)
    console.say(table([[cause, str(n)] for cause, n in selection.counts.items()], ["cause", "frames"], {1}))
    for reason, count in selection.left_out.items():
        console.say(f"left out   {count} {reason}")
    for told in selection.requests:
        fit = f"{told['fit']} frames fit, {told['taken']} taken" if told["fit"] else "not understood, or nothing fits"
        console.say(f"request    {told['what'][:60]}: {fit}")
    console.say(f"chosen     {len(selection.choices)} of {len(pool)}; {args.out}, version {selection.version[:12]}")
    if filmed:
        console.say(f"next       {command_line('review', system.called, queue=Path(args.out) / record['queue'])}")
    del record["chosen"]
    return {**record, "folder": args.out, "count": len(selection.choices), "pool_frames": len(pool)}


def _camera(args: argparse.Namespace) -> bool:
    """Whether a camera's task is named, not a folder of play."""
    folder = Path(args.pool)
    return (folder / "system.toml").is_file() and not simulated(load_spec(folder.resolve()).env)


def _new_folder(task: str) -> Path:
    """A name for a new choice."""
    numbers = (Path("runs") / "curated" / f"{task}-{n}" for n in range(1, 10**6))
    return next(folder for folder in numbers if not folder.exists())


def _of_films(
    system: System, args: argparse.Namespace, console: Console
) -> tuple[Pool, list[int], list[int], list[str]]:  # fmt: skip
    """Every recorded picture, looked at and decided on anew; the rows that are labelled; those that are flagged; the
    folders of the pictures. Where a rule begins or ends to overrule is what a loss is in a game: `failure window`."""
    from data_flywheel.datasets.curation import Row, pool_of, thumbnail
    from triune.play.loop import Pipeline

    flagged = _flagged(args.flag)
    films, store = open_films(system, args.recording, console), open_labels(system, args.labels, console)
    total, asked = sum(len(p.numbers) for p in films.pieces.values()), set[tuple[str, int]]()

    def rows() -> Iterator[Row]:
        done = 0
        with closing(system.controller()) as controller:
            player = Pipeline(system.schema, system.detector(), controller)
            for piece in films.pieces.values():
                player.reset()
                found, turns, before = list[tuple[Any, ...]](), list[int](), False
                for step, number in enumerate(piece.numbers):
                    ref = films.ref(piece.name, step)
                    frame = films.rgb(ref)
                    overruled = bool(player.act(frame)[1].overruled_by)
                    turns += [step] if overruled != before else []
                    before = overruled
                    asked.update([(piece.name, step)] if number in flagged else [])
                    found.append((ref, player.seen.copy(), thumbnail(frame, system.schema.crop)))
                    done += 1
                    console.progress(done, total, f"{done} of {total} pictures")
                for step, row in enumerate(found):
                    away = min((abs(step - turn) for turn in turns), default=BESIDE + 1)
                    yield (*row, step > 0, max(0.0, 1 - away / (BESIDE + 1)))

    pool = pool_of(system.schema, rows())
    console.clear()
    labelled = {(ref.episode, ref.step) for ref in store.frames()}
    taken, wanted = (
        [row for row, ref in enumerate(pool.refs) if (ref.episode, ref.step) in these] for these in (labelled, asked)
    )
    console.log(f"looked at  {len(pool)} pictures, {len(taken)} of them labelled already")
    return pool, taken, wanted, [str(folder) for folder in films.folders]


def _flagged(words: list[str]) -> set[int]:
    """Numbers of pictures; UsageError for what is none."""
    found = set[int]()
    for word in words:
        first, _, last = word.partition(":")
        if not first.isdigit() or not (last or "0").isdigit() or len(word) > 20:
            raise UsageError(f"--flag {word!r} is no number of a picture, and no A:B")
        found |= set(range(int(first), min(int(last or first), int(first) + 10**6) + 1))
    return found


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
