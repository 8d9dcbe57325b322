"""The drift watch of a task: its ranges, measured at play and found again beside the weights they are of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from perception.drift import CHANGED, FAILING, OK, Gauge, save, scene_parts
from triune.play.loop import Rollout
from triune.system import sha256

if TYPE_CHECKING:
    from triune.system import System

# Protocol -> training seeds of games: by the policy, and at random, since a weak policy also plays in training.
PLAY = {"sticky": (0, 1, 2, 3, 4, 5), "seed-sticky": (6, 7)}
RANDOM = {"sticky": (10, 11, 12, 13), "seed-sticky": (14, 15)}
LONGEST = 6000  # steps of a game
Progress = Callable[[int, int], None]


def measure(system: System, steps: int = LONGEST, progress: Progress | None = None) -> Path:
    """Play training seeds with the present eyes, at most `steps` of each game, and write the ranges; the file."""
    gauge, done = Gauge(scene_parts(system.schema)), 0
    jobs = [(play, protocol) for play in (PLAY, RANDOM) for protocol in play]
    total = sum(len(play[protocol]) for play, protocol in jobs)
    for play, protocol in jobs:
        with Rollout(system, protocol) as rollout:
            for seed in play[protocol]:
                gauge.start()
                moments = _played(rollout, seed) if play is PLAY else _at_random(rollout, seed)
                for frame, vector in islice(moments, steps):
                    gauge.see(frame, vector)
                done += 1
                if progress:
                    progress(done, total)
    save(gauge.ranges(), system.ranges_path, sha256(system.eyes_path.read_bytes()), {"policy": PLAY, "random": RANDOM})
    return system.ranges_path


def _played(rollout: Rollout, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for step in rollout.episode(seed):
        yield step.frame, step.scene.vector


def _at_random(rollout: Rollout, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """An act lasts a few steps."""
    rng, env = np.random.default_rng(seed), rollout.env
    frame = env.reset(seed)
    rollout.eyes.reset()
    rollout.tracker.reset()
    left = action = 0
    while not env.done:
        yield frame, rollout.tracker.update(rollout.eyes.see(frame))
        if not left:
            left, action = int(rng.integers(1, 7)), int(rng.integers(len(rollout.system.spec.env.actions.names)))
        left -= 1
        frame = env.step(action)


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
    command = f"triune flywheel {task}" + (f" --shift {shift}" if shift else "")
    advice = f"the eyes are failing: run `{command}`" if level == FAILING else "the eyes still see as they did"
    return f"drift: {what} (since step {step}; {advice})"
