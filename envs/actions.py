"""What a task can be told to do: one of some named actions, or a value for every named control.

An action is an `int` (an index into the names) or a `float32[n]` vector. Both kinds of space answer the same questions,
so that whoever carries actions (wire, files, logs) never asks which kind it is.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from envs.errors import EnvError

Action = int | np.ndarray
MOST_ACTIONS, MOST_CONTROLS = 250, 64
MOST_LETTERS = 64  # of a name
MOST_CONTROL = 1e30  # float32 ends at 3e38


@dataclass(frozen=True)
class Discrete:
    """One of `names`; an action is its index."""

    names: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one action in an array of many: ()."""
        return ()

    @property
    def dtype(self) -> np.dtype[Any]:
        """Kind of number that stores one action."""
        return np.dtype(np.uint8)

    def check(self, action: Any) -> int:
        """The action as an int; EnvError when there is no such index."""
        try:
            index = int(action)
            if index == action and 0 <= index < len(self.names):
                return index
        except (TypeError, ValueError):
            pass
        raise EnvError(f"action {action} is outside 0 .. {len(self.names) - 1} ({', '.join(self.names)})")

    def sample(self, rng: np.random.Generator) -> Action:
        """One at random."""
        return int(rng.integers(len(self.names)))

    def same(self, a: Action, b: Action) -> bool:
        """Whether two actions are one."""
        return bool(a == b)

    def tell(self, action: Action) -> str:
        """For people: the name, or the number of one that has none."""
        index = int(action)
        return self.names[index] if 0 <= index < len(self.names) else f"action {index}"

    def pack(self, action: Action) -> bytes:
        """One byte."""
        return bytes([int(action)])

    def unpack(self, data: bytes) -> Action:
        """Back from `pack`; EnvError when it is no action."""
        return self.check(data[0] if len(data) == 1 else -1)

    @property
    def packed(self) -> int:
        """Bytes of a packed action."""
        return 1

    def parse(self, value: Any) -> Action:
        """An action as people write it in TOML or on a command line: its name. EnvError with the nearest one."""
        if value in self.names:
            return self.names.index(value)
        close = difflib.get_close_matches(str(value), self.names, 1)
        hint = f"did you mean {close[0]!r}?" if close else f"choose one of {', '.join(self.names)}"
        raise EnvError(f"{value!r} is not one of the actions; {hint}")

    def to_config(self) -> list[str]:
        """JSON-able; `action_space` reads it back."""
        return list(self.names)


@dataclass(frozen=True)
class Box:
    """A value for each of `names`, between `low` and `high`; an action is float32[n] in that order."""

    names: tuple[str, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one action in an array of many: (n,)."""
        return (len(self.names),)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Kind of number that stores one control."""
        return np.dtype(np.float32)

    def check(self, action: Any) -> np.ndarray:
        """The action as float32[n]; EnvError when its shape is another or a value is not finite or out of bounds."""
        try:
            vector = np.asarray(action, np.float32)
        except (TypeError, ValueError):
            raise EnvError(f"an action here is {len(self.names)} numbers ({', '.join(self.names)})") from None
        if vector.shape != self.shape:
            raise EnvError(f"an action here is {len(self.names)} numbers ({', '.join(self.names)}), got {vector.shape}")
        for name, value, low, high in zip(self.names, vector.tolist(), self.low, self.high, strict=True):
            # bounds as float32 too: 0.1 rounds up, and a clipped value must be legal
            if not np.float32(low) <= value <= np.float32(high):
                raise EnvError(f"{name} is {value:g}, outside {low:g} .. {high:g}")
        return vector

    def clip(self, action: np.ndarray) -> np.ndarray:
        """The nearest legal action, float32[n]. NaN stays NaN."""
        return np.clip(action.astype(np.float32), np.array(self.low, np.float32), np.array(self.high, np.float32))

    def sample(self, rng: np.random.Generator) -> Action:
        """One at random, uniform between the bounds."""
        return self.clip(rng.uniform(self.low, self.high))

    def same(self, a: Action, b: Action) -> bool:
        """Whether two actions are one, value by value."""
        return bool(np.array_equal(a, b))

    def tell(self, action: Action) -> str:
        """For people: `hip=+0.50 knee=-1.00`."""
        values = np.asarray(action, np.float32).tolist()
        return " ".join(f"{name}={value:+.3g}" for name, value in zip(self.names, values, strict=True))

    def pack(self, action: Action) -> bytes:
        """Four bytes a control, little endian."""
        return np.asarray(action, "<f4").tobytes()

    def unpack(self, data: bytes) -> Action:
        """Back from `pack`; EnvError when it is no action."""
        if len(data) != self.packed:
            raise EnvError(f"an action here is {self.packed} bytes, got {len(data)}")
        return self.check(np.frombuffer(data, "<f4").astype(np.float32))

    @property
    def packed(self) -> int:
        """Bytes of a packed action."""
        return 4 * len(self.names)

    def parse(self, value: Any) -> Action:
        """An action as people write it in TOML: a list of numbers, or a table by name."""
        if isinstance(value, Mapping):
            for name in value:
                if name not in self.names:
                    close = difflib.get_close_matches(str(name), self.names, 1)
                    hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(self.names)}"
                    raise EnvError(f"{name!r} is not one of the controls; {hint}")
            value = [value.get(name, math.nan) for name in self.names]
        return self.check(value)

    def to_config(self) -> dict[str, list[float]]:
        """JSON-able; `action_space` reads it back."""
        return {n: [lo, hi] for n, lo, hi in zip(self.names, self.low, self.high, strict=True)}


ActionSpace = Discrete | Box


def _word(name: Any) -> bool:
    """A name as programs and people write it: "é" may be one letter or two, and look the same."""
    return isinstance(name, str) and len(name) <= MOST_LETTERS and name.isascii() and name.isidentifier()


def action_space(config: Any) -> ActionSpace:
    """The space behind `[env] actions`: a list of names, or a table of controls, each `[low, high]` (or a table with
    `low` and `high`). EnvError says what is wrong."""
    if isinstance(config, Sequence) and not isinstance(config, str):
        names = tuple(config)
        if not names or not all(map(_word, names)):
            raise EnvError("actions is a list of names such as NOOP, FIRE, or a table of controls: hip = [-1, 1]")
        if len(set(names)) < len(names) or len(names) > MOST_ACTIONS:
            raise EnvError(f"actions are at most {MOST_ACTIONS} names, each another")
        return Discrete(names)
    if not isinstance(config, Mapping) or not config or len(config) > MOST_CONTROLS:
        raise EnvError(f"actions is a list of names, or a table of 1 to {MOST_CONTROLS} controls such as hip = [-1, 1]")
    low, high = [], []
    for name, bounds in config.items():
        if isinstance(bounds, Mapping) and set(bounds) == {"low", "high"}:
            bounds = (bounds["low"], bounds["high"])
        good = isinstance(bounds, Sequence) and not isinstance(bounds, str) and len(bounds) == 2
        numbers = good and all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in bounds)
        if not _word(name) or not numbers or not all(abs(v) < MOST_CONTROL for v in bounds) or bounds[0] >= bounds[1]:
            raise EnvError(f"control {name!r} needs finite bounds: {name} = [low, high] with low < high")
        low.append(float(bounds[0]))
        high.append(float(bounds[1]))
    return Box(tuple(config), tuple(low), tuple(high))
