"""Paired differences: every seed a dot, the mean with its interval, zero marked. One row a block, or one row a trial.

Knows how they are drawn. Does not know how they are judged (`supervisor.gate`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from triune.report import report_parts as parts
from triune.report.improve import words
from triune.report.improve.figures import Estimate, Pair, decisive, difference, headline, pairs
from triune.report.improve.markup import folded, table, to_trial
from triune.report.improve.plot import NARROW, WIDE, Axes, both, link, mark, svg, ticks
from triune.report.improve.record import KINDS, ImproveRun, Trial

ROW = 34  # units of height
BLOCKS = {"select": "first block", "confirm": "fresh block"}
BINS = 110  # dots nearer than this share of the range are stacked


def forest(run: ImproveRun) -> str:
    """All judged children on one scale, with a table of the same."""
    judged = [(t, decisive(run, t)) for t in run.trials.values()]
    judged = [(t, found) for t, found in judged if found]
    if not judged:
        return parts.card("Child minus parent", '<p class="dim">No child has played yet.</p>')
    across = _range([p.difference for _, found in judged for p in found])

    def draw(narrow: bool) -> str:
        axes = _axes(narrow, len(judged), across, 46 if narrow else 290)
        rows = [_trial_row(run, axes, i, t, found, narrow) for i, (t, found) in enumerate(judged)]
        drawn = _scale(axes, narrow) + "".join(rows)
        return svg(axes.width, axes.height, "paired difference of each judged child", drawn)

    note = (
        "One dot a seed: the child's score minus its parent's. Bar: mean with its 95 % interval, from the fresh block "
        "where the child got that far. Right of the line the child is better."
    )
    card = parts.card("Child minus parent, by seed", both(draw), note)
    return f'<div class="stack">{card}{_table(run, judged)}</div>'


def strip(run: ImproveRun, trial: Trial) -> str:
    """The blocks of one trial; "" when nothing was played."""
    blocks = [(BLOCKS[role], pairs(run, trial, role)) for role in BLOCKS]
    for name, policy in trial.variants.items():
        blocks.append((f"simpler: {name}", pairs(run, trial, "confirm", policy)))
    blocks = [(name, found) for name, found in blocks if found]
    if not blocks:
        return ""
    across = _range([p.difference for _, found in blocks for p in found])

    def draw(narrow: bool) -> str:
        axes = _axes(narrow, len(blocks), across, 104 if narrow else 196)
        rows = []
        for i, (name, found) in enumerate(blocks):
            y = axes.top + (i + 0.5) * ROW
            label = words.first_line(name, 15 if narrow else 27)
            rows.append(f'<text class="label" x="{axes.left - 10}" y="{y + 4}" text-anchor="end">{label}</text>')
            rows.append(_row(axes, y, found, difference(found), trial.kind))
        return svg(axes.width, axes.height, "paired differences of this trial", _scale(axes, narrow) + "".join(rows))

    return f"<h4>Child minus parent, by seed</h4>{both(draw)}{_seeds_table(blocks)}"


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(0.0, *values), max(0.0, *values)
    pad = 0.04 * ((high - low) or 1)
    return low - pad, high + pad


def _axes(narrow: bool, rows: int, across: tuple[float, float], left: float) -> Axes:
    width = NARROW if narrow else WIDE
    return Axes(width, rows * ROW + 44, across, (0, 1), left=left, right=16, top=6, bottom=38)


def _scale(axes: Axes, narrow: bool) -> str:
    zero, foot = axes.x(0), axes.height - axes.bottom
    values = ticks(*axes.across, 4 if narrow else 8)
    line = f'<line class="zero" x1="{zero:.1f}" x2="{zero:.1f}" y1="{axes.top}" y2="{foot + 4:.1f}"/>'
    name = f'<text class="name" x="{axes.width - axes.right}" y="{axes.height - 4}" text-anchor="end">points</text>'
    return axes.columns(values, words.signed_short, lines=True) + line + name


def _trial_row(run: ImproveRun, axes: Axes, i: int, trial: Trial, found: Sequence[Pair], narrow: bool) -> str:
    y, estimate = axes.top + (i + 0.5) * ROW, headline(run, trial)
    drawn = f'<text class="label" x="26" y="{y + 4}">{trial.number}</text>'
    if not narrow:
        text = words.first_line(trial.say("hypothesis") or trial.say("target"), 33)
        drawn += f'<text class="label dim" x="52" y="{y + 4}">{text}</text>'
    gain = f"{words.signed(estimate.mean)} on {words.count(estimate.n, 'seed')}" if estimate else ""
    said = f"Trial {trial.number}, {KINDS[trial.kind]}: {gain}"
    return link(f"trial-{trial.number}", said, mark(trial.kind, 12, y, 5) + drawn, 12, y) + _row(
        axes, y, found, estimate, trial.kind
    )


def _row(axes: Axes, y: float, found: Sequence[Pair], estimate: Estimate | None, kind: str) -> str:
    """Dots, stacked where they would cover each other, and the mean's bar."""
    width = (axes.across[1] - axes.across[0]) / BINS
    stacks: dict[int, int] = {}
    dots = []
    for pair in found:
        column = round(pair.difference / width)
        n = stacks[column] = stacks.get(column, 0) + 1
        lift = (n // 2) * 3.6 * (1 if n % 2 else -1)
        dots.append(f"M{axes.x(pair.difference):.1f} {y + max(-13, min(13, lift)):.1f}h0")
    drawn = f'<path class="dots" d="{"".join(dots)}"/>'
    if estimate is None:
        return drawn
    x = axes.x(estimate.mean)
    if math.isfinite(estimate.low):
        left, right = (axes.x(max(axes.across[0], min(axes.across[1], v))) for v in (estimate.low, estimate.high))
        drawn += f'<path class="bar {kind}" d="M{left:.1f} {y:.1f}H{right:.1f}"/>'
    return drawn + f'<path class="mean {kind}" d="M{x:.1f} {y - 8:.1f}v16"/>'


def _table(run: ImproveRun, judged: Sequence[tuple[Trial, list[Pair]]]) -> str:
    rows = []
    for t, found in judged:
        e, better, ties = headline(run, t), sum(p.difference > 0 for p in found), sum(not p.difference for p in found)
        assert e is not None
        between = words.interval(e.low, e.high, True) or "too few"
        won = f"{better} / {ties} / {len(found) - better - ties}"
        rows.append((to_trial(t.number), KINDS[t.kind], str(e.n), words.signed(e.mean), between, won))
    heads = ("trial", "verdict", ">seeds", ">mean", ">95 % interval", ">better / equal / worse")
    return folded("As a table", table(heads, rows), "card")


def _seeds_table(blocks: Sequence[tuple[str, list[Pair]]]) -> str:
    rows = [
        (words.esc(name, 60), str(p.seed), words.plain(p.parent), words.plain(p.child), words.signed(p.difference))
        for name, found in blocks
        for p in found
    ]
    shown = table(("block", ">seed", ">parent", ">child", ">difference"), rows)
    return folded(
        "Every seed", f'<div class="tall" tabindex="0" role="region" aria-label="scores by seed">{shown}</div>'
    )
