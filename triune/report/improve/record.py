"""An improve run as its page needs it: what happened, when, at what cost, and the figures that follow."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from supervisor.budget import KEY, KINDS, RESERVED, UNKNOWN, Amount
from supervisor.errors import SupervisorError
from supervisor.events import Event, read
from supervisor.gate import statistics as paired
from supervisor.gate.seeds import role_of
from supervisor.gate.types import STAGES
from supervisor.loop import folder as blobs
from supervisor.loop import state as run_state
from triune.play.evaluation import ci95
from triune.report.html import dollars, duration, harmless, short
from triune.report.plots import VERDICTS, Estimate

LOG = "events.jsonl"
_ON_OPENING = ("log", "log.torn", "budget.abandoned")  # written before run.resumed, perhaps days after the kill
_LEVEL = 0.025  # each side of a 95 % interval
_SHOW = {"usd": dollars, "tokens": short, "steps": short, "wall_s": duration}


def amount(which: str, value: Amount) -> str:
    """An amount of a budget, "unknown" as such."""
    return UNKNOWN if isinstance(value, str) else _SHOW[which](value)


# ----------------------------------------------------------------------------------------------------
# What a run has used so far, event by event: the x axis of every curve.
#
# Unlike Budgets it leaves open what a running process has reserved.


class Spending:
    """`known` amounts (unknown ones count as reserved), how many were `unknown`, what is `held`, the `limits`."""

    def __init__(self) -> None:
        self.known = dict.fromkeys(KINDS, 0.0)
        self.unknown = dict.fromkeys(KINDS, 0)
        self.held: dict[int, dict[str, Amount]] = {}
        self.limits: dict[str, float | None] = dict.fromkeys(KINDS)

    def see(self, event: Event) -> None:
        """Take one event into account."""
        told = event.data.get(KEY)
        if event.kind == RESERVED:
            self.held[event.data["id"]] = dict(event.data["amounts"])
        elif event.kind in ("run.started", "run.resumed"):
            told = event.data.get("settings", event.data).get("limits", {})
            self.limits |= {which: told[which] for which in KINDS if which in told}
        elif isinstance(told, Mapping) and "settles" in told:
            self._settle(told)

    def _settle(self, told: Mapping[str, Any]) -> None:
        reserved = self.held.pop(told["settles"], {})
        for which, value in told["amounts"].items():
            if value == UNKNOWN:
                self.unknown[which] += 1
                value = reserved.get(which, 0.0)
            if not isinstance(value, str):
                self.known[which] = round(self.known[which] + value, 9)

    def spent(self, which: str) -> Amount:
        """UNKNOWN if a part of it is."""
        return UNKNOWN if self.unknown[which] else self.known[which]

    def reserved(self, which: str) -> float:
        """Set aside and not settled."""
        amounts = (held.get(which, 0.0) for held in self.held.values())
        return sum(a for a in amounts if not isinstance(a, str))

    def now(self) -> dict[str, Amount]:
        """`spent` of every kind."""
        return {which: self.spent(which) for which in KINDS}


# ----------------------------------------------------------------------------------------------------
# Large texts of a run, by their hash: verified, and never an error of the page when one is missing.


class Texts:
    """`text(sha)`; what was `verified`, is `missing` or `damaged` is remembered for the page to say."""

    def __init__(self, folder: Path) -> None:
        self._blobs = blobs.Blobs(folder)
        self.verified: set[str] = set()
        self.missing: set[str] = set()
        self.damaged: set[str] = set()

    def text(self, sha: str) -> str | None:
        """The text, or None when it is not there or not what its name says. Bytes that are no text become \\xNN."""
        if not sha:
            return None
        try:
            found = self._blobs.get(sha)
        except SupervisorError:
            (self.damaged if (self._blobs.folder / sha).is_file() else self.missing).add(sha)
            return None
        self.verified.add(sha)
        return found.decode("utf-8", "backslashreplace")


# ----------------------------------------------------------------------------------------------------
# The run, read from its log: what the events mean is `supervisor.loop.state`'s.


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
        """A key of VERDICTS."""
        if self.of.failed is not None:
            return "unanswered"
        kind = str(self.verdict.get("kind", ""))
        return kind if kind in VERDICTS else "open"

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


# ----------------------------------------------------------------------------------------------------
# Figures of policies and trials: levels with intervals, paired differences, whether a prediction held.


class Pair(NamedTuple):
    """One seed, played by parent and child."""

    seed: int
    parent: float
    child: float

    @property
    def difference(self) -> float:
        """Child minus parent."""
        return self.child - self.parent


def level(run: ImproveRun, policy: str) -> Estimate | None:
    """Score of a policy over every gate seed it played, except those on which it was chosen: they flatter it."""
    return _once(run, ("level", policy), lambda: _level(run, policy))


def _level(run: ImproveRun, policy: str) -> Estimate | None:
    chosen = {s for t in run.trials.values() if policy in (t.won, t.child) for s in t.of.seeds.get("select", ())}
    played = {seed: score for seed, score in run.scores.get(policy, {}).items() if math.isfinite(score)}
    scores = [score for seed, score in played.items() if seed not in chosen] or list(played.values())
    if not scores:
        return None
    low, high = ci95(scores) if len(scores) > 1 else (math.nan, math.nan)
    return Estimate(float(np.mean(scores)), low, high, len(scores))


def pairs(run: ImproveRun, trial: Trial, role: str, child: str = "") -> list[Pair]:
    """Seeds of a block that both have played to a finite score, in the block's order."""
    old, new = run.scores.get(trial.parent, {}), run.scores.get(child or trial.child, {})
    both = [Pair(s, old[s], new[s]) for s in trial.of.seeds.get(role, ()) if s in old and s in new]
    return [p for p in both if math.isfinite(p.difference)]


def difference(found: Sequence[Pair]) -> Estimate | None:
    """Mean paired difference; the interval is the gate's, inverted from the sign-flip test."""
    if not found:
        return None
    values = [p.difference for p in found]
    low, high = paired.lower_bound(values, _LEVEL), paired.upper_bound(values, _LEVEL)
    finite = math.isfinite(low) and math.isfinite(high)
    return Estimate(float(np.mean(values)), low if finite else math.nan, high if finite else math.nan, len(values))


def decisive(run: ImproveRun, trial: Trial) -> list[Pair]:
    """The block that counts: the fresh one where there is one, since the first one chose the child."""
    return pairs(run, trial, "confirm") or pairs(run, trial, "select")


def headline(run: ImproveRun, trial: Trial) -> Estimate | None:
    """The mean difference on the decisive block."""
    return _once(run, ("headline", trial.number), lambda: difference(decisive(run, trial)))


def held(run: ImproveRun, trial: Trial) -> tuple[str, str]:
    """(yes | no | open | untested, in words): what the score says about the prediction; nothing else is measured."""
    found = headline(run, trial)
    if trial.kind == "accept":
        return "yes", "the score rose and was confirmed on fresh seeds"
    if found is None:
        return "untested", "it was stopped before it played"
    if trial.kind == "reject":
        return "no", "the score fell on these seeds" if found.mean < 0 else "the score did not rise enough to be shown"
    return "open", "the seeds played cannot tell"


def _once(run: ImproveRun, key: tuple[str, object], work: Callable[[], Estimate | None]) -> Estimate | None:
    if key not in run.memo:
        run.memo[key] = work()
    found: Estimate | None = run.memo[key]
    return found
