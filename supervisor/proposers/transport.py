"""Asking a chat-completions server until it answers: one call, retries with growing pauses, ways to ask for JSON."""

from __future__ import annotations

import email.utils
import json
import math
import time
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, Protocol

from supervisor.budget import Tokens, tokens_of

# ----------------------------------------------------------------------------------------------------
# One call of a chat-completions server: a body goes out, plain JSON comes back, or a CallError that says why not.
#
# Tests put something else behind `Transport`.


MOST_BYTES = 8_000_000
_DEEPEST = 40
SHORTEST_SECRET = 8  # a shorter key cannot be told from other text
_HIDDEN = "[key]"
_AGAIN = {408, 409, 425, 429}


class CallError(Exception):
    """A call without a usable response.

    `again`: another try may succeed. `wait`: seconds that the server asks for. `billed`: tokens may have been used.
    """

    def __init__(
        self, message: str, status: int | None = None, again: bool = False, wait: float | None = None,
        billed: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(message)
        self.status, self.again, self.wait, self.billed = status, again, wait, billed


class Transport(Protocol):
    """Whatever carries a call."""

    def send(self, body: Mapping[str, Any], timeout: float) -> dict[str, Any]:
        """The response to a chat-completions body within about `timeout` seconds; CallError."""


class SdkTransport:
    """Through the `openai` client, which knows addresses, headers and errors; retries are ours, so that each counts."""

    def __init__(self, key: str, base_url: str | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._key, self._base_url, self._clock = key, base_url, clock
        self._hidden = key if len(key) >= SHORTEST_SECRET else ""
        self._client: Any = None

    def __repr__(self) -> str:
        return f"SdkTransport({self._base_url!r})"

    def send(self, body: Mapping[str, Any], timeout: float) -> dict[str, Any]:
        """See Transport."""
        import openai

        if self._client is None:
            self._client = openai.OpenAI(api_key=self._key, base_url=self._base_url, max_retries=0)
        more = {k: v for k, v in body.items() if k not in ("model", "messages")}
        call = self._client.with_options(timeout=timeout).chat.completions.with_streaming_response.create
        try:
            with call(model=body["model"], messages=body["messages"], extra_body=more) as response:
                data = self._read(response, self._clock() + timeout)
        except CallError:
            raise
        except openai.APIStatusError as error:
            self._refused(error)
        except openai.APITimeoutError:
            raise CallError(f"no answer within {timeout:.0f} s", again=True, billed=True) from None
        except Exception as error:  # the HTTP library's own errors differ between versions of the client
            self._broken(error)
        return self._json(data)

    def _read(self, response: Any, until: float) -> bytes:
        """The body as it comes in, so that neither a slow nor an endless one holds the run."""
        data = b""
        for piece in response.iter_bytes():
            data += piece
            if len(data) > MOST_BYTES:
                raise CallError(f"a response of more than {MOST_BYTES // 1000} kB", billed=True)
            if self._clock() > until:
                raise CallError("the response was not complete in time", again=True, billed=True)
        return data

    def _json(self, data: bytes) -> dict[str, Any]:
        try:
            made = plain(json.loads(data), self._hidden)
        except (ValueError, RecursionError):
            raise CallError("the response is not JSON; is base_url right?", again=True, billed=True) from None
        if not isinstance(made, dict):
            raise CallError("the response is JSON, but no object; is base_url right?", again=True, billed=True)
        return made

    def _refused(self, error: Any) -> NoReturn:
        """A status that is no success."""
        status, told = int(error.status_code), error.body if isinstance(error.body, Mapping) else {}
        said = hide(str(told.get("message") or error.message), self._hidden)[:400]
        spent = told.get("code") == "insufficient_quota"
        again = (status in _AGAIN or status >= 500) and not spent
        wait = retry_after(error.response.headers, time.time())
        raise CallError(f"status {status}: {said}", status, again, wait) from None

    def _broken(self, error: Exception) -> NoReturn:
        cause = error.__cause__ or error
        sent = type(cause).__name__ not in ("ConnectError", "ConnectTimeout", "UnsupportedProtocol")
        said = hide(str(cause), self._hidden)[:200]
        raise CallError(f"no connection ({type(cause).__name__}: {said})", again=True, billed=sent) from None


def hide(text: str, key: str) -> str:
    """The text without the key."""
    return text.replace(key, _HIDDEN) if key else text


def plain(value: Any, key: str, depth: int = 0) -> Any:
    """A copy that any log can hold, without the key; ValueError for what JSON should not have held."""
    if depth > _DEEPEST:
        raise ValueError("nested too deep")
    if isinstance(value, str):
        return hide(value, key)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("not a finite number")
    if isinstance(value, int) and abs(value) >= 2**53:
        return str(value)
    if isinstance(value, dict):
        return {plain(k, key): plain(v, key, depth + 1) for k, v in value.items()}
    if isinstance(value, list):
        return [plain(v, key, depth + 1) for v in value]
    return value


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds that a server asks to wait: milliseconds, seconds or a date; None where it does not say."""
    for name, scale in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        text = headers.get(name)
        if text is None:
            continue
        try:
            seconds = float(text) * scale
        except ValueError:
            date = email.utils.parsedate_tz(text)
            seconds = email.utils.mktime_tz(date) - now if date else math.nan
        if math.isfinite(seconds):
            return max(0.0, seconds)
    return None


# ----------------------------------------------------------------------------------------------------
# Asking a server until it answers: retries with growing pauses, and ways to ask for JSON that it understands.


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
