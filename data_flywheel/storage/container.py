"""One file of named arrays with a JSON header: written atomically, checked on reading.

`episode.py`, `store.py` do. The file is an ordinary compressed npz (numpy alone can open it) whose member `header` is
JSON text with kind, version, sha256 of every array, and the caller's fields.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from data_flywheel.errors import DataError
from data_flywheel.storage.files import canonical_json
from envs import shape
from envs.arrays import ARRAY_ERRORS, arrays_of
from envs.files import MIB, loads, read_file

Arrays = dict[str, NDArray[Any]]
MOST_HEADER = 64 * MIB  # tables of reasons, and what a recorder remembers


def array_digest(array: NDArray[Any]) -> str:
    """sha256 hex over dtype, shape and bytes; the same for every memory layout and compression level."""
    digest = hashlib.sha256(f"{array.dtype.str}{array.shape}".encode())
    digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data if array.size else b"")
    return digest.hexdigest()


def pack(kind: str, version: int, fields: Mapping[str, Any], arrays: Arrays, level: int = 6) -> bytes:
    """The bytes of a container; `fields` must be JSON values. Equal content gives equal bytes.

    level: of compression, 1 (fast) to 9 (small); any reader reads them all.
    """
    arrays = {name: np.asarray(arrays[name], order="C") for name in sorted(arrays)}
    header = {"kind": kind, "version": version, "fields": dict(fields)}
    header["sha256"] = {name: array_digest(array) for name, array in arrays.items()}
    text = np.frombuffer(canonical_json(header).encode(), np.uint8)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=level) as archive:  # as numpy.savez, which
        for name, array in {"header": text, **arrays}.items():  # has no say in the level
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
    return buffer.getvalue()


def unpack(
    payload: bytes, kind: str, version: int | tuple[int, ...], name: str, remedy: str
) -> tuple[dict[str, Any], Arrays]:
    """Fields and arrays of a container. `version`: the one that is read, or several, the present one last.

    `name` and `remedy` (what the reader should do) go into every DataError.
    """
    try:
        header = header_of(payload)
        _check_header(header, kind, version, name, remedy)
        wanted, fields = dict(header["sha256"]), dict(header["fields"])
        arrays = arrays_of(payload, wanted)  # what the header does not name stays packed
    except (*ARRAY_ERRORS, TypeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise DataError(f"{name}: damaged or truncated {kind} ({reason}); {remedy}") from error
    bad = [key for key in sorted(wanted) if array_digest(arrays[key]) != wanted[key]]
    if bad:
        raise DataError(f"{name}: checksum mismatch in {', '.join(bad)}; {remedy}")
    return fields, arrays


@contextmanager
def sound(name: str, kind: str, remedy: str) -> Iterator[None]:
    """What a file of the right form and checksum still lacks or has wrong, told as a DataError that names it."""
    try:
        yield
    except DataError as error:
        raise error if name in str(error) else DataError(f"{name}: no sound {kind} ({error}); {remedy}") from None
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        reason = str(error) if isinstance(error, shape.Misfit) else repr(error)
        raise DataError(f"{name}: no sound {kind} ({reason:.200}); {remedy}") from None


def header_of(payload: bytes | IO[bytes]) -> Any:
    """The header; one of ARRAY_ERRORS when there is none. Nothing else is unpacked."""
    return loads(header_text(payload))


def header_text(payload: bytes | IO[bytes]) -> bytes:
    """The header as it stands in the file."""
    return bytes(arrays_of(payload, {"header"}, MOST_HEADER)["header"])


def _check_header(header: Any, kind: str, version: int | tuple[int, ...], name: str, remedy: str) -> None:
    """Refuse another kind of file or another format version, in words."""
    if not isinstance(header, dict) or header.get("kind") != kind:
        found = header.get("kind") if isinstance(header, dict) else None
        raise DataError(f"{name}: not a {kind} (its kind is {found!r})")
    known = version if isinstance(version, tuple) else (version,)
    if header.get("version") not in known:
        raise DataError(
            f"{name}: {kind} format version {header.get('version')}, but this program reads version {known[-1]}; "
            f"{remedy}"
        )


def read_bytes(path: Path, kind: str) -> bytes:
    """The bytes of a regular file, or a DataError that names it."""
    return read_file(path, kind, DataError)
