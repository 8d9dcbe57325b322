"""The one web server there is: on this machine, for this machine's own pages, whatever it serves.

Who may ask: the address is of this machine, the Host is a name of this machine (any other is somebody's rebound
address), no other page asks. What every answer carries. HTTP from the standard library.
"""

from __future__ import annotations

import json
import socket
import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from envs.terminal import printable
from triune.errors import TriuneError

HOST = "127.0.0.1"
NAMES = (HOST, "localhost")
IDLE = 60.0  # seconds until a silent connection is closed
HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Refused(Exception):
    """A request that gets no answer but a status and a sentence."""

    def __init__(self, status: HTTPStatus, words: str) -> None:
        super().__init__(words)
        self.status = status


class Server(ThreadingHTTPServer):
    """Bound to this machine. Call `serve_forever`."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, port: int, handler: type[Handler], option: str = "--port") -> None:
        """`.server_port` is its port; 0 asked for: a free one. TriuneError when it cannot be used."""
        try:
            super().__init__((HOST, port), handler)
        except OSError as error:
            raise TriuneError(
                f"port {port} cannot be used ({error.strerror}); name another with {option} (0 for any)"
            ) from None
        except OverflowError:
            raise TriuneError(f"a port is a number from 0 to 65535, got {port}") from None

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that went away is no error; anything else is told in a line."""
        error = sys.exc_info()[1]
        if not isinstance(error, (ConnectionError, TimeoutError, socket.timeout)):
            print(printable(f"triune: a request failed: {type(error).__name__}: {error}"), file=sys.stderr)


class Handler(BaseHTTPRequestHandler):
    """One connection of a browser. A subclass answers in `get` and `post`, or raises Refused."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "triune", ""
    timeout = IDLE
    headers_of_all = HEADERS

    def get(self, path: str) -> None:
        """Answer a GET of this path, `/` first, percent signs as they came."""
        raise NotImplementedError

    def post(self, path: str) -> None:
        """Answer a POST."""
        self.no_method(path)

    def do_GET(self) -> None:
        self.serve(self.get)

    def do_POST(self) -> None:
        self.serve(self.post)

    def _other(self) -> None:
        self.serve(self.no_method)

    do_HEAD = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_TRACE = _other

    def no_method(self, path: str) -> None:
        raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, f"{self.command} is not used here")

    def serve(self, answer: Any) -> None:
        """Answer, or refuse in words. After a refusal the connection ends: its body was not read."""
        try:
            answer(self._allowed())
        except Refused as refused:
            self.close_connection = True
            self.send_json(refused.status, {"error": str(refused)})

    def _allowed(self) -> str:
        """The path; Refused unless host and origin are right."""
        host, origin = self.headers.get("Host", ""), self.headers.get("Origin")
        try:
            name, own = urlsplit(f"//{host}").hostname, origin is None or urlsplit(origin).netloc == host
            path = urlsplit(self.path).path
        except ValueError:
            raise Refused(HTTPStatus.BAD_REQUEST, "this is no address") from None
        if not path.startswith("/"):
            raise Refused(HTTPStatus.BAD_REQUEST, "this is no address")
        if name not in NAMES:
            raise Refused(HTTPStatus.FORBIDDEN, "this server answers to 127.0.0.1 and localhost only")
        if not own:
            raise Refused(HTTPStatus.FORBIDDEN, "another page may not use this server")
        return path

    def send_json(self, status: HTTPStatus, value: Any) -> None:
        self.send(status, json.dumps(value).encode(), "application/json; charset=utf-8")

    def send(self, status: HTTPStatus, data: bytes, kind: str) -> None:
        """A whole answer."""
        self.send_response(status)
        for name, value in {**self.headers_of_all, "Content-Type": kind, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""
