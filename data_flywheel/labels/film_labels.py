"""Labels of recorded films: entered by the numbers of pictures, given back by them, and gathered for training.

What a detector is measured on is a later stretch of each film than what it learned from, never random pictures: two
neighbours of a film are nearly the same picture.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from data_flywheel.episodes.films import Piece, pieces
from data_flywheel.errors import DataError
from data_flywheel.labels.boxes import Place, Values
from data_flywheel.labels.frames import EpisodeFrames
from data_flywheel.labels.label import FrameRef, Label
from data_flywheel.labels.resolve import EDITED, Row, project, resolve
from data_flywheel.labels.store import LabelStore
from data_flywheel.splits import SPLITS
from envs.spec import SystemSpec
from perception.training.data import Samples

EPISODES = "episodes"  # the folder of a recording that holds its games and pieces
SAME = 1e-3  # px: what was rounded on the way through another format is no other label
Film = tuple[str, str]  # a recording's folder, and what it is a film of


class Films:
    """The pieces of all films in some recordings of one task, and their pictures."""

    def __init__(self, folders: Sequence[str | Path], spec: SystemSpec) -> None:
        """DataError: a folder without a recorded film of this task. Damaged files are in `problems`."""
        self.folders, self.problems = [Path(folder) for folder in folders], list[str]()
        self.pieces: dict[str, Piece] = {}
        self.films: dict[Film, list[Piece]] = {}
        self._frames: dict[str, EpisodeFrames] = {}
        for folder in self.folders:
            frames = EpisodeFrames(folder, spec)
            self.problems += frames.problems
            mine = set(frames.names())
            for piece in pieces(folder):
                if piece.name in mine and piece.name not in self.pieces:
                    self.pieces[piece.name], self._frames[piece.name] = piece, frames
                    self.films.setdefault((str(folder), piece.source), []).append(piece)
        if not self.pieces:
            raise DataError(f"{', '.join(map(str, folders))}: no film of {spec.name}; record one with `triune record`")

    def film(self, name: str) -> Film:
        """The film that a person calls `name`: its whole name, that of its file, or this without its ending. DataError
        names those there are."""
        found = [film for film in self.films if name in _names(film[1])]
        if len(found) == 1:
            return found[0]
        there = ", ".join(sorted({film[1] for film in self.films}))
        what = f"{len(found)} recordings have a film called" if found else "no film is called"
        raise DataError(f"{what} {name!r}; there are {there}; say which with --source, or --recording")

    def find(self, film: Film, number: int) -> tuple[str, int] | None:
        """(piece, step) of the picture of this number; None where it was not recorded."""
        for piece in self.films[film]:
            step = piece.step(number)
            if step is not None:
                return piece.name, step
        return None

    def ref(self, piece: str, step: int) -> FrameRef:
        """The reference of a picture, by which labels are kept."""
        return self._frames[piece].ref(piece, step)

    def rgb(self, ref: FrameRef) -> np.ndarray:
        """uint8[H, W, 3]; DataError when it is gone."""
        return self._frames[ref.episode].rgb(ref)

    def refs(self) -> Iterator[FrameRef]:
        """Every picture of every film."""
        for frames in dict.fromkeys(self._frames.values()):
            yield from frames.refs()

    def of(self, piece: str) -> Film:
        """The film that a piece is of."""
        return str(self._frames[piece].folder), self.pieces[piece].source

    def place(self, piece: str, step: int) -> Place | None:
        """Film and number of a picture; None where the piece does not know its pictures' numbers."""
        numbers = self.pieces[piece].numbers
        return Place(_names(self.pieces[piece].source)[-1], numbers[step]) if step < len(numbers) else None


def _names(source: str) -> tuple[str, ...]:
    """What a film may be called, the shortest last."""
    path = PurePath(source.replace("\\", "/"))
    return source, path.name or source, path.stem or source


# ----------------------------------------------------------------------------------------------------
# In and out.


@dataclass
class Entered:
    """What became of an import: pictures labelled now, those that had these very labels, those not recorded."""

    labelled: int = 0
    same: int = 0
    missing: list[int] = field(default_factory=list)


def enter(
    store: LabelStore, films: Films, pictures: Mapping[Place, Values], who: str, source: str | None, note: str,
    progress: Callable[[int], None] = lambda done: None,
) -> Entered:  # fmt: skip
    """A person's labels of whole pictures, found by their numbers in the film `source` (None: the film named in each
    place, or the only one). DataError: it is not clear which film is meant; a label that is not valid."""
    result, wanted = Entered(), dict[tuple[str, int], Values]()
    for place, values in sorted(pictures.items()):
        found = films.find(_film(films, place, source), place.number)
        if found is None:
            result.missing.append(place.number)
        else:
            wanted[found] = values
    labels = []
    for done, (found, values) in enumerate(sorted(wanted.items()), 1):
        ref = films.ref(*found)
        mine = [la for la in store.standing(ref) if (la.source, la.who) == ("person", who)]
        if mine and mine[-1].verdict == "accept" and _alike(mine[-1].values, values):
            result.same += 1
        else:
            labels.append(Label(ref, "person", who, values, 1.0, verdict="accept", note=note))
        progress(done)
    result.labelled = len(store.add(labels))
    return result


def _film(films: Films, place: Place, source: str | None) -> Film:
    if source is not None:
        return films.film(source)
    if len(films.films) == 1:
        return next(iter(films.films))
    return films.film(place.film)


def _alike(one: Values, other: Values) -> bool:
    if set(one) != set(other):
        return False
    for name, slots in one.items():
        for a, b in zip(slots, other[name], strict=True):
            if (a is None) != (b is None) or (a and b and max(abs(p - q) for p, q in zip(a, b, strict=True)) > SAME):
                return False
    return True


def leave(store: LabelStore, films: Films) -> tuple[dict[Place, Values], int]:
    """What holds of every labelled picture, by film and number; how many have no number, no film here, or are rejected.
    The film is "" where there is only one."""
    found, left_out, single = dict[Place, Values](), 0, len({film[1] for film in films.films}) == 1
    things = [thing.name for thing in store.schema.things]
    for ref in store.frames():
        place = films.place(ref.episode, ref.step) if ref.episode in films.pieces else None
        resolution = resolve(store.schema, store.standing(ref))
        if place is None or resolution.status == "rejected" or not resolution.parts:
            left_out += bool(store.standing(ref))
            continue
        values = {name: resolution.values[name] for name in things if name in resolution.parts}
        found[Place("", place.number) if single else place] = values
    return found, left_out


# ----------------------------------------------------------------------------------------------------
# For training.


HELD_OUT, CALIBRATE = 0.2, 0.1  # shares of a film's labelled pictures: its end, and what lies just before
FEWEST = 10  # labelled pictures of a film from which some are held out
GAP = 1.0  # seconds before the held-out stretch that are not learned from: nearly the same pictures
ROOM = 2 << 30  # bytes of pictures in memory


@dataclass
class Gathered:
    """What is learned from. `stretches`: of each film with a held-out part, its name, the first and last second of it;
    `left_out`: labelled pictures that are not used, by reason."""

    samples: Samples
    stretches: list[tuple[str, float, float]]
    left_out: Counter[str]


def gather(store: LabelStore, films: Films, hz: float, progress: Callable[[int, int], None]) -> Gathered:
    """Every labelled picture of these films, each film split by time: the end is held out (`test`), what is just before
    it calibrates (`val`). hz: pictures a second. DataError: no labelled picture."""
    found = project(store, "all")
    left_out = Counter(found.left_out)
    streams: dict[Film, list[tuple[float, Row]]] = {}
    for row in found.rows:
        piece = films.pieces.get(row.frame.episode)
        if piece is None:
            left_out["of a recording that is not here"] += 1
        elif resolve(store.schema, store.standing(row.frame)).status == EDITED:  # what is not drawn may yet be there
            left_out["begun in review and not accepted"] += 1
        else:
            streams.setdefault(films.of(piece.name), []).append((piece.at + row.frame.step / hz, row))
    chosen: list[tuple[int, int, Row]] = []  # film, split, row
    stretches = []
    for number, (film, timed) in enumerate(sorted(streams.items())):
        timed.sort(key=lambda pair: (pair[0], pair[1].frame))
        splits, border = _split([at for at, _ in timed])
        if border is not None:
            stretches.append((film[1], border, timed[-1][0]))
        left_out["within a second of the held-out part"] += splits.count(-1)
        chosen += [(number, split, row) for split, (_, row) in zip(splits, timed, strict=True) if split >= 0]
    chosen = _apart(chosen, left_out)
    if not chosen:
        reasons = "; ".join(f"{n} {reason}" for reason, n in left_out.items() if n) or "nothing is labelled"
        raise DataError(
            f"{store.folder}: no labelled picture to learn from ({reasons}); label some with `triune review`, or "
            "`triune labels import`; other recordings are named by --recording"
        )
    chosen = _thinned(chosen, store, left_out)
    samples = _samples(chosen, store, films, progress)
    return Gathered(samples, stretches, +left_out)


def _split(times: Sequence[float]) -> tuple[list[int], float | None]:
    """For each moment, in order, the split (-1: none), and where the held-out part begins."""
    n = len(times)
    if n < FEWEST:
        return [0] * n, None
    border = times[n - round(HELD_OUT * n)]
    calibrate = times[n - round((HELD_OUT + CALIBRATE) * n)]
    splits = [2 if t >= border else -1 if t > border - GAP else 1 if t >= calibrate else 0 for t in times]
    if 0 not in splits:  # all of it within seconds: a part is held out nevertheless
        splits = [2 if t >= border else 0 for t in times]
    return splits, border


def _apart(chosen: list[tuple[int, int, Row]], left_out: Counter[str]) -> list[tuple[int, int, Row]]:
    """Without what is both held out and, as another recording of the same film, to be learned from."""
    held = {row.frame.digest for _, split, row in chosen if split == SPLITS.index("test")}
    kept, seen = [], set[tuple[str, bool]]()
    for number, split, row in chosen:
        test = split == SPLITS.index("test")
        if (row.frame.digest in held and not test) or (row.frame.digest, test) in seen:
            left_out["the same picture as another"] += 1
            continue
        seen.add((row.frame.digest, test))
        kept.append((number, split, row))
    return kept


def _thinned(chosen: list[tuple[int, int, Row]], store: LabelStore, left_out: Counter[str]) -> list[Any]:
    """As many as the memory takes, evenly in time."""
    most = max(1, ROOM // (store.size[0] * store.size[1] * 3))
    if len(chosen) <= most:
        return chosen
    left_out[f"beyond the {most} that are held in memory, evenly chosen"] += len(chosen) - most
    return [chosen[i] for i in np.linspace(0, len(chosen) - 1, most).astype(int)]


def _samples(
    chosen: list[tuple[int, int, Row]], store: LabelStore, films: Films, progress: Callable[[int, int], None]
) -> Samples:
    frames = np.empty((len(chosen), *store.size, 3), np.uint8)
    for i, (_, _, row) in enumerate(chosen):
        frames[i] = films.rgb(row.frame)
        progress(i + 1, len(chosen))
    splits = np.array([split for _, split, _ in chosen], np.uint8)
    stretches = np.array([number * len(SPLITS) + split for number, split, _ in chosen], np.int64)
    ids = "".join(sorted(label for _, _, row in chosen for label in row.labels.values()))
    source = f"{store.task} labels {sha256(ids.encode()).hexdigest()}"
    return Samples(frames, None, np.stack([row.vector for _, _, row in chosen]), stretches, splits, source)
