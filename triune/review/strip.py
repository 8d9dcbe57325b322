"""The films behind a review: any of their pictures can be opened, what is labelled near it is known, and all that is
labelled is counted.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from data_flywheel.episodes.films import Piece
from data_flywheel.errors import DataError
from data_flywheel.labels.between import between
from data_flywheel.labels.film_labels import Film, Films
from data_flywheel.labels.label import FrameRef
from data_flywheel.labels.resolve import ACCEPTED, EDITED, resolve
from data_flywheel.labels.rounds import GOAL, advice, read_rounds
from data_flywheel.labels.store import LabelStore

BETWEEN = 3.0  # seconds that two labelled pictures may be apart for what lies between to be proposed
MARKS = 400  # places of a film at which it is told whether something there is labelled


@dataclass(frozen=True)
class _Tape:
    """One film. `starts`: how many of its pictures come before each piece."""

    film: Film
    pieces: tuple[Piece, ...]
    starts: tuple[int, ...]

    @property
    def length(self) -> int:
        return self.starts[-1]


class Strip:
    """Films side by side. A picture's place is how many recorded pictures of its film come before it."""

    def __init__(self, films: Films, store: LabelStore, hz: float) -> None:
        """`hz`: pictures a second."""
        self.films, self.store, self.hz = films, store, hz
        self.tapes = [_tape(film, pieces) for film, pieces in films.films.items() if any(p.numbers for p in pieces)]
        self._where = {
            piece.name: (number, start)
            for number, tape in enumerate(self.tapes)
            for piece, start in zip(tape.pieces, tape.starts, strict=False)
        }
        self.rounds = read_rounds(store.folder)
        self._known: dict[FrameRef, tuple[str, str, Counter[str]]] = {}  # revision, status, how many of each thing

    def told(self) -> list[dict[str, Any]]:
        """Name, number of pictures and pictures a second of every film."""
        return [{"name": _short(tape.film[1]), "length": tape.length, "hz": self.hz} for tape in self.tapes]

    def ref(self, film: int, at: int) -> FrameRef:
        """The picture at a place; DataError when there is none."""
        if not 0 <= film < len(self.tapes) or not 0 <= at < self.tapes[film].length:
            raise DataError(f"there is no picture {at} of film {film} here")
        tape = self.tapes[film]
        number = bisect_right(tape.starts, at) - 1
        return self.films.ref(tape.pieces[number].name, at - tape.starts[number])

    def place(self, ref: FrameRef) -> tuple[int, int] | None:
        """(film, place) of a picture; None when it is of none of these films."""
        if ref.episode not in self._where:
            return None
        film, start = self._where[ref.episode]
        return film, start + ref.step

    def about(self, ref: FrameRef) -> dict[str, Any] | None:
        """Where a picture stands, what is labelled on the nearest confirmed picture before it, what to propose between
        that and the nearest one after it, and where the film is labelled."""
        here = self.place(ref)
        if here is None:
            return None
        film, at = here
        piece = self.films.pieces[ref.episode]
        there = self._labelled(film)
        places = [place for place, _ in there]
        before, after = there[: bisect_left(places, at)], there[bisect_right(places, at) :]
        return {
            "film": film, "at": at, "number": piece.numbers[ref.step],
            "second": round(piece.at + ref.step / self.hz, 3),
            "before": self._values(before[-1][1]) if before else None,
            "between": self._between(film, at, before[-1], after[0]) if before and after else None,
            "marks": sorted({place * MARKS // max(1, self.tapes[film].length) for place in places}), "of": MARKS,
        }  # fmt: skip

    def _values(self, ref: FrameRef) -> dict[str, Any]:
        """The things on a labelled picture."""
        values = resolve(self.store.schema, self.store.standing(ref)).values
        return {thing.name: values[thing.name] for thing in self.store.schema.things if thing.name in values}

    def _between(
        self, film: int, at: int, before: tuple[int, FrameRef], after: tuple[int, FrameRef]
    ) -> dict[str, Any] | None:
        """What to propose at a place between two labelled pictures; None where they are too far apart, or gone."""
        (first, one), (last, other) = before, after
        if last - first > BETWEEN * self.hz:
            return None
        try:
            pictures = self.films.rgb(one), self.films.rgb(self.ref(film, at)), self.films.rgb(other)
        except DataError:
            return None
        return between(self._values(one), self._values(other), pictures, (at - first) / (last - first))

    def _labelled(self, film: int) -> list[tuple[int, FrameRef]]:
        """Place and reference of every picture of a film that a person confirmed, in order."""
        found = []
        for ref in self.store.frames():
            here = self.place(ref)
            if here and here[0] == film and self._read(ref)[0] == ACCEPTED:
                found.append((here[1], ref))
        return sorted(found)

    def _read(self, ref: FrameRef) -> tuple[str, Counter[str]]:
        """Status of a picture, and how many of each thing its labels have; kept until somebody speaks of it again."""
        revision = self.store.revision(ref)
        if ref not in self._known or self._known[ref][0] != revision:
            found = resolve(self.store.schema, self.store.standing(ref))
            things = [thing.name for thing in self.store.schema.things if thing.name in found.parts]
            counts = Counter({name: sum(box is not None for box in found.values[name]) for name in things})
            self._known[ref] = revision, found.status, counts
        return self._known[ref][1:]

    def tally(self) -> dict[str, Any]:
        """What persons labelled so far of these films: confirmed pictures, those of them without a thing, those that
        are begun, how many there are of each thing, and what the trainings say of more."""
        boxes = Counter({thing.name: 0 for thing in self.store.schema.things})
        pictures = background = begun = 0
        for ref in self.store.frames():
            if self.place(ref) is None:
                continue
            status, counts = self._read(ref)
            begun += status == EDITED
            if status == ACCEPTED:
                pictures, background = pictures + 1, background + (not counts.total())
                boxes.update(counts)
        told = {"pictures": pictures, "background": background, "begun": begun, "boxes": dict(boxes)}
        return {**told, "goal": GOAL, "advice": advice(self.rounds, boxes)}


def _short(source: str) -> str:
    return PurePath(source.replace("\\", "/")).name or source


def _tape(film: Film, pieces: list[Piece]) -> _Tape:
    """A film's pieces, but for those that do not know their pictures' numbers."""
    known = tuple(piece for piece in pieces if piece.numbers)
    starts = [0]
    for piece in known:
        starts.append(starts[-1] + len(piece.numbers))
    return _Tape(film, known, tuple(starts))
