"""Just enough protobuf to read and append to an ONNX file without a library.

Knows: the wire format. Does not know: what any field means. Standard library only.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


class Field(NamedTuple):
    """One field: its number, wire type, and where its payload stands in the data (`value` for a varint)."""

    number: int
    wire: int
    start: int
    stop: int
    value: int = 0


def varint(n: int) -> bytes:
    """A whole number from 0."""
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    return bytes([*out, n])


def field(number: int, payload: bytes) -> bytes:
    """A length-delimited field."""
    return varint(number << 3 | BYTES) + varint(len(payload)) + payload


def fields(data: bytes, start: int = 0, stop: int | None = None) -> Iterator[Field]:
    """The fields of the message `data[start:stop]`, in order; ValueError where that is no protobuf."""
    at, stop = start, len(data) if stop is None else stop
    while at < stop:
        tag, at = _read_varint(data, at, stop)
        number, wire, value, begin = tag >> 3, tag & 7, 0, at
        if wire == VARINT:
            value, at = _read_varint(data, at, stop)
        elif wire == BYTES:
            length, begin = _read_varint(data, at, stop)
            at = begin + length
        elif wire in (FIXED64, FIXED32):
            at += 8 if wire == FIXED64 else 4
        else:
            raise ValueError(f"wire type {wire} at byte {at}")
        if at > stop or not number:
            raise ValueError(f"field {number} reaches beyond the end")
        yield Field(number, wire, begin, at, value)


def _read_varint(data: bytes, at: int, stop: int) -> tuple[int, int]:
    n = shift = 0
    while at < stop and shift < 70:
        byte = data[at]
        n, shift, at = n | (byte & 0x7F) << shift, shift + 7, at + 1
        if byte < 0x80:
            return n, at
    raise ValueError(f"a number at byte {at} has no end")
