"""The bundle: one ONNX file that carries a whole system in its metadata.

Knows: the format, how it is written, how every part is checked against its hash. Standard library only. Does not know
how any part is run (`triune.runtime` does).

A bundle is the eyes' file with more `metadata_props` (ModelProto field 14) appended; in protobuf, appending is how
repeated fields grow, so no ONNX library is needed and any ONNX tool still reads the file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from triune.errors import TriuneError

FORMAT = "1"
PREFIX = "triune.bundle"
MANIFEST = f"{PREFIX}.manifest"
PART = f"{PREFIX}.part."
Parts = dict[str, str]  # name -> text: system.toml, policy.py, safety.py, lib/NAME


def _varint(n: int) -> bytes:
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    return bytes([*out, n])


def _field(number: int, payload: bytes) -> bytes:
    """A length-delimited protobuf field."""
    return _varint(number << 3 | 2) + _varint(len(payload)) + payload


def metadata_bytes(entries: Mapping[str, str]) -> bytes:
    """`metadata_props` entries in protobuf, ready to be appended to a model."""
    return b"".join(
        _field(14, _field(1, key.encode()) + _field(2, value.encode())) for key, value in sorted(entries.items())
    )


def digest(data: bytes | str) -> str:
    """sha256 hex."""
    return hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()


def pack(eyes: bytes, parts: Parts, about: dict[str, Any]) -> bytes:
    """The bundle's bytes. `about`: task, protocol, versions and the like (JSON values)."""
    hashes = {name: digest(text) for name, text in parts.items()} | {"eyes": digest(eyes)}
    manifest = json.dumps({"format": FORMAT, **about, "eyes_bytes": len(eyes), "hashes": hashes}, sort_keys=True)
    entries = {PART + name: text for name, text in parts.items()} | {MANIFEST: manifest}
    entries[f"{PREFIX}.digest"] = digest(manifest)
    return eyes + metadata_bytes(entries)


def unpack(data: bytes, metadata: Mapping[str, str], name: str) -> tuple[dict[str, Any], Parts]:
    """Manifest and parts of a bundle from its bytes and metadata, every hash checked; TriuneError otherwise."""
    if MANIFEST not in metadata:
        raise TriuneError(f"{name} is an ONNX file but no bundle; make one with `triune export TASK {name}`")
    text = metadata[MANIFEST]
    if digest(text) != metadata.get(f"{PREFIX}.digest"):
        raise TriuneError(_tampered(name, "the manifest"))
    try:
        manifest: dict[str, Any] = json.loads(text)
        form, hashes, length = manifest["format"], dict(manifest["hashes"]), int(manifest["eyes_bytes"])
    except (ValueError, KeyError, TypeError):
        raise TriuneError(_tampered(name, "the manifest")) from None
    if form != FORMAT:
        raise TriuneError(f"{name} has bundle format {form}, this Triune reads {FORMAT}; export it again")
    parts = {key.removeprefix(PART): value for key, value in metadata.items() if key.startswith(PART)}
    found = {part: digest(value) for part, value in parts.items()} | {"eyes": digest(data[:length])}
    lacking = {"system.toml", "policy.py", "eyes"} - set(hashes)
    if lacking or "protocol" not in manifest:
        raise TriuneError(f"{name} lacks {', '.join(sorted(lacking)) or 'its protocol'}; export it again")
    wrong = sorted({k for k in {*found, *hashes} if found.get(k) != hashes.get(k)})
    if wrong:
        raise TriuneError(_tampered(name, ", ".join(wrong)))
    return manifest, parts


def _tampered(name: str, what: str) -> str:
    return f"{name} was changed after it was exported ({what} does not match its hash); export or fetch it again"
