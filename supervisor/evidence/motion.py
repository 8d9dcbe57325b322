"""What the actions move: which thing, by how much a step, after how many steps; measured on recorded episodes.

A thing may only seem to obey because the policy follows it, or because both follow something else. So an action
counts as a cause where knowing it foretells the next movement better than the thing's own past movement does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from data_flywheel.episodes.episode import Episode
from envs.actions import ActionSpace, Discrete
from perception.scene import SceneSchema
from supervisor.evidence.context import clean, number, signed, table
from supervisor.evidence.moments import Array, Cast, numbers_of, slots_of

LATEST = 4  # steps whose actions may show themselves in a movement, its own the first
PAST = 3  # movements before, from which the next one could be told without the action
SURE = 0.1  # share of what the past leaves open that the action must explain ...
FEWEST = 60  # ... over at least so many steps
STILL = 1e-9
LASTS = 0.5  # of the strongest answer left after LATEST steps, from which on an action is taken to change the speed
ALONE = 0.4  # share of the movement that actions must tell by themselves to be taken for what moves a thing
ALIKE = 0.8  # cosine of what the two halves of the steps tell
EACH = 12  # steps of one cell of the table
CHANCE = 12.0  # F from which on a share is no chance
HELD = 4  # steps for which an action is held that have a column of their own; the last: and longer
HEAD = ("action", "1st step", "2nd", "3rd", "4th and later")
FEW = 3  # actions in use up to which a line is told for each one after each other
MOST, ROWS = 3, 8  # things, lines of each
MOST_STEPS = 40_000


class Signal(NamedTuple):
    """One number of the scene over all steps of one episode; `turn`: the period of a number that wraps, else 0."""

    name: str
    unit: str
    values: Array  # float64[T]
    seen: Array  # bool[T]
    turn: float = 0.0


@dataclass(frozen=True)
class Answer:
    """A signal that answers to the actions. `pushed`: they change its speed, else its place. `late`: steps between an
    action and what shows most of it. `share`: of what its past leaves open, explained."""

    name: str
    unit: str
    pushed: bool
    late: int
    share: float
    pulse: Array  # float64[n, k]: what one step of each action but the first, or of one more of each control, adds
    n: int
    steps: tuple[Array, ...]  # float64[T - 1] an episode: movement from each step to the next (its change); NaN unknown

    @property
    def what(self) -> str:
        """What the table tells of it."""
        return f"{self.name}, change of its speed in {self.unit}" if self.pushed else f"{self.name}, {self.unit}"


def signals(schema: SceneSchema, who: Cast, episode: Episode) -> Iterator[Signal]:
    """Places of the main things, fields of readings, and the middles of grids whose cells change."""
    scenes = np.clip(np.nan_to_num(episode.scenes.astype(np.float64)), -1e6, 1e6)
    main = {slot.name for slot in who.main}
    for slot in slots_of(schema):
        if slot.name in main:
            seen = scenes[:, slot.at] > 0.5
            yield Signal(f"{slot.name} x", "px", scenes[:, slot.at + 1], seen)
            yield Signal(f"{slot.name} y", "px", scenes[:, slot.at + 2], seen)
    for n in numbers_of(schema):
        turn = n.spec.high - n.spec.low if n.spec.wrap else 0.0
        yield Signal(n.name, n.spec.unit or "units", scenes[:, n.at], scenes[:, n.seen] > 0.5, turn)
    for grid in schema.grids:
        cells = scenes[:, schema.grid(grid.name)].reshape(-1, grid.rows, grid.cols) > 0.5
        count = cells.sum(axis=(1, 2))
        for axis, name in ((2, "row"), (1, "column")):
            there = cells.any(axis=axis)
            places = there @ np.arange(there.shape[1]) / np.maximum(1, there.sum(axis=1))
            yield Signal(f"{grid.name} middle {name}", "cells", places, count > 0)


def movement(signal: Signal) -> Array:
    """float64[T - 1]: from each step to the next, NaN where it was not seen at both."""
    way = np.diff(signal.values)
    if signal.turn:
        way = (way + signal.turn / 2) % signal.turn - signal.turn / 2
    return np.where(signal.seen[1:] & signal.seen[:-1], way, np.nan)


def answers(schema: SceneSchema, actions: ActionSpace, who: Cast, episodes: Sequence[Episode]) -> list[Answer]:
    """Everything that surely answers to the actions, the surest first."""
    columns: dict[tuple[str, str], list[tuple[Array, Array]]] = {}
    left = MOST_STEPS
    for e in episodes:
        part = min(left, len(e))
        left -= part
        if part > LATEST + PAST + 2:
            did = _coded(e.actions[:part], actions)
            for s in signals(schema, who, e):
                columns.setdefault((s.name, s.unit), []).append((movement(s)[: part - 1], did[: part - 1]))
    found = [made for (name, unit), parts in columns.items() if (made := _answer(name, unit, parts))]
    return sorted(found, key=lambda a: -a.share)


def _coded(did: Array, actions: ActionSpace) -> Array:
    """float64[T, n]: which action, one of n, less the first one; of controls their values."""
    if isinstance(actions, Discrete):
        return np.eye(len(actions.names))[did.astype(int)][:, 1:]
    return np.asarray(did, np.float64)


def _answer(name: str, unit: str, parts: Sequence[tuple[Array, Array]]) -> Answer | None:
    past, did, y = _lagged(parts)
    share = _foretold(past, did, y)
    if share < SURE:
        return None
    pulse = _pulse(past, did, y)
    pushed, late = _shape(pulse)
    if not pushed and _told(did, y) < ALONE:  # noise hides what stays of a push
        return None
    half = len(y) // 2
    for part in (slice(half), slice(half, None)):  # sure is what each half of the steps tells by itself
        again = _pulse(past[part], did[part], y[part])
        alike = float((again * pulse).sum()) > ALIKE * float(np.linalg.norm(again) * np.linalg.norm(pulse))
        if not alike or _shape(again)[0] != pushed or abs(_shape(again)[1] - late) > 1:
            return None
    steps = [np.diff(way, prepend=np.nan) if pushed else way for way, _ in parts]
    return Answer(name, unit, pushed, late, share, pulse, len(y), tuple(steps))


def _shape(pulse: Array) -> tuple[bool, int]:
    """Whether an action changes the speed (what it adds stays), and after how many steps most of it shows."""
    sizes = np.abs(pulse @ pulse[int(np.argmax(np.linalg.norm(pulse, axis=1)))])  # along the strongest answer
    pushed = float(sizes[LATEST:].mean()) > LASTS * float(sizes.max())
    return pushed, int(np.argmax(np.abs(np.diff(sizes, prepend=0.0)) if pushed else sizes))


def _lagged(parts: Sequence[tuple[Array, Array]]) -> tuple[Array, Array, Array]:
    """(movements before [n, PAST], the actions of this step and those before [n, LATEST * k], movements [n]), none of
    them unknown."""
    past, did, y = [], [], []
    first = max(PAST, LATEST - 1)
    for way, doing in parts:
        n = len(way)
        past.append(np.stack([way[first - k - 1 : n - k - 1] for k in range(PAST)], axis=1))
        did.append(np.column_stack([doing[first - k : n - k] for k in range(LATEST)]))
        y.append(way[first:])
    before, actions, now = np.concatenate(past), np.concatenate(did), np.concatenate(y)
    whole = np.isfinite(before).all(axis=1) & np.isfinite(now)
    return before[whole], actions[whole], now[whole]


def _foretold(past: Array, did: Array, y: Array) -> float:
    """The share of what a signal's past leaves open that the actions foretell; 0 where that may be chance."""
    if len(y) < FEWEST or not y.std() > STILL * max(1.0, float(np.abs(y).max())):
        return 0.0
    alone = np.column_stack([np.ones(len(y)), past])
    before, after = _left(alone, y), _left(np.column_stack([alone, did]), y)
    if before <= STILL * len(y) * float(np.square(y).mean()):
        return 0.0
    beyond = (before - after) / did.shape[1] > CHANCE * after / max(1, len(y) - did.shape[1])
    return (before - after) / before if beyond else 0.0


def _pulse(past: Array, did: Array, y: Array) -> Array:
    """float64[2 * LATEST, k]: what one step of each action adds to the movement of that step and of those after it."""
    fit = np.linalg.lstsq(np.column_stack([past, did, np.ones(len(y))]), y, rcond=None)[0]
    own, direct = fit[:PAST], fit[PAST:-1].reshape(LATEST, -1)
    pulse = np.zeros((2 * LATEST, direct.shape[1]))
    for k in range(len(pulse)):
        pulse[k] = direct[k] if k < LATEST else 0.0
        for i in range(min(k, PAST)):
            pulse[k] += own[i] * pulse[k - 1 - i]
    return pulse


def _told(did: Array, y: Array) -> float:
    """The share of the movements that the actions tell by themselves."""
    return 1.0 - _left(np.column_stack([np.ones(len(y)), did]), y) / _left(np.ones((len(y), 1)), y)


def _left(x: Array, y: Array) -> float:
    """The sum of squares that a linear fit leaves."""
    fit = np.linalg.lstsq(x, y, rcond=None)[0]
    return float(((y - x @ fit) ** 2).sum())


# ----------------------------------------------------------------------------------------------------
# The table.


def told(schema: SceneSchema, actions: ActionSpace, who: Cast, episodes: Sequence[Episode]) -> list[str]:
    """Lines of text, the surest thing first."""
    found = answers(schema, actions, who, episodes)
    if not found:
        return ["Nothing surely answers to the actions in these episodes."]
    steps = min(MOST_STEPS, sum(len(e) for e in episodes))
    lines = [
        f"Measured on {steps} steps; only what surely answers. Each number is the movement from the step at which the "
        "action is taken to the next one."
    ]
    for a in found[:MOST]:
        late = "at once" if not a.late else f"{a.late} step{'s' * (a.late > 1)} late"
        how = "Actions change its speed" if a.pushed else "Actions move it"
        lines += ["", f"{a.name}: {how}; most of it shows {late} (explains {number(100 * a.share)} % of what its "
                  "past leaves open)."]  # fmt: skip
        lines += _held(a, actions, episodes) if isinstance(actions, Discrete) else _slopes(a, actions)
    rest = [a.name for a in found[MOST:]]
    return lines + ([f"Also answers: {', '.join(rest[:8])}."] if rest else [])


def _held(a: Answer, actions: Discrete, episodes: Sequence[Episode]) -> Iterator[str]:
    """A line for each action, after each other one where few are used: the movement in each step of holding it."""
    used = sorted({int(v) for e in episodes for v in np.unique(e.actions)})
    cells: dict[tuple[int, int], list[list[Array]]] = {}
    for e, moved in zip(_long(episodes), a.steps, strict=True):
        did = e.actions[: len(moved)].astype(int)
        first = np.flatnonzero(np.diff(did, prepend=-1) != 0)
        since = np.arange(len(did)) - np.repeat(first, np.diff(np.append(first, len(did))))
        before = np.concatenate([[-1], did])[np.repeat(first, np.diff(np.append(first, len(did))))]
        for now in used:
            for then in used if len(used) <= FEW else (-1,):
                here = (did == now) & ((before == then) | (then < 0)) & np.isfinite(moved)
                cell = cells.setdefault((now, then), [[] for _ in range(HELD)])
                for k in range(HELD):
                    cell[k].append(moved[here & (since == k if k < HELD - 1 else since >= k)])
    rows = []
    for (now, then), parts in cells.items():
        values = [np.concatenate(part) for part in parts]
        if any(len(v) >= EACH for v in values):
            name = clean(actions.names[now]) + (f" after {clean(actions.names[then])}" if then >= 0 else "")
            rows.append((sum(map(len, values)), [name, *(_cell(v, a.pushed) for v in values)]))
    unit = f"{a.unit} a step" + " each step" * a.pushed
    kept = [row for _, row in sorted(rows, key=lambda r: -r[0])[:ROWS]]
    columns = [k for k in range(len(HEAD)) if any(row[k] != "-" for row in kept)]
    what = "Mean with its error" if a.pushed else "Median, the middle half of the cases"
    yield f"{what}, and their number, in {unit}, by how long the action has been held:"
    yield from table([HEAD[k] for k in columns], [[row[k] for k in columns] for row in kept])


def _cell(values: Array, pushed: bool) -> str:
    """The middle of the movements; of pushes, which noise hides in every single step, the mean and twice its standard
    error."""
    if len(values) < EACH:
        return "-"
    if pushed:
        mean, error = float(values.mean()), 2.0 * float(values.std()) / len(values) ** 0.5
        digits = _digits(np.array([mean, error]))
        return f"{signed(mean, digits)} ±{number(error, digits)} n {len(values)}"
    low, middle, high = np.percentile(values, (25, 50, 75)).tolist()
    digits = _digits(values)
    return f"{signed(middle, digits)} [{signed(low, digits)}, {signed(high, digits)}] n {len(values)}"


def _digits(values: Array) -> int:
    """Decimals for numbers of this size: two figures or so."""
    size = float(np.percentile(np.abs(values), 90))
    return int(np.clip(1 - np.floor(np.log10(max(size, 1e-9))), 0, 6))


def _slopes(a: Answer, actions: ActionSpace) -> Iterator[str]:
    """By how much one more of each control moves it, what came before allowed for."""
    ways = a.pulse[a.late : a.late + PAST].mean(axis=0) if a.pushed else a.pulse.sum(axis=0)
    unit = f"{a.unit} a step" + " each step" * a.pushed
    each = ", ".join(
        f"one more of {clean(name)} {signed(slope, _digits(np.array([slope])) + 1)}"
        for name, slope in zip(actions.names, ways.tolist(), strict=True)
    )
    yield f"In {unit}, while it is held, about: {each} (n {a.n})."


def _long(episodes: Sequence[Episode]) -> Iterator[Episode]:
    """The episodes that `answers` has looked at."""
    left = MOST_STEPS
    for e in episodes:
        part = min(left, len(e))
        left -= part
        if part > LATEST + PAST + 2:
            yield e
