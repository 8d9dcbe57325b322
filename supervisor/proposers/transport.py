"""Asking a chat-completions server until it answers: one call, retries with growing pauses, a body that it knows."""

from __future__ import annotations

import email.utils
import json
import math
import os
import queue
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn, Protocol

from supervisor import secrets
from supervisor.budget import Tokens, tokens_of
from supervisor.errors import SupervisorError

# ----------------------------------------------------------------------------------------------------
# One call of a chat-completions server: a body goes out, plain JSON comes back, or a CallError that says why not.
#
# Tests put something else behind `Transport`.


MOST_BYTES = 8_000_000
MOST_WAIT = 1e8  # seconds: whoever asks for more asks for nothing
_DEEPEST = 40
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
    """Through the `openai` client, which knows addresses, headers and errors; retries are ours, so that each counts.

    SupervisorError, before anything is sent, for a proxy, certificate or header that no call can succeed with.
    """

    def __init__(self, key: str, base_url: str | None) -> None:
        self._key, self._base_url = key, base_url
        self._hidden = secrets.forms([key, *secrets.proxy_passwords()])
        self._client: Any = self._made()

    def __repr__(self) -> str:
        return f"SdkTransport({self._base_url!r})"

    def _made(self) -> Any:
        import openai

        try:
            plain_text = {"Accept-Encoding": "identity"}
            client = openai.OpenAI(
                api_key=self._key, base_url=self._base_url, max_retries=0, default_headers=plain_text,
                http_client=_whole_responses(openai.DefaultHttpxClient)(),
            )  # fmt: skip
        except Exception as error:  # of the HTTP library, which differs between versions of the client
            raise SupervisorError(f"openai: {_unbuilt(error, self._hidden)}") from None
        for name, value in client.default_headers.items():
            if isinstance(value, str) and not (value.isascii() and value.isprintable()):
                raise SupervisorError(f"openai: no header {name} can be sent; look at the variables OPENAI_...")
        return client

    def send(self, body: Mapping[str, Any], timeout: float) -> dict[str, Any]:
        """See Transport. A thread of its own makes the call, so that nothing holds the run longer: neither a name that
        is looked up nor a handshake, a header or a body that comes in drop by drop."""
        outcome: queue.SimpleQueue[dict[str, Any] | Exception] = queue.SimpleQueue()
        client = self._client = self._client or self._made()

        def work() -> None:
            try:
                outcome.put(self._exchange(client, body, timeout))
            except Exception as error:
                outcome.put(error)

        threading.Thread(target=work, daemon=True).start()
        try:
            found = outcome.get(timeout=timeout)
        except queue.Empty:
            self._client = None
            client.close()  # what the thread still reads breaks off
            found = CallError(f"no answer within {timeout:.0f} s", again=True, billed=True)
        if isinstance(found, Exception):
            raise found from None
        return found

    def _exchange(self, client: Any, body: Mapping[str, Any], timeout: float) -> dict[str, Any]:
        import openai

        more = {k: v for k, v in body.items() if k not in ("model", "messages")}
        call = client.with_options(timeout=timeout).chat.completions.with_raw_response.create
        try:
            data: bytes = call(model=body["model"], messages=body["messages"], extra_body=more).content
        except openai.APIStatusError as error:
            self._refused(error)
        except openai.APITimeoutError:
            raise CallError(f"no answer within {timeout:.0f} s", again=True, billed=True) from None
        except Exception as error:  # the HTTP library's own errors differ between versions of the client
            self._broken(error)
        return self._json(data)

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
        headers = error.response.headers
        said = reason(error.response.content)
        if 300 <= status < 400:
            said = f"moved to {headers.get('location', 'nowhere')}; is base_url right? {said}"
        spent = told.get("code") == "insufficient_quota"
        again = passing(status) and not spent
        wait = retry_after(headers, time.time())
        said = secrets.hide(said, self._hidden, _HIDDEN)[:MOST_SAID] or "no reason given"
        raise CallError(f"status {status}: {said}", status, again, wait) from None

    def _broken(self, error: Exception) -> NoReturn:
        cause = error.__cause__ or error
        if isinstance(cause, CallError):
            raise cause from None
        sent = type(cause).__name__ not in ("ConnectError", "ConnectTimeout", "UnsupportedProtocol")
        said = secrets.hide(str(cause), self._hidden, _HIDDEN)[:200]
        raise CallError(f"no connection ({type(cause).__name__}: {said})", again=True, billed=sent) from None


def passing(status: int) -> bool:
    """Whether a refusal may be over soon."""
    return status in _AGAIN or status >= 500


def _whole_responses(base: type[Any]) -> type[Any]:
    """An HTTP client that reads every response itself, whatever its status, up to MOST_BYTES and as it was sent: a
    packed one could be a thousand times as large. It follows no redirection: nobody named that server."""

    class Whole(base):  # type: ignore[misc]
        def send(self, request: Any, **options: Any) -> Any:
            response = super().send(request, **{**options, "stream": True, "follow_redirects": False})
            try:
                if response.headers.get("content-encoding", "identity").strip().lower() not in ("identity", ""):
                    raise CallError("a packed response, but a plain one was asked for", billed=True)
                data = bytearray()
                for piece in response.iter_raw():
                    data += piece
                    if len(data) > MOST_BYTES:
                        raise CallError(f"a response of more than {MOST_BYTES // 1000} kB", billed=True)
            finally:
                response.close()
            return type(response)(response.status_code, headers=response.headers, content=bytes(data), request=request)

    return Whole


def _unbuilt(error: Exception, hidden: Sequence[str]) -> str:
    """What keeps the client from being built, by the name of the variable."""
    named = [name for name in secrets.PROXIES if os.environ.get(name)]
    if isinstance(error, ImportError):
        named = [name for name in named if os.environ[name].startswith("socks")] or named
        return f"{', '.join(named)} names a SOCKS proxy; pip install socksio, or unset the variable"
    named += [name for name in ("NO_PROXY", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR") if os.environ.get(name)]
    said = secrets.hide(str(error), hidden, _HIDDEN)[:200]
    return f"no client can be made ({said}); look at {', '.join(named) or 'base_url'}"


def plain(value: Any, hidden: Sequence[str], depth: int = 0) -> Any:
    """A copy that any log can hold, without the key; ValueError for what JSON should not have held."""
    if depth > _DEEPEST:
        raise ValueError("nested too deep")
    if isinstance(value, str):
        return secrets.hide(value, hidden, _HIDDEN)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("not a finite number")
    if isinstance(value, int) and abs(value) >= 2**53:
        return str(value)
    if isinstance(value, dict):
        return {plain(k, hidden): plain(v, hidden, depth + 1) for k, v in value.items()}
    if isinstance(value, list):
        return [plain(v, hidden, depth + 1) for v in value]
    return value


# --- why a server refuses, in the words of any of them


MOST_SAID = 400  # characters
_SAYING = ("message", "msg", "error", "detail", "errors", "reason", "description", "title")


def reason(data: bytes) -> str:
    """What the body of a refusal says, as JSON of some shape, a page or text; on one line, cut short."""
    text = data[:40_000].decode(errors="replace")
    try:
        said = _said(json.loads(data)) or text
    except (ValueError, RecursionError):
        said = re.sub(r"<[^>]{0,200}>", " ", text[:4000])
    return " ".join(said[:4000].split())[:MOST_SAID]


def _said(value: Any, depth: int = 0) -> str:
    """The sentence in a value; with the place, where one is told, such as the field of a body that is not known."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and depth < 8:
        return "; ".join(said for part in value[:5] if (said := _said(part, depth + 1)))
    if not isinstance(value, Mapping) or depth >= 8:
        return ""
    found = next((said for name in _SAYING if (said := _said(value.get(name), depth + 1))), "")
    place = value.get("loc") or value.get("param") or ""
    place = ".".join(map(str, place)) if isinstance(place, list) else str(place)
    return f"{place}: {found}" if found and place not in found else found


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds that a server asks to wait: milliseconds, seconds or a date; None where it does not say."""
    for name, scale in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        text = headers.get(name)
        if text is None:
            continue
        try:
            seconds = float(text) * scale
        except ValueError:
            seconds = _until(text, now)
        if seconds < MOST_WAIT:  # which not-a-number is not
            return max(0.0, seconds)
    return None


def _until(date: str, now: float) -> float:
    try:
        told = email.utils.parsedate_tz(date)
        return email.utils.mktime_tz(told) - now if told else math.nan
    except (ValueError, OverflowError):
        return math.nan


# ----------------------------------------------------------------------------------------------------
# Asking a server until it answers: retries with growing pauses, and a body in which it knows every field.


FORMATS = ("json_schema", "json_object", "none")
TOKEN_PARAMETERS = ("max_completion_tokens", "max_tokens")
LONGEST_PAUSE = 60.0
_UNKNOWN_WORD = (400, 404, 415, 422, 501)  # how servers say that they do not know a field ...
_FAILING = 500  # ... and how local ones do, if they name it
_TOKENS = re.compile("max_(completion_)?tokens")
_PICTURES = re.compile(
    r"image|picture|\bvision|visual|multi-?modal|mmproj|content.{0,60}(must be|should be|expected).{0,12}str", re.I
)
_JSON = re.compile("schema|format|grammar|json", re.I)


class Form(NamedTuple):
    """How a body is written: how JSON is asked for; the other token parameter than the one set; pictures or none."""

    json: str = FORMATS[0]
    swapped: bool = False
    pictures: bool = True

    def written(self, body: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
        """The body in this form."""
        names = dict(zip(TOKEN_PARAMETERS, reversed(TOKEN_PARAMETERS), strict=True)) if self.swapped else {}
        made = {names.get(name, name): value for name, value in body.items()}
        if not self.pictures:
            made["messages"] = [{**m, "content": words(m["content"])} for m in made["messages"]]
        return {**made, **response_format(self.json, schema)}


def words(content: Any) -> Any:
    """The text of a message, without its pictures and what stands beside them."""
    return content[0]["text"] if isinstance(content, list) else content


class Spent:
    """What the calls of one proposal took. None: a call whose tokens nobody told."""

    def __init__(self) -> None:
        self.calls: list[Tokens | None] = []
        self.tries = 0


class Caller:
    """Calls of one proposer. Remembers the form of a body that worked."""

    def __init__(
        self, transport: Transport, attempts: int, sleep: Callable[[float], object], clock: Callable[[], float],
        jitter: Callable[[], float],
    ) -> None:  # fmt: skip
        self.transport, self.attempts = transport, attempts
        self.sleep, self.clock, self.jitter = sleep, clock, jitter
        self.form, self.works = Form(), False

    def ask(
        self, body: Mapping[str, Any], schema: Mapping[str, Any], timeout: float, until: float, spent: Spent
    ) -> dict[str, Any]:
        """A response with a message in it; CallError. `until`: on the clock, when it must be there."""
        first: CallError | None = None
        form: Form | None = self.form
        while form:
            try:
                found = self._retried(body, schema, form, timeout, until, spent)
            except CallError as error:
                if not refused(error):
                    raise
                first = first or error
                form = self.weaker(form, error, body)
                continue
            self.form, self.works = form, True
            return found
        assert first is not None
        raise first  # it is not about the form: the first refusal says what it is about

    def weaker(self, form: Form, error: CallError, body: Mapping[str, Any]) -> Form | None:
        """What to try after a refusal: without what it names, else without what servers know least; None at the end."""
        said, seen = str(error), form.pictures and any(isinstance(m["content"], list) for m in body["messages"])
        if not refused(error):
            return None
        if _TOKENS.search(said) and not form.swapped:
            return form._replace(swapped=True)
        if seen and _PICTURES.search(said):
            return form._replace(pictures=False)
        if not self.works and form.json != FORMATS[-1]:  # once one has worked, a refusal is about something else
            return form._replace(json=FORMATS[FORMATS.index(form.json) + 1])
        return form._replace(pictures=False, json=form.json if self.works else FORMATS[0]) if seen else None

    def _retried(
        self, body: Mapping[str, Any], schema: Mapping[str, Any], form: Form, timeout: float, until: float, spent: Spent
    ) -> dict[str, Any]:
        for attempt in range(1, self.attempts + 1):
            left = until - self.clock()
            if left <= 0:
                raise CallError("no time is left for this proposal", again=True)
            spent.tries += 1
            try:
                return self._once(form.written(body, schema), min(timeout, left), spent)
            except CallError as error:
                pause = self._pause(error, attempt)
                last = attempt == self.attempts or self.clock() + pause >= until
                if not error.again or last or self.weaker(form, error, body):
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


def refused(error: CallError) -> bool:
    """Whether a server that works does not like this body."""
    said = str(error)
    named = _TOKENS.search(said) or _PICTURES.search(said) or _JSON.search(said)
    return error.status in _UNKNOWN_WORD or bool(error.status == _FAILING and named)


def check_shape(found: Mapping[str, Any], spent: Spent) -> None:
    """CallError unless there is a first choice with a message."""
    choices = found.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    if isinstance(first, Mapping) and isinstance(first.get("message"), Mapping):
        return
    told = found.get("error")
    said, code = _said(told)[:MOST_SAID], told.get("code") if isinstance(told, Mapping) else None
    status = code if type(code) is int and 400 <= code < 600 else None
    if not said:
        spent.calls.append(tokens_of(found))
    again = status is None or passing(status)
    raise CallError(f"a response without a choice{': ' if said else ''}{said}", status, again)


def response_format(form: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """The field of the body that asks for JSON."""
    if form == "json_schema":
        named = {"name": "answer", "strict": True, "schema": schema}
        return {"response_format": {"type": "json_schema", "json_schema": named}}
    return {"response_format": {"type": "json_object"}} if form == "json_object" else {}
