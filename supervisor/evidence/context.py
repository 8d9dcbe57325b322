"""What the evidence is made of, and how much of it may be said. Plain values.

Knows: names and shapes. Does not know: how failures are found, told or drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

from data_flywheel.episodes.episode import Episode
from envs.protocol import Protocol
from perception.scene import SceneSchema
from supervisor.gate import statistics as stats

SIDE = 0.025  # error on either side of a 95 % interval
Frames = Callable[[Episode, Sequence[int]], Sequence[Any]]  # (episode, steps) -> uint8[H, W, 3] for each step
Blame = Callable[[Episode, int], str]  # (episode, step) -> whose failure it was, in words; "" when not known


@dataclass(frozen=True)
class Limits:
    """Characters of each section, and counts. The policy may also use what the other sections leave of `total`."""

    total: int = 60_000
    contract: int = 5_000
    rules: int = 4_500
    policy: int = 23_000
    scoreboard: int = 1_600
    failures: int = 12_000
    statistics: int = 3_000
    locks: int = 1_500
    lineage: int = 2_500
    failed: int = 3_500
    budgets: int = 900
    question: int = 2_500
    shown: int = 5  # failures that are told in full
    clusters: int = 8  # groups of failures at most
    rows: int = 16  # steps in the table of a failure
    cells: int = 9  # frames on a contact sheet; 0: no pictures

    def __post_init__(self) -> None:
        """ValueError when the sections together may be longer than the total."""
        sections = [f.name for f in fields(self)][1:12]
        if sum(getattr(self, name) for name in sections) > self.total:
            raise ValueError("the sections' limits add up to more than the total; raise total or lower some of them")


@dataclass(frozen=True)
class GateSummary:
    """The incumbent on gate seeds: figures only, since what is known about single gate seeds must not leak.

    `low`, `high`: 95 % interval of the mean. `hard`: interventions of hard rules and faults per 1000 decisions.
    """

    n: int
    mean: float
    low: float
    high: float
    worst_decile: float
    hard: float | None = None

    @classmethod
    def of(cls, scores: Sequence[float], hard: float | None = None) -> GateSummary:
        """From finished episodes, at least one; the bounds are infinite where there are too few."""
        values = [float(s) for s in scores]
        mean = math.fsum(values) / len(values)
        low, high = stats.lower_bound(values, SIDE), stats.upper_bound(values, SIDE)
        return cls(len(values), mean, low, high, stats.worst_decile(values), hard)


@dataclass(frozen=True)
class Scoreboard:
    """The incumbent's score on each training seed, on gate seeds, and the mean of others worth knowing by name."""

    train: Mapping[int, float] = field(default_factory=dict)
    gate: GateSummary | None = None
    others: Mapping[str, float] = field(default_factory=dict)


class LockNote(NamedTuple):
    """A lock that a revision must keep; `logic.lock_file` has the whole. kind: "scenes" or "floor"."""

    name: str
    kind: str = ""
    note: str = ""


@dataclass(frozen=True)
class Context:
    """Everything one request is built from.

    `constants`: what a policy knows at compile time (FRAMESKIP and so on). `trials`: lines of trials.jsonl, oldest
    first. `budgets`: `supervisor.budget.Budgets.table()`. Without `frames` there are no pictures.
    """

    task: str
    trial: int
    policy: str
    safety: str
    schema: SceneSchema
    actions: tuple[str, ...]
    protocol: Protocol
    constants: Mapping[str, float] = field(default_factory=dict)
    episodes: Sequence[Episode] = ()
    frames: Frames | None = None
    locks: Sequence[LockNote] = ()
    trials: Sequence[Mapping[str, Any]] = ()
    scoreboard: Scoreboard = Scoreboard()
    budgets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    blame: Blame | None = None
    limits: Limits = Limits()

    @property
    def span(self) -> int:
        """Agent steps in about a second of play: how far back a cause is looked for."""
        return max(8, round(64 / max(1, self.protocol.frameskip)))
