"""`triune lock`: keep a recorded moment, or a score floor, so that no change of the policy loses it unnoticed."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from envs.repeat import command_line
from triune.commands import common
from triune.console import Console, told_score
from triune.errors import TriuneError, UsageError

if TYPE_CHECKING:
    from data_flywheel.episodes.episode import Episode
    from logic.runtime.regression import FloorLock, Lock, ScenesLock
    from triune.system import System

AROUND = 8  # steps on either side of --step
MARGIN = 0.1  # of the score: how far below it --floor-auto sets the floor


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Task, episode, window or floor."""
    common.add_task(parser, trust=False)
    common.add_episode(parser)
    parser.add_argument("--from", dest="start", type=int, metavar="A", help="first step that must not change")
    parser.add_argument("--to", type=int, metavar="B", help="last one (included)")
    parser.add_argument("--step", type=int, metavar="N", help=f"instead: N and the {AROUND} steps on either side")
    parser.add_argument("--warmup", type=int, metavar="N", help="steps run before, not compared (default: enough)")
    parser.add_argument("--reasons", action="store_true", help="the reasons must not change either")
    parser.add_argument("--floor", type=common.finite, metavar="SCORE", help="lock this seed's score, not decisions")
    parser.add_argument("--floor-auto", action="store_true", help=f"the same, {MARGIN:.0%}% below the recorded score")
    parser.add_argument("--name", metavar="NAME", help="name of the lock's file (default: made from the moment)")
    parser.add_argument("--note", default="", metavar="TEXT", help="why it exists, in plain words")


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Payload: `lock` (name, kind, file, bytes and what it holds)."""
    from logic.runtime import regression as locks

    floor = args.floor is not None or args.floor_auto
    _check_usage(args, floor)
    system = common.load_system(args)
    from triune.play.evaluation import find_episode

    episode, where = find_episode(system, args.episode)
    _check_episode(system, episode, where)
    about = {
        "task": system.name, "protocol": episode.meta["protocol"], "note": " ".join(args.note.split()),
        "triune": _version(), "source": _source(episode, where),
    }  # fmt: skip
    lock = _floor(system, episode, args, about) if floor else _scenes(system, episode, args, about)
    path = locks.path_of(system.folder, lock.name)
    if path.exists():
        raise TriuneError(f"{path} exists; choose another --name, or remove it first")
    size = locks.write(lock, path, system.schema).stat().st_size
    payload = describe(lock) | {"file": str(path), "bytes": size}
    console.say(f"lock       {path} ({size / 1000:.1f} kB)")
    console.say(f"holds      {payload['holds']}")
    console.say(f"note       {lock.note or 'none; say with --note why it exists'}")
    return {"task": system.name, "lock": payload}


def describe(lock: Lock) -> dict[str, Any]:
    """A lock as JSON, without its scenes; `holds` is one line for people."""
    record = {"name": lock.name, "kind": lock.kind, "protocol": lock.protocol, "note": lock.note}
    if lock.kind == "floor":
        f: FloorLock = lock  # type: ignore[assignment]
        holds = f"seed {f.seed}, {f.protocol}: at least {told_score(f.floor)} (was {told_score(f.scored)})"
        return record | {"seed": f.seed, "floor": f.floor, "scored": f.scored, "eyes": f.detector, "holds": holds}
    s: ScenesLock = lock  # type: ignore[assignment]
    steps = s.compared
    what = "decisions and reasons" if s.reasons is not None else "decisions"
    holds = f"{len(steps)} {what}, steps {steps[0]} to {steps[-1]}, {s.protocol}, after {s.warmup} of warm-up"
    return record | {"from": steps[0], "to": steps[-1], "warmup": s.warmup, "reasons": s.reasons is not None,
                     "holds": holds}  # fmt: skip


def _check_usage(args: argparse.Namespace, floor: bool) -> None:
    """One kind of lock, and a whole window."""
    window = args.start is not None or args.to is not None
    if args.floor is not None and args.floor_auto:
        raise UsageError("give --floor SCORE or --floor-auto, not both")
    if floor and (window or args.step is not None or args.warmup is not None or args.reasons):
        raise UsageError("a floor locks a whole episode; make another lock for the steps")
    if floor:
        return
    if window and args.step is not None:
        raise UsageError("give --from and --to, or --step, not both")
    if not window and args.step is None:
        raise UsageError("say which steps: --from A --to B, or --step N (or lock the score: --floor-auto)")
    if window and (args.start is None or args.to is None or args.start > args.to):
        raise UsageError("a window needs --from A and --to B, A not after B")
    if args.warmup is not None and args.warmup < 0:
        raise UsageError(f"--warmup is a number of steps from 0, got {args.warmup}")


def _check_episode(system: System, episode: Episode, where: str) -> None:
    if not len(episode):
        raise TriuneError(f"{where} has no steps")
    if episode.meta.get("schema") != system.schema.fingerprint:
        raise TriuneError(f"{where} was recorded with another scene schema; play it again")
    now = system.hashes()
    kept = {"policy": "policy.py", "safety": "safety.py"} | ({"weights": "detector"} if episode.meta["weights"] else {})
    for key, file in kept.items():
        if episode.meta.get(key) != now["eyes" if key == "weights" else key]:
            what = {name: episode.meta[name] for name in ("protocol", "shift", "eyes")}
            again = command_line("eval", system.called, seeds=episode.meta["seed"], **what)
            raise TriuneError(f"{where}: another {file} than {system.folder} has now played; play it again: {again}")


def _source(episode: Episode, where: str) -> dict[str, Any]:
    """Where a lock came from."""
    from envs.files import read_file
    from triune.system import sha256

    known = {key: episode.meta.get(key) for key in ("seed", "eyes", "shift", "policy")}
    return {"episode": sha256(read_file(Path(where), "triune episode", TriuneError)), **known, "steps": len(episode)}


def _scenes(system: System, episode: Episode, args: argparse.Namespace, about: dict[str, Any]) -> ScenesLock:
    from logic.runtime.regression import Recording, make_scenes, recorded

    last = len(episode) - 1
    start, stop = (args.start, args.to) if args.step is None else (args.step - AROUND, args.step + AROUND)
    middle = args.step if args.step is not None else start
    if not (0 <= middle <= last and (args.step is not None or stop <= last)):
        raise UsageError(f"this episode has steps 0 to {last}")
    start, stop = max(0, start), min(last, stop)
    done = [recorded(system.spec.env.actions, action) for action in episode.actions]
    recording = Recording(episode.scenes, done, [episode.reason(i) for i in range(len(episode))])
    name = args.name or f"{_slug(episode.reason(middle)) or 'steps'}-{episode.meta['seed']}-{start}"
    controller = system.controller(episode.meta["protocol"])
    return make_scenes(recording, start, stop + 1, args.warmup, controller, args.reasons, name=name, **about)


def _floor(system: System, episode: Episode, args: argparse.Namespace, about: dict[str, Any]) -> FloorLock:
    from logic.runtime.regression import FloorLock

    meta = episode.meta
    if not meta.get("finished"):
        raise TriuneError("this episode was cut short; a floor needs one that was played to its end")
    scored = meta["score"]
    floor = args.floor if args.floor is not None else scored - max(1, round(abs(scored) * MARGIN))
    floor = int(floor) if isinstance(scored, int) and floor == int(floor) else floor
    if floor > scored:
        raise TriuneError(f"the floor {told_score(floor)} lies above what was scored, {told_score(scored)}")
    name = args.name or f"floor-{meta['protocol']}-{meta['seed']}"
    return FloorLock(
        name=name,
        seed=int(meta["seed"]),
        floor=floor,
        scored=scored,
        detector=meta["eyes"],
        shift=meta["shift"],
        **about,
    )


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:30].strip("-")


def _version() -> str:
    from triune.version import __version__

    return __version__
