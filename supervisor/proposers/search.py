"""Search over the tunable constants of a policy: a model of all games so far, candidates, and which of them play."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from supervisor.gate import statistics as stats
from supervisor.proposers.race import FULL, LOOKS, Enough, Point, Race, Space

# ----------------------------------------------------------------------------------------------------
# What all games together say about all settings: a Gaussian process over the unit cube.
#
# Games are noisy and scores of any shape, so a score becomes the normal quantile of its rank among all games of a
# search. The covariance is a sum over constants (each has its own effect, of its own size and reach) and a product
# (some matter only together): a game of one setting tells about every setting that shares values with it.


Floats = NDArray[np.float64]
LENGTHS = (0.08, 0.2, 0.5)  # over which a constant's effect changes, shares of its range
SIZES = (0.03, 0.2, 0.8)  # variance of a constant's effect; the smallest stands for none that is known of
TOGETHER = (0.05, 0.3)  # variance of what constants do together, twice as far
NOISES = (0.15, 0.4, 0.8)  # variance of a game: few settings play twice, so it is fitted like the rest
LEVEL = 1.0  # variance of the level of all
SWEEPS = 2  # over the parts of a shape, each of which becomes the likeliest while the others stay
JITTER = 1e-6

Effect = tuple[float, float]  # of a constant: over which length it changes, its variance
EFFECTS: tuple[Effect, ...] = ((LENGTHS[1], SIZES[0]), *product(LENGTHS, SIZES[1:]))


@dataclass(frozen=True)
class Shape:
    """What the covariance looks like: an effect of each constant, the variance of all together and of a game."""

    effects: tuple[Effect, ...]
    together: float = TOGETHER[0]
    noise: float = NOISES[1]

    def covariance(self, a: Floats, b: Floats) -> Floats:
        """Float[len(a), len(b)] between the truths at two lists of points; those without a known effect are left
        out of the product."""
        found, far = np.full((len(a), len(b)), LEVEL), np.zeros((len(a), len(b)))
        for i, (length, size) in enumerate(self.effects):
            apart = (a[:, None, i] - b[None, :, i]) ** 2 / (2 * length**2)
            found += size * np.exp(-apart)
            if size > SIZES[0]:
                far += apart / 4
        return found + self.together * np.exp(-far)

    def beside(self) -> Iterator[Callable[[Shape], list[Shape]]]:
        """For one part after the other: the shapes that differ from a given one in it alone."""
        yield lambda shape: [replace(shape, noise=noise) for noise in NOISES]
        for i in range(len(self.effects)):
            yield partial(_effects, i)
        yield lambda shape: [replace(shape, together=together) for together in TOGETHER]


def _effects(i: int, shape: Shape) -> list[Shape]:
    return [replace(shape, effects=(*shape.effects[:i], effect, *shape.effects[i + 1 :])) for effect in EFFECTS]


def quantiles(games: Mapping[int, Sequence[float]]) -> dict[int, list[float]]:
    """Each score as the normal quantile of its rank among all; equal scores are equal."""
    order = np.sort([s for scores in games.values() for s in scores])
    normal, n = NormalDist(), len(order)

    def of(score: float) -> float:
        rank = (np.searchsorted(order, score, "left") + np.searchsorted(order, score, "right")) / 2
        return normal.inv_cdf(min(1 - 0.5 / n, max(0.5 / n, float(rank) / n)))

    return {i: [of(s) for s in scores] for i, scores in games.items()}


class Model:
    """Fitted to `points` Float[n, d] in the unit cube and the games of each: the likeliest shape that is found by
    changing one part of it after the other."""

    def __init__(self, points: Floats, games: Sequence[Sequence[float]]) -> None:
        made = quantiles(dict(enumerate(games)))
        means = np.array([math.fsum(made[i]) / len(made[i]) for i in range(len(games))])
        counts = np.array([len(scores) for scores in games], np.float64)
        self.points = points

        def fit(shape: Shape) -> tuple[float, Floats, Floats]:
            return _fit(shape.covariance(points, points) + np.diag(shape.noise / counts + JITTER), means)

        self.shape = Shape(((LENGTHS[1], SIZES[0]),) * points.shape[1])
        for _ in range(SWEEPS):
            for others in self.shape.beside():
                self.shape = max(others(self.shape), key=lambda shape: fit(shape)[0])
        _, self.root, self.weights = fit(self.shape)

    def mean(self, points: Floats) -> Floats:
        """Float[m]: expected quantile of a game at each point."""
        return np.asarray(self.shape.covariance(points, self.points) @ self.weights)

    def draws(self, points: Floats, n: int, draw: np.random.Generator) -> Floats:
        """Float[n, m]: what the truth at the points may be, `n` times."""
        across = np.linalg.solve(self.root, self.shape.covariance(self.points, points))
        spread = self.shape.covariance(points, points) - across.T @ across + JITTER * np.eye(len(points))
        root = np.linalg.cholesky(spread + 10 * JITTER * np.eye(len(points)))
        return self.mean(points) + draw.standard_normal((n, len(points))) @ root.T


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
    """Everything random comes from `draw`. `base`: the setting whose values are most likely right."""

    def __init__(self, space: Space, draw: np.random.Generator) -> None:
        self.space, self.draw = space, draw
        self.base = space.start
        self._cma: Any = library()
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
        """A few generations of CMA-ES on the model; the strategy lives on from round to round. None without the package
        cma: what is changed and mixed remains."""
        n, made = len(self.space), list[Point]()
        for _ in range(CLIMBS if self._cma else 0):
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
        return self._cma.CMAEvolutionStrategy([*self.space.unit(best), *[0.5] * spare], SPREAD, options)


def library() -> Any:
    """The package cma, or None where it is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it misses plotting, which nobody asks for
            import cma
    except ImportError:
        return None
    return cma


# ----------------------------------------------------------------------------------------------------
# The steps of a search: looks along the axes, each a race, then what the model hopes for, then the last race.
#
# Where several constants are wrong, one of them hides what the others do. So the winner of a look is the base of the
# next one: with one obstacle gone the second shows. A bad policy's games are short, so the first looks are cheap when
# there is much to gain. After that, each round draws from the model what the truth may be, several times, and plays
# the setting that is best then: one that is good, or one of which little is known (Thompson sampling). No setting gets
# more games than its chances are worth. The games of a step are one stream over all workers.


LEVELS = 4  # values tried along each axis
FIRST_LOOK, LOOKING = 0.35, 0.7  # of the frames of a search, spent in the first look and in all of them at most
HALVING = 3  # of the settings of a look a third plays twice, and a third of these BASE games
BASE = 4  # games from which the next look may go on from a setting; FULL ones where they are not enough to tell
BETTER = 0.2  # p-value at which it is believed to be better than the base
PICKS = 6  # settings that a round plays, one game each
MOST, MOST_GAMES = 2 * FULL, 500  # games of a setting, and of a search: the model's work grows with their third power
LAST_GAMES = 20  # of a favourite, what is set aside for the last race: some have been played by then ...
LAST_SHARE = 0.35  # ... but no more of the frames of a search
CALM = 15  # rounds without another favourite that end a search
SPENT = "the share of the budget that a search may use is spent"
PERFECT = "every game of the best candidate has the highest score that was seen"
KNOWN = "every setting in reach has played enough games"


def search(race: Race, draw: np.random.Generator, tell: Callable[[], object] = lambda: None) -> str:
    """Look until nothing is left to gain or to spend; why it ended. The race has the result. `tell` is called after
    each step."""
    ideas = Ideas(race.space, draw)
    with contextlib.suppress(Enough):
        while looked(race, ideas, tell):
            pass
    try:
        why = rounds(race, ideas, tell)
    except Enough as error:
        why = str(error) or SPENT
    model = modelled(race)
    good = favourites(race, model)
    with contextlib.suppress(Enough):
        race.finish([spared(race, model, good[0]), *good])
    return PERFECT if race.perfect() else why


def looked(race: Race, ideas: Ideas, tell: Callable[[], object]) -> bool:
    """A race between settings that move one constant of the base; whether one of them has become the base."""
    base, draw = ideas.base, ideas.draw
    share = (FIRST_LOOK if base == race.start else LOOKING) * race.games.limit()
    alive = [base]
    with contextlib.suppress(Enough):
        for values in axes(race.space, base, draw):
            race.grow(dict.fromkeys(values, 1), share)
            alive += values
            tell()
    alone = [p for p in dict.fromkeys(alive) if p in race.scores and p != base]
    alive = sorted(alone, key=lambda p: race.mean(p, 1), reverse=True)[: math.ceil(len(alone) / HALVING)]
    race.grow(dict.fromkeys(alive, 2), share)
    alive = sorted(alive, key=lambda p: race.mean(p, 2), reverse=True)[: math.ceil(len(alive) / HALVING)]
    for n in (BASE, FULL):
        race.grow(dict.fromkeys([base, *alive], n), share)
        best = max(alive, key=lambda p: race.mean(p, n), default=base)
        if best == base or race.mean(best, n) <= race.mean(base, n):
            return False
        if stats.p_greater(race.differences(best, base)[:n]) <= BETTER:
            ideas.base = race.leader = best
            tell()
            return not race.perfect()
        alive = [best]
    return False


def axes(space: Space, base: Point, draw: np.random.Generator) -> list[list[Point]]:
    """`base` with one value moved, every constant in turn, so that none is left out for long."""
    rows = [space.levels(i, LEVELS, float(draw.uniform(0.25, 0.75))) for i in range(len(space))]
    rows = [[row[k] for k in draw.permutation(len(row)).tolist()] for row in rows]
    return [
        [space.moved(base, {i: row[k]}) for i, row in enumerate(rows) if k < len(row)]
        for k in range(max(map(len, rows)))
    ]


def rounds(race: Race, ideas: Ideas, tell: Callable[[], object]) -> str:
    """Play what the model hopes for until there is a reason to stop, which is returned."""
    calm = 0
    while True:
        model = modelled(race)
        good = favourites(race, model)
        calm = calm + 1 if good[0] == race.leader else 0
        race.leader = good[0]
        tell()
        if race.perfect():
            return PERFECT
        if calm >= CALM and len(race.scores[race.leader]) >= FULL:
            return f"{calm} rounds brought no other favourite"
        last = LAST_GAMES * max(race.frames(p) for p in good[: max(LOOKS.values())])
        most = race.games.limit() - min(last, LAST_SHARE * race.games.limit())
        if race.games.count() >= MOST_GAMES:
            return f"{MOST_GAMES} games are enough"
        new = [p for p in ideas.some(good, model) if p not in race.scores]
        choice = new + [p for p in race.scores if len(race.scores[p]) < MOST]
        if not choice:
            return KNOWN
        picks = model.draws(units(race, choice), PICKS, ideas.draw).argmax(axis=1)
        race.grow({p: len(race.scores.get(p, ())) + 1 for p in (choice[i] for i in picks.tolist())}, most)


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
