"""Games that a search plays: each paid for before, written down with its bill, and never played twice in a run.

Knows: seeds, the frames that may be spent, what earlier events of the run tell. Does not know: how candidates are
chosen. A search that was killed asks for the same games in the same order and is answered from the events until it has
caught up; what it counts as spent is the same then, so it also ends where it would have ended.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from supervisor.errors import SupervisorError
from supervisor.loop.budget import Budgets, BudgetSpent
from supervisor.loop.chain import Event
from supervisor.protocols import Arena, Score

TRIED, SHOWN = "tuner.tried", "evidence.episode"
WORST = -math.inf  # score of a game without one, and of a policy that cannot be played
CAUTION = 1.5  # a candidate's next games may take so much longer than its last


class Enough(Exception):
    """The search may spend no more."""


@dataclass(frozen=True)
class Candidate:
    """A policy text to be played; `key` is its sha256, `values` what it changes, by name."""

    key: str
    text: str
    values: Mapping[str, float]


class Games:
    """Scores by candidate and seed. `limit()`: frames that the search may spend in all, as far as is known by now."""

    def __init__(
        self, arena: Arena, budgets: Budgets, events: Iterable[Event], trial: int, seeds: Sequence[int],
        late: Callable[[], bool] = lambda: False,
    ) -> None:  # fmt: skip
        self.arena, self.budgets, self.trial, self.seeds, self.late = arena, budgets, trial, tuple(seeds), late
        self.limit: Callable[[], float] = lambda: math.inf
        self.found: dict[tuple[str, int], tuple[float, int]] = {}  # score, frames
        self.dead: dict[str, str] = {}  # what cannot be played, and why
        self.mine: set[tuple[str, int]] = set()  # on this trial's bill
        self.asked: dict[str, dict[int, int]] = {}  # frames of the games asked for so far
        self.paid = 0.0
        self.spent = 0.0
        for event in events:
            self._recall(event)

    def _recall(self, event: Event) -> None:
        data = event.data
        if event.kind == SHOWN:
            self.found[data["policy"], data["seed"]] = _number(data["score"]), data["frames"]
        elif event.kind == TRIED:
            for seed, score, frames in zip(data["seeds"], data["scores"], data["lengths"], strict=True):
                self.found[data["policy"], seed] = _number(score), frames
                if data["trial"] == self.trial:
                    self.mine.add((data["policy"], seed))
                    self.paid += frames
            if "defect" in data:
                self.dead[data["policy"]] = data["defect"]

    def length(self, key: str) -> float:
        """Mean frames of the games asked for; 0 when there is none."""
        asked = self.asked.get(key)
        return sum(asked.values()) / len(asked) if asked else 0.0

    def count(self) -> int:
        """Games asked for."""
        return sum(map(len, self.asked.values()))

    def play(self, candidate: Candidate, n: int) -> list[float]:
        """Scores on the first `n` seeds, each a number or WORST. Enough when they cost more than may be spent."""
        key = candidate.key
        wanted = [s for s in self.seeds[:n] if s not in self.asked.get(key, {})]
        if wanted and key not in self.dead:
            if self.spent + len(wanted) * (self.length(key) or self.spent / max(1, self.count())) > self.limit():
                raise Enough
            todo = [s for s in wanted if (key, s) not in self.found]
            if todo:
                self._play(candidate, todo)
        if key in self.dead:
            return [WORST] * n
        for seed in wanted:
            frames = self.found[key, seed][1]
            self.asked.setdefault(key, {})[seed] = frames
            self.spent += frames if (key, seed) in self.mine else 0.0
        return [self.found[key, s][0] for s in self.seeds[:n]]

    def _play(self, candidate: Candidate, todo: Sequence[int]) -> None:
        if self.late():
            raise Enough
        seen = [frames for (key, _), (_, frames) in self.found.items() if key == candidate.key]
        each = CAUTION * sum(seen) / len(seen) if seen else self.arena.frames_per_episode
        told: dict[str, Any] = {
            "trial": self.trial, "policy": candidate.key, "values": dict(candidate.values),
            "seeds": [], "scores": [], "lengths": [], "frames": 0,
        }  # fmt: skip
        try:
            reservation = self.budgets.reserve(f"{len(todo)} games of a candidate", steps=each * len(todo))
        except BudgetSpent as error:
            raise Enough from error
        with reservation:
            scores = self._scores(candidate, todo)
            if scores is None:
                told["defect"] = self.dead[candidate.key]
            else:
                told["seeds"], told["scores"] = [s.seed for s in scores], [_plain(s.score) for s in scores]
                told["lengths"], told["frames"] = [s.frames for s in scores], sum(s.frames for s in scores)
            reservation.settle(TRIED, told, steps=told["frames"])

    def _scores(self, candidate: Candidate, todo: Sequence[int]) -> list[Score] | None:
        """The games by seed; None for a candidate that cannot be played, which is then dead."""
        try:
            scores = sorted(self.arena.play(candidate.text, todo))
        except Exception:
            defects = self.arena.compile(candidate.text).defects
            if not defects:  # not the candidate's fault
                raise
            self.dead[candidate.key] = defects[0][:600]
            return None
        if [s.seed for s in scores] != sorted(todo):
            raise SupervisorError(f"not every one of the games {list(todo)} was played; look at the arena")
        for score in scores:
            self.found[candidate.key, score.seed] = _number(score.score), score.frames
            self.mine.add((candidate.key, score.seed))
        return scores


def _number(score: float | str) -> float:
    value = float(score)
    return value if math.isfinite(value) else WORST


def _plain(score: float) -> float | str:
    """JSON has no word for some numbers."""
    return score if math.isfinite(score) else str(score)
