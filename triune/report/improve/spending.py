"""What a run has used so far, event by event: the x axis of every curve.

Knows the budget's events (`supervisor.budget`). Unlike Budgets it leaves open what a running process has reserved.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from supervisor.loop.budget import KEY, KINDS, RESERVED, UNKNOWN, Amount
from supervisor.loop.chain import Event


class Spending:
    """`known` amounts (unknown ones count as reserved), how many were `unknown`, what is `held`, the `limits`."""

    def __init__(self) -> None:
        self.known = dict.fromkeys(KINDS, 0.0)
        self.unknown = dict.fromkeys(KINDS, 0)
        self.held: dict[int, dict[str, Amount]] = {}
        self.limits: dict[str, float | None] = dict.fromkeys(KINDS)

    def see(self, event: Event) -> None:
        """Take one event into account."""
        told = event.data.get(KEY)
        if event.kind == RESERVED:
            self.held[event.data["id"]] = dict(event.data["amounts"])
        elif event.kind in ("run.started", "run.resumed"):
            told = event.data.get("settings", event.data).get("limits", {})
            self.limits |= {which: told[which] for which in KINDS if which in told}
        elif isinstance(told, Mapping) and "settles" in told:
            self._settle(told)

    def _settle(self, told: Mapping[str, Any]) -> None:
        reserved = self.held.pop(told["settles"], {})
        for which, value in told["amounts"].items():
            if value == UNKNOWN:
                self.unknown[which] += 1
                value = reserved.get(which, 0.0)
            if not isinstance(value, str):
                self.known[which] = round(self.known[which] + value, 9)

    def spent(self, which: str) -> Amount:
        """UNKNOWN if a part of it is."""
        return UNKNOWN if self.unknown[which] else self.known[which]

    def reserved(self, which: str) -> float:
        """Set aside and not settled."""
        amounts = (held.get(which, 0.0) for held in self.held.values())
        return sum(a for a in amounts if not isinstance(a, str))

    def now(self) -> dict[str, Amount]:
        """`spent` of every kind."""
        return {which: self.spent(which) for which in KINDS}
