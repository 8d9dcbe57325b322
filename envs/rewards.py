"""A game with its score told at every step: for learners, which need rewards.

Nothing that plays for a figure is handed one: an evaluation holds a `PixelEnv`, whose score comes after the episode.
"""

from __future__ import annotations

import json
import mmap
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from envs.errors import EnvError
from envs.remote import PixelEnv, shared_memory
from envs.remote_process import LENGTH, Host, main

ROOM = 1 << 16  # bytes for what is told


@dataclass(frozen=True)
class Told:
    """Of a running game: score so far (None: there is none), the backend's other figures by name; `truncated`: it is
    over because a limit was reached, not by its own rules."""

    score: int | float | None
    metrics: Mapping[str, float]
    truncated: bool


class Telling(Host):
    """The simulator's side: what is told lies beside every picture, in shared memory."""

    def __init__(self, job: dict[str, Any]) -> None:
        super().__init__(job)
        with open(job["told"], "r+b") as f:
            self.told = mmap.mmap(f.fileno(), ROOM)

    def publish(self) -> None:
        super().publish()
        core = self.core
        data = json.dumps({"score": core.score, "metrics": dict(core.metrics()), "truncated": self.truncated}).encode()
        if len(data) > ROOM - LENGTH.size:
            raise EnvError(f"the metrics of this backend take {len(data)} bytes, {ROOM} is the most")
        self.told[: LENGTH.size + len(data)] = LENGTH.pack(len(data)) + data


class RewardEnv(PixelEnv):
    """A PixelEnv that tells score and metrics at every step: `told`."""

    _module = "envs.rewards"

    def _start(self, job: dict[str, object], *shared: int) -> None:
        with shared_memory(ROOM) as (told, self._told):
            super()._start({**job, "told": told}, *shared, told)

    @property
    def told(self) -> Told:
        """Of the present moment."""
        (length,) = LENGTH.unpack(self._told[: LENGTH.size])
        return Told(**json.loads(self._told[LENGTH.size : LENGTH.size + length]))


if __name__ == "__main__":
    sys.exit(main(Telling))
