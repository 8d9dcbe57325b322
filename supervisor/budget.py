"""The one place where money, tokens, environment steps and wall time are asked for before they are used."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from supervisor.errors import SupervisorError
from supervisor.events import Event

# ----------------------------------------------------------------------------------------------------
# The one place where money, tokens, environment steps and wall time are asked for before they are used.
#
# The state follows from the run's events alone.
#
# A reservation is an event `budget.reserved`. It is settled by an event whose data has `"budget": {"settles": id,
# "amounts": {...}}`: of kind `budget.settled`, or of the kind of the result that was paid for, so that result and
# bill reach the log in one piece. What a kill leaves open is settled at the next start: money and tokens count as
# spent, since the call may have gone out; steps and time do not, since that work is done again and then counts.


UNKNOWN = "unknown"  # an amount that nobody told; never taken for 0
KINDS = {
    "usd": "US dollars", "tokens": "tokens", "steps": "environment steps", "wall_s": "seconds of wall time",
}  # fmt: skip
BOUGHT = ("usd", "tokens")
WARN_AT = (50, 80)  # percent
KEY = "budget"
RESERVED, SETTLED, ABANDONED, WARNED = "budget.reserved", "budget.settled", "budget.abandoned", "budget.warned"
_ROUNDING = 1e-9  # of a limit: sums of floats must not refuse what fits exactly

Amount = float | str  # a number, or UNKNOWN
Record = Callable[[str, Mapping[str, Any]], object]


class BudgetSpent(SupervisorError):
    """There is not enough left of `which`. The run can be resumed with a larger budget."""

    def __init__(self, which: str, limit: float, spent: float, reserved: float, asked: float) -> None:
        self.which, self.limit, self.spent, self.reserved, self.asked = which, limit, spent, reserved, asked
        held = f", {_plain(reserved)} reserved" if reserved else ""
        super().__init__(
            f"the budget of {_plain(limit)} {KINDS[which]} is used up: {_plain(spent)} spent{held}, {_plain(asked)} "
            f"needed for the next step; resume with a larger budget ({which})"
        )


class AmountUnknown(SupervisorError):
    """A limit is set for something whose amount nobody can tell."""

    def __init__(self, which: str, what: str) -> None:
        self.which = which
        super().__init__(
            f"how many {KINDS[which]} {what} takes is not known, so the budget for it cannot be kept; "
            f"name the price, or run without a budget for {which}"
        )


class Reservation:
    """Amounts set aside for one piece of work. As a context manager, it is abandoned when the work fails."""

    def __init__(self, budgets: Budgets, number: int, amounts: dict[str, Amount]) -> None:
        self.budgets, self.number, self.amounts = budgets, number, amounts

    def settle(self, kind: str = SETTLED, data: Mapping[str, Any] | None = None, **actual: Amount) -> object:
        """Record what was used, in one event of `kind` together with `data`. What was reserved and is not named counts
        as reserved; UNKNOWN does too, and is remembered as unknown."""
        return self.budgets._settle(self, kind, data or {}, actual)

    def release(self) -> None:
        """Nothing was used: the work never began."""
        self.budgets._settle(self, SETTLED, {}, dict.fromkeys(self.amounts, 0))

    def abandon(self) -> None:
        """The work failed half way: money and tokens count as spent, steps and time will be spent again."""
        self.budgets._abandon(self)

    @property
    def open(self) -> bool:
        """Whether it is still to be settled."""
        return self.number in self.budgets.reserved

    def __enter__(self) -> Reservation:
        return self

    def __exit__(self, *error: object) -> None:
        if self.open:
            self.abandon()


class Budgets:
    """Limits (None: no limit) and what has become of them, rebuilt from `events`."""

    def __init__(
        self, usd: float | None = None, tokens: float | None = None, steps: float | None = None,
        wall_s: float | None = None, *, events: Iterable[Event] = (), record: Record = lambda kind, data: None,
        warn: Callable[[str], object] = lambda text: None,
    ) -> None:  # fmt: skip
        self.limits = {"usd": usd, "tokens": tokens, "steps": steps, "wall_s": wall_s}
        for which, limit in self.limits.items():
            if limit is not None:
                _number(which, limit)
        self.reserved: dict[int, dict[str, Amount]] = {}
        self.known = dict.fromkeys(KINDS, 0.0)  # spent for certain, or charged as reserved
        self.unknown = dict.fromkeys(KINDS, 0)  # settlements that could not tell
        self.warned: set[tuple[str, int, float]] = set()
        self._last = 0
        self._record, self._warn = record, warn
        for event in events:
            self._replay(event)
        for number, amounts in list(self.reserved.items()):
            self._abandon(Reservation(self, number, amounts))

    def reserve(self, what: str, **amounts: Amount) -> Reservation:
        """Set amounts aside for `what`, all of them or none.

        BudgetSpent when one is not there, AmountUnknown when one that has a limit is UNKNOWN.
        """
        checked = {which: _amount(which, amount) for which, amount in amounts.items()}
        for which, amount in checked.items():
            limit = self.limits[which]
            if limit is None or amount == 0:
                continue
            if isinstance(amount, str):
                raise AmountUnknown(which, what)
            held = self.held(which)
            if self.known[which] + held + amount > limit * (1 + _ROUNDING):
                raise BudgetSpent(which, limit, self.known[which], held, amount)
        number = self._last + 1
        self._record(RESERVED, {"id": number, "what": what, "amounts": checked})
        self._last = number
        self.reserved[number] = checked
        return Reservation(self, number, checked)

    def affords(self, **amounts: Amount) -> bool:
        """Whether `reserve` would set these aside; what nobody knows has no limit here."""
        for which, amount in amounts.items():
            left = self.left(which)
            if left is not None and not isinstance(amount, str) and amount > left * (1 + _ROUNDING):
                return False
        return True

    def held(self, which: str) -> float:
        """Reserved and not settled."""
        found = (a.get(which, 0.0) for a in self.reserved.values())
        return math.fsum(a for a in found if not isinstance(a, str))

    def left(self, which: str) -> float | None:
        """What can still be reserved; None without a limit."""
        limit = self.limits[which]
        return None if limit is None else max(0.0, limit - self.known[which] - self.held(which))

    def table(self) -> dict[str, dict[str, Any]]:
        """JSON-able, per kind `limit, spent, at_least, unknown, reserved, left`; `spent` is UNKNOWN if a part is."""
        return {
            which: {
                "limit": self.limits[which],
                "spent": UNKNOWN if self.unknown[which] else self.known[which],
                "at_least": self.known[which],
                "unknown": self.unknown[which],
                "reserved": self.held(which),
                "left": self.left(which),
            }
            for which in KINDS
        }

    # --- settling ------------------------------------------------------------------------------------------------

    def _settle(
        self, reservation: Reservation, kind: str, data: Mapping[str, Any], actual: Mapping[str, Amount]
    ) -> object:
        if not reservation.open:
            raise SupervisorError(f"reservation {reservation.number} is settled already; reserve anew for more work")
        if KEY in data:
            raise SupervisorError(f"the data of an event that settles cannot have a key {KEY!r} of its own; rename it")
        amounts = {which: _amount(which, amount) for which, amount in {**reservation.amounts, **actual}.items()}
        made = self._record(kind, {**data, KEY: {"settles": reservation.number, "amounts": amounts}})
        self._count(reservation.number, amounts)
        self._warnings()
        return made

    def _abandon(self, reservation: Reservation) -> None:
        work = {which: 0.0 for which in reservation.amounts if which not in BOUGHT}
        self._settle(reservation, ABANDONED, {}, work)

    def _count(self, number: int, amounts: Mapping[str, Amount]) -> None:
        reserved = self.reserved.pop(number)
        for which, amount in amounts.items():
            if isinstance(amount, str):
                self.unknown[which] += 1
                amount = reserved.get(which, 0.0)
            if not isinstance(amount, str):
                self.known[which] = round(self.known[which] + amount, 9)

    def _warnings(self) -> None:
        for which, limit in self.limits.items():
            for percent in WARN_AT:
                if limit and self.known[which] * 100 >= limit * percent and (which, percent, limit) not in self.warned:
                    spent = self.known[which]
                    self._record(WARNED, {"which": which, "percent": percent, "limit": limit, "spent": spent})
                    self.warned.add((which, percent, limit))
                    self._warn(
                        f"{percent} % of the budget of {_plain(limit)} {KINDS[which]} is spent ({_plain(spent)})"
                    )

    def _replay(self, event: Event) -> None:
        """One event of the past."""
        try:
            told = event.data.get(KEY)
            if event.kind == RESERVED:
                amounts = {which: _amount(which, amount) for which, amount in event.data["amounts"].items()}
                self.reserved[event.data["id"]] = amounts
                self._last = max(self._last, event.data["id"])
            elif event.kind == WARNED:
                self.warned.add((event.data["which"], event.data["percent"], float(event.data["limit"])))
            elif told is not None:
                self._count(told["settles"], {which: _amount(which, a) for which, a in told["amounts"].items()})
        except (KeyError, TypeError, AttributeError) as error:
            raise SupervisorError(
                f"event {event.n} ({event.kind}) is no entry of a budget ({error!r}); "
                "was the run made by another version?"
            ) from error


def _amount(which: str, amount: Amount) -> Amount:
    if which not in KINDS:
        raise SupervisorError(f"no budget is called {which!r}; there are {', '.join(KINDS)}")
    return amount if amount == UNKNOWN else _number(which, amount)


def _number(which: str, amount: object) -> float:
    if isinstance(amount, bool) or not isinstance(amount, (int, float)) or not math.isfinite(amount) or amount < 0:
        raise SupervisorError(
            f"{which}: {amount!r} is no amount; give a number from 0, or {UNKNOWN!r} where nobody knows"
        )
    return float(amount)


def _plain(amount: float) -> str:
    return f"{amount:,.0f}" if amount == int(amount) else f"{amount:,.4g}"


# ----------------------------------------------------------------------------------------------------
# What calls of a model cost: token counts as a server told them, times prices that the user named.


_MOST = 10**9  # tokens in one call; more is no count


class Tokens(NamedTuple):
    """One call. `cached` is the part of `prompt` that the server had seen before."""

    prompt: int
    completion: int
    cached: int = 0


@dataclass(frozen=True)
class Price:
    """US dollars per million tokens. `cached` None: as `input`."""

    input: float
    output: float
    cached: float | None = None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is None and name == "cached":
                continue
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
                raise SupervisorError(f"price.{name}: {value!r}; give US dollars per million tokens, 0 if it is free")

    def of(self, tokens: Tokens) -> float:
        """US dollars of one call."""
        cached = self.input if self.cached is None else self.cached
        fresh = tokens.prompt - tokens.cached
        return (fresh * self.input + tokens.cached * cached + tokens.completion * self.output) / 1e6

    def at_most(self, tokens: Tokens) -> float:
        """The same where nobody knows what is cached."""
        dearest = max(self.input, self.cached or 0.0)
        return (tokens.prompt * dearest + tokens.completion * self.output) / 1e6


def tokens_of(response: Mapping[str, Any]) -> Tokens | None:
    """The `usage` of a chat completion; None when it is missing or cannot be true."""
    usage = response.get("usage")
    if not isinstance(usage, Mapping):
        return None
    details = usage.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, Mapping) else 0
    prompt, completion, cached = usage.get("prompt_tokens"), usage.get("completion_tokens"), cached or 0
    counts = (prompt, completion, cached)
    if any(type(n) is not int or not 0 <= n <= _MOST for n in counts) or cached > prompt:  # type: ignore[operator]
        return None
    return Tokens(*counts)  # type: ignore[arg-type]


def total(calls: Iterable[Tokens | None], price: Price | None) -> tuple[Amount, Amount]:
    """Tokens and US dollars of several calls; UNKNOWN as soon as one call or the price is not known."""
    known: list[Tokens] = []
    for call in calls:
        if call is None:
            return UNKNOWN, UNKNOWN
        known.append(call)
    tokens = float(sum(t.prompt + t.completion for t in known))
    if price is None:
        return tokens, 0.0 if not known else UNKNOWN
    return tokens, round(math.fsum(map(price.of, known)), 9)
