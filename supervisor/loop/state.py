"""What an improve run has come to, folded from its events alone; and the meter through which everything that costs
goes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from supervisor.budget import ABANDONED, KEY, KINDS, UNKNOWN, Amount, Budgets, Reservation
from supervisor.errors import SupervisorError
from supervisor.events import Event, EventLog
from supervisor.protocols import Score

# ----------------------------------------------------------------------------------------------------
# What an improve run has come to, folded from its events alone.
#
# Folding the same events gives the same state, so a run that was killed goes on from what its log says and from
# nothing else.


class Shown(NamedTuple):
    """A training game: its score, and its simulated frames."""

    score: float
    frames: int


@dataclass
class Trial:
    """One proposal and what became of it so far. Texts are named by their sha256 in the run's blobs."""

    number: int
    parent: str
    request: Mapping[str, Any] | None = None  # of evidence.made
    answer: Mapping[str, Any] | None = None  # of proposal.received
    failed: str | None = None
    read: Mapping[str, Any] | None = None  # of proposal.read
    seeds: dict[str, tuple[int, ...]] = field(default_factory=dict)  # role -> opened
    variants: list[Mapping[str, Any]] = field(default_factory=list)
    judged: Mapping[str, Any] | None = None
    accepted: Mapping[str, Any] | None = None
    spent: dict[str, Amount] = field(default_factory=lambda: dict.fromkeys(KINDS, 0.0))

    @property
    def child(self) -> str | None:
        """The text that was made of the answer."""
        return self.read["child"] if self.read else None

    @property
    def verdict(self) -> Mapping[str, Any] | None:
        """As JSON, once judged."""
        return self.judged["verdict"] if self.judged else None

    @property
    def won(self) -> bool:
        """Judged to be accepted; `accepted` follows."""
        return self.verdict is not None and self.verdict["kind"] == "accept"

    @property
    def open(self) -> bool:
        """Something is still to be done."""
        return self.judged is None or (self.won and self.accepted is None)


class State:
    """Apply every event in order. `revisions` numbers each text of the lineage as it is first tried."""

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self.started: Mapping[str, Any] | None = None
        self.resumed: Mapping[str, Any] = {}
        self.stopped: Mapping[str, Any] | None = None
        self.trials: list[Trial] = []
        self.heard = 0  # trials when the run was last resumed: what they said about stopping is past
        self.incumbent = ""
        self.revisions: dict[str, int] = {}
        self.scores: dict[tuple[str, int], Score] = {}  # gate seeds
        self.training: dict[tuple[str, int], Shown] = {}
        self.compiled: dict[str, Mapping[str, Any]] = {}
        self.locks: dict[tuple[str, str], Mapping[str, bool]] = {}  # (parent, policy): locks grow with the parent
        self.behaviours: dict[tuple[str, str], str] = {}
        for event in events:
            self.apply(event)

    @property
    def current(self) -> Trial | None:
        """The trial that is open, if one is."""
        return self.trials[-1] if self.trials and self.trials[-1].open else None

    def setting(self, name: str) -> Any:
        """A setting as the last start or resumption gave it."""
        assert self.started is not None
        return self.resumed.get(name, self.started["settings"].get(name))

    def apply(self, event: Event) -> None:
        """One more event; SupervisorError when it does not have the shape that its kind promises."""
        try:
            handler = _HANDLERS.get(event.kind)
            if handler:
                handler(self, event.data)
            self._count(event)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise SupervisorError(
                f"event {event.n} ({event.kind}) cannot be read ({error!r}); was the run made by another version?"
            ) from error

    def _count(self, event: Event) -> None:
        """What results have cost, trial by trial. What a kill wasted is in the budgets, not in a trial."""
        told = event.data.get(KEY)
        if told is None or event.kind == ABANDONED or not self.trials:
            return
        spent = self.trials[-1].spent
        for which, amount in told["amounts"].items():
            before = spent[which]
            unknown = isinstance(before, str) or isinstance(amount, str)
            spent[which] = UNKNOWN if unknown else round(float(before) + float(amount), 9)

    # --- one handler a kind

    def _started(self, data: Mapping[str, Any]) -> None:
        self.started, self.stopped = data, None
        self.incumbent = data["policy"]
        self.revisions = dict(data["lineage"])
        self._number(self.incumbent)

    def _number(self, policy: str) -> None:
        if policy not in self.revisions:
            self.revisions[policy] = max(self.revisions.values(), default=-1) + 1

    def _resumed(self, data: Mapping[str, Any]) -> None:
        self.resumed, self.stopped, self.heard = data, None, len(self.trials)

    def _stopped(self, data: Mapping[str, Any]) -> None:
        self.stopped = data

    def _trial(self, data: Mapping[str, Any]) -> None:
        self.trials.append(Trial(data["trial"], data["parent"]))

    def _of(self, data: Mapping[str, Any]) -> Trial:
        trial = self.trials[-1]
        if trial.number != data["trial"]:
            raise ValueError(f"of trial {data['trial']} in the middle of trial {trial.number}")
        return trial

    def _evidence(self, data: Mapping[str, Any]) -> None:
        self._of(data).request = data

    def _received(self, data: Mapping[str, Any]) -> None:
        self._of(data).answer = data

    def _failed(self, data: Mapping[str, Any]) -> None:
        if not data["fatal"]:  # after a fatal one the question is asked again when the run goes on
            self._of(data).failed = data["message"]

    def _read(self, data: Mapping[str, Any]) -> None:
        self._of(data).read = data
        if data["child"]:
            self._number(data["child"])

    def _compiled(self, data: Mapping[str, Any]) -> None:
        self.compiled[data["policy"]] = data

    def _locks(self, data: Mapping[str, Any]) -> None:
        self.locks[self._of(data).parent, data["policy"]] = data["locks"]

    def _behaviour(self, data: Mapping[str, Any]) -> None:
        self.behaviours[self._of(data).parent, data["policy"]] = data["hash"]

    def _seeds(self, data: Mapping[str, Any]) -> None:
        self._of(data).seeds[data["role"]] = tuple(data["seeds"])

    def _episode(self, data: Mapping[str, Any]) -> None:
        self.scores[data["policy"], data["seed"]] = _score(data)

    def _recorded(self, data: Mapping[str, Any]) -> None:
        self.training[data["policy"], data["seed"]] = Shown(float(data["score"]), data["frames"])

    def _variant(self, data: Mapping[str, Any]) -> None:
        self._of(data).variants.append(data)

    def _judged(self, data: Mapping[str, Any]) -> None:
        self._of(data).judged = data
        if data["policy"]:
            self._number(data["policy"])

    def _accepted(self, data: Mapping[str, Any]) -> None:
        self._of(data).accepted = data
        self.incumbent = data["policy"]


_HANDLERS = {
    "run.started": State._started, "run.resumed": State._resumed, "run.stopped": State._stopped,
    "trial.started": State._trial, "evidence.made": State._evidence, "evidence.episode": State._recorded,
    "proposal.received": State._received, "proposal.failed": State._failed, "proposal.read": State._read,
    "gate.compiled": State._compiled, "gate.locks": State._locks, "gate.behaviour": State._behaviour,
    "gate.seeds": State._seeds, "gate.episode": State._episode, "gate.variant": State._variant,
    "trial.judged": State._judged, "policy.accepted": State._accepted,
}  # fmt: skip


def score_data(score: Score) -> dict[str, Any]:
    """A score as an event holds it: a number that JSON has no word for is its name."""
    plain = score._asdict()
    for name in ("score", "hard"):
        value = float(plain[name])
        plain[name] = value if value - value == 0 else str(value)
    return plain


def _score(data: Mapping[str, Any]) -> Score:
    return Score(data["seed"], float(data["score"]), float(data["hard"]), data["frames"], data["decisions"])


# ----------------------------------------------------------------------------------------------------
# The one choke point of a run: whatever costs anything is reserved here first, timed, and settled by its result.


@dataclass
class Job:
    """A piece of work whose amounts are set aside; `settle` it with its result, once."""

    reservation: Reservation
    clock: Callable[[], float]
    began: float

    def settle(self, kind: str, data: Mapping[str, Any], **actual: Amount) -> None:
        """One event: the result, and what it took. The wall time is measured here."""
        self.reservation.settle(kind, data, wall_s=round(max(0.0, self.clock() - self.began), 3), **actual)


class Meter:
    """The log, the state that follows from it, and the budgets of one run, which never part."""

    def __init__(
        self, log: EventLog, state: State, limits: Mapping[str, float | None], clock: Callable[[], float],
        warn: Callable[[str], object],
    ) -> None:  # fmt: skip
        self.log, self.clock, self.state = log, clock, state
        self.budgets = Budgets(**limits, events=list(log.events), record=self.record, warn=warn)

    def record(self, kind: str, data: Mapping[str, Any]) -> Event:
        """Append an event and let the state know."""
        event = self.log.append(kind, data)
        self.state.apply(event)
        return event

    def reserve(self, what: str, wall_s: Amount = 1.0, **amounts: Amount) -> Job:
        """Set amounts aside; BudgetSpent or AmountUnknown when that cannot be."""
        began = self.clock()
        return Job(self.budgets.reserve(what, wall_s=wall_s, **amounts), self.clock, began)

    @contextmanager
    def job(self, what: str, wall_s: Amount = 1.0, **amounts: Amount) -> Iterator[Job]:
        """The same; abandoned when the work fails."""
        job = self.reserve(what, wall_s, **amounts)
        with job.reservation:
            yield job

    def told(self) -> dict[str, dict[str, Any]]:
        """The budgets as a proposer is told: without wall time and without what kills have wasted, so that a run that
        was interrupted asks the same questions as one that was not."""
        table = {}
        for which in KINDS:
            if which == "wall_s":
                continue
            parts = [trial.spent[which] for trial in self.state.trials]
            known = round(sum(p for p in parts if not isinstance(p, str)), 9)
            unknown = sum(isinstance(p, str) for p in parts)
            limit = self.budgets.limits[which]
            table[which] = {
                "limit": limit, "spent": UNKNOWN if unknown else known, "at_least": known, "unknown": unknown,
                "reserved": 0.0, "left": None if limit is None else max(0.0, limit - known),
            }  # fmt: skip
        return table
