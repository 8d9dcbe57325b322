"""Numbers as a frame: what a task without a picture sees.

`[observation]` of `system.toml` names numbers of the environment's observation, each with its place in that vector, its
range and its unit. They cross the wall as a frame does, uint8[1, n, 3]: one pixel a number, 24 bits between `low` and
`high`, the highest byte first. So a sensor's range and resolution are part of the task, and whatever works on frames
works on readings.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

OBSERVATION = "observation"  # the table of `system.toml`, and the option of the backend
STEPS = 2**24 - 1
MOST_READINGS = 1024
MOST_PLACE = 2**20


def declared(table: Mapping[str, Any]) -> tuple[dict[str, Any], list[list[float]]]:
    """The `[scene]` table of the readings that `[observation]` declares, and of each number in the scene's order
    [place in the observation, low, high]. KeyError(key, message) for what is none; ranges are the scene's to check."""
    places: list[list[float]] = []
    readings: dict[str, Any] = {}
    for name, given in table.items():
        if not isinstance(given, Mapping) or not given:
            raise KeyError((name,), f"{name} is a table of numbers: write [observation.{name}]")
        fields: dict[str, Any] = {}
        for key, number in given.items():
            path, what = (name, key), f"{name}.{key}"
            if not isinstance(number, Mapping):
                raise KeyError(path, f'{what} is a table such as {{ at = 0, low = -1.0, high = 1.0, unit = "m" }}')
            at: Any = number.get("at")
            low: Any = number.get("low")
            high: Any = number.get("high")
            if type(at) is not int or not 0 <= at < MOST_PLACE:
                raise KeyError(
                    path, f"{what} says where it stands in the observation: at is a whole number from 0, got {at!r}"
                )
            if not _range(low, high):
                raise KeyError(
                    path, f"{what} has a range: low and high are numbers, low below high, got {low!r}, {high!r}"
                )
            places.append([at, float(low), float(high)])
            fields[key] = {k: v for k, v in number.items() if k != "at"}
        readings[name] = {"required": True, "fields": fields}
    if not 1 <= len(places) <= MOST_READINGS:
        raise KeyError((), f"an observation has 1 to {MOST_READINGS} numbers, this one {len(places)}")
    return {"crop": [0, 0, 1, len(places)], "readings": readings}, places


def _range(low: Any, high: Any) -> bool:
    """Whether these are two numbers, the first so far below the second that steps between them can be counted."""
    numbers = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in (low, high))
    return numbers and float(low) < float(high) and math.isfinite(STEPS / (float(high) - float(low)))


def encode(values: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Finite float64[n], each with its range -> uint8[1, n, 3]; beyond the range it is the nearest end."""
    code = np.rint((np.clip(values, low, high) - low) * (STEPS / (high - low))).astype(np.int64)
    return np.stack([code >> 16, code >> 8 & 255, code & 255], axis=1).astype(np.uint8)[None]


def decode(frame: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Back: uint8[1, n, 3] -> float32[n]."""
    code = frame[0].astype(np.float64) @ (65536.0, 256.0, 1.0)  # whole numbers, so no order of the sum matters
    return (code * ((high - low) / STEPS) + low).astype(np.float32)
