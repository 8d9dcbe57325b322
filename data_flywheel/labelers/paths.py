"""From the candidates of many frames to one thing's track, and which rows of it may be trusted: physics alone.

Knows: candidates in order, how fast the thing is, along which axes it is free. Does not know: pixels. What flies goes
straight on or bounces; what is moved by a hand goes where it likes, but not faster than it can.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from data_flywheel.labelers.matched import LEAST
from perception.scene import SLOT

if TYPE_CHECKING:
    from data_flywheel.labelers.motion import Prior

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]

# Costs of a path; a candidate of full strength costs 0, one without any 1.
ABSENT = 1.0  # a frame in which the thing is said not to be there
BREAK = 0.6  # to come or go
JUMP = 4.0  # to go faster than it can
FAR = 0.3  # to go as fast as it can
TURN, BENT = 0.8, 6.0  # to turn by BENT px or more
RIM = 3.0  # px: how far from where it begins to be cut off a thing is trusted
BEND = 1.2  # px: how far three observations of free flight may deviate from a line
FLIGHT = 5  # frames of a flight on one line ...
OFF = 1.5  # ... from which none may be farther off than this, px
GAP = 4  # frames: how long a flight that motion lost beside a larger thing is known from both ends


def best_path(spots: Sequence[Floats], prior: Prior) -> list[int | None]:
    """The index of the candidate in each frame, None where the thing is not seen: Viterbi over pairs of frames."""
    best = [float(s[0, 2]) for s in spots if len(s)]
    if len(spots) < 3 or not best:
        return [0 if len(s) else None for s in spots]
    top = max(float(np.quantile(best, 0.75)), 2 * LEAST)
    own = [np.append(1.0 - np.minimum(s[:, 2] / top, 1.0), ABSENT) for s in spots]
    cost, back = own[0][:, None] + _steps(spots[0], spots[1], prior) + own[1], []
    for a, b, c, mine in zip(spots, spots[1:], spots[2:], own[2:], strict=False):
        total = cost[:, :, None] + _steps(b, c, prior)[None] + mine
        if flies(prior):
            total[:-1, :-1, :-1] += _turns(a, b, c)
        back.append(total.argmin(0))
        cost = total.min(0)
    i, j = np.unravel_index(int(cost.argmin()), cost.shape)
    path = [int(j), int(i)]
    for row in back[::-1]:
        path.append(int(row[path[-1], path[-2]]))
    return [at if at < len(s) else None for at, s in zip(path[::-1], spots, strict=True)]


def flies(prior: Prior) -> bool:
    """Is it free along both axes?"""
    return prior.fixed == (None, None)


def _steps(before: Floats, after: Floats, prior: Prior) -> NDArray[np.float64]:
    """Cost of going from each candidate (and absence, the last) of one frame to each of the next."""
    cost = np.full((len(before) + 1, len(after) + 1), BREAK)
    cost[-1, -1] = 0.0
    if len(before) and len(after):
        away = np.abs(before[:, None, :2] - after[None, :, :2]).max(2)
        cost[:-1, :-1] = np.where(away <= prior.speed, FAR * away / prior.speed, JUMP)
    return cost


def _turns(a: Floats, b: Floats, c: Floats) -> NDArray[np.float64]:
    """Cost of not going straight on, for all candidates of three frames."""
    bend = np.abs(a[:, None, None, :2] - 2 * b[None, :, None, :2] + c[None, None, :, :2]).max(3)
    return np.asarray(np.minimum(bend / BENT, 1.0) * TURN, np.float64)


def trusted(track: Floats, prior: Prior) -> tuple[Floats, Bools]:
    """The track float32[T, SLOT], flights smoothed, and the rows that may be learned, bool[T].

    Rows in the middle of three that follow each other without a jump; what flies also nearly on a line, or on the line
    of a longer flight. At the rim a thing shows a part of itself, whose middle is not known well: left out."""
    seen, good = track[:, 0] > 0.5, np.zeros(len(track), bool)
    if len(track) < 3:
        return track, good
    p = track[:, 1:3]
    bend = np.abs(p[2:] - 2 * p[1:-1] + p[:-2]).max(1)
    near = np.abs(np.diff(p, axis=0)).max(1) <= prior.speed
    moves = np.abs(p[2:] - p[:-2]).max(1) > 1.0
    good[1:-1] = seen[2:] & seen[1:-1] & seen[:-2] & near[1:] & near[:-1]
    if flies(prior):
        good[1:-1] &= (bend <= BEND) & moves
        track, on = _smoothed(track, seen, prior)
        good |= on
    left, right, top, bottom = prior.whole
    x, y = track[:, 1], track[:, 2]
    inside = (x > left + RIM) & (x < right - RIM) | (prior.fixed[0] is not None)
    return track, good & inside & ((y > top + RIM) & (y < bottom - RIM) | (prior.fixed[1] is not None))


def _smoothed(track: Floats, seen: Bools, prior: Prior) -> tuple[Floats, Bools]:
    """Rows on the line through FLIGHT frames that fits them best, if it does; and which rows these are."""
    n, k = len(track), np.arange(FLIGHT)
    if n < FLIGHT:
        return track, np.zeros(n, bool)
    view = np.lib.stride_tricks.sliding_window_view(track[:, 1:3], FLIGHT, axis=0).astype(np.float64)  # [n - 4, 2, 5]
    mean, lever = view.mean(2), k - k.mean()
    slope = (view * lever).sum(2) / (lever**2).sum()
    fit = mean[..., None] + slope[..., None] * lever
    off = np.abs(view - fit).max((1, 2))
    whole = np.lib.stride_tricks.sliding_window_view(seen, FLIGHT).all(1)
    speed = np.abs(slope).max(1)
    off[~whole | (off > OFF) | (speed < 0.5) | (speed > prior.speed)] = np.inf
    out, least = track.copy(), np.full(n, np.inf)
    for j in k:
        rows = np.arange(len(off)) + j
        better = off < least[rows]
        least[rows[better]] = off[better]
        out[rows[better], 1:3] = fit[better, :, j]
    return out, np.isfinite(least)


def filled(track: Floats, sure: Bools, prior: Prior) -> tuple[Floats, Bools]:
    """Short gaps in a flight, by physics: what was there and will be there is there now.

    The flights before and after the gap are led on to each other. Where they agree the thing flew through; else it
    bounced where they come nearest, and that frame stays unknown. Frames where things touch are learned this way.
    """
    if not flies(prior):
        return track, sure
    track, known, rows = track.copy(), sure.copy(), np.flatnonzero(sure)
    for a, b in zip(rows[:-1], rows[1:], strict=True):
        n = b - a - 1
        if not 0 < n <= GAP or a < 1 or b + 1 >= len(track) or not (sure[a - 1] and sure[b + 1]):
            continue
        k = np.arange(1, n + 1)[:, None]
        on = track[a, 1:3] + k * (track[a, 1:3] - track[a - 1, 1:3])
        back = track[b, 1:3] - (n + 1 - k) * (track[b + 1, 1:3] - track[b, 1:3])
        apart = np.abs(on - back).max(1)
        turn = n if apart.max() <= 2.0 else int(apart.argmin())
        for i in range(n):
            if i != turn:
                x, y = (on[i] + back[i]) / 2 if turn == n else on[i] if i < turn else back[i]
                track[a + 1 + i], known[a + 1 + i] = (1, x, y, *prior.size, 0, 0, 1), True
    return track, known


def track_of(spots: Sequence[Floats], path: Sequence[int | None], prior: Prior) -> Floats:
    """float32[T, SLOT] of a path: the whole thing where its candidate is."""
    track = np.zeros((len(spots), SLOT), np.float32)
    for row, s, at in zip(track, spots, path, strict=True):
        if at is not None:
            row[:] = (1, s[at, 0], s[at, 1], *prior.size, 0, 0, 1)
    return track
