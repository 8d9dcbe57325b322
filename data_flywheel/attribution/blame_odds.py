"""Whose failure it probably was, from signs alone: one linear model for each party, the odds of all four add up to 1.

Knows: the signs and their weights (`blame_odds.json`; `triune bench blame --fit` fits them on planted faults of seeds
0-399). Does not know: how signs are measured (data_flywheel.blame_signs), any game.

A weight is the change in a party's log-odds for one unit of a sign as `scaled` gives it; nothing else enters, so that
a verdict can be checked by hand.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_flywheel.attribution.blame_signs import SIGNS
from data_flywheel.attribution.verdict import PARTIES, Failure, Verdict

FILE = Path(__file__).with_suffix(".json")
CAPS = {"gap": 12.0, "miss": 40.0, "unanswered": 10.0}  # where more says no more; shares end at 1
HELD = 3e-4  # L2 penalty a fault: keeps weights finite where planted faults can be told apart exactly
TOLD = 3  # signs named in the evidence
EDGES = (0.0, 0.6, 0.8, 0.95, 1.0)  # of the ranges of odds whose reliability is told

Weights = Mapping[str, Mapping[str, float]]


def scaled(signs: Mapping[str, float]) -> dict[str, float]:
    """Signs from 0 to 1, with `bias` 1."""
    return {"bias": 1.0} | {name: min(max(signs[name] / CAPS.get(name, 1.0), 0.0), 1.0) for name in SIGNS}


@cache
def weights() -> Weights:
    """The fitted weights of each party."""
    told: Weights = json.loads(FILE.read_text(encoding="utf-8"))
    return told


def estimate(failure: Failure, signs: Mapping[str, float], by: Weights | None = None) -> Verdict:
    """The likeliest party, with the odds of each and the signs that weighed most for it."""
    model, x = by or weights(), scaled(signs)
    said = np.array([sum(model[party][n] * v for n, v in x.items()) for party in PARTIES])
    share = np.exp(said - said.max())
    odds = dict(zip(PARTIES, (share / share.sum()).tolist(), strict=True))
    who = max(PARTIES, key=lambda party: odds[party])
    evidence = tuple(f"{n} {signs[n]:.2f} ({SIGNS[n]})" for n in _weightiest(model, x, who))
    return Verdict(who, "estimate", failure, evidence, dict(signs), odds)


def _weightiest(model: Weights, x: Mapping[str, float], who: str) -> list[str]:
    """The signs that speak most for `who`: by being there, or by not being there where they would speak for others."""
    lean = {n: model[who][n] - float(np.mean([model[party][n] for party in PARTIES])) for n in SIGNS}
    speaks = {n: v * x[n] if v > 0 else -v * (1 - x[n]) for n, v in lean.items()}
    return sorted(SIGNS, key=lambda n: -speaks[n])[:TOLD]


def fit(signs: Sequence[Mapping[str, float]], truths: Sequence[str]) -> dict[str, dict[str, float]]:
    """Weights from planted faults, by Newton's method."""
    names = ["bias", *SIGNS]
    x = np.array([[scaled(s)[n] for n in names] for s in signs])
    y = np.array([[truth == party for party in PARTIES] for truth in truths], float)
    made = _newton(x, y)
    return {p: {n: round(float(w), 3) for n, w in zip(names, made[:, k], strict=True)} for k, p in enumerate(PARTIES)}


def _newton(x: NDArray[np.float64], y: NDArray[np.float64], rounds: int = 60) -> NDArray[np.float64]:
    """float64[signs, parties]: the most likely weights, held by HELD; the bias is nearly free."""
    n, k = x.shape[1], y.shape[1]
    w, held = np.zeros((n, k)), np.full((n, k), HELD * len(y))
    held[0] = 1e-3
    for _ in range(rounds):
        p = _shares(x @ w)
        slope = x.T @ (p - y) + held * w
        bend = np.diag(held.ravel())
        for a in range(k):
            for b in range(k):
                part = x.T @ (x * (p[:, a] * ((a == b) - p[:, b]))[:, None])
                bend[a::k, b::k] += part
        step = np.linalg.solve(bend, slope.ravel()).reshape(n, k)
        w = w - step * min(1.0, 4.0 / max(float(np.abs(step).max()), 1e-9))  # a far step is not to be believed
    return w


def _shares(said: NDArray[np.float64]) -> NDArray[np.float64]:
    share = np.exp(said - said.max(1, keepdims=True))
    return np.asarray(share / share.sum(1, keepdims=True))


def reliability(verdicts: Sequence[tuple[float, bool]]) -> list[dict[str, float]]:
    """Stated odds beside how often they came true, per range of odds: is 90 % right nine times in ten?"""
    rows = []
    for low, high in zip(EDGES, EDGES[1:], strict=False):
        part = [(p, right) for p, right in verdicts if low < p <= high]
        if part:
            said, came = (float(np.mean([pair[i] for pair in part])) for i in (0, 1))
            rows.append({"from": low, "to": high, "n": len(part), "said": round(said, 3), "came_true": round(came, 3)})
    return rows
