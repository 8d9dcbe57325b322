"""Which pictures of recorded films a person should label first.

Without a detector nothing is known of them but when they were taken and how they look, so the first of the queue lie
far apart in both. With one, those come first of which it is unsure, or on which it sees something else than on the
pictures before and after; the rest is spread again. What a person has labelled stands at the head, in the order of
time, and the others keep away from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_flywheel.datasets.curation import THUMB, thumbnail
from data_flywheel.labels.film_labels import Films
from data_flywheel.labels.label import FrameRef
from data_flywheel.labels.review_queue import Item, ReviewQueue, measures
from data_flywheel.labels.store import LabelStore
from perception.scene import SceneSchema

CANDIDATES = 1500  # pictures that are looked at
PIECES = 80  # pieces of films that are read for them
HEAD = 1000  # labelled pictures at the head of the queue
ROUND = 20  # pictures that follow each other in time: boxes are copied from one to the next
LOOKS = 24.0  # grey levels of a mean cell between two pictures that count as much as ...
SPAN = 0.1  # ... this share of all recorded time
CLOSE = 2.0  # seconds around a suspicious picture in which another one has little to add

NEAR = 0.2  # seconds from a labelled picture within which another one is nearly the same

Reason = tuple[str, float, str]
Look = Callable[[NDArray[np.uint8]], NDArray[np.float32]]  # uint8[H, W, 3] -> Scene vector


@dataclass(frozen=True)
class _Seen:
    """One candidate. `at`: seconds of film before it, of all films one after the other; `thumb` float32[THUMB**2]."""

    ref: FrameRef
    at: float
    thumb: NDArray[np.float32]
    reasons: tuple[Reason, ...]
    belief: tuple[float, ...] | None


def film_queue(
    films: Films, store: LabelStore, hz: float, look: Look | None, most: int,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> ReviewQueue:  # fmt: skip
    """At most `most` pictures to label, after those that are labelled. hz: pictures a second; look: the detector, if
    there is one. The same films and labels give the same queue."""
    labelled = _in_time(films, [ref for ref in store.frames() if _by_person(store, ref)])
    seen = list(_candidates(films, store.schema, hz, look, progress))
    done = _near(seen, labelled, round(NEAR * hz))
    fresh = [i for i in range(len(seen)) if i not in done]
    first = _suspicious(seen, fresh, most) if look else []
    rest = _spread(seen, [*done, *first], sorted(set(fresh) - set(first)), most - len(first))
    head = [Item(ref, 0.0, (("request", 0.0, "labelled already"),)) for ref in labelled[-HEAD:]]
    items = [*head, *(_suspect(seen[i]) for i in first), *_rounds(seen, rest)]
    left = len(fresh) - len(first) - len(rest)
    told = {"less telling": left} if left else {}
    folders = tuple(map(str, films.folders))
    return ReviewQueue(store.task, store.schema.fingerprint, tuple(items), folders, told, films=True)


def _by_person(store: LabelStore, ref: FrameRef) -> bool:
    return any(label.source == "person" for label in store.standing(ref))


def _in_time(films: Films, refs: Sequence[FrameRef]) -> list[FrameRef]:
    """Those of these films, film by film."""
    order = {name: i for i, name in enumerate(p.name for film in films.films.values() for p in film)}
    mine = [ref for ref in refs if ref.episode in order]
    return sorted(mine, key=lambda ref: (order[ref.episode], ref.step))


def _near(seen: list[_Seen], labelled: Sequence[FrameRef], steps: int) -> set[int]:
    """Candidates that are, or nearly are, a labelled picture."""
    there: dict[str, list[int]] = {}
    for ref in labelled:
        there.setdefault(ref.episode, []).append(ref.step)
    return {
        i for i, s in enumerate(seen)
        if any(abs(s.ref.step - step) < max(1, steps) for step in there.get(s.ref.episode, ()))
    }  # fmt: skip


def _candidates(
    films: Films, schema: SceneSchema, hz: float, look: Look | None, progress: Callable[[int, int], None]
) -> Iterator[_Seen]:
    """Pictures at equal distances of time, over all films; not all pieces of very long ones are opened."""
    pieces = [p for film in films.films.values() for p in film if p.numbers]
    starts = np.cumsum([0, *(len(p.numbers) for p in pieces)])
    chosen = sorted(set(np.linspace(0, len(pieces) - 1, PIECES).round().astype(int))) if pieces else []
    total = sum(len(pieces[i].numbers) for i in chosen)
    stride = max(1, total // CANDIDATES, round(hz / 5))
    done = 0
    for i in chosen:
        piece = pieces[i]
        for step in range(done % stride and stride - done % stride, len(piece.numbers), stride):
            ref = films.ref(piece.name, step)
            rgb = films.rgb(ref)
            found: list[Reason] = []
            belief = None
            if look:
                around = [s for s in (step - 1, step, step + 1) if 0 <= s < len(piece.numbers)]
                scenes = {s: look(films.rgb(films.ref(piece.name, s))).copy() for s in around}
                belief = tuple(float(v) for v in scenes[step])
                found = measures(schema, scenes[step], before=scenes.get(step - 1))
                found += _flicker(schema, [scenes[s] for s in around]) if len(around) == 3 else []
            reasons = tuple(sorted(found, key=lambda reason: (-reason[1], reason[0])))
            yield _Seen(ref, float(starts[i] + step) / hz, thumbnail(rgb, schema.crop), reasons, belief)
            progress(done + step, total)
        done += len(piece.numbers)


def _flicker(schema: SceneSchema, scenes: Sequence[NDArray[np.float32]]) -> list[Reason]:
    """What the detector sees, or misses, on the middle one of three pictures alone."""
    for thing in schema.things:
        slots = [schema.slot(thing.name, i) for i in range(thing.count)]
        before, here, after = (sum(bool(scene[slot][0] > 0.5) for slot in slots) for scene in scenes)
        if before == after != here:
            return [("disagreement", 1.0, f"{here} {thing.name} seen, {before} on the pictures before and after")]
    return []


def _suspicious(seen: list[_Seen], fresh: list[int], most: int) -> list[int]:
    """The most suspicious first, each apart in time from those before: neighbours are suspicious for one reason."""
    score = np.zeros(len(seen))
    score[fresh] = [_score(seen[i]) for i in fresh]
    at, chosen = np.array([s.at for s in seen]), list[int]()
    while len(chosen) < most // 2 and len(score) and score.max() > 0.1:
        best = int(score.argmax())
        chosen.append(best)
        score *= np.clip(np.abs(at - at[best]) / CLOSE, 0, 1)
    return chosen


def _spread(seen: list[_Seen], taken: list[int], among: list[int], most: int) -> list[int]:
    """The farthest from all that is taken, one after the other, in time and looks."""
    if not among:
        return []
    places = np.stack([s.thumb for s in seen]) / (LOOKS * THUMB)
    times = np.array([s.at for s in seen])
    places = np.concatenate([places, (times / max(1e-9, SPAN * float(np.ptp(times))))[:, None]], 1)
    away = np.linalg.norm(places - places.mean(0), axis=1) if not taken else np.full(len(seen), np.inf)
    for i in taken:
        away = np.minimum(away, np.linalg.norm(places - places[i], axis=1))
    open_ = np.zeros(len(seen), bool)
    open_[among] = True
    chosen, first = list[int](), not taken
    while len(chosen) < most and open_.any():
        best = int(np.where(open_, -away if first else away, -np.inf).argmax())  # the first is the most usual one
        chosen.append(best)
        open_[best] = False
        gap = np.linalg.norm(places - places[best], axis=1)
        away, first = gap if first else np.minimum(away, gap), False
    return chosen


def _rounds(seen: list[_Seen], chosen: list[int]) -> Iterator[Item]:
    """The chosen in rounds, each spread over everything and in the order of time by itself."""
    for start in range(0, len(chosen), ROUND):
        for i in sorted(chosen[start : start + ROUND]):
            yield Item(seen[i].ref, 0.0, (("spread", 0.0, "far in time or looks from the others"),), seen[i].belief)


def _score(seen: _Seen) -> float:
    return max((score for _, score, _ in seen.reasons), default=0.0)


def _suspect(seen: _Seen) -> Item:
    return Item(seen.ref, round(_score(seen), 6), seen.reasons, seen.belief)
