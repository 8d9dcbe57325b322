"""Pictures as PNG whose bytes depend on the pixels alone, on every machine and with every version of every library.

Knows: the PNG and DEFLATE formats. Does not know: what is shown.

A request's key is a hash over its pictures too, and a recorded answer is found again by that key; a compression library
promises the pixels, not the bytes. So the stream is written here: fixed Huffman codes, and matches only with the pixel
to the left and the pixel above, which is nearly all there is to gain in enlarged frames and flat areas.
"""

from __future__ import annotations

import struct
import zlib
from bisect import bisect_right
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_flywheel.storage.frames import Frames

Array = NDArray[Any]
SIGNATURE = b"\x89PNG\r\n\x1a\n"
_LONGEST, _SHORTEST, _FARTHEST = 258, 3, 32768
_LENGTH_BITS = (0,) * 8 + (1,) * 4 + (2,) * 4 + (3,) * 4 + (4,) * 4 + (5,) * 4 + (0,)
_LENGTHS = (*(3 + sum(2**bits for bits in _LENGTH_BITS[:i]) for i in range(28)), _LONGEST)
_DISTANCES = (1, 2, 3, 4) + tuple((2 + half) * 2**bits + 1 for bits in range(1, 14) for half in (0, 1))


def encode(image: Array) -> bytes:
    """PNG of uint8[H, W, 3]: palette colours where there are at most 256, else RGB."""
    height, wide = image.shape[:2]
    coded = Frames.from_rgb(image[None])
    few = coded.palette is not None
    pixels = coded.pixels.reshape(height, -1)
    raw = np.concatenate([np.zeros((height, 1), np.uint8), pixels], axis=1)  # each row begins with "no filter"
    parts = [_chunk(b"IHDR", struct.pack(">IIBBBBB", wide, height, 8, 3 if few else 2, 0, 0, 0))]
    if coded.palette is not None:
        parts.append(_chunk(b"PLTE", coded.palette.tobytes()))
    parts.append(_chunk(b"IDAT", deflated(raw.tobytes(), 1 if few else 3, raw.shape[1])))
    return b"".join([SIGNATURE, *parts, _chunk(b"IEND", b"")])


def size(data: bytes) -> tuple[int, int]:
    """(width, height) in px of a PNG; (0, 0) for anything else."""
    if data[:8] != SIGNATURE or len(data) < 24:
        return 0, 0
    wide, height = struct.unpack(">II", data[16:24])
    return wide, height


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def deflated(data: bytes, *distances: int) -> bytes:
    """A zlib stream of `data` with matches at the given distances only, the first preferred."""
    near = [d for d in distances if d <= _FARTHEST]
    runs = [_runs(data, d) for d in near]
    steps = [_distance(d) for d in near]
    bits = _Bits()
    bits.add(0b011, 3)  # one last block with fixed codes
    i, n = 0, len(data)
    while i < n:
        length, step = 0, (0, 0)
        for run, far in zip(runs, steps, strict=True):
            if run[i] > length:
                length, step = run[i], far
        if length < _SHORTEST:
            bits.add(*_LITERALS[data[i]])
            i += 1
        else:
            length = min(length, _LONGEST)
            bits.add(*_MATCHES[length])
            bits.add(*step)
            i += length
    bits.add(*_LITERALS[256])  # end of the block
    return b"\x78\x01" + bits.done() + struct.pack(">I", zlib.adler32(data))


def _runs(data: bytes, distance: int) -> list[int]:
    """For each byte, how many from there on equal the byte `distance` before."""
    values = np.frombuffer(data, np.uint8)
    same = np.zeros(len(values), bool)
    same[distance:] = values[distance:] == values[: len(values) - distance] if distance < len(values) else False
    ends = np.where(same, len(values), np.arange(len(values)))
    runs: list[int] = (np.minimum.accumulate(ends[::-1])[::-1] - np.arange(len(values))).tolist()
    return runs


def _turned(code: int, bits: int) -> int:
    """Huffman codes stand in the stream with their highest bit first."""
    return int(f"{code:0{bits}b}"[::-1], 2)


def _symbol(value: int) -> tuple[int, int]:
    """(bits in stream order, how many) of a literal or length symbol in the fixed code."""
    for first, code, bits in ((280, 0b11000000, 8), (256, 0, 7), (144, 0b110010000, 9), (0, 0b00110000, 8)):
        if value >= first:
            return _turned(code + value - first, bits), bits
    raise AssertionError("symbols are not negative")


def _length(length: int) -> tuple[int, int]:
    at = bisect_right(_LENGTHS, length) - 1
    code, bits = _symbol(257 + at)
    return code | (length - _LENGTHS[at]) << bits, bits + _LENGTH_BITS[at]


def _distance(distance: int) -> tuple[int, int]:
    at = bisect_right(_DISTANCES, distance) - 1
    return _turned(at, 5) | (distance - _DISTANCES[at]) << 5, 5 + max(0, at // 2 - 1)


class _Bits:
    """Bits one after the other, lowest first."""

    def __init__(self) -> None:
        self._out, self._held, self._count = bytearray(), 0, 0

    def add(self, value: int, count: int) -> None:
        self._held |= value << self._count
        self._count += count
        if self._count >= 64:
            self._out += (self._held & 0xFFFFFFFFFFFFFFFF).to_bytes(8, "little")
            self._held >>= 64
            self._count -= 64

    def done(self) -> bytes:
        return bytes(self._out) + self._held.to_bytes((self._count + 7) // 8, "little")


_LITERALS = [_symbol(value) for value in range(257)]
_MATCHES = [(0, 0)] * _SHORTEST + [_length(length) for length in range(_SHORTEST, _LONGEST + 1)]
