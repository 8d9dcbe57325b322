"""Scene in, Decision out: the policy, then the safety rules, then what is built in.

Knows: the order of authority, faults, the fallback action, perception-lost, the deadline, the log of each overrule.
Does not know: how the policy is run (a Program), where scenes come from, scores.
"""

from __future__ import annotations

import ast
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from logic.errors import LogicError
from logic.runner import Memory, Module, Program
from perception.scene import Scene, SceneSchema

LOST = "perception lost"
INVALID = "invalid action"
DEADLINE = "deadline missed"
FAULT = "fault"
SURE_ENOUGH = 0.5


class Decision(NamedTuple):
    """One step's outcome. `overruled_by` names the rules that changed `proposed`, in order; `fault` is "" when none."""

    action: int
    reason: str
    proposed: int
    overruled_by: tuple[str, ...] = ()
    fault: str = ""


@dataclass(frozen=True)
class Rule:
    """One safety rule: its name to people and the function `(scene, memory, action) -> action`."""

    title: str
    function: Callable[[Scene, Memory, int], int]


def rules_of(module: Module) -> tuple[Rule, ...]:
    """The rules of a loaded safety text: each function of (scene, memory, action), in file order."""
    rules = []
    for node in module.functions:
        if [a.arg for a in node.args.args] == ["scene", "memory", "action"]:
            title = (ast.get_docstring(node) or "").split("\n")[0].rstrip(".")
            if not title:
                raise LogicError(f"{module.name}, line {node.lineno}: rule {node.name!r} needs a docstring as its name")
            rules.append(Rule(title, module.namespace[node.name]))
    if not rules and module.functions:
        raise LogicError(f"{module.name} has functions but no `def rule(scene, memory, action):`")
    return tuple(rules)


class Controller:
    """Policy plus safety rules for one episode at a time. Call `reset` first, then `decide` once per agent step."""

    def __init__(
        self,
        program: Program,
        safety: Module | None,
        schema: SceneSchema,
        actions: Sequence[str],
        fallback: str,
        lost_after: int = 8,
        deadline_ms: float = 100.0,
        clock: Callable[[], int] = time.thread_time_ns,
    ) -> None:
        self.program, self.safety = program, safety
        self.rules = rules_of(safety) if safety else ()
        self.n_actions, self.fallback = len(actions), list(actions).index(fallback)
        self.required = tuple((t.name, t.count) for t in schema.things if t.required)
        self.lost_after, self.deadline_ns, self.clock = lost_after, int(deadline_ms * 1e6), clock
        self.reset()

    def reset(self) -> None:
        """Forget the episode: fresh policy and rule memory."""
        self.memory = self.program.start()
        self.rule_memory = self.safety.start() if self.safety else Memory({})
        self.lost = 0

    def decide(self, scene: Scene) -> Decision:
        """The action for this scene. Never raises on a policy's account: a fault becomes the fallback action."""
        began = self.clock()
        with np.errstate(divide="raise", invalid="raise"):
            proposed, reason, fault = self._propose(scene)
            action, overruled = proposed, []
            for rule in self.rules:
                ruled, why = self._apply(rule, scene, action)
                fault = fault or why
                if ruled != action:
                    overruled.append(rule.title)
                    action = ruled
        if self._is_lost(scene) and action != self.fallback:
            overruled.append(LOST)
            action = self.fallback
        if self.clock() - began > self.deadline_ns:
            overruled.append(DEADLINE)
            action = self.fallback
        return Decision(action, reason, proposed, tuple(overruled), fault)

    def _propose(self, scene: Scene) -> tuple[int, str, str]:
        before = self.memory.snapshot()
        try:
            action, reason = self.program.act(scene, self.memory)
            if self._valid(action):
                return int(action), reason, ""
            fault = f"{INVALID} {action!r}"
        except Exception as e:  # whatever the text does, the step has an action
            fault = f"{type(e).__name__}: {e}"
        self.memory.restore(before)
        return self.fallback, FAULT, fault

    def _apply(self, rule: Rule, scene: Scene, action: int) -> tuple[int, str]:
        before = self.rule_memory.snapshot()
        try:
            ruled = rule.function(scene, self.rule_memory, action)
            if self._valid(ruled):
                return int(ruled), ""
            fault = f"{rule.title}: {INVALID} {ruled!r}"
        except Exception as e:
            fault = f"{rule.title}: {type(e).__name__}: {e}"
        self.rule_memory.restore(before)
        return self.fallback, fault

    def _valid(self, action: Any) -> bool:
        return isinstance(action, (int, np.integer)) and 0 <= int(action) < self.n_actions

    def _is_lost(self, scene: Scene) -> bool:
        """Has something required been unseen, or seen with less than even odds, for `lost_after` steps?"""
        here = True
        for name, count in self.required:
            thing = getattr(scene, name)
            things = (thing,) if count == 1 else thing
            here = here and any(t.seen and t.sure >= SURE_ENOUGH for t in things)
        self.lost = 0 if here else self.lost + 1
        return self.lost >= self.lost_after
