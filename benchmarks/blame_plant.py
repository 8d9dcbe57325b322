"""Planted faults: eyes, policies or controls broken on purpose, so that whose failure it is is known beforehand.

Knows: how eyes lie (a thing not seen, moved, late, exchanged, made up), which lines of the zoo's policies are broken,
that controls may stick more than agreed (the world's fault). Does not know: how faults are played or judged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from data_flywheel.attribution.verdict import BOTH, EYES, REFLEXES, WORLD
from perception.scene import SLOT, SceneSchema
from triune.errors import TriuneError

# Sound variants: eyes are broken under these, so that the policy never is the reference itself.
SOUND: dict[str, tuple[tuple[str, str], ...]] = {
    "breakout": (("SIGMA = 0.8 ", "SIGMA = 1.0 "), ("tunable(0.05, 0.0, 0.3)", "tunable(0.08, 0.0, 0.3)")),
    "pong": (("SIGMA = 0.7 ", "SIGMA = 1.0 "), ("MIDDLE = 120.0", "MIDDLE = 112.0")),
}
_BREAKOUT_ACTION = "    return RIGHT if move == 1 else LEFT if move == 2 else NOOP\n"
_BREAKOUT_ASIDE = "BESIDE = to_float(arange(49)) - FAR "
_BREAKOUT_LEAD = "        frames = frames_until(MEET - memory.y, memory.vy)\n"
_PONG_ACTION = "    if move == UP:\n        return RIGHT, reason\n"
_PONG_LEAD = "    y, vy = fly(memory.ball_y, memory.ball_vy, FIRST_CONTACT - memory.ball_x)\n    layer"
BROKEN: dict[str, dict[str, tuple[str, str]]] = {
    "breakout": {
        "wrong side": (
            _BREAKOUT_ACTION,
            "    if memory.down and memory.x > 84.0:\n"
            "        return LEFT if move == 1 else RIGHT if move == 2 else NOOP\n" + _BREAKOUT_ACTION,
        ),
        "frozen": (
            _BREAKOUT_ACTION,
            "    if memory.down and memory.y > 120.0:\n        return NOOP\n" + _BREAKOUT_ACTION,
        ),
        "aim 14 px right": (_BREAKOUT_ASIDE, _BREAKOUT_ASIDE.replace("FAR", "FAR + 14.0")),
        "aim 14 px left": (_BREAKOUT_ASIDE, _BREAKOUT_ASIDE.replace("FAR", "FAR - 14.0")),
        "lead too short": (_BREAKOUT_LEAD, _BREAKOUT_LEAD.replace("memory.vy)", "memory.vy) // 2")),
        "late start": (
            _BREAKOUT_ACTION, "    if memory.y < 170.0:\n        return NOOP\n" + _BREAKOUT_ACTION,
        ),
    },
    "pong": {
        "wrong side": (
            _PONG_ACTION,
            "    if move != 0 and memory.ball_vx > 0 and memory.ball_y > 120:\n"
            "        move = UP if move == DOWN else DOWN\n" + _PONG_ACTION,
        ),
        "frozen": (
            _PONG_ACTION, "    if memory.ball_vx > 0 and memory.ball_x > 80:\n        move = 0\n" + _PONG_ACTION,
        ),
        "aim 16 px low": (_PONG_LEAD, _PONG_LEAD.replace("\n    layer", "\n    y = min(y + 16, 207)\n    layer")),
        "aim 16 px high": (_PONG_LEAD, _PONG_LEAD.replace("\n    layer", "\n    y = max(y - 16, 37)\n    layer")),
        "lead too short": (_PONG_LEAD, _PONG_LEAD.replace("FIRST_CONTACT - memory.ball_x", "20")),
        "wall misplaced": ("FLOOR = 206\n", "FLOOR = 166\n"),
    },
}  # fmt: skip
SURE = {"breakout": ("frozen", "aim 14 px left"), "pong": ("aim 16 px low", "lead too short")}  # fail at every ball
LIES = ("blind", "offset", "delay", "swap", "ghost")
STICKY = 0.9  # chance per frame that the last action is repeated where controls stick
OWN = {"breakout": "paddle", "pong": "player"}
AXIS = {"breakout": 1, "pong": 2}  # index of the coordinate along which one's own thing moves, within a slot


@dataclass(frozen=True)
class Lie:
    """What eyes do wrong from step `start` to `end`: `kind` of LIES; `thing` and `other` by name; `size` in px, or in
    steps: of delay, of four in which a ghost shows at `place`."""

    kind: str
    thing: str
    other: str
    size: float
    start: int
    end: int
    place: tuple[float, float] = (80.0, 120.0)

    def told(self, step: int, past: Sequence[np.ndarray], schema: SceneSchema, axis: int) -> np.ndarray:
        """The raw scene that is told at a step; `past[-1]` is the true one, the ones before it come before it."""
        now = past[-1].copy()
        if not self.start <= step < self.end:
            return now
        a, b = schema.slot(self.thing), schema.slot(self.other)
        if self.kind == "blind":
            now[a] = 0.0
        elif self.kind == "offset":
            now[a.start + axis] += self.size * (now[a.start] > 0.5)
        elif self.kind == "delay":
            end = _things_end(schema)
            now[:end] = past[max(-len(past), -1 - int(self.size))][:end]
        elif self.kind == "swap":
            now[a], now[b] = past[-1][b], past[-1][a]
        elif step % 4 < self.size:
            now[a] = (1, *self.place, 2, 4, 0, 0, 0.9)
        return now


def _things_end(schema: SceneSchema) -> int:
    return SLOT * sum(thing.count for thing in schema.things)


@dataclass(frozen=True)
class Plant:
    """One planted fault: a `lie` of the eyes and/or a `rule`, a name of BROKEN; with neither, controls that stick."""

    task: str
    seed: int
    lie: Lie | None
    rule: str | None

    @property
    def truth(self) -> str:
        """The planted cause."""
        if self.lie:
            return BOTH if self.rule else EYES
        return REFLEXES if self.rule else WORLD

    @property
    def name(self) -> str:
        """In words."""
        lie = f"{self.lie.kind} {self.lie.thing}" if self.lie else ""
        return " + ".join(filter(None, (lie, self.rule))) or "controls stick"

    def policy(self, text: str) -> str:
        """The policy that plays: broken where the plant says so, else a sound variant of `text`."""
        edits = list(SOUND[self.task]) + ([BROKEN[self.task][self.rule]] if self.rule else [])
        for old, new in edits:
            if text.count(old) != 1:
                raise TriuneError(f"{old!r} is not once in {self.task}'s policy; bring triune/blame_plant.py up to it")
            text = text.replace(old, new)
        return text


def plant(task: str, seed: int) -> Plant:
    """The fault of a seed: of fourteen five are the eyes', five the reflexes', two both, two the world's."""
    rng = np.random.default_rng([seed, len(task)])
    turn = seed % 14
    lie = _lie(task, rng, both=turn >= 10) if turn < 5 or turn in (10, 11) else None
    rule = None
    if 5 <= turn < 12:
        rules = list(BROKEN[task])
        rule = rules[int(rng.integers(len(rules)))] if turn < 10 else SURE[task][turn - 10]
    return Plant(task, seed, lie, rule)


def _lie(task: str, rng: np.random.Generator, both: bool) -> Lie:
    kind = LIES[int(rng.integers(len(LIES)))] if not both else ("blind", "delay", "swap")[int(rng.integers(3))]
    own = OWN[task]
    thing = "ball" if both or kind == "ghost" or rng.random() < 0.7 else own
    other = ("enemy" if task == "pong" and (rng.random() < 0.5 or thing == "ball") else own) if kind == "swap" else own
    thing = own if kind == "swap" and other == "enemy" else "ball" if kind == "swap" else thing
    size = {
        "offset": float(rng.uniform(4, 12)) * float(rng.choice((-1, 1))),
        "delay": float(rng.integers(5, 7) if both else rng.integers(2, 7)), "ghost": float(rng.integers(2, 5)),
    }.get(kind, 0.0)  # fmt: skip
    start = 0 if both else int(rng.integers(20, 80))
    end = start + int(rng.integers(60, 160)) if kind == "blind" and not both else 10**9
    return Lie(kind, thing, other, size, start, end, (float(rng.uniform(20, 140)), float(rng.uniform(60, 180))))


class Lying:
    """Sight through `eyes` with a lie; without one, as it is."""

    def __init__(self, eyes: Any, schema: SceneSchema, lie: Lie | None, axis: int) -> None:
        self._look: Callable[[np.ndarray], np.ndarray] = eyes.see
        self._reset: Callable[[], None] = eyes.reset
        self._schema, self._lie, self._axis = schema, lie, axis

    def begin(self, step: int, warm: Sequence[np.ndarray] = ()) -> None:
        """The next frame is that of `step`."""
        self._reset()
        self._past: list[np.ndarray] = []
        self._step = step - len(warm)
        for frame in warm:
            self.see(frame)

    def see(self, frame: np.ndarray) -> np.ndarray:
        """uint8[H, W, 3] -> raw Scene vector float32[size], true or not."""
        self._past = [*self._past[-7:], self._look(frame)]
        self._step += 1
        if self._lie is None:
            return self._past[-1]
        return self._lie.told(self._step - 1, self._past, self._schema, self._axis)
