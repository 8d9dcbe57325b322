"""Pendulum's training labels: the simulator's own angle. Training only; never shipped, never run in play."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def label(truth: Mapping[str, NDArray[Any]], frame: NDArray[np.uint8], schema: Any) -> NDArray[np.float32]:
    """The Scene vector of the state (angle, speed); the angle from -pi to pi, 0 when the rod stands up."""
    vector: NDArray[np.float32] = schema.empty()
    angle = (float(truth["state"][0]) + math.pi) % (2 * math.pi) - math.pi
    vector[schema.slot("rod")] = (1, angle, 1)
    return vector


def scripted(truth: Mapping[str, NDArray[Any]], rng: np.random.Generator) -> NDArray[np.float32]:
    """A crude player: push along with the swing, which pumps it up."""
    speed = float(truth["state"][1])
    return np.array([2.0 * np.sign(speed) if rng.random() < 0.9 else rng.uniform(-2, 2)], np.float32)


def spread(rng: np.random.Generator) -> dict[str, Any]:
    """Any angle, those near the top oftener, under any arrow of the last torque, or none as at the start."""
    angle = rng.uniform(-math.pi, math.pi) if rng.random() < 0.8 else rng.normal(0, 0.15)
    torque = None if rng.random() < 0.03 else float(rng.choice([rng.uniform(-2, 2), 2.0, -2.0, 0.0]))
    return {"state": np.array([angle, rng.uniform(-8, 8)]), "last_u": torque}
