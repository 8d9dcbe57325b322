"""How often the gate lets equal children in, and better ones, over many trials of each kind of scores.

Knows: which kinds of scores are tried and how a share is bounded. Does not know where recorded scores lie. Every
trial draws its own scores from a stream named by kind and number: the same call gives the same figures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np

from benchmarks import gate_models as models
from benchmarks.gate_trial import Outcome, run_trial
from supervisor.gate.gate import Gate, GateConfig
from supervisor.gate.seeds import BLOCK, GATE, Role

DESIGN_EFFECT = 0.134  # what the gate's defaults are made to find (docs/gate.md)


@dataclass(frozen=True)
class Kind:
    """One kind of scores; `better` False where no child can be a tenth better."""

    name: str
    draw: models.Draw
    source: str = "synthetic"
    better: bool = True


class Row(NamedTuple):
    """Trials of one kind: how many were accepted, and the seeds each took on average."""

    trials: int
    accepted: int
    seeds: float

    def told(self) -> dict[str, Any]:
        """JSON-able, with the Clopper-Pearson interval of the share."""
        rate = self.accepted / self.trials if self.trials else None
        low, high = share_interval(self.accepted, self.trials)
        return {
            "trials": self.trials,
            "accepted": self.accepted,
            "rate": rate,
            "ci95": [low, high],
            "seeds": self.seeds,
        }


def synthetic() -> list[Kind]:
    """Kinds of scores that games show: skewed, near a ceiling, of two sides, heavy-tailed."""

    def skewed(ratio: float, shared: float, name: str) -> Kind:
        parent = models.gamma_scores(60.0, ratio)
        child = models.improved(lambda mean: models.gamma_scores(mean, ratio), 60.0, 90.0)
        return Kind(name, models.drawn(parent, child, shared))

    def ceiling(full: float) -> models.Scores:
        return models.ceiling_scores(full, models.gamma_scores(450.0, 0.4))

    tails = models.improved(lambda mean: models.lognormal_scores(mean, 1.0), 60.0, 90.0)
    return [
        skewed(0.45, 0.1, "skewed, spread 0.45 of the mean"),
        skewed(0.5, 0.0, "skewed, spread 0.5, no shared luck"),
        skewed(0.9, 0.8, "skewed, spread 0.9, much shared luck"),
        Kind("near the ceiling", models.drawn(ceiling(0.6), models.improved(ceiling, 0.6, 1.0), 0.2)),
        Kind("at the ceiling", models.drawn(ceiling(0.97), None, 0.0), better=False),
        Kind(
            "two sides, -21 to 21",
            models.drawn(models.pong_scores(0.4), models.improved(models.pong_scores, 0.4, 0.6, -21.0), 0.1),
        ),
        Kind("heavy tail, spread 1.0", models.drawn(models.lognormal_scores(60.0, 1.0), tails, 0.1)),
    ]


def trial(gate: Gate, kind: Kind, number: int, better: bool) -> Outcome:
    """Trial `number` of a kind."""
    stream = np.random.default_rng([crc32(kind.name.encode()), number, better])
    blocks = {
        "select": range(GATE.start, GATE.start + BLOCK),
        "confirm": range(GATE.start + BLOCK, GATE.start + 2 * BLOCK),
    }
    scores = dict(
        zip([*blocks["select"], *blocks["confirm"]], models.pairs(kind.draw, stream, 2 * BLOCK, better), strict=True)
    )

    def block(role: Role) -> range:
        return blocks[role]

    return run_trial(gate, lambda seeds: {s: scores[s] for s in seeds}, block)


def row(gate: Gate, kind: Kind, trials: int, better: bool, tick: Callable[[], object] = lambda: None) -> Row:
    """Judge so many children."""
    accepted = seeds = 0
    for number in range(trials):
        outcome = trial(gate, kind, number, better)
        accepted += outcome.verdict.kind == "accept"
        seeds += outcome.seeds
        tick()
    return Row(trials, accepted, round(seeds / trials, 1) if trials else 0.0)


def bench(
    kinds: Sequence[Kind], equal: int, better: int, config: GateConfig | None = None,
    tick: Callable[[], object] = lambda: None,
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """One row for each kind: `equal` equal and `better` better children each."""
    gate = Gate(config)
    for kind in kinds:
        told: dict[str, Any] = {"scores": kind.name, "source": kind.source}
        told["null"] = row(gate, kind, equal, False, tick).told()
        if kind.better:
            told["effect"] = round(models.effect(kind.draw), 4)
            told["better"] = row(gate, kind, better, True, tick).told()
        yield told


def total(rows: Sequence[Mapping[str, Any]], which: str) -> dict[str, Any]:
    """All trials of `which` ("null" or "better") together."""
    mine = [r[which] for r in rows if which in r]
    trials = sum(m["trials"] for m in mine)
    seeds = sum(m["seeds"] * m["trials"] for m in mine) / trials if trials else 0.0
    return Row(trials, sum(m["accepted"] for m in mine), round(seeds, 1)).told()


def share_interval(found: int, trials: int, level: float = 0.95) -> tuple[float, float]:
    """The Clopper-Pearson interval of a share: it covers at least `level`, whatever the share is."""
    if not trials:
        return 0.0, 1.0
    tail = (1 - level) / 2
    low = 0.0 if found == 0 else _root(lambda p: 1 - _at_most(found - 1, trials, p), tail)
    high = 1.0 if found == trials else _root(lambda p: 1 - _at_most(found, trials, p), 1 - tail)
    return round(low, 4), round(high, 4)


def _at_most(k: int, n: int, p: float) -> float:
    """Chance of at most `k` of `n`."""
    i = np.arange(k + 1)
    return float(np.exp(_ways(n)[: k + 1] + i * math.log(p) + (n - i) * math.log1p(-p)).sum())


@cache
def _ways(n: int) -> np.ndarray:
    """Logarithms of the binomial coefficients of n."""
    return np.array([math.lgamma(n + 1) - math.lgamma(j + 1) - math.lgamma(n - j + 1) for j in range(n + 1)])


def _root(rising: Callable[[float], float], value: float) -> float:
    """Where a rising function of (0, 1) takes `value`."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < value else (low, middle)
    return (low + high) / 2
