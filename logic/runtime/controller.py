"""Scene in, Decision out: the policy, then the safety rules, then what is built in.

Knows: the order of authority, faults, the fallback action, the deadline, the log of each overrule.
Does not know: how the logic was compiled, where scenes come from, scores.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from logic.language.program import Memory
from logic.runtime.compiled import LOST, Logic, Rule, rules_of
from perception.scene import Scene

__all__ = ["DEADLINE", "FAULT", "LOST", "Controller", "Decision"]
DEADLINE = "deadline missed"
FAULT = "fault"


class Decision(NamedTuple):
    """One step's outcome. `overruled_by` names the rules that changed `proposed`, in order; `fault` is "" when none."""

    action: int
    reason: str
    proposed: int
    overruled_by: tuple[str, ...] = ()
    fault: str = ""


class Controller:
    """Policy plus safety rules for one episode at a time. Call `reset` first, then `decide` once per agent step.

    Generated code checks its action and computes everything before it stores anything, so after a fault memory is as
    it was.
    """

    def __init__(
        self, logic: Logic, deadline_ms: float = 100.0, clock: Callable[[], int] = time.thread_time_ns
    ) -> None:
        self.logic, self.program, self.fallback = logic, logic.policy, logic.fallback
        self._rules = [(i, rule) for i, module in enumerate(logic.modules) for rule in rules_of(module)]
        self.deadline_ns, self.clock = int(deadline_ms * 1e6), clock
        Controller.reset(self)  # one that starts more at a reset does not start it here

    @property
    def rules(self) -> tuple[Rule, ...]:
        """All rules in the order of running."""
        return tuple(rule for _, rule in self._rules)

    def reset(self) -> None:
        """Forget the episode: fresh memory for the policy and for each module of rules."""
        self.memory = self.program.start()
        self.rule_memories = [module.start() for module in self.logic.modules]

    def close(self) -> None:
        """Nothing runs outside this process."""

    def decide(self, scene: Scene) -> Decision:
        """The action for this scene. Never raises on a policy's account: a fault becomes the fallback action."""
        began = self.clock()
        fault = ""
        try:
            proposed, reason = self.program.act(scene, self.memory)
        except Exception as error:  # whatever the text does, the step has an action
            proposed, reason, fault = self.fallback, FAULT, f"{type(error).__name__}: {error}"
        action, overruled = proposed, []
        for i, rule in self._rules:
            ruled, why = self._apply(rule, self.rule_memories[i], scene, action)
            fault = fault or why
            if ruled != action:
                overruled.append(rule.title)
                action = ruled
        if self.clock() - began > self.deadline_ns:
            overruled.append(DEADLINE)
            action = self.fallback
        return Decision(action, reason, proposed, tuple(overruled), fault)

    def _apply(self, rule: Rule, memory: Memory, scene: Scene, action: int) -> tuple[int, str]:
        try:
            return rule.function(scene, memory, action), ""
        except Exception as error:
            return self.fallback, f"{rule.title}: {type(error).__name__}: {error}"
