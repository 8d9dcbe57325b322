"""Candidates and their games: who has played what, who leads, when nothing is left to gain.

Knows: scores by point; all play the same seeds in the same order. Does not know: where candidates come from.
"""

from __future__ import annotations

import math
from collections.abc import Collection

from supervisor.gate import statistics as stats
from supervisor.proposers.search_games import WORST, Candidate, Games
from supervisor.proposers.search_space import Point, Space

FULL = 8  # games on which a candidate is compared with the incumbent


class Race:
    """The incumbent, which has played FULL games, and the best that is known. A text with its sha256 among `refused`
    cannot win."""

    def __init__(self, space: Space, games: Games, refused: Collection[str] = ()) -> None:
        self.space, self.games, self.refused = space, games, refused
        self.scores: dict[Point, list[float]] = {}
        self._made: dict[Point, Candidate] = {}
        self.start = self.leader = space.start
        self.grow(self.start, FULL)

    def candidate(self, point: Point) -> Candidate:
        """Its text and values."""
        if point not in self._made:
            told = {self.space.names[i]: point[i] for i in self.space.changed(point)}
            self._made[point] = Candidate(self.space.key(point), self.space.policy(point), told)
        return self._made[point]

    def may_win(self, point: Point) -> bool:
        """Whether the gate would look at it."""
        return point != self.start and self.candidate(point).key not in self.refused

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

    def frames(self, point: Point) -> float:
        """Of a game, on average; those of the incumbent for a point that has played none."""
        length = self.games.length
        return length(self.candidate(point).key) or length(self.candidate(self.start).key)

    def differences(self) -> list[float]:
        """The leader's score minus the incumbent's, seed by seed."""
        pairs = zip(self.scores[self.leader], self.scores[self.start], strict=False)
        return [a - b if WORST not in (a, b) else 0.0 for a, b in pairs]

    def gain(self) -> float:
        """Mean of the differences."""
        found = self.differences()
        return math.fsum(found) / len(found)

    def chance(self) -> float:
        """p-value of "the leader is no better than the incumbent"."""
        return 1.0 if self.leader == self.start else stats.p_greater(self.differences())

    def perfect(self) -> bool:
        """Whether a leader other than the incumbent has the highest score that was ever seen in each of FULL games."""
        top = max(max(scores) for scores in self.scores.values())
        scores = self.scores[self.leader]
        return self.leader != self.start and len(scores) >= FULL and min(scores) == top
