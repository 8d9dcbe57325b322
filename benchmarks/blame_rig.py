"""A planted fault in play: the game up to its first failure and somewhat beyond, then both ways of blaming it.

Knows: the emulator, eyes and policies of one task, broken as a plant says. Does not know: how many faults there are or
how often the verdicts are right (triune.bench_blame). Which step failed is read off the referee's sheet, from a game
that is taken back afterwards: what decides never learns of it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self

import numpy as np

from benchmarks.blame_plant import AXIS, STICKY, Lying, Plant
from data_flywheel.attribution.blame_signs import Habits, habits
from data_flywheel.attribution.verdict import WORLD, Failure, Verdict, failures
from data_flywheel.episodes.episode import Episode, EpisodeRecorder
from logic.runtime.controller import Controller
from triune.play.blame import Swap
from triune.play.blame_record import signs_of
from triune.policies import Texts, build_logic
from triune.system import System

CHUNK = 40  # steps between looks at the sheet
LIMIT = 520  # steps in which a fault has to show
BEYOND = 60  # steps played on after the failure: their frames tell the field from things
DRY = 300  # steps without any change that make a game stuck
FRAMES = 150  # kept
SOUND = range(2)  # seeds of the sound games from which habits are learned ...
SOUND_STEPS = 450


@dataclass(frozen=True)
class Played:
    """A planted fault that showed. `frames` uint8[N, H, W, 3] are those of steps `at` on."""

    plant: Plant
    episode: Episode
    failure: Failure
    frames: np.ndarray
    at: int


class Rig:
    """One task's faults."""

    def __init__(self, system: System) -> None:
        self.system, self.eyes, self.protocol = system, system.eyes(), system.protocol()
        self._controllers: dict[str, Controller] = {}
        self.reference = self.controller(system.texts.policy)
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
        sight = Lying(self.eyes, self.system.schema, None, 1)
        games = [self._record(self._swaps[0], sight, self.reference, seed, SOUND_STEPS)[0] for seed in SOUND]
        env = self.system.spec.env
        return habits(games, self.system.schema, (env.height, env.width), len(env.actions))

    def _swap(self, plant: Plant) -> tuple[Swap, Lying]:
        swap = self._swaps[plant.truth == WORLD]
        swap.own = self.controller(plant.policy(self.system.texts.policy))
        swap.sight = sight = Lying(self.eyes, self.system.schema, plant.lie, AXIS[plant.task])
        return swap, sight

    def play(self, plant: Plant) -> Played | str:
        """Until the first failure; in words why there is none that the plant explains."""
        swap, sight = self._swap(plant)
        episode, frames, at = self._record(swap, sight, swap.own, plant.seed, LIMIT)
        found = failures(episode, DRY)
        if not found:
            return "nothing was lost"
        failure, lie = found[0], plant.lie
        if lie and not lie.start < failure.step < lie.end + CHUNK:
            return "lost while the eyes were sound"
        return Played(plant, _cut(episode, failure.step + 1), failure, frames, at)

    def _record(
        self, swap: Swap, sight: Lying, own: Controller, seed: int, limit: int
    ) -> tuple[Episode, np.ndarray, int]:  # fmt: skip
        """A game until a failure and BEYOND, or `limit` steps; its last frames and the step of the first of them."""
        env, read, update, see = swap.env, self.system.schema.read, swap.tracker.update, sight.see
        own.reset()
        swap.tracker.reset()
        sight.begin(0)
        frame = env.reset(seed)
        recorder = EpisodeRecorder({"task": self.system.name, "seed": seed, "shift": None})
        frames: deque[np.ndarray] = deque(maxlen=FRAMES)
        step, last = 0, limit
        while step < last and not env.done:
            scene = read(update(see(frame)))
            decision = own.decide(scene)
            recorder.add(scene.vector, decision, 0, 0)  # type: ignore[arg-type]
            frames.append(frame.copy())
            frame = env.step(decision.action)
            step += 1
            if step % CHUNK == 0 and last == limit and not env.done:
                env.mark()
                found = _failures(recorder, env)
                frame = env.back()
                last = max(found[0].step + BEYOND, step) if found else limit
        sheet = env.sheet()
        return recorder.finish(sheet.scores, sheet.lives_left), np.stack(frames), step - len(frames)

    def swapped(self, played: Played) -> Verdict:
        """With a teacher."""
        return self._swap(played.plant)[0].verdict(played.episode, played.failure)

    def signs(self, played: Played) -> dict[str, float]:
        """What the record and its frames say by themselves."""
        p, own = played, self._swap(played.plant)[0].own
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
    sheet = env.sheet()
    return failures(recorder.finish(sheet.scores, sheet.lives_left), DRY)


def _cut(episode: Episode, end: int) -> Episode:
    columns = ("scenes", "actions", "proposed", "reasons", "overruled", "faults", "scores", "lives")
    tables = ("reason_table", "overruled_table", "fault_table")
    first: dict[str, Any] = {name: getattr(episode, name)[:end] for name in columns}
    return Episode(episode.meta, **first, **{name: getattr(episode, name) for name in tables})
