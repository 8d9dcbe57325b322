"""The learning curve: the incumbent's score and every trial, against what had been used by then.

Knows which figure stands where. Does not know how figures are computed (figures.py) or axes drawn (plot.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from supervisor.loop.budget import UNKNOWN
from triune.report import report_parts as parts
from triune.report.improve import words
from triune.report.improve.figures import Estimate, headline, level
from triune.report.improve.lineage import ended
from triune.report.improve.markup import folded, table, to_trial
from triune.report.improve.plot import NARROW, WIDE, Axes, both, link, mark, sign, spread, svg, ticks
from triune.report.improve.record import KINDS, ImproveRun, Trial

LANE = 34  # units below the plane for trials that never played
AXES = {"steps": "emulator frames", "usd": "US dollars", "tokens": "tokens"}


@dataclass(frozen=True)
class Span:
    """An incumbent with its level, from x to x."""

    trial: int
    start: float
    end: float
    level: Estimate


def curves(run: ImproveRun) -> str:
    """Cards: score against frames, score against cost (or why there is none), the same as a table."""
    cards = [parts.card("Score against emulator frames", _figure(run, "steps") + _legend(run))]
    bought = run.bought()
    if bought:
        cards.append(parts.card(f"Score against {AXES[bought]}", _figure(run, bought), _why(run, bought)))
    else:
        cards.append(parts.card("Score against cost", f"<p>{escape(_why(run, bought))}</p>"))
    return f'<div class="stack">{"".join(cards)}{_table(run)}</div>'


def _why(run: ImproveRun, bought: str) -> str:
    unknown = run.spending.unknown
    if unknown["usd"] and bought == "tokens":
        return "The price in money is unknown, so the curve runs over tokens."
    if unknown["usd"] or unknown["tokens"]:
        return "What the answers cost is unknown, so there is no curve over it."
    return "" if bought else "Nothing was bought: no answer of this run cost money or tokens."


def _spans(run: ImproveRun, which: str) -> list[Span]:
    """Incumbents that have played; the last one's line goes on to the edge."""
    starts = [_x(a.spent, which) for a in run.chain] + [_edge(run, which)]
    found = []
    for i, accepted in enumerate(run.chain):
        score = level(run, accepted.policy)
        if score is not None:
            found.append(Span(accepted.trial, starts[i], max(starts[i], starts[i + 1]), score))
    return found


def _edge(run: ImproveRun, which: str) -> float:
    """The right end of the axis: a little more than was used."""
    return 1.04 * run.spending.known[which] or 1.0


def _x(spent: object, which: str) -> float:
    value = spent.get(which, 0.0) if isinstance(spent, dict) else 0.0
    return 0.0 if value == UNKNOWN else float(value)


def _places(run: ImproveRun, which: str) -> tuple[list[tuple[Trial, float, float]], list[tuple[Trial, float]]]:
    """Trials that played, at (x, score), and those that did not, at x."""
    played, stopped = [], []
    for trial in run.trials.values():
        x = _x(trial.spent or run.spending.now(), which)
        base, diff = level(run, trial.parent), headline(run, trial)
        own = level(run, trial.won) if trial.won else None
        if own:
            played.append((trial, x, own.mean))
        elif base and diff:
            played.append((trial, x, base.mean + diff.mean))
        else:
            stopped.append((trial, x))
    return played, stopped


def _figure(run: ImproveRun, which: str) -> str:
    spans, (played, stopped) = _spans(run, which), _places(run, which)
    if not spans:
        return '<p class="dim">No episode has been played yet.</p>'
    ends = [v for s in spans for v in (s.level.low, s.level.high, s.level.mean) if math.isfinite(v)]
    values = [*ends, *(y for _, _, y in played)]
    pad = 0.06 * ((max(values) - min(values)) or 1)
    up, across = (min(values) - pad, max(values) + pad), (0.0, _edge(run, which))
    show: Callable[[float], str] = words.dollars if which == "usd" else words.short

    def draw(narrow: bool) -> str:
        size = (NARROW, 320) if narrow else (WIDE, 330)
        axes = Axes(*size, across, up, left=40 if narrow else 46, bottom=40 + LANE, right=10)
        body = [
            axes.rows(ticks(*up, 5), words.short), _columns(axes, which, show, narrow),
            *(_span(axes, s, nxt) for s, nxt in zip(spans, [*spans[1:], None], strict=True)),
            _lane(axes, stopped, run), *(_trial(run, axes, *place) for place in played),
            *_numbers(axes, played),
        ]  # fmt: skip
        return svg(*size, f"score of the incumbent against {AXES[which]}", "".join(body))

    return both(draw)


def _columns(axes: Axes, which: str, show: Callable[[float], str], narrow: bool) -> str:
    """Values and name of the x axis, below the lane."""
    low = Axes(axes.width, axes.height, axes.across, axes.up, axes.left, axes.right, axes.top, bottom=40)
    y = axes.height - 6
    name = f'<text class="name" x="{axes.width - axes.right}" y="{y}" text-anchor="end">{AXES[which]}</text>'
    return low.columns(ticks(*axes.across, 4 if narrow else 8), show) + name


def _span(axes: Axes, span: Span, following: Span | None) -> str:
    """The band and line of one incumbent, and the step to the next."""
    left, right, e = axes.x(span.start), axes.x(span.end), span.level
    drawn = ""
    if math.isfinite(e.low):
        top, tall = axes.y(e.high), max(1.0, axes.y(e.low) - axes.y(e.high))
        wide = max(2.0, right - left)
        drawn = f'<rect class="band" x="{left:.1f}" y="{top:.1f}" width="{wide:.1f}" height="{tall:.1f}"/>'
    path = f"M{left:.1f} {axes.y(e.mean):.1f}H{right:.1f}"
    path += f"V{axes.y(following.level.mean):.1f}" if following else ""
    return f'{drawn}<path class="line" d="{path}"/>'


def _trial(run: ImproveRun, axes: Axes, trial: Trial, x: float, y: float) -> str:
    place = axes.x(x), axes.y(y)
    return link(f"trial-{trial.number}", tip(run, trial), mark(trial.kind, *place), *place)


def _numbers(axes: Axes, played: Sequence[tuple[Trial, float, float]]) -> list[str]:
    """The numbers of accepted trials, from the last one back, as far as there is room for them."""
    drawn: list[str] = []
    free = axes.width
    for trial, x, y in reversed(played):
        left, room = axes.x(x), 6 + 8 * len(str(trial.number))
        if trial.kind == "accept" and left + room / 2 <= free:
            drawn.append(f'<text class="number" x="{left:.1f}" y="{axes.y(y) - 10:.1f}">{trial.number}</text>')
            free = left - room / 2
    return drawn


def _lane(axes: Axes, stopped: Sequence[tuple[Trial, float]], run: ImproveRun) -> str:
    """Trials without a score, side by side below the plane, near where they happened."""
    y = axes.height - axes.bottom + 20
    edge = axes.height - axes.bottom + 4
    line = f'<line class="grid" x1="{axes.left}" x2="{axes.width - axes.right}" y1="{edge}" y2="{edge}"/>'
    xs = spread([axes.x(x) for _, x in stopped], 17, axes.left + 6, axes.width - axes.right - 6)
    marks = [
        link(f"trial-{t.number}", tip(run, t), mark(t.kind, x, y, 5), x, y)
        for (t, _), x in zip(stopped, xs, strict=True)
    ]
    return line + "".join(marks)


def tip(run: ImproveRun, trial: Trial) -> str:
    """One line about a trial, as HTML text."""
    found = headline(run, trial)
    gain = f", {words.signed(found.mean)} points" if found else ""
    return f"Trial {trial.number}: {ended(trial)}{gain}. {words.first_line(trial.say('hypothesis'), 110)}"


def _legend(run: ImproveRun) -> str:
    counts = {k: sum(t.kind == k for t in run.trials.values()) for k in KINDS}
    shown = "".join(f"<li>{sign(k)} {n} {KINDS[k]}</li>" for k, n in counts.items() if n)
    note = (
        "Line: mean score of the incumbent; band: its 95 % interval. It is taken over all gate seeds that the policy "
        "played, without those on which it was chosen. A rejected mark stands above or below the line by its mean "
        "paired difference; marks below the plot were stopped before they played."
    )
    return f'<ul class="legend">{shown}</ul><p class="dim">{note}</p>'


def _table(run: ImproveRun) -> str:
    """The same in words."""
    rows = []
    for t in run.trials.values():
        found, spent = headline(run, t), t.spent or run.spending.now()
        gain = f"{words.signed(found.mean)} {words.interval(found.low, found.high, True)}" if found else "not played"
        frames, cost = (words.amount(w, spent.get(w, UNKNOWN)) for w in ("steps", "usd"))
        rows.append((to_trial(t.number), KINDS[t.kind], t.stage or "–", gain, frames, cost))
    heads = ("trial", "verdict", "stage", ">difference", ">frames by then", ">cost by then")
    return folded("As a table", table(heads, rows), "card")
