"""The oracle swap: a failure played again with exact scenes, with a reference policy, with both, and whose it was."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from data_flywheel.attribution import signs as blame_odds
from data_flywheel.attribution import verdict as blame
from data_flywheel.attribution.signs import Habits, corrected, habits, signs, watch
from data_flywheel.attribution.verdict import (
    BOTH,
    EYES,
    FAILED,
    GROUP,
    REFLEXES,
    SAME,
    STUCK,
    Failure,
    Verdict,
    failures,
)
from data_flywheel.episodes.episode import Episode, floor_of
from envs.actions import Discrete
from envs.env import Rules
from envs.errors import EnvError
from envs.remote import Outcome
from envs.rewind import RewindEnv
from envs.spec import ZOO
from logic.language.program import Memory
from logic.runtime.controller import Controller
from logic.runtime.tracker import Tracker
from triune.errors import TriuneError
from triune.play.loop import (
    Detector,
    Pipeline,
    Rollout,
    TeacherDetector,
    detector_of,
    frames_of,
    onward,
    replay,
    steps,
    teacher_of,
)
from triune.system import System, load

# ----------------------------------------------------------------------------------------------------
# The oracle swap: a failure played again with exact scenes, with a reference policy, with both.
#
# Evaluation only: the exact scenes are the teacher's, from behind the wall, as with `--eyes teacher`; nothing here
# plays for a score, and the policies still see nothing but scenes.


BACK = (60, 120, 200)  # decisions before the failure from which the game goes on; farther when nothing helps
AFTER = 60  # decisions beyond the failure that must go well
LONG = 300  # ... where that does not tell: a fault of detector or policy comes back, bad luck does not
PROGRESS = 250  # decisions in which a game that was stuck must score
LUCKS, MORE = 3, 5  # games for each swap; more where they do not agree
SOON = 30  # ... where few games must do
SHORT = 200  # ... where few games must do
MEMORY = 1000  # decisions from which a policy's memory is built up again
WARM = 8  # frames that a detector may look back
Moment = tuple[int, list[np.ndarray], list[np.ndarray]]  # mark, exact scenes and frames before it


class Sight(Detector, Protocol):
    """A detector that can be set to any step of a game."""

    def begin(self, step: int, warm: Sequence[np.ndarray]) -> None:
        """The next frame is that of `step`; `warm` are the frames before it."""


class PlainSight:
    """A system's own detector."""

    def __init__(self, detector: Detector) -> None:
        self.see, self.reset = detector.see, detector.reset

    def begin(self, step: int, warm: Sequence[np.ndarray]) -> None:
        self.reset()
        for frame in warm:
            self.see(frame)


class Swap:
    """Plays failures of one task again. `own`: the policy of the record; `reference`: one that is trusted."""

    def __init__(
        self, system: System, protocol: Rules, shift: str | None, sight: Sight | None, own: Controller,
        reference: Controller,
    ) -> None:  # fmt: skip
        self.schema, self.sight, self.own, self.reference = system.schema, sight, own, reference
        self.env = RewindEnv(system.spec.env, protocol, shift, teacher_of(system))
        self.tracker = Tracker(self.schema)

    def verdict(self, episode: Episode, failure: Failure) -> Verdict:
        """Whose it was. The window begins earlier when not even both swaps help."""
        firsts = dict.fromkeys(max(failure.since, failure.step - back, 1) for back in BACK)
        found = None
        self._least = floor_of(episode.rewards())
        for first in firsts:
            self._after = AFTER
            outcomes = self._outcomes(episode, failure, first)
            if blame.unclear(outcomes):
                self._after = LONG
                outcomes = self._outcomes(episode, failure, first)
            found = blame.judge(failure, outcomes, failure.step - first)
            if blame.helped(outcomes, BOTH):
                break
        assert found
        return found

    def sure(self, episode: Episode, found: Sequence[Failure]) -> Iterator[str]:
        """For each of some failures of one episode, in order: whose it was, in words; "" where a few games do not
        surely tell. The record is played again once for all of them."""
        self._after, self._least = SOON, floor_of(episode.rewards())
        firsts = [max(f.since, f.step - BACK[0], 1) for f in found]
        moments = self._moments(episode, firsts)
        for failure, first in zip(found, firsts, strict=True):
            yield self._surely(failure, first, moments[first], list(episode.scenes[max(0, first - SHORT) : first]))

    def _moments(self, episode: Episode, firsts: Sequence[int]) -> dict[int, Moment]:
        """Each of these steps, marked, with what the teacher saw and the frames before it."""
        marks: dict[int, Moment] = {}
        truth: deque[np.ndarray] = deque(maxlen=SHORT)
        warm: deque[np.ndarray] = deque(maxlen=WARM)
        self.env.reset(int(episode.meta["seed"]))
        step = 0
        for first in sorted(set(firsts)):
            start = max(step, first - SHORT)
            if start > step:
                truth.clear()
            here = self.env.skip(episode.actions[step:start])
            for frame in onward(self.env, here, episode.actions[start:first]):
                truth.append(self.env.observed.copy())
                warm.append(frame.copy())
            marks[first], step = (self.env.mark(), list(truth), list(warm)), first
        return marks

    def _surely(self, failure: Failure, first: int, moment: Moment, recorded: list[np.ndarray]) -> str:
        self._mark, truth, self._warm = moment
        games = {
            BOTH: (self.reference, None, truth), SAME: (self.own, self.sight, recorded),
            REFLEXES: (self.reference, self.sight, recorded), EYES: (self.own, None, truth),
        }  # fmt: skip
        well: dict[str, list[bool]] = {}
        for what, (controller, sight, past) in games.items():
            ready, well[what] = self._ready(controller, past), []
            for noise_seed in range(1, 1 + LUCKS):  # 0 is the luck of the record
                ready()
                well[what].append(self._play_on(controller, sight, first, failure, noise_seed))
                if what == BOTH and not well[what][-1] or what == SAME and sum(well[what]) > FAILED * LUCKS:
                    return ""
        return blame.surely(well, failure.step - first)

    def _outcomes(self, episode: Episode, failure: Failure, first: int) -> dict[str, list[bool]]:
        self._go_to(episode, first)
        recorded = list(episode.scenes[max(0, first - MEMORY) : first])
        games = {
            BOTH: (self.reference, None, (self._truth, recorded)), SAME: (self.own, self.sight, (recorded,)),
            REFLEXES: (self.reference, self.sight, (recorded,)), EYES: (self.own, None, (recorded, self._truth)),
        }  # fmt: skip
        found: dict[str, list[bool]] = {what: [] for what in games}
        for what, (controller, sight, pasts) in games.items():
            for past in pasts:  # a memory that was built up on false scenes may be what is wrong
                found[what] = list(self._well(controller, sight, past, first, failure))
                if blame.helped(found, what) or what == EYES and blame.helped(found, REFLEXES):
                    break
            if what == BOTH and not blame.helped(found, BOTH):
                break
        return found

    def _go_to(self, episode: Episode, first: int) -> None:
        """Play the record's actions up to step `first` and mark it; keep what the teacher saw and the last frames."""
        truth: deque[np.ndarray] = deque(maxlen=MEMORY)
        warm: deque[np.ndarray] = deque(maxlen=WARM)
        for frame in replay(self.env, int(episode.meta["seed"]), episode.actions[:first]):
            truth.append(self.env.observed.copy())
            warm.append(frame.copy())
        self._mark = self.env.mark()
        self._truth, self._warm = list(truth), list(warm)

    def _well(
        self, controller: Controller, sight: Sight | None, past: Sequence[np.ndarray], first: int, failure: Failure
    ) -> Iterator[bool]:
        ready, well = self._ready(controller, past), 0
        for noise_seed in range(MORE):
            if noise_seed >= LUCKS and (well in (0, noise_seed) or 4 * min(well, noise_seed - well) <= noise_seed - 1):
                return
            ready()
            good = self._play_on(controller, sight, first, failure, noise_seed)
            well += good
            yield good

    def _ready(self, controller: Controller, past: Sequence[np.ndarray]) -> Callable[[], None]:
        """What puts tracker and controller where `past` leaves them, as often as it is called."""

        def build() -> None:
            controller.reset()
            self.tracker.reset()
            for vector in past:
                controller.decide(self.schema.read(self.tracker.update(vector)))

        if type(controller) is not Controller:  # its memory is in another process
            return build
        build()
        kept = [(memory, memory.snapshot()) for memory in _memories(controller, self.tracker)]

        def restore() -> None:
            for memory, values in kept:
                memory.restore(values)

        return restore

    def _play_on(
        self, controller: Controller, sight: Sight | None, first: int, failure: Failure, noise_seed: int
    ) -> bool:  # fmt: skip
        """Whether the game from `first` on goes well. Without a sight the scenes are the teacher's."""
        player = Pipeline(self.schema, sight or TeacherDetector(self.env), controller, tracker=self.tracker)
        frame = self.env.back(noise_seed, self._mark)
        if sight:
            sight.begin(first, self._warm)
        last = first + PROGRESS if failure.kind == STUCK else failure.step + self._after
        for _ in steps(self.env, player, frame, last - first):
            pass
        return went_well(self.env.outcome(), first, failure.kind == STUCK, self._least)

    def close(self) -> None:
        """End the emulator; the controllers are the caller's."""
        self.env.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def _memories(controller: Controller, tracker: Tracker) -> list[Memory]:
    return [controller.memory, *controller.rule_memories, tracker.memory]


def went_well(sheet: Outcome, first: int, stuck: bool, least: float = 0.0) -> bool:
    """No life lost and no step below `least` points from step `first` on; where the game had been stuck, a point won
    besides."""
    scores = np.array([0, *sheet.scores])[first:]
    lives = np.array([*sheet.lives_left[:1], *sheet.lives_left])[first:]
    lost = (np.diff(scores) < least).any() or (np.diff(lives) < 0).any()
    return not lost and (not stuck or bool((np.diff(scores) > 0).any()))


# ----------------------------------------------------------------------------------------------------
# Whose failure it was, for failures of recorded episodes: the oracle swap where it can be made, else the estimate.
#
# The teacher is used as `--eyes teacher` uses it: for evaluation, never by what plays.


BEFORE, BEYOND = 140, 60  # steps around a failure whose frames are looked at
SOUND, SOUND_STEPS = range(3), 600  # seeds and steps of the games from which habits are learned


class Blamer:
    """Verdicts on episodes that `system` played. `reference`: a policy that is trusted; default: the shipped one of the
    task, where there is one. `teacher`: False to do without, as on a camera."""

    def __init__(self, system: System, reference: System | None = None, teacher: bool = True) -> None:
        self.system = system
        self.reference = reference or shipped(system)
        there = bool(system.spec.labels) or system.trust and (system.folder / "teacher.py").is_file()
        self.no_swap = "" if teacher and there else "no teacher may run here"

    def verdicts(self, episode: Episode) -> Iterator[Verdict]:
        """For each failure of an episode, in order."""
        for failure in failures(episode):
            yield self.verdict(episode, failure)

    def verdict(self, episode: Episode, failure: Failure) -> Verdict:
        """Of one failure of an episode."""
        if self.why_estimate(episode):
            return self.estimate(episode, failure)
        with self._swap(episode) as swap:
            return swap.verdict(episode, failure)

    @contextmanager
    def _swap(self, episode: Episode) -> Iterator[Swap]:
        """An emulator for games under the conditions of an episode."""
        with ExitStack() as stack:
            own, reference = (self._controller(s, episode, stack) for s in (self.system, self.reference))
            kind = episode.meta["eyes"]
            sight = None if kind == "teacher" else PlainSight(detector_of(self.system, kind))
            rules = self.system.protocol(episode.meta["protocol"])
            yield stack.enter_context(Swap(self.system, rules, episode.meta["shift"], sight, own, reference))

    def surely(self, asked: Sequence[tuple[Episode, Failure]]) -> list[str]:
        """Whose each of some failures was, in words; "" where a few games do not surely tell, or none can be played.

        All episodes must be of one kind (detector, protocol, shift): one emulator plays for all of them.
        """
        said = dict.fromkeys(range(len(asked)), "")
        batches: dict[int, list[int]] = {}
        for i, (episode, _) in enumerate(asked):
            if not self.why_estimate(episode):
                batches.setdefault(id(episode), []).append(i)
        if batches:
            with self._swap(asked[next(iter(batches.values()))[0]][0]) as swap:
                for batch in batches.values():
                    batch.sort(key=lambda i: asked[i][1].step)
                    told = swap.sure(asked[batch[0]][0], [asked[i][1] for i in batch])
                    said |= dict(zip(batch, told, strict=True))
        return list(said.values())

    def why_estimate(self, episode: Episode) -> str:
        """Why a swap cannot be made; "" when it can."""
        if self.no_swap:
            return self.no_swap
        if episode.meta.get("source"):
            return "it was filmed, and cannot be played on"
        now, meta = self.system.hashes(), episode.meta
        if meta.get("policy") != now["policy"]:
            return "it was played by another policy (name its text with --policy)"
        if meta.get("eyes") == "cnn" and meta.get("weights") != now["eyes"]:
            return "it was seen with other weights"
        return ""

    def estimate(self, episode: Episode, failure: Failure) -> Verdict:
        """From the record and its frames alone."""
        if not isinstance(self.system.spec.env.actions, Discrete):
            raise TriuneError(
                f"{self.system.name} has controls, and an estimate compares named actions; only games that can be "
                "played again with exact scenes tell whose failure it was: it needs a teacher.py that may run (--trust)"
            )
        if sum(thing.count for thing in self.system.schema.things) < 2:
            raise TriuneError(
                f"{self.system.name} has fewer than two things that move, and an estimate compares those with the "
                "picture; only games that can be played again with exact scenes tell whose failure it was: it needs a "
                "teacher.py that may run (--trust)"
            )
        at, last = max(0, failure.step + 1 - BEFORE), min(len(episode) - 1, failure.step + BEYOND)
        shown = [f.copy() for i, f in enumerate(frames_of(self.system, episode, last)) if i >= at]
        with ExitStack() as stack:
            reference = self._controller(self.reference, episode, stack)
            same = episode.meta.get("policy") == self.system.hashes()["policy"]
            own = self._controller(self.system, episode, stack) if same else None
            told = signs_of(episode, failure, np.stack(shown), at, self._habits, self.system, own, reference)
        return blame_odds.estimate(failure, told)

    @cached_property
    def _habits(self) -> Habits:
        """Of games in the look that the detector knows, with the trusted policy."""
        env = self.system.spec.env
        with Rollout(self.reference) as rollout:
            games = [rollout.record(seed, SOUND_STEPS) for seed in SOUND]
        return habits(games, self.system.schema, (env.height, env.width), len(env.actions.names))

    def _controller(self, system: System, episode: Episode, stack: ExitStack) -> Controller:
        controller = system.controller(episode.meta["protocol"])
        stack.callback(controller.close)
        return controller


def teller(player: System) -> Callable[[Sequence[tuple[Episode, int]]], list[str]]:
    """For the supervisor's evidence: (episode that `player` played, step) of each failure -> whose it was, in words.

    "" where nothing was lost, or where nobody can surely tell.
    """
    blamer = Blamer(player)

    def tell(asked: Sequence[tuple[Episode, int]]) -> list[str]:
        near = [next((f for f in failures(e) if abs(f.step - step) <= GROUP), None) for e, step in asked]
        sought = [(e, f) for (e, _), f in zip(asked, near, strict=True) if f]
        try:
            told = iter(blamer.surely(sought))
        except (TriuneError, EnvError):
            return [""] * len(asked)
        return [next(told) if f else "" for f in near]

    return tell


def shipped(system: System) -> System:
    """The zoo's system of the same task and scene; the system itself where there is none."""
    folder = ZOO / system.name
    if not (folder / "policy.py").is_file():
        return system
    found = load(folder)
    same = found.schema.fingerprint == system.schema.fingerprint and found.spec.env.id == system.spec.env.id
    return found if same else system


def decided(controller: Controller, scenes: NDArray[np.float32], system: System) -> NDArray[Any]:
    """The actions (uint8[T], or float32[T, n] of controls) of a policy that is shown scenes float32[T, size]."""
    controller.reset()
    space = system.spec.env.actions
    actions = [controller.decide(system.schema.read(vector)).action for vector in scenes]
    return np.array(actions, space.dtype).reshape(-1, *space.shape)


def signs_of(
    episode: Episode, failure: Failure, frames: NDArray[np.uint8], at: int, usual: Habits, system: System,
    own: Controller | None, reference: Controller,
) -> dict[str, float]:  # fmt: skip
    """The signs of a failure; frames uint8[N, H, W, 3] are those of steps `at` on. `own`: the policy that played,
    if known: compared with the reference on what the frames show, too, since false scenes may hide a broken rule."""
    shown = watch(frames, usual, system.schema)
    odd = [decided(reference, episode.scenes, system) != episode.actions]
    if own:
        scenes = corrected(episode.scenes, shown, at, system.schema)
        odd.append(decided(reference, scenes, system) != decided(own, scenes, system))
    return signs(episode, failure, shown, at, usual, system.schema, odd)
