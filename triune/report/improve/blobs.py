"""Large texts of a run, by their hash: verified, and never an error of the page when one is missing.

Knows what was looked for and what was wrong with it. Does not know how texts are kept (`supervisor.blobs`).
"""

from __future__ import annotations

from pathlib import Path

from supervisor.errors import SupervisorError
from supervisor.loop import blobs


class Texts:
    """`text(sha)`; what was `verified`, is `missing` or `damaged` is remembered for the page to say."""

    def __init__(self, folder: Path) -> None:
        self._blobs = blobs.Blobs(folder)
        self.verified: set[str] = set()
        self.missing: set[str] = set()
        self.damaged: set[str] = set()

    def text(self, sha: str) -> str | None:
        """The text, or None when it is not there or not what its name says. Bytes that are no text become \\xNN."""
        if not sha:
            return None
        try:
            found = self._blobs.get(sha)
        except SupervisorError:
            (self.damaged if (self._blobs.folder / sha).is_file() else self.missing).add(sha)
            return None
        self.verified.add(sha)
        return found.decode("utf-8", "backslashreplace")
