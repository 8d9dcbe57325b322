"""Everything between a raw Scene and an action, compiled for one protocol: tracker, policy, rules, perception-lost."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from envs.actions import Action, ActionSpace, Discrete
from logic.language import CompiledModule, CompiledProgram, CompileError, compile_program, compile_safety
from logic.language.api import BUILT_IN
from logic.language.program import Library, Memory, Module, shipped_library
from logic.runtime.tracker import compile_tracker
from perception.scene import Scene, SceneSchema

LOST = "perception lost"
LIMITS = "control limits"
SURE_ENOUGH = 0.5


class Rule(NamedTuple):
    """One safety rule: its name to people and the function `(scene, memory, action) -> action`."""

    title: str
    function: Callable[[Scene, Memory, Action], Action]


@dataclass(frozen=True)
class Logic:
    """One task's compiled logic. `fallback` is one of `actions`; `modules` run after the policy, in order, each with a
    memory of its own: the task's safety rules, where there are any, then the built-in one. Last of all a vector action
    is clipped to its bounds."""

    schema: SceneSchema
    actions: ActionSpace
    fallback: Action
    policy: CompiledProgram
    modules: tuple[CompiledModule, ...]
    tracker: CompiledModule

    @property
    def rules(self) -> tuple[str, ...]:
        """Titles of all rules in the order of running, the limits of a vector action included."""
        titles = tuple(rule.title for module in self.modules for rule in rules_of(module))
        return titles if isinstance(self.actions, Discrete) else (*titles, LIMITS)


def compile_logic(
    schema: SceneSchema, policy: str, safety: str, constants: Mapping[str, Any], actions: ActionSpace,
    fallback: Action, lost_after: int = 8, library: Library = shipped_library,
) -> Logic:  # fmt: skip
    """The logic of a task from its texts ("" for no safety rules); `constants` are the protocol's. CompileError lists
    what is wrong with all of them at once; EnvError: `fallback` is none of `actions`."""
    fallback = own(actions.check(fallback))
    wrong = []
    rules = None
    try:
        program = compile_program(policy, schema, constants, library, name="policy.py", actions=actions)
    except CompileError as error:
        wrong += error.diagnostics
    try:
        if safety:
            rules = compile_safety(safety, schema, constants, library, name="safety.py", actions=actions)
    except CompileError as error:
        wrong += error.diagnostics
    if wrong:
        raise CompileError(wrong)
    return logic_of(schema, program, rules, constants, actions, fallback, lost_after)


def logic_of(
    schema: SceneSchema, policy: CompiledProgram, rules: CompiledModule | None, constants: Mapping[str, Any],
    actions: ActionSpace, fallback: Action, lost_after: int = 8,
) -> Logic:  # fmt: skip
    """The same from a policy and rules that are compiled already."""
    lost = lost_rule(schema, constants, actions, fallback, lost_after)
    modules = (lost,) if rules is None else (rules, lost)
    return Logic(schema, actions, own(actions.check(fallback)), policy, modules, compile_tracker(schema))


def own(action: Action) -> Action:
    """A copy of an action that nobody can change."""
    if isinstance(action, np.ndarray):
        action = action.copy()
        action.setflags(write=False)
    return action


def lost_rule(
    schema: SceneSchema, constants: Mapping[str, Any], actions: ActionSpace, fallback: Action, lost_after: int = 8
) -> CompiledModule:
    """The built-in rule, compiled."""
    text = lost_text(schema, actions, fallback, lost_after)
    return compile_safety(text, schema, constants, name=BUILT_IN, actions=actions)


def lost_text(schema: SceneSchema, actions: ActionSpace, fallback: Action, lost_after: int) -> str:
    """The rule that takes over when something required has been unseen, or unsure, for `lost_after` steps."""
    conditions = []
    for thing in schema.things:
        if thing.required:
            slots = [thing.name] if thing.count == 1 else [f"{thing.name}[{i}]" for i in range(thing.count)]
            seen = [f"(scene.{s}.seen and scene.{s}.sure >= {SURE_ENOUGH})" for s in slots]
            conditions.append(f"({' or '.join(seen)})")
    required = [r.name for r in schema.readings if r.required]
    conditions += [f"(scene.{name}.seen and scene.{name}.sure >= {SURE_ENOUGH})" for name in required]
    if isinstance(actions, Discrete):
        answer = actions.tell(fallback)
    else:  # a tuple of one value, too, keeps its comma
        answer = repr(tuple(actions.check(fallback).tolist()))
    return f'''"""Built in: perception lost."""


class Memory:
    lost: int = 0  # steps in a row without something that is required


def perception_lost(scene, memory, action):
    """{LOST}"""
    here = {" and ".join(conditions) or "True"}
    memory.lost = 0 if here else min(memory.lost + 1, {lost_after})
    return {answer} if memory.lost >= {lost_after} else action
'''


def rules_of(module: Module) -> tuple[Rule, ...]:
    """The rules of a compiled safety text, in file order."""
    return tuple(
        Rule((ast.get_docstring(node) or node.name).split("\n")[0].rstrip("."), module.namespace[node.name])
        for node in module.functions
        if [a.arg for a in node.args.args] == ["scene", "memory", "action"]
    )
