"""A game whose score follows from the tunables of a policy: chances to miss, five lives, a highest score.

`Landscape` draws such games at random; `FakeArena` plays policy texts in them and counts frames.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import improve_kit
import numpy as np

from supervisor.budget import Budgets
from supervisor.edits.tunables import constants
from supervisor.events import EventLog
from supervisor.proposers.tuner import Tuner, TunerSettings
from supervisor.protocols import Compiled, Request, Score

TOP = 864.0


class Landscape:
    """`names`: tunables in [0, 1]; each has a range in which it does no harm and a slope of misses outside it."""

    def __init__(self, seed: int, size: int = 10, off: int = 3, between: tuple[float, float] = (30, 430)) -> None:
        """`off` constants are wrong so far that the mean score lies `between` these."""
        draw = np.random.default_rng(seed)
        width = draw.uniform(0.1, 0.7, size)
        self.low = draw.uniform(0, 1 - width)
        self.high = self.low + width
        self.slope = 10 ** draw.uniform(-1.7, 0.6, size)
        self.good = self.low + width * draw.uniform(0.3, 0.7, size)
        self.names = [f"C{i}" for i in range(size)]
        while True:
            self.off = draw.choice(size, off, replace=False)
            start = self.good.copy()
            start[self.off] = draw.uniform(0, 1, off)
            score = np.mean([self.game(start, k)[0] for k in range(20)])
            if between[0] < score < between[1] and min(self.miss(start)[self.off]) > 0.004:
                break
        self.start = start

    def miss(self, x: Any) -> Any:
        return np.clip(np.maximum(self.low - x, x - self.high) * self.slope, 0, 0.95)

    def game(self, x: Any, seed: int) -> tuple[float, int]:
        """(score, frames) of a game, which ends with the fifth miss or the last brick."""
        kept = 0.9995 * float(np.prod(1 - self.miss(np.asarray(x))))
        digest = hashlib.sha256(repr((seed, [round(float(v), 6) for v in x])).encode()).digest()
        draw = np.random.default_rng(int.from_bytes(digest[:8], "big"))
        hits = draw.random(1400) < kept
        bricks = np.cumsum(hits & (draw.random(1400) < 0.75))
        ends = int(min(np.searchsorted(bricks, 216), np.searchsorted(np.cumsum(~hits), 5), 1399))
        return float(TOP * min(bricks[ends], 216) // 216), 4000 + 85 * (ends + 1)

    def policy(self, x: Any = None) -> str:
        values = zip(self.names, self.start if x is None else x, strict=True)
        lines = [f"{n} = tunable({v:.4f}, 0.0, 1.0)" for n, v in values]
        return '"""Made up."""\n\n' + "\n".join(lines) + '\n\n\ndef act(scene, memory):\n    return NOOP, "wait"\n'

    def values(self, text: str) -> list[float]:
        return list(_values(text))

    def truth(self, text: str, games: int = 60) -> float:
        """Mean score on seeds of nobody's."""
        return float(np.mean([self.game(self.values(text), 50_000 + k)[0] for k in range(games)]))


@lru_cache(maxsize=64)
def _values(text: str) -> tuple[float, ...]:
    return tuple(t.value for t in constants(text).values())


class FakeArena:
    """Plays `score(text, seed) -> (score, frames)`; a text that contains "BROKEN = " with a value over 0.5 breaks."""

    floors = 0
    floor_frames = 0

    def __init__(self, score: Any, guess: float = 20_000.0) -> None:
        self.score, self.frames_per_episode = score, guess
        self.played: list[tuple[str, int]] = []
        self.streams: list[int] = []  # games of each
        self.frames = 0
        self.stop_after: int | None = None

    def compile(self, text: str) -> Compiled:
        return Compiled(("line 3: BROKEN is too large",) if self._broken(text) else ())

    def _broken(self, text: str) -> bool:
        found = constants(text)
        return "BROKEN" in found and found["BROKEN"].value > 0.5

    def play(self, games: Sequence[tuple[str, int]]) -> Iterator[tuple[str, Score]]:
        if any(self._broken(text) for text, _ in games):
            raise ValueError("it does not compile")
        self.streams.append(len(games))
        for text, seed in reversed(games):
            if self.stop_after is not None and len(self.played) >= self.stop_after:
                raise KeyboardInterrupt
            score, frames = self.score(text, seed)
            self.played.append((text, seed))
            self.frames += frames
            yield text, Score(seed, score, 0.0, frames, frames // 4)


class Desk:
    """A log, budgets on it and a tuner, as the loop sets them up; opening it again resumes."""

    def __init__(
        self, home: Path, evaluator: FakeArena, steps: float | None = 3e6, settings: TunerSettings | None = None
    ) -> None:  # fmt: skip
        self.log = EventLog.open(home / "events.jsonl", now=lambda: 0.0)
        self.budgets = Budgets(steps=steps, events=list(self.log.events), record=self.log.append)
        self.tuner = Tuner(evaluator, self.log.events, self.budgets, settings, lambda: 0.0)  # type: ignore[arg-type]

    def __enter__(self) -> Desk:
        return self

    def __exit__(self, *error: object) -> None:
        self.log.close()

    @property
    def tried(self) -> list[dict[str, Any]]:
        return [dict(e.data) for e in self.log.events if e.kind == "tuner.tried"]


def ask(policy: str, trial: int = 1) -> Request:
    return Request("made-up", trial, policy)


class LoopArena(improve_kit.FakeArena):
    """A landscape behind everything else that the loop asks an arena. `tried`: what was played on training seeds."""

    frames_per_episode = 20_000.0

    def __init__(self, made: Landscape) -> None:
        super().__init__()
        self.made = made
        self.tried: list[tuple[str, int]] = []

    def behaviour(self, text: str) -> str:
        return hashlib.sha256(text.encode()).hexdigest()

    def _score(self, text: str, seed: int) -> Score:
        score, frames = self.made.game(self.made.values(text), seed)
        if seed < 1000:
            self.tried.append((text, seed))
        return Score(seed, score, 0.0, frames, frames // 4)
