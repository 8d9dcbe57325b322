"""Does a fused graph decide as the controller does? Asked before a bundle is written.

Knows: frames to ask with (of the game, where it runs here, and made-up ones), what counts as the same. Does not know:
files, how the graph was made.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnxruntime

from envs.errors import EnvError
from envs.protocol import Protocol
from envs.spec import SystemSpec
from logic.language.layout import MemoryLayout
from logic.runtime.compiled import Logic
from logic.runtime.controller import Controller, Decision
from logic.runtime.tracker import Tracker
from perception.detector import Eyes
from triune.deploy.fuse import parts_of
from triune.errors import TriuneError

GAME_STEPS, MADE_UP = 48, 20
MORE = 500  # a difference may be a tie that rounding decided: compare so many, and allow no second one
SEED = 0
SCENE_TOLERANCE = 1e-3  # px or probability
MEMORY_TOLERANCE = 1e-3  # of float values, relative above 1: float32 sums may be taken in another order


class Reference:
    """What play does, step by step: eyes, tracker, controller."""

    def __init__(self, logic: Logic, eyes: Eyes | None) -> None:
        self.logic, self.eyes, self.action = logic, eyes, logic.fallback
        self.tracker, self.controller = Tracker(logic.schema), Controller(logic, deadline_ms=1e9)

    def reset(self) -> None:
        """A new episode."""
        self.tracker.reset()
        self.controller.reset()
        if self.eyes:
            self.eyes.reset()

    def memory(self) -> dict[str, Any]:
        """All memory by PART.FIELD, as `triune.fuse` names it."""
        parts = (self.tracker.memory, self.controller.memory, *self.controller.rule_memories)
        return {
            f"{part}.{name}": value
            for part, memory in zip(parts_of(self.logic), parts, strict=True)
            for name, value in memory.snapshot().items()
        }

    def step(self, sight: np.ndarray) -> tuple[np.ndarray, Decision]:
        """A raw scene (or a frame, with eyes) -> the tracked scene and the decision."""
        vector = self.tracker.update(self.eyes.see(sight) if self.eyes else sight)
        decision = self.controller.decide(self.logic.schema.read(vector))
        self.action = decision.action
        return vector, decision


def check(
    model: bytes, layout: MemoryLayout, logic: Logic, eyes: bytes, spec: SystemSpec, protocol: Protocol
) -> dict[str, int]:
    """How many frames of which source were compared, and how many of them fell otherwise (`ties`, at most one in MORE);
    TriuneError names the first difference."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    reference = Reference(logic, Eyes.parse(eyes))
    state = np.zeros(session.get_inputs()[1].shape[0])
    counts, wrong = Counter[str](), list[str]()
    for source, frame in _frames(spec, protocol, reference, lambda: MORE if wrong else GAME_STEPS):
        if source not in counts:
            reference.reset()
            state[:] = 0.0
        # every step starts from the very same memory, so that a rounding does not grow into a difference
        state[: layout.size] = layout.pack(reference.memory())
        found = dict(zip(names, session.run(names, {"frame": frame, "memory": state}), strict=True))
        vector, decision = reference.step(frame)
        said = differences(found, vector, decision, logic) or _memory(found["next_memory"], layout, reference.memory())
        wrong.extend([f"at step {counts.total()}: {said}"] if said else [])
        if len(wrong) > 1:
            break
        state = found["next_memory"].copy()
        counts[source] += 1
    if len(wrong) > 1 or wrong and counts.total() < MORE:
        raise TriuneError(
            f"the fused graph of {spec.name} differs from play {wrong[0]}; nothing was written, please report it"
        )
    return {**counts, "ties": len(wrong)}


def differences(found: dict[str, np.ndarray], vector: np.ndarray, decision: Decision, logic: Logic) -> str:
    """What a fused step says otherwise than play, in words; "" when nothing."""
    assert logic.policy.graph is not None
    reason = int(found["reason"][0])
    words = logic.policy.graph.reasons[reason] if reason >= 0 else "fault"
    flags = found["interventions"].tolist()
    overruled = tuple(rule for rule, flag in zip(logic.rules, flags, strict=True) if flag)
    pairs = {
        "action": (int(found["action"][0]), decision.action), "reason": (words, decision.reason),
        "proposed": (int(found["proposed"][0]), decision.proposed), "overruled by": (overruled, decision.overruled_by),
        "fault": (bool(found["faults"].any()), bool(decision.fault)),
    }  # fmt: skip
    wrong = [f"{name} {a} instead of {b}" for name, (a, b) in pairs.items() if a != b]
    gap = float(np.abs(found["scene"] - vector).max(initial=0.0))
    if not gap <= SCENE_TOLERANCE:
        wrong.append(f"the scene by {gap:.4g}")
    return ", ".join(wrong)


def _memory(vector: np.ndarray, layout: MemoryLayout, wanted: dict[str, Any]) -> str:
    for name, found in layout.unpack(vector).items():
        a, b = np.asarray(found, np.float64), np.asarray(wanted[name], np.float64)
        if not np.allclose(a, b, MEMORY_TOLERANCE, MEMORY_TOLERANCE, equal_nan=True):
            return f"memory {name}"
    return ""


def _frames(
    spec: SystemSpec, protocol: Protocol, reference: Reference, steps: Callable[[], int]
) -> Iterator[tuple[str, np.ndarray]]:
    """(source, frame): made-up ones, then of the game as the controller plays it, where it runs here."""
    from envs.remote import PixelEnv

    rng = np.random.default_rng(SEED)
    shape = (spec.env.height, spec.env.width, 3)
    for i in range(MADE_UP):
        yield "made up", np.zeros(shape, np.uint8) if i > 5 else rng.integers(0, 256, shape, np.uint8)
    try:
        with PixelEnv(spec.env, protocol) as env:
            frame, n = env.reset(SEED), 0
            while n < steps() and not env.done:
                yield "game", frame.copy()
                frame, n = env.step(reference.action), n + 1
    except (EnvError, ImportError):
        pass  # the caller sees in the counts that no frame of the game was compared
