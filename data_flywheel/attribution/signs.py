"""What a record alone says about a failure, and the odds of each party that follow from it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_flywheel.attribution.verdict import PARTIES, Failure, Verdict
from data_flywheel.episodes.episode import Episode
from data_flywheel.labelers import motion
from data_flywheel.labelers.motion import Floats, Motion, Prior
from perception.scene import SLOT, SceneSchema

# ----------------------------------------------------------------------------------------------------
# What a record alone says about a failure: signs that the detector was wrong, signs that the policy was.


SPAN = 80  # steps before the failure that are looked at
CROSSING = 40  # steps before it in which the meeting must have been
TOLERANCE = 3.0  # px between detector and motion
UNSURE = 0.6
MOST = 40.0  # px: farther is all the same
SIGNS = {
    "blind": "share of steps in which a thing that moves in the frames is not in the scene",
    "apart": "share of steps in which the scene has a thing elsewhere than the frames show it move",
    "gap": "px between scene and frames, median of the worst thing",
    "missing": "share of steps in which a thing is not seen, beyond what is usual",
    "doubt": "share of steps in which a thing is seen without certainty",
    "jumps": "share of steps in which a thing moves faster than it can",
    "unanswered": "how far our thing moved otherwise than it was told, in units of what is usual",
    "miss": "px by which our thing missed the other as the scenes tell it; 0: they say it was met",
    "strayed": "share of the last steps in which our thing was off the meeting place and did not go there",
    "odd": "share of steps in which the reference policy decides otherwise on the same scenes, recorded or corrected",
}


@dataclass(frozen=True)
class Habits:
    """What is usual: `known` places and sizes per slot; `own` and `other` slots (the thing that answers to actions, the
    one that flies), `axis` 0 x or 1 y along which `own` moves; `answer` float[A, A] px by the last two actions."""

    known: list[Prior]
    own: int
    other: int
    axis: int
    answer: Floats
    usual: float  # px a step that `own` moves otherwise than `answer` says
    missing: Floats  # share per slot


def habits(episodes: Sequence[Episode], schema: SceneSchema, shape: tuple[int, int], actions: int) -> Habits:
    """From recorded games in which detector and policy were sound."""
    scenes = np.concatenate([e.scenes for e in episodes])
    which = np.repeat(np.arange(len(episodes)), [len(e) for e in episodes])
    did = np.concatenate([e.actions for e in episodes]).astype(int)
    known = motion.priors(scenes, which, schema, shape)
    places = _places(scenes, schema)
    follows = (np.diff(which, n=2) == 0) & (which[2:] == which[:-2])
    best = (0.0, 0, 0)
    for k in range(len(known)):
        for axis in (0, 1):
            moved, asked = _moves(places[:, k, axis], did, follows)
            if len(moved) and moved.std() > 0.2:
                left = np.abs(moved - _table(moved, asked, actions)[tuple(asked.T)]).mean()
                best = max(best, (1.0 - left / np.abs(moved - moved.mean()).mean(), k, axis))
    _, own, axis = best
    moved, asked = _moves(places[:, own, axis], did, follows)
    answer = _table(moved, asked, actions)
    usual = float(np.abs(moved - answer[tuple(asked.T)]).mean())
    free = [k for k, p in enumerate(known) if p.fixed == (None, None) and k != own]
    other = free[0] if free else next(k for k in range(len(known) + 1) if k != own)
    missing = np.isnan(places[:, :, 0]).mean(0).astype(np.float32)
    return Habits(known, own, other, axis, answer, max(usual, 0.1), missing)


def _places(scenes: Floats, schema: SceneSchema) -> NDArray[np.float64]:
    """[T, slots, 2]: x, y of each slot; NaN where it is not seen."""
    rows = np.stack([scenes[:, start : start + SLOT] for _, start in motion.slots(schema)], 1).astype(np.float64)
    return np.where(rows[:, :, :1] > 0.5, rows[:, :, 1:3], np.nan)


def _moves(
    along: NDArray[np.float64], did: NDArray[np.int_], follows: NDArray[np.bool_]
) -> tuple[Floats, NDArray[np.int_]]:  # fmt: skip
    """Displacements float[M] and the last two actions int[M, 2] before each."""
    moved = np.diff(along)[1:]
    good = ~np.isnan(moved) & follows
    return moved[good].astype(np.float32), np.stack([did[:-2], did[1:-1]], 1)[good]


def _table(moved: Floats, asked: NDArray[np.int_], actions: int) -> Floats:
    total, n = np.zeros((actions, actions)), np.zeros((actions, actions))
    np.add.at(total, tuple(asked.T), moved)
    np.add.at(n, tuple(asked.T), 1)
    return (total / np.maximum(n, 1)).astype(np.float32)


def watch(frames: NDArray[np.uint8], usual: Habits, schema: SceneSchema) -> Motion:
    """What moves in frames uint8[N, H, W, 3] that follow each other."""
    return motion.label(frames, np.zeros(len(frames), np.int64), schema, usual.known)


def corrected(scenes: Floats, shown: Motion, at: int, schema: SceneSchema) -> Floats:
    """Recorded scenes float32[T, size] in which things are where the frames from step `at` on surely show them."""
    made, rows = scenes.copy(), slice(at, at + len(shown.scenes))
    for k, (_, start) in enumerate(motion.slots(schema)):
        part, sure = made[rows, start : start + SLOT], shown.trust[: len(made[rows]), k]
        part[sure] = shown.scenes[: len(part)][sure, start : start + SLOT]
    return made


def signs(
    episode: Episode, failure: Failure, shown: Motion, at: int, usual: Habits, schema: SceneSchema,
    odd: Sequence[NDArray[np.bool_]],
) -> dict[str, float]:  # fmt: skip
    """Values of SIGNS. `shown` is what the frames of steps `at`, `at` + 1 ... show; those after the failure help to
    tell the field from things. `odd` bool[T] each: where the reference decides otherwise."""
    end = failure.step + 1
    first = max(end - SPAN, at, failure.since, 0)
    part = slice(first, end)
    here = _places(episode.scenes[part], schema)
    seen, trust = _places(shown.scenes, schema)[first - at : end - at], shown.trust[first - at : end - at]
    away = np.abs(here - seen).max(2)
    told = trust & ~np.isnan(away)
    sure = np.stack([episode.scenes[part, start + 7] for _, start in motion.slots(schema)], 1)
    steps = np.abs(np.diff(here, axis=0)).max(2)
    of_each = list(zip(away.T, told.T, strict=True))
    fast = [s > p.speed + 1.0 for s, p in zip(steps.T, usual.known, strict=True)]
    return {
        "blind": _worst((trust & np.isnan(here[:, :, 0])).sum(0), trust.sum(0)),
        "apart": _worst((told & (away > TOLERANCE)).sum(0), told.sum(0)),
        "gap": max((float(np.median(a[t])) for a, t in of_each if t.sum() >= LEAST), default=0.0),
        "missing": float(np.maximum(np.isnan(here[:, :, 0]).mean(0) - usual.missing, 0.0).max()),
        "doubt": float(((sure > 0.02) & (sure < UNSURE)).mean(0).max()),
        "jumps": float(max(f.mean() for f in fast)),
        "unanswered": _unanswered(here[:, usual.own, usual.axis], episode.actions[part].astype(int), usual),
        **_meeting(here, episode.scenes[part], usual, schema),
        "odd": max(float(differs[part].mean()) for differs in odd),
    }  # fmt: skip


LEAST = 5  # trusted frames of a thing, below which nothing is said of it


def _worst(bad: NDArray[np.int_], of: NDArray[np.int_]) -> float:
    return float(max((b / n for b, n in zip(bad, of, strict=True) if n >= LEAST), default=0.0))


def _unanswered(along: NDArray[np.float64], did: NDArray[np.int_], usual: Habits) -> float:
    moved, asked = _moves(along, did, np.ones(max(len(did) - 2, 0), bool))
    if len(moved) < LEAST:
        return 1.0
    return float(np.abs(moved - usual.answer[tuple(asked.T)]).mean()) / usual.usual


def _meeting(here: NDArray[np.float64], scenes: Floats, usual: Habits, schema: SceneSchema) -> dict[str, float]:
    """`miss` and `strayed`: how the scenes tell the last meeting of our thing and the other."""
    own, other = here[-CROSSING:, usual.own], here[-CROSSING:, usual.other]
    across = np.abs(other[:, 1 - usual.axis] - own[:, 1 - usual.axis])
    if np.isnan(across).all():
        return {"miss": MOST, "strayed": 0.0}
    at = int(np.nanargmin(across))
    sizes = [usual.known[k].size[usual.axis] for k in (usual.own, usual.other)]
    reach = sum(sizes) / 2.0
    place = other[at, usual.axis]
    off = np.abs(own[: at + 1, usual.axis] - place)
    miss = min(max(float(off[-1]) - reach, 0.0), MOST)
    closer, outside = -np.diff(off), off[:-1] > reach
    strayed = (outside & ~(closer > 0.5))[-20:]
    return {"miss": miss, "strayed": float(strayed.mean()) if len(strayed) else 0.0}


# ----------------------------------------------------------------------------------------------------
# Whose failure it probably was, from signs alone: one linear model for each party, the odds of all four add up to
# 1.
#
# A weight is the change in a party's log-odds for one unit of a sign as `scaled` gives it; nothing else enters, so
# that a verdict can be checked by hand.


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
