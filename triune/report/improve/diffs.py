"""What a trial changed, as a coloured unified diff, or as the changes that were asked for when they did not apply.

Knows policy texts and markup. Does not know how edits are applied (`supervisor.edits`).
"""

from __future__ import annotations

from supervisor.edits.edits import diff
from triune.report.improve import words
from triune.report.improve.markup import folded
from triune.report.improve.record import ImproveRun, Trial

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
