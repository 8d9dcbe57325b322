"""The one choke point of a run: whatever costs anything is reserved here first, timed, and settled by its result.

Knows: budgets, the clock, the log. Does not know: what is bought.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from supervisor.loop.budget import KINDS, UNKNOWN, Amount, Budgets, Reservation
from supervisor.loop.chain import Event
from supervisor.loop.events import EventLog
from supervisor.loop.run_state import State


@dataclass
class Job:
    """A piece of work whose amounts are set aside; `settle` it with its result, once."""

    reservation: Reservation
    clock: Callable[[], float]
    began: float

    def settle(self, kind: str, data: Mapping[str, Any], **actual: Amount) -> None:
        """One event: the result, and what it took. The wall time is measured here."""
        self.reservation.settle(kind, data, wall_s=round(max(0.0, self.clock() - self.began), 3), **actual)


class Meter:
    """The log, the state that follows from it, and the budgets of one run, which never part."""

    def __init__(
        self, log: EventLog, state: State, limits: Mapping[str, float | None], clock: Callable[[], float],
        warn: Callable[[str], object],
    ) -> None:  # fmt: skip
        self.log, self.clock, self.state = log, clock, state
        self.budgets = Budgets(**limits, events=list(log.events), record=self.record, warn=warn)

    def record(self, kind: str, data: Mapping[str, Any]) -> Event:
        """Append an event and let the state know."""
        event = self.log.append(kind, data)
        self.state.apply(event)
        return event

    def reserve(self, what: str, wall_s: Amount = 1.0, **amounts: Amount) -> Job:
        """Set amounts aside; BudgetSpent or AmountUnknown when that cannot be."""
        began = self.clock()
        return Job(self.budgets.reserve(what, wall_s=wall_s, **amounts), self.clock, began)

    @contextmanager
    def job(self, what: str, wall_s: Amount = 1.0, **amounts: Amount) -> Iterator[Job]:
        """The same; abandoned when the work fails."""
        job = self.reserve(what, wall_s, **amounts)
        with job.reservation:
            yield job

    def told(self) -> dict[str, dict[str, Any]]:
        """The budgets as a proposer is told: without wall time and without what kills have wasted, so that a run that
        was interrupted asks the same questions as one that was not."""
        table = {}
        for which in KINDS:
            if which == "wall_s":
                continue
            parts = [trial.spent[which] for trial in self.state.trials]
            known = round(sum(p for p in parts if not isinstance(p, str)), 9)
            unknown = sum(isinstance(p, str) for p in parts)
            limit = self.budgets.limits[which]
            table[which] = {
                "limit": limit, "spent": UNKNOWN if unknown else known, "at_least": known, "unknown": unknown,
                "reserved": 0.0, "left": None if limit is None else max(0.0, limit - known),
            }  # fmt: skip
        return table
