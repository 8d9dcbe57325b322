"""A sound JSON value in every nearly sound form: each value in it replaced, each key taken out, one at a time."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from typing import Any

ODD: tuple[Any, ...] = (
    None, True, -1, 2**63, 1e308, math.nan, math.inf, "", "zzz", "a\0b", "\ud800", "²", [], {}, [None], {"a": []}, [[]],
)  # fmt: skip
LONGEST = 3  # of a list, so many of its values are touched


def mutations(value: Any, odd: tuple[Any, ...] = ODD) -> Iterator[tuple[str, Any]]:
    """(what was done, the value with that one change)."""
    for path in _paths(value):
        for other in odd:
            if path or not isinstance(other, dict):
                yield f"{'.'.join(map(str, path))} = {other!r}", _with(value, path, other)
        if path and isinstance(path[-1], str):
            yield f"no {'.'.join(map(str, path))}", _with(value, path, ...)


def text(value: Any) -> bytes:
    """JSON, numbers that are none included."""
    return json.dumps(value).encode()


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _paths(inner, (*path, key))
    elif isinstance(value, list):
        for i, inner in enumerate(value[:LONGEST]):
            yield from _paths(inner, (*path, i))


def _with(value: Any, path: tuple[Any, ...], other: Any) -> Any:
    if not path:
        return other
    made = copy.deepcopy(value)
    at = made
    for key in path[:-1]:
        at = at[key]
    if other is ...:
        del at[path[-1]]
    else:
        at[path[-1]] = other
    return made
