"""The score card of a task: `scores.json` and the README.md made from it, both in the task's folder.

Only whole, unshifted evaluations by the network or the teacher enter.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_flywheel.storage.files import atomic_write, lock
from envs import shape
from envs.files import Unreadable, open_file, read_json
from envs.repeat import command_line, seeds_text
from supervisor.gate.seeds import role_of
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

Written by `{command}`; do not edit by hand. Scores are game scores, means over {seeds} with a 95 %
bootstrap interval. "Perfect sight" is the same policy on the teacher's exact scenes: the difference is the price of
seeing.

| protocol | from pixels | worst seed | perfect sight | worst seed | n | command |
|---|---|---|---|---|---|---|
"""
READ = """# {title}

Written by `{command}`; do not edit by hand. Scores are game scores, means over {seeds} with a 95 % bootstrap interval.
The scene is declared numbers of the observation ([bodies](../../docs/bodies.md)), not a picture.

| protocol | mean | worst seed | n | command |
|---|---|---|---|---|
"""  # of a task without a picture


def _command(value: Any, key: str) -> None:
    """A line that a person may repeat: `triune eval`, of quoted words, in one cell of a table."""
    shape.text(value, key)
    try:
        words = shlex.split(value)
    except ValueError:
        words = []
    told = value.isprintable() and not set(value) & set("`|")
    if words[:2] != ["triune", "eval"] or shlex.join(words) != value or not told:
        raise shape.Misfit(f"{key} is no line of triune eval")


_FIGURES = shape.table(
    {
        "mean": shape.number(), "ci95": shape.maybe(shape.row(shape.number(), shape.number())),
        "worst": shape.number(), "n": shape.whole(1), "command": _command,
    },
    {"role": shape.each(shape.words)},
)  # fmt: skip


def _entry(value: Any, key: str) -> None:
    """The figures from pixels, those by exact scenes in "teacher", or either."""
    shape.table({}, {"teacher": _FIGURES})(value, key)
    if value.keys() != {"teacher"}:
        _FIGURES(value, key)


def _protocols(value: Any, key: str) -> None:
    shape.named(_entry)(value, key)
    for name in value:
        if not name.isprintable() or set(name) & set("`|"):
            raise shape.Misfit(f"{key} has a name that no protocol has")


_CARD = shape.table({"format": shape.whole(FORMAT, FORMAT), "protocols": _protocols})


def read_scores(folder: Path) -> dict[str, Any]:
    """Protocol -> figures; empty when there is no card or it is damaged."""
    try:
        found: dict[str, Any] = read_json(folder / SCORES, "score card", within=folder, shape=_CARD)["protocols"]
    except Unreadable:
        return {}
    return found


_WHOLE = "a card takes whole, unshifted evaluations with the cnn or teacher detector; leave --card out"


def check(system: System, shift: str | None, detector: str, steps: int | None) -> None:
    """UsageError where an evaluation of these conditions is no score of the folder."""
    if system.policy_path.resolve() != (system.folder / "policy.py").resolve():
        raise UsageError(
            f"the score card is of the folder's own policy.py, not of {system.policy_path}; leave --card out"
        )
    if shift or detector not in ("cnn", "teacher") or steps:
        raise UsageError(_WHOLE)


def record(system: System, result: Result, steps: int | None, hashes: Mapping[str, str | None] | None = None) -> Path:
    """Enter an evaluation into the card; the card's path. UsageError for one that is no score. hashes: of what played,
    which may have changed since (default: the folder's)."""
    check(system, result.shift, result.detector, steps)
    if result.unfinished:
        raise UsageError(_WHOLE)
    figures = _figures(system, result, hashes or system.hashes())
    with _alone(system.folder):
        card = read_scores(system.folder)
        entry = card.setdefault(result.protocol, {})
        if result.detector == "teacher":
            entry["teacher"] = figures
        else:
            card[result.protocol] = {**figures, **({"teacher": entry["teacher"]} if "teacher" in entry else {})}
        text = json.dumps({"format": FORMAT, "task": system.name, "protocols": card}, indent=1)
        atomic_write(system.folder / SCORES, (text + "\n").encode())
        atomic_write(system.folder / CARD, _page(system, card).encode())
    return system.folder / CARD


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Alone with a folder's card, among processes. Its system.toml is locked, which nobody replaces meanwhile: a run
    that improves the task has the folder itself for hours."""
    with open_file(folder / "system.toml", "system.toml", UsageError, folder) as file:
        lock(file.fileno(), folder / SCORES)
        yield


def _figures(system: System, result: Result, hashes: Mapping[str, str | None]) -> dict[str, Any]:
    eyes = "teacher" if result.detector == "teacher" else None
    seeds, roles = seeds_text(result.seeds), {role_of(seed) for seed in result.seeds} - {"gate"}
    what = {"protocol": result.protocol, "seeds": seeds, "eyes": eyes, "trust": system.vouched(result.detector)}
    command = command_line("eval", system.called, **what)
    return {
        "mean": result.mean, "ci95": result.ci95, "iqm": result.iqm, "worst_decile": result.worst_decile,
        "worst": min(result.scores), "n": len(result.scores), "scores": result.scores, "frames": result.frames,
        "interventions": result.interventions, "faults": result.faults,
        "hashes": {name: hashes[name] for name in system.hashes()},
        "triune": __version__, "command": command, **({"role": sorted(roles)} if roles else {}),
    }  # fmt: skip


def _page(system: System, card: dict[str, Any]) -> str:
    rows, seeing = [], not system.spec.env.observed
    for protocol in sorted(card, key=lambda p: ORDER.index(p) if p in ORDER else len(ORDER)):
        seen, exact = card[protocol], card[protocol].get("teacher", {})
        cells = [f"`{protocol}`", *_pair(seen), *(_pair(exact) if seeing else ()), _seeds(seen, exact)]
        rows.append("| " + " | ".join([*cells, f"`{(seen if 'command' in seen else exact)['command']}`"]) + " |")
    gate = not any(f.get("role") for entry in card.values() for f in (entry, entry.get("teacher", {})))
    seeds = "gate seeds" if gate else "the seeds that the commands name"
    page = READ if system.spec.env.observed else HEAD
    head = page.format(title=system.spec.title, seeds=seeds, command=command_line("eval", system.called, card=True))
    return head + "\n".join(rows) + "\n"


def _seeds(seen: dict[str, Any], exact: dict[str, Any]) -> str:
    """How many seeds: one number, or pixels / perfect sight where they differ."""
    return " / ".join(dict.fromkeys(str(f["n"]) for f in (seen, exact) if "n" in f))


def _pair(figures: dict[str, Any]) -> tuple[str, str]:
    if "mean" not in figures:
        return "not measured", ""
    interval = f" [{figures['ci95'][0]:.1f}, {figures['ci95'][1]:.1f}]" if figures.get("ci95") else ""
    return f"**{figures['mean']:.1f}**{interval}", told_score(figures["worst"])
