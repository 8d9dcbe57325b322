"""Plots as inline SVG, without scripts: axes, marks of verdicts, paired differences."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from triune.report import page as parts
from triune.report.improve import record as words
from triune.report.improve.figures import Estimate, Pair, decisive, difference, headline, pairs
from triune.report.improve.record import ENDINGS as KINDS
from triune.report.improve.record import ImproveRun, Trial

# ----------------------------------------------------------------------------------------------------
# Pieces of markup that several sections share: tables, folded blocks. HTML in, HTML out; nothing is escaped here.


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table that scrolls sideways where it must. A head that begins with ">" is that of a column of numbers."""
    right = [' class="n"' if head.startswith(">") else "" for head in heads]
    top = "".join(f"<th{kind}>{head.removeprefix('>')}</th>" for head, kind in zip(heads, right, strict=True))
    body = "".join(
        f"<tr>{''.join(f'<td{kind}>{cell}</td>' for cell, kind in zip(row, right, strict=True))}</tr>" for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def folded(title: str, body: str, kind: str = "", shown: bool = False) -> str:
    """A block that opens on demand, with scripts or without."""
    of = f' class="{kind}"' if kind else ""
    return f"<details{of}{' open' if shown else ''}><summary>{title}</summary>{body}</details>"


def to_trial(number: int) -> str:
    """A link to a trial's story."""
    return f'<a href="#trial-{number}">{number}</a>'


# ----------------------------------------------------------------------------------------------------
# Plots as inline SVG, without scripts: axes, the marks of verdicts, one drawing for wide screens and one for
# phones.
#
# Text that comes from outside is escaped by the caller.


WIDE, NARROW = 900, 380  # units of the two drawings' viewBox


@dataclass(frozen=True)
class Axes:
    """A plane of `width` x `height` units with margins; `across` and `up` are the ranges of the values."""

    width: float
    height: float
    across: tuple[float, float]
    up: tuple[float, float]
    left: float = 46
    right: float = 12
    top: float = 12
    bottom: float = 40

    def x(self, value: float) -> float:
        """Units from the left."""
        low, high = self.across
        return self.left + (value - low) / ((high - low) or 1) * (self.width - self.left - self.right)

    def y(self, value: float) -> float:
        """Units from the top."""
        low, high = self.up
        return self.height - self.bottom - (value - low) / ((high - low) or 1) * (self.height - self.top - self.bottom)

    def rows(self, values: Sequence[float], show: Callable[[float], str]) -> str:
        """Horizontal grid lines with their values."""
        return "".join(
            f'<line class="grid" x1="{self.left}" x2="{self.width - self.right}" y1="{self.y(v):.1f}" '
            f'y2="{self.y(v):.1f}"/>'
            f'<text x="{self.left - 7}" y="{self.y(v) + 4:.1f}" text-anchor="end">{show(v)}</text>'
            for v in values
        )

    def columns(self, values: Sequence[float], show: Callable[[float], str], lines: bool = False) -> str:
        """Values below the plane, with grid lines if wanted."""
        drawn = []
        for v in values:
            x, foot = self.x(v), self.height - self.bottom
            if lines:
                drawn.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{self.top}" y2="{foot:.1f}"/>')
            drawn.append(f'<text x="{x:.1f}" y="{foot + 17:.1f}" text-anchor="middle">{show(v)}</text>')
        return "".join(drawn)


def ticks(low: float, high: float, most: int) -> list[float]:
    """At most about `most` round values within [low, high]."""
    span = high - low
    if not math.isfinite(span) or span <= 0:
        return [low]
    rough = span / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(s * power for s in (1, 2, 2.5, 5, 10) if s * power >= rough * 0.85)
    return [i * step for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def mark(kind: str, x: float, y: float, r: float = 5.5) -> str:
    """The sign of a verdict: told apart by shape as well as by colour."""
    kind = kind if kind in KINDS else "open"
    if kind in ("accept", "open"):
        return f'<circle class="m {kind}" cx="{x:.1f}" cy="{y:.1f}" r="{r:.1f}"/>'
    a = r * 0.85
    paths = {
        "reject": f"M{x - a:.1f} {y - a:.1f}l{2 * a:.1f} {2 * a:.1f}m0 {-2 * a:.1f}l{-2 * a:.1f} {2 * a:.1f}",
        "invalid": f"M{x - a:.1f} {y - a:.1f}h{2 * a:.1f}v{2 * a:.1f}h{-2 * a:.1f}z",
        "indecisive": f"M{x:.1f} {y - r:.1f}l{r:.1f} {r:.1f}l{-r:.1f} {r:.1f}l{-r:.1f} {-r:.1f}z",
        "probe": f"M{x:.1f} {y - r:.1f}l{r:.1f} {1.8 * r:.1f}h{-2 * r:.1f}z",
        "unanswered": f"M{x - r:.1f} {y:.1f}h{2 * r:.1f}",
    }
    return f'<path class="m {kind}" d="{paths[kind]}"/>'


def sign(kind: str) -> str:
    """The mark alone, for text; hidden from readers, since words stand beside it."""
    return f'<svg class="sign" viewBox="0 0 14 14" aria-hidden="true">{mark(kind, 7, 7, 5)}</svg>'


def link(target: str, words: str, drawing: str, x: float, y: float) -> str:
    """A mark that leads to `target`, with an area around it that a thumb can hit. `words` and `target` are escaped."""
    area = f'<circle class="area" cx="{x:.1f}" cy="{y:.1f}" r="12"/>'
    return f'<a class="mark" href="#{target}" aria-label="{words}"><title>{words}</title>{area}{drawing}</a>'


def both(draw: Callable[[bool], str]) -> str:
    """The drawing for wide screens and the one for phones; the style shows one of them. `draw(narrow)` gives SVG."""
    return f'<div class="wide">{draw(False)}</div><div class="narrow">{draw(True)}</div>'


def svg(width: float, height: float, words: str, body: str) -> str:
    """A drawing with its name for readers. `words` are escaped."""
    return f'<svg viewBox="0 0 {width:g} {height:g}" role="group" aria-label="{words}">{body}</svg>'


def spread(values: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places near `values` (ascending) that lie at least `gap` apart within [low, high], closer only if they must."""
    if not values:
        return []
    gap = min(gap, (high - low) / max(1, len(values) - 1))
    placed: list[float] = []
    for i, value in enumerate(values):
        placed.append(max(value, low, placed[-1] + gap if i else low))
    end = high
    for i in range(len(placed) - 1, -1, -1):
        placed[i] = min(placed[i], end)
        end = placed[i] - gap
    return placed


# ----------------------------------------------------------------------------------------------------
# Paired differences: every seed a dot, the mean with its interval, zero marked. One row a block, or one row a
# trial.


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
