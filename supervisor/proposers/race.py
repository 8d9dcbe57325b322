"""Settings of a policy's constants, the games that they play as one stream, and a race on the same seeds."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from supervisor.budget import Budgets, BudgetSpent, Reservation
from supervisor.edits.tunables import Tunable, constants, with_constants
from supervisor.errors import SupervisorError
from supervisor.events import Event
from supervisor.evidence.context import places
from supervisor.gate import statistics as stats
from supervisor.protocols import Evaluator, Score

# ----------------------------------------------------------------------------------------------------
# The tunables of a policy as a box to search in.


GRAIN = 1000  # parts of a range that are told apart: more digits would be noise

Point = tuple[float, ...]  # one value for each tunable, in the order of the policy
Unit = Sequence[float]  # the same with every range stretched to [0, 1]; more entries mean nothing


class Space:
    """The box of one policy text."""

    def __init__(self, text: str) -> None:
        self.text = text
        found = {name: t for name, t in constants(text).items() if t.low < t.high}
        self.names = list(found)
        self.tunables: list[Tunable] = list(found.values())
        self.start: Point = tuple(t.value for t in self.tunables)

    def __len__(self) -> int:
        return len(self.names)

    def unit(self, point: Point) -> list[float]:
        """A point in the unit cube."""
        return [(v - t.low) / (t.high - t.low) for v, t in zip(point, self.tunables, strict=True)]

    def point(self, unit: Unit) -> Point:
        """The nearest point that is worth telling from others: whole where it must be, a few digits elsewhere."""
        return tuple(_rounded(t, float(u)) for u, t in zip(unit[: len(self)], self.tunables, strict=True))

    def moved(self, point: Point, changes: Mapping[int, float]) -> Point:
        """`point` with some values replaced, by index."""
        return tuple(changes.get(i, v) for i, v in enumerate(point))

    def levels(self, i: int, n: int, shift: float) -> list[float]:
        """`n` values over the range of tunable `i`, the first one `shift` (0 to 1) of a step from its low end."""
        made = [_rounded(self.tunables[i], (k + shift) / n) for k in range(n)]
        return [v for v in dict.fromkeys(made) if v != self.start[i]]

    def grain(self) -> list[float]:
        """Per tunable, the smallest step in the unit cube that changes anything."""
        return [1 / (t.high - t.low) if t.whole else 1 / GRAIN for t in self.tunables]

    def shift(self, point: Point, i: int) -> float:
        """How far value `i` is from the start, as a share of its range."""
        t = self.tunables[i]
        return (point[i] - self.start[i]) / (t.high - t.low)

    def changed(self, point: Point) -> list[int]:
        """Indices of the values that differ from the start."""
        return [i for i, (a, b) in enumerate(zip(point, self.start, strict=True)) if a != b]

    def values(self, point: Point) -> dict[str, float]:
        """By name."""
        return dict(zip(self.names, point, strict=True))

    def policy(self, point: Point) -> str:
        """The text with these values."""
        return with_constants(self.text, self.values(point))

    def key(self, point: Point) -> str:
        """sha256 hex of that text."""
        return hashlib.sha256(self.policy(point).encode()).hexdigest()


def _rounded(tunable: Tunable, unit: float) -> float:
    low, high = tunable.low, tunable.high
    value = low + min(1.0, max(0.0, unit)) * (high - low)
    digits = 0 if tunable.whole else max(0, math.ceil(-math.log10((high - low) / GRAIN)))
    return min(high, max(low, float(round(value, digits))))


# ----------------------------------------------------------------------------------------------------
# Games that a search plays: each paid for before, written down with its bill, and never played twice in a run.
#
# A search that was killed asks for the same games in the same order and is answered from the events until it has
# caught up. What it may spend follows from the games that it has asked for, never from what else the events hold, so
# it also ends where it would have ended.


TRIED, SHOWN = "tuner.tried", "evidence.episode"
LATE = "the share of the wall time that a search may use is spent"
WORST = -math.inf  # score of a game without one, and of a policy that cannot be played
CAUTION = 1.5  # a candidate's next games may take so much longer than its last
GROWTH = 16.0  # a candidate's first game may take so much longer than the longest of any other


class Enough(Exception):
    """The search may spend no more; why, where it is not for its share of the frames."""


@dataclass(frozen=True)
class Candidate:
    """A policy text to be played; `key` is its sha256, `values` what it changes, by name."""

    key: str
    text: str
    values: Mapping[str, float]


class Games:
    """Scores by candidate and seed. `limit()`: frames that the search may spend in all, as far as is known by now."""

    def __init__(
        self, evaluator: Evaluator, budgets: Budgets, events: Iterable[Event], trial: int, seeds: Sequence[int],
        late: Callable[[], bool] = lambda: False,
    ) -> None:  # fmt: skip
        self.evaluator, self.budgets, self.trial, self.seeds, self.late = evaluator, budgets, trial, tuple(seeds), late
        self.limit: Callable[[], float] = lambda: math.inf
        self.found: dict[tuple[str, int], tuple[float, int]] = {}  # score, frames
        self.dead: dict[str, str] = {}  # what cannot be played, and why
        self.mine: set[tuple[str, int]] = set()  # on this trial's bill
        self.asked: dict[str, dict[int, int]] = {}  # frames of the games asked for so far, 0 of what is dead
        self.spent = 0.0  # frames of those on this bill
        paid = 0.0
        for event in events:
            paid += self._recall(event)
        left = budgets.left("steps")
        self.most = math.inf if left is None else left + paid  # frames that were left before the search began

    def _recall(self, event: Event) -> float:
        """Frames of this bill."""
        data, paid = event.data, 0.0
        if event.kind == SHOWN:
            self.found[data["policy"], data["seed"]] = _number(data["score"]), data["frames"]
        elif event.kind == TRIED:
            for seed, score, frames in zip(data["seeds"], data["scores"], data["lengths"], strict=True):
                self.found[data["policy"], seed] = _number(score), frames
                if data["trial"] == self.trial:
                    self.mine.add((data["policy"], seed))
                    paid += frames
            if "defect" in data:
                self.dead[data["policy"]] = data["defect"]
        return paid

    def length(self, key: str) -> float:
        """Mean frames of the games asked for; 0 when there is none."""
        asked = self.asked.get(key)
        return sum(asked.values()) / len(asked) if asked else 0.0

    def count(self) -> int:
        """Games asked for."""
        return sum(map(len, self.asked.values()))

    def scores(self, key: str) -> list[float]:
        """Of the games asked for, by the order of the seeds: each a number or WORST."""
        return [WORST if key in self.dead else self.found[key, seed][0] for seed in self.asked.get(key, ())]

    # --- playing

    def play(self, wanted: Sequence[tuple[Candidate, int]], most: float = math.inf, whole: bool = False) -> None:
        """Everybody's games on the first n seeds, as one stream. Enough when the last of them cost more than may be
        spent, or than `most` in all: those before are played, unless it is all or none (`whole`)."""
        paid = self._affordable(wanted, most)
        if whole and len(paid) < len(wanted):
            raise Enough
        todo = {}
        for candidate, n in paid:
            missing = [s for s in self.seeds[:n] if (candidate.key, s) not in self.found]
            if missing and candidate.key not in self.dead:
                todo[candidate.key] = candidate, missing
        if todo:
            self._play(todo)
        for candidate, n in paid:
            key, asked = candidate.key, self.asked.setdefault(candidate.key, {})
            for seed in self.seeds[:n]:
                if seed not in asked:
                    asked[seed] = 0 if key in self.dead else self.found[key, seed][1]
                    self.spent += asked[seed] if (key, seed) in self.mine else 0
        if len(paid) < len(wanted):
            raise Enough

    def _affordable(self, wanted: Sequence[tuple[Candidate, int]], most: float) -> Sequence[tuple[Candidate, int]]:
        """The first of them whose games cost no more than may be spent."""
        most = min(most, self.limit())
        expected = feared = self.spent
        lengths = [frames for asked in self.asked.values() for frames in asked.values() if frames]
        usual = sum(lengths) / len(lengths) if lengths else 0.0
        first = min(self.evaluator.frames_per_episode, GROWTH * max(lengths, default=math.inf))
        for i, (candidate, n) in enumerate(wanted):
            asked, own = self.asked.get(candidate.key, {}), self.length(candidate.key)
            new = sum(s not in asked and not self._free(candidate.key, s) for s in self.seeds[:n])
            expected += new * (own or usual)
            feared += new * (CAUTION * own or first)
            if expected > most:
                return wanted[:i]
            if feared > self.most:
                return wanted[:i]
        return wanted

    def lacking(self, n: int) -> BudgetSpent:
        """The error where not even the first `n` games are affordable."""
        of, needed = self.budgets, n * self.evaluator.frames_per_episode
        return BudgetSpent("steps", of.limits["steps"] or 0.0, of.known["steps"], of.held("steps"), needed)

    def _free(self, key: str, seed: int) -> bool:
        """Whether somebody else has paid for the game."""
        return (key, seed) in self.found and (key, seed) not in self.mine

    def _play(self, todo: Mapping[str, tuple[Candidate, list[int]]]) -> None:
        """One event and one bill a candidate, in their order, as soon as all of its games are done."""
        if self.late():
            raise Enough(LATE)
        lengths = [frames for _, frames in self.found.values()]
        first = min(self.evaluator.frames_per_episode, GROWTH * max(lengths, default=math.inf))
        bills: dict[str, Reservation] = {}
        try:
            for key, (_, seeds) in todo.items():
                each = CAUTION * self.length(key) or first
                left = self.budgets.left("steps")
                frames = each * len(seeds) if left is None else min(left, each * len(seeds))
                bills[key] = self.budgets.reserve(f"{len(seeds)} games of a candidate", steps=frames)
            played: dict[str, dict[int, Score]] = {key: {} for key in todo}
            while bills:
                self._stream(todo, bills, played)
        finally:
            for bill in bills.values():
                bill.abandon()

    def _stream(
        self, todo: Mapping[str, tuple[Candidate, list[int]]], bills: dict[str, Reservation],
        played: Mapping[str, dict[int, Score]],
    ) -> None:  # fmt: skip
        """Play what is missing, up to a candidate that cannot be played, and settle what is complete."""
        of = {todo[key][0].text: key for key in bills if key not in self.dead}
        missing = [(text, seed) for text, key in of.items() for seed in todo[key][1] if seed not in played[key]]
        try:
            for text, score in self.evaluator.play(missing):
                played[of[text]][score.seed] = score
                self._settle(todo, bills, played)
        except Exception:
            if not any([self._buried(todo[key][0]) for key in bills]):  # not a candidate's fault
                raise
            self._settle(todo, bills, played)
            return
        if bills:
            text, seeds = next((todo[key][0].text, todo[key][1]) for key in bills)
            raise SupervisorError(f"not every one of the games {seeds} was played; look at the evaluator")

    def _buried(self, candidate: Candidate) -> bool:
        """Whether it turns out that it cannot be played."""
        if candidate.key in self.dead:
            return False
        defects = self.evaluator.compile(candidate.text).defects
        if defects:
            self.dead[candidate.key] = defects[0][:600]
        return bool(defects)

    def _settle(
        self, todo: Mapping[str, tuple[Candidate, list[int]]], bills: dict[str, Reservation],
        played: Mapping[str, dict[int, Score]],
    ) -> None:  # fmt: skip
        """The first ones of those that are open, as far as they are complete."""
        for key in list(bills):
            candidate, seeds = todo[key]
            told: dict[str, Any] = {"trial": self.trial, "policy": key, "values": dict(candidate.values)}
            if key in self.dead:
                told |= {"seeds": [], "scores": [], "lengths": [], "frames": 0, "defect": self.dead[key]}
            elif len(played[key]) == len(seeds):
                scores = [played[key][seed] for seed in sorted(seeds)]
                told |= {"seeds": [s.seed for s in scores], "scores": [_plain(s.score) for s in scores]}
                told |= {"lengths": [s.frames for s in scores], "frames": sum(s.frames for s in scores)}
                for s in scores:
                    self.found[key, s.seed] = _number(s.score), s.frames
                    self.mine.add((key, s.seed))
            else:
                return
            bills.pop(key).settle(TRIED, told, steps=told["frames"])


def _number(score: float | str) -> float:
    value = float(score)
    return value if math.isfinite(value) else WORST


def _plain(score: float) -> float | str:
    """JSON has no word for some numbers."""
    return score if math.isfinite(score) else str(score)


# ----------------------------------------------------------------------------------------------------
# Candidates and their games: who has played what, who leads, when nothing is left to gain.


FULL = 8  # games on which a candidate is compared with the incumbent
TRIED_VALUES = 2  # of each constant, besides its own, before anything is said of the constants as a whole
LOOKS = {4: 4, 8: 2, 16: 2}  # the last race: games each, and settings that play so many at most
BEHIND = 0.1  # p-value at which a setting that is behind the best is dropped


class Race:
    """The incumbent, which has played FULL games, and the best that is known. A text with its sha256 among `refused`
    cannot win."""

    def __init__(self, space: Space, games: Games, refused: Collection[str] = ()) -> None:
        self.space, self.games, self.refused = space, games, refused
        self.scores: dict[Point, list[float]] = {}
        self._made: dict[Point, Candidate] = {}
        self.start = self.leader = space.start
        self.grow({self.start: FULL})

    def candidate(self, point: Point) -> Candidate:
        """Its text and values."""
        if point not in self._made:
            told = {self.space.names[i]: point[i] for i in self.space.changed(point)}
            self._made[point] = Candidate(self.space.key(point), self.space.policy(point), told)
        return self._made[point]

    def may_win(self, point: Point) -> bool:
        """Whether the gate would look at it."""
        return point != self.start and self.candidate(point).key not in self.refused

    def grow(self, wanted: Mapping[Point, int], most: float = math.inf, whole: bool = False) -> None:
        """Scores of each point on at least the first so many seeds. Enough as `Games.play` has it."""
        batch = {p: n for p, n in wanted.items() if len(self.scores.get(p, ())) < n}
        try:
            self.games.play([(self.candidate(p), n) for p, n in batch.items()], most, whole)
        finally:
            for point in batch:
                if scores := self.games.scores(self.candidate(point).key):
                    self.scores[point] = scores

    def mean(self, point: Point, n: int | None = None) -> float:
        """Mean score of the first `n` games, or of all; WORST when one has none."""
        scores = self.scores[point][:n]
        return math.fsum(scores) / len(scores) if WORST not in scores else WORST

    def frames(self, point: Point) -> float:
        """Of a game, on average; those of the incumbent for a point that has played none."""
        length = self.games.length
        return length(self.candidate(point).key) or length(self.candidate(self.start).key)

    def differences(self, one: Point | None = None, other: Point | None = None) -> list[float]:
        """One's score (the leader's) minus the other's (the incumbent's), seed by seed."""
        pairs = zip(self.scores[one or self.leader], self.scores[other or self.start], strict=False)
        return [a - b if WORST not in (a, b) else 0.0 for a, b in pairs]

    def gain(self) -> float:
        """Mean of the differences."""
        found = self.differences()
        return math.fsum(found) / len(found)

    def chance(self) -> float:
        """p-value of "the leader is no better than the incumbent"."""
        return 1.0 if self.leader == self.start else stats.p_greater(self.differences())

    def looked(self) -> bool:
        """Whether every constant has been tried at enough other values to say something of all of them."""
        for i, tunable in enumerate(self.space.tunables):
            others = {point[i] for point in self.scores} - {self.start[i]}
            if len(others) < (min(TRIED_VALUES, tunable.high - tunable.low) if tunable.whole else TRIED_VALUES):
                return False
        return True

    def digits(self) -> int:
        """Decimals that means of the incumbent's and the leader's scores are told with."""
        return places([*self.scores[self.start], *self.scores[self.leader]])

    def perfect(self) -> bool:
        """Whether a leader other than the incumbent has the highest score that was ever seen in each of FULL games."""
        top = max(max(scores) for scores in self.scores.values())
        scores = self.scores[self.leader]
        return self.leader != self.start and len(scores) >= FULL and min(scores) == top

    def finish(self, good: Iterable[Point]) -> None:
        """The last race, on the same seeds, between the first few of `good`: at each look those that are surely behind
        the best drop out, and the worst ones where there are too many, or not all are affordable. The best leads if it
        beats the incumbent; of equal ones the first."""
        self.leader = self.start
        alive = [p for p in dict.fromkeys(good) if self.may_win(p)]
        for n, most in LOOKS.items():
            alive = self._look(alive[:most], n)
            if not alive or (len(alive) == 1 and n >= FULL):
                return

    def _look(self, alive: list[Point], n: int) -> list[Point]:
        """Who goes on after n games each."""
        while alive:
            try:
                self.grow(dict.fromkeys([*alive, self.start], n), whole=True)
                break
            except Enough:
                alive = sorted(alive, key=self._known, reverse=True)[: len(alive) // 2]
        if not alive:
            return []
        best = max(alive, key=lambda p: self.mean(p, n))
        if self.mean(best, n) > self.mean(self.start, n):
            self.leader = best
        alive = sorted(alive, key=lambda p: -self.mean(p, n))
        return [p for p in alive if stats.p_greater(self.differences(best, p)[:n]) > BEHIND]

    def _known(self, point: Point) -> float:
        return self.mean(point) if point in self.scores else WORST
