"""Budgets in figures: exactly at the limit, at each warning, what a call costs, what is no count."""

from __future__ import annotations

import math
from typing import Any

import pytest
from events_kit import Notes

from supervisor.budget import (
    RESERVED,
    SETTLED,
    UNKNOWN,
    WARNED,
    AmountUnknown,
    Budgets,
    BudgetSpent,
    Price,
    Tokens,
    tokens_of,
    total,
)  # fmt: skip
from supervisor.errors import SupervisorError
from supervisor.events import START, Event


@pytest.mark.parametrize("which", ["usd", "tokens", "steps", "wall_s"])
def test_exactly_the_limit_may_be_reserved_and_more_may_not(which: str) -> None:
    limited = {which: 100.0}
    budgets = Budgets(**limited)  # type: ignore[arg-type]
    budgets.reserve("a", **{which: 30.0}).settle(**{which: 20.0})
    held = budgets.reserve("b", **{which: 45.0})
    assert (budgets.held(which), budgets.left(which)) == (45.0, 35.0)
    with pytest.raises(BudgetSpent) as found:
        budgets.reserve("c", **{which: 35.001})
    error = found.value
    assert (error.which, error.limit, error.spent, error.reserved, error.asked) == (which, 100.0, 20.0, 45.0, 35.001)
    assert "20 spent, 45 reserved, 35 needed" in str(error) and f"({which})" in str(error)
    budgets.reserve("c", **{which: 35.0})
    assert budgets.left(which) == 0.0 and held.open
    with pytest.raises(BudgetSpent, match="the budget of 100 "):
        budgets.reserve("d", **{which: 1e-6})


def test_rounding_is_a_billionth_of_the_limit() -> None:
    Budgets(usd=1e6).reserve("a", usd=1e6 + 0.0005)
    with pytest.raises(BudgetSpent, match=r"1,000,000 US dollars is used up: 0 spent, 1e\+06 needed"):
        Budgets(usd=1e6).reserve("a", usd=1e6 + 0.01)


def test_amounts_are_told_to_four_figures_and_whole_ones_whole() -> None:
    with pytest.raises(BudgetSpent, match=r"budget of 1,234,567 tokens is used up: 0.1235 spent, 2,345,678 needed"):
        budgets = Budgets(tokens=1234567)
        budgets.reserve("a", tokens=1).settle(tokens=0.123456)
        budgets.reserve("b", tokens=2345678)


def test_a_limit_of_nothing_allows_nothing_and_unknown_is_not_nothing() -> None:
    budgets = Budgets(usd=0, steps=5)
    budgets.reserve("free", usd=0, steps=5).settle()
    with pytest.raises(BudgetSpent):
        budgets.reserve("paid", usd=0.01)
    with pytest.raises(AmountUnknown) as found:
        budgets.reserve("a call", usd=UNKNOWN)
    assert found.value.which == "usd" and "how many US dollars a call takes" in str(found.value)
    Budgets(steps=5).reserve("call", usd=UNKNOWN)


@pytest.mark.parametrize("which", ["usd", "wall_s"])
@pytest.mark.parametrize(
    ("spent", "percents"), [(49.99, []), (50, [50]), (79.99, [50]), (80, [50, 80]), (99, [50, 80])]
)
def test_warnings_are_at_half_and_at_four_fifths(which: str, spent: float, percents: list[int]) -> None:
    notes, said = Notes(), []
    limit: dict[str, Any] = {which: 100.0}
    budgets = Budgets(**limit, record=notes.append, warn=said.append)
    budgets.reserve("a", **{which: 100.0}).settle(**{which: spent})
    told = [e.data for e in notes.events if e.kind == WARNED]
    assert told == [{"which": which, "percent": p, "limit": 100.0, "spent": spent} for p in percents]
    assert [s.split(" of ")[0] for s in said] == [f"{p} %" for p in percents]
    assert budgets.warned == {(which, p, 100.0) for p in percents}


def test_a_warning_names_the_limit_and_a_larger_limit_warns_again() -> None:
    notes, said = Notes(), []
    Budgets(usd=10, record=notes.append, warn=said.append).reserve("a", usd=5).settle()
    assert said == ["50 % of the budget of 10 US dollars is spent (5)"]
    Budgets(usd=10, events=notes.events, warn=said.append).reserve("a", usd=1).settle()
    assert len(said) == 1
    Budgets(usd=12, events=notes.events, warn=said.append).reserve("a", usd=1).settle()
    assert said[1:] == ["50 % of the budget of 12 US dollars is spent (6)"]
    Budgets(usd=0, warn=said.append).reserve("a", usd=0).settle()
    assert len(said) == 2, "nothing of nothing is no half"


def test_numbers_of_reservations_go_on_where_the_run_stopped() -> None:
    """Also where the last ones were never settled, or were settled in another order."""
    notes = Notes()
    budgets = Budgets(record=notes.append)
    one, two = budgets.reserve("a", steps=1), budgets.reserve("b", steps=2)
    assert (one.number, two.number) == (1, 2)
    two.settle()
    again = Budgets(events=list(notes.events), record=notes.append)
    assert again.reserve("c", steps=3).number == 3
    first = [Event(1, 0.0, RESERVED, {"id": 7, "what": "x", "amounts": {}}, START, START),
             Event(2, 0.0, RESERVED, {"id": 5, "what": "x", "amounts": {}}, START, START)]  # fmt: skip
    assert Budgets(events=first).reserve("d").number == 8


def test_what_is_recorded_is_what_was_asked_and_what_was_used() -> None:
    notes = Notes()
    budgets = Budgets(record=notes.append)
    budgets.reserve("call", usd=0.5, tokens=UNKNOWN).settle(tokens=7)
    asked, used = notes.events
    assert (asked.kind, asked.data) == (
        RESERVED, {"id": 1, "what": "call", "amounts": {"usd": 0.5, "tokens": UNKNOWN}},
    )  # fmt: skip
    assert (used.kind, used.data) == (SETTLED, {"budget": {"settles": 1, "amounts": {"usd": 0.5, "tokens": 7.0}}})
    assert budgets.known == {"usd": 0.5, "tokens": 7.0, "steps": 0.0, "wall_s": 0.0}


def test_unknown_and_reserved_unknown_adds_nothing_but_is_remembered() -> None:
    budgets = Budgets()
    budgets.reserve("a", usd=UNKNOWN, tokens=5).settle(usd=UNKNOWN, tokens=UNKNOWN)
    budgets.reserve("b").settle(steps=UNKNOWN)
    assert budgets.known == {"usd": 0, "tokens": 5, "steps": 0, "wall_s": 0}
    assert budgets.unknown == {"usd": 1, "tokens": 1, "steps": 1, "wall_s": 0}
    assert {k: t["spent"] for k, t in budgets.table().items()} == {
        "usd": UNKNOWN, "tokens": UNKNOWN, "steps": UNKNOWN, "wall_s": 0,
    }  # fmt: skip


def test_sums_do_not_drift() -> None:
    budgets = Budgets()
    for _ in range(10):
        budgets.reserve("a", usd=0.1).settle()
    assert budgets.known["usd"] == 1.0


# --- what calls cost


def test_a_call_costs_its_fresh_cached_and_written_tokens() -> None:
    call = Tokens(1_000_000, 3_000_000, 400_000)
    assert Price(2.0, 5.0, 0.5).of(call) == pytest.approx(0.6 * 2 + 0.4 * 0.5 + 3 * 5)
    assert Price(2.0, 5.0).of(call) == pytest.approx(2 + 15), "cached as any other"
    assert Price(2.0, 5.0, 0.0).of(call) == pytest.approx(1.2 + 15)
    assert Price(2.0, 5.0, 0.5).at_most(call) == pytest.approx(2 + 15)
    assert Price(2.0, 5.0, 3.0).at_most(call) == pytest.approx(3 + 15), "nobody knows how much is cached"
    assert Price(2.0, 5.0).of(Tokens(1_000_000, 0)) == 2.0


@pytest.mark.parametrize("bad", [-0.1, math.nan, math.inf, True, "1", None])
@pytest.mark.parametrize("name", ["input", "output", "cached"])
def test_what_is_no_price(name: str, bad: Any) -> None:
    good: dict[str, Any] = {"input": 1.0, "output": 2.0, "cached": 0.0}
    Price(**good)
    if name == "cached" and bad is None:
        return
    with pytest.raises(SupervisorError, match=rf"price\.{name}: "):
        Price(**{**good, name: bad})


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"prompt_tokens": 7, "completion_tokens": 0}, Tokens(7, 0, 0)),
        ({"prompt_tokens": 0, "completion_tokens": 3, "prompt_tokens_details": None}, Tokens(0, 3, 0)),
        ({"prompt_tokens": 7, "completion_tokens": 3, "prompt_tokens_details": {}}, Tokens(7, 3, 0)),
        ({"prompt_tokens": 7, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 7}}, Tokens(7, 3, 7)),
        ({"prompt_tokens": 7, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 8}}, None),
        ({"prompt_tokens": 7, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": -1}}, None),
        ({"prompt_tokens": -1, "completion_tokens": 3}, None),
        ({"prompt_tokens": 7, "completion_tokens": -1}, None),
        ({"prompt_tokens": 10**9, "completion_tokens": 10**9}, Tokens(10**9, 10**9, 0)),
        ({"prompt_tokens": 10**9 + 1, "completion_tokens": 3}, None),
        ({"prompt_tokens": 7.0, "completion_tokens": 3}, None),
        ({"prompt_tokens": 7, "completion_tokens": True}, None),
        ({"prompt_tokens": 7}, None),
        ("7", None),
        (None, None),
    ],
)
def test_what_a_server_says_it_used(usage: Any, tokens: Tokens | None) -> None:
    assert tokens_of({"usage": usage}) == tokens


def test_a_bill_is_the_sum_of_its_calls_or_unknown() -> None:
    calls = [Tokens(1000, 10, 400), Tokens(2000, 30)]
    assert total(calls, Price(2.0, 5.0, 1.0)) == (3040.0, pytest.approx((600 * 2 + 400 + 50 + 4000 + 150) / 1e6))
    assert total(calls, None) == (3040.0, UNKNOWN) and total([], None) == (0.0, 0.0)
    assert total([*calls, None], Price(0, 0)) == total([None], None) == (UNKNOWN, UNKNOWN)
    assert total([Tokens(1, 1)] * 3, Price(0.1, 0.0))[1] == 3e-7, "to a billionth of a dollar"
