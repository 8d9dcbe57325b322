"""The lineage: the accepted chain from top to bottom, and under each policy the children that were tried on it.

Knows the order and the one line that stands for a trial. Does not know a trial's story (story.py).
"""

from __future__ import annotations

from triune.report.improve import story, words
from triune.report.improve.figures import Estimate, headline, level
from triune.report.improve.plot import sign
from triune.report.improve.record import KINDS, Accepted, ImproveRun, Trial


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
    body = f"<details><summary>{head}</summary>{story.body(run, t)}</details>"
    return f'<li class="trial {t.kind}" id="trial-{t.number}">{body}</li>'


def ended(t: Trial) -> str:
    """`rejected at full`."""
    return f"{KINDS[t.kind]} at {t.stage}" if t.stage and t.kind not in ("accept", "unanswered") else KINDS[t.kind]


def _tone(e: Estimate) -> str:
    """Coloured only where the interval leaves zero out."""
    return "up" if e.low > 0 else "down" if e.high < 0 else ""
