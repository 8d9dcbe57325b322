"""Files that survive a kill at any instant: whole replacements, synced folders, locks that die with their holder."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from data_flywheel.errors import DataError
from envs import writing

try:
    import fcntl
except ImportError:  # not on this system: nothing is locked, as the documentation says
    fcntl = None  # type: ignore[assignment]

PATIENCE = 30.0  # seconds to wait for another writer


class DiskFull(DataError, writing.DiskFull):
    """The same to this layer's callers, who go on past a DataError."""


def canonical_json(value: Any) -> str:
    """JSON text with sorted keys and no spaces, so that equal values give equal text (NaN is refused)."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)


def atomic_write(path: Path, data: bytes, new: bool = False) -> None:
    """As `envs.writing` does it, with this layer's DiskFull."""
    writing.atomic_write(path, data, DiskFull, new)


def try_lock(descriptor: int) -> bool:
    """Take the file for this process; False when another has it. The kernel lets go when the holder dies."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def lock(descriptor: int, what: Path) -> None:
    """Wait until the file is this process's; DataError when another has had it for too long. `what`: to be named."""
    until = time.monotonic() + PATIENCE
    while not try_lock(descriptor):
        if time.monotonic() > until:
            raise DataError(f"{what}: another process has been writing for {PATIENCE:.0f} s")
        time.sleep(0.005)
