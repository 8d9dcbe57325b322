"""Where episodes went wrong, from their records alone.

Knows: lives, scores, faults, interventions and lengths. Does not know: the task, the things in a scene, causes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_flywheel.episodes.episode import Episode

Array = NDArray[Any]
FAULT, LIFE, POINTS, LOW, TIMEOUT, DROUGHT, RULES = (
    "fault", "life lost", "points lost", "low score", "time-out without progress", "long without reward",
    "many interventions",
)  # fmt: skip
SEVERITY = {FAULT: 4, LIFE: 3, POINTS: 3, LOW: 3, TIMEOUT: 2, DROUGHT: 2, RULES: 1}
SUDDEN = (LIFE, POINTS)  # kinds that show some steps after their cause
LASTING = (LOW, TIMEOUT, DROUGHT)  # kinds that have no single moment
FEW_EPISODES = 4  # below it, nobody can tell which score is low
FAR_BELOW = 3.0  # standard deviations, estimated from the median absolute deviation
DRY = 5.0  # times the usual number of steps between rewards


class Moment(NamedTuple):
    """A failure at `step` of the `episode`-th episode. `first`: where it began, for kinds that last; else `step`.

    `size`: how many steps (faults, interventions) or points it stands for. `also`: other kinds at the same step.
    """

    episode: int
    step: int
    kind: str
    first: int
    size: int = 1
    also: tuple[str, ...] = ()


@dataclass(frozen=True)
class Usual:
    """What is normal in a batch: how many steps without any event are long, below which score an episode is low."""

    dry: int
    low: float | None = None


def rewards(episode: Episode) -> Array:
    """int64[T]: what each step changed the score by; a game starts at 0."""
    return np.diff(episode.scores.astype(np.int64), prepend=0)


def lost_lives(episode: Episode) -> Array:
    """int64[T]: lives lost at each step."""
    lives = episode.lives.astype(np.int64)
    return np.maximum(-np.diff(lives, prepend=lives[:1]), 0)


def dry_spells(episode: Episode) -> Array:
    """int64[T]: steps since the last reward above 0, before it is taken; since the start if there was none."""
    steps = np.arange(len(episode))
    won = np.concatenate([[-1], np.where(rewards(episode) > 0, steps, -1)])[: len(episode)]
    return steps - np.maximum.accumulate(won) - 1


def _events(episode: Episode) -> Array:
    """Steps at which the score changed or a life was lost."""
    return np.flatnonzero((rewards(episode) != 0) | (lost_lives(episode) > 0))


def usual(episodes: Sequence[Episode], span: int) -> Usual:
    """What is normal in these episodes. `span`: agent steps in about a second."""
    gaps = np.concatenate([np.zeros(0), *(np.diff(_events(e)) for e in episodes)])
    lengths = [len(e) for e in episodes] or [0]
    typical = DRY * float(np.median(gaps)) if len(gaps) else float(np.median(lengths)) / 2
    finals = np.array([float(e.scores[-1]) for e in episodes if len(e)])
    low = None
    if len(finals) >= FEW_EPISODES:
        middle = float(np.median(finals))
        spread = 1.4826 * float(np.median(np.abs(finals - middle)))
        low = middle - max(FAR_BELOW * spread, 0.25 * abs(middle), 1.0)
    return Usual(max(4 * span, round(typical)), low)


def moments(episodes: Sequence[Episode], span: int, normal: Usual, most_frames: int) -> list[Moment]:
    """Every failure of the batch, in order of episode and step; one entry where several kinds fall on one step.

    `most_frames`: emulated frames at which the protocol ends an episode.
    """
    found: list[Moment] = []
    for i, episode in enumerate(episodes):
        if len(episode):
            at: dict[int, list[Moment]] = {}
            for moment in _of(episode, i, span, normal, most_frames):
                at.setdefault(moment.step, []).append(moment)
            found += [_one(at[step]) for step in sorted(at)]
    return found


def _one(same: list[Moment]) -> Moment:
    """The gravest of several failures at one step, the others by name."""
    ordered = sorted(same, key=lambda m: -SEVERITY[m.kind])
    return ordered[0]._replace(also=tuple(m.kind for m in ordered[1:]))


def _of(e: Episode, i: int, span: int, normal: Usual, most_frames: int) -> Iterator[Moment]:
    change, lives = rewards(e), lost_lives(e)
    for step in np.flatnonzero(lives).tolist():
        yield Moment(i, step, LIFE, step, int(lives[step]))
    for first, last in _groups(np.flatnonzero(change < 0), 4):
        lost = change[first : last + 1]
        yield Moment(i, first, POINTS, first, int(-lost[lost < 0].sum()))
    for first, last in _groups(np.flatnonzero(e.faults), span):
        yield Moment(i, first, FAULT, first, int(np.count_nonzero(e.faults[first : last + 1])))
    for first, last in _groups(np.flatnonzero(e.overruled), span // 2):
        count = int(np.count_nonzero(e.overruled[first : last + 1]))
        if count >= max(4, span // 4):
            yield Moment(i, first, RULES, first, count)
    yield from _droughts(e, i, normal, most_frames)
    if normal.low is not None and e.scores[-1] < normal.low:
        yield Moment(i, len(e) - 1, LOW, 0, len(e))


def _groups(steps: Array, gap: int) -> Iterator[tuple[int, int]]:
    """(first, last) of runs of steps that are at most `gap` apart."""
    if len(steps):
        for run in np.split(steps, np.flatnonzero(np.diff(steps) > gap) + 1):
            yield int(run[0]), int(run[-1])


def _droughts(e: Episode, i: int, normal: Usual, most_frames: int) -> Iterator[Moment]:
    """Stretches in which nothing was won or lost; one that only the clock ended is a time-out."""
    ended = bool(e.meta.get("finished", True)) and int(e.meta.get("frames", 0)) < most_frames
    edges = [-1, *_events(e).tolist(), len(e)]
    for before, step in zip(edges, edges[1:], strict=False):
        if step - before - 1 >= normal.dry:
            kind = DROUGHT if step < len(e) or ended else TIMEOUT
            yield Moment(i, min(step, len(e) - 1), kind, before + 1, step - before - 1)
