"""The manifest of a recording, the names of its episodes, and writing that explains a failure.

Knows files one by one. Does not know the log, budgets, or how a recording is kept in order (`recorder_folder.py`).
"""

from __future__ import annotations

import json
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from data_flywheel.episodes.episode import Episode
from data_flywheel.episodes.frame_buffer import Size
from data_flywheel.errors import DataError
from data_flywheel.storage.container import atomic_write, canonical_json, read_bytes
from perception.scene import SceneSchema

KIND, VERSION = "triune recording", 1
MANIFEST = "recording.json"


def write_manifest(path: Path, task: str, schema: SceneSchema, size: Size) -> None:
    """The manifest of a new recording: what all its episodes have in common."""
    record = {"kind": KIND, "version": VERSION, "task": task, "size": list(size), "schema": schema.to_config()}
    record["sha256"] = _digest(record)
    write(path, (json.dumps(record, indent=1) + "\n").encode())  # unsorted: the order of things counts


def name_of(episode: Episode, payload: bytes) -> str:
    """Task, protocol, seed, and a hash of the header, which holds that of every array: as `EpisodeFrames` names it."""
    with np.load(BytesIO(payload), allow_pickle=False) as archive:
        digest = sha256(bytes(archive["header"])).hexdigest()[:12]
    meta = episode.meta
    return f"{meta['task']}-{meta.get('protocol')}-seed{meta.get('seed')}-{digest}"


def write(path: Path, payload: bytes) -> None:
    """Atomically; a full disk is a DataError that names the file and what to do."""
    try:
        atomic_write(path, payload)
    except OSError as error:
        reason = f"{error.strerror or error}; not recorded: free some space, or record with a smaller --disk"
        raise DataError(f"{path}: {reason}") from error


def _digest(record: dict[str, Any]) -> str:
    body = {**record, "schema": json.dumps(record["schema"])}
    return sha256(canonical_json(body).encode()).hexdigest()


def read_manifest(path: Path) -> dict[str, Any]:
    """Parse and verify; DataError says what is wrong and how to go on."""
    fix = f"delete {path} and record into the folder again: the episodes in it stay"
    try:
        record = json.loads(read_bytes(path, "recording"))
        wanted = record.pop("sha256", None) if isinstance(record, dict) else None
        if not isinstance(record, dict) or record.get("kind") != KIND:
            raise DataError(f"{path}: not the manifest of a {KIND}")
        if record.get("version") != VERSION:
            found = f"{KIND} format version {record.get('version')}, but this program reads version {VERSION}"
            raise DataError(f"{path}: {found}; {fix}")
        if _digest(record) != wanted:
            raise DataError(f"{path}: checksum mismatch: damaged or changed by hand; {fix}")
    except (ValueError, KeyError) as error:
        raise DataError(f"{path}: damaged or half-written manifest ({error}); {fix}") from error
    return record
