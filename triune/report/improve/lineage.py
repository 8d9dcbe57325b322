"""The lineage: the accepted chain from top to bottom, and the story of each child that was tried on it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from supervisor.budget import KINDS as BUDGETS
from supervisor.edits.edits import diff
from triune.report.improve import plots as pairs
from triune.report.improve import record as words
from triune.report.improve.figures import Estimate, headline, held, level
from triune.report.improve.figures import pairs as pairs_of
from triune.report.improve.plots import folded, sign, table
from triune.report.improve.record import ENDINGS as KINDS
from triune.report.improve.record import Accepted, ImproveRun, Trial

# ----------------------------------------------------------------------------------------------------
# What a trial changed, as a coloured unified diff, or as the changes that were asked for when they did not apply.


OPEN = 60  # lines up to which a diff is open from the beginning
MOST_LINES = 500
MOST_CHARACTERS = 400_000  # of a text that is compared
LONGEST_LINE = 400
_CLASS = {"+": "add", "-": "del", "@": "hunk"}


def shown(run: ImproveRun, trial: Trial) -> str:
    """A closed block with the diff from the parent to the child, and to the simpler variant where that was taken."""
    old, new = run.texts.text(trial.parent), run.texts.text(trial.child)
    blocks = []
    if old is not None and new is not None:
        blocks.append(_block("What was changed", old, new))
    elif trial.say("changes"):
        why = "the changes did not apply" if not trial.child else "the policy texts are missing"
        blocks.append(_asked(trial, why))
    variant = run.texts.text(trial.won) if trial.won and trial.won != trial.child else None
    if old is not None and variant is not None:
        blocks.append(_block("What was taken instead: a simpler variant", old, variant))
    return "".join(blocks)


def _block(title: str, old: str, new: str) -> str:
    if max(len(old), len(new)) > MOST_CHARACTERS:
        return f'<p class="dim">{title}: too long to compare here</p>'
    lines = diff(old, new).split("\n")[2:-1]  # without the names of the files
    added, gone = (sum(line[:1] == sign for line in lines) for sign in "+-")
    size = f'<span class="plus">+{added}</span> <span class="minus">−{gone}</span>'
    return folded(f"{title} {size}", _pre(lines), shown=len(lines) <= OPEN)


def _pre(lines: list[str]) -> str:
    body = []
    for line in lines[:MOST_LINES]:
        kind = _CLASS.get(line[:1], "")
        body.append(f'<span class="{kind}">{words.esc(line, LONGEST_LINE) or " "}</span>')
    more = len(lines) - MOST_LINES
    rest = f'<p class="dim">{more:,} more lines are not shown</p>' if more > 0 else ""
    return f'<pre class="diff" tabindex="0" role="region" aria-label="diff">{"".join(body)}</pre>{rest}'


def _asked(trial: Trial, why: str) -> str:
    """The changes as they were proposed."""
    lines: list[str] = []
    changes = trial.say("changes")
    for change in changes if isinstance(changes, list) else [changes]:
        if isinstance(change, dict):
            lines += [f"@ {k} {words.flat(v)}" for k, v in change.items() if k != "code"]
            lines += [f"+{line}" for line in words.flat(change.get("code", "")).split("\n")]
        else:
            lines.append(f"+{words.flat(change)}")
    return folded(f"What was asked for ({why})", _pre(lines))


# ----------------------------------------------------------------------------------------------------
# The story of one trial: what was said, what the gate answered, what was measured, and how to repeat it.


HELD = {"yes": "held", "no": "did not hold", "open": "open", "untested": "not tested"}
FIGURES = {
    "pairs": "seeds", "parent": "parent, mean", "child": "child, mean", "difference": "difference", "p": "p",
    "low95": "lower 95 % bound", "high95": "upper 95 % bound", "ties": "equal scores",
    "parent_worst_decile": "parent, worst decile", "child_worst_decile": "child, worst decile",
    "parent_hard": "parent, hard rules /1000", "child_hard": "child, hard rules /1000",
}  # fmt: skip
BLOCKS = ("screen", "full", "probe", "confirm")  # prefixes of the verdict's numbers
MOST_SETTINGS = 8  # of a search that are shown


def story(run: ImproveRun, t: Trial) -> str:
    """Everything about a trial."""
    told = f'<div class="told">{_said(run, t)}{_measured(run, t)}</div>'
    return f"{told}{shown(run, t)}{pairs.strip(run, t)}{_search(t)}{_repeat(run, t)}"


def _said(run: ImproveRun, t: Trial) -> str:
    """What the proposer said, and what the gate answered."""
    outcome, why = held(run, t)
    asked = t.say("prediction")
    kept = ", ".join(f"<code>{words.esc(name, 200)}</code>" for name in t.accepted.get("locks", ()))
    said = {
        "Diagnosis": words.esc(t.say("diagnosis")), "Hypothesis": words.esc(t.say("hypothesis")),
        "Prediction": words.esc(asked),
        "Did it hold, by the score?": f'<b class="held {outcome}">{HELD[outcome]}</b>: {why}' if asked else "",
        "Verdict": _verdict(t), "Lesson if it fails": words.esc(t.say("lesson")),
        "Moments it wants kept": _listed(t.say("locks")), "Frames it wants labelled": _listed(t.say("data_requests")),
        "Locks made": kept, "Note": words.esc(t.accepted.get("note")),
    }  # fmt: skip
    return f"<dl>{''.join(f'<dt>{name}</dt><dd>{text}</dd>' for name, text in said.items() if text)}</dl>"


def _verdict(t: Trial) -> str:
    where = f" at stage <b>{t.stage}</b>" if t.stage and t.kind not in ("accept", "unanswered") else ""
    return f"{KINDS[t.kind]}{where}{_listed(t.verdict.get('reasons'))}"


def _listed(items: Any) -> str:
    if not isinstance(items, list) or not items:
        return words.esc(items)
    return f"<ul>{''.join(f'<li>{words.esc(item)}</li>' for item in items)}</ul>"


def _measured(run: ImproveRun, t: Trial) -> str:
    """Numbers of the verdict by block, other measurements, what the trial cost."""
    numbers = _numbers(t.verdict.get("numbers"))
    blocks = [b for b in BLOCKS if any(k.startswith(f"{b}_") for k in numbers)]
    tables = [_blocks(numbers, blocks)] if blocks else []
    before = _numbers(run.state.compiled.get(t.child, {}).get("measured"))
    before |= {k: v for k, v in numbers.items() if k.split("_")[0] not in blocks}
    other = {name: words.plain(value) for name, value in before.items()}
    locks = run.state.locks.get((t.parent, t.child), {})
    other |= {f"lock {name}": "kept" if good else "broken" for name, good in locks.items()}
    names = {"steps": "emulator frames", "usd": "cost", "wall_s": "time"}
    cost = (t.of.judged or {}).get("cost") or t.of.spent
    used = {names.get(w, w): words.amount(w, cost[w]) for w in BUDGETS if w in cost}
    for title, cells in (("Measured before playing", other), ("Used", used)):
        if cells:
            tables.append(f"<h4>{title}</h4>{_rows(cells)}")
    return f'<div class="numbers">{"".join(tables)}</div>'


def _numbers(told: Any) -> dict[str, float]:
    found = told if isinstance(told, Mapping) else {}
    return {k: v for k, v in found.items() if isinstance(v, (int, float)) and not isinstance(v, bool)}


def _blocks(numbers: Mapping[str, float], blocks: Sequence[str]) -> str:
    head = "".join(f'<th class="n">{b}</th>' for b in blocks)
    rows = []
    for key, name in FIGURES.items():
        cells = [numbers.get(f"{b}_{key}") for b in blocks]
        if any(c is not None for c in cells):
            shown = "".join(f'<td class="n">{"–" if c is None else words.plain(c)}</td>' for c in cells)
            rows.append(f"<tr><th>{name}</th>{shown}</tr>")
    table = f"<table><thead><tr><th></th>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    return f"<h4>Numbers of the gate</h4>{table}"


def _rows(cells: Mapping[str, str]) -> str:
    rows = (f'<tr><th>{words.esc(k, 80)}</th><td class="n">{words.esc(v, 80)}</td></tr>' for k, v in cells.items())
    return f"<table>{''.join(rows)}</table>"


def _search(t: Trial) -> str:
    """Settings that a search tried on training seeds, best first."""
    if not t.tried:
        return ""
    ordered = sorted(t.tried, key=lambda tried: -_mean(tried.get("scores")))
    rows = [
        (words.esc(o.get("values"), 300), words.points(_mean(o.get("scores"))), str(len(o.get("scores") or ())))
        for o in ordered[:MOST_SETTINGS]
    ]
    title = f"{words.count(len(t.tried), 'setting')} tried on training seeds"
    return folded(title, table(("settings", ">mean", ">seeds"), rows))


def _mean(scores: Any) -> float:
    values = [float(s) for s in scores or ()]
    return sum(values) / max(1, len(values))


def _repeat(run: ImproveRun, t: Trial) -> str:
    """Commands that give the scores of parent and child again, from the texts kept in the task's folder."""
    data, lines = run.started, []
    for role in ("select", "confirm"):
        seeds = [p.seed for p in pairs_of(run, t, role)]
        if not seeds or seeds != list(range(seeds[0], seeds[0] + len(seeds))):
            continue
        for policy in (t.parent, t.child):
            text = f"{data.get('folder', '')}/lineage/{run.name(policy)}.py"
            line = ["triune", "eval", str(data.get("task", "")), "--policy", text, "--eyes", str(data.get("eyes", ""))]
            line += ["--protocol", str(data.get("protocol", "")), "--seeds", f"{seeds[0]}:{seeds[-1] + 1}"]
            lines.append(shlex.join(line))
    if not lines:
        return ""
    return folded("Repeat these scores", f"<pre>{words.esc(chr(10).join(lines))}</pre>")


# ----------------------------------------------------------------------------------------------------
# The lineage: the accepted chain from top to bottom, and under each policy the children that were tried on it.


def tree(run: ImproveRun) -> str:
    """Nested lists: policies, and the trials that started from each while it was the incumbent."""
    ends = [a.trial for a in run.chain[1:]] + [max(run.trials, default=0)]
    begins = [0, *ends]
    items = []
    for i, accepted in enumerate(run.chain):
        trials = [t for t in run.trials.values() if begins[i] < t.number <= ends[i]]
        items.append(_policy(run, i, accepted, trials))
    return f'<ol class="lineage">{"".join(items)}</ol>'


def _policy(run: ImproveRun, i: int, accepted: Accepted, trials: list[Trial]) -> str:
    score = level(run, accepted.policy)
    last = i == len(run.chain) - 1
    name = f"Policy of trial {accepted.trial}" if accepted.trial else "The policy it began with"
    name += " (incumbent)" if last else ""
    shown = f"{words.points(score.mean)} points {words.interval(score.low, score.high)}" if score else "not played yet"
    seeds = f", {words.count(score.n, 'seed')}" if score else ""
    sha = f'<code title="sha256 of the text">{run.name(accepted.policy)} {words.esc(accepted.policy[:12])}</code>'
    head = f'<p><b>{name}</b> <span class="dim">{shown}{seeds}</span> {sha}</p>'
    body = f'<ol class="children">{"".join(_trial(run, t) for t in trials)}</ol>' if trials else ""
    return f'<li class="policy{" last" if last else ""}" id="policy-{i}">{head}{body}</li>'


def _trial(run: ImproveRun, t: Trial) -> str:
    found = headline(run, t)
    gain = f'<span class="gain {_tone(found)}">{words.signed(found.mean)}</span>' if found else ""
    empty = "under way" if t.kind == "open" else words.flat(t.say("target")) or "no hypothesis was given"
    what = words.first_line(t.say("hypothesis") or t.of.failed or empty)
    badge = f'<span class="badge {t.kind}">{ended(t)}</span>'
    head = f'{sign(t.kind)}<b class="no">{t.number}</b><span class="what">{what}</span>{gain}{badge}'
    body = f"<details><summary>{head}</summary>{story(run, t)}</details>"
    return f'<li class="trial {t.kind}" id="trial-{t.number}">{body}</li>'


def ended(t: Trial) -> str:
    """`rejected at full`."""
    return f"{KINDS[t.kind]} at {t.stage}" if t.stage and t.kind not in ("accept", "unanswered") else KINDS[t.kind]


def _tone(e: Estimate) -> str:
    """Coloured only where the interval leaves zero out."""
    return "up" if e.low > 0 else "down" if e.high < 0 else ""
