"""How soon, and how rightly, the drift watch speaks: on play as in training it should not, on looks that blind it must.

A look hurts when the shipped detector keeps at most half of the score under it, is harmless at nine tenths;
what lies between may be called either.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from benchmarks.record import middle
from benchmarks.shift import idle_score
from benchmarks.speed import one_core
from envs.visual_shifts import MOVING, STATIC
from perception.drift import FAILING, LOOK, OK, Watch
from triune.console import Console
from triune.errors import TriuneError
from triune.play.loop import Rollout
from triune.system import System

HURT, HARMLESS = 0.5, 0.9
PLAIN = tuple(range(20, 40))  # training seeds, none of those that the ranges were measured on
LOOKED = (20,)
STEPS = 1000  # of a game
TURNS, TURN, FIRST_SEED = 400, LOOK, 600  # of the cost: turns a side, steps a turn, first training seed
Say = Callable[[str], None]


def measure(
    systems: Sequence[System], plain: Iterable[int] = PLAIN,
    looked: Sequence[int] = LOOKED, looks: Sequence[str] = (*STATIC, *MOVING), steps: int = STEPS, say: Say = print,
) -> dict[str, Any]:  # fmt: skip
    """Per task: games as in training (level of each), looks (share of the score kept, alarms), cost (share of a
    step) and its 95 % interval. TriuneError without ranges."""
    seeds = list(plain)
    tasks = {s.name: _task(s, idle_score(s), seeds, looked, looks, steps, say) for s in systems}
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
    ranges = system.ranges()
    watch = Watch(ranges) if ranges else None
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
    share, *interval = cost(system, watch)
    say(f"  cost {100 * share:.1f} % of a step ({100 * interval[0]:.1f} to {100 * interval[1]:.1f} %)")
    return {"plain": games, "usual": usual, "looks": found, "cost": share, "interval": interval}


def cost(system: System, watch: Watch, turns: int = TURNS) -> list[float]:
    """Share of a step that the watch takes, and its 95 % interval: the same games with and without it, in turns, each
    compared with the one beside it."""
    times: tuple[list[float], list[float]] = ([], [])
    with one_core(), Rollout(system) as one, Rollout(system) as other:
        sides = _steps(one, watch), _steps(other, None)
        for i in range(-1, turns):  # the first turn is to warm up
            for k in (i % 2, 1 - i % 2):
                began = time.perf_counter()
                for _ in itertools.islice(sides[k], TURN):
                    pass
                times[k].append(time.perf_counter() - began)
    return [round(1 - 1 / ratio, 4) for ratio in middle(times[0][1:], times[1][1:])]


def _steps(rollout: Rollout, watch: Watch | None) -> Iterator[None]:
    """Game after game, a step at a time."""
    for seed in itertools.count(FIRST_SEED):
        if watch:
            watch.start()
        for step in itertools.islice(rollout.episode(seed), STEPS):
            if watch:
                watch.see(step.frame, step.scene.vector)
            yield


def _row(games: list[dict[str, Any]], base: float, lowest: float) -> dict[str, Any]:
    """One look. `since`: step of each alarm, the latest of the games; a level that one game lacks is left out."""
    kept = (sum(game["score"] for game in games) / len(games) - lowest) / base
    effect = "hurts" if kept <= HURT else "harmless" if kept >= HARMLESS else "between"
    levels = set.intersection(*(set(game["since"]) for game in games))
    since = {level: max(game["since"][level] for game in games) for level in sorted(levels)}
    level = FAILING if FAILING in since else next(iter(since), OK)
    return {"kept": round(kept, 3), "effect": effect, "level": level, "since": since, "words": games[0]["words"]}


def _play(rollout: Rollout, watch: Watch, seed: int, limit: int) -> dict[str, Any]:
    """One game."""
    watch.start()
    for step in itertools.islice(rollout.episode(seed), limit):
        watch.see(step.frame, step.scene.vector)
    return {"seed": seed, "score": rollout.outcome().score, **watch.report()}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Of `triune bench drift`."""
    parser.add_argument("task", nargs="?", help="default: the whole zoo")


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Payload: the measurement."""
    from envs.spec import task_names
    from triune.system import load

    systems = [load(task) for task in ([args.task] if args.task else task_names())]
    found = measure(systems, say=console.say)
    console.say(f"false alarms {found['false_alarms']} in {found['plain_games']} games as in training")
    console.say(f"failing detector found {found['hurting_called_failing']} of {found['hurting']} looks that hurt")
    console.say(f"called failing {found['harmless_called_failing']} of {found['harmless']} looks that do not")
    console.say(f"cost {100 * found['cost']:.1f} % of a step")
    return found
