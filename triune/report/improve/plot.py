"""Plots as inline SVG, without scripts: axes, the marks of verdicts, one drawing for wide screens and one for phones.

Knows coordinates and markup. Does not know runs. Text that comes from outside is escaped by the caller.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from triune.report.improve.record import KINDS

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
