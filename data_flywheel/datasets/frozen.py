"""The frozen test set: pictures by which detectors are judged, which nothing that leads to training may ever touch.

A picture is frozen wherever it turns up again, in whatever episode.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from data_flywheel.errors import DataError
from data_flywheel.labels.label import FrameRef
from data_flywheel.storage.container import sound
from data_flywheel.storage.files import atomic_write, canonical_json
from envs import shape
from envs.files import read_json

KIND, VERSION = "triune frozen set", 1
FROZEN, NOBODYS = "frozen test set", "seed that must not teach"


@dataclass(frozen=True)
class FrozenSet:
    """`digests`: sha256 of each frozen picture, as `FrameRef.digest`. `films`: the pictures are of films, of which a
    later stretch of time is held out when it is trained, and no split of episodes is frozen."""

    digests: frozenset[str] = frozenset()
    films: bool = False

    @staticmethod
    def of(refs: Iterable[FrameRef]) -> FrozenSet:
        """The pictures of the test split among `refs`."""
        return FrozenSet(frozenset(ref.digest for ref in refs if _split(ref) == "test"))

    def __or__(self, other: FrozenSet) -> FrozenSet:
        """Both."""
        return FrozenSet(self.digests | other.digests, self.films or other.films)

    def why_not(self, ref: FrameRef) -> str:
        """Why a frame may not be chosen, or ""."""
        if self.films:
            return FROZEN if ref.digest in self.digests else ""
        split = _split(ref)
        if split is None:
            return NOBODYS
        return FROZEN if split == "test" or ref.digest in self.digests else ""

    def guard(self, refs: Iterable[FrameRef]) -> None:
        """DataError when one of `refs` may not be chosen: the last check before anything is written."""
        for ref in refs:
            if reason := self.why_not(ref):
                raise DataError(f"{ref} must not be learned from ({reason}); leave it out")

    def save(self, path: str | Path) -> Path:
        """Write atomically; the path."""
        record = {"kind": KIND, "version": VERSION, "digests": sorted(self.digests)}
        record["sha256"] = sha256(canonical_json(record).encode()).hexdigest()
        atomic_write(Path(path), json.dumps(record).encode())
        return Path(path)

    @staticmethod
    def load(path: str | Path) -> FrozenSet:
        """Read and verify. DataError: missing, damaged, changed, another kind or version."""
        remedy = "freeze the set again: a test set that changed can judge nothing"
        record = read_json(Path(path), KIND, DataError, remedy)
        if not isinstance(record, dict) or (record.get("kind"), record.get("version")) != (KIND, VERSION):
            raise DataError(f"{path}: not a {KIND} of version {VERSION}; {remedy}")
        wanted = record.pop("sha256", None)
        if sha256(canonical_json(record).encode()).hexdigest() != wanted:
            raise DataError(f"{path}: checksum mismatch; {remedy}")
        with sound(str(path), KIND, remedy):
            shape.table({"digests": shape.each(shape.text)})(record, "")
        return FrozenSet(frozenset(record["digests"]))


def _split(ref: FrameRef) -> str | None:
    try:
        return ref.split
    except DataError:
        return None
