"""The `openai` proposer through the real client, against a real HTTP server on this machine."""

from __future__ import annotations

import json
from typing import Any

import pytest
from answer_kit import ACT, answer, request, written
from transport_kit import Time, completion, http_server, plain

from supervisor.budget import UNKNOWN, Price
from supervisor.proposers.openai_client import OpenAIProposer, Settings
from supervisor.proposers.transport import CallError, SdkTransport
from supervisor.protocols import ProposerError

GOOD = json.dumps(answer())
KEY = "sk-test-0123456789abcdef"


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


@pytest.mark.parametrize(("response", "said", "fatal"), [
    (plain(401, {"error": {"message": f"bad key {KEY}"}}), "status 401: bad key [key]; check the key", True),
    (plain(429, {"error": {"message": "pay", "code": "insufficient_quota"}}), "status 429: pay", True),
    (plain(400, b"nonsense"), "status 400", True), (plain(200, b"[1]"), "JSON, but no object", False),
    (plain(200, b"<html></html>"), "not JSON; is base_url right?", False),
    (plain(200, b'{"a": NaN}'), "not JSON", False), (plain(200, b"[" * 100_000), "not JSON", False),
    (plain(200, b" " * 8_100_000), "more than 8000 kB", True), (plain(500, b"x" * 9000), "status 500", False),
], ids=["key", "quota", "400", "list", "html", "nan", "deep", "huge", "500"])  # fmt: skip
def test_refusals_over_http(response: Any, said: str, fatal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with http_server(*[response] * 3) as (url, _):
        made, _ = over_http(url, attempts=1)
        with pytest.raises(ProposerError) as found:
            made.propose(request())
    assert said in str(found.value) and found.value.fatal == fatal and len(str(found.value)) < 700
    assert KEY not in str(found.value) + repr(found.value) + repr(made) + repr(vars(made)) + repr(
        found.value.__context__
    )


def test_a_server_that_stops_talking() -> None:
    hung = plain(200, b'{"choices":', hang=True)
    with http_server(hung, (200, {}, [], True)) as (url, _):
        for _ in range(2):
            made, _ = over_http(url, timeout_s=0.2, attempts=1)
            with pytest.raises(ProposerError) as found:
                made.propose(request())
            assert not found.value.fatal and found.value.usage.tokens == UNKNOWN


def test_a_server_that_trickles_is_cut_off() -> None:
    """Each piece comes in time, the whole does not: the clock of the transport runs ahead with every look at it."""
    ticks = iter(range(0, 1000, 4))
    with (
        http_server((200, {}, [b" "] * 5, False)) as (url, _),
        pytest.raises(CallError, match="not complete in time") as found,
    ):
        SdkTransport(KEY, url, clock=lambda: float(next(ticks))).send({"model": "m", "messages": []}, 2.0)
    assert found.value.again and found.value.billed


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
