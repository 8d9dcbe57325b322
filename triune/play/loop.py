"""The loop: frame -> eyes -> tracker -> controller -> action, until the episode ends.

The deciding side holds an object that gives frames only; the score sheet arrives after the end.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from data_flywheel.episodes.episode import Episode, EpisodeRecorder
from envs.remote import Observer, Outcome, PixelEnv
from logic.runtime.controller import DEADLINE, Decision
from logic.runtime.tracker import Tracker
from perception.drift import Watch
from perception.scene import Scene
from triune.errors import TriuneError, UsageError, nearest
from triune.version import __version__

if TYPE_CHECKING:
    from data_flywheel.episodes.frame_buffer import Tape
    from data_flywheel.episodes.recorder import Recorder
    from triune.system import System


@dataclass(slots=True)
class Step:
    """One agent step. `frame` uint8[H, W, 3] is a view that the next step overwrites."""

    index: int
    scene: Scene
    decision: Decision
    frame: np.ndarray


EYES = ("cnn", "teacher", "colour")


def check_eyes(kind: str) -> None:
    """UsageError with the nearest choice."""
    if kind not in EYES:
        raise UsageError(f"unknown eyes {kind!r}; {nearest(kind, EYES)}")


def eyes_of(system: System, kind: str = "cnn") -> Any:
    """Something with `reset()` and `see(frame) -> float32[size]`. The teacher's lives behind the wall: Rollout."""
    check_eyes(kind)
    if kind == "colour":
        from triune.play.colour_rules import ColourEyes

        return ColourEyes.load(system.spec, system.schema)
    return system.eyes()


class TeacherEyes:
    """Exact scenes from behind the wall: the privileged comparison, never play."""

    def __init__(self, env: PixelEnv) -> None:
        self._env = env

    def reset(self) -> None:
        """Nothing to forget."""

    def see(self, frame: np.ndarray) -> np.ndarray:
        """The label of the current frame, float32[size]; the frame is not looked at."""
        return self._env.observed.copy()


class Rollout:
    """One emulator and one system, for any number of episodes. Close it, or use it as a context."""

    def __init__(
        self, system: System, protocol: str | None = None, shift: str | None = None, eyes: str = "cnn",
        canary: bool = False,
    ) -> None:  # fmt: skip
        check_eyes(eyes)
        if eyes == "teacher":
            system.check_teacher()
        self.system, self.shift, self.kind = system, shift, eyes
        self.protocol = system.protocol(protocol)
        self.schema, self.tracker = system.schema, Tracker(system.schema)
        self.controller = system.controller(self.protocol.name)
        seeing = None if eyes == "teacher" else eyes_of(system, eyes)
        observer = None
        if eyes == "teacher":
            observer = Observer(
                "data_flywheel.labelers.teacher:teacher", str(system.folder.resolve()), self.schema.size
            )
        self.env = PixelEnv(system.spec.env, self.protocol, shift, observer, canary)
        self.eyes: Any = seeing or TeacherEyes(self.env)
        self.recorder: Recorder | None = None
        ranges = system.ranges() if eyes == "cnn" else None
        self.watch = Watch(ranges) if ranges else None
        self._hashes = system.hashes()

    def episode(self, seed: int, tape: Tape | None = None) -> Iterator[Step]:
        """Play the episode of `seed`. Stop early by closing the iterator. `tape`: sees every frame."""
        see, update, read = self.eyes.see, self.tracker.update, self.schema.read
        decide, env = self.controller.decide, self.env
        self.controller.reset()  # first: an isolated worker starts here and must not inherit a frame
        frame = env.reset(seed)
        self.eyes.reset()
        self.tracker.reset()
        index = 0
        while not env.done:
            if tape:
                tape.see(index, frame)  # before the eyes, while the processor still has it at hand
            scene = read(update(see(frame)))
            decision = decide(scene)
            yield Step(index, scene, decision, frame)
            frame = env.step(decision.action)
            index += 1

    def outcome(self) -> Outcome:
        """The referee's record; reading it ends the episode."""
        return self.env.outcome()

    def record(self, seed: int, limit: int | None = None, each: Any = None) -> Episode:
        """Play and record an episode, at most `limit` steps; `each(step)` is called before every action.

        With a `recorder`, the game goes into its folder too. With a `watch`, its report goes into the meta (`drift`).
        """
        watch = self.watch
        if watch:
            watch.start()
        recorder = EpisodeRecorder(self.meta(seed))
        tape = self.recorder.tape() if self.recorder else None
        began = time.perf_counter()
        for step in self.episode(seed, tape):
            if step.index == limit:
                break
            recorder.add(step.scene.vector, step.decision, 0, 0)  # type: ignore[arg-type]
            if watch:
                watch.see(step.frame, step.scene.vector)
            if each:
                each(step)
        wall = time.perf_counter() - began
        episode = finish(recorder, self.outcome(), wall, **({"drift": watch.report()} if watch else {}))
        if self.recorder:
            self.recorder.keep(episode, tape)
        return episode

    def meta(self, seed: int) -> dict[str, Any]:
        """What makes an episode repeatable."""
        hashes = self._hashes
        return {
            "task": self.system.name, "protocol": self.protocol.name, "seed": seed, "shift": self.shift,
            "eyes": self.kind, "schema": hashes["schema"], "policy": hashes["policy"], "safety": hashes["safety"],
            "weights": hashes["eyes"] if self.kind == "cnn" else None, "triune": __version__,
        }  # fmt: skip

    def close(self) -> None:
        """End the emulator, and the worker of an isolated policy; finish the recording."""
        self.controller.close()
        self.env.close()
        if self.recorder:
            self.recorder.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def frames_of(system: System, episode: Episode, last: int | None = None) -> Iterator[np.ndarray]:
    """The frame of every step up to `last`: those stored, or regenerated (views: copy to keep)."""
    steps = len(episode) if last is None else min(len(episode), last + 1)
    if episode.frames is not None:
        yield from (episode.frames.rgb(i) for i in range(steps))
        return
    meta = episode.meta
    with PixelEnv(system.spec.env, system.protocol(meta["protocol"]), meta["shift"]) as env:
        frame = env.reset(meta["seed"])
        for i in range(steps):
            yield frame
            if env.done:
                break
            frame = env.step(system.spec.env.actions.check(episode.actions[i]))
        again = env.outcome().scores
        if len(again) < steps or list(again[:steps]) != episode.scores[:steps].tolist():
            raise TriuneError(
                f"seed {meta['seed']} did not repeat: recorded by another version of Triune, ale-py or its ROM"
            )


def play(
    system: System, seed: int = 0, protocol: str | None = None, shift: str | None = None, eyes: str = "cnn"
) -> Iterator[Step]:
    """One episode, step by step: `step.index`, `step.scene`, `step.decision`, `step.frame` (copy it to keep it)."""
    with Rollout(system, protocol, shift, eyes) as rollout:
        yield from rollout.episode(seed)


def finish(recorder: EpisodeRecorder, sheet: Outcome, wall: float, **meta: Any) -> Episode:
    """The episode, once the referee has given the score; `wall`: seconds it took; `meta`: what else to remember."""
    return recorder.finish(
        scores=sheet.scores, lives=sheet.lives_left, score=sheet.score, lives_at_end=sheet.lives,
        frames=sheet.frames, finished=sheet.finished, seconds=round(wall, 3), **meta,
    )  # fmt: skip


def deadline_misses(episode: Episode) -> int:
    """Steps on which the decision came too late."""
    return sum(n for names, n in episode.interventions().items() if DEADLINE in names.split(","))
