"""What the steps of an improve run share: its parts, its settings, what the evidence is made of. No behaviour."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from data_flywheel.episodes.episode import Episode
from supervisor.gate.gate import Gate, GateConfig
from supervisor.gate.seeds import TENURE, SeedLedger
from supervisor.loop.folder import Blobs
from supervisor.loop.state import Meter, State
from supervisor.protocols import Evaluator, Proposer, Request


@dataclass(frozen=True)
class Settings:
    """What a run is started with; all of it is in its first event. `trials` None: until a budget ends it. `proposals`:
    answers for each parent, judged as one race. `from_archive`: share of questions that are about an earlier accepted
    policy that behaves differently.

    `shown`: training episodes of each parent that the proposer sees and behaviours are compared on; each new parent
    plays other seeds. `limits`: usd, tokens, steps, wall_s. `auto_lock`: lock a moment of every accepted policy.
    """

    trials: int | None = None
    shown: int = 4
    auto_lock: bool = True
    limits: Mapping[str, float | None] = field(default_factory=dict)
    gate: GateConfig = field(default_factory=GateConfig)
    proposals: int = 1
    from_archive: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """JSON-able."""
        told = asdict(self)
        told = {name: value for name, value in told.items() if value != _PLAIN.get(name)}
        return told | {"limits": dict(self.limits), "gate": told["gate"] | {"limits": dict(self.gate.limits)}}


_PLAIN = {"proposals": 1, "from_archive": 0.0}  # said only where a run differs


class Gated(NamedTuple):
    """Gate episodes of one policy, for a summary: single gate scores are never told."""

    scores: tuple[float, ...]
    hard: float


class Refused(NamedTuple):
    """The last child of the present policy that was judged and not kept: its trial, its games of training seeds."""

    trial: int
    episodes: Sequence[Episode]


@dataclass(frozen=True)
class Situation:
    """What the evidence of one trial is made of. `lines`: of trials.jsonl, oldest first, without wall times."""

    trial: int
    policy: str
    episodes: Sequence[Episode]
    training: Mapping[int, float]  # seed -> score
    gated: Gated | None
    lines: Sequence[Mapping[str, Any]]
    budgets: Mapping[str, Mapping[str, Any]]
    locks: Mapping[str, bool] = field(default_factory=dict)  # which of them the policy keeps, as far as that is known
    refused: Refused | None = None


Evidence = Callable[[Situation], Request]


@dataclass
class Parts:
    """What a run works with. `hashes`: sha256 of policy, safety, detector, system, and the schema's fingerprint, as the
    folder is now. `rules`: names of the functions in safety.py. `about`: task, protocol, detector, versions. `refused`:
    training games of the last refused child that the evidence shows; 0 for evidence that shows none. `draw`: a word by
    which the gate's seeds of one trial are drawn, made once its answer is there; "": they come in turn."""

    home: Path  # the run's folder
    folder: Path  # the task's folder
    proposer: Proposer
    evaluator: Evaluator
    evidence: Evidence
    hashes: Callable[[], Mapping[str, str | None]]
    clock: Callable[[], float]
    say: Callable[[str], object] = lambda text: None
    progress: Callable[[float, float, str], object] = lambda done, total, text: None
    rules: frozenset[str] = frozenset()
    refused: int = 0
    about: Mapping[str, Any] = field(default_factory=dict)
    draw: Callable[[], str] = lambda: ""
    tenure: int = TENURE  # children of a parent that one block of seeds selects
    few: tuple[int, int] | None = None  # games that there are to select and to confirm; None: blocks of seeds


@dataclass
class Run:
    """A run at work."""

    parts: Parts
    meter: Meter
    blobs: Blobs
    ledger: SeedLedger
    gate: Gate
    name: str

    @property
    def state(self) -> State:
        """As the log has it."""
        return self.meter.state

    @property
    def evaluator(self) -> Evaluator:
        """Where policies are played."""
        return self.parts.evaluator

    def text(self, policy: str) -> str:
        """A policy's text."""
        return self.blobs.text(policy)
