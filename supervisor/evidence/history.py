"""Where the search stands: scores, locks, what was accepted, what failed and why, what may still be spent.

Knows: records of trials, figures, budgets. Does not know: episodes, how a trial is judged.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from supervisor.evidence.context import GateSummary, LockNote, Scoreboard
from supervisor.evidence.text import number, quoted, signed, table, word
from supervisor.loop.budget import KINDS, UNKNOWN

ACCEPT = "accept"
WORDS = 300  # characters of a hypothesis or a lesson


def scoreboard(board: Scoreboard) -> list[str]:
    """The incumbent's scores, most telling first."""
    lines = []
    if board.gate:
        g = board.gate
        hard = "" if g.hard is None else f", hard interventions and faults per 1000 decisions {number(g.hard, 3)}"
        lines.append(f"Gate seeds (never shown): {_figures(g)}{hard}.")
    else:
        lines.append("Gate seeds: the incumbent has not been played there yet.")
    if board.train:
        scores = [float(board.train[seed]) for seed in sorted(board.train)]
        lines.append(f"Training seeds: {_figures(GateSummary.of(scores))}, best {number(max(scores))}.")
        each = (f"{seed}: {number(board.train[seed])}" for seed in sorted(board.train))
        lines.append(f"By seed: {', '.join(each)}.")
    lines += [f"For comparison, {quoted(name, 60)}: mean {number(mean)}." for name, mean in board.others.items()]
    return lines


def _figures(g: GateSummary) -> str:
    known = math.isfinite(g.low) and math.isfinite(g.high)
    interval = f"[{number(g.low)}, {number(g.high)}]" if known else "unknown (too few)"
    return f"mean {number(g.mean)}, 95 % interval {interval}, n {g.n}, worst decile {number(g.worst_decile)}"


def locks(notes: Sequence[LockNote]) -> list[str]:
    """A line each."""
    if not notes:
        return ["None yet."]
    return [
        f"- {word(n.name)}{f' ({word(n.kind)})' if n.kind else ''}{f': {quoted(n.note, 160)}' if n.note else ''}"
        for n in notes
    ]  # fmt: skip


def lineage(trials: Sequence[Mapping[str, Any]]) -> list[str]:
    """Accepted trials, newest first: hypothesis and measured effect."""
    found, runs = [t for t in trials if t.get("verdict") == ACCEPT], _runs(trials)
    return [
        f"- trial {_trial(t, runs)}{_target(t)}: {quoted(t.get('hypothesis') or '', WORDS)}; effect {_effect(t)}"
        for t in reversed(found)
    ] or ["Nothing has been accepted yet."]  # fmt: skip


def failed(trials: Sequence[Mapping[str, Any]]) -> list[str]:
    """All other trials, newest first: hypothesis, where and why it ended, the lesson drawn."""
    found, runs = [t for t in trials if t.get("verdict") != ACCEPT], _runs(trials)
    return ["\n".join(_failed(t, runs)) for t in reversed(found)] or ["Nothing has failed yet."]


def _failed(t: Mapping[str, Any], runs: int) -> Iterator[str]:
    yield (
        f"- trial {_trial(t, runs)}{_target(t)}: {quoted(t.get('hypothesis') or '', WORDS)}; "
        f"{word(t.get('verdict') or UNKNOWN)} at {word(t.get('stage') or UNKNOWN)}; effect {_effect(t)}"
    )
    reasons = t.get("reasons")
    if isinstance(reasons, (list, tuple)) and reasons:
        more = f" and {len(reasons) - 2} more" if len(reasons) > 2 else ""
        yield f"  because {', '.join(quoted(r, 160) for r in reasons[:2])}{more}"
    if t.get("lesson"):
        yield f"  lesson {quoted(t['lesson'], WORDS)}"


def _runs(trials: Sequence[Mapping[str, Any]]) -> int:
    return len({str(t.get("run")) for t in trials})


def _trial(t: Mapping[str, Any], runs: int) -> str:
    """Its number, and its run when there are several."""
    return number(t.get("trial", UNKNOWN), 0) + (f" of run {word(t.get('run', UNKNOWN))}" if runs > 1 else "")


def _target(t: Mapping[str, Any]) -> str:
    return f" ({word(t['target'])})" if t.get("target") else ""


def _effect(t: Mapping[str, Any]) -> str:
    """The paired difference of means with its bounds, on the fresh block if it was played."""
    numbers = t.get("numbers")
    if isinstance(numbers, Mapping):
        for block in ("confirm", "full", "probe", "screen"):
            if f"{block}_difference" in numbers:
                got = {k: numbers.get(f"{block}_{k}") for k in ("difference", "low95", "high95", "pairs")}
                low, high = _number(got["low95"]), _number(got["high95"])
                return f"{_signed(got['difference'])} [{low}, {high}] on {_number(got['pairs'], 0)} pairs"
    return "not measured"


def _number(value: object, digits: int = 1) -> str:
    return "?" if value is None else number(value, digits)


def _signed(value: object) -> str:
    return signed(value) if isinstance(value, (int, float)) else _number(value)


def budgets(told: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What `Budgets.table()` says, a line for each kind."""
    if not told:
        return ["No limits were told."]
    head = ["of", "limit", "spent", "reserved", "left"]
    order = [*(k for k in KINDS if k in told), *sorted(set(told) - set(KINDS))]
    return table(head, [_budget(which, told[which]) for which in order])


def _budget(which: str, row: Mapping[str, Any]) -> list[str]:
    digits = 4 if which == "usd" else 0
    spent = row.get("spent")
    known = isinstance(spent, (int, float))
    said = number(spent, digits) if known else f"unknown, at least {_number(row.get('at_least'), digits)}"
    limit, left = row.get("limit"), row.get("left")
    return [
        KINDS.get(which) or word(which), "none" if limit is None else number(limit, digits), said,
        _number(row.get("reserved"), digits), "no limit" if left is None else number(left, digits),
    ]  # fmt: skip
