"""A task as a Gymnasium environment, whatever its backend: run any learner on our features, or on the frames.

    import gymnasium, triune.gym_env
    env = gymnasium.make("triune/Breakout-v0", protocol="sticky", detector="cnn")

Importing this module registers the ids; `gymnasium.make("triune.gym_env:triune/Breakout-v0")` imports it by itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from envs.actions import ActionSpace, Discrete
from envs.env import SEEDS, check_seed
from envs.rewards import RewardEnv
from perception.scene import SceneSchema
from triune.errors import UsageError, nearest
from triune.gym_register import register_all
from triune.play.loop import Detector, Pipeline, Step, TeacherDetector, steps, teacher_of
from triune.system import System, load

DETECTORS, OBSERVE = ("cnn", "teacher"), ("scene", "frame")
MARGIN = 64.0  # px beyond the field that a coasting position may reach


class SceneEnv(gymnasium.Env[Any, Any]):  # type: ignore[misc]
    """Observation, as `observe` says: "scene", a Dict with a Box a thing ([8]: seen, x, y, w, h, vx, vy, sure; or
    [count, 8]) or reading ([n]: seen, its fields, sure), a MultiBinary a grid, a Box [1] a gauge; or "frame",
    uint8[H, W, 3], which needs no detector. Action: Discrete over the task's actions, or a Box of its controls. Reward:
    the change of the score. `detector`: "cnn" (pixels) or "teacher" (exact)."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 15}

    def __init__(
        self, task: str | Path, protocol: str | None = None, detector: str = "cnn", render_mode: str | None = None,
        observe: str = "scene",
    ) -> None:  # fmt: skip
        for what, value, choices in (("detector", detector, DETECTORS), ("observe", observe, OBSERVE)):
            if value not in choices:
                raise UsageError(f"unknown {what} {value!r}; {nearest(value, choices)}")
        if render_mode not in (None, "rgb_array"):
            raise UsageError(f"unknown render_mode {render_mode!r}; choose rgb_array")
        system = load(task)
        self.schema, self.render_mode, self._observe = system.schema, render_mode, observe
        self.protocol, spec = system.protocol(protocol), system.spec.env
        self.metadata = {**self.metadata, "render_fps": max(1, int(self.protocol.control_hz))}
        exact = observe == "scene" and detector == "teacher"
        seeing = None if exact else self._detector(system)
        self._env = RewardEnv(spec, self.protocol, observer=teacher_of(system) if exact else None)
        self._player = Pipeline(self.schema, seeing or TeacherDetector(self._env), None, spec.fallback)
        self.action_space = action_space(spec.actions)
        frames = spaces.Box(0, 255, spec.shape, np.uint8)
        self.observation_space = observation_space(self.schema) if observe == "scene" else frames
        self._steps: Iterator[Step] = iter(())
        self._step: Step | None = None
        self._score: float = 0

    def _detector(self, system: System) -> Detector:
        return system.detector() if self._observe == "scene" else _Blind(self.schema)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start the episode of `seed`, or one drawn from the environment's generator."""
        super().reset(seed=None if seed is None else check_seed(seed))
        episode = int(self.np_random.integers(SEEDS)) if seed is None else seed
        self._player.reset()
        self._steps = steps(self._env, self._player, self._env.reset(episode), to_the_end=True)
        self._score = 0
        observed, _, _, _, info = self._next()
        return observed, info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """One agent step; the reward is the change of the score. EnvError: no such action."""
        if self._step is None or self._step.over:
            raise gymnasium.error.ResetNeeded("the episode is over (or never began): call reset()")
        self._step.action = self._env.actions.check(action)
        return self._next()

    def _next(self) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        step = self._step = next(self._steps)
        told, before = self._env.told, self._score
        self._score = told.score or 0
        info = {"score": self._score, **told.metrics}
        reward, ended = float(self._score - before), step.over and not told.truncated
        return self._observation(step), reward, ended, told.truncated, info

    def _observation(self, step: Step) -> Any:
        if self._observe == "frame":
            return step.frame.copy()
        return observation(self.schema, step.scene.vector, self.observation_space)

    def render(self) -> np.ndarray | None:  # type: ignore[override]
        """The native frame, uint8[H, W, 3], in render mode rgb_array."""
        if self.render_mode != "rgb_array":
            return None
        if self._step is None:
            raise gymnasium.error.ResetNeeded("there is no frame yet: call reset()")
        return self._step.frame.copy()

    def close(self) -> None:
        """End the simulator process."""
        self._env.close()


class _Blind:
    """A detector for those who look at the frames themselves."""

    def __init__(self, schema: SceneSchema) -> None:
        self._nothing = schema.empty()

    def reset(self) -> None:
        """Nothing to forget."""

    def see(self, frame: np.ndarray) -> np.ndarray:
        """An empty scene."""
        return self._nothing


def action_space(actions: ActionSpace) -> spaces.Space[Any]:
    """Gymnasium's name for a task's actions: Discrete, or Box [n] of float32."""
    if isinstance(actions, Discrete):
        return spaces.Discrete(len(actions.names))
    return spaces.Box(np.array(actions.low, np.float32), np.array(actions.high, np.float32), dtype=np.float32)


def observation_space(schema: SceneSchema) -> spaces.Dict:
    """The Dict space of a schema."""
    low, high = bounds(schema)

    def box(part: slice, *shape: int) -> spaces.Box:
        return spaces.Box(low[part].reshape(shape), high[part].reshape(shape), dtype=np.float32)

    parts: dict[str, spaces.Space[Any]] = {}
    for thing in schema.things:
        shape = (thing.count, -1) if thing.count > 1 else (-1,)
        parts[thing.name] = box(_slots(schema, thing.name, thing.count), *shape)
    parts |= {g.name: spaces.MultiBinary([g.rows, g.cols]) for g in schema.grids}
    parts |= {g.name: box(_one(schema.gauge(g.name)), 1) for g in schema.gauges}
    parts |= {r.name: box(schema.slot(r.name), -1) for r in schema.readings}
    return spaces.Dict(parts)


def observation(schema: SceneSchema, vector: np.ndarray, space: Any) -> dict[str, np.ndarray]:
    """The Dict observation of a Scene vector, inside its space."""

    def inside(name: str, part: slice) -> np.ndarray:
        box = space[name]
        return np.clip(vector[part].reshape(box.shape), box.low, box.high).astype(np.float32)

    found = {t.name: inside(t.name, _slots(schema, t.name, t.count)) for t in schema.things}
    for grid in schema.grids:
        found[grid.name] = (vector[schema.grid(grid.name)] > 0.5).astype(np.int8).reshape(grid.rows, grid.cols)
    found |= {g.name: inside(g.name, _one(schema.gauge(g.name))) for g in schema.gauges}
    return found | {r.name: inside(r.name, schema.slot(r.name)) for r in schema.readings}


def bounds(schema: SceneSchema) -> tuple[np.ndarray, np.ndarray]:
    """(low, high), float32[size] each: what the values of a tracked Scene vector lie between."""
    top, left, bottom, right = schema.crop
    low, high = np.zeros(schema.size, np.float32), np.ones(schema.size, np.float32)
    for thing in schema.things:
        v = 2 * thing.max_speed
        for i in range(thing.count):
            slot = schema.slot(thing.name, i)
            low[slot] = (0, left - MARGIN, top - MARGIN, 0, 0, -v, -v, 0)
            high[slot] = (1, right + MARGIN, bottom + MARGIN, right - left, bottom - top, v, v, 1)
    for gauge in schema.gauges:
        low[schema.gauge(gauge.name)], high[schema.gauge(gauge.name)] = gauge.low, gauge.high
    for reading in schema.readings:
        slot = schema.slot(reading.name)
        low[slot] = (0, *(f.low for f in reading.fields), 0)
        high[slot] = (1, *(f.high for f in reading.fields), 1)
    return low, high


def _slots(schema: SceneSchema, thing: str, count: int) -> slice:
    return slice(schema.slot(thing).start, schema.slot(thing, count - 1).stop)


def _one(index: int) -> slice:
    return slice(index, index + 1)


register_all()
