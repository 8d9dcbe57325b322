"""The files that the page in web/ reads: named arrays behind a JSON header, gzipped: a browser needs no library.

Knows: the layout, and how arrays are made small: rows XOR-ed with the row before (frames and memory change little).
Does not know: what the arrays mean (`triune.web`). `web/episode.js` is the other reader.

    "TRIUNEWB", uint32 version, uint32 length of the header, JSON header, blocks        (little endian, then gzip)

The header's "blocks" gives name, dtype, shape, "at" (bytes from the end of the header) and "xor" of each block.
"""

from __future__ import annotations

import gzip
import json
import struct
import zlib
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from triune.errors import TriuneError

MAGIC, VERSION = b"TRIUNEWB", 1
DTYPES = ("uint8", "int16", "int32", "float32", "float64")
ALIGN = 8  # so that a browser can view every block in place
_START = struct.Struct("<8sII")


def encode(kind: str, header: Mapping[str, Any], arrays: Mapping[str, np.ndarray], xor: Collection[str] = ()) -> bytes:
    """The file's bytes, the same for the same content. `xor`: names of arrays to store as differences of rows."""
    blocks, bodies, at = [], [], 0
    for name, array in arrays.items():
        if array.dtype.name not in DTYPES:
            raise TriuneError(f"{name} is {array.dtype}; the page reads {', '.join(DTYPES)}")
        little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        body = _delta(little).tobytes() if name in xor else little.tobytes()
        block = {"name": name, "dtype": array.dtype.name, "shape": list(array.shape), "at": at, "xor": name in xor}
        blocks.append(block)
        bodies.append(body + bytes(-len(body) % ALIGN))
        at += len(bodies[-1])
    text = json.dumps({**header, "kind": kind, "version": VERSION, "blocks": blocks}, allow_nan=False).encode()
    text += b" " * (-(_START.size + len(text)) % ALIGN)
    return gzip.compress(_START.pack(MAGIC, VERSION, len(text)) + text + b"".join(bodies), 6, mtime=0)


def decode(data: bytes, kind: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Header (with "blocks") and arrays; TriuneError when the file is damaged, of another kind or version."""
    try:
        plain = gzip.decompress(data)
        magic, version, length = _START.unpack_from(plain)
    except (OSError, EOFError, zlib.error, struct.error):
        raise TriuneError(
            f"this is no {kind} for the page, or it is damaged; write it again: triune web TASK"
        ) from None
    if magic != MAGIC or version != VERSION:
        raise TriuneError(f"this is no {kind} of format {VERSION}; write it again: triune web TASK")
    header: dict[str, Any] = json.loads(plain[_START.size : _START.size + length])
    if header["kind"] != kind:
        raise TriuneError(f"this file holds a {header['kind']}, not a {kind}")
    return header, {b["name"]: _block(plain, _START.size + length + b["at"], b) for b in header["blocks"]}


def _block(plain: bytes, at: int, block: Mapping[str, Any]) -> np.ndarray:
    dtype, shape = np.dtype(block["dtype"]).newbyteorder("<"), tuple(block["shape"])
    array = np.frombuffer(plain, dtype, int(np.prod(shape)), at).reshape(shape).copy()
    if block["xor"]:
        rows = _rows(array)
        np.bitwise_xor.accumulate(rows, axis=0, out=rows)
    return array


def _delta(array: np.ndarray) -> np.ndarray:
    """Every row's bytes XOR the row before; the first row as it is."""
    rows = _rows(array).copy()
    rows[1:] ^= _rows(array)[:-1]
    return rows


def _rows(array: np.ndarray) -> np.ndarray:
    """uint8[rows, bytes] over the same memory."""
    return array.reshape(len(array), -1).view(np.uint8)
