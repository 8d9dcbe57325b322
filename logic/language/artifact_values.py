"""Values inside an artifact: scalars as JSON, arrays as raw buffers, and a reader that trusts nothing.

Knows: how one constant is written and how many bytes an array of a kind and shape must have. Does not know: what the
values are for.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

ALIGN = 16
ARRAYS = ("|b1", "<i4", "<f4")
KINDS = (*ARRAYS, "<i8", "<f8")  # the last two hold tuples of Python's ints and floats
ARRAYS_MOST, SIDES_MOST = 10_000, 8
_TUPLES = {bool: "|b1", int: "<i8", float: "<f8"}


class Arrays:
    """Collects buffers while an artifact is written; an array that stands in several places is written once."""

    def __init__(self) -> None:
        self.shapes: list[list[Any]] = []
        self._parts: list[np.ndarray] = []
        self._seen: dict[int, int] = {}
        self._kept: list[object] = []

    def add(self, value: Any, owner: object) -> int:
        """The index of an array. `owner` is the object that it stands for."""
        if id(owner) not in self._seen:
            made = np.ascontiguousarray(value)
            made = made.astype(made.dtype.newbyteorder("<"), copy=False)
            self._seen[id(owner)] = len(self._parts)
            self._kept.append(owner)
            self._parts.append(made)
            self.shapes.append([made.dtype.str, list(np.shape(value))])
        return self._seen[id(owner)]

    def data(self, at: int) -> bytes:
        """All buffers, for a place `at` bytes from the start."""
        pieces = []
        for part in self._parts:
            gap = -at % ALIGN
            pieces += [bytes(gap), part.tobytes()]
            at += gap + part.nbytes
        return b"".join(pieces)


def pack_value(value: Any, arrays: Arrays) -> list[Any]:
    """One constant or default: Python's bool, int or float, a tuple of one of them, or an array."""
    if isinstance(value, np.ndarray):
        if value.dtype.newbyteorder("<").str not in ARRAYS:
            raise TypeError(f"an array of {value.dtype}")
        return ["array", arrays.add(value, value)]
    if isinstance(value, tuple):
        kinds = {type(v) for v in value}
        if len(kinds) != 1 or not kinds <= _TUPLES.keys():
            raise TypeError(f"a tuple of {len(value)} values of {len(kinds)} types")
        return ["tuple", arrays.add(np.array(value, _TUPLES[kinds.pop()]), value)]
    if isinstance(value, float):
        return ["float", value.hex()]
    if isinstance(value, (bool, int)):
        return [type(value).__name__, value]
    raise TypeError(f"a constant of type {type(value).__name__}")


def unpack_value(packed: Any, arrays: Packed) -> Any:
    """The value; ValueError, TypeError or IndexError when there is none."""
    kind, value = packed
    if kind == "float":
        return float.fromhex(value)
    if kind in ("bool", "int"):
        if type(value).__name__ != kind:
            raise TypeError(f"{kind} expected")
        return value
    if kind == "array":
        found = arrays.get(value)
        if found.dtype.str not in ARRAYS:
            raise TypeError(f"an array of {found.dtype}")
        return found
    if kind == "tuple":
        return tuple(arrays.get(value, 1).tolist())
    raise ValueError("a value of an unknown kind")


class Packed:
    """The arrays of an artifact as read-only views of its bytes, sizes checked against what is there."""

    def __init__(self, data: bytes, at: int, shapes: Any) -> None:
        self._data, self._places = data, []
        self._used: set[int] = set()
        for item in Fields(shapes, list).at_most(ARRAYS_MOST):
            kind, shape = Fields(item, list).exactly(str, list)
            sides = [Fields(n, int).value for n in Fields(shape, list).at_most(SIDES_MOST)]
            if kind not in KINDS or any(n < 0 or n > len(data) for n in sides):
                raise ValueError("an array of an impossible kind or shape")
            at += -at % ALIGN
            size = prod(sides) * np.dtype(kind).itemsize
            if at + size > len(data):
                raise ValueError("an array beyond the end")
            self._places.append((kind, tuple(sides), at, prod(sides)))
            at += size
        if at != len(data):
            raise ValueError(f"{len(data) - at} bytes too many")

    def get(self, index: Any, sides: int | None = None) -> np.ndarray:
        """Array number `index`, with so many sides."""
        if type(index) is not int or not 0 <= index < len(self._places):
            raise IndexError("an array that is not there")
        kind, shape, at, count = self._places[index]
        if sides not in (None, len(shape)):
            raise ValueError("an array of another number of sides")
        self._used.add(index)
        flat = np.frombuffer(self._data, np.dtype(kind), count, at)
        if kind == "|b1" and count and flat.view(np.uint8).max() > 1:
            raise ValueError("a bool that is neither 0 nor 1")
        return flat.reshape(shape)

    def all_used(self) -> None:
        """ValueError when something in it has no use."""
        if len(self._used) != len(self._places):
            raise ValueError("arrays without a use")


class Fields:
    """A JSON value whose type and size are checked before it is used."""

    def __init__(self, value: Any, kind: type) -> None:
        if type(value) is not kind:
            raise TypeError(f"{kind.__name__} expected")
        self.value: Any = value

    def take(self, *names: str) -> list[Any]:
        """The values of exactly these keys."""
        if self.value.keys() != set(names):
            raise ValueError(f"the keys {', '.join(names)} expected")
        return [self.value[name] for name in names]

    def exactly(self, *kinds: type) -> list[Any]:
        """As many items as kinds, each of its kind."""
        if len(self.value) != len(kinds):
            raise ValueError(f"{len(kinds)} items expected")
        return [Fields(v, k).value for v, k in zip(self.value, kinds, strict=True)]

    def at_most(self, count: int) -> list[Any]:
        """All items, at most `count`."""
        if len(self.value) > count:
            raise ValueError(f"more than {count} items")
        found: list[Any] = self.value
        return found
