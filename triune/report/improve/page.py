"""The page of an improve run out of its parts, with a policy that lets the browser run our one script and load
nothing.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from supervisor.budget import KINDS as BUDGETS
from supervisor.budget import UNKNOWN
from supervisor.gate.seeds import role_of
from supervisor.gate.types import STAGES
from triune.report import page as parts
from triune.report.improve import lineage
from triune.report.improve import plots as pairs
from triune.report.improve import record as words
from triune.report.improve.figures import Estimate, headline, level
from triune.report.improve.lineage import ended
from triune.report.improve.plots import (
    NARROW,
    WIDE,
    Axes,
    both,
    folded,
    link,
    mark,
    sign,
    spread,
    svg,
    table,
    ticks,
    to_trial,
)
from triune.report.improve.record import ENDINGS as KINDS
from triune.report.improve.record import ImproveRun, Trial

# ----------------------------------------------------------------------------------------------------
# The top of the page: what was improved, by how much, what it took, whether it is still running.


STOPS = {
    "done": "finished", "budget": "stopped: a budget is used up", "interrupted": "interrupted",
    "proposer": "stopped: the proposer cannot answer", "trials": "finished: all trials done",
}  # fmt: skip
NAMES = {"usd": "cost", "tokens": "tokens", "steps": "frames", "wall_s": "wall time"}
EYES = {"cnn": "from pixels", "teacher": "with the teacher's exact scenes (privileged)", "colour": "by colour rules"}


def title(run: ImproveRun) -> str:
    """`breakout: 21.0 to 58.3 points`, as plain text."""
    first, last = _ends(run)
    task = words.visible(str(run.started.get("task", "?")))[:60]
    if first is None:
        return f"Improving {task}"
    if len(run.chain) == 1 or last is None:
        return f"Improving {task}: {words.points(first.mean)} points so far unbeaten"
    return f"Improving {task}: {words.points(first.mean)} → {words.points(last.mean)} points"


def _ends(run: ImproveRun) -> tuple[Estimate | None, Estimate | None]:
    return level(run, run.chain[0].policy), level(run, run.chain[-1].policy)


def state(run: ImproveRun) -> tuple[str, str, str]:
    """(tone, word, detail): whether and why it has stopped."""
    last = run.pauses[-1]
    why = str(last.data.get("why", ""))
    if last.kind != "run.stopped":
        return "busy", "running, or cut off", f"no end is on record; last event {words.moment(run.events[-1].at)}"
    tone = "good" if why in ("done", "trials") else "warn"
    return tone, STOPS.get(why, f"stopped: {why}"), str(last.data.get("detail", ""))


def heading(run: ImproveRun) -> str:
    """Heading, line of conditions, state."""
    data, (tone, word, detail) = run.started, state(run)
    eyes = EYES.get(str(data.get("eyes")), str(data.get("eyes", "")))
    line = (
        f"protocol {words.esc(data.get('protocol'), 60)} · played {words.esc(eyes, 60)} · "
        f"proposer {words.esc(data.get('proposer'), 80)} · started {words.moment(run.pauses[0].at)}"
    )
    badge = f'<span class="badge {tone}">{words.esc(word, 200)}</span>'
    said = f' <span class="dim">{words.esc(detail, 400)}</span>' if detail else ""
    return f'<h1>{words.esc(title(run), 200)}</h1><p class="sub">{line}</p><p class="state">{badge}{said}</p>'


def tiles(run: ImproveRun) -> str:
    """The figures that count."""
    last, spent = _ends(run)[1], run.spending
    between = words.interval(last.low, last.high) if last else ""
    between = f", 95 % {between}" if between else ""
    shown = [
        parts.tile(words.points(last.mean) if last else "–", f"mean score now{between}", main=True),
        parts.tile(f"{len(run.trials)}", "trial" if len(run.trials) == 1 else "trials"),
        parts.tile(f"{len(run.chain) - 1}", "accepted"),
        parts.tile(words.amount("steps", spent.spent("steps")), "emulator frames"),
        parts.tile(words.amount("tokens", spent.spent("tokens")), "tokens"),
        parts.tile(words.amount("usd", spent.spent("usd")), "cost"),
        parts.tile(words.duration(run.seconds()), "at work"),
    ]  # fmt: skip
    return f'<div class="tiles">{"".join(shown)}</div>'


def budgets(run: ImproveRun) -> str:
    """A bar for each budget that has a limit, with marks at 50 and 80 %."""
    rows = [_bar(run, which) for which in BUDGETS]
    return parts.card("Budgets", f'<div class="budgets">{"".join(rows)}</div>')


def _bar(run: ImproveRun, which: str) -> str:
    s = run.spending
    limit, spent, least, held = s.limits[which], s.spent(which), s.known[which], s.reserved(which)
    said = words.amount(which, spent)
    if spent == UNKNOWN:
        said += f" (at least {words.amount(which, least)} known or set aside)" if least else ""
    if held:
        said += f", {words.amount(which, held)} reserved"
    if not limit:
        return f'<div><b>{NAMES[which]}</b><span>{said}</span><span class="dim">no limit</span></div>'
    share = least / limit
    tone = "over" if share >= 0.8 else "half" if share >= 0.5 else "calm"
    more = min(100.0, 100 * (least + held) / limit)
    lines = "".join(f'<line x1="{p}%" x2="{p}%" y1="0" y2="100%"/>' for p in (50, 80))
    bar = (
        f'<svg class="budget {tone}" role="img" aria-label="{100 * share:.0f} % used; marks at 50 and 80 %">'
        f'<rect class="rest" width="100%" height="100%" rx="4"/><rect class="held" width="{more:.1f}%" height="100%" '
        f'rx="4"/><rect class="fill" width="{min(100.0, 100 * share):.1f}%" height="100%" rx="4"/>{lines}</svg>'
    )
    of = f"{said} of {words.amount(which, limit)}"
    return f'<div><b>{NAMES[which]}</b><span>{of} <span class="dim">{100 * share:.0f} %</span></span>{bar}</div>'


# ----------------------------------------------------------------------------------------------------
# Tables of the page: where trials stopped, what was learned, which seeds were opened, what was asked, integrity.


ASKS = {
    "schema": "is the answer complete, does the edit apply", "compile": "does the policy compile",
    "size": "is it small and fast enough", "locks": "are kept moments and score floors kept",
    "duplicate": "does it decide anything differently", "screen": "the first few seeds: clearly worse?",
    "full": "first block: better?", "probe": "more seeds of the first block", "confirm": "fresh block: still better?",
    "simplify": "would less text do", "accept": "becomes the incumbent",
}  # fmt: skip


def stages(run: ImproveRun) -> str:
    """How many reached each stage and how many ended there, by verdict."""
    ended = [t for t in run.trials.values() if t.stage]
    places = [STAGES.index(t.stage) for t in ended]  # type: ignore[arg-type]
    rows = []
    for i, stage in enumerate(STAGES):
        here, reached = [t for t in ended if t.stage == stage], sum(p >= i for p in places)
        kinds = Counter(t.kind for t in here)
        chips = " ".join(f'<span class="chip">{sign(k)} {n} {KINDS[k]}</span>' for k, n in kinds.items())
        share = 100 * reached / max(1, len(ended))
        fill = f'<rect class="fill" width="{share:.1f}%" height="100%" rx="3"/>'
        bar = f'<svg class="meter" aria-hidden="true">{fill}</svg>'
        rows.append(
            f'<tr class="{"" if here else "none"}"><th>{stage}<small>{ASKS[stage]}</small></th>'
            f'<td class="n">{reached}</td><td class="meter">{bar}</td><td>{chips or "–"}</td></tr>'
        )
    other = Counter(t.kind for t in run.trials.values() if not t.stage)
    note = ", ".join(f"{words.count(n, 'trial')}: {KINDS[k]}" for k, n in other.items())
    head = '<thead><tr><th>stage</th><th class="n">reached</th><th></th><th>ended here</th></tr></thead>'
    shown = f'<div class="scroll"><table class="stages">{head}<tbody>{"".join(rows)}</tbody></table></div>'
    return parts.card("How far each trial came", shown, f"Without a verdict of the gate: {note}." if note else "")


def lessons(run: ImproveRun) -> str:
    """What each idea that did not get in has taught, in the proposer's words."""
    failed = [t for t in run.trials.values() if t.kind not in ("accept", "open") and t.say("lesson")]
    if not failed:
        return parts.card("Lessons", '<p class="dim">No rejected idea has left a lesson.</p>')
    items = "".join(f"<li>{words.esc(t.say('lesson'), 600)} {_source(t)}</li>" for t in failed)
    return parts.card("In the proposer's words", f'<ul class="lessons">{items}</ul>')


def _source(t: Trial) -> str:
    return f'<a class="dim" href="#trial-{t.number}">trial {t.number}, {ended(t)}</a>'


def seeds(run: ImproveRun) -> str:
    """The ledger of openings, and how many seeds of each range were played."""
    played = run.seeds_played()
    rows = [
        (_span(opened), words.esc(role, 40), to_trial(n), str(len(opened)), str(_used(run, n, opened)))
        for n, role, opened in run.openings
    ]
    shown = table(("seeds", "opened to", "trial", ">opened", ">played"), rows) if rows else '<p class="dim">none</p>'
    used = ", ".join(f"{n:,} {name}" for name, n in sorted(played.items())) or "none"
    card = parts.card("Blocks opened", shown, f"Different seeds played: {used}.")
    return f'<div class="stack">{_audit(run, played)}{card}</div>'


def _span(opened: list[int]) -> str:
    if len(opened) > 2 and opened == list(range(opened[0], opened[-1] + 1)):
        return f"{opened[0]}–{opened[-1]}"
    return words.esc(opened, 60)


def _used(run: ImproveRun, number: int, opened: list[int]) -> int:
    """Seeds of a block that the trial's child or a variant has played."""
    trial = run.trials[number]
    mine = [run.scores.get(p, {}) for p in (trial.child, *trial.variants.values()) if p]
    return sum(any(s in scores for scores in mine) for s in opened)


def _audit(run: ImproveRun, played: Mapping[str, int]) -> str:
    opened = [o for o in run.openings if o[1] == "audit" or any(role_of(s) == "audit" for s in o[2])]
    foul = [name for name in ("audit", "forbidden") if played.get(name)]
    if not opened and not foul:
        return '<p class="note good">Audit seeds: never opened in this run.</p>'
    said = words.count(len(opened), "opening")
    return f'<p class="note bad">Audit seeds: {said}; played in this run: {words.esc(foul or "none")}.</p>'


def integrity(run: ImproveRun) -> str:
    """Whether the log is whole, and what happened to it."""
    last, texts = run.events[-1], run.texts
    resumed = [p for p in run.pauses if p.kind == "run.resumed"]
    cells = {
        "chain": f"verified from event 1 to event {last.n}",
        "hash of the last event": last.hash,
        "last event": f"{last.kind}, {words.moment(last.at)}",
        "end of the log": _end(run),
        "resumed": ", ".join(words.moment(p.at) for p in resumed) or "never",
        "texts": f"{words.count(len(texts.verified), 'text')} shown here, each verified by its hash",
    }
    for n, torn in run.torn:
        cells[f"torn end, event {n}"] = f"{torn.get('bytes')} bytes set aside in {torn.get('file')}"
    for name, missing in (("missing texts", texts.missing), ("damaged texts", texts.damaged)):
        if missing:
            cells[name] = ", ".join(sorted(missing))
    return parts.card("The log", parts.rows(cells))


def _end(run: ImproveRun) -> str:
    """What the head file and the bytes after the last line say."""
    path = run.folder / "events.jsonl"
    tail = len(path.read_bytes().rsplit(b"\n", 1)[-1]) if path.is_file() else 0
    head = "confirmed by events.head" if path.with_suffix(".head").is_file() else "events.head is missing: not checked"
    return f"{head}; an unfinished line of {tail} bytes after it" if tail else head


def asked(run: ImproveRun) -> str:
    """Settings, versions, hashes."""
    data = run.started
    request = {k: data.get(k, "") for k in ("run", "task", "folder", "protocol", "eyes", "proposer")}
    cells = {**request, **flattened(data.get("settings", {}))}
    for pause in run.pauses:
        if pause.kind == "run.resumed":
            cells |= flattened({f"resumed {words.moment(pause.at)}": pause.data})
    hashes = {f"sha256 {k}" if k != "schema" else k: v or "none" for k, v in dict(data.get("hashes") or {}).items()}
    cards = [
        parts.card(title, parts.rows({k: words.visible(words.flat(v)) for k, v in found.items()}))
        for title, found in (("Request", cells), ("Versions", dict(data.get("versions") or {})), ("Hashes", hashes))
        if found
    ]
    return f'<div class="pair">{cards[0]}<div class="stack">{"".join(cards[1:])}</div></div>'


def flattened(value: Any, name: str = "") -> dict[str, str]:
    """Nested settings as `gate.looks`: text."""
    if isinstance(value, Mapping):
        found: dict[str, str] = {}
        for key, inner in value.items():
            found |= flattened(inner, f"{name}.{key}" if name else str(key))
        return found
    return {name: "none" if value is None else words.flat(value)} if name else {}


# ----------------------------------------------------------------------------------------------------
# The learning curve: the incumbent's score and every trial, against what had been used by then.


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
            *(_curve_span(axes, s, nxt) for s, nxt in zip(spans, [*spans[1:], None], strict=True)),
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


def _curve_span(axes: Axes, span: Span, following: Span | None) -> str:
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


# ----------------------------------------------------------------------------------------------------
# One HTML file out of the parts, with a policy that lets the browser run our one script and load nothing.
#
# The hashes in the policy admit this style and this script only: markup that somebody smuggled in would neither run
# nor be styled, even if escaping had failed.


FOLDER = Path(__file__).parent.parent
SCRIPT = """(() => {
  const tip = document.body.appendChild(document.createElement("div"));
  tip.className = "tip"; tip.hidden = true;
  const hide = () => { tip.hidden = true; };
  for (const mark of document.querySelectorAll("a.mark")) {
    const title = mark.querySelector("title"), words = title.textContent;
    title.remove();
    const show = () => {
      tip.textContent = words; tip.hidden = false;
      const at = mark.querySelector(".area").getBoundingClientRect(), width = tip.offsetWidth;
      const left = Math.max(8, Math.min(at.left + at.width / 2 - width / 2, innerWidth - width - 24));
      tip.style.left = left + scrollX + "px";
      tip.style.top = at.top + scrollY - tip.offsetHeight - 4 + "px";
    };
    mark.addEventListener("pointerenter", show); mark.addEventListener("focus", show);
    mark.addEventListener("pointerleave", hide); mark.addEventListener("blur", hide);
  }
  const go = () => {
    hide();
    const target = document.getElementById(location.hash.slice(1)), box = target && target.querySelector("details");
    if (box && target.classList.contains("trial")) { box.open = true; target.scrollIntoView(); }
  };
  addEventListener("hashchange", go); go();
  const all = document.getElementById("all");
  all.hidden = false;
  all.addEventListener("click", () => {
    const open = all.getAttribute("aria-pressed") !== "true";
    for (const box of document.querySelectorAll(".trial > details")) box.open = open;
    all.setAttribute("aria-pressed", open); all.textContent = open ? "Close all" : "Open all";
  });
})();"""


def html(run: ImproveRun, replays: str) -> str:
    """The whole page. `replays` is the markup of that section."""
    sections = [
        ("curve", "Learning curve", curves(run)),
        ("replays", "Before and after", replays),
        ("lineage", "Lineage", _lineage(run)),
        ("stages", "Verdicts by stage", stages(run)),
        ("pairs", "Paired differences", pairs.forest(run)),
        ("lessons", "Learned from rejected ideas", lessons(run)),
        ("seeds", "Seeds", seeds(run)),
        ("asked", "What was asked", asked(run)),
    ]
    sections.append(("integrity", "Integrity", integrity(run)))  # last: it counts the texts the others showed
    links = "".join(f'<a href="#{name}">{title}</a>' for name, title, _ in sections)
    body = "".join(f'<section><h2 id="{name}">{title}</h2>{text}</section>' for name, title, text in sections)
    top = f"{heading(run)}{tiles(run)}{budgets(run)}<nav>{links}</nav>"
    return _document(title(run), f"<main>{top}{body}</main>")


def _lineage(run: ImproveRun) -> str:
    button = '<button id="all" type="button" hidden aria-pressed="false">Open all</button>'
    note = '<p class="dim">Each policy that got in, and under it every child tried on it. Open one for its story.</p>'
    return f'<div class="row">{note}{button}</div>{lineage.tree(run)}'


def _document(title: str, body: str) -> str:
    style = "\n" + "".join((FOLDER / name).read_text("utf-8") for name in ("report.css", "improve/improve.css"))
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(SCRIPT)}; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )
    head = (
        f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="color-scheme" content="light dark"><meta name="referrer" content="no-referrer">'
        f"<title>{escape(title)}</title><style>{style}</style>"
    )
    body = f"<body>{body}<script>{SCRIPT}</script></body>"
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n{body}</html>\n'


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
