"""Whose failure it was, for failures of recorded episodes: the oracle swap where it can be made, else the estimate.

Knows: what of a record must fit the system for a swap, where frames and a reference policy come from. Does not know:
how a swap or an estimate decides (triune.blame, data_flywheel.blame*). The teacher is used as `--eyes teacher` uses
it: for evaluation, never by what plays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from data_flywheel.attribution import blame_odds
from data_flywheel.attribution.blame_signs import Habits, corrected, habits, signs, watch
from data_flywheel.attribution.verdict import GROUP, Failure, Verdict, failures
from data_flywheel.episodes.episode import Episode
from envs.errors import EnvError
from envs.spec import ZOO
from logic.runtime.controller import Controller
from triune.errors import TriuneError
from triune.play.blame import PlainSight, Swap
from triune.system import System, load

BEFORE, BEYOND = 140, 60  # steps around a failure whose frames are looked at
SOUND, SOUND_STEPS = range(3), 600  # seeds and steps of the games from which habits are learned


class Blamer:
    """Verdicts on episodes that `system` played. `reference`: a policy that is trusted; default: the shipped one of the
    task, where there is one. `teacher`: False to do without, as on a camera."""

    def __init__(self, system: System, reference: System | None = None, teacher: bool = True) -> None:
        self.system = system
        self.reference = reference or shipped(system)
        there = (system.folder / "teacher.py").is_file()
        self.no_swap = "" if teacher and there and system.trust else "no teacher may run here"

    def verdicts(self, episode: Episode) -> Iterator[Verdict]:
        """For each failure of an episode, in order."""
        for failure in failures(episode):
            yield self.verdict(episode, failure)

    def verdict(self, episode: Episode, failure: Failure) -> Verdict:
        """Of one failure of an episode."""
        if self.why_estimate(episode):
            return self.estimate(episode, failure)
        with ExitStack() as stack:
            own, reference = (self._controller(s, episode, stack) for s in (self.system, self.reference))
            sight = None if episode.meta["eyes"] == "teacher" else PlainSight(self.system.eyes(episode.meta["eyes"]))
            rules = self.system.protocol(episode.meta["protocol"])
            swap = stack.enter_context(Swap(self.system, rules, episode.meta["shift"], sight, own, reference))
            return swap.verdict(episode, failure)

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
        from triune.report.replay import frames_of

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
        """Of games in the look that the eyes know, with the trusted policy."""
        from triune.play.loop import Rollout

        env = self.system.spec.env
        with Rollout(self.reference) as rollout:
            games = [rollout.record(seed, SOUND_STEPS) for seed in SOUND]
        return habits(games, self.system.schema, (env.height, env.width), len(env.actions))

    def _controller(self, system: System, episode: Episode, stack: ExitStack) -> Controller:
        controller = system.controller(episode.meta["protocol"])
        stack.callback(controller.close)
        return controller


def teller(player: System) -> Callable[[Episode, int], str]:
    """For the supervisor's evidence: (an episode that `player` played, a step) -> whose failure there it was, in words.

    "" where nothing was lost, or where nobody can tell.
    """
    blamer = Blamer(player)

    def tell(episode: Episode, step: int) -> str:
        found = [f for f in failures(episode) if abs(f.step - step) <= GROUP]
        try:
            return blamer.verdict(episode, found[0]).line if found else ""
        except (TriuneError, EnvError) as error:
            return f"not known: {error}"

    return tell


def shipped(system: System) -> System:
    """The zoo's system of the same task and scene; the system itself where there is none."""
    folder = ZOO / system.name
    if not (folder / "policy.py").is_file():
        return system
    found = load(folder)
    same = found.schema.fingerprint == system.schema.fingerprint and found.spec.env.id == system.spec.env.id
    return found if same else system


def decided(controller: Controller, scenes: NDArray[np.float32], system: System) -> NDArray[np.uint8]:
    """uint8[T]: the actions of a policy that is shown scenes float32[T, size]."""
    controller.reset()
    return np.array([controller.decide(system.schema.read(vector)).action for vector in scenes], np.uint8)


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
