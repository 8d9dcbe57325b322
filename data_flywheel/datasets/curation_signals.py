"""Why a frame may teach something: a score from 0 to 1 per frame and cause, read off what the eyes saw.

Knows: pools (`curation_pool.py`) and the words of a request. Does not know: labels, how many frames are wanted, what
is taken. Novelty has no score of its own here: it is the distance to what is taken, which the choice itself changes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_flywheel.datasets.curate import situations
from data_flywheel.datasets.curation_pool import F32, Pool

# As in the review queue (review_queue.REASONS), so that a choice can be looked at by people under the same names.
DOUBT, JUMP, RESIDUAL, NOVELTY, FAILURE, REQUEST = CAUSES = (
    "low sure", "disagreement", "tracker residual", "novelty", "failure window", "request",
)  # fmt: skip
# Words of a request that mean a word in the name of a situation.
_SAME = {
    "absent": ("missing", "lost", "gone", "vanish", "disappear", "unseen", "invisible"),
    "among": ("inside", "between", "within", "behind", "over"),
    "touches": ("touch", "near", "close", "hit", "contact", "bounce", "overlap", "reach"),
    "cut": ("clip", "partly", "half", "shrink", "small"),
    "edge": ("wall", "border", "side", "corner", "rim"),
}


@dataclass(frozen=True)
class Wish:
    """One request of the supervisor, `{what, why, count}`, and the frames it was understood to mean (float[N])."""

    what: str
    count: int
    scores: F32 = field(repr=False)

    @property
    def understood(self) -> bool:
        """Whether any frame of the pool fits."""
        return bool(self.scores.any())


def signals(pool: Pool, wishes: Sequence[Wish] = ()) -> dict[str, F32]:
    """Cause -> float32[N], 0 where nothing is to be said. Every cause is named; novelty is 1 everywhere."""
    asked = np.max([wish.scores for wish in wishes], 0) if wishes else np.zeros(len(pool))
    found = {
        DOUBT: np.maximum(_doubt(pool), _flips(pool)), JUMP: _jumps(pool), RESIDUAL: _residual(pool),
        NOVELTY: np.ones(len(pool)), FAILURE: pool.failing, REQUEST: asked,
    }  # fmt: skip
    return {cause: np.clip(scores, 0, 1).astype(np.float32) for cause, scores in found.items()}


def _slots(pool: Pool) -> list[tuple[F32, float]]:
    """Each slot's values [N, 8] and the top speed of its kind, px a step."""
    things = [(t, i) for t in pool.schema.things for i in range(t.count)]
    return [(pool.scenes[:, pool.schema.slot(t.name, i)], t.max_speed) for t, i in things]


def _doubt(pool: Pool) -> F32:
    """How near the least certain `sure` is to one half."""
    worst = np.zeros(len(pool), np.float32)
    for slot, _ in _slots(pool):
        worst = np.maximum(worst, 1 - np.abs(2 * np.clip(slot[:, 7], 0, 1) - 1))
    return worst


def _middle(pool: Pool) -> NDArray[np.bool_]:
    """Frames whose neighbours on both sides are here."""
    inside = pool.after.copy()
    inside[:-1] &= pool.after[1:]
    inside[-1:] = False
    return inside


def _flips(pool: Pool) -> F32:
    """1 where a thing is there, or not, for a single frame."""
    flipped = np.zeros(len(pool), bool)
    for slot, _ in _slots(pool):
        seen = slot[:, 0] > 0.5
        flipped[1:-1] |= (seen[1:-1] != seen[:-2]) & (seen[1:-1] != seen[2:])
    return (flipped & _middle(pool)).astype(np.float32)


def _jumps(pool: Pool) -> F32:
    """By how many top speeds a thing moved faster than it can, or how many cells of a grid came and went."""
    worst = np.zeros(len(pool), np.float32)
    for slot, speed in _slots(pool):
        both = (slot[1:, 0] > 0.5) & (slot[:-1, 0] > 0.5) & pool.after[1:]
        step = np.abs(np.diff(slot[:, 1:3], axis=0)).max(1)
        excess = np.where(both, (step - speed) / speed, 0)
        worst[1:] = np.maximum(worst[1:], excess)
        worst[:-1] = np.maximum(worst[:-1], excess)  # either of the two may be the wrong one
    for grid in pool.schema.grids:
        cells = pool.scenes[:, pool.schema.grid(grid.name)] > 0.5
        blink = (cells[1:-1] != cells[:-2]) & (cells[1:-1] != cells[2:])
        worst[1:-1] = np.maximum(worst[1:-1], blink.sum(1) / grid.rows * _middle(pool)[1:-1])
    return np.clip(worst, 0, 1)


def _residual(pool: Pool) -> F32:
    """Distance from where the last two frames say a thing would be, in top speeds."""
    worst = np.zeros(len(pool), np.float32)
    for slot, speed in _slots(pool):
        seen = slot[:, 0] > 0.5
        known = seen[2:] & seen[1:-1] & seen[:-2] & pool.after[2:] & pool.after[1:-1]
        away = np.abs(slot[2:, 1:3] - 2 * slot[1:-1, 1:3] + slot[:-2, 1:3]).max(1)
        worst[2:] = np.maximum(worst[2:], np.where(known, away / (2 * speed), 0))
    return worst


def understand(pool: Pool, requests: Sequence[Mapping[str, Any]]) -> list[Wish]:
    """What the supervisor's requests mean: steps of a seed that they name, or situations of the scene.

    A frame fits when it, or a neighbour (the eyes may miss the very thing that is asked for), shows the situation.
    """
    names = [set(situations(pool.schema, scene)) for scene in pool.scenes] if requests else []
    known = sorted(set().union(*names)) if names else []
    return [_understood(pool, request, names, known) for request in requests]


def _understood(pool: Pool, request: Mapping[str, Any], names: list[set[str]], known: list[str]) -> Wish:
    text = f"{request.get('what', '')} {request.get('why', '')}".lower()
    named = re.search(r"seed (\d+)\D{1,20}steps? (\d+)(?:\D{1,4}(\d+))?", text)
    scores = np.zeros(len(pool), np.float32)
    if named:
        seed, first = int(named[1]), int(named[2])
        last = int(named[3] or first)
        scores[:] = [ref.seed == seed and first <= ref.step <= last for ref in pool.refs]
    else:
        wanted = {name for name in known if _means(text, name)}
        hits = np.array([bool(wanted & found) for found in names], np.float32)
        scores[:] = hits
        follows = pool.after[1:]
        scores[1:] = np.maximum(scores[1:], 0.5 * hits[:-1] * follows)
        scores[:-1] = np.maximum(scores[:-1], 0.5 * hits[1:] * follows)
    return Wish(str(request.get("what", "")), int(request.get("count", 1)), scores)


def _means(text: str, situation: str) -> bool:
    """Whether every word of a situation, or one that means it, is in the text."""
    return all(any(w in text for w in (word, *_SAME.get(word, ()))) for word in situation.split())
