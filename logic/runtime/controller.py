"""Scene in, Decision out: the policy, then the safety rules, then what is built in."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from envs.actions import Action, Box, Discrete
from logic.language.backends.python import place_of
from logic.language.program import Memory
from logic.runtime.logic import LIMITS, LOST, Logic, Rule, rules_of
from perception.scene import Scene

__all__ = ["DEADLINE", "FAULT", "LIMITS", "LOST", "Controller", "Decision"]
DEADLINE = "deadline missed"
FAULT = "fault"


class Decision(NamedTuple):
    """One step's outcome. `overruled_by` names the rules that changed `proposed`, in order; `fault` is "" when none.

    A vector that was proposed may lie beyond its bounds, `action` never does.
    """

    action: Action
    reason: str
    proposed: Action
    overruled_by: tuple[str, ...] = ()
    fault: str = ""

    # a tuple's own comparison asks arrays for their truth
    def __eq__(self, other: object) -> bool:
        return isinstance(other, tuple) and _plain(self) == _plain(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(_plain(self))


def _plain(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """With tuples in place of arrays."""
    return tuple(tuple(v.tolist()) if isinstance(v, np.ndarray) else v for v in values)


class Controller:
    """Policy plus safety rules for one episode at a time. Call `reset` first, then `decide` once per agent step.

    Generated code checks its action and computes everything before it stores anything, so after a fault memory is as
    it was.
    """

    def __init__(
        self, logic: Logic, deadline_ms: float = 100.0, clock: Callable[[], int] = time.thread_time_ns
    ) -> None:
        self.logic, self.program, self.fallback = logic, logic.policy, logic.fallback
        self._same = logic.actions.same
        self._bounds = None if isinstance(logic.actions, Discrete) else logic.actions
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

    @property
    def lost(self) -> str:
        """What kept the policy from playing this episode though it is not to blame: then the episode says nothing of
        it; '' where nothing did."""
        return ""

    def close(self) -> None:
        """Nothing runs outside this process."""

    def decide(self, scene: Scene) -> Decision:
        """The action for this scene. Never raises on a policy's account: a fault becomes the fallback action."""
        began = self.clock()
        fault = ""
        try:
            proposed, reason = self.program.act(scene, self.memory)
        except Exception as error:  # whatever the text does, the step has an action
            proposed, reason, fault = self.fallback, FAULT, f"{type(error).__name__}: {error}{place_of(error)}"
        action, overruled = proposed, []
        for i, rule in self._rules:
            ruled, why = self._apply(rule, self.rule_memories[i], scene, action)
            fault = fault or why
            if ruled is not action and not self._same(ruled, action):
                overruled.append(rule.title)
                action = ruled
        if self._bounds is not None:
            action, limited = self._within(self._bounds, action)
            overruled += limited
        if self.clock() - began > self.deadline_ns:
            overruled.append(DEADLINE)
            action = self.fallback
        return Decision(action, reason, proposed, tuple(overruled), fault)

    def _apply(self, rule: Rule, memory: Memory, scene: Scene, action: Action) -> tuple[Action, str]:
        try:
            return rule.function(scene, memory, action), ""
        except Exception as error:
            return self.fallback, f"{rule.title}: {type(error).__name__}: {error}{place_of(error)}"

    def _within(self, bounds: Box, action: Action) -> tuple[Action, tuple[str, ...]]:
        """The built-in last step: a legal action, and LIMITS where that is another one."""
        clipped = bounds.clip(np.asarray(action))
        return (action, ()) if bounds.same(clipped, action) else (clipped, (LIMITS,))
