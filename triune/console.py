"""Where words go: results to stdout, everything else to stderr, one JSON object when asked."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from typing import Any, Protocol

from envs.terminal import Guarded, Lines, clean, printable

__all__ = ["Console", "Lines", "clean", "jsonable", "printable", "table", "told_score"]
EVERY = 30.0  # seconds between lines of progress where there is no terminal


def told_score(score: float | None) -> str:
    """A score for people: as it is where games count in whole numbers, else with two digits."""
    return f"{score:.2f}" if isinstance(score, float) else str(score)


class Screen(Protocol):
    """Something that redraws itself in place on the terminal."""

    def line(self, text: str) -> None:
        """A line that stays."""

    def progress(self, done: float, total: float, text: str) -> None:
        """How far the work has come."""


class Console:
    """The mouth of one command."""

    def __init__(self, as_json: bool = False) -> None:
        self.as_json = as_json
        self._line = ""
        self._last = 0.0
        self._stdout = -1
        self.screen: Screen | None = None  # while one is drawn: lines go above it, progress into it

    def __enter__(self) -> Console:
        if self.as_json:  # a library that prints to descriptor 1 must not spoil the object
            sys.stdout.flush()
            self._stdout = os.dup(1)
            os.dup2(2, 1)
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()
        if self._stdout >= 0:
            sys.stdout.flush()
            os.dup2(self._stdout, 1)
            os.close(self._stdout)
            self._stdout = -1

    def say(self, text: str = "") -> None:
        """A line of the result (several: `Lines`), for people; silent in JSON mode."""
        self.clear()
        if not self.as_json:
            print(clean(text), flush=True)

    def log(self, text: str) -> None:
        """A line about the work (several: `Lines`), always on stderr."""
        if self.screen is not None:
            self.screen.line(clean(text))
            return
        self.clear()
        print(clean(text), file=sys.stderr, flush=True)

    def progress(self, done: float, total: float, text: str = "") -> None:
        """A bar on stderr: redrawn on a terminal; elsewhere a line every 30 s, and none beside a JSON object."""
        if self.screen is not None:
            self.screen.progress(done, total, text)
            return
        now, terminal = time.monotonic(), sys.stderr.isatty()
        if not terminal and self.as_json or now - self._last < (0.1 if terminal else EVERY) and done < total:
            return
        self._last = now
        share = min(1.0, done / total) if total else 1.0
        bar = "█" * int(share * 24) + "·" * (24 - int(share * 24))
        line = f"{bar} {share:4.0%} {printable(text)}"
        if not terminal:
            print(line, file=sys.stderr, flush=True)
            return
        self._draw("\r" + line[:118].ljust(len(self._line)))
        self._line = line[:118]

    def clear(self) -> None:
        """Take the bar off the terminal."""
        if self._line:
            self._draw("\r" + " " * len(self._line) + "\r")
            self._line = ""

    def _draw(self, text: str) -> None:
        stream = sys.stderr
        (stream.put if isinstance(stream, Guarded) else stream.write)(text)
        stream.flush()

    def emit(self, payload: dict[str, Any]) -> None:
        """The one JSON object. Call after leaving the console."""
        if self.as_json:
            print(_json_line(payload), flush=True)

    def stream(self, payload: dict[str, Any]) -> None:
        """In JSON mode: one object more on stdout, on a line of its own, now."""
        if self._stdout >= 0:
            data = f"{_json_line(payload)}\n".encode()
            while data:
                data = data[os.write(self._stdout, data) :]


def _json_line(payload: dict[str, Any]) -> str:
    escaped = not (sys.stdout.encoding or "utf-8").lower().startswith("utf")
    text = json.dumps(jsonable(payload), ensure_ascii=escaped, allow_nan=False)
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


def jsonable(value: Any) -> Any:
    """Plain JSON values: numpy scalars and arrays, paths, tuples and non-finite numbers included."""
    if isinstance(value, dict):
        return {str(k): jsonable(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [jsonable(v) for v in value]
    if isinstance(value, bool) or value is None or isinstance(value, (str, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if hasattr(value, "tolist"):
        return jsonable(value.tolist())
    return str(value)


def table(rows: list[list[str]], header: list[str] | None = None, right: set[int] | None = None) -> Lines:
    """Columns aligned with spaces; `right` are the columns aligned to the right."""
    body = [[printable(cell) for cell in row] for row in ([header] if header else []) + rows]
    if not body:
        return Lines()
    widths = [max(len(row[i]) for row in body) for i in range(len(body[0]))]
    right = right or set()

    def line(row: list[str]) -> str:
        cells = [c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))]
        return "  ".join(cells).rstrip()

    lines = [line(row) for row in body]
    if header:
        lines.insert(1, "  ".join("─" * w for w in widths))
    return Lines("\n".join(lines))
