"""CartPole's training labels: the simulator's own place and angle. Training only; never shipped, never run in play."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def label(truth: Mapping[str, NDArray[Any]], frame: NDArray[np.uint8], schema: Any) -> NDArray[np.float32]:
    """The Scene vector of the state (x, speed, angle, spin)."""
    vector: NDArray[np.float32] = schema.empty()
    x, _, angle, _ = truth["state"]
    vector[schema.slot("cart")] = (1, np.clip(x, -2.5, 2.5), 1)
    vector[schema.slot("pole")] = (1, np.clip(angle, -0.3, 0.3), 1)
    return vector


def scripted(truth: Mapping[str, NDArray[Any]], rng: np.random.Generator) -> int:
    """A crude player: push to the side to which the pole falls."""
    _, _, angle, spin = truth["state"]
    return int(angle + 0.3 * spin + rng.normal(0, 0.05) > 0)


def spread(rng: np.random.Generator) -> dict[str, Any]:
    """Any state an episode can hold, those near the middle oftener."""
    x = rng.uniform(-2.45, 2.45) if rng.random() < 0.7 else rng.normal(0, 0.5)
    angle = rng.uniform(-0.24, 0.24) if rng.random() < 0.7 else rng.normal(0, 0.05)
    return {"state": np.array([np.clip(x, -2.45, 2.45), rng.normal(0, 0.8), np.clip(angle, -0.24, 0.24), rng.normal()])}
