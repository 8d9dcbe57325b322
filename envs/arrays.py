"""The arrays of an npz that a stranger wrote: what it declares of sizes is checked before anything is allocated."""

from __future__ import annotations

import io
import math
import re
import zipfile
import zlib
from collections.abc import Collection
from typing import IO

import numpy as np

from envs.files import GIB

MOST_HEAD = 10_000  # characters of an array's header, as numpy reads at most
MOST_INFLATED = 2 * GIB  # of all arrays that are read of one file: an hour of frames in palette colours
# What damaged bytes were seen to raise in numpy and zipfile (RuntimeError: a flipped "encrypted" flag).
ARRAY_ERRORS = (zipfile.BadZipFile, zlib.error, ValueError, KeyError, EOFError, OSError, RuntimeError, MemoryError)


def arrays_of(
    npz: bytes | IO[bytes], only: Collection[str] | None = None, most: int | None = None
) -> dict[str, np.ndarray]:
    """The arrays of an npz, or those named, of at most `most` bytes in all.

    One of ARRAY_ERRORS where it is damaged, or declares more than it may: what the directory and every array's header
    say of sizes is compared before anything is inflated or allocated.
    """
    file = io.BytesIO(npz) if isinstance(npz, bytes) else npz
    with zipfile.ZipFile(file) as archive:
        found = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
        wanted = {name: found[name] for name in (found if only is None else only)}
        total, most = sum(member.file_size for member in wanted.values()), MOST_INFLATED if most is None else most
        if total > most:
            raise ValueError(f"its arrays have {total} bytes, {most} are read at most")
        return {name: _array(archive, member) for name, member in wanted.items()}


# A plain type as numpy writes it. Not read by numpy's own reader, which parses Python (`ast`): up to 3.11.7 that raises
# SystemError now and then where a second thread parses too (gh-106905; printing a traceback is enough).
_TYPE = rb"[|]b1|[|][iu]1|<[iu][248]|<f[248]|<c8|<c16|[|]S\d{1,8}|<U\d{1,8}"
_SHAPE = rb"(?:\d{1,18}, ?)*\d{0,18}"
_HEADER = re.compile(
    rb"\{'descr': '(" + _TYPE + rb")', 'fortran_order': (True|False), 'shape': \((" + _SHAPE + rb")\), \} *\n"
)


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{member.filename} is packed by another method than deflate")
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"{member.filename} has array format {version}")
        size = int.from_bytes(file.read(2 * version[0]), "little")
        header = _HEADER.fullmatch(file.read(min(size, MOST_HEAD)))
        if header is None:
            raise ValueError(f"{member.filename} is no array of plain numbers or text")
        dtype, shape = np.dtype(header[1].decode()), tuple(int(n) for n in header[3].split(b",") if n.strip())
        declared = math.prod(shape) * dtype.itemsize
        if file.tell() + declared != member.file_size:
            raise ValueError(f"{member.filename} declares {dtype}{list(shape)}, which is not what it holds")
        data = bytearray(file.read())  # to its end, where the sum of its bytes is compared; an array may be written
        return np.frombuffer(data, dtype).reshape(shape, order="F" if header[2] == b"True" else "C")
