"""A game that can be taken back to a moment and played on from there, with the same noise or other: for blame only.

Evaluation beside the detector, like `--eyes teacher`: it needs an observer, so nothing that plays for a score can be
handed one by mistake.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from envs.env import Rules
from envs.errors import EnvError
from envs.remote import Observer, PixelEnv
from envs.remote_process import DONE, RESET, SEED, Host, main
from envs.spec import EnvSpec

MARK = 5  # a command beside the wall's own


class Rewinding(Host):
    """The simulator's side: MARK keeps the moment, a seed below 0 goes back to it with noise seed -seed - 1."""

    def __init__(self, job: dict[str, Any]) -> None:
        super().__init__(job)
        if not hasattr(self.core, "save"):
            raise EnvError(
                "this backend cannot take a game back: its simulator has no save() and load(state, noise_seed); "
                "judge from the record alone (triune blame --without-teacher)"
            )

    def command(self, command: int) -> None:
        if command != MARK:
            super().command(command)
        self.kept = self.core.save(), self.scores[:], self.lives[:]
        self.shown = self.frame.copy(), self.extra.copy()  # a restored simulator has not drawn its picture

    def reset(self, seed: int) -> None:
        if seed >= 0:
            super().reset(seed)
            return
        state, scores, lives = self.kept
        self.core.load(state, -seed - 1)
        self.scores, self.lives = scores[:], lives[:]
        self.frame[:], self.extra[:] = self.shown


class RewindEnv(PixelEnv):
    """A PixelEnv with `mark()` and `back(noise_seed)`; `observed` holds the observer's vector as always."""

    _module = "envs.rewind"

    def __init__(self, env: EnvSpec, protocol: Rules, shift: str | None, observer: Observer) -> None:
        super().__init__(env, protocol, shift, observer)
        self._marked = False

    def reset(self, seed: int) -> np.ndarray:
        self._marked = False
        return super().reset(seed)

    def mark(self) -> None:
        """Keep this moment of a running game; a later mark replaces it."""
        if self.done:
            raise EnvError("there is no running game to mark: call reset(seed)")
        self._send(bytes([MARK]))
        self._answer(self._step_s)
        self._marked = True

    def back(self, noise_seed: int = 0) -> np.ndarray:
        """The marked moment again; its frame. `noise_seed` 0: what follows is as it was; 1, 2 ...: other noise."""
        if not self._marked:
            raise EnvError("nothing is marked: call mark() in a running game")
        self._send(bytes([RESET]) + SEED.pack(-1 - noise_seed))
        self.done = self._answer(self._start_s) == DONE
        return self._frame


if __name__ == "__main__":
    sys.exit(main(Rewinding))
