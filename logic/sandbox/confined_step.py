"""One step of an isolated policy on the wire: the scene vector one way, a decision of fixed size the other.

Knows: both layouts, how the worker computes a reply, how the parent checks one. Does not know: processes, text,
whether there are more rules behind these.

The reply is `action, proposed` as the task's space packs them, then `reason, rules that overruled (a bit each),
fault`: numbers that index tables which the parent holds, and a short text that is only ever shown.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import NamedTuple

import numpy as np

from envs.actions import Action, ActionSpace, Discrete
from logic.language.artifact import thaw
from logic.language.program import Memory
from logic.sandbox import OutOfFuel
from logic.sandbox.confined_scene import reader
from perception.scene import SceneSchema

FAULT_MOST = 160  # bytes of the text of a fault
RULES_MOST, ACTIONS_MOST, REASONS_MOST = 64, 255, 32_767
_FLOAT = np.dtype("<f4")
FAULTED = -1  # the reason of a step on which the policy faulted
Step = Callable[[bytes], bytes]


class Answer(NamedTuple):
    """What the worker decided. `reason` is an index or FAULTED; bit i of `overruled` stands for rule i."""

    action: Action
    proposed: Action
    reason: int
    overruled: int
    fault: str


def reply_of(actions: ActionSpace) -> Struct:
    """The layout of a reply."""
    return Struct(f"<{actions.packed}s{actions.packed}shQB{FAULT_MOST}s")


def request(vector: np.ndarray) -> bytes:
    """A scene vector, float32[size], as the worker reads it."""
    return vector.tobytes() if vector.dtype == _FLOAT else vector.astype(_FLOAT).tobytes()


def make_step(data: bytes, schema: SceneSchema, actions: ActionSpace, fallback: Action) -> Step:
    """The worker's side: thaws the artifact, keeps its memory, answers requests. Faults are answers; what is no fault
    of the language (no memory, no fuel, worse) ends the worker."""
    made = thaw(data)
    act, memory = made.policy.functions[0].step, Memory(made.policy.fields)
    numbers = {reason: i for i, reason in enumerate(made.reasons)}
    parts = [(part, Memory(part.fields)) for part in made.modules]
    rules = [(f.title, f.step, kept) for part, kept in parts for f in part.functions]
    read = reader(schema, [f.code for part in (made.policy, *made.modules) for f in part.functions])
    pack, packed, same = reply_of(actions).pack, actions.pack, actions.same

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
            if ruled is not action and not same(ruled, action):
                overruled |= 1 << i
                action = ruled
        short = fault.encode(errors="replace")[:FAULT_MOST] if fault else b""
        return pack(packed(action), packed(proposed), reason, overruled, len(short), short)

    return step


class Checker:
    """The parent's side: accepts a reply only when everything in it can be."""

    def __init__(self, actions: ActionSpace, reasons: int, rules: int, fallback: Action) -> None:
        self._actions, self._reasons, self._rules = actions, reasons, rules
        self._fallback, self._layout = actions.pack(fallback), reply_of(actions)

    def check(self, reply: bytes) -> Answer | None:
        """The answer, or None for one that no compiled policy gives."""
        action, proposed, reason, overruled, length, text = self._layout.unpack(reply)
        faulted = reason == FAULTED
        good = (
            FAULTED <= reason < self._reasons
            and not overruled >> self._rules
            and (overruled or action == proposed)
            and length <= FAULT_MOST
            and not text[length:].strip(b"\0")
            and (not faulted or (length and proposed == self._fallback))
        )
        decided, first = self._action(action), self._action(proposed)
        if not good or decided is None or first is None:
            return None
        shown = "".join(c if c.isprintable() else " " for c in text[:length].decode(errors="replace"))
        return Answer(decided, first, reason, overruled, shown)

    def _action(self, data: bytes) -> Action | None:
        """An action as a policy may propose it: a vector need not be within its bounds yet."""
        if isinstance(self._actions, Discrete):
            return data[0] if data[0] < len(self._actions.names) else None
        vector = np.frombuffer(data, _FLOAT)
        return None if np.isnan(vector).any() else vector
