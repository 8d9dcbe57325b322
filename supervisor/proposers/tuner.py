"""The proposer that needs no model: a search over the `tunable` constants of a policy, on training seeds.

Knows: what a search may spend, which seeds it plays. Does not know: how candidates are found (search_moves.py), how
games are kept (search_games.py), what is said about the result (tuner_words.py), or whether the gate will agree.

The search follows from the request and the run's earlier events alone. A run that was killed makes it again from the
start, with the games that are in the log, and goes on where it was.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from supervisor.edits.edits import EditError
from supervisor.gate.seeds import TRAIN
from supervisor.loop.budget import Amount, Budgets, BudgetSpent
from supervisor.loop.chain import Event
from supervisor.proposers.search_games import SHOWN, Enough, Games
from supervisor.proposers.search_moves import search
from supervisor.proposers.search_race import Race
from supervisor.proposers.search_space import Space
from supervisor.proposers.tuner_words import answer
from supervisor.protocols import Arena, ProposerError, Reply, Request


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
    """Plays through `arena`. `attach` it to a run first: every game is paid for and recorded through its budgets."""

    name = "tuner"

    def __init__(
        self, arena: Arena, events: Sequence[Event] = (), budgets: Budgets | None = None,
        settings: TunerSettings | None = None, clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self.arena, self.settings, self.clock = arena, settings or TunerSettings(), clock
        self.attach(events, budgets or Budgets())

    def attach(self, events: Sequence[Event], budgets: Budgets, gate_games: int | None = None) -> None:
        """The events of the run, which grow as it goes on, its budgets, and what its gate needs (None: as set)."""
        self.events, self.budgets = events, budgets
        if gate_games is not None:
            self.settings = replace(self.settings, gate_games=gate_games)

    def estimate(self, request: Request) -> Mapping[str, Amount]:
        """No money, no tokens. Each game reserves its own frames."""
        return {"usd": 0.0, "tokens": 0.0, "wall_s": 1.0}

    def propose(self, request: Request) -> Reply:
        """Search, and say what came out.

        ProposerError, fatal, for a policy without tunables; BudgetSpent when not even the incumbent can be played.
        """
        space = _space(request.policy)
        events = list(self.events)
        seeds = training_seeds(request, events)
        games = Games(self.arena, self.budgets, events, request.trial, seeds, self._late())
        race = _race(space, games, events)
        games.limit = self._limit(race)
        why = search(race, np.random.default_rng(int(request.key[:16], 16)))
        return Reply(answer(race, why).to_json())

    def _limit(self, race: Race) -> Callable[[], float]:
        """Frames that the search may spend: its share, and never what the gate needs to judge the best candidate."""
        games, settings = race.games, self.settings
        left = self.budgets.left("steps")
        if left is None:
            return lambda: settings.frames
        total = left + games.paid  # as it was before the search began

        def limit() -> float:
            both = race.frames(race.leader) + race.frames(race.start)
            return min(settings.share * total, total - settings.gate_games * both)

        return limit

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
        if isinstance(error.__cause__, BudgetSpent):
            raise error.__cause__ from None
        raise ProposerError("no wall time is left for a search; resume with a larger budget", fatal=True) from None
