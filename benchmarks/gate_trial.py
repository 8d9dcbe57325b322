"""One trial of the gate on pairs that somebody supplies: what benchmarks and tests of the gate have in common.

Knows: how the gate's questions about seeds are answered. Does not know where scores come from. The stages before
playing are taken as passed, and there is no simpler variant.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from supervisor.gate.gate import Ask, Evidence, Gate, Pair, Verdict
from supervisor.gate.seeds import Role

Play = Callable[[Sequence[int]], Mapping[int, Pair]]
Open = Callable[[Role], Sequence[int]]


class Outcome(NamedTuple):
    """A verdict and how many seeds of either block were played for it."""

    verdict: Verdict
    selecting: int
    confirming: int

    @property
    def seeds(self) -> int:
        """Pairs played in all."""
        return self.selecting + self.confirming


def run_trial(gate: Gate, play: Play, block: Open, most: int | None = None) -> Outcome:
    """Ask `play` for pairs until the gate decides. `most`: no probe beyond so many selecting seeds (a budget)."""
    e = Evidence(schema=(), compile=(), measured={}, locks={}, behaviour="child", simpler=())
    while True:
        step = gate.next(e)
        if isinstance(step, Ask) and step.stage == "probe" and most and len(e.full) + len(step.seeds) > most:
            step = gate.conclude(e)
        if isinstance(step, Verdict):
            return Outcome(step, len(e.full), len(e.confirm))
        if step.stage == "confirm":
            if step.seeds:
                e = replace(e, confirm={**e.confirm, **play(step.seeds)})
            else:
                e = replace(e, confirm_seeds=tuple(block("confirm")))
        elif step.seeds:
            e = replace(e, full={**e.full, **play(step.seeds)})
        else:
            e = replace(e, full_seeds=tuple(block("select")))
