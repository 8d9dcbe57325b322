"""Play for the wheel: at random, or by the task's own policy with given eyes and a few random actions in between.

Knows: eyes, policy, frames. The side that decides has no memory, score or label of the game, as always. Does not know:
what is learned from the frames.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data_flywheel.self_training.capture import Capture
from envs.remote import PixelEnv
from logic.runtime.tracker import Tracker
from perception.detector import Eyes

if TYPE_CHECKING:
    from triune.system import System

HOLD = 6  # steps that a random action is held at most
STRAY = (0.03, 12)  # chance that the policy is left for so many random steps at most: a stuck game goes on


def play(
    system: System, eyes: Path, shift: str | None, protocol: str, frames: int, seed: int, random: bool,
    most: int | None = None,
) -> Capture:  # fmt: skip
    """`frames` frames from games of seeds `seed`, `seed` + 1, ...; at most `most` of one game."""
    see, env_spec = Eyes.load(eyes, system.schema), system.spec.env
    rng = np.random.default_rng([seed, int(random)])
    out = np.empty((frames, env_spec.height, env_spec.width, 3), np.uint8)
    seen, actions = np.empty((frames, system.schema.size), np.float32), np.empty(frames, np.uint8)
    episodes, seeds = np.empty(frames, np.int64), list[int]()
    hand, began = _Hand(system, protocol, rng, random), 0
    with PixelEnv(env_spec, system.protocol(protocol), shift) as env:
        try:
            for i in range(frames):
                if env.done or (most and i - began >= most):
                    frame, began = env.reset(seed + len(seeds)), i
                    seeds.append(seed + len(seeds))
                    see.reset()
                    hand.reset()
                out[i], seen[i], episodes[i] = frame, see.see(frame), len(seeds) - 1
                actions[i] = hand.act(seen[i])
                frame = env.step(int(actions[i]))
        finally:
            hand.close()
    meta = {"random": random, "shift": shift, "protocol": protocol, "eyes": str(eyes.name)}
    return Capture(out, seen, actions, episodes, tuple(seeds), meta)


class _Hand:
    """Chooses actions from scenes: the policy's, with random stretches, or random ones alone."""

    def __init__(self, system: System, protocol: str, rng: np.random.Generator, random: bool) -> None:
        self.schema, self.rng, self.random = system.schema, rng, random
        self.actions = len(system.spec.env.actions)
        self.tracker, self.controller = Tracker(system.schema), system.controller(protocol)
        self.left = self.action = 0

    def reset(self) -> None:
        """A new game."""
        self.tracker.reset()
        self.controller.reset()
        self.left = 0

    def act(self, seen: np.ndarray) -> int:
        """The action for what the eyes say."""
        decided = self.controller.decide(self.schema.read(self.tracker.update(seen))).action
        if not self.left and (self.random or self.rng.random() < STRAY[0]):
            self.left = int(self.rng.integers(1, (HOLD if self.random else STRAY[1]) + 1))
            self.action = int(self.rng.integers(self.actions))
        if not self.left:
            return int(decided)
        self.left -= 1
        return self.action

    def close(self) -> None:
        """End the policy's worker, if it has one."""
        self.controller.close()
