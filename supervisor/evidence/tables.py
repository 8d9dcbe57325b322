"""What was said and overruled how often, and what came of it; and the steps of one failure, a line each."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from data_flywheel.episodes.episode import Episode, dense
from envs.actions import ActionSpace
from perception.scene import SceneSchema
from supervisor.evidence.context import Context, number, quoted, signed, table
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
    told = [*_reasons(episodes, windows, span), *_rules(episodes, actions), *_faults(episodes)]
    return told + list(_readings(episodes, numbers_of(schema)))


def _reasons(episodes: Sequence[Episode], windows: Sequence[Window], span: int) -> Iterator[str]:
    steps, won, lost = dict[str, float](), dict[str, float](), dict[str, float]()
    for e in episodes:
        change = e.rewards()
        for name, values in ((steps, np.ones(len(e))), (won, np.maximum(change, 0)), (lost, np.maximum(-change, 0))):
            sums = np.bincount(e.reasons, values, len(e.reason_table))
            for text, total in zip(e.reason_table, sums.tolist(), strict=True):
                name[text] = name.get(text, 0) + total
    before, last, losses = _around_losses(episodes, windows, span)
    kinds = ["episodes that ended early"] * any(w.moment.kind == EARLY for w in windows)
    lost_what = ", ".join(["lives or points lost", *kinds])
    each = any(dense(e.rewards()) for e in episodes)
    total = round(sum(steps.values()))
    order = sorted((r for r in steps if steps[r]), key=lambda r: (-steps[r], r))
    yield (
        f"Reasons over {total} steps. Losses are {lost_what} ({losses}): in how many the reason was given "
        f"within the {span} steps before, and in how many it was the one at the last step at which all was seen."
    )
    head = ["share", "steps", "score won", "score lost", *["a step"] * each]
    head += ["before a loss", "at its last sight", "reason"]
    rows = [
        [f"{number(100 * steps[r] / total)} %", str(round(steps[r])), number(won[r]), number(lost[r]),
         *[signed((won[r] - lost[r]) / steps[r], 3)] * each, str(before[r]), str(last[r]), quoted(r, CHARS)]
        for r in order[:MOST]
    ]  # fmt: skip
    yield from table(head, rows)
    yield from _rest(len(order), "reasons")


def _around_losses(
    episodes: Sequence[Episode], windows: Sequence[Window], span: int
) -> tuple[Counter[str], Counter[str], int]:
    """In how many losses each reason was given before, and at the anchor; how many losses there are."""
    before, last, losses = Counter[str](), Counter[str](), 0
    for w in windows:
        if w.moment.kind in SUDDEN:
            e = episodes[w.moment.episode]
            losses += 1
            before.update({e.reason_table[i] for i in e.reasons[max(0, w.last - span) : w.last].tolist()})
            last[e.reason(w.anchor)] += 1
    return before, last, losses


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
    return table(head, rows)


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
