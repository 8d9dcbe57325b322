"""`triune explain`: why the system did what it did at one step of a recorded episode."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from envs.repeat import command_line
from perception.scene import SLOT_FIELDS
from triune.commands import common
from triune.console import Console, table, told_score
from triune.errors import UsageError

if TYPE_CHECKING:
    from data_flywheel.episodes.episode import Episode
    from triune.system import System

AROUND = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Task, episode, step."""
    common.add_task(parser)
    common.add_episode(parser)
    parser.add_argument("--step", type=int, metavar="N", help="default: the first at which something was lost")
    parser.add_argument("--full", action="store_true", help="conditions inside library functions too")


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Payload: `scene` (flat), `decision`, `source` lines, `neighbours`, `trace` (None and `trace_error` when the
    policy does not compile)."""
    system = common.load_system(args)
    from triune.play.evaluation import find_episode

    episode, where = find_episode(system, args.episode)
    step = worst_step(episode) if args.step is None else args.step
    if not 0 <= step < len(episode):
        raise UsageError(f"step {step} is outside this episode: 0 to {len(episode) - 1}")
    payload = explain(system, episode, step) | trace(system, episode, step, args.full)
    payload["episode"] = where
    show(payload, console)
    return payload


def trace(system: System, episode: Episode, step: int, full: bool) -> dict[str, Any]:
    """The trace, or why there is none: the rest is worth showing all the same."""
    from logic.errors import LogicError
    from triune.report.explain import trace_step

    try:
        return {"trace": trace_step(system, episode, step, full), "trace_error": None}
    except LogicError as error:
        first = str(error).split("\n")[0]
        return {"trace": None, "trace_error": f"{first} (see `{command_line('check', system.called)}`)"}


def worst_step(episode: Episode) -> int:
    """The first loss, else the last step."""
    return (episode.losses() or [max(0, len(episode) - 1)])[0]


def explain(system: System, episode: Episode, step: int) -> dict[str, Any]:
    """Everything known about one step, as JSON values."""
    told, reason = system.spec.env.actions.tell, episode.reason(step)
    scene = system.schema.read(episode.scenes[step]).as_dict()
    around = range(max(0, step - AROUND), min(len(episode), step + AROUND + 1))
    return {
        "task": system.name, "seed": episode.meta.get("seed"), "protocol": episode.meta.get("protocol"), "step": step,
        "steps": len(episode), "scene": scene,
        "decision": {
            "action": told(episode.actions[step]), "proposed": told(episode.proposed[step]),
            "reason": reason, "overruled_by": episode.overruled_by(step) or None,
            "fault": common.told_fault(system, episode.fault(step)) or None,
        },
        "score": episode.scores[step].item(), "lives": int(episode.lives[step]), "source": source_lines(system, reason),
        "source_changed": episode.meta.get("policy") != system.hashes()["policy"],
        "neighbours": [neighbour(system, episode, i) for i in around],
    }  # fmt: skip


def neighbour(system: System, episode: Episode, i: int) -> dict[str, Any]:
    """A step in short: what was done, why, and where things were."""
    scene = system.schema.read(episode.scenes[i])
    things: dict[str, Any] = {}
    for thing in system.schema.things:
        slot = getattr(scene, thing.name) if thing.count == 1 else getattr(scene, thing.name)[0]
        things[thing.name] = [round(slot.x, 1), round(slot.y, 1)] if slot.seen else None
    for reading in system.schema.readings:
        slot = getattr(scene, reading.name)
        values = [float(f"{getattr(slot, f.name):.4g}") for f in reading.fields]
        things[reading.name] = values if slot.seen else None
    action = system.spec.env.actions.tell(episode.actions[i])
    return {
        "step": i, "action": action, "reason": episode.reason(i), "overruled_by": episode.overruled_by(i) or None,
        "score": episode.scores[i].item(), "lives": int(episode.lives[i]), "things": things,
    }  # fmt: skip


def source_lines(system: System, reason: str) -> list[dict[str, Any]]:
    """Where policy.py gives this reason: line numbers and text; nothing when it does not compile."""
    from logic.errors import LogicError

    try:
        numbers = system.logic().policy.reasons.get(reason, [])
    except LogicError:
        return []
    lines = system.texts.policy.split("\n")
    return [{"file": "policy.py", "line": n, "text": lines[n - 1].strip()} for n in numbers]


def show(p: dict[str, Any], console: Console) -> None:
    """The payload for people."""
    d = p["decision"]
    console.say(
        f"{p['task']}  {p['protocol']}  seed {p['seed']}  step {p['step']} of {p['steps']}   "
        f"score {told_score(p['score'])}" + (f"  lives {p['lives']}" if p["lives"] else "")
    )
    console.say()
    rows: dict[str, dict[str, float]] = {}
    for name, value in p["scene"].items():
        thing, _, field = name.rpartition(".")
        if thing:
            rows.setdefault(thing, {})[field] = value
    boxes = {name: values for name, values in rows.items() if tuple(values) == SLOT_FIELDS}
    if boxes:
        cells = [[name, *(f"{v:.2f}" for v in values.values())] for name, values in boxes.items()]
        console.say(table(cells, ["thing", *SLOT_FIELDS], set(range(1, 9))))
    for name, values in rows.items():
        if name not in boxes:
            console.say(f"{name:<10} " + "  ".join(f"{field} {value:.4g}" for field, value in values.items()))
    console.say()
    console.say(
        f"action     {d['action']}"
        + (f"   (the policy wanted {d['proposed']})" if d["action"] != d["proposed"] else "")
    )
    console.say(f"reason     {d['reason']}")
    for line in p["source"]:
        console.say(f"           {line['file']}:{line['line']}: {line['text']}")
    console.say(f"overruled  {d['overruled_by'] or 'by nobody'}" + (f"   fault: {d['fault']}" if d["fault"] else ""))
    console.say()
    things = list(p["neighbours"][0]["things"])
    console.say(
        table([row(n, things, p["step"]) for n in p["neighbours"]], ["", "step", "action", "score", *things, "reason"])
    )
    console.say()
    _show_trace(p, console)


def _show_trace(p: dict[str, Any], console: Console) -> None:
    from triune.report.explain import lines_of

    if p["trace"] is None:
        console.say(f"no trace: {p['trace_error']}")
        return
    for line in lines_of(p["trace"], p["source_changed"]):
        console.say(line)


def row(n: dict[str, Any], things: list[str], step: int) -> list[str]:
    """Its cells in a table; `step` is marked."""
    places = [", ".join(f"{v:.4g}" for v in n["things"][t]) if n["things"][t] else "-" for t in things]
    rule = f"  [{n['overruled_by']}]" if n["overruled_by"] else ""
    return [
        ">" if n["step"] == step else "",
        str(n["step"]),
        n["action"],
        told_score(n["score"]),
        *places,
        n["reason"] + rule,
    ]
