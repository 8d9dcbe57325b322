"""The pieces of a film in a recording, in the order of its pictures: what number of the source stands where.

Only headers are read, so that a day of film is looked through in seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_flywheel.episodes.episode import KIND, Episode
from data_flywheel.errors import DataError
from data_flywheel.storage.container import header_text
from envs.files import loads, open_file


@dataclass(frozen=True, order=True)
class Piece:
    """One episode of a film. `numbers`: of each step, the place of its picture in the source (empty: not known, as of
    what a bundle saw); `size`: bytes of the source, 0 of a live one; `at`: second of the first picture."""

    source: str
    size: int
    numbers: tuple[int, ...]
    at: float
    name: str
    path: Path

    def step(self, number: int) -> int | None:
        """The first step that shows this picture of the source."""
        return self.numbers.index(number) if number in self.numbers else None


def pieces(folder: str | Path) -> list[Piece]:
    """Every piece of every film in a recording, source by source and in order. What is damaged is left out: reading the
    recording names it."""
    return sorted(_headers(Path(folder)), key=lambda p: (p.source, p.size, p.numbers[:1], p.at, p.name))


def _headers(folder: Path) -> Iterator[Piece]:
    for path in sorted((folder / "episodes").glob("*.npz")):
        try:
            with open_file(path, KIND, DataError, folder) as file:
                text = header_text(file)
            meta = loads(text)["fields"]["meta"]
            numbers = tuple(int(n) for n in meta.get("numbers", ()))
            source, size, at = str(meta["source"]), int(meta.get("source_bytes", 0)), float(meta.get("at", 0.0))
            name = f"{meta['task']}-{meta['protocol']}-seed{meta['seed']}-{sha256(text).hexdigest()[:12]}"
        except Exception:  # whatever numpy and zipfile raise on damaged bytes
            continue
        yield Piece(source, size, numbers, at, name, path)


def pictures(folder: str | Path) -> Iterator[tuple[Piece, int, NDArray[np.uint8]]]:
    """Every picture uint8[H, W, 3] of every film in a recording, with its piece and step; a piece is in memory at a
    time. DataError names a damaged file."""
    for piece in pieces(folder):
        frames = Episode.load(piece.path).frames
        for step in range(len(frames) if frames is not None else 0):
            assert frames is not None
            yield piece, step, frames.rgb(step)
