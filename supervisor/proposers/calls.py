"""Asking a server until it answers: retries with growing pauses, and ways to ask for JSON that it understands.

Knows: time limits, which failures pass, the forms of `response_format`. Does not know: what is asked, who carries it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from supervisor.loop.prices import Tokens, tokens_of
from supervisor.proposers.transport import CallError, Transport

FORMATS = ("json_schema", "json_object", "none")
_UNKNOWN_WORD = (400, 404, 415, 422, 501)  # how servers say that they do not know a field
LONGEST_PAUSE = 60.0


class Spent:
    """What the calls of one proposal took. None: a call whose tokens nobody told."""

    def __init__(self) -> None:
        self.calls: list[Tokens | None] = []
        self.tries = 0


class Caller:
    """Calls of one proposer. Remembers the form of `response_format` that worked."""

    def __init__(
        self, transport: Transport, attempts: int, sleep: Callable[[float], object], clock: Callable[[], float],
        jitter: Callable[[], float],
    ) -> None:  # fmt: skip
        self.transport, self.attempts = transport, attempts
        self.sleep, self.clock, self.jitter = sleep, clock, jitter
        self.form, self.works = FORMATS[0], False

    def ask(
        self, body: Mapping[str, Any], schema: Mapping[str, Any], timeout: float, until: float, spent: Spent
    ) -> dict[str, Any]:
        """A response with a message in it; CallError. `until`: on the clock, when it must be there."""
        first: CallError | None = None
        forms = (self.form,) if self.works else FORMATS  # once one has worked, a refusal is about something else
        for form in forms:
            try:
                found = self._retried({**body, **response_format(form, schema)}, timeout, until, spent)
            except CallError as error:
                if error.status not in _UNKNOWN_WORD:
                    raise
                first = first or error
                continue
            self.form, self.works = form, True
            return found
        assert first is not None
        raise first  # it is not about the form: the first refusal says what it is about

    def _retried(self, body: Mapping[str, Any], timeout: float, until: float, spent: Spent) -> dict[str, Any]:
        for attempt in range(1, self.attempts + 1):
            left = until - self.clock()
            if left <= 0:
                raise CallError("no time is left for this proposal", again=True)
            spent.tries += 1
            try:
                return self._once(body, min(timeout, left), spent)
            except CallError as error:
                pause = self._pause(error, attempt)
                if not error.again or attempt == self.attempts or self.clock() + pause >= until:
                    raise
                self.sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    def _once(self, body: Mapping[str, Any], timeout: float, spent: Spent) -> dict[str, Any]:
        try:
            found = self.transport.send(body, timeout)
        except CallError as error:
            if error.billed:
                spent.calls.append(None)
            raise
        check_shape(found, spent)
        spent.calls.append(tokens_of(found))
        return found

    def _pause(self, error: CallError, attempt: int) -> float:
        """Seconds: what the server asks for, or 1, 2, 4 ... with up to half of it taken off by chance."""
        if error.wait is not None:
            return error.wait
        return min(LONGEST_PAUSE, 2.0 ** (attempt - 1)) * (1.0 - 0.5 * self.jitter())


def check_shape(found: Mapping[str, Any], spent: Spent) -> None:
    """CallError unless there is a first choice with a message."""
    choices = found.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    if isinstance(first, Mapping) and isinstance(first.get("message"), Mapping):
        return
    told = found.get("error")
    said = str(told.get("message", told) if isinstance(told, Mapping) else told or "")[:300]
    if not said:
        spent.calls.append(tokens_of(found))
    raise CallError(f"a response without a choice{': ' if said else ''}{said}", again=True)


def response_format(form: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """The field of the body that asks for JSON."""
    if form == "json_schema":
        named = {"name": "answer", "strict": True, "schema": schema}
        return {"response_format": {"type": "json_schema", "json_schema": named}}
    return {"response_format": {"type": "json_object"}} if form == "json_object" else {}
