"""Everything between a raw Scene and an action, compiled for one protocol: tracker, policy, rules, perception-lost.

Knows: the parts, the order in which they run, the rule that comes with every task. Does not know: how text is compiled
(logic.language), how the parts are run at play (logic.runtime.controller) or fused into a bundle.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from logic.language import CompiledModule, CompiledProgram, CompileError, compile_program, compile_safety
from logic.language.program import Library, Memory, Module, shipped_library
from logic.runtime.tracker import compile_tracker
from perception.scene import Scene, SceneSchema

LOST = "perception lost"
SURE_ENOUGH = 0.5


class Rule(NamedTuple):
    """One safety rule: its name to people and the function `(scene, memory, action) -> action`."""

    title: str
    function: Callable[[Scene, Memory, int], int]


@dataclass(frozen=True)
class Logic:
    """One task's compiled logic. `fallback` is an index into `actions`; `modules` run after the policy, in order, each
    with a memory of its own: the task's safety rules, where there are any, then the built-in one."""

    schema: SceneSchema
    actions: tuple[str, ...]
    fallback: int
    policy: CompiledProgram
    modules: tuple[CompiledModule, ...]
    tracker: CompiledModule

    @property
    def rules(self) -> tuple[str, ...]:
        """Titles of all rules in the order of running."""
        return tuple(rule.title for module in self.modules for rule in rules_of(module))


def compile_logic(
    schema: SceneSchema, policy: str, safety: str, constants: Mapping[str, Any], actions: Sequence[str], fallback: str,
    lost_after: int = 8, library: Library = shipped_library,
) -> Logic:  # fmt: skip
    """The logic of a task from its texts ("" for no safety rules); `constants` are the protocol's. CompileError lists
    what is wrong with all of them at once."""
    known = {**constants, **{name: i for i, name in enumerate(actions)}}
    wrong = []
    modules = []
    try:
        program = compile_program(policy, schema, known, library, name="policy.py")
    except CompileError as error:
        wrong += error.diagnostics
    try:
        if safety:
            modules.append(compile_safety(safety, schema, known, library, name="safety.py"))
    except CompileError as error:
        wrong += error.diagnostics
    if wrong:
        raise CompileError(wrong)
    lost = lost_text(schema, fallback, lost_after)
    modules.append(compile_safety(lost, schema, known, library, name="built-in rule"))
    at = list(actions).index(fallback)
    return Logic(schema, tuple(actions), at, program, tuple(modules), compile_tracker(schema))


def lost_text(schema: SceneSchema, fallback: str, lost_after: int) -> str:
    """The rule that takes over when something required has been unseen, or unsure, for `lost_after` steps."""
    conditions = []
    for thing in schema.things:
        if thing.required:
            slots = [thing.name] if thing.count == 1 else [f"{thing.name}[{i}]" for i in range(thing.count)]
            seen = [f"(scene.{s}.seen and scene.{s}.sure >= {SURE_ENOUGH})" for s in slots]
            conditions.append(f"({' or '.join(seen)})")
    return f'''"""Built in: perception lost."""


class Memory:
    lost: int = 0  # steps in a row without something that is required


def perception_lost(scene, memory, action):
    """{LOST}"""
    here = {" and ".join(conditions) or "True"}
    memory.lost = 0 if here else min(memory.lost + 1, {lost_after})
    return {fallback} if memory.lost >= {lost_after} else action
'''


def rules_of(module: Module) -> tuple[Rule, ...]:
    """The rules of a compiled safety text, in file order."""
    return tuple(
        Rule((ast.get_docstring(node) or node.name).split("\n")[0].rstrip("."), module.namespace[node.name])
        for node in module.functions
        if [a.arg for a in node.args.args] == ["scene", "memory", "action"]
    )
