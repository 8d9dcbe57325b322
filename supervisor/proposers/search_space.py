"""The tunables of a policy as a box to search in.

Knows: ranges, rounding, how values become a text. Does not know: scores, searches.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence

from supervisor.edits.tunables import Tunable, constants, with_constants

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
