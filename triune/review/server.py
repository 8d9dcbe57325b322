"""A loopback web server for one review session: the page, the frames, saves. Nobody without the token gets anything.

HTTP from the standard library, who may ask (the address is on this machine, the Host is this machine, the token in the
path is right), what every answer carries.
"""

from __future__ import annotations

import hmac
import json
import secrets
import socket
import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from data_flywheel.errors import DataError
from data_flywheel.labels.store import StaleLabels
from triune.console import printable
from triune.errors import TriuneError
from triune.review.session import ReviewSession

HOST = "127.0.0.1"
NAMES = (HOST, "localhost")  # what a request may call this machine: any other name is somebody's rebound address
PAGE = Path(__file__).resolve().parent / "page"
KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
}
LARGEST = 256 * 1024  # bytes of a save
IDLE = 60.0  # seconds until a silent connection is closed
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": POLICY,
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


class ReviewServer(ThreadingHTTPServer):
    """Bound to this machine; `url` is the only address that works. Call `serve_forever`."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, session: ReviewSession, port: int = 0) -> None:
        """TriuneError when the port cannot be used."""
        self.session = session
        self.token = secrets.token_urlsafe(24)
        self.files = {p.name: (p.read_bytes(), KINDS[p.suffix]) for p in PAGE.iterdir() if p.suffix in KINDS}
        if "index.html" not in self.files:
            raise TriuneError("the page's files (triune/review/page) are not installed; install Triune again")
        try:
            super().__init__((HOST, port), Handler)
        except OSError as error:
            raise TriuneError(f"port {port} cannot be used ({error.strerror}); name another with --port") from None
        except OverflowError:
            raise TriuneError(f"a port is a number from 0 to 65535, got {port}") from None

    @property
    def url(self) -> str:
        """The address with its token."""
        return f"http://{HOST}:{self.server_port}/{self.token}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that went away is no error; anything else is told in a line."""
        error = sys.exc_info()[1]
        if not isinstance(error, (ConnectionError, TimeoutError, socket.timeout)):
            print(printable(f"triune: a request failed: {type(error).__name__}: {error}"), file=sys.stderr)


class Handler(BaseHTTPRequestHandler):
    """One connection of a browser."""

    server: ReviewServer
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "triune", ""
    timeout = IDLE

    def do_GET(self) -> None:
        """The page, state, a frame, its picture."""
        self._serve(self._get)

    def do_POST(self) -> None:
        """A save or an undo."""
        self._serve(self._post)

    def _other(self) -> None:
        self._serve(self._no_method)

    do_HEAD = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_TRACE = _other

    def _serve(self, answer: Any) -> None:
        """Answer, or refuse in words. After a refusal the connection ends: its body was not read."""
        try:
            answer(self._path())
        except Refused as refused:
            self.close_connection = True
            self._json(refused.status, {"error": str(refused)})
        except StaleLabels as stale:
            news = [{"id": entry.id, "at": entry.at, "who": entry.who} for entry in stale.news]
            self._json(HTTPStatus.CONFLICT, {"error": str(stale), "news": news})
        except DataError as error:
            self._json(HTTPStatus.BAD_REQUEST, {"error": str(error)})

    def _path(self) -> list[str]:
        """The path behind the token; Refused unless host, origin and token are right."""
        host, origin = self.headers.get("Host", ""), self.headers.get("Origin")
        try:
            name, own = urlsplit(f"//{host}").hostname, origin is None or urlsplit(origin).netloc == host
            _, token, *rest = urlsplit(self.path).path.split("/")
        except ValueError:
            raise Refused(HTTPStatus.BAD_REQUEST, "this is no address") from None
        if name not in NAMES:
            raise Refused(HTTPStatus.FORBIDDEN, "this server answers to 127.0.0.1 and localhost only")
        if not own:
            raise Refused(HTTPStatus.FORBIDDEN, "another page may not use this server")
        if not hmac.compare_digest(token.encode(), self.server.token.encode()):
            raise Refused(HTTPStatus.FORBIDDEN, "open the address that `triune review` printed: its token is missing")
        return rest

    def _no_method(self, path: list[str]) -> None:
        raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, f"{self.command} is not used here")

    def _get(self, path: list[str]) -> None:
        match path:
            case []:
                raise Refused(HTTPStatus.NOT_FOUND, "the address ends with a slash")
            case ["state"]:
                self._json(HTTPStatus.OK, self.server.session.state())
            case ["frame", number] if number.isdecimal():
                self._json(HTTPStatus.OK, self.server.session.frame(int(number)))
            case ["picture", number] if number.isdecimal():
                self._send(HTTPStatus.OK, self.server.session.png(int(number)), "image/png")
            case [name] if (name or "index.html") in self.server.files:
                self._send(HTTPStatus.OK, *self.server.files[name or "index.html"])
            case _:
                raise Refused(HTTPStatus.NOT_FOUND, "there is no such page")

    def _post(self, path: list[str]) -> None:
        body = self._body()
        match path, body:
            case ["save"], {"index": int(), "revision": str(), "verdict": str(), "values": dict()}:
                self._json(HTTPStatus.OK, self.server.session.save(**{k: body[k] for k in _SAVE}))
            case ["undo"], {"last": str()}:
                self._json(HTTPStatus.OK, self.server.session.undo(body["last"]))
            case _:
                raise Refused(
                    HTTPStatus.BAD_REQUEST, "a save has index, revision, verdict and values; an undo has last"
                )

    def _body(self) -> Any:
        """The JSON that was sent."""
        if self.headers.get_content_type() != "application/json":
            raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "saves are sent as application/json")
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            raise Refused(HTTPStatus.LENGTH_REQUIRED, "a save says how long it is")
        if int(length) > LARGEST:
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a save has at most {LARGEST} bytes")
        try:
            return json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError):
            raise Refused(HTTPStatus.BAD_REQUEST, "a save is JSON") from None

    def _json(self, status: HTTPStatus, value: Any) -> None:
        self._send(status, json.dumps(value).encode(), "application/json; charset=utf-8")

    def _send(self, status: HTTPStatus, data: bytes, kind: str) -> None:
        self.send_response(status)
        for name, value in {**HEADERS, "Content-Type": kind, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


_SAVE = ("index", "revision", "verdict", "values")
