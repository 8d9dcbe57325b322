"""Faults of known cause, played up to their first failure: detectors, policies or controls broken on purpose."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self

import numpy as np

from data_flywheel.attribution.signs import Habits, habits
from data_flywheel.attribution.verdict import BOTH, EYES, REFLEXES, WORLD, Failure, Verdict, failures
from data_flywheel.episodes.episode import Episode, EpisodeRecorder
from envs.backends.atari_protocols import Protocol
from logic.runtime.controller import Controller
from perception.scene import SLOT, SceneSchema
from triune.errors import TriuneError
from triune.play.attribution import Swap, signs_of
from triune.play.loop import Pipeline, run_episode
from triune.system import System, Texts, build_logic

# ----------------------------------------------------------------------------------------------------
# Planted faults: detectors, policies or controls broken on purpose, so that whose failure it is is known beforehand.


# Sound variants: detectors are broken under these, so that the policy never is the reference itself.
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
    """What a detector does wrong from step `start` to `end`: `kind` of LIES; `thing` and `other` by name; `size` in px,
    or in steps: of delay, of four in which a ghost shows at `place`."""

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
class Fault:
    """One planted fault: a `lie` of the detector and/or a `rule`, a name of BROKEN; or controls that stick."""

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
                raise TriuneError(f"{old!r} is not once in {self.task}'s policy: adapt fault_injection.py")
            text = text.replace(old, new)
        return text


def make_fault(task: str, seed: int) -> Fault:
    """The fault of a seed: of fourteen five are the detector's, five the reflexes', two both, two the world's."""
    rng = np.random.default_rng([seed, len(task)])
    turn = seed % 14
    lie = _lie(task, rng, both=turn >= 10) if turn < 5 or turn in (10, 11) else None
    rule = None
    if 5 <= turn < 12:
        rules = list(BROKEN[task])
        rule = rules[int(rng.integers(len(rules)))] if turn < 10 else SURE[task][turn - 10]
    return Fault(task, seed, lie, rule)


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

    def __init__(self, detector: Any, schema: SceneSchema, lie: Lie | None, axis: int) -> None:
        self._look: Callable[[np.ndarray], np.ndarray] = detector.see
        self._forget: Callable[[], None] = detector.reset
        self._schema, self._lie, self._axis = schema, lie, axis

    def reset(self) -> None:
        """A new game."""
        self.begin(0)

    def begin(self, step: int, warm: Sequence[np.ndarray] = ()) -> None:
        """The next frame is that of `step`."""
        self._forget()
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


# ----------------------------------------------------------------------------------------------------
# A planted fault in play: the game up to its first failure and somewhat beyond, then both ways of blaming it.
#
# Which step failed is read off the referee's sheet, from a game that is taken back afterwards: what decides never
# learns of it.


CHUNK = 40  # steps between looks at the sheet
LIMIT = 520  # steps in which a fault has to show
BEYOND = 60  # steps played on after the failure: their frames tell the field from things
DRY = 300  # steps without any change that make a game stuck
FRAMES = 150  # kept
SOUND_SEEDS = range(2)  # seeds of the sound games from which habits are learned ...
SOUND_STEPS = 450


@dataclass(frozen=True)
class Played:
    """A planted fault that showed. `frames` uint8[N, H, W, 3] are those of steps `at` on."""

    make_fault: Fault
    episode: Episode
    failure: Failure
    frames: np.ndarray
    at: int


class Injector:
    """One task's faults."""

    def __init__(self, system: System) -> None:
        self.system, self.detector, self.protocol = system, system.detector(), system.protocol()
        self._controllers: dict[str, Controller] = {}
        self.reference = self.controller(system.texts.policy)
        assert isinstance(self.protocol, Protocol)  # faults are made for Atari tasks
        worn = replace(self.protocol, sticky=STICKY)
        self._swaps = [Swap(system, p, None, None, self.reference, self.reference) for p in (self.protocol, worn)]
        self.habits = self._habits()

    def controller(self, policy: str) -> Controller:
        """Compiled once for each text."""
        if policy not in self._controllers:
            texts = Texts(policy, self.system.texts.safety)
            logic = build_logic(self.system.spec, self.system.schema, texts, self.protocol)
            self._controllers[policy] = Controller(logic, 1000.0)
        return self._controllers[policy]

    def _habits(self) -> Habits:
        sight = Lying(self.detector, self.system.schema, None, 1)
        games = [self._record(self._swaps[0], sight, self.reference, seed, SOUND_STEPS)[0] for seed in SOUND_SEEDS]
        env = self.system.spec.env
        return habits(games, self.system.schema, (env.height, env.width), len(env.actions.names))

    def _swap(self, make_fault: Fault) -> tuple[Swap, Lying]:
        swap = self._swaps[make_fault.truth == WORLD]
        swap.own = self.controller(make_fault.policy(self.system.texts.policy))
        swap.sight = sight = Lying(self.detector, self.system.schema, make_fault.lie, AXIS[make_fault.task])
        return swap, sight

    def play(self, make_fault: Fault) -> Played | str:
        """Until the first failure; in words why there is none that the plant explains."""
        swap, sight = self._swap(make_fault)
        episode, frames, at = self._record(swap, sight, swap.own, make_fault.seed, LIMIT)
        found = failures(episode, DRY)
        if not found:
            return "nothing was lost"
        failure, lie = found[0], make_fault.lie
        if lie and not lie.start < failure.step < lie.end + CHUNK:
            return "lost while the detector was sound"
        return Played(make_fault, _cut(episode, failure.step + 1), failure, frames, at)

    def _record(
        self, swap: Swap, sight: Lying, own: Controller, seed: int, limit: int
    ) -> tuple[Episode, np.ndarray, int]:  # fmt: skip
        """A game until a failure and BEYOND, or `limit` steps; its last frames and the step of the first of them."""
        env, player = swap.env, Pipeline(self.system.schema, sight, own, tracker=swap.tracker)
        recorder = EpisodeRecorder({"task": self.system.name, "seed": seed, "shift": None})
        frames: deque[np.ndarray] = deque(maxlen=FRAMES)
        played, last = 0, limit
        for step in run_episode(env, player, seed):
            if step.index and step.index % CHUNK == 0 and last == limit:
                env.mark()
                found = _failures(recorder, env)
                env.back()
                last = max(found[0].step + BEYOND, step.index) if found else limit
            if step.index >= last:
                break
            recorder.add(step.scene.vector, step.decision, 0, 0)  # type: ignore[arg-type]
            frames.append(step.frame.copy())
            played += 1
        sheet = env.outcome()
        return recorder.finish(sheet.scores, sheet.lives_left), np.stack(frames), played - len(frames)

    def swapped(self, played: Played) -> Verdict:
        """With a teacher."""
        return self._swap(played.make_fault)[0].verdict(played.episode, played.failure)

    def signs(self, played: Played) -> dict[str, float]:
        """What the record and its frames say by themselves."""
        p, own = played, self._swap(played.make_fault)[0].own
        return signs_of(p.episode, p.failure, p.frames, p.at, self.habits, self.system, own, self.reference)

    def close(self) -> None:
        """End the emulators."""
        for swap in self._swaps:
            swap.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def _failures(recorder: EpisodeRecorder, env: Any) -> list[Failure]:
    sheet = env.outcome()
    return failures(recorder.finish(sheet.scores, sheet.lives_left), DRY)


def _cut(episode: Episode, end: int) -> Episode:
    columns = ("scenes", "actions", "proposed", "reasons", "overruled", "faults", "scores", "lives")
    tables = ("reason_table", "overruled_table", "fault_table")
    first: dict[str, Any] = {name: getattr(episode, name)[:end] for name in columns}
    return Episode(episode.meta, **first, **{name: getattr(episode, name) for name in tables})
