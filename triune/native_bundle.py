"""The file of a native bundle, and what runs it: sections that the engine's C code (native/bundle.c) reads by itself.

`triune.runtime.Bundle` loads it as it loads the other kind; a C program does with native/triune.h.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import native

MAGIC, VERSION, HEAD, ALIGN = b"\x89Triune\n", 1, 64, 64
SUFFIX = ".triune"
# in the order of the file; the first two and the names are text
SECTIONS = ("manifest", "parts", "names", "numbers", "weights", "tracker", "decider", "start", "bounds")


def pack(sections: Mapping[str, bytes]) -> bytes:
    """The bytes of a file."""
    sizes = struct.pack(f"<{len(SECTIONS)}I", *(len(sections[name]) for name in SECTIONS))
    rest = sizes.ljust(HEAD - len(MAGIC) - 8, b"\0")
    rest += b"".join(sections[name] + bytes(-len(sections[name]) % ALIGN) for name in SECTIONS)
    return MAGIC + struct.pack("<II", VERSION, zlib.crc32(rest)) + rest


def names(lists: Sequence[Sequence[str]]) -> bytes:
    """The section of names: how many each list has, then all of them with a zero behind each."""
    counts = struct.pack(f"<{len(lists)}I", *map(len, lists))
    return counts + b"".join(name.replace("\0", " ").encode() + b"\0" for some in lists for name in some)


def unpack(data: bytes) -> dict[str, bytes]:
    """The sections by name; ValueError says what is wrong with the file."""
    if len(data) < HEAD or not data.startswith(MAGIC):
        raise ValueError("it is no native bundle")
    version, checksum = struct.unpack_from("<II", data, len(MAGIC))
    if version != VERSION:
        raise ValueError(f"it has version {version} of the native form, this Triune reads {VERSION}; export it again")
    if zlib.crc32(data[len(MAGIC) + 8 :]) != checksum:
        raise ValueError("it was damaged or changed after it was exported")
    found, at = {}, HEAD
    for name, size in zip(SECTIONS, struct.unpack_from(f"<{len(SECTIONS)}I", data, len(MAGIC) + 8), strict=True):
        found[name] = data[at : at + size]
        at += size + -size % ALIGN
    if at != len(data):
        raise ValueError("its sections do not fill it")
    return found


class NativeSession:
    """Runs a native bundle as an ONNX session runs the other kind: frame and memory in, outputs by name.

    `start`: uint8[M] at the beginning of an episode. ValueError: the engine is not here, or refuses the file.
    """

    def __init__(self, data: bytes) -> None:
        if native.engine is None:
            raise ValueError(f"it needs the native engine: {native.why_not()}")
        self._engine = native.engine
        self._own = self._engine.bundle_open(data)
        height, width, size, self.names = self._engine.bundle_form(self._own)
        self.frame = (height, width, 3)
        self._values = len(self.names[3])
        self._after = self.start = np.empty(size, np.uint8)
        self._engine.bundle_save(self._own, self.start)

    def run(self, outputs: Sequence[str], given: Mapping[str, np.ndarray]) -> list[Any]:
        """One step; `outputs` are those of a bundle, in their order."""
        engine, own = self._engine, self._own
        if given["memory"] is not self._after:
            engine.bundle_load(own, given["memory"])
        scene, after = np.empty(self._values, np.float32), np.empty_like(self.start)
        action, proposed, reason, overruled, faults = engine.bundle_step(
            own, np.ascontiguousarray(given["frame"]), scene
        )
        engine.bundle_save(own, after)
        self._after = after
        one, other = (np.frombuffer(a, np.float32) if type(a) is bytes else np.array((a,)) for a in (action, proposed))
        flags, wrong = np.frombuffer(overruled, np.bool_), np.frombuffer(faults, np.bool_)
        return [one, np.array((reason,)), other, flags, wrong, after, scene]
