"""Large texts and pictures of a run, each in a file named by the sha256 of its content.

Knows: writing before an event names the content, checking on the way back. Does not know: what is in them.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from data_flywheel.storage.files import replace_file
from supervisor.errors import SupervisorError

_SHA = re.compile(r"[0-9a-f]{64}\Z")


class Blobs:
    """A folder of contents. `put` what is there already writes nothing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, data: bytes) -> str:
        """Keep `data`; its sha256 hex. Once this returns it is on disk for good."""
        name = hashlib.sha256(data).hexdigest()
        path = self.folder / name
        if not path.is_file():
            self.folder.mkdir(parents=True, exist_ok=True)
            replace_file(path, data)
        return name

    def get(self, name: str) -> bytes:
        """The content called `name`; SupervisorError when it is missing or not what it was."""
        if not _SHA.match(name):
            raise SupervisorError(f"{name[:80]!r} is not the sha256 of a blob")
        try:
            data = (self.folder / name).read_bytes()
        except OSError as error:
            raise SupervisorError(
                f"{self.folder / name}: {error.strerror or error}; restore it, or start a new run"
            ) from error
        if hashlib.sha256(data).hexdigest() != name:
            raise SupervisorError(f"{self.folder / name} was changed after it was written; restore it from a copy")
        return data

    def text(self, name: str) -> str:
        """The same as text (UTF-8)."""
        try:
            return self.get(name).decode()
        except UnicodeDecodeError:
            raise SupervisorError(f"{self.folder / name} holds no text") from None
