"""Whatever Triune serves on this machine is guarded alike: the page of `triune web` here, reviews in test_review.py."""

from __future__ import annotations

import http.client
import json
import os
import socket
import threading
from collections.abc import Iterator

import pytest
from cli_kit import ROOT

from triune.deploy.web import server

SECRET = "from elsewhere"


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A folder as `triune web` writes it, with what somebody put there."""
    folder = tmp_path_factory.mktemp("served")
    (folder / "site" / "ort").mkdir(parents=True)
    (folder / "secret.json").write_text(SECRET)
    (folder / "site" / "index.html").write_text("<p>here")
    (folder / "site" / "ort" / "ort.wasm").write_bytes(b"x")
    (folder / "site" / ".hidden.json").write_text(SECRET)
    (folder / "site" / "notes.txt").write_text(SECRET)
    (folder / "site" / "link.json").symlink_to(folder / "secret.json")
    (folder / "site" / "up").symlink_to(folder)
    (folder / "site" / "loop.json").symlink_to("loop.json")
    os.mkfifo(folder / "site" / "pipe.json")
    with server(folder / "site") as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield running.server_port
        running.shutdown()
        thread.join()


def ask(port: int, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.putrequest(method, path, skip_host="Host" in headers)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def test_the_folder_is_served_with_every_guard(port: int) -> None:
    for path, kind in (("/", "text/html"), ("/index.html?auto=1", "text/html"), ("/ort/ort.wasm", "application/wasm")):
        status, headers, data = ask(port, path)
        assert status == 200 and data and headers["content-type"].startswith(kind)
        assert headers["x-content-type-options"] == "nosniff" and headers["x-frame-options"] == "DENY"
        assert headers["cache-control"] == "no-store" and headers["cross-origin-resource-policy"] == "same-origin"
    assert ask(port, "/", "HEAD")[::2] == (200, b"")
    assert ask(port, "/", Host=f"localhost:{port}")[0] == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "[::1", "", "0.0.0.0"])
def test_another_host_is_refused(port: int, host: str) -> None:
    status, _, data = ask(port, "/", Host=host)
    assert status in (400, 403) and b"here" not in data


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://127.0.0.1", "http://["])
def test_another_page_is_refused(port: int, origin: str) -> None:
    assert ask(port, "/", Origin=origin)[0] in (400, 403)


@pytest.mark.parametrize(
    "path",
    [
        "/link.json", "/up/secret.json", "/loop.json", "/pipe.json", "/../secret.json", "/%2e%2e/secret.json",
        "/.hidden.json",
        "/ort", "/ort/", "/notes.txt", "/gone.json", "/%00.json", "//secret.json", "/..%5csecret.json", "/%ff.json",
    ],
)  # fmt: skip
def test_nothing_but_the_folders_own_pages(port: int, path: str) -> None:
    status, _, data = ask(port, path)
    assert status == 404 and SECRET.encode() not in data and json.loads(data)["error"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"])
def test_nothing_is_written(port: int, method: str) -> None:
    status, headers, _ = ask(port, "/", method)
    assert status == 405 and not any("access-control" in name for name in headers)


def test_an_odd_request_ends_its_own_connection_alone(port: int) -> None:
    for text in (b"\0\n\n", b"GET\n\n", b"GET * HTTP/1.1\r\nHost: localhost\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(text)
            assert b"here" not in connection.recv(1000)
    assert ask(port, "/")[0] == 200


def test_there_is_one_server() -> None:
    found = {p.relative_to(ROOT).as_posix() for p in (ROOT / "triune").rglob("*.py") if "HTTPServer" in p.read_text()}
    assert found == {"triune/loopback.py"}
