"""What is wrong with the pictures themselves: while a condition holds, which has a name, the action is the fallback.

No rule has to be written for that, and no detector is asked. Pure: times come from whoever calls.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from envs.env import simulated
from envs.spec import SystemSpec

STALL = "stall"  # no picture for too long
END = "end of stream"  # the source says that there are no more
SIZE = "wrong size"
BLACK = "black"
FLAT = "flat"  # one level everywhere: white, covered, no signal
FROZEN = "frozen"  # the same picture again and again
DRIFT = "drift"  # the picture, or what is seen on it, is not what it was in training
BLIND = (STALL, END, SIZE, BLACK, FLAT, FROZEN)  # while one of these holds, nothing is decided on the picture

PICTURES = 3  # a stall is never shorter than so many pictures take
GOOD = 3  # good pictures in a row that end a condition
COARSE = 16  # pixels of a side of the cells whose means are compared: noise is not seen in them
FINEST = 0.001  # seconds that are told apart
SAME = 0.0005  # of the picture's values: if no more of them change, it is the same picture


@dataclass(frozen=True)
class Limits:
    """When a condition holds. Seconds, and levels of 255; 0 is off."""

    hz: float
    stall: float = 0.25
    frozen: float = 0.5
    black: float = 10.0
    flat: float = 2.0
    drift: bool = True

    @staticmethod
    def of(spec: SystemSpec, hz: float) -> Limits:
        """As the task's [safety] says. In a game a black or a still picture may be in order: there it has to be asked
        for."""
        played = simulated(spec.env)
        usual = {"stall_ms": 250.0} | (
            {} if played else {"frozen_ms": 500.0, "black_level": Limits.black, "flat_level": Limits.flat}
        )
        stall, frozen, black, flat = (
            float(spec.safety.get(key, usual.get(key, 0.0)))
            for key in ("stall_ms", "frozen_ms", "black_level", "flat_level")
        )
        return Limits(hz, stall / 1000, frozen / 1000, black, flat, not played)

    @property
    def patience(self) -> float:
        """Seconds without a picture that are a stall; infinite where that is off."""
        return max(self.stall, PICTURES / self.hz) if self.stall else float("inf")


class Conditions:
    """Looks at every picture before it is decided on. `now`: the condition that holds, "" when none does."""

    def __init__(self, limits: Limits, shape: tuple[int, ...]) -> None:
        self.limits, self.shape, self.now = limits, shape, ""
        self._last: np.ndarray | None = None
        self._differ = np.empty(shape, bool)
        self._heard = self._changed = 0.0
        self._good = 0

    def start(self, at: float) -> None:
        """The first picture is waited for from now on."""
        self._heard = self._changed = at

    def see(self, frame: np.ndarray, at: float) -> str:
        """The condition that holds with a picture uint8[H, W, 3] that came at second `at`."""
        self._heard = at
        found = self._look(frame, at)
        if found:
            self.now, self._good = found, 0
        elif self.now:
            self._good += 1
            if self._good >= GOOD:
                self.now = ""
        return self.now

    def miss(self, condition: str) -> str:
        """There is no picture, for that reason."""
        self.now, self._good, self._last = condition, 0, None
        return condition

    def overdue(self, at: float) -> bool:
        """Whether there was no picture for too long."""
        return self.left(at) < FINEST

    def left(self, at: float) -> float:
        """Seconds until that is so."""
        return self._heard + self.limits.patience - at

    def _look(self, frame: np.ndarray, at: float) -> str:
        if frame.shape != self.shape:
            self._last = None
            return SIZE
        still, self._last = self._still(frame), frame
        if not still:
            self._changed = at
        cells = cv2.resize(frame, _cells(self.shape), interpolation=cv2.INTER_AREA).reshape(-1, 3)
        if float(cells.mean()) < self.limits.black:
            return BLACK
        if float(cells.std(axis=0).max()) < self.limits.flat:
            return FLAT
        return FROZEN if self.limits.frozen and still and at - self._changed >= self.limits.frozen else ""

    def _still(self, frame: np.ndarray) -> bool:
        if self._last is None or not self.limits.frozen:
            return False
        np.not_equal(frame, self._last, out=self._differ)
        return int(np.count_nonzero(self._differ)) <= SAME * frame.size


def _cells(shape: tuple[int, ...]) -> tuple[int, int]:
    """Width and height of the coarse picture."""
    return max(1, shape[1] // COARSE), max(1, shape[0] // COARSE)
