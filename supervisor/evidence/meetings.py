"""Where another thing was when it came to one's own: met and turned back, or passed; and what came of it.

Only for a thing of one's own that moves along one axis: what comes to it crosses the line on which it moves.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from data_flywheel.episodes.episode import Episode, dense
from perception.scene import SLOT, SceneSchema
from supervisor.evidence.context import number, signed, table
from supervisor.evidence.moments import FAINT, Array, Cast, Slot, Window, finite

JUMP = 0.25  # of the looked-at part: farther in one step is another thing, not a movement
BACK = 4.0  # steps within which it comes back
MOVES = 0.3  # px a step below which a thing does not move
FEWEST = 3  # meetings of one kind that are worth a line
AXES = ("x", "y")
SIDES = (("left", "right"), ("above", "below"))


class Meeting(NamedTuple):
    """`gap`: px along one's own axis, the other less one's own; `reach`: half of both sizes. `turned`: it was met and
    turned back; else it passed. `step`: with decimals where it passed between two."""

    episode: int
    step: float
    slot: Slot
    gap: float
    reach: float
    turned: bool

    @property
    def missed(self) -> float:
        """px beyond reach; 0 within."""
        return max(0.0, abs(self.gap) - self.reach)


def meetings(schema: SceneSchema, who: Cast, episodes: Sequence[Episode]) -> list[Meeting]:
    """All of a batch, in order of episode and step; none unless one's own thing moves along one axis."""
    own = who.own
    if own is None or len(who.axes) != 1:
        return []
    found = []
    for i, e in enumerate(episodes):
        mine = [_there_and_back(list(_of(schema, own, who.axes[0], s, i, e))) for s in who.main if s != own]
        found += sorted((m for of in mine for m in of), key=lambda m: m.step)
    return found


def _of(schema: SceneSchema, own: Slot, along: int, slot: Slot, i: int, e: Episode) -> Iterator[Meeting]:
    scenes = finite(e.scenes)
    me, it = scenes[:, own.at : own.at + SLOT], scenes[:, slot.at : slot.at + SLOT]
    there = _there(me) & _there(it)
    gap, off = (it[:, 1 + axis] - me[:, 1 + axis] for axis in (along, 1 - along))
    reach, depth = ((it[:, 3 + axis] + me[:, 3 + axis]) / 2 for axis in (along, 1 - along))
    room = (schema.crop[2] - schema.crop[0], schema.crop[3] - schema.crop[1])[along]  # across: the other axis's extent
    both = there[1:] & there[:-1] & (np.abs(np.diff(off)) <= JUMP * room)
    for t in np.flatnonzero(both & ((off[1:] < 0) != (off[:-1] < 0))).tolist():
        share = float(off[t] / (off[t] - off[t + 1]))
        at = float(gap[t] + share * (gap[t + 1] - gap[t]))
        yield Meeting(i, t + share, slot, at, float(reach[t]), False)
    way = np.diff(it[:, 2 - along])
    for t in (1 + np.flatnonzero(both[1:] & both[:-1] & (way[1:] * way[:-1] < 0))).tolist():
        slow = min(abs(way[t - 1]), abs(way[t])) < MOVES
        came = abs(off[t]) < abs(off[t - 1]) and abs(off[t]) <= depth[t] + abs(way[t - 1]) + abs(way[t])
        if came and not slow and abs(gap[t]) <= reach[t] + np.abs(np.diff(gap[t - 1 : t + 2])).max():
            yield Meeting(i, float(t), slot, float(gap[t]), float(reach[t]), True)


def _there_and_back(found: list[Meeting]) -> list[Meeting]:
    """A thing that crosses the line and soon crosses it back has turned there: one meeting."""
    out: list[Meeting] = []
    for m in sorted(found, key=lambda m: m.step):
        if out and m.step - out[-1].step <= BACK:
            out[-1] = out[-1]._replace(turned=True)
        else:
            out.append(m)
    return out


def _there(slot: Array) -> Array:
    return (slot[:, 0] > 0.5) | (slot[:, 7] > FAINT)


def passed(found: Sequence[Meeting], w: Window) -> Meeting | None:
    """How the thing that mattered passed one's own in a window, the last time."""
    slot = w.meeting.slot if w.meeting else None
    mine = [m for m in found if m.episode == w.moment.episode and w.first <= m.step <= w.last + 1]
    return next((m for m in reversed(mine) if not m.turned and m.slot == slot), None)


def told(
    found: Sequence[Meeting], who: Cast, episodes: Sequence[Episode], losses: Sequence[Window], span: int
) -> list[str]:  # fmt: skip
    """Lines of text: where things were when they came, by what came of it."""
    if not found or who.own is None:
        return []
    axis, name = who.axes[0], who.own.name
    rows = []
    for slot in dict.fromkeys(m.slot for m in found):
        mine = [m for m in found if m.slot == slot]
        lost = [m for m in mine if not m.turned and _soon(m, losses, span)]
        kinds = {
            "passed, then a loss": lost, "passed, no loss": [m for m in mine if not m.turned and m not in lost],
            "met and turned": [m for m in mine if m.turned],
        }  # fmt: skip
        gainful = _before_gains(mine, episodes)
        if len(gainful) < len(kinds["met and turned"]):
            kinds["the last met before a gain"] = gainful
        for kind, of in kinds.items():
            if len(of) >= FEWEST:
                gaps = np.array([m.gap for m in of])
                low, middle, high = (signed(v) for v in np.percentile(gaps, (5, 50, 95)).tolist())
                beyond = [m.missed for m in of if m.missed > 0]
                missed = f"{len(beyond)}, by {number(np.median(beyond).item())}" if beyond else "0"
                rows.append([f"{slot.name} {kind}", str(len(of)), low, middle, high, missed])
    if not rows:
        return []
    less, more = SIDES[axis]
    reach = number(float(np.median([m.reach for m in found])))
    return [
        f"Where things were when they came to {name}: px along {AXES[axis]}, - is {less} of it and + {more} of it; "
        f"within {reach} they touch.",
        *table(["what came of it", "n", "5 %", "median", "95 %", "beyond reach, by (median)"], rows),
    ]


def _soon(m: Meeting, losses: Sequence[Window], span: int) -> bool:
    return any(w.moment.episode == m.episode and m.step - 1 <= w.last <= m.step + span for w in losses)


def _before_gains(mine: Sequence[Meeting], episodes: Sequence[Episode]) -> list[Meeting]:
    """The last meeting that turned a thing before each gain; none where nearly every step gains."""
    found = []
    for i, e in enumerate(episodes):
        change = e.rewards()
        turned = [m for m in mine if m.episode == i and m.turned]
        if turned and not dense(change):
            steps = np.array([m.step for m in turned])
            last = np.searchsorted(steps, np.flatnonzero(change > 0), "right") - 1
            found += [turned[k] for k in np.unique(last[last >= 0]).tolist()]
    return found
