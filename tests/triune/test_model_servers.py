"""`triune improve --proposer openai` against servers that misbehave, from the command line to the ledger.

Whatever a server does, the run either gets its answer, or stops with the reason, resumable, and nothing is burnt.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cli_kit import ROOT, inside
from improve_kit import answer
from transport_kit import Http, completion, http_server, plain

from supervisor import secrets
from supervisor.events import read
from supervisor.proposers import transport

KEY = "sk-test-0123456789abcdef"
GOOD = answer([], target="stop")  # an answer that ends the run without a game
OK = plain(200, completion(GOOD))
CAP = 300_000  # bytes of one response, as it is set here


def settings(attempts: int = 1, timeout_s: float = 60.0, total_s: float = 900.0) -> tuple[str, ...]:
    named = {"sees": "true", "attempts": attempts, "timeout_s": timeout_s, "total_s": total_s}
    return tuple(word for name, value in named.items() for word in ("--set", f"{name}={value}"))


class Done(NamedTuple):
    code: int
    told: Mapping[str, Any]
    said: str  # on stderr
    asked: Sequence[Any]  # bodies


class Place:
    """A run on CartPole that has made its question and was told to wait; each test finds it so."""

    def __init__(self, home: Path) -> None:
        self.home = home
        words = ("--policy", str(ROOT / "zoo/cartpole/lineage/r00.py"), "--out", "task", "--run", "run")
        words += ("--proposer", "openai", "--model", "m", "--shown", "1", "--trials", "1", "--floors", "off")
        with http_server(said(429, "later", Retry_After="3600")) as (url, http):
            os.environ.pop("OPENAI_API_KEY", None)  # a server of one's own needs none
            os.environ["OPENAI_BASE_URL"] = url
            begun = inside("improve", "cartpole", *words, *settings(), cwd=home)
            del os.environ["OPENAI_BASE_URL"]
        assert begun.returncode == 1 and "the server asks to wait 3600 s" in begun.stderr
        assert [headers["authorization"] for _, headers, _ in http.seen] == ["Bearer no-key-needed"]
        for name in ("task", "run"):
            shutil.copytree(home / name, home / "kept" / name)

    def restore(self) -> None:
        for name in ("task", "run"):
            shutil.rmtree(self.home / name)
            shutil.copytree(self.home / "kept" / name, self.home / name)

    def against(
        self, *responses: Any, http: Http | None = None, more: Sequence[str] = settings(3)
    ) -> Done:  # fmt: skip
        """Go on with it, asking a server that answers so."""
        with http_server(*responses, http=http) as (url, heard):
            found = inside("improve", "--resume", "run", "--base-url", url, *more, "--json", cwd=self.home)
        told, asked = json.loads(found.stdout), [body for _, _, body in heard.seen]
        return Done(found.returncode, told, found.stderr, asked)

    def lines(self) -> list[str]:
        path = self.home / "task" / "trials.jsonl"
        return path.read_text().splitlines() if path.is_file() else []


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    before = dict(os.environ)
    try:
        yield Place(tmp_path_factory.mktemp("served"))
    finally:
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture
def place(begun: Place, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setattr(transport, "MOST_BYTES", CAP)
    begun.restore()
    return begun


class Drops(Http):
    """Says a little, again and again, without an end."""

    def __init__(self, start: bytes, drop: bytes) -> None:
        super().__init__([])
        self.start, self.drop = start, drop

    def handle(self, handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(self.start)
        while not self.over.wait(0.02):
            handler.wfile.write(self.drop)


def drops(start: str, drop: bytes = b"x") -> Callable[[], Http]:
    return lambda: Drops(start.encode(), drop)


def said(code: int, message: str, **headers: str) -> Any:
    return plain(code, {"error": {"message": message}}, **headers)


def text(words: str | None, finish: str = "stop", **more: Any) -> Any:
    return plain(200, completion(words, finish, **more))


PACKED = plain(200, gzip.compress(bytes(900_000)), Content_Encoding="gzip")
STREAM = (200, {"Content-Type": "text/event-stream"}, [b'data: {"choices": [{"delta": {"content": "{"}}]}\n\n'], False)

LATE = "no answer within"
STOPS: dict[str, tuple[Any, str]] = {
    "rate limit": (said(429, f"rate limit of {KEY}", Retry_After="3600"), "asks to wait 3600 s"),
    "rate limit until a date": (said(429, "no", Retry_After="Fri, 31 Dec 2100 23:59:59 GMT"), "status 429"),
    "overloaded for long": (said(503, "busy", Retry_After="86400"), "busy; the server asks to wait 86400 s"),
    "overloaded without end": ([said(529, "busy", Retry_After="0.01")] * 3, "status 529: busy"),
    "quota": (plain(429, {"error": {"message": "pay", "code": "insufficient_quota"}}), "status 429: pay"),
    "wrong key": (said(401, f"bad key {KEY}"), "bad key [key]; check the key in OPENAI_API_KEY"),
    "no such model": ([said(404, "no model m here")] * 9, "no model m here; check model (m)"),
    "unknown field": ([said(422, "m is not served")] * 9, "status 422: m is not served"),
    "a page of errors": (plain(500, b"<html><b>down</b></html>"), "status 500: down"),
    "redirect": (plain(307, b"", Location="http://127.0.0.1:9/v1"), "moved to http://127.0.0.1:9/v1; is base_url"),
    "redirect with the key": (plain(301, b"", Location=f"http://x/{KEY}"), "moved to http://x/[key]"),
    "no JSON": (plain(200, b"<html></html>"), "not JSON; is base_url right?"),
    "not a number": (plain(200, b'{"choices": NaN}'), "not JSON"),
    "cut JSON": (plain(200, b'{"choices": ['), "not JSON"),
    "a list": (plain(200, b"[]"), "no object"),
    "no choice": (plain(200, {"choices": []}), "without a choice"),
    "an error in a success": (plain(200, {"error": {"message": "no credit", "code": 402}}), "no credit"),
    "a stream nobody asked for": (STREAM, "not JSON"),
    "huge": (plain(200, b" " * (CAP + 1)), "more than 300 kB"),
    "a flood of an error": ((400, {}, [b"x" * 50_000] * 50, True), "more than 300 kB"),
    "packed": (PACKED, "packed"),
    "silence": (plain(200, b"", hang=True), LATE),
    "half and silence": (plain(200, b'{"choices":', hang=True), LATE),
    "drops of an answer": (drops("HTTP/1.1 200 OK\r\n\r\n", b" "), LATE),
    "drops of an error": (drops("HTTP/1.1 500 No\r\n\r\n"), LATE),
    "drops of a header": (drops("HTTP/1.1 429 No\r\nx: "), LATE),
    "empty twice": ([text("")] * 2, "the model gave no answer: no text"),
    "nothing twice": ([text(None)] * 2, "the model gave no answer: no text"),
    "blank twice": ([text(" \n")] * 2, "the model gave no answer: no text"),
    "cut off twice": ([text(GOOD[:60], "length")] * 2, "cut off after 16000 tokens, thinking included"),
    "cut off while it thinks": ([text("<think>well,", "length")] * 2, "raise it with --set max_output=N"),
    "refused twice": ([text(None, refusal=f"never {KEY}")] * 2, "the model refused: never [key]"),
    "withheld twice": ([text("so", "content_filter")] * 2, "withheld by the server's filter"),
    "tools twice": ([text(None, "tool_calls", tool_calls=[{"id": "1"}])] * 2, "there are no tools"),
}  # fmt: skip


AGAIN = ("rate limit", "silence", "cut off twice")  # rows after which the same run goes on


KIN = {  # of a row beside them, and each tried on the client alone: tests/supervisor/test_proposer_http.py
    "rate limit until a date", "overloaded for long", "not a number", "cut JSON", "a list", "a flood of an error",
    "half and silence", "drops of an error", "drops of a header", "nothing twice", "blank twice", "tools twice",
}  # fmt: skip


@pytest.mark.parametrize("row", [pytest.param(row, marks=pytest.mark.slow) if row in KIN else row for row in STOPS])
def test_a_call_without_an_answer_stops_the_run_and_burns_no_trial(place: Place, row: str) -> None:
    responses, why = STOPS[row]
    more = settings(timeout_s=0.2 if why == LATE else 60.0)
    if callable(responses):
        done = place.against(http=responses(), more=more)
    else:
        several = responses if isinstance(responses, list) else [responses]
        done = place.against(*several, more=settings(len(several)) if len(several) > 1 else more)
    assert done.code == 1 and done.told["why"] == "proposer" and why in done.told["detail"], done.told["detail"]
    assert not done.told["trials"] and not place.lines() and len(done.told["detail"]) < 700
    assert "Traceback" not in done.said and not done.told["budgets"]["tokens"]["reserved"]
    no_key(place, done)
    if row not in AGAIN:
        return
    again = place.against(OK)
    assert again.code == 0 and [t["verdict"] for t in again.told["trials"]] == ["indecisive"]
    assert len(place.lines()) == 1 and again.asked[0]["messages"][0]["role"] == "system"
    assert len([e for e in read(place.home / "run" / "events.jsonl") if e.kind == "evidence.made"]) == 1


def no_key(place: Place, done: Done) -> None:
    """Neither shown nor kept, in any notation."""
    forms = [form.encode() for form in secrets.forms([KEY])]
    files = [p for name in ("task", "run") for p in (place.home / name).rglob("*") if p.is_file()]
    assert len(forms) > 1 and len(files) > 9
    for data in (json.dumps(done.told).encode(), done.said.encode(), *(p.read_bytes() for p in files)):
        assert not any(form in data for form in forms)


ANSWERS: dict[str, list[Any]] = {
    "rate limit": [said(429, "slow down", Retry_After="0.01"), said(429, "slow", retry_after_ms="5"), OK],
    "overloaded": [said(503, "busy", Retry_After="0"), said(500, "oh", Retry_After="0.01"), OK],
    "thinking": [text(f"<think>\nlet me see {{}}\n</think>\n{GOOD}")],
    "a sentence before it": [text(f"Here is the answer:\n{GOOD}")],
    "a fence": [text(f"```JSON\r\n{GOOD}\r\n```<|im_end|>")],
    "a mark of order": [text(f"\ufeff{GOOD}")],
    "parts": [text([{"type": "reasoning", "text": "hm"}, {"type": "text", "text": GOOD}])],  # type: ignore[arg-type]
    "cut off, then whole": [text(GOOD[:60], "length"), OK],
    "empty, then whole": [text(""), OK],
    "refused, then not": [text(None, refusal="no"), OK],
    "no schema": [said(500, "invalid JSON schema in format"), OK],
    "no format at all": [said(400, "response_format"), said(400, "response_format"), OK],
    "no pictures": [said(400, "this model does not support image input"), OK],
    "the other token parameter": [said(400, "use max_tokens, not max_completion_tokens"), OK],
    "all of it": [
        said(400, "max_completion_tokens?"), said(404, "no endpoint supports image input"), said(500, "grammar"), OK,
    ],
}  # fmt: skip


@pytest.mark.parametrize("row", ANSWERS)
def test_what_passes_or_can_be_asked_otherwise_is_answered(place: Place, row: str) -> None:
    done = place.against(*ANSWERS[row])
    assert done.code == 0 and len(done.told["trials"]) == 1 and len(place.lines()) == 1
    assert len(done.asked) == len(ANSWERS[row])
    pictures = ["image_url" in json.dumps(body["messages"]) for body in (done.asked[0], done.asked[-1])]
    assert pictures == [True, row not in ("no pictures", "all of it")]
    no_key(place, done)


@pytest.mark.parametrize("limit", [settings(3, total_s=10.0), (*settings(3), "--budget-wall", "100")])
def test_a_wait_ends_within_the_limits_of_the_run(place: Place, limit: tuple[str, ...]) -> None:
    """The server asks for a minute: it is not waited for where it does not fit."""
    done = place.against(said(429, "later", Retry_After="60"), OK, more=limit)
    assert not done.told["trials"] and len(done.asked) <= 1 and not place.lines()
    assert done.told.get("wait_s") == 60 if done.asked else done.told["why"] == "budget"


class Interrupts(Http):
    """Ctrl-C once the question is there, or once the server has asked to wait."""

    def __init__(self, *responses: Any) -> None:
        super().__init__(responses)

    def handle(self, handler: BaseHTTPRequestHandler) -> None:
        if self.responses:
            super().handle(handler)
            handler.wfile.flush()
            self.over.wait(0.1)  # the command sleeps by then
        os.kill(os.getpid(), signal.SIGINT)
        self.over.wait(30)


@pytest.mark.parametrize("responses", [(), (said(429, "later", Retry_After="100"),)], ids=["answer", "its turn"])
def test_ctrl_c_while_it_waits_ends_at_once_and_goes_on_later(
    place: Place, responses: tuple[Any, ...], capfd: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
    with http_server(http=Interrupts(*responses)) as (url, http):
        found = inside("improve", "--resume", "run", "--base-url", url, *settings(3, 100.0), cwd=place.home)
    signal.signal(signal.SIGINT, before)
    assert found.returncode == 130 and "continue with: triune improve --resume run" in found.stderr
    assert len(http.seen) == len(responses) and not place.lines()
    events = read(place.home / "run" / "events.jsonl")
    assert (events[-1].kind, events[-1].data["why"]) == ("run.stopped", "interrupted")
    assert place.against(OK).code == 0 and len(place.lines()) == 1


def test_a_redirection_takes_neither_question_nor_key_elsewhere(place: Place) -> None:
    with http_server(OK, OK) as (url, other):  # which nobody named
        for status in (302, 308):
            done = place.against(plain(status, b"", Location=f"{url}/chat/completions"))
            assert done.code == 1 and "moved to" in done.told["detail"]
    assert other.seen == []
