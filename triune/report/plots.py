"""Plots as inline SVG, without scripts: scores by seed, the learning curve, paired differences, marks, bars.

Each takes plain figures and gives `Markup`; whatever text it is given is escaped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from markupsafe import Markup

from triune.report.html import printed, short, signed_short

WIDE, NARROW = 900, 380  # units of a drawing for screens and for phones
LANE = 34  # units below the curve for trials that never played
ROW = 34  # units of height of a row of differences
BINS = 110  # dots nearer than this share of the range are stacked
VERDICTS = {
    "accept": "accepted", "probe": "undecided", "indecisive": "indecisive", "reject": "rejected",
    "invalid": "invalid", "unanswered": "no answer", "open": "not finished",
}  # fmt: skip


class Estimate(NamedTuple):
    """A mean with its 95 % interval (NaN where n is too small for one) over `n` seeds."""

    mean: float
    low: float
    high: float
    n: int


# ----------------------------------------------------------------------------------------------------
# Elements, axes, marks.


def tag(name: str, *inner: object, **attributes: object) -> Markup:
    """An element. `kind` is its class, `_` stands for `-`; numbers have one decimal at most, all text is escaped."""
    said = Markup("").join(
        Markup(' {}="{}"').format("class" if key == "kind" else key.replace("_", "-"), _value(value))
        for key, value in attributes.items()
    )
    return Markup("<{0}{1}>{2}</{0}>").format(name, said, Markup("").join(map(_value, inner)))


def _value(value: object) -> str:
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else printed(value)


def svg(width: float, height: float, words: str, *body: object) -> Markup:
    """A drawing with its name for readers."""
    return tag("svg", *body, viewBox=f"0 0 {width:g} {height:g}", role="group", aria_label=words)


def both(draw: Callable[[bool], Markup]) -> Markup:
    """The drawing for wide screens and the one for phones; the style shows one of them. `draw(narrow)` gives SVG."""
    return tag("div", draw(False), kind="wide") + tag("div", draw(True), kind="narrow")


@dataclass(frozen=True)
class Axes:
    """A plane in units with margins; `across` and `up` are the ranges of the values."""

    width: float
    height: float
    across: tuple[float, float]
    up: tuple[float, float]
    left: float = 46
    right: float = 12
    top: float = 12
    bottom: float = 40

    @property
    def edge(self) -> float:
        """Where the plane ends on the right."""
        return self.width - self.right

    @property
    def foot(self) -> float:
        """Where it ends below."""
        return self.height - self.bottom

    def x(self, value: float) -> float:
        """Units from the left."""
        low, high = self.across
        return self.left + (value - low) / ((high - low) or 1) * (self.edge - self.left)

    def y(self, value: float) -> float:
        """Units from the top."""
        low, high = self.up
        return self.foot - (value - low) / ((high - low) or 1) * (self.foot - self.top)

    def rows(self, values: Iterable[float], show: Callable[[float], str]) -> Markup:
        """Horizontal grid lines with their values."""
        return Markup("").join(
            tag("line", kind="grid", x1=self.left, x2=self.edge, y1=self.y(v), y2=self.y(v))
            + tag("text", show(v), x=self.left - 7, y=self.y(v) + 4, text_anchor="end")
            for v in values
        )

    def columns(self, values: Iterable[float], show: Callable[[float], str], lines: bool = False) -> Markup:
        """Values below the plane, with grid lines if wanted."""
        drawn = Markup("")
        for v in values:
            if lines:
                drawn += tag("line", kind="grid", x1=self.x(v), x2=self.x(v), y1=self.top, y2=self.foot)
            drawn += tag("text", show(v), x=self.x(v), y=self.foot + 17, text_anchor="middle")
        return drawn

    def name(self, words: str, above: float) -> Markup:
        """The name of the x axis, `above` units over the lower edge."""
        return tag("text", words, kind="name", x=self.edge, y=self.height - above, text_anchor="end")


def ticks(low: float, high: float, most: int) -> list[float]:
    """At most about `most` round values within [low, high]."""
    span = high - low
    if not math.isfinite(span) or span <= 0:
        return [low]
    rough = span / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(s * power for s in (1, 2, 2.5, 5, 10) if s * power >= rough * 0.85)
    return [i * step for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def spread(values: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places near `values` (ascending) that lie at least `gap` apart within [low, high], closer only if they must."""
    gap = min(gap, (high - low) / max(1, len(values) - 1))
    placed: list[float] = []
    for i, value in enumerate(values):
        placed.append(max(value, low, placed[-1] + gap if i else low))
    end = high
    for i in range(len(placed) - 1, -1, -1):
        placed[i] = min(placed[i], end)
        end = placed[i] - gap
    return placed


def mark(kind: str, x: float, y: float, r: float = 5.5) -> Markup:
    """The sign of a verdict: told apart by shape as well as by colour."""
    kind = kind if kind in VERDICTS else "open"
    if kind in ("accept", "open"):
        return tag("circle", kind=f"m {kind}", cx=float(x), cy=float(y), r=r)
    a = r * 0.85
    paths = {
        "reject": f"M{x - a:.1f} {y - a:.1f}l{2 * a:.1f} {2 * a:.1f}m0 {-2 * a:.1f}l{-2 * a:.1f} {2 * a:.1f}",
        "invalid": f"M{x - a:.1f} {y - a:.1f}h{2 * a:.1f}v{2 * a:.1f}h{-2 * a:.1f}z",
        "indecisive": f"M{x:.1f} {y - r:.1f}l{r:.1f} {r:.1f}l{-r:.1f} {r:.1f}l{-r:.1f} {-r:.1f}z",
        "probe": f"M{x:.1f} {y - r:.1f}l{r:.1f} {1.8 * r:.1f}h{-2 * r:.1f}z",
        "unanswered": f"M{x - r:.1f} {y:.1f}h{2 * r:.1f}",
    }
    return tag("path", kind=f"m {kind}", d=paths[kind])


def sign(kind: str) -> Markup:
    """The mark alone, for text; hidden from readers, since words stand beside it."""
    return tag("svg", mark(kind, 7, 7, 5), kind="sign", viewBox="0 0 14 14", aria_hidden="true")


def link(number: int, words: str, x: float, y: float, *drawing: Markup) -> Markup:
    """A mark that leads to a trial, with an area around it that a thumb can hit."""
    area = tag("circle", kind="area", cx=x, cy=y, r=12)
    inner = (tag("title", words), area, *drawing)
    return tag("a", *inner, kind="mark", href=f"#trial-{number}", aria_label=words)


def meter(share: float, kind: str = "") -> Markup:
    """A bar in a table, `share` of its cell from 0 to 1."""
    fill = tag("rect", kind="fill", width=f"{100 * share:.1f}%", height="100%", rx=3)
    return tag("svg", fill, kind=f"meter {kind}".rstrip(), aria_hidden="true")


def gauge(used: float, held: float) -> Markup:
    """A bar of a budget: shares used and reserved, 1 is all of it; marks at 50 and 80 %."""
    tone = "over" if used >= 0.8 else "half" if used >= 0.5 else "calm"
    widths = {"rest": "100%", "held": f"{100 * min(1.0, used + held):.1f}%", "fill": f"{100 * min(1.0, used):.1f}%"}
    bars = [tag("rect", kind=kind, width=width, height="100%", rx=4) for kind, width in widths.items()]
    lines = [tag("line", x1=f"{p}%", x2=f"{p}%", y1=0, y2="100%") for p in (50, 80)]
    words = f"{100 * used:.0f} % used; marks at 50 and 80 %"
    return tag("svg", *bars, *lines, kind=f"budget {tone}", role="img", aria_label=words)


# ----------------------------------------------------------------------------------------------------
# Scores by seed: a bar each, the mean and its interval across them.


def scores(seeds: Sequence[int], values: Sequence[float], mean: float, ci: Sequence[float] | None) -> Markup:
    """Bars of the score of each seed; the worst one stands out. One game has no mean and no interval `ci`."""
    low, high, worst = min(0.0, *values), max(1.0, *values, *(ci or ())), min(values)

    def draw(narrow: bool) -> Markup:
        size = (NARROW, 220) if narrow else (WIDE, 230)
        axes = Axes(*size, (0.0, float(len(values))), (low, high), right=8, top=16, bottom=40)
        bars = []
        for i, (seed, score) in enumerate(zip(seeds, values, strict=True)):
            top, bottom = sorted((axes.y(score), axes.y(0)))
            place = {"x": axes.x(i + 0.12), "y": top, "width": axes.x(0.76) - axes.x(0)}
            kind = "seed worst" if score == worst < max(values) else "seed"
            words = tag("title", f"seed {seed}: {score:g}")
            bars.append(tag("rect", words, kind=kind, **place, height=max(1.0, bottom - top), rx=2))
        band, legend = [], "seed"
        if ci:
            legend = "seed; dashed line: mean, band: its 95 % interval"
            place = {"x": axes.left, "y": axes.y(ci[1]), "width": axes.edge - axes.left}
            band = [
                tag("rect", kind="within", **place, height=max(1.0, axes.y(ci[0]) - axes.y(ci[1]))),
                tag("line", kind="average", x1=axes.left, x2=axes.edge, y1=axes.y(mean), y2=axes.y(mean)),
            ]
        every = max(1, len(values) // (6 if narrow else 15))
        return svg(
            *size, "score of each seed", axes.rows(sorted({low, (low + high) / 2, high}), lambda v: f"{v:.0f}"), *bars,
            axes.columns([i + 0.5 for i in range(0, len(values), every)], lambda v: str(seeds[int(v)])), *band,
            tag("text", legend, x=axes.left, y=axes.height - 4),
        )  # fmt: skip

    return both(draw)


# ----------------------------------------------------------------------------------------------------
# The learning curve: the incumbent's score and every trial, against what had been used by then.


class Span(NamedTuple):
    """An incumbent with its level, from x to x."""

    trial: int
    start: float
    end: float
    level: Estimate


class Point(NamedTuple):
    """A trial: where it stands (y None: it never played), its verdict, one line about it."""

    number: int
    kind: str
    words: str
    x: float
    y: float | None


def curve(
    spans: Sequence[Span], points: Sequence[Point], end: float, name: str, show: Callable[[float], str]
) -> Markup:
    """`spans` from left to right as steps with bands, `points` as marks; the x axis, called `name`, runs to `end`."""
    ends = [v for s in spans for v in (s.level.low, s.level.high, s.level.mean) if math.isfinite(v)]
    values = [*ends, *(p.y for p in points if p.y is not None)]
    pad = 0.06 * ((max(values) - min(values)) or 1)
    up = min(values) - pad, max(values) + pad

    def draw(narrow: bool) -> Markup:
        size = (NARROW, 320) if narrow else (WIDE, 330)
        axes = Axes(*size, (0.0, end), up, left=40 if narrow else 46, bottom=40 + LANE, right=10)
        below = replace(axes, bottom=40).columns(ticks(0.0, end, 4 if narrow else 8), show)
        played = [(p, axes.x(p.x), axes.y(p.y)) for p in points if p.y is not None]
        return svg(
            *size, f"score of the incumbent against {name}",
            axes.rows(ticks(*up, 5), short), below, axes.name(name, 6),
            *(_step(axes, s, following) for s, following in zip(spans, [*spans[1:], None], strict=True)),
            _lane(axes, [p for p in points if p.y is None]),
            *(link(p.number, p.words, x, y, mark(p.kind, x, y)) for p, x, y in played), *_numbers(axes.width, played),
        )  # fmt: skip

    return both(draw)


def _step(axes: Axes, span: Span, following: Span | None) -> Markup:
    """The band and line of one incumbent, and the step to the next."""
    left, right, e = axes.x(span.start), axes.x(span.end), span.level
    drawn = Markup("")
    if math.isfinite(e.low):
        top, tall = axes.y(e.high), max(1.0, axes.y(e.low) - axes.y(e.high))
        drawn = tag("rect", kind="band", x=left, y=top, width=max(2.0, right - left), height=tall)
    path = f"M{left:.1f} {axes.y(e.mean):.1f}H{right:.1f}"
    return drawn + tag("path", kind="line", d=path + (f"V{axes.y(following.level.mean):.1f}" if following else ""))


def _numbers(free: float, played: Sequence[tuple[Point, float, float]]) -> list[Markup]:
    """The numbers of accepted trials, from the last one back, as far as there is room for them."""
    drawn = []
    for p, x, y in reversed(played):
        room = 6 + 8 * len(str(p.number))
        if p.kind == "accept" and x + room / 2 <= free:
            drawn.append(tag("text", p.number, kind="number", x=x, y=y - 10))
            free = x - room / 2
    return drawn


def _lane(axes: Axes, stopped: Sequence[Point]) -> Markup:
    """Trials without a score, side by side below the plane, near where they happened."""
    y, edge = axes.foot + 20, axes.foot + 4
    line = tag("line", kind="grid", x1=axes.left, x2=axes.edge, y1=edge, y2=edge)
    xs = spread([axes.x(p.x) for p in stopped], 17, axes.left + 6, axes.edge - 6)
    marks = [link(p.number, p.words, x, y, mark(p.kind, x, y, 5)) for p, x in zip(stopped, xs, strict=True)]
    return line + Markup("").join(marks)


# ----------------------------------------------------------------------------------------------------
# Paired differences: every seed a dot, the mean with its interval, zero marked.


class Row(NamedTuple):
    """Differences with their mean. With a `number` the row leads to that trial, and `words` tell about it."""

    label: str
    kind: str
    differences: Sequence[float]
    mean: Estimate | None
    number: int = 0
    words: str = ""


def differences(rows: Sequence[Row], name: str) -> Markup:
    """All rows on one scale, `name` for readers. Numbered rows have their label on wide screens only."""
    values = [0.0, *(d for row in rows for d in row.differences)]
    low, high = min(values), max(values)
    pad, numbered = 0.04 * ((high - low) or 1), bool(rows[0].number)

    def draw(narrow: bool) -> Markup:
        left = (46 if narrow else 290) if numbered else 104 if narrow else 196
        size = NARROW if narrow else WIDE, len(rows) * ROW + 44
        axes = Axes(*size, (low - pad, high + pad), (0, 1), left=left, right=16, top=6, bottom=38)
        scale = axes.columns(ticks(*axes.across, 4 if narrow else 8), signed_short, lines=True)
        zero = tag("line", kind="zero", x1=axes.x(0), x2=axes.x(0), y1=axes.top, y2=axes.foot + 4)
        drawn = [
            _labelled(axes, row, axes.top + (i + 0.5) * ROW, narrow) + _row(axes, row, axes.top + (i + 0.5) * ROW)
            for i, row in enumerate(rows)
        ]
        return svg(*size, name, scale, zero, axes.name("difference of scores", 4), *drawn)

    return both(draw)


def _labelled(axes: Axes, row: Row, y: float, narrow: bool) -> Markup:
    if not row.number:
        label = row.label if len(row.label) <= (most := 15 if narrow else 27) else f"{row.label[: most - 1]}…"
        return tag("text", label, kind="label", x=axes.left - 10, y=y + 4, text_anchor="end")
    words = [tag("text", row.number, kind="label", x=26, y=y + 4)]
    if not narrow:
        words.append(tag("text", row.label, kind="label dim", x=52, y=y + 4))
    return link(row.number, row.words, 12, y, mark(row.kind, 12, y, 5), *words)


def _row(axes: Axes, row: Row, y: float) -> Markup:
    """Dots, stacked where they would cover each other, and the mean's bar."""
    (low, high), stacks, dots = axes.across, dict[int, int](), []
    for value in row.differences:
        column = round(value / ((high - low) / BINS))
        n = stacks[column] = stacks.get(column, 0) + 1
        lift = (n // 2) * 3.6 * (1 if n % 2 else -1)
        dots.append(f"M{axes.x(value):.1f} {y + max(-13, min(13, lift)):.1f}h0")
    drawn, e = tag("path", kind="dots", d=Markup("").join(dots)), row.mean
    if e is None:
        return drawn
    if math.isfinite(e.low):
        left, right = (axes.x(max(low, min(high, v))) for v in (e.low, e.high))
        drawn += tag("path", kind=f"bar {row.kind}", d=f"M{left:.1f} {y:.1f}H{right:.1f}")
    return drawn + tag("path", kind=f"mean {row.kind}", d=f"M{axes.x(e.mean):.1f} {y - 8:.1f}v16")
