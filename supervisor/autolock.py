"""Which moment of an episode an accepted policy is held to from then on.

Knows: decisions, scores and lives of a recorded episode. Does not know: lock files, policies, games.

A lock on decisions that are merely usual would forbid later, better revisions. So only moments count at which there
was hardly another way: the old and the new policy decide the same, and go on doing so when everything is seen a little
elsewhere (`settled`); something other than the fallback is done; and points follow while no life is lost.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from data_flywheel.episode import Episode

WINDOW = 4  # decisions that are locked
EARLIEST = 16  # steps: a lock needs some warm-up
SOON = 64  # steps within which points must follow


def moments(episode: Episode, settled: NDArray[np.bool_], fallback: int) -> list[range]:
    """Windows of steps worth locking, the best first; [] when there are none."""
    n, found = len(episode), []
    gains = np.diff(episode.scores.astype(np.int64), prepend=episode.scores[:1]) > 0
    losses = np.diff(episode.lives.astype(np.int64), prepend=episode.lives[:1]) < 0
    for start in range(EARLIEST, n - WINDOW):
        stop = start + WINDOW
        window = episode.actions[start:stop]
        if not settled[start:stop].all() or (window == fallback).all() or episode.faults[start:stop].any():
            continue
        after = slice(stop, min(n, stop + SOON))
        gain, loss = _first(gains[after]), _first(losses[after])
        if gain is not None and (loss is None or gain < loss):
            moving = int(np.count_nonzero(window != fallback))
            found.append((-len(set(window.tolist())), -moving, gain, start))
    return [range(start, start + WINDOW) for *_, start in sorted(found)]


def _first(flags: NDArray[np.bool_]) -> int | None:
    where = np.flatnonzero(flags)
    return int(where[0]) if len(where) else None


def best_episode(new: Sequence[Episode]) -> list[Episode]:
    """Episodes by score, the best first; equal ones by seed."""
    return sorted(new, key=lambda e: (-float(e.meta["score"]), int(e.meta["seed"])))
