"""A loopback web server for one review session: the page, the frames, saves. Nobody without the token gets anything.

Host and origin are guarded by `triune/loopback.py`; the token in the path is by this.
"""

from __future__ import annotations

import hmac
import json
import secrets
from http import HTTPStatus
from pathlib import Path
from typing import Any

from data_flywheel.errors import DataError
from data_flywheel.labels.store import StaleLabels
from triune import loopback
from triune.errors import TriuneError
from triune.loopback import Refused
from triune.review.session import ReviewSession

PAGE = Path(__file__).resolve().parent / "page"
KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
}
LARGEST = 256 * 1024  # bytes of a save
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {**loopback.HEADERS, "Content-Security-Policy": POLICY}


class ReviewServer(loopback.Server):
    """`url` is the only address that works."""

    def __init__(self, session: ReviewSession, port: int = 0) -> None:
        """TriuneError when the port cannot be used."""
        self.session = session
        self.token = secrets.token_urlsafe(24)
        self.files = {p.name: (p.read_bytes(), KINDS[p.suffix]) for p in PAGE.iterdir() if p.suffix in KINDS}
        if "index.html" not in self.files:
            raise TriuneError("the page's files (triune/review/page) are not installed; install Triune again")
        super().__init__(port, Handler)

    @property
    def url(self) -> str:
        """The address with its token."""
        return f"http://{loopback.HOST}:{self.server_port}/{self.token}/"


class Handler(loopback.Handler):
    """The page, state, a frame, its picture, where a film's picture stands; a save, an undo, a redo."""

    server: ReviewServer
    headers_of_all = HEADERS

    def serve(self, answer: Any) -> None:
        """As ever; what the session refuses is told in words, too."""
        try:
            super().serve(answer)
        except StaleLabels as stale:
            news = [{"id": entry.id, "at": entry.at, "who": entry.who} for entry in stale.news]
            self.send_json(HTTPStatus.CONFLICT, {"error": str(stale), "news": news})
        except DataError as error:
            self.send_json(HTTPStatus.BAD_REQUEST, {"error": str(error)})

    def _behind(self, path: str) -> list[str]:
        """The parts of a path behind the token; Refused unless it is right."""
        _, token, *rest = path.split("/")
        if not hmac.compare_digest(token.encode(), self.server.token.encode()):
            raise Refused(HTTPStatus.FORBIDDEN, "open the address that `triune review` printed: its token is missing")
        return rest

    def no_method(self, path: str) -> None:
        self._behind(path)
        super().no_method(path)

    def get(self, path: str) -> None:
        match self._behind(path):
            case []:
                raise Refused(HTTPStatus.NOT_FOUND, "the address ends with a slash")
            case ["state"]:
                self.send_json(HTTPStatus.OK, self.server.session.state())
            case ["frame", number] if _is_number(number):
                self.send_json(HTTPStatus.OK, self.server.session.frame(int(number)))
            case ["picture", number] if _is_number(number):
                self.send(HTTPStatus.OK, self.server.session.png(int(number)), "image/png")
            case ["at", film, place] if _is_number(film) and _is_number(place):
                self.send_json(HTTPStatus.OK, self.server.session.open(int(film), int(place)))
            case [name] if (name or "index.html") in self.server.files:
                self.send(HTTPStatus.OK, *self.server.files[name or "index.html"])
            case _:
                raise Refused(HTTPStatus.NOT_FOUND, "there is no such page")

    def post(self, path: str) -> None:
        behind, body = self._behind(path), self._body()
        match behind, body:
            case ["save"], {"index": int(), "revision": str(), "verdict": str(), "values": dict()}:
                self.send_json(HTTPStatus.OK, self.server.session.save(**{k: body[k] for k in _SAVE}))
            case ["undo"], {"last": str()}:
                self.send_json(HTTPStatus.OK, self.server.session.undo(body["last"]))
            case ["redo"], {"undone": str()}:
                self.send_json(HTTPStatus.OK, self.server.session.redo(body["undone"]))
            case _:
                raise Refused(
                    HTTPStatus.BAD_REQUEST,
                    "a save has index, revision, verdict and values; an undo has last, a redo undone",
                )

    def _body(self) -> Any:
        """The JSON that was sent."""
        if self.headers.get_content_type() != "application/json":
            raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "saves are sent as application/json")
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            raise Refused(HTTPStatus.LENGTH_REQUIRED, "a save says how long it is")
        if not _is_number(length) or int(length) > LARGEST:
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a save has at most {LARGEST} bytes")
        try:
            return json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError):
            raise Refused(HTTPStatus.BAD_REQUEST, "a save is JSON") from None


def _is_number(text: str) -> bool:
    return text.isdecimal() and len(text) < 10  # Python refuses numbers of thousands of digits


_SAVE = ("index", "revision", "verdict", "values")
