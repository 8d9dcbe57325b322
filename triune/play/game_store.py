"""Finished games in a file, so that no run plays one again that another run has played under the same conditions.

Knows: the file, JSON lines that are only ever added to. Does not know: how games are played. A line that a kill cut
off, or one of other conditions, is passed over.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from supervisor.protocols import Score
from triune.errors import TriuneError
from triune.policies import sha256


class GameStore:
    """Scores by policy (sha256 of its text) and seed. `conditions`: JSON values, all else that decides a score."""

    def __init__(self, path: Path, conditions: Mapping[str, Any]) -> None:
        self.path, self.under = path, sha256(json.dumps(conditions, sort_keys=True))[:16]
        self.known: dict[tuple[str, int], Score] = {}
        whole, _, torn = (path.read_bytes() if path.is_file() else b"").rpartition(b"\n")
        for number, line in enumerate(whole.split(b"\n") if whole else (), 1):
            self._take(line, number)
        if torn:
            with path.open("r+b") as file:
                file.truncate(len(whole) + bool(whole))

    def _take(self, line: bytes, number: int) -> None:
        try:
            told = json.loads(line)
            under, policy = told.pop("under"), told.pop("policy")
            score = Score(**told)
        except (ValueError, TypeError, KeyError, AttributeError):
            raise TriuneError(f"{self.path}, line {number}: not a game; restore the file, or name another") from None
        if under == self.under:
            self.known[policy, score.seed] = score

    def get(self, policy: str, seed: int) -> Score | None:
        """The game, if it has been played."""
        return self.known.get((policy, seed))

    def add(self, policy: str, score: Score) -> None:
        """Write one more game down."""
        if (policy, score.seed) in self.known:
            return
        line = json.dumps({"under": self.under, "policy": policy, **score._asdict()}) + "\n"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)
        self.known[policy, score.seed] = score
