"""Where a search looks: each constant alone, the best changes together, then CMA-ES around what came out.

Knows: the order of these steps, when to stop. Does not know: how games are played or paid for (search_games.py).

Most policies are off in few constants, and a change of all of them at once mostly breaks something. So the first look
is along the axes, where a bad policy's games are short and cheap; then changes that helped alone are tried together;
what only helps jointly is left to the library (`cma`, which learns steps and their correlations from ranks alone).
"""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from supervisor.errors import SupervisorError
from supervisor.proposers.search_games import Enough
from supervisor.proposers.search_race import Race
from supervisor.proposers.search_space import Point, Unit

LEVELS = 5  # values tried along each axis
HALVE = ((4, 0.33), (8, 0.12))  # games, and the share of the axis points that gets them
TOGETHER = 6  # changes that are tried together at most
TEAMS = ((1, 1.0), (2, 1.0), (4, 0.4), (8, 0.2))  # the same for the teams of changes
SPREAD = 0.1  # first standard deviation of CMA-ES in the unit cube
CROWD = 6  # candidates in a generation
CALM = 4  # generations without a new leader that end a search which has found a clear gain
PATIENT = 8  # ... and one that has not
TAKEN_BACK = 3  # attempts to do without some of the changes
SURE = 0.05  # p-value of a clear gain
PERFECT = "every game of the best candidate has the highest score that was seen"


def search(race: Race, draw: np.random.Generator) -> str:
    """Look until nothing is left to gain or to spend; why it ended. The race has the result."""
    why = "the share of the budget that a search may use is spent"
    with contextlib.suppress(Enough):
        together(race, alone(race, draw))
        why = PERFECT if race.perfect() else around(race, draw)
    with contextlib.suppress(Enough):
        fewer(race)
    return why


def alone(race: Race, draw: np.random.Generator) -> list[tuple[int, float]]:
    """(constant, value), the most helpful first: along each axis the best of some values, if it helps."""
    space = race.space
    tried: list[tuple[int, Point]] = []
    for i in range(len(space)):
        for value in space.levels(i, LEVELS, float(draw.uniform(0.25, 0.75))):
            tried.append((i, space.moved(race.start, {i: value})))
    for _, point in tried:
        race.grow(point, race.rungs[0])
    alive = tried
    for n, share in HALVE:
        alive = sorted(alive, key=lambda a: -race.gain(a[1], race.start))[: max(3, math.ceil(share * len(tried)))]
        for _, point in alive:
            race.grow(point, n)
    best: dict[int, Point] = {}
    for i, point in sorted(alive, key=lambda a: -race.gain(a[1], race.start)):
        if race.gain(point, race.start) > 0:
            best.setdefault(i, point)
    return [(i, point[i]) for i, point in best.items()][:TOGETHER]


def together(race: Race, order: Sequence[tuple[int, float]]) -> None:
    """The first change, the first two, the first three ...: the best such team challenges the leader."""
    teams = [race.space.moved(race.start, dict(order[: k + 1])) for k in range(len(order))]
    alive = teams
    for n, share in TEAMS:
        alive = sorted(alive, key=lambda p: -race.mean(p) if p in race.scores else 0.0)
        alive = alive[: math.ceil(share * len(teams))]
        for point in alive:
            race.grow(point, n)
    for point in sorted(alive, key=lambda p: -race.mean(p)):
        race.challenge(point)


def around(race: Race, draw: np.random.Generator) -> str:
    """CMA-ES from the leader on, started again where it ends."""
    calm = 0
    while True:
        for strategy, units in _generations(race, draw):
            points = [race.space.point(unit) for unit in units]
            calm = 0 if race.heat(points) else calm + 1
            strategy.tell(units, [_rank(race, point) for point in points])
            if race.perfect():
                return PERFECT
            if calm >= (CALM if race.chance() <= SURE else PATIENT):
                return f"{calm} generations around the best candidate brought nothing better"


def fewer(race: Race) -> None:
    """Take back what is not needed: half of the smallest moves at once, then half of what is in doubt."""
    doubt = sorted(race.space.changed(race.leader), key=lambda i: abs(race.space.shift(race.leader, i)))
    for _ in range(TAKEN_BACK):
        some = doubt[: max(1, len(doubt) // 2)]
        if len(race.space.changed(race.leader)) < 2 or not some:
            return
        point = race.space.moved(race.leader, {i: race.start[i] for i in some})
        if race.replaces(point):
            doubt = doubt[len(some) :]
        else:
            doubt = some if len(some) > 1 else doubt[1:]


def _rank(race: Race, point: Point) -> float:
    """Lower is better; a policy that cannot be played is worse than any other."""
    mean = race.mean(point)
    return -mean if math.isfinite(mean) else 1e12


def _generations(race: Race, draw: np.random.Generator) -> Iterator[tuple[Any, list[Unit]]]:
    """A strategy and what it wants to know. A space of one constant gets a second one that changes nothing."""
    n = len(race.space)
    wide = max(2, n)
    start = [*race.space.unit(race.leader), *[0.5] * (wide - n)]
    options = {
        "bounds": [0.0, 1.0], "popsize": CROWD, "verbose": -10, "seed": math.nan,
        "minstd": [0.4 * g for g in race.space.grain()] + [0.01] * (wide - n),
        "randn": lambda *shape: draw.standard_normal(shape),
    }  # fmt: skip
    strategy = _library().CMAEvolutionStrategy(start, SPREAD, options)
    while not strategy.stop():
        asked = strategy.ask()
        yield strategy, asked


def _library() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it misses plotting, which nobody asks for
            import cma
    except ImportError:
        fix = "install it with `pip install triune[supervisor]`"
        raise SupervisorError(f"the tuner needs the package cma; {fix}") from None
    return cma
