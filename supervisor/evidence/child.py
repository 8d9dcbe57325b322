"""The last revision that was not kept, beside its parent: training games of the same seeds, and where they part."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from data_flywheel.episodes.episode import Episode, dense
from supervisor.evidence.context import Context, number, quoted, table
from supervisor.evidence.failures import Findings
from supervisor.evidence.meetings import told as told_meetings
from supervisor.evidence.moments import Array, body, numbers_of, slots_of, values_of

GROUPS, REASONS = 3, 6  # of the child's failures and reasons that are told
CHARS = 70


def told(context: Context, parent: Findings) -> list[str]:
    """Lines of text; one when there is no such revision, or none that could be played."""
    before = {e.meta.get("seed"): e for e in parent.episodes}
    played = context.child.episodes if context.child else ()
    pairs = [(before[seed], e) for e in played if len(e) and (seed := e.meta.get("seed")) in before]
    if context.child is None or not pairs:
        return ["No revision of this policy was refused, or none of its training games could be paid."]
    own = Findings(replace(context, episodes=[e for _, e in pairs], blame=None))
    head = ["seed", "score", "its parent's", "steps", "its parent's", *["won, lost", "its parent's"] * _counts(pairs)]
    lines = [f"Training games of the child of trial {context.child.trial}, which was not kept, beside its parent's:"]
    lines += table(head, [_row(a, b, _counts(pairs)) for a, b in pairs])
    lines += [line for a, b in pairs for line in _parting(context, a, b)]
    lines.append(f"Its failures: {'; '.join(f'{len(c.members)} x {c.name}' for c in own.clusters[:GROUPS]) or 'none'}.")
    lines.append(f"Its reasons, with its parent's shares: {', '.join(_reasons([a for a, _ in pairs], own.episodes))}.")
    return lines + told_meetings(own.meetings, own.cast, own.episodes, own.losses, context.span)


def _counts(pairs: list[tuple[Episode, Episode]]) -> bool:
    return not any(dense(e.rewards()) for pair in pairs for e in pair)


def _row(parent: Episode, child: Episode, counts: bool) -> list[str]:
    cells = [str(child.meta.get("seed"))]
    cells += [number(e.scores[-1].item(), 2) for e in (child, parent)] + [str(len(e)) for e in (child, parent)]
    return cells + [f"{number(won, 2)}, {number(lost, 2)}" for won, lost in map(_sums, (child, parent))] * counts


def _sums(e: Episode) -> tuple[float, float]:
    change = e.rewards()
    return float(change[change > 0].sum()), float(-change[change < 0].sum())


def _parting(context: Context, parent: Episode, child: Episode) -> Iterator[str]:
    """The first step at which the two did otherwise; until then their games are the same."""
    n = min(len(parent), len(child))
    other = (parent.actions[:n] != child.actions[:n]).reshape(n, -1).any(axis=1)
    seed = child.meta.get("seed")
    if not other.any():
        yield f"seed {seed}: both do the same all the time"
        return
    step = int(other.argmax())
    did = (f"{context.actions.tell(e.actions[step])} {quoted(e.reason(step), CHARS)}" for e in (child, parent))
    where = _where(context, child.scenes[step])
    yield f"seed {seed}: the same until step {step}; there the child does {', its parent '.join(did)}{where}"


def _where(context: Context, vector: Array) -> str:
    seen = [(s.name, body(vector, s)) for s in slots_of(context.schema)]
    said = [f"{name} {number(b.x)},{number(b.y)}" for name, b in seen if b.seen]
    said += [f"{n.name} {number(v.item(), 3)}" for n in numbers_of(context.schema)
             if len(v := values_of(n, np.asarray(vector)[None]))]  # fmt: skip
    return f" ({'; '.join(said[:6])})" if said else ""


def _reasons(parents: list[Episode], children: list[Episode]) -> list[str]:
    shares = []
    for batch in (children, parents):
        count = Counter[str]()
        for e in batch:
            count.update(e.reason_counts())
        whole = max(1, sum(count.values()))
        shares.append({text: 100 * n / whole for text, n in count.items()})
    own, before = shares
    order = sorted(own, key=lambda r: (-own[r], r))[:REASONS]
    return [f"{quoted(r, CHARS)} {number(own[r])} % ({number(before.get(r, 0.0))} %)" for r in order] or ["none"]
