"""Text that can be shown to a model: nothing invisible, nothing that looks like a section, nothing longer than agreed.

Knows characters. Does not know: what is said. Whatever comes from logs, rules or earlier answers goes through `quoted`.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}  # controls, invisible marks, half characters, line separators
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,59}")
_MARKS = str.maketrans(
    {"<": "\\u003c", ">": "\\u003e", "`": "\\u0060", "\x7f": "\\u007f"}
)  # what delimiters are made of


def clean(text: str) -> str:
    r"""The same text with every control, invisible or line-separating character but "\n" written as an escape."""
    if text.isascii() and text.replace("\n", "").isprintable():
        return text
    return "".join(c if c == "\n" or unicodedata.category(c) not in _HIDDEN else _escape(c) for c in text)


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"


def quoted(text: object, most: int = 200) -> str:
    """A JSON string of one line, ASCII, of at most about `most` characters of `text`."""
    return json.dumps(shortened(str(text), most)).translate(_MARKS)


def shortened(text: str, most: int) -> str:
    """At most `most` characters, "..." at the end when there were more."""
    return text if len(text) <= most else text[: max(0, most - 3)] + "..."


def word(text: object) -> str:
    """A plain name as it is, anything else quoted."""
    said = str(text)
    return said if _WORD.fullmatch(said) else quoted(said, 60)


def number(value: object, digits: int = 1) -> str:
    """A number as short as can be: at most `digits` decimals, never "-0"; any other thing quoted."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return quoted(value, 40)
    if not math.isfinite(value):
        return str(value)
    said = f"{value:.{digits}f}"
    said = said.rstrip("0").rstrip(".") if "." in said else said
    return "0" if said == "-0" else said


def signed(value: float, digits: int = 1) -> str:
    """The same with its sign."""
    said = number(value, digits)
    return said if said.startswith("-") or said == "0" else f"+{said}"


def numbered(text: str) -> list[str]:
    """Its lines with their numbers from 1."""
    lines = clean(text).removesuffix("\n").split("\n")
    wide = len(str(len(lines)))
    return [f"{i:{wide}d}| {line}".rstrip() for i, line in enumerate(lines, 1)]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of aligned columns between bars; the last column is not padded."""
    widths = [max(len(line[i]) for line in (head, *rows)) for i in range(len(head))]
    return [" | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in (head, *rows)]


class Fitted(NamedTuple):
    """A text, and how many of the blocks it was to hold stand in it."""

    text: str
    kept: int


def fit(blocks: Sequence[str], limit: int, what: str) -> Fitted:
    """As many of `blocks` as fit into `limit` characters, in order, and a note on what was left out.

    A first block that is too long by itself is cut.
    """
    whole = "\n".join(blocks)
    if len(whole) <= limit:
        return Fitted(whole, len(blocks))
    for kept in range(len(blocks) - 1, 0, -1):
        note = f"[{len(blocks) - kept} of {len(blocks)} {what} left out: at most {limit} characters here]"
        said = "\n".join([*blocks[:kept], note])
        if len(said) <= limit:
            return Fitted(said, kept)
    more = f", and {len(blocks) - 1} more {what} left out" if len(blocks) > 1 else ""
    note = f"\n[cut{more}: at most {limit} characters here]"
    return Fitted(blocks[0][: max(0, limit - len(note))] + note[: max(0, limit)], 0)
