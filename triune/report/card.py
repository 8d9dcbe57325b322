"""The score card of a task: `scores.json` and the README.md made from it, both in the task's folder.

Only whole, unshifted evaluations by the network or the teacher enter.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_flywheel.storage.files import atomic_write
from envs.files import Unreadable, read_json
from envs.repeat import command_line, seeds_text
from triune.console import told_score
from triune.errors import UsageError
from triune.version import __version__

if TYPE_CHECKING:
    from triune.play.evaluation import Result
    from triune.system import System

FORMAT = 1
SCORES, CARD = "scores.json", "README.md"
ORDER = ("seed", "seed-sticky", "classic", "sticky")
HEAD = """# {title}

Written by `{command}`; do not edit by hand. Scores are game scores, means over gate seeds with a 95 %
bootstrap interval. "Perfect sight" is the same policy on the teacher's exact scenes: the difference is the price of
seeing.

| protocol | from pixels | worst seed | perfect sight | worst seed | n | command |
|---|---|---|---|---|---|---|
"""


def read_scores(folder: Path) -> dict[str, Any]:
    """Protocol -> figures; empty when there is no card or it is damaged."""
    try:
        card = read_json(folder / SCORES, "score card", within=folder)
    except Unreadable:
        return {}
    protocols = card.get("protocols") if isinstance(card, dict) and card.get("format") == FORMAT else None
    return protocols if isinstance(protocols, dict) else {}


def record(system: System, result: Result, steps_limit: int | None) -> Path:
    """Enter an evaluation into the card; the card's path. UsageError for one that is no score."""
    if result.shift or result.detector not in ("cnn", "teacher") or steps_limit or result.unfinished:
        raise UsageError("a card takes whole, unshifted evaluations with the cnn or teacher detector; leave --card out")
    card = read_scores(system.folder)
    entry = card.setdefault(result.protocol, {})
    figures = _figures(system, result)
    if result.detector == "teacher":
        entry["teacher"] = figures
    else:
        card[result.protocol] = {**figures, **({"teacher": entry["teacher"]} if "teacher" in entry else {})}
    text = json.dumps({"format": FORMAT, "task": system.name, "protocols": card}, indent=1)
    atomic_write(system.folder / SCORES, (text + "\n").encode())
    atomic_write(system.folder / CARD, _page(system, card).encode())
    return system.folder / CARD


def _figures(system: System, result: Result) -> dict[str, Any]:
    eyes = "teacher" if result.detector == "teacher" else None
    seeds = seeds_text(result.seeds)
    what = {"protocol": result.protocol, "seeds": seeds, "eyes": eyes, "trust": system.vouched(result.detector)}
    command = command_line("eval", system.called, **what)
    return {
        "mean": result.mean, "ci95": result.ci95, "iqm": result.iqm, "worst_decile": result.worst_decile,
        "worst": min(result.scores), "n": len(result.scores), "scores": result.scores, "frames": result.frames,
        "interventions": result.interventions, "faults": result.faults, "hashes": system.hashes(),
        "triune": __version__, "command": command,
    }  # fmt: skip


def _page(system: System, card: dict[str, Any]) -> str:
    rows = []
    for protocol in sorted(card, key=lambda p: ORDER.index(p) if p in ORDER else len(ORDER)):
        seen, exact = card[protocol], card[protocol].get("teacher", {})
        cells = [f"`{protocol}`", *_pair(seen), *_pair(exact), _seeds(seen, exact)]
        rows.append("| " + " | ".join([*cells, f"`{(seen if 'command' in seen else exact)['command']}`"]) + " |")
    head = HEAD.format(title=system.spec.title, command=command_line("eval", system.called, card=True))
    return head + "\n".join(rows) + "\n"


def _seeds(seen: dict[str, Any], exact: dict[str, Any]) -> str:
    """How many seeds: one number, or pixels / perfect sight where they differ."""
    return " / ".join(dict.fromkeys(str(f["n"]) for f in (seen, exact) if "n" in f))


def _pair(figures: dict[str, Any]) -> tuple[str, str]:
    if "mean" not in figures:
        return "not measured", ""
    interval = f" [{figures['ci95'][0]:.1f}, {figures['ci95'][1]:.1f}]" if figures.get("ci95") else ""
    return f"**{figures['mean']:.1f}**{interval}", told_score(figures["worst"])
