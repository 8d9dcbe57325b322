"""The proposer that needs no language model: a search over the `tunable` constants of a policy, on training seeds."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from supervisor.budget import Amount, Budgets
from supervisor.edits.answer import Answer
from supervisor.edits.edits import EditError, apply, source
from supervisor.errors import SupervisorError
from supervisor.events import Event
from supervisor.gate import statistics as stats
from supervisor.gate.seeds import TRAIN
from supervisor.proposers.race import FULL, SHOWN, TRIED_VALUES, Enough, Games, Race, Space
from supervisor.proposers.search import FIRST_LOOK, library, search
from supervisor.protocols import Evaluator, ProposerError, Reply, Request

# ----------------------------------------------------------------------------------------------------
# What a search came to, as an answer: measured numbers, the changed lines, a prediction that could turn out false.


HOPE = 0.2  # the largest p-value of a gain on training seeds that is worth the gate's games
MOST_NAMED = 8
MOST_TOLD = 20  # constants whose values are told


def answer(race: Race, why: str) -> Answer:
    """An edit of the constants, or target "stop" when the search found nothing that is worth the gate's games.

    ProposerError, fatal, where it found nothing because it could hardly look: that says nothing of the constants.
    """
    if race.leader == race.start or race.chance() > HOPE:
        if not race.looked():
            raise ProposerError(_too_little(race, why), fatal=True)
        return _nothing(race, why)
    changed = race.space.changed(race.leader)
    parent, child = race.space.text, race.space.policy(race.leader)
    names = [race.space.names[i] for i in changed]
    edit = [{"replace": name, "code": source(child, name)} for name in names]
    if apply(parent, edit) != child:
        raise SupervisorError(f"the lines of {', '.join(names)} cannot be replaced one by one; one constant a line")
    n, digits = len(race.differences()), race.digits()
    now, before = race.mean(race.leader, n), race.mean(race.start, n)
    least = max(race.gain() / 2, stats.lower_bound(race.differences(), HOPE))
    return Answer(
        diagnosis=f"{_effort(race, why)} {_explored(race)}",
        target="constants",
        hypothesis=f"{_moves(race, changed)}: mean {now:.{digits}f} against {before:.{digits}f} "
        f"on the same {n} training seeds (p {race.chance():.3f}).",
        prediction=f"On seeds that the search has not seen, the mean score rises by more than {least:.{digits}f}.",
        edit=tuple(edit),
        lesson=f"If this fails: {', '.join(names[:MOST_NAMED])} at these values fit {n} training seeds, not the game; "
        "a gain has to show on more of them.",
    )  # fmt: skip


def _nothing(race: Race, why: str) -> Answer:
    n = len(race.scores[race.leader])
    best = "none of them beat the incumbent"
    if race.leader != race.start:
        gain = f"{race.gain():+.{race.digits()}f} on {n} seeds"
        best = f"the best is {gain}, which may well be luck (p {race.chance():.3f})"
    elif len(set(race.scores[race.start])) == 1:
        best += f", which scores {race.scores[race.start][0]:g} on every seed"
    said = f"{_effort(race, why)} {best[0].upper()}{best[1:]}. Constants are not what holds this policy back, or their "
    return Answer(f"{said}ranges are too narrow. {_explored(race)}", "stop", "", "", lesson="")


def _too_little(race: Race, why: str) -> str:
    """With the frames that a first look at every constant takes."""
    need = race.frames(race.start) * (TRIED_VALUES * len(race.space) + FULL) / FIRST_LOOK
    return (
        f"{_effort(race, why)} That is too little to say anything of the constants. The search alone needs about "
        f"{need:.0f} frames: resume with a larger --budget-steps, or declare fewer constants tunable"
    )


def _effort(race: Race, why: str) -> str:
    games = [len(scores) for scores in race.scores.values()]
    return (
        f"{len(games)} settings of {len(race.space)} constants played {race.games.count()} games on {max(games)} "
        f"training seeds; ended because {why}."
    )


def _explored(race: Race) -> str:
    """What was tried and what was not, so that nobody takes a sample for the whole."""
    games, alone = [len(scores) for scores in race.scores.values()], 0
    for point in race.scores:
        alone += len(race.space.changed(point)) == 1
    few, some = sum(n < 4 for n in games), sum(4 <= n < FULL for n in games)
    told = (
        f"{few} settings played one to three games, {some} four to seven, {len(games) - few - some} {FULL} or more; "
        f"{alone} settings change one constant, {len(games) - alone - 1} several. Values tried: "
    )
    told += "; ".join(_tried(race, i) for i in range(min(len(race.space), MOST_TOLD)))
    told += f"; and of {len(race.space) - MOST_TOLD} more constants" if len(race.space) > MOST_TOLD else ""
    without = "" if library() else " The package cma is not installed: CMA-ES proposed nothing."
    return f"{told}. Nothing else of the policy was searched.{without}"


def _tried(race: Race, i: int) -> str:
    """Of one constant: how many values, between which, and the widest part of its range where none was."""
    tunable, name = race.space.tunables[i], race.space.names[i]
    values = sorted({point[i] for point in race.scores})
    told = f"{name} {len(values)} from {values[0]:g} to {values[-1]:g} in [{tunable.low:g}, {tunable.high:g}]"
    ends = [tunable.low, *values, tunable.high]
    gap, low = max((b - a, a) for a, b in pairwise(ends))
    return f"{told}, none in ({low:g}, {low + gap:g})"


def _moves(race: Race, changed: list[int]) -> str:
    told = [f"{race.space.names[i]} {race.start[i]:g} -> {race.leader[i]:g}" for i in changed]
    more = f" and {len(told) - MOST_NAMED} more" if len(told) > MOST_NAMED else ""
    return ", ".join(told[:MOST_NAMED]) + more


# ----------------------------------------------------------------------------------------------------
# The proposer that needs no model: a search over the `tunable` constants of a policy, on training seeds.
#
# The search follows from the request and the run's earlier events alone. A run that was killed makes it again from
# the start, with the games that are in the log, and goes on where it was.


@dataclass(frozen=True)
class TunerSettings:
    """`share`: of the frames left, what one search may spend; `frames`: that much where there is no limit.

    `gate_games`: games of the best candidate, and as many of the incumbent, whose frames are left for the gate.
    `wall_share`: of the wall time left, how long one search may take.
    """

    share: float = 0.72
    frames: float = 1_500_000.0
    gate_games: int = 44
    wall_share: float = 0.5


class Tuner:
    """Plays through `evaluator`. `attach` it to a run first: its budgets pay for and record every game."""

    name = "tuner"

    def __init__(
        self, evaluator: Evaluator, events: Sequence[Event] = (), budgets: Budgets | None = None,
        settings: TunerSettings | None = None, clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self.evaluator, self.settings, self.clock = evaluator, settings or TunerSettings(), clock
        self.attach(events, budgets or Budgets())

    def attach(
        self, events: Sequence[Event], budgets: Budgets, gate_games: int | None = None, searches: int = 1,
        say: Callable[[str], object] = lambda text: None,
    ) -> None:  # fmt: skip
        """The events of the run, which grow as it goes on, its budgets, and what its gate needs (None: as set).
        `searches`: for each policy, which share what one may spend. `say` hears where a search is, after each step."""
        self.events, self.budgets, self.say = events, budgets, say
        if gate_games is not None:
            share, frames = self.settings.share / searches, self.settings.frames / searches
            self.settings = replace(self.settings, gate_games=gate_games, share=share, frames=frames)

    def estimate(self, request: Request) -> Mapping[str, Amount]:
        """No money, no tokens. Each game reserves its own frames."""
        return {"usd": 0.0, "tokens": 0.0, "wall_s": 1.0}

    def propose(self, request: Request) -> Reply:
        """Search, and say what came out.

        ProposerError, fatal, for a policy without tunables and where too little was played to tell anything;
        BudgetSpent when not even the incumbent can be played.
        """
        space = _space(request.policy)
        events = list(self.events)
        seeds = training_seeds(request, events)
        games = Games(self.evaluator, self.budgets, events, request.trial, seeds, self._late())
        race = _race(space, games, events)
        games.limit = self._limit(race)
        draw = np.random.default_rng(int(request.key[:16], 16))
        why = search(race, draw, lambda: self.say(_so_far(race)))
        return Reply(answer(race, why).to_json())

    def _limit(self, race: Race) -> Callable[[], float]:
        """Frames that the search may spend: its share, and never what the gate needs to judge the best candidate."""
        games, settings = race.games, self.settings

        def limit() -> float:
            both = race.frames(race.leader) + race.frames(race.start)
            return min(settings.share * games.most, games.most - settings.gate_games * both)

        return (lambda: settings.frames) if math.isinf(games.most) else limit

    def _late(self) -> Callable[[], bool]:
        left = self.budgets.left("wall_s")
        if left is None:
            return lambda: False
        end = self.clock() + self.settings.wall_share * left
        return lambda: self.clock() > end


def training_seeds(request: Request, events: Sequence[Event]) -> list[int]:
    """All of them: first those on which the run has played the incumbent, then the rest in an order of this request."""
    policy = hashlib.sha256(request.policy.encode()).hexdigest()
    shown = sorted({e.data["seed"] for e in events if e.kind == SHOWN and e.data["policy"] == policy})
    order = np.random.default_rng(int(request.key[16:32], 16)).permutation(len(TRAIN))
    return shown + [TRAIN[i] for i in order.tolist() if TRAIN[i] not in shown]


def _space(policy: str) -> Space:
    try:
        space = Space(policy)
    except EditError as error:
        raise ProposerError(str(error), fatal=True) from None
    if not len(space):
        raise ProposerError(
            "policy.py has no tunable constant, so there is nothing to search; declare one, for example "
            "`SPEED = tunable(2.5, 1.0, 8.0)`, or use --proposer openai or agent",
            fatal=True,
        )
    return space


def _race(space: Space, games: Games, events: Sequence[Event]) -> Race:
    """The incumbent has played. Texts that the gate has judged, or is about to, cannot win: they would be refused."""
    judged = frozenset(e.data["child"] for e in events if e.kind == "proposal.read" and e.data["child"])
    try:
        return Race(space, games, judged)
    except Enough as error:
        if not str(error):
            raise games.lacking(FULL) from None
        raise ProposerError("no wall time is left for a search; resume with a larger budget", fatal=True) from None


def _so_far(race: Race) -> str:
    """Where a search is: games, frames, and the setting that looks best, with its mean of how many games."""
    games = race.games
    told = f"search: {games.count()} games of {len(race.scores)} settings, {games.spent / 1000:,.0f} k frames"
    if race.leader == race.start:
        return told
    n, digits = len(race.scores[race.leader]), race.digits()
    mean, before = race.mean(race.leader), race.mean(race.start)
    moves = _moves(race, race.space.changed(race.leader))
    return f"{told}; best so far {mean:.{digits}f} in {n} (incumbent {before:.{digits}f}): {moves}"
