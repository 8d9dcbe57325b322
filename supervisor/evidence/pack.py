"""One request from one context: the sections in their order, each within its limit, and the pictures.

Knows: what the sections are called and how much they may say. Does not know: how they are made, who reads them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from supervisor.evidence import fixed, history, tables
from supervisor.evidence.context import Context
from supervisor.evidence.failures import Failure, Findings
from supervisor.evidence.sheets import sheet
from supervisor.evidence.steps import sheet_steps
from supervisor.evidence.text import Fitted, fit
from supervisor.protocols import Image, Request, Section

MEDIA = "image/png"
TITLES = (
    "Contract and scene", "Immutable rules", "Policy", "Scoreboard", "Failures", "Statistics", "Locks to keep",
    "Accepted so far", "Failed directions", "Remaining budgets", "Question",
)  # fmt: skip
POLICY, FAILURES = 2, 4


def build(context: Context) -> Request:
    """All that is said for one trial. The same context gives the same request, whatever the order of its episodes."""
    found = Findings(context)
    parts = _parts(context, found)
    spare = context.limits.total - sum(len(part.text) for i, part in enumerate(parts) if i != POLICY)
    parts[POLICY] = fit(fixed.policy(context), max(spare, context.limits.policy), "lines of the policy")
    sections = tuple(Section(title, part.text) for title, part in zip(TITLES, parts, strict=True))
    told = found.shown[: max(0, parts[FAILURES].kept - 1)]  # the first block is the overview
    images = _images(context, told) if _pictures(context) else ()
    return Request(context.task, context.trial, context.policy, sections, images)


def _pictures(context: Context) -> bool:
    return context.frames is not None and context.limits.cells > 0


def _parts(c: Context, found: Findings) -> list[Fitted]:
    """The sections in order; the policy's as short as it may have to be."""
    most = c.limits
    statistics = tables.statistics(found.episodes, found.windows, c.actions, c.span)
    return [
        fit(fixed.contract(c), most.contract, "parts of the contract"),
        fit(fixed.rules(c), most.rules, "lines of the rules"),
        Fitted("", 0),
        fit(history.scoreboard(c.scoreboard), most.scoreboard, "lines"),
        fit(found.blocks(_pictures(c)), most.failures, "parts"),
        fit(statistics, most.statistics, "lines"),
        fit(history.locks(c.locks), most.locks, "locks"),
        fit(history.lineage(c.trials), most.lineage, "accepted trials"),
        fit(history.failed(c.trials), most.failed, "failed trials"),
        fit(history.budgets(c.budgets), most.budgets, "budgets"),
        fit(fixed.QUESTION, most.question, "lines of the question"),
    ]


def _images(c: Context, told: Sequence[Failure]) -> tuple[Image, ...]:
    """A contact sheet for each failure. Frames are asked for once per episode: they may have to be played again."""
    assert c.frames is not None
    wanted = {f.label: sheet_steps(f.window, c.limits.cells) for f in told}
    frames: dict[int, dict[int, Any]] = {}
    for which in dict.fromkeys(f.window.moment.episode for f in told):
        mine = [f for f in told if f.window.moment.episode == which]
        steps = sorted({step for f in mine for step in wanted[f.label]})
        frames[which] = dict(zip(steps, c.frames(mine[0].episode, steps), strict=True))
    images = []
    for number, f in enumerate(told, 1):
        shown = [frames[f.window.moment.episode][step] for step in wanted[f.label]]
        data = sheet(f.title, f.episode, wanted[f.label], shown, c.schema, c.actions)
        images.append(Image(f"failure-{number}.png", MEDIA, data, f.title))
    return tuple(images)
