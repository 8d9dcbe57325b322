"""Which frames of a game are kept: none, those around failures, every Nth, or all; and what counts as a failure.

Knows: the record of a game. Does not know: files, budgets, how frames are encoded, whose fault a failure was.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_flywheel.episodes.episode import Episode
from data_flywheel.errors import DataError
from perception.scene import SLOT, SceneSchema

BEFORE, AFTER = 40, 10  # steps kept around a failure: its cause lies before it
KINDS = ("none", "failures", "sampled:N", "all")
_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}

Steps = NDArray[np.int64]


@dataclass(frozen=True)
class FramePolicy:
    """`kind`: none, failures, sampled or all. `every`: of sampled; `window`: frames that the eyes look at together."""

    kind: str
    every: int = 1
    window: int = 1

    @staticmethod
    def parse(text: str, window: int = 1) -> FramePolicy:
        """From the command line; DataError names the nearest valid choice."""
        sampled = re.fullmatch(r"sampled:(\d{1,9})", text)
        if sampled and int(sampled[1]) > 0:
            return FramePolicy("sampled", int(sampled[1]), window)
        if text in ("none", "failures", "all"):
            return FramePolicy(text, window=window)
        close = difflib.get_close_matches(text, KINDS, 1, 0.5)
        hint = f"did you mean {close[0]!r}?" if close else f"choose from {', '.join(KINDS)}"
        raise DataError(f"unknown policy of frames {text!r}; {hint} (N: a whole number from 1)")

    def wants(self, step: int) -> bool:
        """Whether the frame of a step may be kept, as far as is known while the game runs."""
        if self.kind == "sampled":  # and the frames that the eyes see together with it
            return (-step) % self.every < self.window
        return self.kind != "none"

    def steps(self, episode: Episode, schema: SceneSchema) -> Steps:
        """Which steps stay, of those that were wanted, once the game is over."""
        if self.kind != "failures":
            return np.arange(len(episode))
        found = [steps for steps in failures(episode, schema).values() if len(steps)]
        return _around(np.concatenate(found), len(episode), self.window) if found else np.zeros(0, np.int64)


def failures(episode: Episode, schema: SceneSchema) -> dict[str, Steps]:
    """Steps at which something went wrong, by kind: life lost, points lost, perception lost, overruled, fault.

    Perception lost: a thing that was seen is not, and the tracker carries it on. Kinds without a step are there, empty.
    """
    change = np.diff(episode.scores.astype(np.int64), prepend=0)
    lives = np.diff(episode.lives.astype(np.int64), prepend=episode.lives[:1])
    return {
        "life lost": np.flatnonzero(lives < 0),
        "points lost": np.flatnonzero(change < 0),
        "perception lost": _lost(episode.scenes, schema),
        "overruled": np.flatnonzero(episode.overruled),
        "fault": np.flatnonzero(episode.faults),
    }


def _lost(scenes: NDArray[np.float32], schema: SceneSchema) -> Steps:
    end = sum(thing.count for thing in schema.things) * SLOT
    if not end or not len(scenes):
        return np.zeros(0, np.int64)
    slots = scenes[:, :end].reshape(len(scenes), -1, SLOT)
    seen, carried = slots[:, :, 0] > 0.5, slots[:, :, -1] > 0
    return np.flatnonzero((seen[:-1] & ~seen[1:] & carried[1:]).any(axis=1)) + 1


def _around(steps: Steps, length: int, window: int) -> Steps:
    edges = np.zeros(length + 1, np.int64)
    np.add.at(edges, np.maximum(steps - BEFORE - window + 1, 0), 1)
    np.add.at(edges, np.minimum(steps + AFTER + 1, length), -1)
    return np.flatnonzero(np.cumsum(edges[:-1]))


def parse_bytes(text: str) -> int:
    """Bytes in "500MB", "2GB", "1e6"; DataError says how it is written."""
    match = re.fullmatch(r"\s*([0-9.]+(?:e[0-9]+)?)\s*([kKmMgGtT]?[bB]?)\s*", text)
    unit = match[2].upper() if match else ""
    unit += "B" if unit in ("K", "M", "G", "T") else ""
    try:
        value = float(match[1]) * _UNITS[unit] if match else 0.0
    except ValueError:
        value = 0.0
    if not 1 <= value < 1e18:
        raise DataError(f"a size is written like 500MB or 2GB, got {text!r}")
    return int(value)
