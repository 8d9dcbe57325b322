"""What was said and overruled how often, and what came of it: statistics per reason, per rule, per fault.

Knows: recorded episodes, the windows of their failures. Does not know: scenes, why something happened.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from data_flywheel.episodes.episode import Episode
from supervisor.evidence.moments import SUDDEN, rewards
from supervisor.evidence.text import number, quoted, table
from supervisor.evidence.windows import Window

MOST = 24  # lines of a table; the rest is counted
SHOWN = 2  # of the most frequent companions
CHARS = 70  # of a reason or a rule's name


def statistics(episodes: Sequence[Episode], windows: Sequence[Window], actions: Sequence[str], span: int) -> list[str]:
    """Lines of text, the most important first."""
    if not sum(len(e) for e in episodes):
        return ["No steps were recorded."]
    return [*_reasons(episodes, windows, span), *_rules(episodes, actions), *_faults(episodes)]


def _reasons(episodes: Sequence[Episode], windows: Sequence[Window], span: int) -> Iterator[str]:
    steps, won, lost = Counter[str](), Counter[str](), Counter[str]()
    for e in episodes:
        change = rewards(e)
        for name, values in ((steps, np.ones(len(e))), (won, np.maximum(change, 0)), (lost, np.maximum(-change, 0))):
            sums = np.bincount(e.reasons, values, len(e.reason_table))
            for text, total in zip(e.reason_table, sums.tolist(), strict=True):
                name[text] += int(total)
    before, last, losses = _around_losses(episodes, windows, span)
    total = sum(steps.values())
    order = sorted((r for r in steps if steps[r]), key=lambda r: (-steps[r], r))
    yield (
        f"Reasons over {total} steps. Losses are lives or points lost ({losses}): in how many the reason was given "
        f"within the {span} steps before, and in how many it was the one at the last step at which all was seen."
    )
    head = ["share", "steps", "score won", "score lost", "before a loss", "at its last sight", "reason"]
    rows = [
        [f"{number(100 * steps[r] / total)} %", str(steps[r]), str(won[r]), str(lost[r]), str(before[r]), str(last[r]),
         quoted(r, CHARS)]
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


def _rules(episodes: Sequence[Episode], actions: Sequence[str]) -> Iterator[str]:
    count = Counter[str]()
    reasons: dict[str, Counter[str]] = defaultdict(Counter)
    swaps: dict[str, Counter[str]] = defaultdict(Counter)
    for e in episodes:
        for step in np.flatnonzero(e.overruled).tolist():
            rule = e.overruled_by(step)
            count[rule] += 1
            reasons[rule][quoted(e.reason(step), CHARS)] += 1
            swaps[rule][f"{name(actions, int(e.proposed[step]))} to {name(actions, int(e.actions[step]))}"] += 1
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


def _top(found: Counter[str]) -> str:
    """The most frequent, with counts when there are several."""
    order = sorted(found, key=lambda k: (-found[k], k))
    said = [k if len(order) == 1 else f"{k} ({found[k]})" for k in order[:SHOWN]]
    return ", ".join([*said, "..."] if len(order) > SHOWN else said)


def _rest(n: int, what: str) -> Iterator[str]:
    if n > MOST:
        yield f"[{n - MOST} rarer {what} left out]"


def name(actions: Sequence[str], index: int) -> str:
    """An action's name, or its number when it has none."""
    return actions[index] if index < len(actions) else f"action {index}"
