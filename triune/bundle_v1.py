"""Bundles of format 1, read so that `triune migrate` can make format 2 of them. Never run."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from triune.errors import TriuneError
from triune.runtime import FORMAT_KEY, MANIFEST, PART, PREFIX, Parts, digest, metadata


class OldBundle(NamedTuple):
    """The parts of a format-1 file: the eyes' own ONNX file, the texts, the protocol's fields."""

    eyes: bytes
    parts: Parts
    protocol: dict[str, Any]


def read_old(data: bytes, name: str) -> OldBundle:
    """The parts, every hash checked; TriuneError otherwise."""
    entries, _ = metadata(data, name)
    if MANIFEST not in entries:
        raise TriuneError(f"{name} is an ONNX file but no bundle; make one with `triune export TASK {name}`")
    if FORMAT_KEY in entries:
        raise TriuneError(f"{name} has bundle format {entries[FORMAT_KEY]} already; migrate is for format 1")
    text = entries[MANIFEST]
    try:
        manifest: dict[str, Any] = json.loads(text)
        hashes, length = dict(manifest["hashes"]), int(manifest["eyes_bytes"])
        protocol = dict(manifest["protocol"])
    except (ValueError, KeyError, TypeError):
        raise TriuneError(f"{name} has a manifest that makes no sense; export it again from its task") from None
    parts = {key.removeprefix(PART): value for key, value in entries.items() if key.startswith(PART)}
    found = {part: digest(value) for part, value in parts.items()} | {"eyes": digest(data[:length])}
    wrong = sorted(k for k in {*found, *hashes} if found.get(k) != hashes.get(k))
    if digest(text) != entries.get(f"{PREFIX}digest"):
        wrong.append("the manifest")
    if wrong:
        raise TriuneError(
            f"{name} was changed after it was exported ({', '.join(wrong)} does not match its hash); fetch it again"
        )
    if not {"system.toml", "policy.py"} <= set(parts):
        raise TriuneError(f"{name} lacks system.toml or policy.py; export it again from its task")
    return OldBundle(data[:length], parts, protocol)
