"""An improve run as the page needs it: the state of the loop, and when and at what cost each step of it came.

Knows which events mark a step. What the events mean is `supervisor.run_state`'s, what they cost spending.py's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from supervisor.errors import SupervisorError
from supervisor.gate.seeds import role_of
from supervisor.gate.types import STAGES
from supervisor.loop import run_state
from supervisor.loop.budget import UNKNOWN, Amount
from supervisor.loop.chain import Event
from supervisor.loop.events import read
from triune.report.improve.blobs import Texts
from triune.report.improve.spending import Spending
from triune.report.improve.words import harmless

LOG = "events.jsonl"
KINDS = {
    "accept": "accepted", "probe": "undecided", "indecisive": "indecisive", "reject": "rejected",
    "invalid": "invalid", "unanswered": "no answer", "open": "not finished",
}  # fmt: skip
_ON_OPENING = ("log", "log.torn", "budget.abandoned")  # written before run.resumed, perhaps days after the kill


class Pause(NamedTuple):
    """The run started, stopped or went on: an event's kind and data."""

    kind: str
    at: float
    data: Mapping[str, Any]


class Accepted(NamedTuple):
    """A policy that was the incumbent, from when on (amounts spent by then), and the trial that brought it."""

    policy: str
    trial: int  # 0: the policy the run began with
    spent: Mapping[str, Amount]


@dataclass
class Trial:
    """A trial of the state, with what the run had spent by its end. Fields that are not known yet are empty."""

    of: run_state.Trial
    spent: Mapping[str, Amount] = field(default_factory=dict)
    tried: list[Mapping[str, Any]] = field(default_factory=list)  # settings that a search has played

    @property
    def number(self) -> int:
        """From 1."""
        return self.of.number

    @property
    def parent(self) -> str:
        """sha of the policy it started from."""
        return self.of.parent

    @property
    def child(self) -> str:
        """sha of the proposed text, "" when there is none."""
        return self.of.child or ""

    @property
    def won(self) -> str:
        """sha of the policy that was accepted: the child or a simpler variant; "" otherwise."""
        return str((self.of.judged or {}).get("policy") or "")

    @property
    def verdict(self) -> Mapping[str, Any]:
        """kind, stage, reasons, numbers, winner."""
        return self.of.verdict or {}

    @property
    def kind(self) -> str:
        """A key of KINDS."""
        if self.of.failed is not None:
            return "unanswered"
        kind = str(self.verdict.get("kind", ""))
        return kind if kind in KINDS else "open"

    @property
    def stage(self) -> str:
        """Where it ended; "" when it has not."""
        stage = self.verdict.get("stage", "")
        return stage if stage in STAGES else ""

    @property
    def accepted(self) -> Mapping[str, Any]:
        """Data of policy.accepted."""
        return self.of.accepted or {}

    @property
    def variants(self) -> dict[str, str]:
        """Simpler variants that were looked at: name -> sha."""
        return {str(v["name"]): str(v["policy"]) for v in self.of.variants}

    def say(self, name: str) -> Any:
        """A field of the answer, "" when it was not given."""
        return (self.of.read or {}).get(name) or ""


class ImproveRun:
    """Everything the page shows, in memory. `ImproveRun.read(folder)`."""

    def __init__(self, folder: Path, events: list[Event]) -> None:
        """SupervisorError when the events are not those of an improve run."""
        self.folder, self.events, self.texts = folder, events, Texts(folder / "blobs")
        self.state, self.spending = run_state.State(), Spending()
        self.trials: dict[int, Trial] = {}
        self.chain: list[Accepted] = []
        self.openings: list[tuple[int, str, list[int]]] = []  # trial, role, seeds
        self.pauses: list[Pause] = []
        self.torn: list[tuple[int, Mapping[str, Any]]] = []  # event, data
        self.memo: dict[tuple[str, object], Any] = {}  # figures that several parts of the page ask for
        for event in events:
            self._see(Event(event.n, event.at, event.kind, harmless(event.data), event.prev, event.hash))
        if not self.chain:
            raise SupervisorError(f"{folder / LOG} holds no event run.started; is it the log of an improve run?")
        self.scores: dict[str, dict[int, float]] = defaultdict(dict)  # gate episodes: policy -> seed -> score
        for (policy, seed), score in self.state.scores.items():
            self.scores[policy][seed] = score.score

    @classmethod
    def read(cls, folder: Path) -> ImproveRun:
        """The verified events of a run; LogDamaged when they were changed, SupervisorError when it is no such run."""
        return cls(folder, read(folder / LOG))

    @property
    def started(self) -> Mapping[str, Any]:
        """Data of run.started."""
        return self.state.started or {}

    def _see(self, event: Event) -> None:
        self.state.apply(event)
        self.spending.see(event)
        kind, data = event.kind, event.data
        if kind in ("run.started", "run.resumed", "run.stopped"):
            self.pauses.append(Pause(kind, event.at, data))
        if kind == "run.started":
            self.chain.append(Accepted(self.state.incumbent, 0, self.spending.now()))
        elif kind == "log.torn":
            self.torn.append((event.n, data))
        elif kind == "trial.started":
            self.trials[data["trial"]] = Trial(self.state.trials[-1])
        elif kind == "gate.seeds":
            self.openings.append((data["trial"], data["role"], list(data["seeds"])))
        elif kind == "tuner.tried":
            self.trials[data["trial"]].tried.append(data)
        elif kind in ("trial.judged", "policy.accepted"):
            self.trials[data["trial"]].spent = self.spending.now()
        if kind == "policy.accepted":
            self.chain.append(Accepted(self.state.incumbent, data["trial"], self.spending.now()))

    # -- what follows from all of it

    def name(self, policy: str) -> str:
        """`r07`, as in the task's lineage folder."""
        number = self.state.revisions.get(policy)
        return "" if number is None else f"r{number:02d}"

    def seeds_played(self) -> dict[str, int]:
        """How many different seeds of each range were played, for whatever purpose."""
        seeds = {seed for _, seed in (*self.state.scores, *self.state.training)}
        seeds |= {int(s) for t in self.trials.values() for tried in t.tried for s in tried.get("seeds", ())}
        found: dict[str, int] = defaultdict(int)
        for seed in seeds:
            found[role_of(seed)] += 1
        return dict(found)

    def bought(self) -> str:
        """What a curve against cost is drawn over: "usd", "tokens", or "" when nothing known was bought."""
        usable = (w for w in ("usd", "tokens") if self.spending.spent(w) != UNKNOWN and self.spending.known[w] > 0)
        return next(usable, "")

    def seconds(self) -> float:
        """Wall time in which the run was at work: from each start to the last event before the next one."""
        total, began, last = 0.0, None, 0.0
        for event in self.events:
            if event.kind in ("run.started", "run.resumed"):
                total += last - began if began is not None else 0.0
                began = event.at
            last = last if event.kind in _ON_OPENING else event.at
        return total + (last - began if began is not None else 0.0)
