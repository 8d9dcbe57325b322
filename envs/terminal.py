"""What a terminal is shown: the one cleaner of text that others wrote, and streams that can neither lack nor choke.

Every process of Triune calls `guard` first. Then whatever is printed there, a traceback or a warning too, holds no
control characters and nothing that the stream cannot encode. Standard library only.
"""

from __future__ import annotations

import os
import sys
from typing import Any, TextIO

PLAIN = {"─": "-", "█": "#", "·": ".", "µ": "u", "–": "-", "—": "-", "…": "~", "×": "x", "≥": ">", "≤": "<"}


class Lines(str):
    """Text whose line breaks are ours: anywhere else they came with a stranger's text and would fake a line."""


class ReaderGone(BrokenPipeError):
    """Whoever read this stream has closed it: `triune list | head`."""


def clean(text: str) -> str:
    """Without what could move a terminal's cursor, colour it or turn its text around; one line, or `Lines`."""
    return "\n".join(map(printable, text.split("\n"))) if isinstance(text, Lines) else printable(text)


def printable(text: str) -> str:
    """The same, always on one line: what quotes a stranger's text within `Lines` uses this."""
    return "".join(c if c.isprintable() else " " if c.isspace() else "?" for c in text)


class Guarded:
    """A text stream that shows only what a terminal may show; what it cannot encode becomes something like it."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        """Printable text and line breaks; ReaderGone when nobody reads any more."""
        self.put(clean(Lines(text)))
        return len(text)

    def put(self, text: str) -> None:
        """Text of ours with its control characters (a bar goes back to the start of its line)."""
        encoding = self.stream.encoding or "utf-8"
        try:
            text.encode(encoding)
        except UnicodeEncodeError:
            text = "".join(c if _fits(c, encoding) else PLAIN.get(c, "?") for c in text)
        try:
            self.stream.write(text)
        except BrokenPipeError as error:
            raise ReaderGone(*error.args) from None

    def flush(self) -> None:
        """ReaderGone when nobody reads any more."""
        try:
            self.stream.flush()
        except BrokenPipeError as error:
            raise ReaderGone(*error.args) from None


def guard() -> None:
    """Guard this process's standard streams; twice is once. A closed one leads nowhere from here on."""
    open_standard()
    for name in ("stdin", "stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None or stream.closed:
            stream = open(os.devnull, "r" if name == "stdin" else "w", encoding="utf-8")  # noqa: SIM115
        if name != "stdin" and not isinstance(stream, Guarded):
            stream = Guarded(stream)
        setattr(sys, name, stream)


def open_standard() -> None:
    """Descriptors 0, 1 and 2 are open: else the next file or pipe would become one, and what is printed go into it."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest that is free: this one


def _fits(character: str, encoding: str) -> bool:
    try:
        character.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True
