"""The steps of a search: each constant alone, then what the model hopes for, then the last games of the best.

Knows: the order of these steps, when to stop. Does not know: where ideas come from (search_ideas.py), what games of one
setting say about another (search_model.py), how games are played or paid for (search_games.py).

A bad policy's games are short, so the first look along the axes is cheap when there is much to gain. After that, each
round draws from the model what the truth may be, several times, and plays the setting that is best then: one that is
good, or one of which little is known (Thompson sampling). No setting gets more games than its chances are worth.
"""

from __future__ import annotations

import contextlib

import numpy as np

from supervisor.proposers.search_games import Enough
from supervisor.proposers.search_ideas import Ideas
from supervisor.proposers.search_model import Floats, Model
from supervisor.proposers.search_race import FULL, Race
from supervisor.proposers.search_space import Point

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
