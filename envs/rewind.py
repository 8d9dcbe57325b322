"""A game that can be taken back to a moment and played on from there, with the same noise or other: for blame only.

Evaluation beside the detector, like `--eyes teacher`: it needs an observer, so nothing that plays for a score can be
handed one by mistake.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

import numpy as np

from envs.actions import Action
from envs.env import Rules
from envs.errors import EnvError
from envs.remote import Observer, PixelEnv
from envs.remote_process import DONE, RESET, SEED, STEP, Host, main
from envs.spec import EnvSpec

MARK, HIDE, SHOW = 5, 6, 7  # commands beside the wall's own
BATCH = 256  # steps that are sent together
NOISES = 1000  # noise seeds of each mark


class Rewinding(Host):
    """The simulator's side: MARK keeps the moment; a seed below 0 goes back to one, with a noise seed."""

    def __init__(self, job: dict[str, Any]) -> None:
        super().__init__(job)
        self.kept: list[Any] = []
        self.hidden = False
        if not hasattr(self.core, "save"):
            raise EnvError(
                "this backend cannot take a game back: its simulator has no save() and load(state, noise_seed); "
                "judge from the record alone (triune blame --without-teacher)"
            )

    def publish(self) -> None:
        if not self.hidden:
            super().publish()

    def command(self, command: int) -> None:
        if command in (HIDE, SHOW):
            self.hidden = command == HIDE
            self.publish()
            return
        if command != MARK:
            super().command(command)
        shown = self.frame.copy(), self.extra.copy()  # a restored simulator has not drawn its picture
        self.kept.append((self.core.save(), self.scores[:], self.lives[:], shown))

    def reset(self, seed: int) -> None:
        self.hidden = False
        if seed >= 0:
            self.kept.clear()
            super().reset(seed)
            return
        mark, noise_seed = divmod(-1 - seed, NOISES)
        state, scores, lives, shown = self.kept[mark]
        self.core.load(state, noise_seed)
        self.scores, self.lives = scores[:], lives[:]
        self.frame[:], self.extra[:] = shown


class RewindEnv(PixelEnv):
    """A PixelEnv with `mark()` and `back(noise_seed, mark)`; `observed` holds the observer's vector as always."""

    _module = "envs.rewind"

    def __init__(self, env: EnvSpec, protocol: Rules, shift: str | None, observer: Observer) -> None:
        super().__init__(env, protocol, shift, observer)
        self._shifted = shift is not None
        self._marks = 0

    def reset(self, seed: int) -> np.ndarray:
        self._marks = 0
        return super().reset(seed)

    def mark(self) -> int:
        """Keep this moment of a running game, until the next reset; its number, from 0."""
        if self.done:
            raise EnvError("there is no running game to mark: call reset(seed)")
        self._send(bytes([MARK]))
        self._answer(self._step_s)
        self._marks += 1
        return self._marks - 1

    def skip(self, actions: Iterable[Action]) -> np.ndarray:
        """Carry out actions without a look at what lies between, many at once; the frame after them.

        A game with a shift is drawn all the same, since each picture may decide the next.
        """
        todo = [bytes([STEP]) + self.actions.pack(self.actions.check(action)) for action in actions]
        if self.done or not todo:
            return self._frame
        parts = [todo[i : i + BATCH] for i in range(0, len(todo), BATCH)]
        for commands in parts if self._shifted else [[bytes([HIDE])], *parts, [bytes([SHOW])]]:
            self._send(b"".join(commands))
            for _ in commands:
                self.done = self._answer(self._step_s) == DONE
        return self._frame

    def back(self, noise_seed: int = 0, mark: int = -1) -> np.ndarray:
        """A marked moment again, the last one by default; its frame. `noise_seed` 0: what follows is as it was; 1, 2
        ... below NOISES: other noise."""
        if not self._marks:
            raise EnvError("nothing is marked: call mark() in a running game")
        number = range(self._marks)[mark]
        self._send(bytes([RESET]) + SEED.pack(-1 - noise_seed - NOISES * number))
        self.done = self._answer(self._start_s) == DONE
        return self._frame


if __name__ == "__main__":
    sys.exit(main(Rewinding))
