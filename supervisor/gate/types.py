"""What goes into the gate and what comes out of it.

Plain values only, so that any of them can be written down and judged again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from supervisor.errors import SupervisorError

Stage = Literal[
    "schema", "compile", "size", "locks", "duplicate", "screen", "full", "probe", "confirm", "simplify", "accept"
]
STAGES: tuple[Stage, ...] = (
    "schema", "compile", "size", "locks", "duplicate", "screen", "full", "probe", "confirm", "simplify", "accept"
)  # fmt: skip
Kind = Literal["accept", "probe", "reject", "indecisive", "invalid"]


@dataclass(frozen=True)
class GateConfig:
    """Settings. The share of equal children that may get in is at most `bound`: `sum(spend) * confirm_level`.

    `looks`: how many pairs have been seen when the full block is judged; the first look is the full stage, later ones
    are probes. `spend`: the level of each look. `hopeful`: at a look that is not significant, the largest p-value at
    which more seeds are worth asking for. `limits`: largest value of each measured figure, such as `latency_ms`.
    The defaults find a gain of 0.134 standard deviations of the paired difference four times in five: a tenth of the
    score where games spread by half of their mean (docs/gate.md has other settings and what they cost).
    """

    screen: int = 5
    looks: tuple[int, ...] = (20, 60, 150, 250, 450)
    spend: tuple[float, ...] = (0.01, 0.03, 0.03, 0.02, 0.11)
    hopeful: tuple[float, ...] = (0.95, 0.8, 0.6, 0.45, 0.3)
    worse_at: float = 0.05  # early stop: p-value of "the child is worse" while the first block is being played
    confirm_least: int = 20
    confirm_most: int = 450
    confirm_level: float = 0.25
    harm_level: float = 0.05  # worst decile, hard interventions
    total_level: float = 0.05
    slack: float = 0.25  # a simpler variant may lose this share of the gain
    simpler_most: int = 3
    limits: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n = len(self.looks)
        if not n or len(self.spend) != n or len(self.hopeful) != n:
            raise SupervisorError("looks, spend and hopeful need the same number of entries, at least one")
        if list(self.looks) != sorted(set(self.looks)) or not 0 < self.screen < self.looks[0]:
            raise SupervisorError("looks must rise, and the screen must be shorter than the first look")
        if not 0 < self.confirm_least <= self.confirm_most:
            raise SupervisorError("confirm_least must lie between 1 and confirm_most")
        self._check_levels()
        if self.bound > self.total_level + 1e-12:
            raise SupervisorError(
                f"the levels let {self.bound:.3f} of equal children in, more than total_level {self.total_level}; "
                "lower spend or confirm_level"
            )

    def _check_levels(self) -> None:
        """A negative or missing level would make room for another one in the sum."""
        single = ("worse_at", "confirm_level", "harm_level", "total_level", "slack")
        levels = {name: (getattr(self, name),) for name in single} | {"spend": self.spend, "hopeful": self.hopeful}
        for name, values in levels.items():
            if not all(0 <= v <= 1 for v in values):
                told = values[0] if name in single else values
                raise SupervisorError(f"{name} is {told}; shares lie between 0 and 1")

    @property
    def bound(self) -> float:
        """Largest share of equal children that passes both blocks."""
        return sum(self.spend) * self.confirm_level


class Pair(NamedTuple):
    """One seed played by both. `*_hard`: interventions of hard safety rules per 1000 decisions of that episode."""

    parent: float
    child: float
    parent_hard: float = 0.0
    child_hard: float = 0.0

    def finite(self) -> bool:
        """No NaN, no infinity."""
        return all(math.isfinite(v) for v in self)


@dataclass(frozen=True)
class Simpler:
    """A variant of the child with part of the edit left out. `pairs` are against the parent, on confirmation seeds.

    `size`: characters of the edit (smaller is simpler). `sound`: the variant passed schema to duplicate by itself.
    """

    name: str
    size: float
    sound: bool = True
    pairs: Mapping[int, Pair] = field(default_factory=dict)


@dataclass(frozen=True)
class Evidence:
    """All that is known about one child so far. None or empty: not asked yet. The driver fills in what `Ask` names.

    `schema`, `compile`: defects found (empty tuple: none). `measured`: a figure for each of `GateConfig.limits`.
    `locks`: name -> held. `behaviour`: hash of the child's decisions on recorded scenes; `known`: hash -> whose, the
    parent and every child judged before. `full_seeds`, `confirm_seeds`: the opened blocks, in order of playing.
    `simpler`: variants the driver can offer, () when there are none. `child_size`: characters of the whole edit.
    """

    schema: tuple[str, ...] | None = None
    compile: tuple[str, ...] | None = None
    measured: Mapping[str, float] | None = None
    locks: Mapping[str, bool] | None = None
    behaviour: str | None = None
    known: Mapping[str, str] = field(default_factory=dict)
    full_seeds: tuple[int, ...] = ()
    full: Mapping[int, Pair] = field(default_factory=dict)
    confirm_seeds: tuple[int, ...] = ()
    confirm: Mapping[int, Pair] = field(default_factory=dict)
    simpler: tuple[Simpler, ...] | None = None
    child_size: float = math.inf


@dataclass(frozen=True)
class Ask:
    """What the gate needs next. `seeds`: to be played now. `count` with no seeds: open a block of at least that many.

    `who`: "child", or the name of a simpler variant. Asking for more seeds than `full` had is stage "probe": the driver
    may decline, and take `Gate.conclude` instead.
    """

    stage: Stage
    seeds: tuple[int, ...] = ()
    count: int = 0
    who: str = "child"


@dataclass(frozen=True)
class Verdict:
    """The end of a trial. `winner`: "child" or the simpler variant that was taken instead ("" unless accepted)."""

    kind: Kind
    stage: Stage
    reasons: tuple[str, ...]
    numbers: Mapping[str, float] = field(default_factory=dict)
    winner: str = ""
