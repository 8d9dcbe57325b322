"""Whose failure it probably was, from signs alone: two logistic models, one for the eyes and one for the policy.

Knows: the signs and their weights (`blame_odds.json`: set by hand from some twenty planted faults; `triune bench blame
--fit` fits them on faults of seeds 0-399). Does not know: how signs are measured (data_flywheel.blame_signs), any game.

A weight is the change in log-odds for one unit of a sign as `scaled` gives it; nothing else enters, so that a verdict
can be checked by hand. Eyes and policy may both be at fault, or neither: then it was the world.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_flywheel.blame import BOTH, EYES, PARTIES, REFLEXES, WORLD, Failure, Verdict
from data_flywheel.blame_signs import SIGNS

FILE = Path(__file__).with_suffix(".json")
CAPS = {"gap": 12.0, "miss": 40.0, "unanswered": 10.0}  # where more says no more; shares end at 1
HELD = 0.02  # L2 penalty a fault: keeps weights readable where planted faults can be told apart exactly
TOLD = 3  # signs named in the evidence
EDGES = (0.0, 0.6, 0.8, 0.95, 1.0)  # of the ranges of odds whose reliability is told

Weights = Mapping[str, Mapping[str, float]]


def scaled(signs: Mapping[str, float]) -> dict[str, float]:
    """Signs from 0 to 1, with `bias` 1."""
    return {"bias": 1.0} | {name: min(max(signs[name] / CAPS.get(name, 1.0), 0.0), 1.0) for name in SIGNS}


@cache
def weights() -> Weights:
    """The fitted weights of "eyes" and "reflexes"."""
    told: Weights = json.loads(FILE.read_text(encoding="utf-8"))
    return told


def estimate(failure: Failure, signs: Mapping[str, float], by: Weights | None = None) -> Verdict:
    """The likeliest party, with the odds of each and the signs that weighed most for it."""
    model, x = by or weights(), scaled(signs)
    p = {part: _logistic(sum(model[part][n] * v for n, v in x.items())) for part in (EYES, REFLEXES)}
    eyes, reflexes = p[EYES], p[REFLEXES]
    odds = {
        EYES: eyes * (1 - reflexes), REFLEXES: reflexes * (1 - eyes), BOTH: eyes * reflexes,
        WORLD: (1 - eyes) * (1 - reflexes),
    }  # fmt: skip
    who = max(PARTIES, key=lambda party: odds[party])
    evidence = tuple(f"{n} {signs[n]:.2f} ({SIGNS[n]})" for n in _weightiest(model, x, who))
    return Verdict(who, "estimate", failure, evidence, dict(signs), odds)


def _weightiest(model: Weights, x: Mapping[str, float], who: str) -> list[str]:
    """The signs that speak most for blaming who is blamed, then those whose absence clears who is not."""
    blamed = {EYES: (EYES,), REFLEXES: (REFLEXES,), BOTH: (EYES, REFLEXES), WORLD: ()}[who]
    shown = {n: sum(model[part][n] * x[n] for part in blamed) for n in SIGNS}
    cleared = [part for part in (EYES, REFLEXES) if part not in blamed]
    absent = {n: sum(model[part][n] * (1 - x[n]) for part in cleared) for n in SIGNS}
    first = sorted((n for n in SIGNS if shown[n] > 0), key=lambda n: -shown[n])[: TOLD - (len(blamed) < 2)]
    return (first + [n for n in sorted(SIGNS, key=lambda n: -absent[n]) if n not in first])[:TOLD]


def fit(signs: Sequence[Mapping[str, float]], truths: Sequence[str]) -> dict[str, dict[str, float]]:
    """Weights from planted faults, by Newton's method."""
    names = ["bias", *SIGNS]
    x = np.array([[scaled(s)[n] for n in names] for s in signs])
    made = {}
    for part in (EYES, REFLEXES):
        y = np.array([truth in (part, BOTH) for truth in truths], float)
        made[part] = {n: round(float(w), 3) for n, w in zip(names, _newton(x, y), strict=True)}
    return made


def _newton(x: NDArray[np.float64], y: NDArray[np.float64], rounds: int = 30) -> NDArray[np.float64]:
    w, held = np.zeros(x.shape[1]), HELD * len(y) * np.eye(x.shape[1]) / 2.0
    held[0, 0] = 1e-6  # the bias is free
    for _ in range(rounds):
        p = 1.0 / (1.0 + np.exp(-np.clip(x @ w, -30.0, 30.0)))
        slope = x.T @ (p - y) + held @ w
        w = w - np.linalg.solve(x.T @ (x * (p * (1 - p))[:, None]) + held, slope)
    return w


def _logistic(value: float) -> float:
    return 1.0 / (1.0 + math.exp(-min(max(value, -30.0), 30.0)))


def reliability(verdicts: Sequence[tuple[float, bool]]) -> list[dict[str, float]]:
    """Stated odds beside how often they came true, per range of odds: is 90 % right nine times in ten?"""
    rows = []
    for low, high in zip(EDGES, EDGES[1:], strict=False):
        part = [(p, right) for p, right in verdicts if low < p <= high]
        if part:
            said, came = (float(np.mean([pair[i] for pair in part])) for i in (0, 1))
            rows.append({"from": low, "to": high, "n": len(part), "said": round(said, 3), "came_true": round(came, 3)})
    return rows
