"""The one place where policy and safety text becomes something that acts.

Knows: which texts ship with Triune and how a controller is built for a protocol. Text of any origin is compiled, never
run. Does not know how it is compiled, frames or scores.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

from envs.protocol import Protocol
from envs.spec import ZOO, SystemSpec
from logic.language.program import Library, shipped_library
from logic.runtime.compiled import Logic, compile_logic
from logic.runtime.controller import Controller
from perception.scene import SceneSchema
from triune.errors import TriuneError


@dataclass(frozen=True)
class Texts:
    """The policy and the safety rules ("" when the task has none) of one task."""

    policy: str
    safety: str = ""

    @property
    def digest(self) -> str:
        """sha256 hex of the policy text."""
        return sha256(self.policy)


def sha256(text: str | bytes) -> str:
    """sha256 hex of text (UTF-8) or bytes."""
    return hashlib.sha256(text.encode() if isinstance(text, str) else text).hexdigest()


def read_texts(spec: SystemSpec, policy: Path | None = None) -> Texts:
    """Safety text of a folder, and its policy text or that of the file `policy`; TriuneError when there is none."""
    path = policy or spec.folder / "policy.py"
    if not path.is_file():
        if policy and policy != spec.folder / "policy.py":
            raise TriuneError(f"there is no file {policy}; name one with a policy text")
        raise TriuneError(f"{spec.folder} has no policy.py; write `def act(scene, memory):` there (see zoo/pong)")
    safety = spec.folder / "safety.py"
    try:
        return Texts(path.read_text("utf-8"), safety.read_text("utf-8") if safety.is_file() else "")
    except UnicodeDecodeError as error:
        raise TriuneError(f"{error.reason} in {path} or {safety}: policy and safety rules are UTF-8 text") from None


@cache
def shipped() -> frozenset[str]:
    """sha256 of every policy and safety text in the zoo."""
    texts = [p for name in ("policy.py", "safety.py") for p in ZOO.glob(f"*/{name}")]
    return frozenset(sha256(p.read_bytes()) for p in texts)


def constants_of(spec: SystemSpec, protocol: Protocol) -> dict[str, float]:
    """What a policy sees as compile-time constants under a protocol, action names included."""
    actions = {name: i for i, name in enumerate(spec.env.actions)}
    return {**spec.constants(protocol.frameskip, protocol.sticky), **actions}


def build_logic(
    spec: SystemSpec, schema: SceneSchema, texts: Texts, protocol: Protocol, library: Library = shipped_library
) -> Logic:
    """The compiled logic of one protocol; CompileError lists every violation with its line. The last few are kept."""
    constants = tuple(constants_of(spec, protocol).items())
    lost_after = spec.safety.get("lost_after")
    return _compiled(schema, texts, constants, spec.env.actions, spec.env.fallback, lost_after, library)


@lru_cache(maxsize=8)
def _compiled(
    schema: SceneSchema, texts: Texts, constants: tuple[tuple[str, float], ...], actions: tuple[str, ...],
    fallback: str, lost_after: int | None, library: Library,
) -> Logic:  # fmt: skip
    known: Mapping[str, float] = dict(constants)
    extra = {} if lost_after is None else {"lost_after": lost_after}
    return compile_logic(schema, texts.policy, texts.safety, known, actions, fallback, library=library, **extra)


def build_controller(
    spec: SystemSpec, schema: SceneSchema, texts: Texts, protocol: Protocol, library: Library = shipped_library,
    clock: Callable[[], int] = time.thread_time_ns,
) -> Controller:  # fmt: skip
    """A controller with fresh memory for one protocol."""
    deadline = {k: v for k, v in spec.safety.items() if k == "deadline_ms"}
    return Controller(build_logic(spec, schema, texts, protocol, library), **deadline, clock=clock)
