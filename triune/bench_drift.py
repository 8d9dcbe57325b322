"""How soon, and how rightly, the drift watch speaks: on play as in training it should not, on looks that blind it must.

Knows: what is played, what counts as right. Does not know how the watch decides. A look hurts when the shipped eyes
keep at most half of the score under it, and is harmless when they keep nine tenths; what lies between may be called
either.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from statistics import median
from typing import Any

from envs.looks import MOVING, STATIC
from perception.drift import EVERY, FAILING, OK, Watch
from triune.drift import watch_for
from triune.errors import TriuneError
from triune.rollout import Rollout
from triune.system import System

HURT, HARMLESS = 0.5, 0.9
PLAIN = tuple(range(20, 40))  # training seeds, none of those that the ranges were measured on
LOOKED = (20,)
STEPS = 1000  # of a game
Say = Callable[[str], None]


def measure(
    systems: Sequence[System], plain: Iterable[int] = PLAIN,
    looked: Sequence[int] = LOOKED, looks: Sequence[str] = (*STATIC, *MOVING), steps: int = STEPS, say: Say = print,
) -> dict[str, Any]:  # fmt: skip
    """Per task: games as in training (level of each), looks (share of the score kept, alarms), cost. TriuneError
    without ranges."""
    tasks = {system.name: _task(system, system.lowest, list(plain), looked, looks, steps, say) for system in systems}
    every = [row for task in tasks.values() for row in task["looks"].values()]
    hurting = [row for row in every if row["effect"] == "hurts"]
    games = [game for task in tasks.values() for game in task["plain"]]
    return {
        "tasks": tasks, "plain_games": len(games), "false_alarms": sum(game["level"] != OK for game in games),
        "hurting": len(hurting), "hurting_called_failing": sum(row["level"] == FAILING for row in hurting),
        "harmless": sum(row["effect"] == "harmless" for row in every),
        "harmless_called_failing": sum(row["level"] == FAILING for row in every if row["effect"] == "harmless"),
        "cost": max(task["cost"] for task in tasks.values()),
    }  # fmt: skip


def _task(
    system: System, lowest: float, plain: list[int], looked: Sequence[int], looks: Sequence[str], steps: int, say: Say
) -> dict[str, Any]:
    watch = watch_for(system)
    if watch is None:
        raise TriuneError(f"{system.name} has no ranges; measure them: triune drift {system.name} --measure")
    with Rollout(system) as rollout:
        games = [_play(rollout, watch, seed, steps) for seed in plain]
        usual = [_play(rollout, watch, seed, steps) for seed in looked]
    say(f"{system.name}: {sum(g['level'] != OK for g in games)} false alarms in {len(games)} games")
    base = sum(game["score"] for game in usual) / len(usual) - lowest
    found = {}
    for look in looks:
        with Rollout(system, shift=look) as rollout:
            seen = [_play(rollout, watch, seed, steps) for seed in looked]
        found[look] = row = _row(seen, base, lowest)
        told = f"kept {row['kept']:5.2f}  {row['effect']:<9} {row['level']:<8} {row['since']}"
        say(f"  {look:<12} {told} {'; '.join(row['words'][:2])}")
    cost = median(g["watch_us"] for g in games) / EVERY / median(g["step_us"] for g in games)
    return {"plain": games, "usual": usual, "looks": found, "cost": round(cost, 4)}


def _row(games: list[dict[str, Any]], base: float, lowest: float) -> dict[str, Any]:
    """One look. `since`: step of each alarm, the latest of the games; a level that one game lacks is left out."""
    kept = (sum(game["score"] for game in games) / len(games) - lowest) / base
    effect = "hurts" if kept <= HURT else "harmless" if kept >= HARMLESS else "between"
    levels = set.intersection(*(set(game["since"]) for game in games))
    since = {level: max(game["since"][level] for game in games) for level in sorted(levels)}
    level = FAILING if FAILING in since else next(iter(since), OK)
    return {"kept": round(kept, 3), "effect": effect, "level": level, "since": since, "words": games[0]["words"]}


def _play(rollout: Rollout, watch: Watch, seed: int, limit: int) -> dict[str, Any]:
    """One game. Times are medians: of a step without the watch, and of the watch on a step that it samples."""
    watch.start()
    steps, samples, done = [], [], time.perf_counter()
    for step in rollout.episode(seed):
        if step.index == limit:
            break
        before = time.perf_counter()
        steps.append(before - done)
        watch.see(step.frame, step.scene.vector)
        done = time.perf_counter()
        if step.index % EVERY == 0:
            samples.append(done - before)
    timing = {"watch_us": round(1e6 * median(samples), 1), "step_us": round(1e6 * median(steps), 1)}
    return {"seed": seed, "score": rollout.sheet().score, **watch.report(), **timing}
