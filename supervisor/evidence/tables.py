"""What was said and overruled how often, and what came of it; and the steps of one failure, a line each."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from data_flywheel.episodes.episode import Episode, dense
from envs.actions import ActionSpace, Discrete
from envs.env import Rules
from perception.scene import SceneSchema
from supervisor.evidence.context import Context, clean, number, quoted, signed, table, varying
from supervisor.evidence.moments import (
    EARLY,
    FAINT,
    SUDDEN,
    UNSURE,
    Array,
    Cast,
    Number,
    Slot,
    Window,
    body,
    finite,
    lost_lives,
    numbers_of,
    table_steps,
    values_of,
)

# ----------------------------------------------------------------------------------------------------
# What was said and overruled how often, and what came of it: statistics per reason, per rule, per fault.


MOST = 24  # lines of a table; the rest is counted
SHOWN = 2  # of the most frequent companions
CHARS = 70  # of a reason or a rule's name


def statistics(
    episodes: Sequence[Episode], windows: Sequence[Window], actions: ActionSpace, schema: SceneSchema, span: int
) -> list[str]:
    """Lines of text, the most important first."""
    if not sum(len(e) for e in episodes):
        return ["No steps were recorded."]
    told = [*_before(episodes, windows, actions, span), *_rules(episodes, actions), *_faults(episodes)]
    return told + list(_readings(episodes, numbers_of(schema)))


def _before(
    episodes: Sequence[Episode], windows: Sequence[Window], actions: ActionSpace, span: int
) -> Iterator[str]:  # fmt: skip
    """What was said and done, over all and in the steps that led to losses and to gains."""
    losses = [w for w in windows if w.moment.kind in SUDDEN]
    each = any(dense(e.rewards()) for e in episodes)
    masks, gains = _around(episodes, losses, span)
    kinds = ["episodes that ended early"] * any(w.moment.kind == EARLY for w in windows)
    lost_what = ", ".join(["lives or points lost", *kinds])
    total = sum(map(len, episodes))
    parts = [f"Over all {total} steps"]
    parts += [f"in the {span} steps before a loss ({lost_what}: {len(losses)})"] * bool(losses)
    parts += [f"in the {span} steps before points won ({gains} steps)"] * bool(gains)
    yield f"{', '.join(parts)}: how often what was said and done."
    head = ["all", *["before losses", "at its last sight"] * bool(losses), *["before gains"] * bool(gains)]
    last = Counter(episodes[w.moment.episode].reason(w.anchor) for w in losses)
    rows = []
    rewards = _rewards_by_reason(episodes) if each else {}
    for text, shares in _shares(episodes, masks, lambda e: (e.reasons, e.reason_table)):
        known = [_share(shares[0]), *[_share(shares[1]), str(last[text])] * bool(losses)]
        known += [_share(shares[2])] * bool(gains) + [signed(rewards.get(text, 0.0), 3)] * each
        rows.append((shares[0], [*known, quoted(text, CHARS)]))
    yield from table([*head, *["a step"] * each, "reason"], [r for _, r in sorted(rows, key=lambda r: -r[0])][:MOST])
    yield from _rest(len(rows), "reasons")
    if isinstance(actions, Discrete):
        yield from _doings(episodes, masks, actions, bool(losses), bool(gains))


def _doings(
    episodes: Sequence[Episode], masks: Sequence[Masks], actions: Discrete, losses: bool, gains: bool
) -> Iterator[str]:  # fmt: skip
    """The same of actions, and of how often they change."""
    rows = []
    for text, shares in _shares(episodes, masks, lambda e: (e.actions, actions.names)):
        rows.append((shares[0], [*map(_share, _shown(shares, losses, gains)), clean(text)]))
    changes = [np.concatenate([[False], e.actions[1:] != e.actions[:-1]]) for e in episodes]
    often = [_of(changes, [m[k] for m in masks]) for k in range(3)]
    head = ["all", *["before losses"] * losses, *["before gains"] * gains, "action"]
    order = [r for _, r in sorted(rows, key=lambda r: -r[0])][:MOST]
    yield from table(head, [*order, [*map(_share, _shown(often, losses, gains)), "(another one than the step before)"]])


Masks = tuple[Array, Array, Array]  # bool[T] each: all steps, those before losses, those before gains


def _around(episodes: Sequence[Episode], losses: Sequence[Window], span: int) -> tuple[list[Masks], int]:
    """Which steps led to something, and how many steps gained."""
    masks, gains = [], 0
    for i, e in enumerate(episodes):
        before_loss, before_gain = np.zeros(len(e), bool), np.zeros(len(e), bool)
        for w in losses:
            if w.moment.episode == i:
                before_loss[max(0, w.anchor - span + 1) : w.anchor + 1] = True
        change = e.rewards()
        won = np.flatnonzero(change > 0) if not dense(change) else np.zeros(0, int)
        gains += len(won)
        for step in won.tolist():
            before_gain[max(0, step - span + 1) : step + 1] = True
        masks.append((np.ones(len(e), bool), before_loss, before_gain))
    return masks, gains


def _shares(
    episodes: Sequence[Episode], masks: Sequence[Masks], of: Callable[[Episode], tuple[Array, Sequence[str]]]
) -> Iterator[tuple[str, list[float]]]:  # fmt: skip
    """Each text that occurs, with its share of the steps of each mask."""
    sums = [Counter[str](), Counter[str](), Counter[str]()]
    for e, mine in zip(episodes, masks, strict=True):
        ids, names = of(e)
        for k, mask in enumerate(mine):
            counts = np.bincount(ids[mask].astype(int), minlength=len(names)).tolist()
            sums[k].update({name: n for name, n in zip(names, counts, strict=False) if n})
    whole = [max(1, sum(s.values())) for s in sums]
    for name in sorted(sums[0]):
        yield name, [sums[k][name] / whole[k] for k in range(3)]


def _of(values: Sequence[Array], masks: Sequence[Array]) -> float:
    """The share of steps of a mask at which something holds."""
    n = sum(int(m.sum()) for m in masks)
    return sum(int((v & m).sum()) for v, m in zip(values, masks, strict=True)) / max(1, n)


def _shown(shares: Sequence[float], losses: bool, gains: bool) -> list[float]:
    return [shares[0], *[shares[1]] * losses, *[shares[2]] * gains]


def _share(value: float) -> str:
    return f"{number(100 * value)} %"


def _rewards_by_reason(episodes: Sequence[Episode]) -> dict[str, float]:
    """The mean change of score at the steps at which a reason was given."""
    sums, steps = Counter[str](), Counter[str]()
    for e in episodes:
        for name, values in ((sums, e.rewards()), (steps, np.ones(len(e)))):
            found = np.bincount(e.reasons, values, len(e.reason_table)).tolist()
            for text, value in zip(e.reason_table, found, strict=True):
                name[text] += value  # type: ignore[assignment]
    return {text: sums[text] / n for text, n in steps.items() if n}


# ----------------------------------------------------------------------------------------------------
# How games ended, and which changes of score there were.


RARE = 2  # times that a size of change may occur and still be odd ...
LARGE = 3.0  # ... when it is so many times the usual one
SIZES = 6  # sizes of change that are told
ODD = 4  # odd ones
NO_LIMIT = 1_000_000  # frames; what protocols say that have none of their own


def ends(episodes: Sequence[Episode], rules: Rules) -> Iterator[str]:
    """How long each game was, what ended it, and what changed the score."""
    if not episodes:
        return
    most = rules.frame_limit // max(1, rules.frames_per_step)
    limit = f" (the protocol ends a game at {most})" if rules.frame_limit < NO_LIMIT else ""
    said = [f"{len(e)}{_how(e, rules)}" for e in episodes]
    each = ", ".join(f"{e.meta.get('seed')}: {end}" for e, end in zip(episodes, said, strict=True))
    yield f"Steps by seed{limit}: {f'{said[0]} each' if len(set(said)) == 1 < len(said) else each}."
    alike = Counter(len(e) for e in episodes if not _limited(e, rules))
    n, times = max(alike.items(), key=lambda item: item[1], default=(0, 0))
    if times > 1 and not any(dense(e.rewards()) and e.rewards().min() >= 0 for e in episodes):
        yield f"{times} games end at the very same step {n}: the simulator ends them there, not the play."
    yield from _changes(episodes)


def _how(e: Episode, rules: Rules) -> str:
    """What ended a game, if not its own rules."""
    return " (the limit)" if _limited(e, rules) else "" if e.meta.get("finished", True) else " (cut off)"


def _limited(e: Episode, rules: Rules) -> bool:
    return bool(e.meta.get("truncated")) or int(e.meta.get("frames", 0)) >= rules.frame_limit


def _changes(episodes: Sequence[Episode]) -> Iterator[str]:
    """The sizes of changes of the score, and single ones that are unlike all others."""
    found = [(float(c), e, int(i)) for e in episodes if not dense(e.rewards())
             for i in np.flatnonzero(e.rewards()) for c in [e.rewards()[i]]]  # fmt: skip
    if not found:
        return
    sizes = Counter(change for change, *_ in found)
    order = sorted(sizes, key=lambda c: (-sizes[c], c))
    rest = f" and {len(order) - SIZES} other sizes" if len(order) > SIZES else ""
    yield f"Changes of the score: {', '.join(f'{signed(c, 2)} {sizes[c]} times' for c in order[:SIZES])}{rest}."
    usual = float(np.median([abs(c) for c, *_ in found]))
    odd = [(c, e, i) for c, e, i in found if sizes[c] <= RARE and abs(c) > LARGE * usual]
    if odd:
        told = ", ".join(f"{signed(c, 2)} at step {i} of seed {e.meta.get('seed')}" for c, e, i in odd[:ODD])
        yield f"Odd ones: {told}{' ...' if len(odd) > ODD else ''}."


# ----------------------------------------------------------------------------------------------------
# Rules, faults, readings.


def _rules(episodes: Sequence[Episode], actions: ActionSpace) -> Iterator[str]:
    count = Counter[str]()
    reasons: dict[str, Counter[str]] = defaultdict(Counter)
    swaps: dict[str, Counter[str]] = defaultdict(Counter)
    for e in episodes:
        for step in np.flatnonzero(e.overruled).tolist():
            rule = e.overruled_by(step)
            count[rule] += 1
            reasons[rule][quoted(e.reason(step), CHARS)] += 1
            swaps[rule][f"{actions.tell(e.proposed[step])} to {actions.tell(e.actions[step])}"] += 1
    total = sum(len(e) for e in episodes)
    if not count:
        yield "Rules: none stepped in."
        return
    yield f"Rules that changed the action ({sum(count.values())} of {total} steps):"
    order = sorted(count, key=lambda r: (-count[r], r))
    head = ["steps", "per 1000", "changed", "after reason", "rule"]
    rows = [
        [str(count[r]), number(1000 * count[r] / total), _top(swaps[r]), _top(reasons[r]), quoted(r, CHARS)]
        for r in order[:MOST]
    ]
    yield from table(head, rows)
    yield from _rest(len(order), "rules")


def _faults(episodes: Sequence[Episode]) -> Iterator[str]:
    count, where = Counter[str](), dict[str, str]()
    for e in episodes:
        for step in np.flatnonzero(e.faults).tolist():
            fault = e.fault(step)
            count[fault] += 1
            where.setdefault(fault, f"seed {e.meta.get('seed')}, step {step}")
    if not count:
        yield "Faults: none."
        return
    yield f"Faults ({sum(count.values())} steps; the step then takes the fallback action and memory stays as it was):"
    order = sorted(count, key=lambda f: (-count[f], f))
    yield from table(["steps", "first", "fault"], [[str(count[f]), where[f], quoted(f)] for f in order[:MOST]])
    yield from _rest(len(order), "faults")


def _readings(episodes: Sequence[Episode], numbers: Sequence[Number]) -> Iterator[str]:
    """Where each field of each reading was, and, where nearly every step has a reward, what it was there."""
    if not numbers:
        return
    scenes = np.concatenate([e.scenes for e in episodes])
    change = np.concatenate([e.rewards() for e in episodes])
    each = any(dense(e.rewards()) for e in episodes)
    yield "Readings, each over the steps at which it was seen, from its lowest to its highest value:"
    head = ["reading", "not seen", "lowest", "5 %", "median", "95 %", "highest"]
    rows = []
    for n in numbers[:MOST]:
        values = values_of(n, scenes)
        spots = np.percentile(values, (0, 5, 50, 95, 100)).tolist() if len(values) else ()
        missed = 100 * (1 - len(values) / len(scenes))
        rows.append([n.name, f"{number(missed)} %", *([number(v, 3) for v in spots] or ["-"] * 5)])
    yield from table(head, rows)
    yield from _rest(len(numbers), "readings")
    if each and np.ptp(change) > 0:
        for n in numbers[:MOST]:
            yield f"Score a step by {n.name}: {_where(n, scenes, change)}."


PARTS = 6  # of a field's range, for the mean reward in each


def _where(n: Number, scenes: Array, change: Array) -> str:
    seen = scenes[:, n.seen] > 0.5
    edges = np.linspace(n.spec.low, n.spec.high, PARTS + 1)
    at = np.clip(np.digitize(finite(scenes[:, n.at]), edges) - 1, 0, PARTS - 1)
    said = []
    for k in range(PARTS):
        here = change[seen & (at == k)]
        mean = f"{signed(float(here.mean()), 3)} ({len(here)} steps)" if len(here) else "never there"
        said.append(f"{number(edges[k].item(), 2)} to {number(edges[k + 1].item(), 2)}: {mean}")
    return ", ".join(said)


def _top(found: Counter[str]) -> str:
    """The most frequent, with counts when there are several."""
    order = sorted(found, key=lambda k: (-found[k], k))
    said = [k if len(order) == 1 else f"{k} ({found[k]})" for k in order[:SHOWN]]
    return ", ".join([*said, "..."] if len(order) > SHOWN else said)


def _rest(n: int, what: str) -> Iterator[str]:
    if n > MOST:
        yield f"[{n - MOST} rarer {what} left out]"


# ----------------------------------------------------------------------------------------------------
# The table of a failure: one line a step, with what was where, what was done and why, and what came of it.


MOST_SLOTS = 5  # things in a table
SLOW = 0.3  # px per step below which nothing is said about speed


def steps_table(w: Window, e: Episode, context: Context, who: Cast) -> list[str]:
    """Lines of the table, the head first."""
    steps = table_steps(w, context.limits.rows)
    slots = [s for s in _slots(w, who) if any(body(e.scenes[i], s).there for i in steps)]
    sizes = [_size(e, slot, steps) for slot in slots]
    grids, gauges, lives = context.schema.grids, context.schema.gauges, bool(e.lives.any())
    head = ["step", "action", *(f"{s.name}{size}" for s, size in zip(slots, sizes, strict=True))]
    numbers = [*(f"{g.name} left" for g in grids), *(g.name for g in gauges)]
    numbers += [n.name for n in numbers_of(context.schema)]
    head += [*numbers, "score", *["lives"] * lives, "said"]
    rows, before = [], -1
    for i in steps:
        mark = "*" if i == w.anchor and w.moment.kind in SUDDEN else ""
        cells = [f"{i}{mark}", _action(e, i, context.actions)]
        cells += [_thing(e, s, i, size.endswith("w")) for s, size in zip(slots, sizes, strict=True)]
        rows.append([*cells, *_counts(e, i, context), *_score(e, i, lives), _said(e, i, before)])
        before = i
    return varying(head, rows, ("step", "action", "said"))


def _slots(w: Window, who: Cast) -> list[Slot]:
    """One's own thing, the one that came near, the other main ones; in the order of the schema."""
    first = [who.own] if who.own else []
    first += [w.meeting.slot] if w.meeting else []
    wanted = list(dict.fromkeys([*first, *who.main]))[:MOST_SLOTS]
    return sorted(wanted, key=lambda s: s.at)


def _action(e: Episode, step: int, actions: ActionSpace) -> str:
    did, wanted = actions.tell(e.actions[step]), actions.tell(e.proposed[step])
    return did if did == wanted else f"{did} (wanted {wanted})"


def _counts(e: Episode, step: int, context: Context) -> list[str]:
    """Cells present in each grid, the value of each gauge, of each field of a reading with its change since the step
    before ("-" when it is not seen)."""
    vector, schema = np.nan_to_num(e.scenes[step]), context.schema
    left = [str(int((vector[schema.grid(g.name)] > 0.5).sum())) for g in schema.grids]
    left += [number(float(vector[schema.gauge(g.name)])) for g in schema.gauges]
    return left + [_read(e, n, step) for n in numbers_of(schema)]


def _read(e: Episode, n: Number, step: int) -> str:
    now = values_of(n, e.scenes[step : step + 1])
    before = values_of(n, e.scenes[max(0, step - 1) : step])
    if not len(now):
        return "-"
    return number(now.item(), 3) + (f" {signed(n.spec.away(now, before).item(), 3)}" if len(before) else "")


def _score(e: Episode, step: int, lives: bool) -> list[str]:
    """Score after the action with its change, lives likewise where the game has any."""
    change, lost = e.rewards()[step].item(), int(lost_lives(e)[step])
    score = number(e.scores[step].item(), 2) + (f" {signed(change, 2)}" if change else "")
    return [score, str(int(e.lives[step])) + (f" {-lost}" if lost else "")] if lives else [score]


def _size(e: Episode, slot: Slot, steps: Sequence[int]) -> str:
    """The size of a thing for the head of its column; "x,y w" when its width changes between the steps."""
    bodies = [b for i in steps if (b := body(e.scenes[i], slot)).seen]
    if not bodies:
        return " x,y"
    widths = sorted(b.w for b in bodies)
    if widths[-1] - widths[0] > 1.5:
        return " x,y w"
    heights = sorted(b.h for b in bodies)
    return f" x,y ({number(widths[len(widths) // 2], 0)}x{number(heights[len(heights) // 2], 0)})"


def _thing(e: Episode, slot: Slot, step: int, width: bool) -> str:
    b = body(e.scenes[step], slot)
    if not b.seen and not b.sure > FAINT:
        return "-"
    said = f"{'' if b.seen else '~'}{number(b.x)},{number(b.y)}"
    if width:
        said += f" w{number(b.w)}"
    speed = [0.0 if abs(v) < SLOW else v for v in (b.vx, b.vy)]
    if any(speed):
        said += f" {signed(speed[0])},{signed(speed[1])}"
    return said + (f" ?{number(b.sure, 2)}" if b.seen and b.sure < UNSURE else "")


def _said(e: Episode, step: int, before: int) -> str:
    """The reason, the rule that changed the action and the fault, in full where they are new."""
    said = [] if before >= 0 and e.reasons[step] == e.reasons[before] else [quoted(e.reason(step), 80)]
    if e.overruled[step]:
        again = before >= 0 and e.overruled[step] == e.overruled[before]
        said.append("overruled again" if again else f"overruled by {quoted(e.overruled_by(step), 80)}")
    if e.faults[step]:
        again = before >= 0 and e.faults[step] == e.faults[before]
        said.append("same fault" if again else f"fault {quoted(e.fault(step), 120)}")
    return "; ".join(said)
