"""A task as a Gymnasium environment whose observation is the Scene: run any learner on our features.

    import gymnasium, triune.gym_env
    env = gymnasium.make("triune/Breakout-v0", protocol="sticky", eyes="cnn")

Importing this module registers the ids; `gymnasium.make("triune.gym_env:triune/Breakout-v0")` imports it by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from envs.backends.atari import AtariCore
from logic.runtime.tracker import Tracker
from perception.scene import SLOT, SceneSchema, ThingSpec
from triune.errors import UsageError, nearest
from triune.gym_register import register_all
from triune.system import System, load

EYES = ("cnn", "teacher")
MARGIN = 64.0  # px beyond the screen that a coasting position may reach
SEEDS = 2**31


class SceneEnv(gymnasium.Env[dict[str, np.ndarray], np.int64]):  # type: ignore[misc]
    """Observation: a Dict with a Box [8] (or [count, 8]) a thing (seen, x, y, w, h, vx, vy, sure), a MultiBinary a
    grid, a Box [1] a gauge. Action: Discrete over the task's actions. `eyes`: "cnn" (pixels) or "teacher" (exact)."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 15}

    def __init__(
        self, task: str | Path, protocol: str | None = None, eyes: str = "cnn", render_mode: str | None = None
    ) -> None:
        if eyes not in EYES:
            raise UsageError(f"unknown eyes {eyes!r}; {nearest(eyes, EYES)}")
        if render_mode not in (None, "rgb_array"):
            raise UsageError(f"unknown render_mode {render_mode!r}; choose rgb_array")
        system = load(task)
        self.schema, self.render_mode = system.schema, render_mode
        self.protocol = system.protocol(protocol)
        self.metadata = {**self.metadata, "render_fps": int(self.protocol.control_hz)}
        self._core = AtariCore(system.spec.env, self.protocol)
        self._see, self._forget = self._vision(system, eyes)
        self._tracker = Tracker(self.schema)
        height, width = system.spec.env.height, system.spec.env.width
        self.action_space = spaces.Discrete(len(system.spec.env.actions.names))
        self.observation_space = observation_space(self.schema, height, width)
        self._frame = np.zeros((height, width, 3), np.uint8)

    def _vision(self, system: System, kind: str) -> tuple[Callable[[np.ndarray], np.ndarray], Callable[[], None]]:
        """What turns a frame into a Scene vector, and what resets it."""
        if kind == "cnn":
            eyes = system.eyes()
            return eyes.see, eyes.reset
        system.check_teacher()
        from data_flywheel.labelers.teacher import load_teacher

        teacher = load_teacher(system.folder)
        return lambda frame: teacher.label(self._core.truth(), frame), lambda: None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Start the episode of `seed`, or one drawn from the environment's generator."""
        super().reset(seed=seed)
        episode = int(self.np_random.integers(SEEDS)) if seed is None else seed
        self._frame = self._core.reset(episode)
        self._forget()
        self._tracker.reset()
        return self._observe(), {"score": 0, "lives": self._core.lives}

    def step(self, action: Any) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """One agent step; the reward is the change of the game score."""
        before = self._core.score
        self._frame = self._core.step(int(action))
        cut = self._core.frames >= self.protocol.frame_limit
        info = {"score": self._core.score, "lives": self._core.lives}
        return self._observe(), float(self._core.score - before), self._core.done and not cut, cut, info

    def render(self) -> np.ndarray | None:  # type: ignore[override]
        """The native frame, uint8[H, W, 3], in render mode rgb_array."""
        return self._frame.copy() if self.render_mode == "rgb_array" else None

    def _observe(self) -> dict[str, np.ndarray]:
        vector = self._tracker.update(self._see(self._frame))
        return observation(self.schema, vector, self.observation_space)


def observation_space(schema: SceneSchema, height: int, width: int) -> spaces.Dict:
    """The Dict space of a schema on a screen of that size."""
    parts: dict[str, spaces.Space[Any]] = {t.name: _thing_space(t, height, width) for t in schema.things}
    parts |= {g.name: spaces.MultiBinary([g.rows, g.cols]) for g in schema.grids}
    parts |= {g.name: spaces.Box(np.float32(g.low), np.float32(g.high), (1,), np.float32) for g in schema.gauges}
    return spaces.Dict(parts)


def _thing_space(thing: ThingSpec, height: int, width: int) -> spaces.Box:
    v = 2 * thing.max_speed
    low = np.array([0, -MARGIN, -MARGIN, 0, 0, -v, -v, 0], np.float32)
    high = np.array([1, width + MARGIN, height + MARGIN, width, height, v, v, 1], np.float32)
    if thing.count > 1:
        low, high = (np.tile(bound, (thing.count, 1)) for bound in (low, high))
    return spaces.Box(low, high, dtype=np.float32)


def observation(schema: SceneSchema, vector: np.ndarray, space: Any) -> dict[str, np.ndarray]:
    """The Dict observation of a Scene vector, inside its space."""
    found: dict[str, np.ndarray] = {}
    for thing in schema.things:
        start = schema.slot(thing.name).start
        values = vector[start : start + SLOT * thing.count]
        box = space[thing.name]
        found[thing.name] = np.clip(values.reshape(box.shape), box.low, box.high).astype(np.float32)
    for grid in schema.grids:
        found[grid.name] = (vector[schema.grid(grid.name)] > 0.5).astype(np.int8).reshape(grid.rows, grid.cols)
    for gauge in schema.gauges:
        box = space[gauge.name]
        found[gauge.name] = np.clip(vector[[schema.gauge(gauge.name)]], box.low, box.high).astype(np.float32)
    return found


register_all()
