"""The steps before a failure, and what they have in common with those before other failures.

Knows: one moment, its episode, which things matter. Does not know: the other failures, how a window is told or drawn.

The cause of a loss comes before it shows: a ball that was missed leaves the screen some steps later. So a window is
centred on its anchor, the last step at which everything that matters was seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_flywheel.episodes.episode import Episode
from perception.scene import SceneSchema
from supervisor.evidence.moments import DROUGHT, LASTING, SUDDEN, Moment, Usual, dry_spells
from supervisor.evidence.things import Cast, Slot, apart, body, place, side

Array = NDArray[Any]
UNSURE = 0.6
FAR = 3.0  # joint half sizes
PART = 0.25  # share of a window from which on something is typical of it
WAVER = 0.5  # changes of action per step
# What a window is described by, and how much each counts as a hint of the cause.
WEIGHTS = {
    "fault": 4.0, "rule": 3.0, "sight": 3.0, "reason": 2.0, "nearest": 2.0, "turned": 1.0, "actions": 1.5, "dry": 1.0,
    "distance": 1.0, "place": 1.0,
}  # fmt: skip


@dataclass(frozen=True)
class Meeting:
    """When another thing came nearest to one's own: the step, the slot, the px between them."""

    step: int
    slot: Slot
    dx: float
    dy: float
    far: bool


@dataclass(frozen=True)
class Window:
    """Steps `first` to `last` of an episode; features by name ("" when there is nothing to say), in plain words."""

    moment: Moment
    first: int
    anchor: int
    last: int
    features: dict[str, str]
    meeting: Meeting | None = None

    @property
    def gap(self) -> tuple[float, float]:
        """px from one's own thing to the other at the meeting; (0, 0) when there was none."""
        return (self.meeting.dx, self.meeting.dy) if self.meeting else (0.0, 0.0)


def window(moment: Moment, episode: Episode, schema: SceneSchema, who: Cast, normal: Usual, span: int) -> Window:
    """The window of a failure and its features."""
    anchor = _anchor(moment, episode, who, span)
    first = moment.first if moment.kind in LASTING else max(0, anchor - span)
    part = slice(first, anchor + 1)
    looked = part if moment.step - anchor <= span else slice(anchor + 1, moment.step + 1)  # lost for long: that is it
    features = dict.fromkeys(WEIGHTS, "") | {
        "fault": _most(episode.faults[part], episode.fault_table),
        "rule": _most(episode.overruled[part], episode.overruled_table),
        "sight": _sight(episode.scenes[looked], who),
        "reason": _most(episode.reasons[part], episode.reason_table),
        "actions": _actions(episode.actions[part]),
        "dry": _dry(int(dry_spells(episode)[moment.step]), normal) if moment.kind != DROUGHT else "",
    }
    near, met = who.nearest(episode.scenes[anchor]), None
    if near:
        slot = near[0]
        met = _meeting(episode.scenes, max(first, anchor - span // 2), anchor, who, slot)
        at = episode.scenes[met.step if met else anchor]
        features["place"] = f"{slot.name} at the {place(body(at, slot), schema.crop)}"
        features["turned"] = _turned(episode.scenes[part], slot)
        if met and who.own:
            features["nearest"] = side(slot.name, body(at, slot), who.own.name, body(at, who.own), who.axes)
            features["distance"] = "missed by far" if met.far else "missed narrowly"
    return Window(moment, first, anchor, moment.step, features, met)


def _meeting(scenes: Array, first: int, last: int, who: Cast, slot: Slot) -> Meeting | None:
    """The step from `first` to `last` at which `slot` was nearest to one's own."""
    if who.own is None:
        return None
    gaps = apart(scenes[first : last + 1], who.own, slot)
    if not np.isfinite(gaps).any():
        return None
    step = first + int(gaps.argmin())
    mine, other = body(scenes[step], who.own), body(scenes[step], slot)
    return Meeting(step, slot, other.x - mine.x, other.y - mine.y, bool(gaps.min() > FAR))


def _anchor(moment: Moment, episode: Episode, who: Cast, span: int) -> int:
    """The last step before a loss at which all was seen; the step itself for failures of any other kind."""
    if moment.kind not in SUDDEN:
        return moment.step
    first = max(0, moment.step - 2 * span)
    seen = np.flatnonzero(who.all_seen(episode.scenes[first : moment.step + 1]))
    return first + int(seen[-1]) if len(seen) else moment.step


def _most(ids: Array, table: Sequence[str]) -> str:
    """The most frequent text but "", the first of several."""
    counts = np.bincount(ids, minlength=len(table))
    counts[0] = 0
    return table[int(counts.argmax())]


def _sight(scenes: Array, who: Cast) -> str:
    """The main thing that was seen worst, and how."""
    worst, said = PART, "everything seen"
    for slot in who.main:
        seen, sure = scenes[:, slot.at] > 0.5, scenes[:, slot.at + 7]
        for share, how in (
            (np.mean(~seen & (sure <= 0.02)), "not seen"), (np.mean(~seen & (sure > 0.02)), "lost, carried on"),
            (np.mean(seen & (sure < UNSURE)), "unsure"),
        ):  # fmt: skip
            if share > worst:
                worst, said = float(share), f"{slot.name} {how}"
    return said if who.main else ""


def _actions(actions: Array) -> str:
    if len(actions) < 4:
        return ""
    changes = int(np.count_nonzero(np.diff(actions)))
    if not changes:
        return "one action throughout"
    return "action wavers" if changes > WAVER * len(actions) else "action mostly steady"


def _turned(scenes: Array, slot: Slot) -> str:
    """Whether a thing reversed while it was seen."""
    seen = scenes[scenes[:, slot.at] > 0.5]
    ways = []
    for column, across in ((slot.at + 5, "sideways"), (slot.at + 6, "up or down")):
        speed = seen[:, column]
        signs = np.sign(speed[np.abs(speed) > 0.5])
        ways += [across] if np.any(signs[1:] != signs[:-1]) else []
    return f"{slot.name} turned {' and '.join(ways)}" if ways else f"{slot.name} did not turn"


def _dry(steps: int, normal: Usual) -> str:
    if steps < normal.dry / 4:
        return "reward shortly before"
    return "some time without reward" if steps < normal.dry else "long without reward"
