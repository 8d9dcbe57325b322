"""The loop: frame -> detector -> tracker -> controller -> action, until the episode ends.

`steps` is the only loop that turns frames into actions. Whoever plays follows it: it looks at each step, sets
`step.action` to do something else, and stops when it has seen enough. The deciding side holds an object that gives
frames only; the outcome with the score arrives after the end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np

from data_flywheel.episodes.episode import Episode, EpisodeRecorder, rules_in
from envs.actions import Action, ActionSpace
from envs.errors import Lost
from envs.remote import Observer, Outcome, PixelEnv
from logic.runtime.controller import DEADLINE, FAULT, Controller, Decision
from logic.runtime.engine import VERIFY, NativeController, fast_controller, fast_tracker
from logic.runtime.tracker import Tracker
from perception.detector import usable
from perception.drift import Watch
from perception.native_detector import NativeDetector
from perception.scene import Scene, SceneSchema
from triune.errors import TriuneError, UsageError, nearest
from triune.version import __version__

if TYPE_CHECKING:
    from data_flywheel.episodes.frame_buffer import FrameBuffer
    from data_flywheel.episodes.recorder import Recorder
    from triune.system import System


# ----------------------------------------------------------------------------------------------------
# The loop, and what it asks of both sides.


class World(Protocol):
    """What is played: a `PixelEnv`, or whatever else gives frames and takes actions."""

    done: bool

    def step(self, action: Action) -> np.ndarray:
        """Carry an action out; the frame after it, uint8[H, W, 3]."""


class Player(Protocol):
    """What plays: a `Pipeline`, a bundle."""

    def act(self, frame: np.ndarray) -> tuple[Scene, Decision]:
        """What is believed and decided on one frame uint8[H, W, 3]. Called once a step."""


@dataclass(slots=True)
class Step:
    """One agent step, before its action is carried out.

    frame   uint8[H, W, 3], a view that the next step overwrites
    action  what will be carried out: the decision's, unless whoever follows the loop sets another
    over    the episode has ended with this frame: nothing is carried out any more
    """

    index: int
    scene: Scene
    decision: Decision
    frame: np.ndarray
    action: Action
    over: bool = False


def steps(
    world: World, player: Player, frame: np.ndarray, limit: int | None = None, frame_buffer: FrameBuffer | None = None,
    to_the_end: bool = False,
) -> Iterator[Step]:  # fmt: skip
    """Play on from `frame`, the world's present one, until the episode ends or `limit` actions have been carried out.

    `frame_buffer` sees every frame. `to_the_end`: the frame after the last action is a step too, with `over` set.
    """
    act, index = player.act, 0
    while index != limit and (to_the_end or not world.done):
        over = world.done
        if frame_buffer:
            frame_buffer.see(index, frame)  # before the detector, while the processor still has it at hand
        scene, decision = act(frame)
        step = Step(index, scene, decision, frame, decision.action, over)
        yield step
        if over:
            return
        frame = world.step(step.action)
        index += 1


def replay(env: PixelEnv, seed: int, actions: Iterable[Action]) -> Iterator[np.ndarray]:
    """The frame before each of some recorded actions (a view: copy it to keep it), which are carried out."""
    yield from onward(env, env.reset(seed), actions)


def onward(env: PixelEnv, frame: np.ndarray, actions: Iterable[Action]) -> Iterator[np.ndarray]:
    """The same from `frame`, the game's present one, on."""
    for action in actions:
        yield frame
        if env.done:
            return
        frame = env.step(action)


class Wander:
    """Random actions, each held for 1 to `most` steps; begun with probability `chance` on a step that has none."""

    def __init__(self, space: ActionSpace, rng: np.random.Generator, most: int = 6, chance: float = 1.0) -> None:
        self._space, self._rng, self._most, self._chance = space, rng, most, chance
        self._left = 0
        self._action: Action = 0

    def reset(self) -> None:
        """A new game: nothing is held."""
        self._left = 0

    def steer(self, step: Step) -> None:
        """Have the step carry out the random action of the moment, when there is one."""
        if not self._left and (self._chance >= 1 or self._rng.random() < self._chance):
            self._left, self._action = int(self._rng.integers(1, self._most + 1)), self._space.sample(self._rng)
        if self._left:
            self._left -= 1
            step.action = self._action


# ----------------------------------------------------------------------------------------------------
# What sees, and what decides.


class Detector(Protocol):
    """What sees: a frame in, a scene vector out."""

    def reset(self) -> None:
        """A new episode: forget past frames."""

    def see(self, frame: np.ndarray) -> np.ndarray:
        """uint8[H, W, 3] -> float32[size], before tracking."""


class Pipeline:
    """Detector, tracker and controller as one player. Without a controller it tracks, and stands by with an action
    that others replace. `seen`: the last frame's vector before tracking, float32[size]."""

    def __init__(
        self, schema: SceneSchema, detector: Detector, controller: Controller | None, standby: Action = 0,
        tracker: Tracker | None = None,
    ) -> None:  # fmt: skip
        self.detector, self.controller, self.tracker = detector, controller, tracker or Tracker(schema)
        self.seen = self._empty = schema.empty()
        self._size = schema.size
        fallback = controller.fallback if controller else standby
        self._blind = Decision(fallback, FAULT, fallback, (), BLIND)
        self._see, self._update = detector.see, self.tracker.update
        # the machine reads the vector itself: names are for who else asks
        self.read = schema.glance if isinstance(controller, NativeController) else schema.read
        self._stand = Decision(standby, "", standby)
        self._decide: Callable[[Scene], Decision] = controller.decide if controller else lambda scene: self._stand

    def reset(self) -> None:
        """A new episode. Call it before the world is started: an isolated policy's worker starts here, and must not
        inherit a frame."""
        if self.controller:
            self.controller.reset()
        self.detector.reset()
        self.tracker.reset()

    def act(self, frame: np.ndarray) -> tuple[Scene, Decision]:
        """The tracked scene of a frame, and what is decided on it."""
        seen = self._see(frame)
        if usable(seen, self._size):
            self.seen = seen
            scene = self.read(self._update(seen))
            return scene, self._decide(scene)
        self.seen = self._empty  # nothing is decided on what was not seen
        return self.read(self._update(self.seen)), self._blind


def run_episode(
    env: PixelEnv, player: Pipeline, seed: int, limit: int | None = None, frame_buffer: FrameBuffer | None = None,
    to_the_end: bool = False,
) -> Iterator[Step]:  # fmt: skip
    """The episode of `seed` from its start, as `steps` plays it."""
    player.reset()
    yield from steps(env, player, env.reset(seed), limit, frame_buffer, to_the_end)


BLIND = "the detector gave no scene (NaN, infinite, or too few or many values)"
DETECTORS = ("cnn", "teacher", "colour")


def check_detector(kind: str) -> None:
    """UsageError with the nearest choice."""
    if kind not in DETECTORS:
        raise UsageError(f"unknown detector {kind!r}; {nearest(kind, DETECTORS)}")


def check_seen(system: System, shift: str | None, detector: str) -> None:
    """UsageError for what needs a picture, of a task that has none."""
    if system.spec.env.observed and (shift or detector != "cnn"):
        what = f"--shift {shift} changes pictures" if shift else f"--detector {detector} reads pictures"
        raise UsageError(f"{what}, and {system.name} has none: its scene is the declared numbers of the observation")


def detector_of(system: System, kind: str = "cnn") -> Detector:
    """The detector of that kind. The teacher's lives behind the wall: Rollout."""
    check_detector(kind)
    if kind == "colour":
        from triune.play.colour_rules import ColourDetector

        system.check_teacher()  # it labels the games that colours are learned from
        return ColourDetector.load(system.spec, system.schema)
    return system.detector()


def teacher_of(system: System) -> Observer:
    """The task's teacher, to run behind the wall; TriuneError when its teacher.py is not trusted."""
    system.check_teacher()
    return Observer("data_flywheel.labelers.teacher:teacher", str(system.folder.resolve()), system.schema.size)


class TeacherDetector:
    """Exact scenes from behind the wall: the privileged comparison, never play."""

    def __init__(self, env: PixelEnv) -> None:
        self._env = env

    def reset(self) -> None:
        """Nothing to forget."""

    def see(self, frame: np.ndarray) -> np.ndarray:
        """The label of the current frame, float32[size]; the frame is not looked at."""
        return self._env.observed.copy()


class Rollout:
    """One emulator and one system, for any number of episodes. Close it, or use it as a context.

    `beside`: another one of the same task and conditions, whose emulator and detector this one plays with, by turns.
    `verify`: so many frames apart the native engine is held against ONNX Runtime and Python, PerceptionError or
    Disagreement where they differ. `labelled`: the teacher labels every frame behind the wall (`env.observed`), for
    whoever compares; nothing that decides is told.
    """

    def __init__(
        self, system: System, protocol: str | None = None, shift: str | None = None, detector: str = "cnn",
        canary: bool = False, beside: Rollout | None = None, verify: int = 0, labelled: bool = False,
    ) -> None:  # fmt: skip
        check_detector(detector)
        check_seen(system, shift, detector)
        observer = teacher_of(system) if detector == "teacher" or labelled else None
        self.system, self.shift, self.kind = system, shift, detector
        self.protocol = system.protocol(protocol)
        self.schema = system.schema
        every = verify or VERIFY
        self.controller = fast_controller(system.controller(self.protocol.name), every)
        self.env: PixelEnv
        self.detector: Detector
        self._guest = beside is not None
        if beside:
            self.env, self.detector = beside.env, beside.detector
        else:
            seeing = None if detector == "teacher" else detector_of(system, detector)
            if isinstance(seeing, NativeDetector):
                seeing.verify = verify
            self.env = PixelEnv(system.spec.env, self.protocol, shift, observer, canary)
            self.detector = seeing or TeacherDetector(self.env)
        self.player = Pipeline(self.schema, self.detector, self.controller, tracker=fast_tracker(self.schema, every))
        self.tracker = self.player.tracker
        self.recorder: Recorder | None = None
        ranges = system.ranges() if detector == "cnn" else None
        self.watch = Watch(ranges) if ranges else None
        self._hashes = system.hashes()

    def episode(self, seed: int, frame_buffer: FrameBuffer | None = None, limit: int | None = None) -> Iterator[Step]:
        """Play the episode of `seed`. Stop early by closing the iterator. `frame_buffer`: sees every frame."""
        return run_episode(self.env, self.player, seed, limit, frame_buffer)

    def outcome(self) -> Outcome:
        """The referee's record; reading it ends the episode."""
        return self.env.outcome()

    def record(self, seed: int, limit: int | None = None, each: Any = None) -> Episode:
        """Play and record an episode, at most `limit` steps; `each(step)` is called before every action. Lost when the
        simulator, or what an isolated policy runs in, was killed from outside: then it is no game.

        With a `recorder`, the game goes into its folder too. With a `watch`, its report goes into the meta (`drift`).
        """
        watch = self.watch
        if watch:
            watch.start()
        recorder = EpisodeRecorder(self.meta(seed))
        frame_buffer = self.recorder.frame_buffer() if self.recorder else None
        began = time.perf_counter()
        for step in self.episode(seed, frame_buffer, limit):
            recorder.add(step.scene.vector, step.decision, 0, 0)  # type: ignore[arg-type]
            if watch:
                watch.see(step.frame, step.scene.vector)
            if each:
                each(step)
        wall = time.perf_counter() - began
        if self.controller.lost:
            raise Lost(f"{self.system.name}, seed {seed}: {self.controller.lost}")
        episode = finish(recorder, self.outcome(), wall, **({"drift": watch.report()} if watch else {}))
        if self.recorder:
            self.recorder.keep(episode, frame_buffer)
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
        if not self._guest:
            self.env.close()
        if self.recorder:
            self.recorder.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def frames_of(system: System, episode: Episode, last: int | None = None) -> Iterator[np.ndarray]:
    """The frame of every step up to `last`: those stored, or regenerated (views: copy to keep)."""
    count = len(episode) if last is None else min(len(episode), last + 1)
    if episode.frames is not None:
        yield from (episode.frames.rgb(i) for i in range(count))
        return
    meta = episode.meta
    with PixelEnv(system.spec.env, system.protocol(meta["protocol"]), meta["shift"]) as env:
        yield from replay(env, meta["seed"], episode.actions[:count])
        again = env.outcome().scores
        if len(again) < count or list(again[:count]) != episode.scores[:count].tolist():
            raise TriuneError(
                f"seed {meta['seed']} did not repeat: recorded by another version of Triune or of the simulator"
            )


def play(
    system: System, seed: int = 0, protocol: str | None = None, shift: str | None = None, detector: str = "cnn"
) -> Iterator[Step]:
    """One episode, step by step: `step.index`, `step.scene`, `step.decision`, `step.frame` (copy it to keep it)."""
    with Rollout(system, protocol, shift, detector) as rollout:
        yield from rollout.episode(seed)


IMPOSSIBLE = "the simulator changed the score by more than it can (reward_range)"


def finish(recorder: EpisodeRecorder, sheet: Outcome, wall: float, **meta: Any) -> Episode:
    """The episode, once the referee has given the score; `wall`: seconds it took; `meta`: what else to remember.

    Where a limit ended it and not its own rules, the meta says so (`truncated`). A change of score that the task cannot
    give is a fault of its step: evaluations, evidence and gate count it.
    """
    recorder.blame(sheet.impossible, IMPOSSIBLE)
    if sheet.truncated:
        meta["truncated"] = True
    return recorder.finish(
        scores=sheet.scores, lives=sheet.lives_left, score=sheet.score, lives_at_end=sheet.lives,
        frames=sheet.frames, finished=sheet.finished, seconds=round(wall, 3), **meta,
    )  # fmt: skip


def deadline_misses(episode: Episode) -> int:
    """Steps on which the decision came too late."""
    return sum(n for names, n in episode.interventions().items() if DEADLINE in rules_in(names))
