"""What `act` and rules answer: an action of the task's kind, for a policy with a reason.

A vector action is a Float array from here on, whether the text gives a tuple, an array or, for one control, a number.
"""

from __future__ import annotations

import ast

import numpy as np

from envs.actions import Discrete
from logic.language.array_words import Words
from logic.language.bound import Bound, Pack
from logic.language.ir import INT, REASON, Type, Value

MOST_NAMED = 8  # names of controls in an error


class Answers(Words):
    """Adds what depends on the task's actions."""

    @property
    def action_type(self) -> Type:
        """Type of an action: int, or Float[n]."""
        return INT if isinstance(self.actions, Discrete) else Type("float", self.actions.shape)

    @property
    def actions_told(self) -> str:
        """What an action is in this task, for errors."""
        if isinstance(self.actions, Discrete):
            return f"this task's action is one of {self.shown_names}"
        n = len(self.actions.names)
        return f"this task's action is a vector of {n} control{'s' * (n > 1)} ({self.shown_names})"

    @property
    def shown_names(self) -> str:
        """The first names of actions or controls."""
        names = self.actions.names
        return ", ".join(names[:MOST_NAMED]) + ", ..." * (len(names) > MOST_NAMED)

    @property
    def return_hint(self) -> str:
        """A return statement that would do."""
        action = "ACTION" if isinstance(self.actions, Discrete) else self.shown_names
        if not isinstance(self.actions, Discrete) and len(self.actions.names) > 1:
            action = f"({action})"
        return f"write `return {action}`" if self.entry == "rule" else f'write `return {action}, "why"`'

    def action_hint(self, name: str) -> str:
        """What to write instead of an unknown name that looks like an action's."""
        if isinstance(self.actions, Discrete) or not name.isupper():
            return ""
        return f"{self.actions_told}: {self.return_hint}"

    def given_action(self) -> Value:
        """The action that a rule is given."""
        if isinstance(self.actions, Discrete):
            return Value(INT, lo=0, hi=len(self.actions.names) - 1)
        return Value(self.action_type)

    def checked_answer(self, node: ast.Return, found: Bound) -> Bound:
        """What `act` or a rule returns, as far as it can be told here."""
        reason: list[Bound] = []
        if self.entry == "policy":
            if not isinstance(found, Pack) or len(found.items) != 2:
                raise self.wrong(node, "act must return an action and a reason", self.return_hint)
            found, *reason = found.items
        elif isinstance(found, Pack) and any(isinstance(i, Value) and i.type == REASON for i in found.items):
            raise self.wrong(node, "a rule returns an action alone", self.return_hint)
        action = self.action_of(node, found)
        values = [self.value(node, item) for item in reason]
        if values and values[0].type != REASON:
            raise self.wrong(node, f"the reason is {values[0].type}, not a string", self.return_hint)
        return Pack((action, *values)) if values else action

    def action_of(self, node: ast.AST, found: Bound) -> Value:
        """An action as the task has it."""
        if isinstance(self.actions, Discrete):
            return self.index_of(node, found)
        made = self.vector(node, found) if isinstance(found, Pack) else self.value(node, found)
        if self.action_type.size == 1 and not made.type.is_array and made.type != REASON:
            made = self.vector(node, Pack((made,)))
        if made.type != self.action_type:
            raise self.wrong(node, f"the action is {made.type}; {self.actions_told}", self.return_hint)
        if made.const is not None and bool(np.isnan(made.const).any()):
            raise self.wrong(node, "this is always a fault: NaN in an action", "guard it, or change the constants")
        return made

    def index_of(self, node: ast.AST, found: Bound) -> Value:
        """One of the named actions."""
        instead = "return one of the action names"
        if isinstance(found, Pack):
            what = "a rule returns an action alone" if self.entry == "rule" else "the action is a tuple"
            raise self.wrong(node, f"{what}; {self.actions_told}", instead)
        made, most = self.value(node, found), len(self.actions.names) - 1
        if made.type != INT:
            raise self.wrong(node, f"the action is {made.type}, not an int", instead)
        if made.const is not None and not 0 <= made.const <= most:
            raise self.wrong(node, f"action {made.const} is not one of 0 .. {most}", instead)
        return made

    def vector(self, node: ast.AST, found: Pack) -> Value:
        """A tuple of numbers, one a control, as an array."""
        names = self.actions.names
        if len(found.items) != len(names):
            values = f"{len(found.items)} value{'s' * (len(found.items) != 1)}"
            raise self.wrong(node, f"the action has {values}; {self.actions_told}", self.return_hint)
        parts = []
        for name, item in zip(names, found.items, strict=True):
            value = self.value(node, item)
            if value.type.is_array or value.type == REASON:
                raise self.wrong(node, f"{name} is {value.type}, not a number; {self.actions_told}", self.return_hint)
            parts.append(self.as_float(node, value))
        return self.emit(node, "stack", *parts, shape=(len(parts),), kind="float")
