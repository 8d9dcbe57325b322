"""Which frames are worth a label: the strongest of every cause in turn, each far from all that is taken already.

Knows: pools, causes, quotas, and the frozen set that it never touches. Does not know: labels (they are read when the
chosen frames are written, never before), networks, how the frames are used. The same pool gives the same choice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_flywheel.datasets.curation_pool import F32, Pool
from data_flywheel.datasets.curation_signals import CAUSES, NOVELTY, signals, understand
from data_flywheel.datasets.frozen import FrozenSet
from data_flywheel.errors import DataError
from data_flywheel.storage.container import canonical_json

FLOOR = 0.05  # scores below say nothing
SAME = 0.01  # distance up to which two frames are the same picture of the same scene
REPEATED, ENOUGH = "same as a frame that is taken", "less telling"


@dataclass(frozen=True)
class Choice:
    """One frame and why. `row`: its place in the pool; `score`: of `cause`, 0 to 1; `also`: the other causes' scores.

    `apart`: distance to the nearest frame that was taken before it.
    """

    row: int
    episode: str
    step: int
    digest: str
    cause: str
    score: float
    apart: float
    also: dict[str, float]


@dataclass(frozen=True)
class Selection:
    """What was chosen, and what was not, by reason."""

    choices: tuple[Choice, ...]
    left_out: dict[str, int]
    requests: tuple[dict[str, Any], ...] = ()  # what, count, frames that fit, frames taken for it

    @property
    def counts(self) -> dict[str, int]:
        """Frames per cause, every cause named."""
        found = Counter(choice.cause for choice in self.choices)
        return {cause: found[cause] for cause in CAUSES}

    @property
    def version(self) -> str:
        """sha256 of the chosen pictures in order."""
        return sha256(canonical_json([[c.episode, c.step, c.digest] for c in self.choices]).encode()).hexdigest()

    def record(self) -> dict[str, Any]:
        """JSON form: the explanation of a data set."""
        chosen = [{k: v for k, v in asdict(c).items() if k != "row"} for c in self.choices]
        told = {"version": self.version, "causes": self.counts, "left_out": self.left_out}
        return {**told, "requests": list(self.requests), "chosen": chosen}


def choose(
    pool: Pool, frames: int, frozen: FrozenSet, taken: Sequence[int] = (), requests: Sequence[Mapping[str, Any]] = (),
    causes: Sequence[str] = CAUSES,
) -> Selection:  # fmt: skip
    """At most `frames` of the pool. Causes take turns, so that none drowns the rest; one that has nothing left passes.

    frozen: never touched, nor are the test split (its pictures, wherever they are) and seeds that must not teach.
    taken: rows that are labelled already, which are not chosen again and from which the choice keeps away.
    requests: the supervisor's, `{what, why, count}`.
    """
    if frames < 1:
        raise DataError(f"choose at least 1 frame, got {frames}")
    frozen |= FrozenSet.of(pool.refs)
    barred = [frozen.why_not(ref) for ref in pool.refs]
    left_out = Counter(reason for reason in barred if reason)
    open_ = np.array([not reason for reason in barred])
    wishes = understand(pool, requests)
    search = _Search(pool, open_, taken)
    found = signals(pool, wishes)
    choices = _in_turns(search, {cause: found[cause] for cause in causes}, frames)
    frozen.guard(pool.refs[choice.row] for choice in choices)
    left = search.open.sum()
    left_out |= Counter({REPEATED: search.repeated, ENOUGH: int(left)})
    rows = [c.row for c in choices if c.cause == "request"]
    told = [
        {"what": w.what, "count": w.count, "fit": int((w.scores > 0).sum()), "taken": int((w.scores[rows] > 0).sum())}
        for w in wishes
    ]
    return Selection(tuple(choices), {k: v for k, v in left_out.items() if v}, tuple(told))


def _in_turns(search: _Search, found: dict[str, F32], frames: int) -> list[Choice]:
    waiting = [cause for cause in found if (found[cause] >= FLOOR).any()]
    choices: list[Choice] = []
    while waiting and len(choices) < frames:
        for cause in list(waiting):
            row = search.best(found[cause]) if len(choices) < frames else -1
            if row < 0:
                if len(choices) < frames:
                    waiting.remove(cause)
                continue
            choices.append(_explained(search, row, cause, found))
            search.take(row)
    return choices


def _explained(search: _Search, row: int, cause: str, found: dict[str, F32]) -> Choice:
    ref, scores = search.pool.refs[row], {name: round(float(values[row]), 4) for name, values in found.items()}
    apart = round(float(search.away[row]), 4)
    also = {n: s for n, s in scores.items() if n not in (cause, NOVELTY) and s >= FLOOR}
    return Choice(row, ref.episode, ref.step, ref.digest, cause, scores[cause], apart, also)


class _Search:
    """Greedy k-center, weighted by a cause: the frame with the greatest score times distance to all that is taken."""

    def __init__(self, pool: Pool, open_: NDArray[np.bool_], taken: Sequence[int]) -> None:
        self.pool, self.open, self.repeated = pool, open_.copy(), 0
        self._where = pool.embedding()
        self._pictures = np.unique([ref.digest for ref in pool.refs], return_inverse=True)[1]
        middle = self._where[open_].mean(0) if open_.any() else 0
        self.away: F32 = np.sqrt(((self._where - middle) ** 2).sum(1))  # until something is taken: from the middle
        self._first = True
        for row in taken:
            self.take(row)
        self.repeated = 0

    def best(self, scores: F32) -> int:
        """Row of the frame to take next, -1 when no open one has anything to say."""
        gain = np.where(self.open & (scores >= FLOOR), scores * (self.away + 1e-6), -1)
        row = int(gain.argmax()) if len(gain) else -1
        return row if row >= 0 and gain[row] >= 0 else -1

    def take(self, row: int) -> None:
        """Close it and all that is the same."""
        away: F32 = np.sqrt(((self._where - self._where[row]) ** 2).sum(1))
        self.away = away if self._first else np.minimum(self.away, away)
        self._first = False
        same = self.open & ((away <= SAME) | (self._pictures == self._pictures[row]))
        same[row] = False
        self.repeated += int(same.sum())
        self.open &= ~same
        self.open[row] = False
