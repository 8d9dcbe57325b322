"""Where episodes went wrong, which things matter there, and what the steps before have in common."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_flywheel.episodes.episode import FAR_BELOW, Episode, dense, setbacks
from perception.scene import SLOT, FieldSpec, SceneSchema

# ----------------------------------------------------------------------------------------------------
# Which things of a scene matter in a batch of episodes, and how two of them stand to each other.


Array = NDArray[Any]
OFTEN = 0.3  # share of steps from which on a slot counts as normally there
CONTROLS = 4  # of a vector action that are looked at for what answers to them
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


class Seen(NamedTuple):
    """Where one slot of a scene vector says that it was seen, and how sure that is. `carried`: by a tracker, if not."""

    name: str
    seen: int
    sure: int
    carried: bool = True


class Number(NamedTuple):
    """One field of a reading: `pole angle`; `at` is where it stands in the vector, `seen` where its reading's `seen`
    does."""

    name: str
    at: int
    seen: int
    spec: FieldSpec


def numbers_of(schema: SceneSchema) -> list[Number]:
    """Every field of every reading in the order of the schema."""
    return [
        Number(f"{reading.name} {f.name}", schema.slot(reading.name).start + 1 + i, schema.slot(reading.name).start, f)
        for reading in schema.readings
        for i, f in enumerate(reading.fields)
    ]


@dataclass(frozen=True)
class Cast:
    """The slots that are normally there (`main`), and the one that answers to the actions (`own`), if any.

    `axes`: along which it does, 0 for x, 1 for y. `read`: the readings that are normally seen.
    """

    main: tuple[Slot, ...]
    own: Slot | None = None
    axes: tuple[int, ...] = (0, 1)
    read: tuple[Seen, ...] = ()

    @property
    def watched(self) -> tuple[Seen, ...]:
        """What is normally seen: main slots, then readings."""
        return (*(Seen(s.name, s.at, s.at + SLOT - 1) for s in self.main), *self.read)

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
        """Per step of `scenes` [T, size], whether everything that is normally seen was."""
        seen = np.ones(len(scenes), bool)
        for slot in self.watched:
            seen &= scenes[:, slot.seen] > 0.5
        return seen


def cast(schema: SceneSchema, episodes: Sequence[Episode]) -> Cast:
    """Who matters in these episodes."""
    steps = sum(len(e) for e in episodes)

    def often(at: int) -> bool:
        return sum(int((e.scenes[:, at] > 0.5).sum()) for e in episodes) / max(1, steps) >= OFTEN

    required = {t.name for t in schema.things if t.required} | {r.name for r in schema.readings if r.required}
    main = [s for s in slots_of(schema) if s.name in required or often(s.at)]
    slots = [(r.name, schema.slot(r.name)) for r in schema.readings]
    read = tuple(Seen(n, s.start, s.stop - 1, carried=False) for n, s in slots if n in required or often(s.start))
    answers = {slot: _answers(slot, episodes) for slot in main}
    own = max(main, key=lambda s: max(answers[s]), default=None)
    if own is None or max(answers[own]) < ANSWERS:
        return Cast(tuple(main), read=read)
    axes = tuple(axis for axis in (0, 1) if answers[own][axis] >= ANSWERS)
    return Cast(tuple(main), own, axes, read)


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
        actions.append(_coded(episode.actions[: len(scenes) - 1][both]))
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


def _coded(actions: Array) -> Array:
    """int[T]: an action's number; of a vector, which of its first controls push up, down or hardly at all."""
    if actions.ndim == 1:
        return actions.astype(int)
    first = actions[:, :CONTROLS]
    push = 1 + np.sign(np.where(np.abs(first) > 0.1 * np.abs(first).max(initial=1e-9), first, 0.0)).astype(int)
    return np.asarray(push @ 3 ** np.arange(push.shape[1]))


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


# ----------------------------------------------------------------------------------------------------
# Where episodes went wrong, from their records alone.


FAULT, LIFE, POINTS, EARLY, LOW, TIMEOUT, DROUGHT, COSTLY, RULES = (
    "fault", "life lost", "points lost", "ended early", "low score", "time-out without progress",
    "long without reward", "costliest stretch", "many interventions",
)  # fmt: skip
SEVERITY = {FAULT: 4, LIFE: 3, POINTS: 3, EARLY: 3, LOW: 3, TIMEOUT: 2, DROUGHT: 2, COSTLY: 2, RULES: 1}
SUDDEN = (LIFE, POINTS, EARLY)  # kinds that show some steps after their cause
LASTING = (LOW, TIMEOUT, DROUGHT, COSTLY)  # kinds that have no single moment
FEW_EPISODES = 4  # below it, nobody can tell which score is low
DRY = 5.0  # times the usual number of steps between rewards
EVEN = 0.05  # share of the usual reward by which steps differ where one stretch costs no more than another


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


class Norm(NamedTuple):
    """Where a number usually is in a batch: its median (of a field that wraps, the mean direction), and how far from it
    every step was, in order."""

    number: Number
    middle: float
    apart: Array

    def beyond(self, off: float) -> float:
        """The share of steps that were at least so far out, on the same side (of a field that wraps, on either)."""
        if self.number.spec.wrap:
            return float(np.mean(np.abs(self.apart) >= abs(off)))
        return float(np.mean(self.apart >= off if off > 0 else self.apart <= off))


@dataclass(frozen=True)
class Usual:
    """What is normal in a batch: how many steps without any event are long, below which score an episode is low, where
    the fields of readings are."""

    dry: int
    low: float | None = None
    norms: tuple[Norm, ...] = ()


def lost_lives(episode: Episode) -> Array:
    """int64[T]: lives lost at each step."""
    lives = episode.lives.astype(np.int64)
    return np.maximum(-np.diff(lives, prepend=lives[:1]), 0)


def dry_spells(episode: Episode) -> Array:
    """int64[T]: steps since the last reward above 0, before it is taken; since the start if there was none."""
    steps = np.arange(len(episode))
    won = np.concatenate([[-1], np.where(episode.rewards() > 0, steps, -1)])[: len(episode)]
    return steps - np.maximum.accumulate(won) - 1


def _events(episode: Episode) -> Array:
    """Steps at which the score changed or a life was lost."""
    return np.flatnonzero((episode.rewards() != 0) | (lost_lives(episode) > 0))


def values_of(number: Number, scenes: Array) -> Array:
    """float64[n]: a field at the steps of scenes [T, size] at which its reading was seen."""
    return finite(scenes[scenes[:, number.seen] > 0.5, number.at])


def norms(schema: SceneSchema, episodes: Sequence[Episode]) -> tuple[Norm, ...]:
    """Of every field that was seen in these episodes."""
    found = []
    for number in numbers_of(schema):
        values = np.concatenate([np.zeros(0), *(values_of(number, e.scenes) for e in episodes)])
        if len(values):
            middle = _middle(number.spec, values)
            found.append(Norm(number, middle, np.sort(number.spec.away(values, middle))))
    return tuple(found)


def _middle(spec: FieldSpec, values: Array) -> float:
    if not spec.wrap:
        return float(np.median(values))
    turn = (spec.high - spec.low) / (2 * np.pi)
    across, along = np.sin((values - spec.low) / turn).mean(), np.cos((values - spec.low) / turn).mean()
    return spec.low + float(np.arctan2(across, along) % (2 * np.pi)) * turn


def usual(episodes: Sequence[Episode], span: int, schema: SceneSchema | None = None) -> Usual:
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
    return Usual(max(4 * span, round(typical)), low, norms(schema, episodes) if schema else ())


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
    change, lives = e.rewards(), lost_lives(e)
    for step in np.flatnonzero(lives).tolist():
        yield Moment(i, step, LIFE, step, int(lives[step]))
    change = setbacks(change)
    for first, last in _groups(np.flatnonzero(change < 0), 4):
        lost = change[first : last + 1]
        yield Moment(i, first, POINTS, first, max(1, round(float(-lost[lost < 0].sum()))))
    for first, last in _groups(np.flatnonzero(e.faults), span):
        yield Moment(i, first, FAULT, first, int(np.count_nonzero(e.faults[first : last + 1])))
    for first, last in _groups(np.flatnonzero(e.overruled), span // 2):
        count = int(np.count_nonzero(e.overruled[first : last + 1]))
        if count >= max(4, span // 4):
            yield Moment(i, first, RULES, first, count)
    yield from _droughts(e, i, normal, most_frames)
    yield from _dense(e, i, span, most_frames)
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


def _dense(e: Episode, i: int, span: int, most_frames: int) -> Iterator[Moment]:
    """Of an episode in which nearly every step changes the score: its end, when every step won something and it was
    not the clock that ended it; and where the least was won."""
    change = e.rewards()
    if not dense(change):
        return
    middle, last = float(np.median(change)), len(e) - 1
    timed = bool(e.meta.get("truncated")) or int(e.meta.get("frames", 0)) >= most_frames
    if middle > 0.0 and bool(e.meta.get("finished", True)) and not timed:
        yield Moment(i, last, EARLY, last)
    if len(e) >= 2 * span:
        sums = np.convolve(change, np.ones(span), "valid")
        first = int(sums.argmin())
        if float(change.mean()) - float(sums[first]) / span > EVEN * max(abs(middle), float(np.abs(change).mean())):
            yield Moment(i, first + span - 1, COSTLY, first, span)


# ----------------------------------------------------------------------------------------------------
# The steps before a failure, and what they have in common with those before other failures.
#
# The cause of a loss comes before it shows: a ball that was missed leaves the screen some steps later. So a window
# is centred on its anchor, the last step at which everything that matters was seen.


UNSURE = 0.6
FAR = 3.0  # joint half sizes
PART = 0.25  # share of a window from which on something is typical of it
WAVER = 0.5  # changes of action per step
TAIL = 0.05  # share of a batch's steps below which a field is far from where it usually is
STILL, ONE_WAY = 0.02, 0.7  # shares of a field's range; of the way that it went there and back
# What a window is described by, and how much each counts as a hint of the cause.
WEIGHTS = {
    "fault": 4.0, "rule": 3.0, "sight": 3.0, "reason": 2.0, "nearest": 2.0, "turned": 1.0, "actions": 1.5, "dry": 1.0,
    "distance": 1.0, "place": 1.0, "away": 2.0, "moved": 1.0,
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
        "dry": _dry(episode, moment, normal),
        "away": _away(episode.scenes[part if moment.kind in LASTING else slice(anchor, anchor + 1)], normal.norms),
        "moved": _moved(episode.scenes[part], normal.norms),
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
    """The main thing, or the reading, that was seen worst, and how."""
    worst, said = PART, "everything seen"
    for slot in who.watched:
        seen, sure = scenes[:, slot.seen] > 0.5, scenes[:, slot.sure]
        carried = ~seen & (sure > FAINT) & slot.carried
        for share, how in (
            (np.mean(~seen & ~carried), "not seen"), (np.mean(carried), "lost, carried on"),
            (np.mean(seen & (sure < UNSURE)), "unsure"),
        ):  # fmt: skip
            if share > worst:
                worst, said = float(share), f"{slot.name} {how}"
    return said if who.watched else ""


def _away(scenes: Array, usually: Sequence[Norm]) -> str:
    """The field that is farthest from where it usually is in the batch, by its median over these steps."""
    rarest, said = TAIL, "readings about where they usually are"
    for norm in usually:
        values = values_of(norm.number, scenes)
        if not len(values):
            continue
        off = float(np.median(norm.number.spec.away(values, norm.middle)))
        share = norm.beyond(off)
        if share < rarest:
            way = "from" if norm.number.spec.wrap else "above" if off > 0 else "below"
            rarest, said = share, f"{norm.number.name} far {way} its usual"
    return said if usually else ""


def _moved(scenes: Array, usually: Sequence[Norm]) -> str:
    """How the field that went farthest, for its range, has gone over these steps."""
    most, said = STILL, "readings hardly move"
    for number, *_ in usually:
        values = values_of(number, scenes)
        if len(values) < 2:
            continue
        way = np.concatenate([[0.0], np.cumsum(number.spec.away(values[1:], values[:-1]))])
        room = float(way.max() - way.min())
        if room / (number.spec.high - number.spec.low) > most:
            most, net = room / (number.spec.high - number.spec.low), float(way[-1])
            went = "goes to and fro" if abs(net) < ONE_WAY * room else "rises" if net > 0 else "falls"
            said = f"{number.name} {went}"
    return said if usually else ""


def _actions(actions: Array) -> str:
    if len(actions) < 4:
        return ""
    changes = int(np.diff(actions, axis=0).reshape(len(actions) - 1, -1).any(axis=1).sum())
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


def _dry(episode: Episode, moment: Moment, normal: Usual) -> str:
    if moment.kind == DROUGHT or dense(episode.rewards()):
        return ""
    steps = int(dry_spells(episode)[moment.step])
    if steps < normal.dry / 4:
        return "reward shortly before"
    return "some time without reward" if steps < normal.dry else "long without reward"


# ----------------------------------------------------------------------------------------------------
# Which steps of a window are worth telling, and which are worth showing.


FEW = 6  # fewer steps than this are spread evenly
LAST = 6  # steps at the end of what lasted long that are told one by one
LONGEST, NEAR, AGAIN = 1000, 1.5, 0.95  # steps of a round; px that make no difference; share of steps that repeat


def rounds(scenes: Array, who: Cast) -> int:
    """After how many steps everything that is normally there comes round again, at the end of scenes [T, size]; 0 where
    it does not."""
    columns = [at for slot in who.main for at in (slot.at + 1, slot.at + 2)]
    values = finite(scenes[-3 * LONGEST :, columns])
    n = len(values)
    if not columns or n < 16 or not (np.abs(np.diff(values, axis=0)) > NEAR).any():
        return 0
    for turn in range(2, min(LONGEST, n // 3) + 1):
        last = values[-2 * turn :]
        if np.mean((np.abs(last - values[-3 * turn : -turn]) <= NEAR).all(axis=1)) >= AGAIN:
            return turn if np.abs(np.diff(last, axis=0)).max() > NEAR else 0
    return 0


def table_steps(w: Window, rows: int) -> list[int]:
    """At most `rows` steps to tell: every one just before the anchor, a few after it, the failure; or evenly spread."""
    if rows < FEW or w.moment.kind in LASTING and w.last - w.first < 2 * rows:
        return _spread(w.first, w.last, rows)
    if w.moment.kind in LASTING:  # in large strides, then how it goes on from step to step
        last = min(LAST, rows // 2)
        return sorted({*_spread(w.first, w.last - last, rows - last), *range(w.last - last + 1, w.last + 1)})
    after = _spread(w.anchor, w.last, min(4, rows // 3 + 1))[1:]
    before = rows - len(after)
    dense = list(range(max(w.first, w.anchor - before + 1), w.anchor + 1))
    if dense[0] > w.first:  # the window is longer than the table: its beginning in larger strides
        half = before // 2
        dense = _spread(w.first, w.anchor - half, before - half) + dense[-half:]
    return sorted({*dense, *after})


def sheet_steps(w: Window, cells: int) -> list[int]:
    """At most `cells` steps to show: closer together towards the anchor, then the failure."""
    if w.moment.kind in LASTING or cells < FEW:
        return _spread(w.first, w.last, cells)
    ahead = cells - (2 if w.last > w.anchor + 1 else 1 if w.last > w.anchor else 0)
    back = w.anchor - w.first
    shares = [(i / max(1, ahead - 1)) ** 1.6 for i in range(ahead)]
    near = {max(w.first, w.anchor - max(i, round(back * share))) for i, share in enumerate(shares)}
    return sorted(near | {min(w.anchor + 1, w.last), w.last})


def _spread(first: int, last: int, most: int) -> list[int]:
    """At most `most` steps from `first` to `last`, both among them when most > 1; only the last when it is 1."""
    if most < 2 or first >= last:
        return [last]
    n = min(most, last - first + 1)
    return sorted({first + (last - first) * i // (n - 1) for i in range(n)})
