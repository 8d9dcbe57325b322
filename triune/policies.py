"""The one place where policy and safety text becomes something that acts.

Knows: which texts are shipped (and so trusted) and how a controller is built for a protocol. Does not know how text is
run (`logic.runner` does; a compiler can take its place here), frames or scores.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from envs.protocol import Protocol
from envs.spec import ZOO, SystemSpec
from logic.controller import Controller
from logic.runner import Library, load_module, load_program, shipped_library
from perception.scene import SceneSchema
from triune.errors import TriuneError

TRUST_HELP = "pass --trust (Python: trust=True) if you have read it"


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


def read_texts(spec: SystemSpec) -> Texts:
    """Policy and safety text of a folder; TriuneError when there is no policy."""
    path = spec.folder / "policy.py"
    if not path.is_file():
        raise TriuneError(f"{spec.folder} has no policy.py; write `def act(scene, memory):` there (see zoo/pong)")
    safety = spec.folder / "safety.py"
    try:
        return Texts(path.read_text("utf-8"), safety.read_text("utf-8") if safety.is_file() else "")
    except UnicodeDecodeError as error:
        raise TriuneError(f"{error.reason} in {path.parent}: policy.py and safety.py are UTF-8 text") from None


@cache
def shipped() -> frozenset[str]:
    """sha256 of every policy and safety text in the zoo."""
    texts = [p for name in ("policy.py", "safety.py") for p in ZOO.glob(f"*/{name}")]
    return frozenset(sha256(p.read_bytes()) for p in texts)


def check_trust(texts: Texts, where: str, trust: bool) -> None:
    """Text still runs inside this process, so a stranger's is refused unless somebody vouches for it."""
    unknown = [t for t in (texts.policy, texts.safety) if t and sha256(t) not in shipped()]
    if unknown and not trust:
        raise TriuneError(
            f"{where}: its policy is not one that ships with Triune and would run unconfined; {TRUST_HELP}"
        )


def build_controller(
    spec: SystemSpec, schema: SceneSchema, texts: Texts, protocol: Protocol, library: Library = shipped_library,
    clock: Callable[[], int] = time.thread_time_ns,
) -> Controller:  # fmt: skip
    """The controller of one protocol; LogicError lists every violation with its line."""
    actions = {name: i for i, name in enumerate(spec.env.actions)}
    constants = {**spec.constants(protocol.frameskip, protocol.sticky), **actions}
    program = load_program(texts.policy, constants, library, name="policy.py")
    safety = load_module(texts.safety, "safety.py", constants, library) if texts.safety else None
    return Controller(program, safety, schema, spec.env.actions, spec.env.fallback, **spec.safety, clock=clock)
