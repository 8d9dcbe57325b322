"""Keys and passwords: refused before anything is played, blotted out in every notation, read by nobody."""

from __future__ import annotations

import base64
import json
import sys
from typing import Any
from urllib.parse import quote

import pytest
from answer_kit import answer, request
from transport_kit import completion, http_server, plain

from supervisor import secrets
from supervisor.errors import SupervisorError
from supervisor.events import EventLog
from supervisor.proposers.openai_client import OpenAIProposer, Settings
from supervisor.proposers.transport import SdkTransport

KEY = "sk-test-0123456789abcdef"
PROXIES = ("ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY")


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of this machine plays a part."""
    for name in (*secrets.PROXIES, "OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_ORG_ID", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)


def refused(**table: Any) -> str:
    with pytest.raises(SupervisorError) as found:
        OpenAIProposer(Settings.of({"model": "m", **table}))
    return str(found.value)


@pytest.mark.parametrize(("key", "said"), [
    ("sk-abcdefgh\nijklmnop", "a line break at place 12 of 20"), ("sk-abcdefgh\r\nijklmnop", "a line break"),
    ("sk-abcdefgh ijklmnop", "a space"), ("sk-abcdefgh\tijkl", "U+0009"), ("\u201csk-abcdefghijkl\u201d", "U+201C"),
    ("sk-abcdefgh\u200bijkl", "U+200B"), ("sk-abcdefgh\x7f", "U+007F"), ("Bearer sk-abcdefgh", "a space"),
], ids=range(8))  # fmt: skip
def test_a_key_that_cannot_be_sent_is_refused_and_not_shown(
    key: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setenv("MY_KEY", key)
    told = refused(key_env="MY_KEY")
    assert "MY_KEY" in told and said in told and "abcdefgh" not in told


def test_a_key_with_space_around_it_is_good(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", f" {KEY}\r\n")
    assert Settings("m", key_env="MY_KEY").key() == KEY


@pytest.mark.parametrize("name", [KEY, "my key", "", 7, "K" * 65, "A=B"], ids=range(6))
def test_a_key_in_place_of_its_variables_name_is_refused_and_not_shown(name: Any) -> None:
    told = refused(key_env=name)
    assert "not the key itself" in told and (not name or str(name) not in told)


@pytest.mark.parametrize("url", [
    "http://me:hunter2pass@127.0.0.1:1/v1", "https://hunter2pass@host/v1", "me:hunter2pass@host:80/v1",
    "http://host/v1?api_key=hunter2pass", "http://host/v1?x=1&Token=hunter2pass", "http://host:bad@hunter2pass/v1",
    "http://host/v1?key=hunter2pass",
])  # fmt: skip
def test_an_address_with_a_password_is_refused_and_not_shown(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told = [refused(base_url=url)]
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    told.append(refused())
    assert all("holds a password" in t and "hunter2" not in t for t in told) and "OPENAI_BASE_URL" in told[1]


@pytest.mark.parametrize("url", [
    "127.0.0.1:8080/v1", "localhost", "ftp://host/v1", "http://", "http://host:99999/v1", "http://host:x/v1",
    "http://ho st/v1", "http://host/v1\n", "http://[::1/v1",
])  # fmt: skip
def test_what_is_no_address_is_refused_before_the_first_game(url: str) -> None:
    assert "write it as http://127.0.0.1:8080/v1" in refused(base_url=url)


def test_the_address_of_the_environment_needs_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "set OPENAI_API_KEY" in refused()
    good = json.dumps(answer())
    with http_server(plain(200, completion(good)), plain(200, completion(good))) as (url, http):
        monkeypatch.setenv("OPENAI_BASE_URL", f" {url} ")
        made = OpenAIProposer(Settings("m"))
        assert made.propose(request()).text == good and made.describe(request())["base_url"] == url
        monkeypatch.setenv("OPENAI_BASE_URL", "http://elsewhere.invalid")
        assert OpenAIProposer(Settings("m", url)).propose(request()).text == good, "what is set comes first"
    assert len(http.seen) == 2


@pytest.mark.parametrize(("name", "value", "said"), [
    ("ALL_PROXY", "socks5://127.0.0.1:1080", "ALL_PROXY names a SOCKS proxy; pip install socksio"),
    ("HTTPS_PROXY", "socks5h://me:hunter2pass@127.0.0.1:1", "HTTPS_PROXY names a SOCKS proxy"),
    ("all_proxy", "socks4://127.0.0.1:1", "look at all_proxy"), ("HTTP_PROXY", "nonsense://x:1", "look at HTTP_PROXY"),
    ("HTTPS_PROXY", "http://host:port", "look at HTTPS_PROXY"), ("SSL_CERT_FILE", "/no/such/file", "SSL_CERT_FILE"),
    ("OPENAI_ORG_ID", "org-1\nX-Evil: 1", "OPENAI_"), ("OPENAI_ORG_ID", "org-\u201c", "OPENAI_"),
])  # fmt: skip
def test_what_keeps_the_client_from_being_built_is_named_at_once(
    name: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setenv(name, value)
    monkeypatch.setitem(sys.modules, "socksio", None)
    told = refused(base_url="http://127.0.0.1:1/v1")
    assert said in told and "hunter2" not in told and "\n" not in told


PEM = "-----BEGIN KEY-----\nMIIBVgIBADANBg+/kqhkiG9w0\n-----END KEY-----"


@pytest.mark.parametrize(
    "secret", [KEY, "p\u00e4ss w\u00f6rd\t/+\"'\\ 123", PEM, "sk-abcdefgh\nijklmnopqr"], ids=range(4)
)
def test_a_secret_is_blotted_out_in_every_notation(secret: str) -> None:
    hidden = secrets.forms([secret])
    for line in {secret, *secret.splitlines()}:
        data = line.encode()
        notations = [
            line,
            repr(line)[1:-1],
            repr(data)[2:-1],
            json.dumps(line)[1:-1],
            quote(line),
            quote(line, safe=""),
        ]
        notations += [json.dumps(line, ensure_ascii=False)[1:-1], base64.b64encode(data).decode().rstrip("=")]
        for said in notations if len(line) >= secrets.SHORTEST else ():
            assert said not in secrets.hide(f"Illegal header value b'Bearer {said}'", hidden, "*"), said


def test_neither_log_nor_transport_repeats_a_key(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = base64.b64encode(KEY.encode()).decode()
    with EventLog.open(tmp_path / "events.jsonl", secrets=[KEY]) as log:
        log.append("x", {"a": [f"b {KEY!r}", {encoded: KEY[::-1]}]})
    assert KEY not in (tmp_path / "events.jsonl").read_text() and encoded not in (tmp_path / "events.jsonl").read_text()
    monkeypatch.setenv("HTTP_PROXY", "http://me:hunter2pass@127.0.0.1:1")
    hidden = SdkTransport(KEY, "http://127.0.0.1:1/v1")._hidden
    assert {KEY, encoded.rstrip("="), "hunter2pass"} <= set(hidden)


@pytest.mark.parametrize("words", [
    ["agent", "--api-key", "sk-12345678"], ["agent", "--token=abcdefgh"], ["env", "AGENT_API_KEY=abcdefgh", "agent"],
    ["sh", "-c", "OPENAI_API_KEY=sk-12345678 agent"], ["agent", "--url", "http://me:pw@host"],
    ["curl", "http://host/?access_token=abcdefgh"], ["agent", "--password", "'hunter2'"],
    ["curl", "-H", "Authorization: Bearer abcdefgh"], ["agent", "--header=X-Api-Key:abcdefgh"],
    ["agent", "-k", "sk-12345678"], ["env", "OPENAIKEY=abcdefgh", "agent"], ["env", "API_KEY_1=abcdefgh", "agent"],
    ["env", "GH_PAT=abcdefgh"], ["agent", "--credential", "abcdefgh"], ["agent", "--pass", "hunter2"],
    ["agent", "api_key:abcdefgh"], ["sh", "-c", "agent -H 'X-Auth-Token: abcdefgh'"], ["agent", "ghp_12345678abc"],
    ["curl", "-H", '"authorization: basic abcdefgh"'], ["agent", "--config", '{"api_key":"abcdefgh"}'],
])  # fmt: skip
def test_a_command_that_says_a_key_is_refused(words: list[str]) -> None:
    with pytest.raises(SupervisorError) as found:
        secrets.plain_words(words, "--command")
    assert not any(secret in str(found.value) for secret in ("12345678", "abcdefgh", "hunter2", "pw@"))


@pytest.mark.parametrize("words", [
    ["agent", "--quiet", "--max-tokens", "100"], ["sh", "-c", 'agent --api-key "$MY_KEY"'],
    ["agent", "--keyboard", "us"], ["curl", "-H", "Authorization: Bearer $MY_KEY"], ["curl", "-H", "Accept: a/b"],
    ["agent", "-p", "Key: move early. The secret: do not wait"], ["env", "MONKEYS=many", "agent"], ["ask-me-all"],
    ["curl", "-H", '"X-Api-Key: ${MY_KEY}"'], ["agent", "--volume", "/a/token:/b"],
    ["sh", "-c", "TOKEN=$MY_TOKEN agent"], ["agent", "--url", "http://127.0.0.1:1/v1"], ["agent", "--token"], [],
])  # fmt: skip
def test_other_commands_are_not(words: list[str]) -> None:
    secrets.plain_words(words, "--command")


@pytest.mark.parametrize("extra", [{"api_key": KEY}, {"a": {"Authorization": "x"}}, {"access_token": "x"}])
def test_more_fields_of_the_body_hold_no_key(extra: dict[str, Any]) -> None:
    assert "would be logged" in refused(extra=extra, base_url="http://127.0.0.1:1/v1")
