"""A race: several children of one parent, judged on the same seeds, with the share of equal children held over all.

Each child is judged by the gate's own rules (supervisor/gate/gate.py) at a level that is divided by their number, so
whoever is dropped, and whoever is confirmed first, no more than the gate's share of equal children gets in. Pure, as
the gate is: no clock, no files, no random draws. What is promised is in docs/gate.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from supervisor.gate import rules
from supervisor.gate import statistics as stats
from supervisor.gate.gate import Gate
from supervisor.gate.types import Ask, Evidence, GateConfig, Pair, Stage, Verdict

SELECTING: tuple[Stage, ...] = ("screen", "full", "probe")
BEHIND = 0.01  # p-value at which a child is seen to be worse than the best of the race, at any look


class Round(NamedTuple):
    """Where a race stands: `verdicts` of the children that are done, what those need that go on; the others wait."""

    verdicts: Mapping[str, Verdict]
    asks: Mapping[str, Ask]


def among(config: GateConfig, children: int) -> GateConfig:
    """The gate for one of several children: of equal ones it lets in the share of the whole gate divided by their
    number (Bonferroni), which needs nothing of how their scores hang together. The selecting block takes it all."""
    return replace(config, spend=tuple(share / max(1, children) for share in config.spend))


class Race:
    """`next(children)` until each has a verdict; `conclude(children)` when there is no budget for what it asks.

    Children are named as verdicts shall name them, and all are given each time, those with a verdict too. Their
    selecting seeds are the same, in the same order. SupervisorError as from Gate.
    """

    def __init__(self, config: GateConfig | None = None) -> None:
        self.config = config or GateConfig()

    def next(self, children: Mapping[str, Evidence]) -> Round:
        """The verdicts so far, and the cheapest open question of each child that is to go on now."""
        verdicts, ask = self._before_playing(children)
        if ask:
            return Round(verdicts, ask)
        racing = {name: e for name, e in children.items() if name not in verdicts}
        gate = self._gate(racing)
        steps = {name: gate.next(e) for name, e in racing.items()}
        lost = _left_behind(racing, steps, self.config.looks)
        winner = next((n for n, s in steps.items() if isinstance(s, Verdict) and s.kind == "accept"), None)
        asks: dict[str, Ask] = {}
        for name, step in steps.items():
            if isinstance(step, Verdict):
                verdicts[name] = step
            elif name in lost:
                verdicts[name] = _lost(racing[name], *lost[name])
            elif winner is not None:
                verdicts[name] = _lost(racing[name], winner)
            else:
                asks[name] = step
        return Round(verdicts, _now(racing, asks))

    def conclude(self, children: Mapping[str, Evidence]) -> Round:
        """A verdict for every child: "probe" where more games could still decide."""
        verdicts, asks = self.next(children)
        open_ = {name: e for name, e in children.items() if name not in verdicts}
        racing = {name: e for name, e in children.items() if name in open_ or _ran(verdicts[name])}
        ends = {name: self._gate(racing).conclude(e) for name, e in open_.items()}
        winner = next((name for name in asks if ends[name].kind == "accept"), None)
        if winner is not None:
            ends = {name: end if name == winner else _lost(open_[name], winner) for name, end in ends.items()}
        return Round({**verdicts, **ends}, {})

    def _before_playing(self, children: Mapping[str, Evidence]) -> tuple[dict[str, Verdict], dict[str, Ask]]:
        """Verdicts of children that are not played, and the next question about one: in turn, since a copy shows beside
        the one that came first."""
        gate, verdicts = Gate(self.config), dict[str, Verdict]()
        for name, evidence in children.items():
            step = gate.before_playing(evidence)
            if isinstance(step, Ask):
                return verdicts, {name: step}
            if step:
                verdicts[name] = step
        return verdicts, {}

    def _gate(self, racing: Mapping[str, Evidence]) -> Gate:
        return Gate(among(self.config, len(racing)))


def _left_behind(
    racing: Mapping[str, Evidence], steps: Mapping[str, Ask | Verdict], looks: Sequence[int]
) -> dict[str, tuple[str, int]]:
    """Children that were plainly worse than the best at a look that all had reached: to whom they lost, and when.

    Those that the parent has beaten, or that have passed, are no longer counted at the looks behind that."""
    lost: dict[str, tuple[str, int]] = {}
    for n in looks:
        running = [name for name, step in steps.items() if isinstance(step, Ask) and name not in lost]
        if any(len(racing[name].full) < n for name in running):
            break
        pairs = {
            name: rules.in_order(e.full, e.full_seeds[:n])
            for name, e in racing.items() if name not in lost and len(e.full) >= n
        }  # fmt: skip
        pairs = {name: some for name, some in pairs.items() if not rules.broken(some)}
        best = max(pairs, key=lambda name: _mean(pairs[name]), default="")
        for name in running:
            if steps[name].stage in SELECTING and name in pairs and name != best:
                ahead = [b.child - a.child for a, b in zip(pairs[name], pairs[best], strict=True)]
                if stats.p_greater(ahead) <= BEHIND:
                    lost[name] = best, n
    return lost


def _now(racing: Mapping[str, Evidence], asks: Mapping[str, Ask]) -> Mapping[str, Ask]:
    """Of all open questions those to be answered now. Nobody goes on before the others have as many games; of those
    that have passed one is confirmed, the best first: should it fail at the fresh block, the race goes on."""
    most = max((len(racing[name].full) for name in asks), default=0)
    late = {n: ask for n, ask in asks.items() if ask.stage in SELECTING and len(racing[n].full) < most}
    passed = [name for name, ask in asks.items() if ask.stage not in SELECTING]
    if late or not passed:
        return late or asks
    front = max(passed, key=lambda name: _mean(rules.in_order(racing[name].full, racing[name].full_seeds)))
    return {front: asks[front]}


def _ran(verdict: Verdict) -> bool:
    """Whether a child with this verdict was played."""
    return verdict.stage in (*SELECTING, "confirm", "simplify", "accept")


def _mean(pairs: Sequence[Pair]) -> float:
    return float(np.mean(rules.differences(pairs)))


def _lost(evidence: Evidence, to: str, after: int = 0) -> Verdict:
    """Not worse than the parent, as far as was seen, but another child was taken, or was plainly better `after` so many
    games."""
    pairs: list[Pair] = [p for p in rules.in_order(evidence.full, evidence.full_seeds) if p.finite()]
    why = f"plainly behind after {after} seeds" if after else "shown to be better first"
    numbers = rules.figures("full", pairs) if pairs else {}
    return Verdict("indecisive", "probe" if pairs else "full", (f"lost the race to {to}: {why}",), numbers)
