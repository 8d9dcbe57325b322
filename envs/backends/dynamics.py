"""A body that differs from the one a policy was made for: `[env] dynamics`, of the Gymnasium backend.

Neither policy nor planner is told. `gear`, `mass` and `friction` change the model of a MuJoCo environment; `latency`
and `noise` lie between any environment and who plays it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from envs.env import nearest
from envs.errors import EnvError

MOST_FACTOR, MOST_LATENCY = 10.0, 100
SHIFTS: dict[str, dict[str, float]] = {
    "gear -20 %": {"gear": 0.8},
    "mass +30 %": {"mass": 1.3},
    "friction -30 %": {"friction": 0.7},
    "latency 1": {"latency": 1},
    "noise 1 %": {"noise": 0.01},
}  # those that are measured


@dataclass(frozen=True)
class Dynamics:
    """gear      factor of what the motors give
    mass      factor of all masses and inertias
    friction  factor of all friction
    latency   decisions that an action takes to arrive; until the first one does, the fallback is carried out
    noise     standard deviation of what is read, as a share of each number's declared range
    """

    gear: float = 1.0
    mass: float = 1.0
    friction: float = 1.0
    latency: int = 0
    noise: float = 0.0

    @staticmethod
    def of(options: Mapping[str, Any]) -> Dynamics:
        """What `dynamics` among a task's options says; EnvError names what is unknown or out of bounds."""
        table, known = options.get("dynamics", {}), [f.name for f in fields(Dynamics)]
        for key, value in table.items():
            if key not in known:
                raise EnvError(f"dynamics: unknown key {key!r}{nearest(str(key), known)}")
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if key == "latency":
                if type(value) is not int or not 0 <= value <= MOST_LATENCY:
                    raise EnvError(
                        f"dynamics: latency is a whole number of decisions, 0 to {MOST_LATENCY}, got {value!r}"
                    )
            elif key == "noise":
                if not number or not 0 <= value <= 1:
                    raise EnvError(f"dynamics: noise is a share of the range, 0 to 1, got {value!r}")
            elif not number or not 0 < value <= MOST_FACTOR:
                raise EnvError(f"dynamics: {key} is a factor above 0, at most {MOST_FACTOR:g}, got {value!r}")
        return Dynamics(**table)

    def change(self, world: Any, name: str) -> None:
        """Change the model of an environment; EnvError where it has none and one is to be changed."""
        if (self.gear, self.mass, self.friction) == (1.0, 1.0, 1.0):
            return
        model: Any = getattr(world, "model", None)
        if not hasattr(model, "actuator_gear"):
            raise EnvError(f"{name} is no body of MuJoCo: of its dynamics only latency and noise can be changed")
        import mujoco

        model.actuator_gear *= self.gear
        model.body_mass *= self.mass
        model.body_inertia *= self.mass
        model.geom_friction *= self.friction
        mujoco.mj_setConst(model, world.data)  # what follows from the masses


class Between:
    """What lies between a simulator and who plays it: actions on their way, noise on what is read."""

    def __init__(self, dynamics: Dynamics, fallback: Any) -> None:
        self._dynamics, self._fallback = dynamics, fallback
        self.reset(0)

    def reset(self, seed: int) -> None:
        """A new episode: nothing is on its way, and its seed draws the noise."""
        self.waiting: deque[Any] = deque([self._fallback] * self._dynamics.latency)
        self.rng = np.random.default_rng(seed)

    def arriving(self, action: Any) -> Any:
        """The action that is carried out when `action` is decided."""
        self.waiting.append(action)
        return self.waiting.popleft()

    def read(self, values: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """float64[n] as the sensors say them. Called once a step."""
        if not self._dynamics.noise:
            return values
        return values + self.rng.normal(0.0, self._dynamics.noise, len(values)) * (high - low)
