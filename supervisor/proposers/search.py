"""Search over the tunable constants of a policy: the box, a model of all games so far, candidates, and the games they
play.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from supervisor.budget import Budgets, BudgetSpent
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
# What all games together say about all settings: a Gaussian process over the unit cube.
#
# Games are noisy and scores of any shape, so a score becomes the normal quantile of its rank among all games of a
# search. The covariance is a sum over constants (each has its own effect) and a product (some matter only
# together): a game of one setting tells about every setting that shares values with it.


Floats = NDArray[np.float64]
LENGTHS = (0.1, 0.2, 0.35, 0.6)  # over which a constant's effect changes, shares of its range
MIXES = (0.3, 0.7, 0.95)  # of the sum; the rest is the product
SCALES = (1.0, 3.0)  # variance of the effects
NOISES = (0.05, 0.15, 0.4, 0.8)  # variance of a game: few settings play twice, so it is fitted like the rest
JITTER = 1e-6


def quantiles(games: Mapping[int, Sequence[float]]) -> dict[int, list[float]]:
    """Each score as the normal quantile of its rank among all; equal scores are equal."""
    order = np.sort([s for scores in games.values() for s in scores])
    normal, n = NormalDist(), len(order)

    def of(score: float) -> float:
        rank = (np.searchsorted(order, score, "left") + np.searchsorted(order, score, "right")) / 2
        return normal.inv_cdf(min(1 - 0.5 / n, max(0.5 / n, float(rank) / n)))

    return {i: [of(s) for s in scores] for i, scores in games.items()}


class Model:
    """Fitted to `points` Float[n, d] in the unit cube and the games of each; the likeliest of a few shapes."""

    def __init__(self, points: Floats, games: Sequence[Sequence[float]]) -> None:
        made = quantiles(dict(enumerate(games)))
        self.points = points
        means = np.array([math.fsum(made[i]) / len(made[i]) for i in range(len(games))])
        counts = np.array([len(scores) for scores in games], np.float64)
        self.level = float(means.mean())
        best = -math.inf
        for length in LENGTHS:
            parts = _parts(points, points, length)
            for mix in MIXES:
                for scale, noise in product(SCALES, NOISES):
                    found = _fit(scale * _mixed(parts, mix) + np.diag(noise / counts + JITTER), means - self.level)
                    if found[0] > best:
                        best, self.root, self.weights = found
                        self.shape = length, mix, scale

    def _with(self, a: Floats, b: Floats) -> Floats:
        length, mix, scale = self.shape
        return scale * _mixed(_parts(a, b, length), mix)

    def mean(self, points: Floats) -> Floats:
        """Float[m]: expected quantile of a game at each point."""
        return self.level + np.asarray(self._with(points, self.points) @ self.weights)

    def draws(self, points: Floats, n: int, draw: np.random.Generator) -> Floats:
        """Float[n, m]: what the truth at the points may be, `n` times."""
        across = np.linalg.solve(self.root, self._with(self.points, points))
        spread = self._with(points, points) - across.T @ across + JITTER * np.eye(len(points))
        root = np.linalg.cholesky(spread + 10 * JITTER * np.eye(len(points)))
        return self.mean(points) + draw.standard_normal((n, len(points))) @ root.T


def _parts(a: Floats, b: Floats, length: float) -> tuple[Floats, Floats]:
    """Sum and product covariance, Float[len(a), len(b)] each."""
    apart = (a[:, None, :] - b[None, :, :]) ** 2
    alone = np.exp(-apart / (2 * length**2)).mean(axis=2)
    return alone, np.exp(-apart.sum(axis=2) / (2 * (2 * length) ** 2))


def _mixed(parts: tuple[Floats, Floats], mix: float) -> Floats:
    return mix * parts[0] + (1 - mix) * parts[1]


def _fit(covariance: Floats, values: Floats) -> tuple[float, Floats, Floats]:
    """Log likelihood up to a constant, Cholesky root, weights of the observations."""
    root = np.asarray(np.linalg.cholesky(covariance), np.float64)
    half = np.linalg.solve(root, values)
    likelihood = -0.5 * float(half @ half) - float(np.log(np.diag(root)).sum())
    return likelihood, root, np.linalg.solve(root.T, half)


# ----------------------------------------------------------------------------------------------------
# Settings worth asking the model about: good ones changed a little, good ones mixed, and where CMA-ES climbs.


CHANGED = 320  # ideas made by changing and mixing good settings ...
GOOD = 12  # ... so many of them, the better ones more often
MIXED = 0.4  # share that takes half of its values from another good setting
BACK = 0.5  # share that takes values of the incumbent back: most of what a policy declares is right
FEW = (0.4, 0.3, 0.2, 0.1)  # chances to change one, two, three, four values
STEPS = (
    0.03,
    0.3,
)  # standard deviation of a small step, as a share of the range; the other half of the changes is free
CROWD, CLIMBS, SPREAD = 40, 2, 0.1  # CMA-ES: candidates, generations a round, first standard deviation


class Ideas:
    """Everything random comes from `draw`."""

    def __init__(self, space: Space, draw: np.random.Generator) -> None:
        self.space, self.draw = space, draw
        self._climber: Any = None

    def some(self, good: Sequence[Point], model: Model) -> list[Point]:
        """New ones, in an order without meaning. `good`: points already played, the best first."""
        made = [self._changed(good[:GOOD]) for _ in range(CHANGED)]
        return list(dict.fromkeys([*made, *self._climbed(good[0], model)]))

    def _changed(self, good: Sequence[Point]) -> Point:
        draw, n = self.draw, len(self.space)
        point = good[min(len(good) - 1, int(draw.exponential(GOOD / 3)))]
        if draw.random() < BACK and (changed := self.space.changed(point)):
            kept = draw.random()
            point = self.space.moved(point, {i: self.space.start[i] for i in changed if draw.random() > kept})
            if draw.random() < 0.5:
                return point
        unit = self.space.unit(point)
        if draw.random() < MIXED:
            other = self.space.unit(good[int(draw.integers(len(good)))])
            unit = [b if draw.random() < 0.5 else a for a, b in zip(unit, other, strict=True)]
            if draw.random() < 0.5:
                return self.space.point(unit)
        count = min(n, 1 + int(draw.choice(len(FEW), p=FEW)))
        for i in draw.choice(n, count, replace=False).tolist():
            step = math.exp(draw.uniform(math.log(STEPS[0]), math.log(STEPS[1]))) * draw.standard_normal()
            unit[i] = unit[i] + step if draw.random() < 0.5 else draw.uniform()
        return self.space.point(unit)

    def _climbed(self, best: Point, model: Model) -> list[Point]:
        """A few generations of CMA-ES on the model; the strategy lives on from round to round."""
        n, made = len(self.space), list[Point]()
        for _ in range(CLIMBS):
            if self._climber is None or self._climber.stop():
                self._climber = self._started(best)
            asked = self._climber.ask()
            self._climber.tell(asked, (-model.mean(np.array(asked)[:, :n])).tolist())
            made += [self.space.point(unit) for unit in asked]
        return made

    def _started(self, best: Point) -> Any:
        """A strategy around `best`. It wants two constants at least: beside a single one stands one without effect."""
        spare = max(0, 2 - len(self.space))
        options = {
            "bounds": [0.0, 1.0], "popsize": CROWD, "verbose": -10, "seed": math.nan,
            "minstd": [0.4 * g for g in self.space.grain()] + [0.01] * spare,
            "randn": lambda *shape: self.draw.standard_normal(shape),
        }  # fmt: skip
        return _library().CMAEvolutionStrategy([*self.space.unit(best), *[0.5] * spare], SPREAD, options)


def _library() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it misses plotting, which nobody asks for
            import cma
    except ImportError:
        fix = "install it with `pip install triune[supervisor]`"
        raise SupervisorError(f"the tuner needs the package cma; {fix}") from None
    return cma


# ----------------------------------------------------------------------------------------------------
# Games that a search plays: each paid for before, written down with its bill, and never played twice in a run.
#
# A search that was killed asks for the same games in the same order and is answered from the events until it has
# caught up; what it counts as spent is the same then, so it also ends where it would have ended.


TRIED, SHOWN = "tuner.tried", "evidence.episode"
WORST = -math.inf  # score of a game without one, and of a policy that cannot be played
CAUTION = 1.5  # a candidate's next games may take so much longer than its last
GROWTH = 16.0  # a candidate's first game may take so much longer than the longest of any other


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
        self, evaluator: Evaluator, budgets: Budgets, events: Iterable[Event], trial: int, seeds: Sequence[int],
        late: Callable[[], bool] = lambda: False,
    ) -> None:  # fmt: skip
        self.evaluator, self.budgets, self.trial, self.seeds, self.late = evaluator, budgets, trial, tuple(seeds), late
        self.limit: Callable[[], float] = lambda: math.inf
        self.found: dict[tuple[str, int], tuple[float, int]] = {}  # score, frames
        self.dead: dict[str, str] = {}  # what cannot be played, and why
        self.mine: set[tuple[str, int]] = set()  # on this trial's bill
        self.asked: dict[str, dict[int, int]] = {}  # frames of the games asked for so far
        self.paid = 0.0  # frames of the games on this bill, also of those that the search has yet to ask for again
        self.spent = 0.0  # frames of those that it has asked for
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
        longest = max((frames for _, frames in self.found.values()), default=math.inf)
        guess = min(self.evaluator.frames_per_episode, GROWTH * longest)
        each = CAUTION * sum(seen) / len(seen) if seen else guess
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
            scores = sorted(score for _, score in self.evaluator.play([(candidate.text, seed) for seed in todo]))
        except Exception:
            defects = self.evaluator.compile(candidate.text).defects
            if not defects:  # not the candidate's fault
                raise
            self.dead[candidate.key] = defects[0][:600]
            return None
        if [s.seed for s in scores] != sorted(todo):
            raise SupervisorError(f"not every one of the games {list(todo)} was played; look at the evaluator")
        for score in scores:
            self.found[candidate.key, score.seed] = _number(score.score), score.frames
            self.mine.add((candidate.key, score.seed))
            self.paid += score.frames
        return scores


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


# ----------------------------------------------------------------------------------------------------
# The steps of a search: each constant alone, then what the model hopes for, then the last games of the best.
#
# A bad policy's games are short, so the first look along the axes is cheap when there is much to gain. After that,
# each round draws from the model what the truth may be, several times, and plays the setting that is best then: one
# that is good, or one of which little is known (Thompson sampling). No setting gets more games than its chances are
# worth.


LEVELS = 4  # values tried along each axis
FIRST_LOOK = 0.35  # of the frames of a search, spent along the axes at most
PICKS = 6  # settings that a round plays, one game each
MOST, MOST_GAMES = 2 * FULL, 500  # games of a setting, and of a search: the model's work grows with their third power
FINAL = 3  # settings that play FULL games in the end
PART = 0.6  # of these games, what is set aside: some have been played by then
CALM = 15  # rounds without another favourite that end a search
SPENT = "the share of the budget that a search may use is spent"
PERFECT = "every game of the best candidate has the highest score that was seen"
KNOWN = "every setting in reach has played enough games"


def search(race: Race, draw: np.random.Generator) -> str:
    """Look until nothing is left to gain or to spend; why it ended. The race has the result."""
    why = SPENT
    with contextlib.suppress(Enough):
        alone(race, draw)
        why = rounds(race, draw)
    model = modelled(race)
    good = favourites(race, model)
    race.leader = race.start
    with contextlib.suppress(Enough):
        choose(race, [spared(race, model, good[0]), *good])
    return PERFECT if race.perfect() else why


def alone(race: Race, draw: np.random.Generator) -> None:
    """A game for each of some values along each axis, every constant in turn, so that none is left out for long."""
    space = race.space
    rows = [space.levels(i, LEVELS, float(draw.uniform(0.25, 0.75))) for i in range(len(space))]
    rows = [[row[k] for k in draw.permutation(len(row)).tolist()] for row in rows]
    for k in range(max(map(len, rows))):
        for i, row in enumerate(rows):
            if race.games.spent > FIRST_LOOK * race.games.limit():
                return
            if k < len(row):
                race.grow(space.moved(space.start, {i: row[k]}), 1)


def rounds(race: Race, draw: np.random.Generator) -> str:
    """Play what the model hopes for until there is a reason to stop, which is returned."""
    ideas, calm = Ideas(race.space, draw), 0
    while True:
        model = modelled(race)
        good = favourites(race, model)
        calm = calm + 1 if good[0] == race.leader else 0
        race.leader = good[0]
        if race.perfect():
            return PERFECT
        if calm >= CALM and len(race.scores[race.leader]) >= FULL:
            return f"{calm} rounds brought no other favourite"
        if race.games.spent > race.games.limit() - PART * FINAL * FULL * race.frames(race.leader):
            return SPENT
        if race.games.count() >= MOST_GAMES:
            return f"{MOST_GAMES} games are enough"
        new = [p for p in ideas.some(good, model) if p not in race.scores]
        choice = new + [p for p in race.scores if len(race.scores[p]) < MOST]
        if not choice:
            return KNOWN
        picks = model.draws(units(race, choice), PICKS, draw).argmax(axis=1)
        for point in dict.fromkeys(choice[i] for i in picks.tolist()):
            race.grow(point, len(race.scores.get(point, ())) + 1)


def choose(race: Race, good: list[Point]) -> None:
    """The last games of the first few; the best of them leads if it beats the incumbent. Of equal ones the first."""
    for point in [p for p in dict.fromkeys(good) if race.may_win(p)][:FINAL]:
        race.grow(point, FULL)
        if race.mean(point, FULL) > race.mean(race.leader, FULL):
            race.leader = point
        if race.perfect():
            return


def spared(race: Race, model: Model, point: Point) -> Point:
    """The point with one change after the other taken back, as long as the model expects no less of it."""
    expected = model.mean(units(race, [point]))[0]
    while len(changed := race.space.changed(point)) > 1:
        without = [race.space.moved(point, {i: race.start[i]}) for i in changed]
        means = model.mean(units(race, without))
        if means.max() < expected:
            break
        point = without[int(np.argmax(means))]
    return point


def units(race: Race, points: list[Point]) -> Floats:
    """Float[n, d] in the unit cube."""
    return np.array([race.space.unit(p) for p in points])


def modelled(race: Race) -> Model:
    """Of all games so far."""
    return Model(units(race, list(race.scores)), list(race.scores.values()))


def favourites(race: Race, model: Model) -> list[Point]:
    """Points that have played, the best by the model first."""
    points = list(race.scores)
    order = np.argsort(-model.mean(units(race, points)), kind="stable")
    return [points[i] for i in order.tolist()]
