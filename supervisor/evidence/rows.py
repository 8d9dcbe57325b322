"""The table of a failure: one line a step, with what was where, what was done and why, and what came of it.

Knows: one window and its episode, which things matter. Does not know: other failures, causes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from data_flywheel.episodes.episode import Episode
from supervisor.evidence.context import Context
from supervisor.evidence.moments import SUDDEN, lost_lives, rewards
from supervisor.evidence.steps import table_steps
from supervisor.evidence.tables import name
from supervisor.evidence.text import number, quoted, signed, table
from supervisor.evidence.things import FAINT, Cast, Slot, body
from supervisor.evidence.windows import UNSURE, Window

MOST_SLOTS = 5  # things in a table
SLOW = 0.3  # px per step below which nothing is said about speed


def steps_table(w: Window, e: Episode, context: Context, who: Cast) -> list[str]:
    """Lines of the table, the head first."""
    steps = table_steps(w, context.limits.rows)
    slots = [s for s in _slots(w, who) if any(body(e.scenes[i], s).there for i in steps)]
    sizes = [_size(e, slot, steps) for slot in slots]
    grids, gauges, lives = context.schema.grids, context.schema.gauges, bool(e.lives.any())
    head = ["step", "action", *(f"{s.name}{size}" for s, size in zip(slots, sizes, strict=True))]
    head += [*(f"{g.name} left" for g in grids), *(g.name for g in gauges), "score", *["lives"] * lives, "said"]
    rows, before = [], -1
    for i in steps:
        mark = "*" if i == w.anchor and w.moment.kind in SUDDEN else ""
        cells = [f"{i}{mark}", _action(e, i, context.actions)]
        cells += [_thing(e, s, i, size.endswith("w")) for s, size in zip(slots, sizes, strict=True)]
        rows.append([*cells, *_counts(e, i, context), *_score(e, i, lives), _said(e, i, before)])
        before = i
    return table(head, rows)


def _slots(w: Window, who: Cast) -> list[Slot]:
    """One's own thing, the one that came near, the other main ones; in the order of the schema."""
    first = [who.own] if who.own else []
    first += [w.meeting.slot] if w.meeting else []
    wanted = list(dict.fromkeys([*first, *who.main]))[:MOST_SLOTS]
    return sorted(wanted, key=lambda s: s.at)


def _action(e: Episode, step: int, actions: Sequence[str]) -> str:
    did, wanted = int(e.actions[step]), int(e.proposed[step])
    return name(actions, did) if did == wanted else f"{name(actions, did)} (wanted {name(actions, wanted)})"


def _counts(e: Episode, step: int, context: Context) -> list[str]:
    """Cells present in each grid, the value of each gauge."""
    vector, schema = np.nan_to_num(e.scenes[step]), context.schema
    left = [str(int((vector[schema.grid(g.name)] > 0.5).sum())) for g in schema.grids]
    return left + [number(float(vector[schema.gauge(g.name)])) for g in schema.gauges]


def _score(e: Episode, step: int, lives: bool) -> list[str]:
    """Score after the action with its change, lives likewise where the game has any."""
    change, lost = int(rewards(e)[step]), int(lost_lives(e)[step])
    score = str(int(e.scores[step])) + (f" {change:+d}" if change else "")
    return [score, str(int(e.lives[step])) + (f" {-lost}" if lost else "")] if lives else [score]


def _size(e: Episode, slot: Slot, steps: Sequence[int]) -> str:
    """The size of a thing for the head of its column; "x,y w" when its width changes between the steps."""
    bodies = [b for i in steps if (b := body(e.scenes[i], slot)).seen]
    if not bodies:
        return " x,y"
    widths = sorted(b.w for b in bodies)
    if widths[-1] - widths[0] > 1.5:
        return " x,y w"
    heights = sorted(b.h for b in bodies)
    return f" x,y ({number(widths[len(widths) // 2], 0)}x{number(heights[len(heights) // 2], 0)})"


def _thing(e: Episode, slot: Slot, step: int, width: bool) -> str:
    b = body(e.scenes[step], slot)
    if not b.seen and not b.sure > FAINT:
        return "-"
    said = f"{'' if b.seen else '~'}{number(b.x)},{number(b.y)}"
    if width:
        said += f" w{number(b.w)}"
    speed = [0.0 if abs(v) < SLOW else v for v in (b.vx, b.vy)]
    if any(speed):
        said += f" {signed(speed[0])},{signed(speed[1])}"
    return said + (f" ?{number(b.sure, 2)}" if b.seen and b.sure < UNSURE else "")


def _said(e: Episode, step: int, before: int) -> str:
    """The reason, the rule that changed the action and the fault, in full where they are new."""
    said = [] if before >= 0 and e.reasons[step] == e.reasons[before] else [quoted(e.reason(step), 80)]
    if e.overruled[step]:
        again = before >= 0 and e.overruled[step] == e.overruled[before]
        said.append("overruled again" if again else f"overruled by {quoted(e.overruled_by(step), 80)}")
    if e.faults[step]:
        again = before >= 0 and e.faults[step] == e.faults[before]
        said.append("same fault" if again else f"fault {quoted(e.fault(step), 120)}")
    return "; ".join(said)
