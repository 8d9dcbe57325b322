"""The `openai` proposer through the real client, against a real HTTP server on this machine."""

from __future__ import annotations

import gzip
import json
import time
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from answer_kit import ACT, answer, request, written
from transport_kit import Http, Time, completion, http_server, plain

from supervisor.budget import UNKNOWN, Price
from supervisor.proposers import transport
from supervisor.proposers.openai_client import OpenAIProposer, Settings
from supervisor.proposers.transport import CallError, SdkTransport
from supervisor.protocols import ProposerError

GOOD = json.dumps(answer())
KEY = "sk-test-0123456789abcdef"
BODY = {"model": "m", "messages": []}


def over_http(base_url: str, **settings: Any) -> tuple[OpenAIProposer, Time]:
    """One that uses the client, but sleeps on a clock of its own."""
    clock = Time()
    made = Settings(**{"model": "m", "base_url": base_url, "timeout_s": 20.0, **settings})
    return OpenAIProposer(made, sleep=clock.sleep, clock=clock, jitter=lambda: 0.0), clock


def test_over_http(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with http_server(
        plain(429, {"error": {"message": "slow down"}}, Retry_After="11"), plain(503, b"<html>busy</html>"),
        plain(200, b'{"choices": [{"mess'), plain(200, completion("hm", "length")), plain(200, completion(GOOD)),
    ) as (url, http):  # fmt: skip
        made, clock = over_http(url, token_parameter="max_tokens", price=Price(2.0, 10.0))
        reply = made.propose(request())
    assert reply.text == GOOD and clock.slept == [11.0, 2.0, 4.0]
    assert reply.usage.tokens == UNKNOWN  # the broken response may have been paid for
    path, headers, body = http.seen[0]
    assert path == "/v1/chat/completions" and headers["authorization"] == f"Bearer {KEY}"
    assert body["max_tokens"] == 16_000 and body["response_format"]["json_schema"]["name"] == "answer"
    assert len(http.seen) == 5 and http.seen[4][2]["messages"][3]["role"] == "user"


@pytest.mark.parametrize(("response", "said"), [
    (plain(401, {"error": {"message": f"bad key {KEY}"}}), "status 401: bad key [key]; check the key"),
    (plain(429, {"error": {"message": "pay", "code": "insufficient_quota"}}), "status 429: pay"),
    (plain(400, b"nonsense"), "status 400: nonsense"), (plain(200, b"[1]"), "JSON, but no object"),
    (plain(200, b"<html></html>"), "not JSON; is base_url right?"),
    (plain(200, b'{"a": NaN}'), "not JSON"), (plain(200, b"[" * 100_000), "not JSON"),
    (plain(200, b" " * 8_100_000), "more than 8000 kB"), (plain(500, b"x" * 9000), "status 500: xxx"),
], ids=["key", "quota", "400", "list", "html", "nan", "deep", "huge", "500"])  # fmt: skip
def test_refusals_over_http(response: Any, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with http_server(*[response] * 3) as (url, _):
        made, _ = over_http(url, attempts=1)
        with pytest.raises(ProposerError) as found:
            made.propose(request())
    assert said in str(found.value) and found.value.fatal and len(str(found.value)) < 700
    assert KEY not in str(found.value) + repr(found.value) + repr(made) + repr(vars(made)) + repr(
        found.value.__context__
    )


# --- one deadline and one cap, whatever the status


STATUSES = [200, 307, 400, 404, 429, 500]


@pytest.mark.parametrize("status", STATUSES)
def test_every_status_is_read_up_to_one_cap(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "MOST_BYTES", 30_000)
    flood = [b"x" * 10_000] * 50
    with (
        http_server((status, {"Location": "/elsewhere"}, flood, True)) as (url, _),
        pytest.raises(CallError, match="more than 30 kB") as found,
    ):
        SdkTransport(KEY, url).send(BODY, 20.0)
    assert found.value.billed


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "gzip, gzip"])
@pytest.mark.parametrize("status", [200, 500])
def test_nothing_is_unpacked(status: int, encoding: str) -> None:
    bomb = gzip.compress(bytes(200_000))
    with (
        http_server(plain(status, bomb, Content_Encoding=encoding)) as (url, http),
        pytest.raises(CallError, match="packed"),
    ):
        SdkTransport(KEY, url).send(BODY, 20.0)
    assert http.seen[0][1]["accept-encoding"] == "identity"


class Drops(Http):
    """Says a little, again and again, and never comes to an end: `start` first, then `drop` by drop."""

    def __init__(self, start: bytes, drop: bytes) -> None:
        super().__init__([])
        self.start, self.drop = start, drop

    def handle(self, handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(self.start)
        while not self.over.wait(0.01):
            handler.wfile.write(self.drop)


@pytest.mark.parametrize(("start", "drop"), [
    (b"HTTP/1.1 200 OK\r\n\r\n", b" "), (b"HTTP/1.1 500 No\r\n\r\n", b"x"), (b"HTTP/1.1 429 No\r\n\r\n", b"x"),
    (b"HTTP/1.1 200 OK\r\n", b"a: b\r\n"), (b"HTTP/1.1 400 No\r\nx: ", b"y"), (b"", b"H"),
    (b"", b"HTTP/1.1 100 Continue\r\n\r\n"), (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
], ids=["body", "500", "429", "headers", "one header", "status line", "100", "chunks"])  # fmt: skip
def test_every_part_of_a_response_has_one_deadline(start: bytes, drop: bytes) -> None:
    with http_server(http=Drops(start, drop)) as (url, _):
        sent, began = SdkTransport(KEY, url), time.monotonic()
        with pytest.raises(CallError) as found:
            sent.send(BODY, 0.15)
    assert time.monotonic() - began < 5 and found.value.billed


def test_a_server_that_stops_talking() -> None:
    hung = plain(200, b'{"choices":', hang=True)
    with http_server(hung, (200, {}, [], True)) as (url, _):
        for _ in range(2):
            made, _ = over_http(url, timeout_s=0.2, attempts=1)
            with pytest.raises(ProposerError, match="no answer within") as found:
                made.propose(request())
            assert found.value.fatal and found.value.usage.tokens == UNKNOWN


def test_a_call_after_a_deadline_has_a_client_of_its_own() -> None:
    with http_server((200, {}, [], True), plain(200, completion(GOOD))) as (url, _):
        made, _ = over_http(url, timeout_s=0.3)
        assert made.propose(request()).text == GOOD


def test_nobody_there() -> None:
    with http_server() as (url, _):
        pass
    made, clock = over_http(url, attempts=2)
    with pytest.raises(ProposerError, match="check base_url and that the server runs") as found:
        made.propose(request())
    assert found.value.fatal and found.value.usage.tokens == 0 and clock.slept == [1.0]


def test_keys_do_not_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    echo = completion(written({"replace": "act", "code": ACT}, lesson=f"the key is {KEY}"), **{KEY: [KEY]})
    with http_server(plain(200, echo)) as (url, _):
        made, _ = over_http(url)
        reply = made.propose(request())
    assert KEY not in repr(reply) and "[key]" in reply.text
    monkeypatch.setenv("OPENAI_API_KEY", "x")  # too short to be told from text: it is left alone
    with http_server(plain(200, completion(written({"replace": "act", "code": ACT}, lesson="x x")))) as (url, _):
        assert json.loads(over_http(url)[0].propose(request()).text)["lesson"] == "x x"
