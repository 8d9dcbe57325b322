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
HALVE = ((2, 0.33), (4, 0.15))  # games, and the share of the axis points that gets them
FIRST_LOOK, SECOND_LOOK = 0.35, 0.5  # of the frames of a search, spent along the axes at most
TOGETHER = 6  # changes that are tried together at most
TEAMS = ((1, 1.0), (2, 1.0), (4, 0.4), (8, 0.2))  # the same for the teams of changes
SPREAD = 0.1  # first standard deviation of CMA-ES in the unit cube
CROWD = 6  # candidates in a generation
CALM = 6  # generations without a new leader that end a search which has found a clear gain
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
    tried = _axes(race, draw)
    alive = [point for point in tried if _affords(race, point, race.rungs[0], FIRST_LOOK)]
    for n, share in HALVE:
        alive.sort(key=lambda p: -race.gain(p, race.start))
        alive = alive[: max(3, math.ceil(share * len(tried)))]
        for point in alive:
            _affords(race, point, n, SECOND_LOOK)
    best: dict[int, float] = {}
    for point in sorted(alive, key=lambda p: -race.gain(p, race.start)):
        (i,) = race.space.changed(point)
        if race.gain(point, race.start) > 0:
            best.setdefault(i, point[i])
    return list(best.items())[:TOGETHER]


def _axes(race: Race, draw: np.random.Generator) -> list[Point]:
    """Points that differ from the start in one value, every constant in turn, so that none is left out for long."""
    space = race.space
    rows = [space.levels(i, LEVELS, float(draw.uniform(0.25, 0.75))) for i in range(len(space))]
    for row in rows:
        draw.shuffle(row)  # type: ignore[arg-type]
    longest = max(map(len, rows))
    return [space.moved(space.start, {i: row[k]}) for k in range(longest) for i, row in enumerate(rows) if k < len(row)]


def _affords(race: Race, point: Point, n: int, share: float) -> bool:
    """Play `n` games of the point, unless this share of what a search may spend is spent."""
    if race.games.spent > share * race.games.limit():
        return False
    race.grow(point, n)
    return True


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
        if race.simplify(point):
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
