"""Accepted policies that behave differently: what later questions may be about instead of the present policy.

A search that only ever goes on from its best ends where no single edit helps. An earlier policy that plays in another
way is kept (MAP-Elites keeps one elite a niche; here a niche is a distance) and asked about now and then. What comes of
it has to beat the present policy, like any child.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from data_flywheel.episodes.episode import Episode
from data_flywheel.storage.files import atomic_write
from supervisor.budget import BudgetSpent
from supervisor.loop import trial as stages
from supervisor.loop.parts import Run
from supervisor.loop.state import State, Trial

FILE, FORMAT = "archive.json", 1
APART = 0.1  # two policies that are nearer behave alike, and the later one stands for both


class Behaviour(NamedTuple):
    """How a policy plays, over its training games. Shares are of steps, `length` is in steps.

    `actions`: share of each named action, or of values below, at and above zero for each control. `switches`: steps
    with another action than the one before; `overruled`: steps at which a safety rule stepped in.
    """

    actions: tuple[tuple[float, ...], ...]
    switches: float
    overruled: float
    length: float
    score: float


def behaviour_of(episodes: Sequence[Episode]) -> Behaviour:
    """The mean over games, each game as much as any other."""
    made = [_one(episode) for episode in episodes]
    width = max(len(shares) for m in made for shares in m.actions)
    rows = [[np.pad(shares, (0, width - len(shares))) for shares in m.actions] for m in made]
    actions = tuple(tuple(np.round(row, 6).tolist()) for row in np.mean(rows, axis=0))
    rest = (round(float(np.mean([m[i] for m in made])), 6) for i in range(1, len(Behaviour._fields)))
    return Behaviour(actions, *rest)


def _one(episode: Episode) -> Behaviour:
    actions = np.asarray(episode.actions)
    if actions.ndim == 1:
        shares = [tuple((np.bincount(actions) / len(actions)).tolist())]
    else:
        shares = [tuple(float(np.mean(np.sign(column) == side)) for side in (-1, 0, 1)) for column in actions.T]
    changed = actions[1:] != actions[:-1]
    switched = changed if changed.ndim == 1 else changed.any(axis=1)
    overruled = float(np.mean(episode.overruled > 0))
    switches = float(np.mean(switched)) if len(switched) else 0.0
    return Behaviour(tuple(shares), switches, overruled, float(len(episode)), float(episode.meta["score"]))


def distance(one: Behaviour, two: Behaviour) -> float:
    """From 0 to 1: the largest difference of action shares (total variation), switching, overruling and length. The
    score does not count: two ways of playing may well score alike."""
    width = max(len(shares) for b in (one, two) for shares in b.actions)
    a, b = (np.array([np.pad(s, (0, width - len(s))) for s in x.actions]) for x in (one, two))
    longest = max(one.length, two.length, 1.0)
    parts = (one.switches - two.switches, one.overruled - two.overruled, (one.length - two.length) / longest)
    return max(float(np.abs(a - b).sum(axis=1).max() / 2), *map(abs, parts))


def kept(state: State) -> dict[str, Behaviour]:
    """The archive, newest first: every policy that was accepted, or that the run began with, and that none after it
    behaves like."""
    found: dict[str, Behaviour] = {}
    for policy in reversed(_accepted(state)):
        told = state.described.get(policy)
        if told is not None and policy not in found:
            mine = _read(told)
            if all(distance(mine, other) >= APART for other in found.values()):
                found[policy] = mine
    return found


def _accepted(state: State) -> list[str]:
    assert state.started is not None
    return [state.started["policy"], *(t.accepted["policy"] for t in state.trials if t.accepted)]


def _read(told: Mapping[str, Any]) -> Behaviour:
    plain = {name: told[name] for name in Behaviour._fields}
    return Behaviour(**plain | {"actions": tuple(map(tuple, told["actions"]))})


def due(state: State, trial: Trial) -> bool:
    """Whether the question of this trial is to be about a policy of the archive: a share of all questions, spread
    evenly."""
    share = float(state.setting("from_archive") or 0.0)
    if not share or trial.base != trial.parent or trial.request is not None or trial.race not in (None, trial.number):
        return False
    before = [t for t in state.trials if t.number <= trial.number and t.merged is None and t.race in (None, t.number)]
    return int(len(before) * share + 1e-9) > int((len(before) - 1) * share + 1e-9)


def choose(run: Run, trial: Trial) -> None:
    """Let the trial begin from the archive: from where fewest did, of those from what behaves least like the present
    policy. Nothing happens where nothing else is kept, or its games cannot be paid."""
    state = run.state
    try:
        for policy in dict.fromkeys(_accepted(state)):
            if policy not in state.described:
                episodes = stages.episodes_of(run, trial, policy, stages.training_seeds(run))
                told = behaviour_of(episodes)._asdict() | {"trial": trial.number, "policy": policy}
                run.meter.record("archive.described", told)
    except BudgetSpent as error:
        run.parts.say(f"not from the archive: {error}")
        return
    found = kept(state)
    begun = Counter(t.base for t in state.trials if t.base != t.parent)
    others = [policy for policy in found if policy != state.incumbent]
    if others:
        here = _read(state.described[state.incumbent])
        best = min(others, key=lambda policy: (begun[policy], -distance(found[policy], here)))
        run.meter.record("archive.chosen", {"trial": trial.number, "policy": best})
        stages.tell(run, trial, f"from the archive: r{state.revisions[best]:02d}, {_how(found[best], here)}")
    write(run)


def _how(one: Behaviour, other: Behaviour) -> str:
    return f"which differs by {distance(one, other):.2f} and scores {one.score:.4g} in training, not {other.score:.4g}"


def write(run: Run) -> None:
    """The archive as a file of the run, for whoever looks: it follows from the events."""
    state = run.state
    begun = Counter(t.base for t in state.trials if t.base != t.parent)
    rows = [
        {"policy": policy, "revision": f"r{state.revisions[policy]:02d}", "begun": begun[policy], **made._asdict()}
        for policy, made in kept(state).items()
    ]  # fmt: skip
    text = json.dumps({"format": FORMAT, "apart": APART, "policies": rows}, indent=1)
    atomic_write(run.parts.home / FILE, f"{text}\n".encode())
