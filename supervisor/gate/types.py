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

    Selecting block. `looks`: how many pairs have been seen when it is judged. `spend`: share of equal children that
    each look may pass beyond those before it. `hopeful`: the largest p-value at which, not passed, more seeds are worth
    asking for. `screen`, `worse_at`: where the first look comes late, a child that is worse with this p-value is
    stopped after so many pairs, and half way to the look (0: no such stop).

    Confirming block. Its size is worked out from the gain seen, so that it is confirmed with `confirm_power`; it lies
    between `confirm_least` and `confirm_most`. `confirm_at`: looks, in sizes; `confirm_share`: what part of
    `confirm_level` each spends; `confirm_hopeful`: as `hopeful`.

    Less text. A variant may lose `slack` of the gain; `simplify_screen`: games after which one that keeps less than
    half of it is dropped (0: none); `simpler_most`: variants tried. `limits`: largest value of each measured figure,
    such as `latency_ms`. What these settings cost, and others, is in docs/gate.md.
    """

    looks: tuple[int, ...] = (5, 8, 12, 20, 32, 50, 80, 125, 190, 290, 450)
    spend: tuple[float, ...] = (0.032, 0.001, 0.002, 0.003, 0.005, 0.007, 0.011, 0.017, 0.025, 0.037, 0.06)
    hopeful: tuple[float, ...] = (0.97, 0.98, 0.98, 0.96, 0.94, 0.91, 0.87, 0.8, 0.7, 0.57, 0.35)
    screen: int = 0
    worse_at: float = 0.05
    confirm_least: int = 5
    confirm_most: int = 450
    confirm_level: float = 0.25
    confirm_power: float = 0.98
    confirm_at: tuple[float, ...] = (0.25, 0.5, 1.0, 3.0)
    confirm_share: tuple[float, ...] = (0.24, 0.24, 0.28, 0.24)
    confirm_hopeful: tuple[float, ...] = (0.97, 0.9, 0.75, 1.0)
    crash_share: float = 0.5  # of the games that would show a rare crash, to be played before the first block is passed
    harm_level: float = 0.05  # worst decile, hard interventions
    total_level: float = 0.05
    slack: float = 0.25
    simplify_screen: int = 4
    simpler_most: int = 3
    most_changes: int = 80  # of one edit; runs that allowed fewer are replayed as they were
    limits: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n, m = len(self.looks), len(self.confirm_at)
        if not n or len(self.spend) != n or len(self.hopeful) != n:
            raise SupervisorError("looks, spend and hopeful need the same number of entries, at least one")
        if not m or len(self.confirm_share) != m or len(self.confirm_hopeful) != m:
            raise SupervisorError("confirm_at, confirm_share and confirm_hopeful need the same number, at least one")
        if list(self.looks) != sorted(set(self.looks)) or not 0 <= self.screen < self.looks[0]:
            raise SupervisorError("looks must rise, and the screen must be shorter than the first look")
        if list(self.confirm_at) != sorted(set(self.confirm_at)) or not self.confirm_at[0] > 0:
            raise SupervisorError("confirm_at are parts of the size, which must rise from above 0")
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
        single = ("worse_at", "confirm_level", "confirm_power", "crash_share", "harm_level", "total_level", "slack")
        several = ("spend", "hopeful", "confirm_share", "confirm_hopeful")
        levels = {name: (getattr(self, name),) for name in single} | {name: getattr(self, name) for name in several}
        for name, values in levels.items():
            if not all(0 <= v <= 1 for v in values):
                told = values[0] if name in single else values
                raise SupervisorError(f"{name} is {told}; shares lie between 0 and 1")
        if sum(self.confirm_share) > 1 + 1e-12:
            raise SupervisorError(f"confirm_share sums to {sum(self.confirm_share):g}; it shares out confirm_level")

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
