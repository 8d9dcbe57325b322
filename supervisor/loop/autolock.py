"""How far an accepted policy may be lost again: a floor under the score of one training seed.

Knows: scores of recorded episodes. Does not know: lock files, policies, games.

A lock on decisions would forbid better revisions: where two policies of one family surely agree, a wiser one may well
decide otherwise (both followed a rising ball; the next one waited where it would come down). A score says what was won
without saying how. Games are noisy, hence the seed that went best and a floor far below the worst of the others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from data_flywheel.episodes.episode import Episode

SHARE = 0.5  # of the worst score's size, by which the floor lies below it
NAME = "auto-floor"  # one lock: each accepted policy replaces it


def best_episode(episodes: Sequence[Episode]) -> Episode:
    """The one with the highest score; of equal ones that of the lowest seed."""
    return min(episodes, key=lambda e: (-float(e.meta["score"]), int(e.meta["seed"])))


def floor_under(scores: Sequence[float]) -> int:
    """A score that a better policy hardly ever misses on the seed that went best."""
    worst = min(scores)
    return math.floor(worst - SHARE * abs(worst))
