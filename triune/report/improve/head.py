"""The top of the page: what was improved, by how much, what it took, whether it is still running.

Knows totals and markup.
"""

from __future__ import annotations

from supervisor.loop.budget import KINDS as BUDGETS
from supervisor.loop.budget import UNKNOWN
from triune.report import report_parts as parts
from triune.report.improve import words
from triune.report.improve.figures import Estimate, level
from triune.report.improve.record import ImproveRun

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


def top(run: ImproveRun) -> str:
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
