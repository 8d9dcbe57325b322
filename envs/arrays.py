"""The arrays of an npz that a stranger wrote: what it declares of sizes is checked before anything is allocated."""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from collections.abc import Collection
from typing import IO

import numpy as np

from envs.files import GIB

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


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{member.filename} is packed by another method than deflate")
    with archive.open(member) as head:
        version = np.lib.format.read_magic(head)
        header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version not in header:
            raise ValueError(f"{member.filename} has array format {version}")
        shape, _, dtype = header[version](head)
        declared = math.prod(shape) * dtype.itemsize
        if dtype.hasobject or min(shape, default=0) < 0 or head.tell() + declared != member.file_size:
            raise ValueError(f"{member.filename} declares {dtype}{list(shape)}, which is not what it holds")
    with archive.open(member) as whole:
        array: np.ndarray = np.lib.format.read_array(whole, allow_pickle=False)
    return array
