"""The drift watch of a task: its ranges, measured at play and found again beside the weights they are of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data_flywheel.episodes.films import pictures, pieces
from data_flywheel.errors import DataError
from envs.env import protocols_of
from envs.repeat import command_line
from logic.runtime.tracker import Tracker
from perception.drift import CHANGED, FAILING, OK, Gauge, save, scene_names, scene_parts
from triune.play.loop import Rollout, Step, Wander
from triune.system import sha256

if TYPE_CHECKING:
    from triune.system import System

# Protocol -> training seeds of games: by the policy, and at random, since a weak policy also plays in training.
PLAY = {"sticky": (0, 1, 2, 3, 4, 5), "seed-sticky": (6, 7)}
RANDOM = {"sticky": (10, 11, 12, 13), "seed-sticky": (14, 15)}
LONGEST = 6000  # steps of a game
Progress = Callable[[int, int], None]
Seeds = tuple[int, ...]


def measure(system: System, steps: int = LONGEST, progress: Progress | None = None) -> Path:
    """Play training seeds with the present detector, at most `steps` of each game, and write the ranges; the file."""
    gauge, done = Gauge(scene_parts(system.schema)), 0
    games = {kind: _games(system, seeds) for kind, seeds in (("policy", PLAY), ("random", RANDOM))}
    jobs = [(kind, protocol, seeds) for kind, found in games.items() for protocol, seeds in found.items()]
    total = sum(len(seeds) for _, _, seeds in jobs)
    for kind, protocol, seeds in jobs:
        with Rollout(system, protocol) as rollout:
            for seed in seeds:
                gauge.start()
                for step in _game(rollout, seed, steps, at_random=kind == "random"):
                    gauge.see(step.frame, step.scene.vector)
                done += 1
                if progress:
                    progress(done, total)
    save(gauge.ranges(), system.ranges_path, sha256(system.weights()), games)
    return system.ranges_path


def measure_film(system: System, recording: Path, progress: Progress | None = None) -> Path:
    """The same of a camera's task, from what was recorded of it; DataError where that is nothing. How often a thing is
    there has no range: what passes by is not the camera's doing."""
    parts = scene_parts(system.schema)
    gauge, detector, tracker = Gauge(parts), system.detector(), Tracker(system.schema)
    there = pieces(recording)
    if not there:
        raise DataError(f"{recording} holds no film; record some: {command_line('record', system.called)} --source S")
    done, before = 0, None
    for piece, step, frame in pictures(recording):
        follows = before is not None and before.source == piece.source and before.size == piece.size
        if before is not piece and not (follows and before and piece.numbers[:1] == (before.numbers[-1] + 1,)):
            gauge.start()
            detector.reset()
            tracker.reset()
        before = piece
        gauge.see(frame, tracker.update(detector.see(frame)).copy())
        done += not step
        if progress:
            progress(done, len(there))
    ranges = gauge.ranges()
    names = scene_names(parts)
    ranges["eyes"] = [
        None if stat == "presence" else ends for (_, stat, _), ends in zip(names, ranges["eyes"], strict=True)
    ]
    play = {"film": sorted({piece.source for piece in there})}
    save(ranges, system.ranges_path, sha256(system.weights()), play)
    return system.ranges_path


def _games(system: System, wanted: Mapping[str, Seeds]) -> dict[str, Seeds]:
    """Protocol -> seeds, of the protocols that the task's backend has; all of them under its own where it has none."""
    known = protocols_of(system.spec.env)
    found = {protocol: seeds for protocol, seeds in wanted.items() if protocol in known}
    return found or {system.protocol().name: tuple(seed for seeds in wanted.values() for seed in seeds)}


def _game(rollout: Rollout, seed: int, limit: int, at_random: bool) -> Iterator[Step]:
    """A game by the policy, or one at random, in which an act lasts a few steps."""
    wander = Wander(rollout.system.spec.env.actions, np.random.default_rng(seed))
    for step in rollout.episode(seed, limit=limit):
        yield step
        if at_random:
            wander.steer(step)


def together(reports: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Reports of several games as one: the worst level, games per level, step and words of the first alarm of it."""
    if not reports:
        return {}
    games = {level: sum(r["level"] == level for r in reports) for level in (OK, CHANGED, FAILING)}
    level = next((level for level in (FAILING, CHANGED) if games[level]), OK)
    worst = min((r for r in reports if r["level"] == level), key=lambda r: r["since"].get(level, 0))
    return {"level": level, "games": games, "since": worst["since"], "words": worst["words"]}


def warning(report: Mapping[str, Any], task: str, shift: str | None) -> str:
    """One line for people about a report, "" when there is nothing to say."""
    if not report.get("since"):
        return ""
    level = report["level"]
    step = report["since"][level]
    what = "; ".join(report["words"][:3]) or "statistics are out of range"
    command = command_line("flywheel", task, shift=shift)
    advice = f"the detector is failing: run `{command}`" if level == FAILING else "the detector still sees as it did"
    return f"drift: {what} (since step {step}; {advice})"
