"""`report.html`: one page about one evaluation, self-contained: nothing is loaded from anywhere."""

from __future__ import annotations

import base64
import shlex
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from data_flywheel.episodes.episode import Episode
from triune.console import Console
from triune.errors import TriuneError
from triune.play.evaluation import Result, Run, summarise
from triune.play.workers import Record
from triune.report.drawing import Painter
from triune.report.replay import pictures, write_replay
from triune.system import System, load

if TYPE_CHECKING:
    from collections.abc import Sequence


# ----------------------------------------------------------------------------------------------------
# Pieces of the report page: tiles, tables, the bar chart, embedded pictures. HTML text in, HTML text out.
#
# Everything that came from outside is escaped here.


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


# ----------------------------------------------------------------------------------------------------
# `report.html`: one page about one evaluation, self-contained: nothing is loaded from anywhere.


REPLAY = 260  # pictures of each replay in the page
MOMENTS = 3  # worst moments shown
BEFORE, AFTER, STRIDE = 13, 1, 2  # the window around a loss, in steps


def write_report(run: Run, out: Path | None = None, console: Console | None = None) -> Path:
    """Write the page of a run (default: report.html in its folder); TriuneError when no episode is finished."""
    request = run.info["request"]
    records = run.records()
    if not records:
        raise TriuneError(
            f"{run.path} holds no finished episode; continue it: triune eval {request['task']} --resume {run.path}"
        )
    system = load(request["folder"], bool(request.get("trust")), policy=request.get("policy"))
    result = run.result() or summarise(request, records, sum(r["seconds"] for r in records), 1)
    out = out or run.path / "report.html"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(_page(run, system, result, records, console), encoding="utf-8")
    return out


def _page(run: Run, system: System, result: Result, records: list[Record], console: Console | None) -> str:
    title = f"{system.spec.title}: {result.mean:.1f} points"
    body = "\n".join(
        [
            f"<h1>{escape(title)}</h1>", f'<p class="sub">{escape(_subtitle(run, result))}</p>',
            _tiles(result), "<h2>Scores</h2>", card("Score of each seed", _chart(result)),
            "<h2>Replays</h2>", _replays(run, system, records, console),
            "<h2>Worst moments</h2>", _moments(run, system, records),
            "<h2>What decided</h2>", _deciders(result), "<h2>How to repeat this</h2>", _provenance(run, result),
        ]
    )  # fmt: skip
    css = (Path(__file__).parent / "report.css").read_text("utf-8")
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
    head = f"<head>{head}<style>\n{css}</style></head>"
    return f'<!doctype html>\n<html lang="en">{head}<body><main>\n{body}\n</main></body></html>\n'


def _subtitle(run: Run, result: Result) -> str:
    looks = {
        "cnn": "from pixels",
        "teacher": "with the teacher's exact scenes (privileged)",
        "colour": "by colour rules",
    }
    shift = f", shift {result.shift}" if result.shift else ""
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(run.info.get("started")))
    cut = " · episodes cut short: not a score" if result.unfinished else ""
    return f"protocol {result.protocol}{shift} · played {looks[result.eyes]} · {len(result.seeds)} seeds · {when}{cut}"


def _tiles(r: Result) -> str:
    assert r.ci95 and r.mean is not None
    tiles = [
        tile(f"{r.mean:.1f}", "mean score", main=True),
        tile(_interval(r.ci95), "95 % interval of the mean"),
        tile(f"{r.iqm:.1f}", "interquartile mean"), tile(f"{r.worst_decile:.1f}", "worst decile"),
        tile(str(min(r.scores)), "worst seed"), tile(f"{r.frames_per_second or 0:,.0f}", "frames a second"),
    ]  # fmt: skip
    return f'<div class="tiles">{"".join(tiles)}</div>'


def _interval(ci: Sequence[float]) -> str:
    digits = 0 if max(map(abs, ci)) >= 100 else 1
    return f"{ci[0]:.{digits}f} – {ci[1]:.{digits}f}"


def _chart(r: Result) -> str:
    assert r.ci95 and r.mean is not None
    return chart(r.seeds, r.scores, r.mean, r.ci95)


def _replays(run: Run, system: System, records: list[Record], console: Console | None) -> str:
    """The episode nearest the median, and the worst when that is another."""
    ordered = sorted(records, key=lambda r: r["score"])
    chosen = {"Typical episode": ordered[len(ordered) // 2], "Worst episode": ordered[0]}
    if ordered[0] is ordered[len(ordered) // 2] or len(ordered) == 1:
        chosen = {"The episode" if len(ordered) == 1 else "Typical episode": ordered[len(ordered) // 2]}
    cards = []
    with tempfile.TemporaryDirectory() as folder:
        for name, record in chosen.items():
            path = Path(folder) / "replay.webp"
            note = write_replay(system, run.episode(record["seed"]), path, console, most=REPLAY)
            words = f"seed {record['seed']}, score {record['score']}"
            cards.append(card(f"{name}: {words}", image(path.read_bytes(), f"replay of {words}"), note.split(";")[0]))
    return f'<div class="pair">{"".join(cards)}</div>'


def _moments(run: Run, system: System, records: list[Record]) -> str:
    """The first loss of each of the lowest-scoring episodes, as a contact sheet of what led to it."""
    cards: list[str] = []
    for record in sorted(records, key=lambda r: r["score"]):
        episode = run.episode(record["seed"])
        lost = episode.losses()
        if lost and len(cards) < MOMENTS:
            cards.append(_moment(system, episode, lost[0]))
    if not cards:
        return card("None", "<p>No life and no point was lost in any episode.</p>")
    return f'<div class="stack">{"".join(cards)}</div>'


def _moment(system: System, episode: Episode, step: int) -> str:
    steps = [i for i in range(step - BEFORE, step + AFTER + 1, STRIDE) if 0 <= i < len(episode)]
    painter = Painter(system.schema, system.spec.env.actions.names, scale=2, panel=False)
    cells = []
    for i, drawn in zip(steps, pictures(system, episode, steps, painter), strict=False):
        rule = f" [{episode.overruled_by(i)}]" if episode.overruled_by(i) else ""
        action = system.spec.env.actions.tell(episode.actions[i])
        cells.append((_webp(drawn), f"{i}: {action}", episode.reason(i) + rule))
    what = "life" if episode.lives[step] < episode.lives[step - 1] else "point"
    head = f"Seed {episode.meta['seed']}: a {what} lost at step {step}"
    command = f"triune explain {episode.meta['task']} --episode {episode.meta['seed']} --step {step}"
    return card(head, strip(cells), command)


def _webp(image: np.ndarray) -> bytes:
    good, data = cv2.imencode(".webp", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_WEBP_QUALITY, 101])
    if not good:
        raise TriuneError("this OpenCV cannot write WebP; pip install --upgrade opencv-python")
    return bytes(data)


def _deciders(r: Result) -> str:
    rules = counts("Safety rules that overruled (steps)", r.interventions, r.steps, alert=True)
    faults = counts("Faults", r.fault_texts, r.steps, alert=True) if r.faults else ""
    words = f"faults {r.faults}, deadline misses {r.deadline_misses}, decisions {r.steps}, frames {r.frames}"
    reasons = counts("Reasons (steps)", r.reasons, r.steps)
    return f'<div class="pair">{reasons}<div class="stack">{rules}{faults}</div></div><p class="dim">{words}</p>'


def _provenance(run: Run, r: Result) -> str:
    request = run.info["request"]
    words = ["triune", "eval", r.task, "--protocol", r.protocol, "--seeds", _seeds(request["seeds"]), "--eyes", r.eyes]
    words += ["--shift", r.shift] if r.shift else []
    words += ["--steps", str(request["limit"])] if request.get("limit") else []
    hashes = {f"sha256 {k}" if k != "schema" else "schema": v or "none" for k, v in run.info["hashes"].items()}
    tables = "".join(f'<div class="card">{rows(t)}</div>' for t in (run.info["versions"], hashes))
    return f'<pre>{escape(shlex.join(words))}</pre><br><div class="pair">{tables}</div>'


def _seeds(seeds: Sequence[int] | Iterable[int]) -> str:
    numbers = list(seeds)
    if len(numbers) > 2 and numbers == list(range(numbers[0], numbers[-1] + 1)):
        return f"{numbers[0]}:{numbers[-1] + 1}"
    return ",".join(map(str, numbers))
