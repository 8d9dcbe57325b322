"""Which conditions held at a recorded step: replay up to it, trace it, and put it into records and lines."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from data_flywheel.episodes.episode import rules_in
from logic.runtime.controller import DEADLINE, Controller, Decision
from logic.runtime.trace import Mark, PartTrace, Tracer, brief, change
from triune.console import printable
from triune.system import constants_of

if TYPE_CHECKING:
    from data_flywheel.episodes.episode import Episode
    from envs.actions import ActionSpace
    from triune.system import System

WIDTH = 104  # of a quoted condition
MOST_ROUNDS = 3  # times that one condition is shown; the last time is always among them


def trace_step(system: System, episode: Episode, step: int, full: bool = False) -> dict[str, Any]:
    """JSON record: `replayed` decision, does it `agree` with the recorded one, `first_difference` (a step, or None),
    `parts` (policy, then rules) with `conditions`, changed `memory` and outcome. `full`: library lines too."""
    protocol = system.protocol(episode.meta["protocol"])
    logic = system.logic(protocol.name)
    controller = Controller(logic, clock=lambda: 0)  # replayed decisions take as long as they take
    controller.reset()
    different = None
    for i in range(step):
        decision = controller.decide(logic.schema.read(episode.scenes[i]))
        if different is None and not _agrees(decision, episode, i):
            different = i
    scene = logic.schema.read(episode.scenes[step])
    memory, rules = controller.memory.snapshot(), [m.snapshot() for m in controller.rule_memories]
    decision = controller.decide(scene)
    agrees = _agrees(decision, episode, step)
    tracer = Tracer(logic, constants_of(system.spec, protocol))
    parts = [_part(part, tracer, logic.actions, full) for part in tracer.step(scene, memory, rules)]
    return {
        "replayed": _decision(decision, logic.actions), "agrees": agrees,
        "first_difference": step if different is None and not agrees else different,
        "late": DEADLINE in rules_in(episode.overruled_by(step)), "parts": parts,
    }  # fmt: skip


def _agrees(decision: Decision, episode: Episode, i: int) -> bool:
    """The same action for the same reason; a missed deadline depends on the machine and does not count."""
    if DEADLINE in rules_in(episode.overruled_by(i)):
        return bool(np.array_equal(decision.proposed, episode.proposed[i]))
    same = bool(np.array_equal(decision.action, episode.actions[i]))
    same = same and bool(np.array_equal(decision.proposed, episode.proposed[i]))
    return same and decision.reason == episode.reason(i)


def _decision(d: Decision, actions: ActionSpace) -> dict[str, Any]:
    return {
        "action": actions.tell(d.action), "proposed": actions.tell(d.proposed), "reason": d.reason,
        "overruled_by": ",".join(d.overruled_by) or None, "fault": d.fault or None,
    }  # fmt: skip


def _part(part: PartTrace, tracer: Tracer, actions: ActionSpace, full: bool) -> dict[str, Any]:
    return {
        "title": part.title, "file": part.file, "from": None if part.came_in is None else actions.tell(part.came_in),
        "action": actions.tell(part.action), "reason": part.reason or None, "overruled": part.overruled,
        "fault": part.fault or None,
        "conditions": [_mark(m, tracer, actions) for m in part.marks if full or not m.in_library],
        "memory": [{"field": name, **change(old, new)} for name, (old, new) in part.changed.items()],
    }  # fmt: skip


def _mark(m: Mark, tracer: Tracer, actions: ActionSpace) -> dict[str, Any]:
    outcome = [brief(v) for v in m.outcome] if m.kind == "return" else bool(m.outcome)
    if isinstance(outcome, list) and m.depth == 0:  # what `act` or a rule returns first is an action
        named = isinstance(outcome[0], int) and 0 <= outcome[0] < len(actions.names)
        outcome[0] = actions.tell(m.outcome[0]) if named or isinstance(m.outcome[0], np.ndarray) else outcome[0]
    return {
        "file": m.file, "line": m.line, "kind": m.kind, "text": tracer.text(m), "outcome": outcome,
        "values": {name: brief(v) for name, v in m.values.items()}, "function": m.function, "depth": m.depth,
        "settled": m.settled, "rounds": list(m.rounds),
    }  # fmt: skip


# --- for people -----------------------------------------------------------------------------------


def lines_of(trace: dict[str, Any], changed: bool) -> list[str]:
    """The trace as text. `changed`: policy.py is not the one that was recorded."""
    lines = _warnings(trace, changed)
    policy, *rules = trace["parts"]
    lines += [f"conditions in {policy['file']}, in order", *_conditions(policy), "", "memory"]
    lines += [f"  {_memory(m)}" for m in policy["memory"]] or ["  nothing changed"]
    lines += ["", "rules"]
    for rule in rules:
        spoke = f"overruled: {rule['from']} -> {rule['action']}" if rule["overruled"] else "held"
        lines.append(f"  {spoke:<10}  {rule['title']}" + (f"   fault: {rule['fault']}" if rule["fault"] else ""))
        lines += ["  " + line for line in _conditions(rule)] if rule["overruled"] else []
        lines += [f"      {_memory(m)}" for m in rule["memory"]]
    return lines


def _warnings(trace: dict[str, Any], changed: bool) -> list[str]:
    lines = []
    if changed:
        lines.append(
            "policy.py has changed since this was recorded: what follows is the present policy on the old scenes"
        )
    if trace["first_difference"] is not None:
        r = trace["replayed"]
        what = "" if trace["agrees"] else f"; here it decides {r['action']}, {r['reason']!r}"
        lines.append(f"the replay differs from the recording from step {trace['first_difference']} on{what}")
    if trace["late"]:
        lines.append("the recorded decision came too late and was replaced; its conditions are those of the policy")
    if trace["parts"][0]["fault"]:
        lines.append(f"the policy faulted after the last line below: {trace['parts'][0]['fault']}")
    return [f"! {printable(line)}" for line in lines] + ([""] if lines else [])


def _conditions(part: dict[str, Any]) -> list[str]:
    """Two lines a condition: where, outcome, text; then the values it names."""
    keys = [(c["file"], c["line"], c["function"], c["text"]) for c in part["conditions"]]
    total, seen = Counter(keys), Counter[tuple[Any, ...]]()
    lines = []
    for key, c in zip(keys, part["conditions"], strict=True):
        seen[key] += 1
        left = total[key] - seen[key]
        if total[key] > MOST_ROUNDS and seen[key] >= MOST_ROUNDS and left:
            if seen[key] == MOST_ROUNDS:
                lines.append(f"  {'...':>6}  {left} more rounds of line {c['line']}, then the last")
            continue
        lines += _condition(c, part["file"])
    return lines


def _condition(c: dict[str, Any], file: str) -> list[str]:
    place = str(c["line"]) if c["file"] == file else f"{c['file']}:{c['line']}"
    pad = "  " * min(c["depth"], 6)
    text = printable(c["text"])
    text = text if len(text) <= WIDTH else text[: WIDTH - 3] + "..."
    if c["kind"] == "return":
        outcome, text = "", f"return {text}"
        says = f"= {', '.join(map(_value, c['outcome']))}"
    else:
        outcome, text = _value(c["outcome"]), f"if {text}" if c["kind"] == "if" else f".. if {text} else .."
        says = ""
    values = [f"{name} {_value(v)}" for name, v in c["values"].items()]
    said = "settled when compiled" if c["settled"] and c["kind"] != "return" else ""
    rounds = f"round {', '.join(map(str, c['rounds']))}" if c["rounds"] else ""
    tail = "  ".join(part for part in (says, said, rounds, ", ".join(values)) if part)
    head = f"  {place:>6}  {outcome:<5}  {pad}{text}"
    return [head, f"{'':17}{pad}  {tail}"] if tail else [head]


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    return str(value)


def _memory(m: dict[str, Any]) -> str:
    if "differ" in m:
        return f"{m['field']}: {m['new']}, {m['differ']} values changed"
    return f"{m['field']}: {_value(m['old'])} -> {_value(m['new'])}"
