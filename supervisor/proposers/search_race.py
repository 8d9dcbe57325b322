"""A race of candidates over the same seeds: few games for all, more for those that do well.

Knows: the leader, who may challenge it, when nothing is left to gain. Does not know: where candidates come from.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from supervisor import stats
from supervisor.proposers.search_games import WORST, Candidate, Games
from supervisor.proposers.search_space import Point, Space

RUNGS = (1, 2, 4, 8)  # games of a candidate by the time it is compared; each rung is for the better ones of the last
KEPT = 0.34  # of a batch, how many may challenge the leader


class Race:
    """The incumbent at the start, and the best that was found since. `refused`: sha256 of texts that lost already."""

    def __init__(
        self, space: Space, games: Games, refused: Collection[str] = (), rungs: Sequence[int] = RUNGS
    ) -> None:  # fmt: skip
        self.space, self.games, self.refused, self.rungs = space, games, refused, tuple(rungs)
        self.scores: dict[Point, list[float]] = {}
        self._made: dict[Point, Candidate] = {}
        self.start = self.leader = space.start
        self.grow(self.start, self.rungs[-1])

    def candidate(self, point: Point) -> Candidate:
        """Its text and values."""
        if point not in self._made:
            told = {self.space.names[i]: point[i] for i in self.space.changed(point)}
            self._made[point] = Candidate(self.space.key(point), self.space.policy(point), told)
        return self._made[point]

    def grow(self, point: Point, n: int) -> list[float]:
        """Scores on at least the first `n` seeds."""
        have = self.scores.get(point, [])
        if len(have) < n:
            have = self.scores[point] = self.games.play(self.candidate(point), n)
        return have

    def mean(self, point: Point, n: int | None = None) -> float:
        """Mean score of the first `n` games, or of all; WORST when one has none."""
        scores = self.scores[point][:n]
        return math.fsum(scores) / len(scores) if WORST not in scores else WORST

    def gain(self, point: Point, over: Point) -> float:
        """Mean difference on the seeds that both have played."""
        n = min(len(self.scores[point]), len(self.scores[over]))
        mine, other = self.mean(point, n), self.mean(over, n)
        return mine - other if mine != other else 0.0  # WORST both: no difference

    def challenge(self, point: Point) -> bool:
        """Play on as long as it is not behind the leader; ahead of it in the end, it takes its place."""
        if not self._keeps_up(point) or self.mean(point) <= self.mean(self.leader, self.rungs[-1]):
            return False
        self.leader = point
        return True

    def simplify(self, point: Point) -> bool:
        """The same for a point that needs fewer changes: a draw is enough."""
        if not self._keeps_up(point):
            return False
        self.leader = point
        return True

    def _keeps_up(self, point: Point) -> bool:
        if point in (self.leader, self.start) or self.candidate(point).key in self.refused:
            return False
        for n in self.rungs:
            self.grow(point, n)
            if self.mean(point, n) < self.mean(self.leader, n):
                return False
        return True

    def heat(self, points: Sequence[Point]) -> bool:
        """The first rung for all, the rest for the best of them. True when there is a new leader."""
        unique = list(dict.fromkeys(points))
        for point in unique:
            self.grow(point, self.rungs[0])
        best = sorted(unique, key=self.mean, reverse=True)[: math.ceil(KEPT * len(unique))]
        return any([self.challenge(point) for point in best])

    def differences(self, point: Point | None = None) -> list[float]:
        """Score minus the incumbent's, seed by seed."""
        scores = self.scores[self.leader if point is None else point]
        pairs = zip(scores, self.scores[self.start], strict=False)
        return [a - b if WORST not in (a, b) else 0.0 for a, b in pairs]

    def chance(self) -> float:
        """p-value of "the leader is no better than the incumbent"."""
        return 1.0 if self.leader == self.start else stats.p_greater(self.differences())

    def perfect(self) -> bool:
        """Whether a leader that is better than the incumbent scores the most that was ever seen in every game."""
        top = max(max(scores) for scores in self.scores.values())
        return self.leader != self.start and min(self.scores[self.leader]) == top
