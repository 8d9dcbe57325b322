"""One call of a chat-completions server: a body goes out, plain JSON comes back, or a CallError that says why not.

Knows: the `openai` client, status codes, the key, which it blots out of everything that it gives back. Does not know:
retries, prompts, answers. Tests put something else behind `Transport`.
"""

from __future__ import annotations

import email.utils
import json
import math
import time
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, Protocol

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
