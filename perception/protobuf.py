"""Just enough protobuf to read and append to an ONNX file without a library. Standard library only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

Data = bytes | memoryview
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


def fields(data: Data, start: int = 0, stop: int | None = None) -> Iterator[Field]:
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
        if at > stop or not number or tag >> 32:  # other readers cut a tag to 32 bits: it would be another field there
            raise ValueError(f"field {number} reaches beyond the end")
        yield Field(number, wire, begin, at, value)


def _read_varint(data: Data, at: int, stop: int) -> tuple[int, int]:
    n = shift = 0
    while at < stop and shift < 70:
        byte = data[at]
        n, shift, at = n | (byte & 0x7F) << shift, shift + 7, at + 1
        if byte < 0x80:
            return n, at
    raise ValueError(f"a number at byte {at} has no end")


class Message:
    """The fields of one message by number. As protobuf has it, the parts of a message that comes twice are one."""

    def __init__(self, data: Data) -> None:
        self._numbers: dict[int, list[int]] = {}
        self._parts: dict[int, list[memoryview]] = {}
        view = memoryview(data)
        for item in fields(view):
            if item.wire == VARINT:
                self._numbers.setdefault(item.number, []).append(item.value)
            elif item.wire == BYTES:
                self._parts.setdefault(item.number, []).append(view[item.start : item.stop])

    def all(self, number: int) -> list[memoryview]:
        """Every value of a repeated field."""
        return self._parts.get(number, [])

    def messages(self, number: int) -> list[Message]:
        """Every message of a repeated field."""
        return [Message(part) for part in self.all(number)]

    def message(self, number: int) -> Message:
        """The one message of a field, empty when there is none."""
        parts = self.all(number)
        return Message(parts[0] if len(parts) == 1 else b"".join(parts))

    def texts(self, number: int) -> list[str]:
        """Every text of a repeated field."""
        return [bytes(part).decode() for part in self.all(number)]

    def text(self, number: int) -> str:
        """The text of a field, "" when there is none."""
        return self.texts(number)[-1] if self.all(number) else ""

    def integers(self, number: int) -> list[int]:
        """Every signed whole number of a repeated field, packed or not."""
        found = list(self._numbers.get(number, []))
        for part in self.all(number):
            at = 0
            while at < len(part):
                value, at = _read_varint(part, at, len(part))
                found.append(value)
        return [n - (1 << 64) if n >> 63 else n for n in found]

    def integer(self, number: int, default: int = 0) -> int:
        """The signed whole number of a field."""
        found = self._numbers.get(number)
        return default if not found else found[-1] - (1 << 64) if found[-1] >> 63 else found[-1]

    def __contains__(self, number: int) -> bool:
        return number in self._numbers or number in self._parts
