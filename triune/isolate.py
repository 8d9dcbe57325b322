"""Where a policy runs: in this process, or in isolated workers with only trusted rules left here.

Knows: which text is foreign, whether this machine can isolate it, how the confined controller of a protocol is built.
Does not know: layers, compilers, episodes.
"""

from __future__ import annotations

import os
import sys
from functools import cache, lru_cache
from typing import TYPE_CHECKING

from envs.protocol import Protocol
from envs.spec import SystemSpec
from logic.runtime.controller import Controller
from perception.scene import SceneSchema
from triune.errors import TriuneError, UsageError
from triune.policies import Texts, constants_of, sha256, shipped

if TYPE_CHECKING:
    from logic.language import CompiledModule

_said: set[str] = set()


def foreign(text: str) -> bool:
    """Does this text come from somewhere else than Triune?"""
    return bool(text) and sha256(text) not in shipped()


def choose(texts: Texts, isolate: bool | None, required: bool) -> bool:
    """Whether to isolate: as asked, else when some of the text is foreign. What is missing is said once, on stderr;
    TriuneError names it when isolation is required."""
    if isolate is False:
        if required:
            raise UsageError("isolation is required here, so --no-isolate cannot be: leave one of the two out")
        return False
    if not (isolate or required or foreign(texts.policy) or foreign(texts.safety)):
        return False
    lacks = lacking()
    if lacks and required:
        raise TriuneError(
            f"isolation is required, but missing here: {'; '.join(lacks)}. Use Linux 5.13 or later outside a "
            "restricted container, or drop --require-isolation (require_isolation in system.toml)"
        )
    if not hasattr(os, "fork"):
        if isolate:
            raise TriuneError("this system cannot isolate a policy (it cannot fork): leave --isolate out")
        _say("this policy does not ship with Triune and cannot be isolated on this system: only the compiler guards it")
        return False
    if lacks:
        _say(f"isolation is incomplete here: without {'; '.join(lacks)} (see triune doctor)")
    return True


@cache
def lacking() -> tuple[str, ...]:
    """What complete isolation needs and this machine lacks, each with its reason."""
    from logic.sandbox import layers
    from logic.sandbox.harden import missing

    return tuple(missing({name: layer.reason for name, layer in layers().items()}))


def silence() -> None:
    """No notices from here on: another process has said them."""
    _said.add("")


def _say(text: str) -> None:
    if not _said & {"", text}:
        _said.add(text)
        print(f"triune: {text}", file=sys.stderr, flush=True)


def build_confined(
    spec: SystemSpec, schema: SceneSchema, texts: Texts, protocol: Protocol, required: bool
) -> Controller:
    """The controller of one protocol whose policy, and foreign safety rules, run in workers; CompileError as ever."""
    from logic.language import compile_safety
    from logic.runtime.compiled import lost_text
    from logic.sandbox.confined import ConfinedController

    known = constants_of(spec, protocol)
    there = texts.safety if foreign(texts.safety) else ""
    data = _artifact(schema, texts.policy, there, tuple(known.items()), required)
    rules: list[CompiledModule] = []
    if texts.safety and not there:
        rules.append(compile_safety(texts.safety, schema, known, name="safety.py"))
    lost = lost_text(schema, spec.env.fallback, spec.safety.get("lost_after", 8))
    rules.append(compile_safety(lost, schema, known, name="built-in rule"))
    return ConfinedController(data, schema, spec.env.actions, spec.env.fallback, rules, require_isolation=required)


@lru_cache(maxsize=8)
def _artifact(
    schema: SceneSchema, policy: str, safety: str, known: tuple[tuple[str, float], ...], required: bool
) -> bytes:
    from logic.sandbox.confined_compile import compile_confined

    return compile_confined(schema, policy, safety, dict(known), require_isolation=required)
