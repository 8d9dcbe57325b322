"""The bundle: one ONNX file that is a whole system, with everything people want to know of it in its metadata.

Knows: format 2, how it is written, and how a file is checked before anything loads it: hashes, limits, versions.
Standard library only. Does not know: how the graph is made (`triune.fuse`) or run (`triune.runtime`).

After the model come `metadata_props` (ModelProto field 14), and nothing else; in protobuf, appending is how repeated
fields grow, so no ONNX library is needed for them and any ONNX tool reads the file. docs/bundle.md has every key.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from triune import __version__
from triune.deploy.bundle_graph import Foreign, check_graph
from triune.deploy.protobuf import BYTES, field, fields
from triune.errors import TriuneError

FORMAT = 2
PREFIX = "triune.bundle."
FORMAT_KEY, MANIFEST, DIGEST, READER = (PREFIX + key for key in ("format", "manifest", "digest", "reader"))
PART = PREFIX + "part."
METADATA = 14  # its field number in ModelProto
MAX_BYTES = 64 * 2**20
MAX_MEMORY = 2**22  # float64 values
NEEDED = (
    "task", "title", "actions", "fallback", "reasons", "rules", "scene", "memory", "protocol", "frame", "deadline_ms",
    "versions", "hashes", "graph_bytes",
)  # fmt: skip
Parts = dict[str, str]  # name -> text: system.toml, policy.py, safety.py, lib/NAME


@dataclass(frozen=True)
class Contents:
    """What a checked bundle says of itself."""

    manifest: dict[str, Any]
    parts: Parts


def metadata_bytes(entries: Mapping[str, str]) -> bytes:
    """`metadata_props` entries in protobuf, ready to be appended to a model."""
    return b"".join(
        field(METADATA, field(1, key.encode()) + field(2, value.encode())) for key, value in sorted(entries.items())
    )


def digest(data: bytes | str) -> str:
    """sha256 hex."""
    return hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()


def pack(model: bytes, parts: Parts, about: Mapping[str, Any]) -> bytes:
    """The bundle's bytes from a serialised model without metadata. `about`: the manifest's other keys, JSON values."""
    hashes = {name: digest(text) for name, text in parts.items()} | {"graph": digest(model)}
    fixed = {"format": FORMAT, "reader": __version__, "graph_bytes": len(model), "hashes": hashes}
    manifest = json.dumps({**about, **fixed}, allow_nan=False)  # unsorted: the order of things is that of the Scene
    entries = {PART + name: text for name, text in parts.items()} | {MANIFEST: manifest, DIGEST: digest(manifest)}
    return model + metadata_bytes(entries | {FORMAT_KEY: str(FORMAT), READER: __version__})


def read(data: bytes, name: str) -> Contents:
    """Manifest and parts of a bundle after every check that needs no ONNX library; TriuneError otherwise."""
    if len(data) > MAX_BYTES:
        raise TriuneError(f"{name} has {len(data) / 2**20:.0f} MiB, a bundle has at most {MAX_BYTES // 2**20}")
    entries, begin = metadata(data, name)
    if MANIFEST not in entries:
        raise TriuneError(f"{name} is an ONNX file but no bundle; make one with `triune export TASK {name}`")
    _check_format(entries, name)
    manifest = _manifest(entries, name)
    parts = {key.removeprefix(PART): value for key, value in entries.items() if key.startswith(PART)}
    model, hashes = data[: manifest["graph_bytes"]], manifest["hashes"]
    found = {part: digest(text) for part, text in parts.items()} | {"graph": digest(model)}
    wrong = sorted(part for part in {*found, *hashes} if found.get(part) != hashes.get(part))
    strange = {key for key in entries if not key.startswith(PART)} - {FORMAT_KEY, MANIFEST, DIGEST, READER}
    if wrong or strange or begin != len(model):
        raise TriuneError(_tampered(name, ", ".join([*wrong, *sorted(strange)]) or "what stands after the graph"))
    try:
        check_graph(model)
    except Foreign as error:
        raise TriuneError(f"{name} is refused: {error}") from None
    _check_memory(manifest["memory"], name)
    if not {"system.toml", "policy.py"} <= set(parts):
        raise TriuneError(f"{name} lacks system.toml or policy.py; export it again")
    return Contents(manifest, parts)


def metadata(data: bytes, name: str) -> tuple[dict[str, str], int]:
    """All metadata of an ONNX file, and where its last field stands that is something else (its end)."""
    entries: dict[str, str] = {}
    begin = 0
    try:
        for item in fields(data):
            if item.number != METADATA or item.wire != BYTES:
                begin = item.stop
                continue
            key, value = _entry(data, item.start, item.stop)
            if key in entries:
                raise TriuneError(_tampered(name, f"a second {key}"))
            entries[key] = value
    except ValueError as error:
        raise TriuneError(f"{name} is damaged or no ONNX file ({error}); export or fetch it again") from None
    return entries, begin


def _entry(data: bytes, start: int, stop: int) -> tuple[str, str]:
    texts = {1: "", 2: ""}
    for item in fields(data, start, stop):
        if item.wire == BYTES:
            texts[item.number] = data[item.start : item.stop].decode()
    return texts[1], texts[2]


def _check_format(entries: Mapping[str, str], name: str) -> None:
    """Say what to do with a file of another format. The keys for it never change their names or meaning."""
    form = entries.get(FORMAT_KEY, "1")
    if form == "1":
        raise TriuneError(
            f"{name} has bundle format 1, which carried its policy as text beside the eyes; make one file of it that "
            f"runs by itself: triune migrate {name} NEW.onnx"
        )
    if form != str(FORMAT):
        reader = entries.get(READER) or "a newer version"
        raise TriuneError(
            f"{name} has bundle format {form}, Triune {__version__} reads {FORMAT}; Triune {reader} reads it: "
            "pip install --upgrade triune"
        )


def _manifest(entries: Mapping[str, str], name: str) -> dict[str, Any]:
    text = entries[MANIFEST]
    if digest(text) != entries.get(DIGEST):
        raise TriuneError(_tampered(name, "the manifest"))
    try:
        manifest = json.loads(text)
    except (ValueError, RecursionError):
        manifest = None
    if not isinstance(manifest, dict):
        raise TriuneError(f"{name} has a manifest that is no JSON object; export it again")
    lacking = [key for key in NEEDED if key not in manifest]
    if lacking:
        raise TriuneError(f"{name} lacks {', '.join(lacking)} in its manifest; export it again")
    if str(manifest.get("format")) != entries[FORMAT_KEY] or manifest.get("reader") != entries.get(READER):
        raise TriuneError(_tampered(name, "the format"))
    good = isinstance(manifest["graph_bytes"], int) and isinstance(manifest["hashes"], dict)
    if not good or not 0 < manifest["graph_bytes"] <= MAX_BYTES:
        raise TriuneError(f"{name} has a manifest that makes no sense (graph_bytes, hashes); export it again")
    return manifest


def _check_memory(memory: Any, name: str) -> None:
    """Size within the limit, start values inside it."""
    try:
        size, start = int(memory["size"]), [(int(at), float(value)) for at, value in memory["start"]]
    except (KeyError, TypeError, ValueError):
        raise TriuneError(f"{name} has a manifest that makes no sense (memory); export it again") from None
    if not 0 < size <= MAX_MEMORY:
        raise TriuneError(f"{name} wants a memory of {size} values, a bundle has 1 to {MAX_MEMORY}")
    if any(not 0 <= at < size for at, _ in start):
        raise TriuneError(f"{name} has start values outside its memory; export it again")


def _tampered(name: str, what: str) -> str:
    return f"{name} was changed after it was exported ({what} does not match its hash); export or fetch it again"
