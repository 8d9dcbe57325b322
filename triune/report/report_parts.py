"""Pieces of the report page: tiles, tables, the bar chart, embedded pictures. HTML text in, HTML text out.

Knows markup only. Everything that came from outside is escaped here.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

WIDTH, HEIGHT, FLOOR, TOP, LEFT = 1080, 230, 196, 16, 46


def tile(value: str, label: str, main: bool = False) -> str:
    """One figure."""
    return f'<div class="tile{" main" if main else ""}"><b>{escape(value)}</b><span>{escape(label)}</span></div>'


def rows(cells: Mapping[str, Any]) -> str:
    """A two-column table."""
    body = "".join(f"<tr><th>{escape(k)}</th><td><code>{escape(str(v))}</code></td></tr>" for k, v in cells.items())
    return f"<table>{body}</table>"


def counts(title: str, found: Mapping[str, int], total: int, alert: bool = False) -> str:
    """A table of how often each text occurred, with bars; `total` is the number of steps."""
    if not found:
        return f'<div class="card"><h3>{escape(title)}</h3><p class="dim">none</p></div>'
    most = max(found.values())
    kind = "bar alert" if alert else "bar"
    body = "".join(
        f'<tr><td>{escape(name)}</td><td class="{kind}"><div style="width:{100 * n / most:.1f}%"></div></td>'
        f'<td class="n">{n}</td><td class="n dim">{100 * n / max(1, total):.1f} %</td></tr>'
        for name, n in sorted(found.items(), key=lambda item: -item[1])
    )
    return f'<div class="card"><h3>{escape(title)}</h3><table>{body}</table></div>'


def chart(seeds: Sequence[int], scores: Sequence[float], mean: float, ci: Sequence[float]) -> str:
    """Bars of the score per seed with the mean and its interval, as inline SVG."""
    low, high = min(0.0, *scores), max(1.0, *scores, *ci)
    span = high - low

    def y(value: float) -> float:
        return FLOOR - (value - low) / span * (FLOOR - TOP)

    step = (WIDTH - LEFT - 8) / len(scores)
    bars = []
    for i, (seed, score) in enumerate(zip(seeds, scores, strict=True)):
        x, top, bottom = LEFT + i * step, min(y(score), y(0)), max(y(score), y(0))
        shade = "var(--red)" if score == min(scores) and min(scores) < max(scores) else "var(--blue)"
        height = max(1.0, bottom - top)
        bars.append(
            f'<rect x="{x + step * 0.12:.1f}" y="{top:.1f}" width="{step * 0.76:.1f}" height="{height:.1f}" rx="2" '
            f'fill="{shade}"><title>seed {seed}: {score:g}</title></rect>'
        )
        if i % max(1, len(scores) // 15) == 0:
            bars.append(f'<text x="{x + step / 2:.1f}" y="{FLOOR + 18}" text-anchor="middle">{seed}</text>')
    top, right, ink = y(ci[1]), WIDTH - 8, 'stroke="var(--ink)" stroke-dasharray="5 4"'
    tall = max(1.0, y(ci[0]) - y(ci[1]))
    band = f'<rect x="{LEFT}" y="{top:.1f}" width="{right - LEFT}" height="{tall:.1f}" fill="var(--ink)" opacity=".1"/>'
    line = f'<line x1="{LEFT}" x2="{right}" y1="{y(mean):.1f}" y2="{y(mean):.1f}" {ink}/>'
    ticks = "".join(
        f'<text x="{LEFT - 8}" y="{y(v) + 4:.1f}" text-anchor="end">{v:.0f}</text>'
        f'<line x1="{LEFT}" x2="{WIDTH - 8}" y1="{y(v):.1f}" y2="{y(v):.1f}" stroke="var(--line)"/>'
        for v in sorted({low, (low + high) / 2, high})
    )
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="score of each seed">'
        f"{ticks}{''.join(bars)}{band}{line}"
        f'<text x="{LEFT}" y="{HEIGHT - 2}">seed; dashed line: mean, band: its 95 % interval</text></svg>'
    )


def image(data: bytes, words: str, kind: str = "webp") -> str:
    """A picture inside the page."""
    return f'<img alt="{escape(words)}" src="data:image/{kind};base64,{base64.b64encode(data).decode()}">'


def card(title: str, body: str, note: str = "") -> str:
    """A box with a heading."""
    small = f'<p class="dim">{escape(note)}</p>' if note else ""
    return f'<div class="card"><h3>{escape(title)}</h3>{body}{small}</div>'


def strip(pictures: Sequence[tuple[bytes, str, str]]) -> str:
    """A contact sheet: (picture, bold caption, caption) side by side."""
    cells = "".join(
        f"<figure>{image(data, bold)}<figcaption><b>{escape(bold)}</b><br>{escape(words)}</figcaption></figure>"
        for data, bold, words in pictures
    )
    return f'<div class="strip">{cells}</div>'
