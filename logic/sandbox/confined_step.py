"""One step of an isolated policy on the wire: the scene vector one way, a decision of fixed size the other.

Knows: both layouts, how the worker computes a reply, how the parent checks one. Does not know: processes, text,
whether there are more rules behind these.

The reply is `action, proposed, reason, rules that overruled (a bit each), fault`: numbers that index tables which the
parent holds, and a short text that is only ever shown.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import NamedTuple

import numpy as np

from logic.language.artifact import thaw
from logic.language.program import Memory
from logic.sandbox import OutOfFuel
from logic.sandbox.confined_scene import reader
from perception.scene import SceneSchema

FAULT_MOST = 160  # bytes of the text of a fault
REPLY = Struct(f"<BBhQB{FAULT_MOST}s")
RULES_MOST, ACTIONS_MOST, REASONS_MOST = 64, 255, 32_767
_FLOAT = np.dtype("<f4")
FAULTED = -1  # the reason of a step on which the policy faulted
Step = Callable[[bytes], bytes]


class Answer(NamedTuple):
    """What the worker decided. `reason` is an index or FAULTED; bit i of `overruled` stands for rule i."""

    action: int
    proposed: int
    reason: int
    overruled: int
    fault: str


def request(vector: np.ndarray) -> bytes:
    """A scene vector, float32[size], as the worker reads it."""
    return vector.tobytes() if vector.dtype == _FLOAT else vector.astype(_FLOAT).tobytes()


def make_step(data: bytes, schema: SceneSchema, fallback: int) -> Step:
    """The worker's side: thaws the artifact, keeps its memory, answers requests. Faults are answers; what is no fault
    of the language (no memory, no fuel, worse) ends the worker."""
    made = thaw(data)
    act, memory = made.policy.functions[0].step, Memory(made.policy.fields)
    numbers = {reason: i for i, reason in enumerate(made.reasons)}
    parts = [(part, Memory(part.fields)) for part in made.modules]
    rules = [(f.title, f.step, kept) for part, kept in parts for f in part.functions]
    read = reader(schema, [f.code for part in (made.policy, *made.modules) for f in part.functions])
    pack = REPLY.pack

    def step(data: bytes) -> bytes:
        scene = read(data)
        fault, overruled = "", 0
        try:
            proposed, text = act(scene, memory)  # type: ignore[misc]
            reason = numbers[text]
        except (MemoryError, OutOfFuel):
            raise
        except Exception as error:
            proposed, reason, fault = fallback, FAULTED, f"{type(error).__name__}: {error}"
        action = proposed
        for i, (title, rule, kept) in enumerate(rules):
            try:
                ruled = rule(scene, kept, action)  # type: ignore[misc]
            except (MemoryError, OutOfFuel):
                raise
            except Exception as error:
                ruled, fault = fallback, fault or f"{title}: {type(error).__name__}: {error}"
            if ruled != action:
                overruled |= 1 << i
                action = ruled
        short = fault.encode(errors="replace")[:FAULT_MOST] if fault else b""
        return pack(action, proposed, reason, overruled, len(short), short)

    return step


class Checker:
    """The parent's side: accepts a reply only when everything in it can be."""

    def __init__(self, actions: int, reasons: int, rules: int, fallback: int) -> None:
        self._actions, self._reasons, self._rules, self._fallback = actions, reasons, rules, fallback

    def check(self, reply: bytes) -> Answer | None:
        """The answer, or None for one that no compiled policy gives."""
        action, proposed, reason, overruled, length, text = REPLY.unpack(reply)
        faulted = reason == FAULTED
        good = (
            action < self._actions
            and proposed < self._actions
            and FAULTED <= reason < self._reasons
            and not overruled >> self._rules
            and (overruled or action == proposed)
            and length <= FAULT_MOST
            and not text[length:].strip(b"\0")
            and (not faulted or (length and proposed == self._fallback))
        )
        if not good:
            return None
        shown = "".join(c if c.isprintable() else " " for c in text[:length].decode(errors="replace"))
        return Answer(action, proposed, reason, overruled, shown)
