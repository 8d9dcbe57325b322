"""Budgets: nothing is used that was not reserved, unknown is never nothing, and events alone give the state back."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import pytest
from events_kit import Notes

from supervisor.budget import KINDS, UNKNOWN, WARNED, AmountUnknown, Budgets, BudgetSpent
from supervisor.errors import SupervisorError
from supervisor.events import EventLog, read


def test_reserve_settle_and_the_end_of_a_budget() -> None:
    budgets = Budgets(usd=1.0, steps=1000)
    work = budgets.reserve("call", usd=0.6, tokens=5000)
    with pytest.raises(BudgetSpent) as found:
        budgets.reserve("call", usd=0.6)
    assert (found.value.which, found.value.limit, found.value.spent, found.value.reserved) == ("usd", 1.0, 0.0, 0.6)
    assert "US dollars" in str(found.value) and "resume with a larger budget" in str(found.value)
    work.settle(usd=0.1)
    assert budgets.known == {"usd": 0.1, "tokens": 5000, "steps": 0, "wall_s": 0}  # what is not told counts as reserved
    assert budgets.left("usd") == pytest.approx(0.9) and budgets.left("tokens") is None
    budgets.reserve("call", usd=0.9)
    with pytest.raises(BudgetSpent, match="environment steps"):
        budgets.reserve("episode", steps=1001)


def test_a_reservation_is_all_or_nothing() -> None:
    notes = Notes()
    budgets = Budgets(usd=1, steps=10, record=notes.append)
    with pytest.raises(BudgetSpent):
        budgets.reserve("both", usd=0.5, steps=11)
    assert not notes.events and budgets.left("usd") == 1


def test_more_than_reserved_counts_in_full_and_stops_the_next() -> None:
    budgets = Budgets(tokens=100)
    budgets.reserve("call", tokens=10).settle(tokens=150)
    assert budgets.left("tokens") == 0 and budgets.table()["tokens"]["spent"] == 150
    with pytest.raises(BudgetSpent):
        budgets.reserve("call", tokens=1)
    budgets.reserve("nothing", tokens=0)


def test_what_fits_exactly_is_not_refused_by_rounding() -> None:
    budgets = Budgets(usd=0.3)
    for _ in range(3):
        budgets.reserve("call", usd=0.1).settle()
    assert budgets.left("usd") == 0
    with pytest.raises(BudgetSpent):
        budgets.reserve("call", usd=0.001)


def test_unknown_stays_unknown() -> None:
    budgets = Budgets(tokens=1000)
    budgets.reserve("call", usd=UNKNOWN, tokens=10).settle(tokens=8)
    budgets.reserve("call", usd=0.5, tokens=10).settle(usd=0.25, tokens=UNKNOWN)
    table = budgets.table()
    assert table["usd"] | {"left": None} == {
        "limit": None, "spent": UNKNOWN, "at_least": 0.25, "unknown": 1, "reserved": 0.0, "left": None,
    }  # fmt: skip
    assert table["tokens"]["spent"] == UNKNOWN and table["tokens"]["at_least"] == 18  # charged as reserved
    with pytest.raises(AmountUnknown, match="name the price"):
        Budgets(usd=5).reserve("call", usd=UNKNOWN)


def test_warnings_come_once_each_also_after_resuming() -> None:
    notes, said = Notes(), []
    budgets = Budgets(steps=100, record=notes.append, warn=said.append)
    for _ in range(6):
        budgets.reserve("episode", steps=10).settle()
    assert len(said) == 1 and said[0].startswith("50 %")
    again = Budgets(steps=100, events=notes.events, record=notes.append, warn=said.append)
    again.reserve("episode", steps=30).settle()
    again.reserve("episode", steps=5).settle()
    assert [w["percent"] for w in notes.kinds(WARNED)] == [50, 80] and len(said) == 2
    Budgets(usd=1, warn=said.append).reserve("dear", usd=1).settle()
    assert len(said) == 4


def test_reserving_alone_warns_of_nothing() -> None:
    said: list[str] = []
    Budgets(steps=100, warn=said.append).reserve("episode", steps=100)
    assert not said


def test_a_larger_budget_after_the_end() -> None:
    notes = Notes()
    Budgets(usd=1, record=notes.append).reserve("call", usd=1).settle()
    with pytest.raises(BudgetSpent):
        Budgets(usd=1, events=notes.events).reserve("call", usd=0.1)
    Budgets(usd=2, events=notes.events).reserve("call", usd=0.9)


def test_what_a_kill_leaves_open_is_settled_once() -> None:
    notes = Notes()
    budgets = Budgets(record=notes.append)
    budgets.reserve("call and play", usd=0.5, tokens=100, steps=1000, wall_s=60)
    for _ in range(2):  # the process is gone, twice
        resumed = Budgets(events=list(notes.events), record=notes.append)
        assert resumed.known == {"usd": 0.5, "tokens": 100, "steps": 0, "wall_s": 0} and not resumed.reserved
    assert [e.kind for e in notes.events] == ["budget.reserved", "budget.abandoned"]


def test_failing_work_is_abandoned_and_work_that_never_began_is_free() -> None:
    budgets = Budgets()
    with pytest.raises(ZeroDivisionError), budgets.reserve("call", usd=0.5, steps=10):
        raise ZeroDivisionError
    assert budgets.known["usd"] == 0.5 and budgets.known["steps"] == 0
    budgets.reserve("call", usd=UNKNOWN, tokens=5).release()
    assert budgets.known["tokens"] == 0 and not budgets.unknown["usd"] and not budgets.reserved
    with budgets.reserve("call", usd=1.0) as work:
        work.settle(usd=0.25)
    assert budgets.known["usd"] == 0.75
    with pytest.raises(SupervisorError, match="settled already"):
        work.settle()


def test_a_result_and_its_bill_are_one_event() -> None:
    notes = Notes()
    budgets = Budgets(record=notes.append)
    made = budgets.reserve("episode", steps=500).settle("gate.measured", {"seed": 1007, "score": 4}, steps=420)
    assert made is notes.events[-1]
    assert notes.events[-1].data == {"seed": 1007, "score": 4, "budget": {"settles": 1, "amounts": {"steps": 420.0}}}
    assert Budgets(events=notes.events).known["steps"] == 420
    with pytest.raises(SupervisorError, match="rename it"):
        budgets.reserve("episode").settle("gate.measured", {"budget": 0})


@pytest.mark.parametrize("bad", [-1, math.nan, math.inf, True, "many", None, [1]])
def test_what_is_no_amount(bad: Any) -> None:
    with pytest.raises(SupervisorError, match="no amount"):
        Budgets().reserve("call", usd=bad)
    with pytest.raises(SupervisorError, match="no amount"):
        Budgets().reserve("call", usd=1).settle(usd=bad)
    if bad is not None:
        with pytest.raises(SupervisorError, match="no amount"):
            Budgets(usd=bad)
    with pytest.raises(SupervisorError, match="there are usd, tokens"):
        Budgets().reserve("call", dollars=1)


def test_events_that_are_none_of_a_budget() -> None:
    notes = Notes()
    notes.append("gate.measured", {"budget": {"settles": 7, "amounts": {}}})
    with pytest.raises(SupervisorError, match="event 1"):
        Budgets(events=notes.events)


@pytest.mark.parametrize("seed", range(20))
def test_any_history_rebuilds_to_the_same_state_at_every_event(seed: int) -> None:
    """Limits are never passed by reservations, and the state after any event follows from the events."""
    generator, notes = random.Random(seed), Notes()
    limits = {k: generator.choice([None, generator.uniform(50, 400)]) for k in KINDS}
    budgets = Budgets(**limits, record=notes.append)
    held = []
    for _ in range(60):
        if held and generator.random() < 0.5:
            work = held.pop(generator.randrange(len(held)))
            work.settle(**{k: a * generator.random() for k, a in work.amounts.items()})
        else:
            try:
                kinds = generator.sample(list(KINDS), generator.randrange(1, 5))
                held.append(budgets.reserve("work", **{k: generator.uniform(0, 60) for k in kinds}))
            except BudgetSpent as error:
                assert limits[error.which] is not None
        for which, limit in limits.items():
            assert limit is None or budgets.known[which] + budgets.held(which) <= limit * (1 + 1e-6)
    for work in held:
        work.abandon()
    again = Budgets(**limits, events=notes.events)
    assert again.table() == budgets.table() and again.warned == budgets.warned


def test_on_the_real_log(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with EventLog.open(path, now=lambda: 1.0) as log:
        budgets = Budgets(usd=1, events=log.events, record=log.append)
        budgets.reserve("call", usd=0.6).settle(usd=UNKNOWN)
    again = Budgets(usd=1, events=read(path))
    assert again.table() == budgets.table() and again.warned == {("usd", 50, 1.0)}
