"""The story of one trial: what was said, what the gate answered, what was measured, and how to repeat it.

Knows the fields of a trial. Does not know how diffs and plots are drawn.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from supervisor.loop.budget import KINDS as BUDGETS
from triune.report.improve import diffs, pairs, words
from triune.report.improve.figures import held
from triune.report.improve.figures import pairs as pairs_of
from triune.report.improve.markup import folded, table
from triune.report.improve.record import KINDS, ImproveRun, Trial

HELD = {"yes": "held", "no": "did not hold", "open": "open", "untested": "not tested"}
FIGURES = {
    "pairs": "seeds", "parent": "parent, mean", "child": "child, mean", "difference": "difference", "p": "p",
    "low95": "lower 95 % bound", "high95": "upper 95 % bound", "ties": "equal scores",
    "parent_worst_decile": "parent, worst decile", "child_worst_decile": "child, worst decile",
    "parent_hard": "parent, hard rules /1000", "child_hard": "child, hard rules /1000",
}  # fmt: skip
BLOCKS = ("screen", "full", "probe", "confirm")  # prefixes of the verdict's numbers
MOST_SETTINGS = 8  # of a search that are shown


def body(run: ImproveRun, t: Trial) -> str:
    """Everything about a trial."""
    told = f'<div class="told">{_said(run, t)}{_measured(run, t)}</div>'
    return f"{told}{diffs.shown(run, t)}{pairs.strip(run, t)}{_search(t)}{_repeat(run, t)}"


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
