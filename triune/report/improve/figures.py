"""Figures of policies and trials: levels with intervals, paired differences, whether a prediction held."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from supervisor.gate import statistics as paired
from triune.play.evaluation import ci95
from triune.report.improve.record import ImproveRun, Trial

LEVEL = 0.025  # each side of a 95 % interval


class Estimate(NamedTuple):
    """A mean with its 95 % interval (NaN where n is too small for one) over `n` seeds."""

    mean: float
    low: float
    high: float
    n: int


class Pair(NamedTuple):
    """One seed, played by parent and child."""

    seed: int
    parent: float
    child: float

    @property
    def difference(self) -> float:
        """Child minus parent."""
        return self.child - self.parent


def level(run: ImproveRun, policy: str) -> Estimate | None:
    """Score of a policy over every gate seed it played, except those on which it was chosen: they flatter it."""
    return _once(run, ("level", policy), lambda: _level(run, policy))


def _level(run: ImproveRun, policy: str) -> Estimate | None:
    chosen = {s for t in run.trials.values() if policy in (t.won, t.child) for s in t.of.seeds.get("select", ())}
    played = {seed: score for seed, score in run.scores.get(policy, {}).items() if math.isfinite(score)}
    scores = [score for seed, score in played.items() if seed not in chosen] or list(played.values())
    if not scores:
        return None
    low, high = ci95(scores) if len(scores) > 1 else (math.nan, math.nan)
    return Estimate(float(np.mean(scores)), low, high, len(scores))


def pairs(run: ImproveRun, trial: Trial, role: str, child: str = "") -> list[Pair]:
    """Seeds of a block that both have played to a finite score, in the block's order."""
    old, new = run.scores.get(trial.parent, {}), run.scores.get(child or trial.child, {})
    both = [Pair(s, old[s], new[s]) for s in trial.of.seeds.get(role, ()) if s in old and s in new]
    return [p for p in both if math.isfinite(p.difference)]


def difference(found: Sequence[Pair]) -> Estimate | None:
    """Mean paired difference; the interval is the gate's, inverted from the sign-flip test."""
    if not found:
        return None
    values = [p.difference for p in found]
    low, high = paired.lower_bound(values, LEVEL), paired.upper_bound(values, LEVEL)
    finite = math.isfinite(low) and math.isfinite(high)
    return Estimate(float(np.mean(values)), low if finite else math.nan, high if finite else math.nan, len(values))


def decisive(run: ImproveRun, trial: Trial) -> list[Pair]:
    """The block that counts: the fresh one where there is one, since the first one chose the child."""
    return pairs(run, trial, "confirm") or pairs(run, trial, "select")


def headline(run: ImproveRun, trial: Trial) -> Estimate | None:
    """The mean difference on the decisive block."""
    return _once(run, ("headline", trial.number), lambda: difference(decisive(run, trial)))


def held(run: ImproveRun, trial: Trial) -> tuple[str, str]:
    """(yes | no | open | untested, in words): what the score says about the prediction; nothing else is measured."""
    found = headline(run, trial)
    if trial.kind == "accept":
        return "yes", "the score rose and was confirmed on fresh seeds"
    if found is None:
        return "untested", "it was stopped before it played"
    if trial.kind == "reject":
        return "no", "the score fell on these seeds" if found.mean < 0 else "the score did not rise enough to be shown"
    return "open", "the seeds played cannot tell"


def _once(run: ImproveRun, key: tuple[str, object], work: Callable[[], Estimate | None]) -> Estimate | None:
    if key not in run.memo:
        run.memo[key] = work()
    found: Estimate | None = run.memo[key]
    return found
