"""What values in a foreign file must be, said once: a check a value, and an error that says which key and why.

A check takes a value and the path of its key, and raises `Misfit`. `envs.files.read_json` takes one as `shape`, so that
whoever reads a file works with checked values. Standard library only.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

Check = Callable[[Any, str], None]
MOST_TEXT = 64 << 10  # characters
MOST_LETTERS = 200  # of a name or title
_UNNAMED = re.compile("[\0\ud800-\udfff]")


class Misfit(ValueError):
    """A value that its key cannot have; the message begins with the path of the key."""


def _refuse(value: Any, key: str, wanted: str) -> None:
    told = f"{value!r:.40}" if isinstance(value, (str, int, float, type(None))) else f"a {type(value).__name__}"
    raise Misfit(f"{key or 'its content'} is {told}, not {wanted}")


def whole(low: int = -(2**63), high: int = 2**63 - 1) -> Check:
    """A whole number from low to high; no truth value."""

    def check(value: Any, key: str) -> None:
        if type(value) is not int or not low <= value <= high:
            _refuse(value, key, f"a whole number from {low} to {high}")

    return check


def number(low: float = -math.inf, high: float = math.inf) -> Check:
    """A finite number from low to high; no truth value."""

    def check(value: Any, key: str) -> None:
        if type(value) not in (int, float) or not math.isfinite(value) or not low <= value <= high:
            _refuse(value, key, "a finite number" + (f" from {low:g} to {high:g}" if math.isfinite(low) else ""))

    return check


def flag(value: Any, key: str) -> None:
    """True or false."""
    if type(value) is not bool:
        _refuse(value, key, "true or false")


def writable(text: str) -> bool:
    """Whether a file could hold it as UTF-8, and be called so."""
    return not _UNNAMED.search(text)


def text(value: Any, key: str) -> None:
    """Text that a file or a command line could name: no NUL, no half of a surrogate pair."""
    if not isinstance(value, str) or len(value) > MOST_TEXT or not writable(value):
        _refuse(value, key, f"a text of at most {MOST_TEXT} characters that can be written")


def is_name(text: str) -> bool:
    """Whether files and folders can be called so, and lie where they should."""
    return 0 < len(text) <= MOST_LETTERS and text.isprintable() and text[0] != "." and not set(text) & set("/\\:")


def name(value: Any, key: str) -> None:
    """What files and folders are called after: no place elsewhere."""
    if not isinstance(value, str) or not is_name(value):
        _refuse(value, key, "a name, which files can be called")


def anything(value: Any, key: str) -> None:
    """Whatever JSON has."""


def words(value: Any, key: str) -> None:
    """Text that is only shown: any characters."""
    if not isinstance(value, str):
        _refuse(value, key, "a text")


def one_of(*choices: str) -> Check:
    """One of these words."""

    def check(value: Any, key: str) -> None:
        if not isinstance(value, str) or value not in choices:
            _refuse(value, key, f"one of {', '.join(choices)}")

    return check


def maybe(inner: Check) -> Check:
    """null, or what `inner` takes."""

    def check(value: Any, key: str) -> None:
        if value is not None:
            inner(value, key)

    return check


def each(inner: Check, least: int = 0, most: int = 1 << 24) -> Check:
    """A list of `least` to `most` such values."""

    def check(value: Any, key: str) -> None:
        if not isinstance(value, list) or not least <= len(value) <= most:
            sizes = f"{least}" if least == most else f"{least} to {most}"
            _refuse(value, key, f"a list of {sizes} values")
        for i, item in enumerate(value):
            inner(item, f"{key}[{i}]")

    return check


def row(*inner: Check) -> Check:
    """A list with one value for each of these."""

    def check(value: Any, key: str) -> None:
        if not isinstance(value, list) or len(value) != len(inner):
            _refuse(value, key, f"a list of {len(inner)} values")
        for i, (item, its) in enumerate(zip(value, inner, strict=True)):
            its(item, f"{key}[{i}]")

    return check


def named(inner: Check) -> Check:
    """An object whose keys are any texts, and whose values `inner` takes."""

    def check(value: Any, key: str) -> None:
        if not isinstance(value, dict):
            _refuse(value, key, "an object")
        for name, item in value.items():
            text(name, f"a key of {key}" if key else "a key")
            inner(item, f"{key}.{name:.40}".lstrip("."))

    return check


def table(needed: Mapping[str, Check], also: Mapping[str, Check] | None = None) -> Check:
    """An object with these keys, and perhaps those of `also`; further keys are nobody's business."""

    def check(value: Any, key: str) -> None:
        if not isinstance(value, dict):
            _refuse(value, key, "an object")
        for name, inner in {**needed, **(also or {})}.items():
            if name in value:
                inner(value[name], f"{key}.{name}".lstrip("."))
            elif name in needed:
                raise Misfit(f"{key}.{name} is missing".lstrip("."))

    return check
