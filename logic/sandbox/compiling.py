"""Compile a stranger's text in an isolated worker: text in, an artifact or the same diagnostics out."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import lru_cache
from typing import Any

import numpy as np

from envs.actions import Action, ActionSpace
from logic.errors import LogicError
from logic.language import CompiledModule, CompiledProgram, CompileError, Diagnostic, compile_program, compile_safety
from logic.language.artifact import LARGEST, Artifact, freeze, part_of, read
from logic.language.backends import bytecode
from logic.language.backends.bytecode import MemoryBytes, Part, Unfit
from logic.language.frontend.modules import maths_scope
from logic.language.ir import Graph
from logic.language.program import LIBRARY_FOLDER
from logic.runtime.logic import rules_of
from logic.sandbox import Limits, run_isolated
from logic.sandbox.controller import REASONS_MOST, RULES_MOST
from perception.scene import SceneSchema

# The compiler has budgets of its own; these are the walls behind them.
LIMITS = Limits(wall_s=120.0, cpu_s=60, memory_mib=1024)
DIAGNOSTICS_MOST = 1 << 20  # bytes
PROGRAM_MOST = 24 << 20  # bytes
_MADE, _WRONG, _REFUSED = b"A", b"D", b"L"
Library = Mapping[str, str]


@lru_cache(maxsize=1)
def shipped_texts() -> Library:
    """Every library module that ships with Triune. Read beforehand: the worker can open nothing.

    So is the one that `math.cos` and its kin stand for, which the compiler then keeps.
    """
    maths_scope()
    paths = (p for p in sorted(LIBRARY_FOLDER.glob("*.py")) if p.stem != "__init__")
    return {p.stem: p.read_text(encoding="utf-8") for p in paths}


def compile_confined(
    schema: SceneSchema, policy: str, safety: str, constants: Mapping[str, Any], library: Library | None = None,
    limits: Limits = LIMITS, require_isolation: bool = False, actions: ActionSpace | None = None,
) -> bytes:  # fmt: skip
    """The artifact of a policy and its safety rules ("" for none); `constants` and `actions` as for
    `compile_program`. CompileError lists what is wrong with both texts; LogicError names the outcome when the worker
    ended."""
    known = dict(constants)
    shipped = shipped_texts()
    texts = shipped if library is None else dict(library)

    def work(request: bytes) -> bytes:
        return _work(schema, policy, safety, known, texts, actions)

    outcome = run_isolated(work, b"", LARGEST + 1, limits, require_isolation)
    if not outcome.ok:
        raise LogicError(
            f"the compiler ended with {outcome.name} on this text ({outcome.detail}); make the text smaller or simpler"
        )
    tag, body = outcome.reply[:1], outcome.reply[1:]
    if tag == _MADE:
        read(body)
        return body
    if tag == _WRONG:
        raise CompileError(_diagnostics(body))
    if tag == _REFUSED:
        raise LogicError(body[:4000].decode(errors="replace"))
    raise LogicError("the compiler ended with protocol on this text (an answer of an unknown kind)")


def _work(
    schema: SceneSchema, policy: str, safety: str, known: Mapping[str, Any], texts: Library,
    actions: ActionSpace | None,
) -> bytes:  # fmt: skip
    """The worker's side."""
    try:
        return _MADE + freeze(_compile(schema, policy, safety, known, _library(texts), actions))
    except CompileError as error:
        return _WRONG + _packed(error.diagnostics)
    except LogicError as error:
        return _REFUSED + str(error).encode(errors="replace")[:4000]


def _compile(
    schema: SceneSchema, policy: str, safety: str, known: Mapping[str, Any], library: Callable[[str], str],
    actions: ActionSpace | None,
) -> Artifact:  # fmt: skip
    wrong: list[Diagnostic] = []
    rules = None
    try:
        program = compile_program(policy, schema, known, library, name="policy.py", actions=actions)
    except CompileError as error:
        wrong += error.diagnostics
    try:
        if safety:
            rules = compile_safety(safety, schema, known, library, name="safety.py", actions=actions)
    except CompileError as error:
        wrong += error.diagnostics
    if wrong:
        raise CompileError(wrong)
    return artifact_of(program, rules, schema.size)


def artifact_of(program: CompiledProgram, rules: CompiledModule | None, scene: int) -> Artifact:
    """What workers run, of a policy and the rules that are to run beside it; LogicError when it is too much. `scene`:
    length of a scene vector."""
    assert program.graph is not None
    modules = []
    if rules is not None:
        titles = [rule.title for rule in rules_of(rules)]
        modules.append(part_of("safety.py", rules.fields, zip(titles, rules.graphs.values(), strict=True)))
    made = Artifact(
        program.reasons,
        part_of("policy.py", program.module.fields, [("act", program.graph)]),
        tuple(modules),
        # a machine says its reasons by number
        _program(program.graph, list(rules.graphs.values()) if rules else [], scene)
        if list(program.reasons) == program.graph.reasons
        else b"",
    )
    if len(made.titles) > RULES_MOST or len(made.reasons) > REASONS_MOST:
        raise LogicError(f"at most {RULES_MOST} rules and {REASONS_MOST} reasons can be run in isolation")
    return made


def _program(policy: Graph, rules: list[Graph], scene: int) -> bytes:
    """What the native machine runs; b"" where it cannot, or where the tables are too large to be held twice. Its
    fallback counts for nothing: Python decides where there was a fault."""
    fallback: Action = np.zeros(policy.action.shape, np.float32) if policy.action.shape else 0
    memories = [MemoryBytes(graph.fields) for graph in (policy, *rules[:1])]
    try:
        made = bytecode.program([Part(policy, 0), *(Part(rule, 1) for rule in rules)], memories, scene, fallback)
    except Unfit:
        return b""
    return made if len(made) <= PROGRAM_MOST else b""


def _library(texts: Library) -> Callable[[str], str]:
    def library(name: str) -> str:
        if name not in texts:
            raise LogicError(f"no library module {name!r}; there are: {', '.join(sorted(texts))}")
        return texts[name]

    return library


def _packed(found: list[Diagnostic]) -> bytes:
    """As many as fit."""
    while True:
        data = json.dumps([d.as_dict() for d in found]).encode("ascii")
        if len(data) <= DIAGNOSTICS_MOST:
            return data
        found = found[: len(found) // 2]


def _diagnostics(data: bytes) -> list[Diagnostic]:
    """What the worker said, every field of its own type; LogicError for anything else."""
    kinds = {f.name: int if f.type == "int" else str for f in fields(Diagnostic)}
    try:
        if len(data) > DIAGNOSTICS_MOST:
            raise ValueError
        records = json.loads(data)
        good = type(records) is list and all(
            type(r) is dict and r.keys() == kinds.keys() and all(type(r[k]) is t for k, t in kinds.items())
            for r in records
        )
        if not good or not records:
            raise ValueError
        return [Diagnostic(**record) for record in records]
    except (ValueError, RecursionError):
        raise LogicError("the compiler ended with protocol on this text (its diagnostics cannot be read)") from None
