"""Settings worth asking the model about: good ones changed a little, good ones mixed, and where CMA-ES climbs.

Knows: points and a model of their scores. Does not know: games, or which idea is played.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from supervisor.errors import SupervisorError
from supervisor.proposers.search_model import Model
from supervisor.proposers.search_space import Point, Space

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
