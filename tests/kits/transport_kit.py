"""Servers for the tests of the `openai` proposer: a scripted transport, and a real HTTP server on this machine."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


def completion(text: str | None, finish: str = "stop", usage: Any = (100, 20), **message: Any) -> dict[str, Any]:
    """A response as servers give it; `usage`: (prompt, completion), None for none, or the field itself."""
    made: dict[str, Any] = {
        "id": "c1", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [
            {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": text, **message}}
        ],
    }  # fmt: skip
    if usage is not None:
        counts = dict(zip(("prompt_tokens", "completion_tokens"), usage, strict=True)) if len(usage) == 2 else usage
        made["usage"] = counts
    return made


class Script:
    """A transport that gives one prepared outcome after the other; `bodies` and `timeouts` are what it was asked."""

    def __init__(self, *outcomes: Mapping[str, Any] | Exception) -> None:
        self.outcomes = list(outcomes)
        self.bodies: list[dict[str, Any]] = []
        self.timeouts: list[float] = []

    def send(self, body: Mapping[str, Any], timeout: float) -> dict[str, Any]:
        self.bodies.append(json.loads(json.dumps(body)))
        self.timeouts.append(timeout)
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return dict(outcome)


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


class Http:
    """A server that gives prepared responses: (status, headers, pieces of the body). After the last piece of a
    response marked `hang`, it says nothing until the test is over."""

    def __init__(self, responses: Sequence[tuple[int, Mapping[str, str], list[bytes], bool]]) -> None:
        self.responses = list(responses)
        self.seen: list[tuple[str, dict[str, str], Any]] = []
        self.over = threading.Event()

    def handle(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        self.seen.append((handler.path, {k.lower(): v for k, v in handler.headers.items()}, json.loads(body)))
        status, headers, pieces, hang = self.responses.pop(0)
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Connection", "close")
        handler.end_headers()
        for piece in pieces:
            handler.wfile.write(piece)
            handler.wfile.flush()
        if hang:
            self.over.wait(30)


def plain(status: int, body: Any, hang: bool = False, **headers: str) -> tuple[int, dict[str, str], list[bytes], bool]:
    """A response with a body of JSON, or of bytes as they are."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return status, {"Content-Type": "application/json", **named}, [data], hang


@contextmanager
def http_server(
    *responses: tuple[int, dict[str, str], list[bytes], bool], http: Http | None = None
) -> Iterator[tuple[str, Http]]:  # fmt: skip
    """(base_url, what it was asked). `http`: another way to answer."""
    http = http or Http(responses)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the client hangs up, as it should
                http.handle(self)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1", http
    finally:
        http.over.set()
        server.shutdown()
        server.server_close()
        thread.join()
