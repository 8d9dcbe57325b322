"""Which things of a scene matter in a batch of episodes, and how two of them stand to each other.

Knows: scene vectors, their schema, the actions taken. Does not know: the task, failures, the policy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_flywheel.episodes.episode import Episode
from perception.scene import SLOT, SceneSchema

Array = NDArray[Any]
OFTEN = 0.3  # share of steps from which on a slot counts as normally there
ANSWERS = 0.1  # share of its movement that the actions explain, from which on a thing is taken for one's own
LARGE = 1e6
MOST_STEPS = 20_000  # enough to tell
FAINT = 0.02  # `sure` below which a thing that is not seen is not there either


class Slot(NamedTuple):
    """One slot of the scene: `ball`, `enemy[2]`; `at` is where it starts in the vector."""

    name: str
    at: int


class Body(NamedTuple):
    """A slot at one step: px, px per agent step."""

    seen: bool
    x: float
    y: float
    w: float
    h: float
    vx: float
    vy: float
    sure: float

    @property
    def there(self) -> bool:
        """Seen, or carried on by the tracker."""
        return self.seen or self.sure > FAINT


def body(vector: Array, slot: Slot) -> Body:
    """The slot in one scene vector."""
    values = vector[slot.at : slot.at + SLOT].tolist()
    return Body(values[0] > 0.5, *values[1:])


def finite(scenes: Array) -> Array:
    """float64 of the same shape in which every value can be reckoned with: NaN is 0, the rest within a million."""
    return np.clip(np.nan_to_num(scenes.astype(np.float64)), -LARGE, LARGE)


def slots_of(schema: SceneSchema) -> list[Slot]:
    """Every slot in the order of the schema."""
    return [
        Slot(thing.name if thing.count == 1 else f"{thing.name}[{i}]", schema.slot(thing.name, i).start)
        for thing in schema.things
        for i in range(thing.count)
    ]


@dataclass(frozen=True)
class Cast:
    """The slots that are normally there (`main`), and the one that answers to the actions (`own`), if any.

    `axes`: along which it does, 0 for x, 1 for y.
    """

    main: tuple[Slot, ...]
    own: Slot | None = None
    axes: tuple[int, ...] = (0, 1)

    def nearest(self, vector: Array) -> tuple[Slot, Body] | None:
        """Of the other slots that are there, the one nearest to one's own; without such, the first main one."""
        mine = body(vector, self.own) if self.own else None
        found = [(slot, body(vector, slot)) for slot in self.main if slot != self.own]
        found = [(slot, b) for slot, b in found if b.there]
        if not found:
            return None
        if mine is None or not mine.there:
            return found[0]
        return min(found, key=lambda sb: (sb[1].x - mine.x) ** 2 + (sb[1].y - mine.y) ** 2)

    def all_seen(self, scenes: Array) -> NDArray[np.bool_]:
        """Per step of `scenes` [T, size], whether every main slot was detected."""
        seen = np.ones(len(scenes), bool)
        for slot in self.main:
            seen &= scenes[:, slot.at] > 0.5
        return seen


def cast(schema: SceneSchema, episodes: Sequence[Episode]) -> Cast:
    """Who matters in these episodes."""
    slots = slots_of(schema)
    steps = sum(len(e) for e in episodes)
    shares = {s: sum(int((e.scenes[:, s.at] > 0.5).sum()) for e in episodes) / max(1, steps) for s in slots}
    required = {t.name for t in schema.things if t.required}
    main = [s for s in slots if shares[s] >= OFTEN or s.name in required]
    answers = {slot: _answers(slot, episodes) for slot in main}
    own = max(main, key=lambda s: max(answers[s]), default=None)
    if own is None or max(answers[own]) < ANSWERS:
        return Cast(tuple(main))
    axes = tuple(axis for axis in (0, 1) if answers[own][axis] >= ANSWERS)
    return Cast(tuple(main), own, axes)


def _answers(slot: Slot, episodes: Sequence[Episode]) -> tuple[float, float]:
    """The share of a slot's movement in x and in y that the action of the step before explains, 0 to 1."""
    moves, actions = [np.zeros((0, 2))], [np.zeros(0, int)]
    left = MOST_STEPS
    for episode in episodes:
        scenes = finite(episode.scenes[:left])
        left -= len(scenes)
        if len(scenes) < 2:
            continue
        both = (scenes[1:, slot.at] > 0.5) & (scenes[:-1, slot.at] > 0.5)
        moves.append(np.diff(scenes[:, slot.at + 1 : slot.at + 3], axis=0)[both])
        actions.append(episode.actions[: len(scenes) - 1][both].astype(int))
    moved, did = np.concatenate(moves), np.concatenate(actions)
    whole = ((moved - moved.mean(axis=0)) ** 2).sum(axis=0) if len(moved) else np.zeros(2)
    if not whole.max() > 0.0:
        return 0.0, 0.0
    counts = np.bincount(did)
    between = np.zeros(2)
    for action in np.flatnonzero(counts).tolist():
        between += counts[action] * (moved[did == action].mean(axis=0) - moved.mean(axis=0)) ** 2
    x, y = (between / np.where(whole > 0, whole, 1.0)).tolist()
    return x, y


def apart(scenes: Array, own: Slot, other: Slot) -> Array:
    """float64[T]: how far apart two slots are in units of their joint half sizes; inf where one is not there.

    In these units a long thin bat is missed by as much from either side; 1 on both axes is a touch.
    """
    values = finite(scenes)
    mine, its = values[:, own.at : own.at + SLOT], values[:, other.at : other.at + SLOT]
    reach = np.maximum(1.0, (mine[:, 3:5] + its[:, 3:5]) / 2)
    gap = (((its[:, 1:3] - mine[:, 1:3]) / reach) ** 2).sum(axis=1)
    there = np.ones(len(values), bool)
    for slot in (mine, its):
        there &= (slot[:, 0] > 0.5) | (slot[:, 7] > FAINT)
    return np.where(there, np.sqrt(gap), np.inf)


def side(name: str, other: Body, own_name: str, own: Body, axes: Sequence[int]) -> str:
    """On which side of one's own thing another is, along `axes`: "ball right of paddle", "ball level with paddle"."""
    reach_x, reach_y = max(1.0, (other.w + own.w) / 2), max(1.0, (other.h + own.h) / 2)
    words = []
    if 0 in axes and abs(other.x - own.x) > reach_x:
        words.append("right of" if other.x > own.x else "left of")
    if 1 in axes and abs(other.y - own.y) > reach_y:
        words.append("below" if other.y > own.y else "above")
    return f"{name} {' and '.join(words) or 'level with'} {own_name}"


def place(b: Body, crop: tuple[int, int, int, int]) -> str:
    """The ninth of the looked-at part of the frame in which a thing is: "left bottom"."""
    top, left, bottom, right = crop
    across = ("left", "middle", "right")[_third(b.x, left, right)]
    down = ("top", "middle", "bottom")[_third(b.y, top, bottom)]
    return f"{across} {down}"


def _third(value: float, low: float, high: float) -> int:
    share = (value - low) / (high - low)
    return 0 if share < 1 / 3 else 2 if share > 2 / 3 else 1
