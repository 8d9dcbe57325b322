"""The loop: read what happened, ask for a revision, prove it, keep it or remember why not. Resumable at any instant."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from data_flywheel.storage.files import try_lock
from envs.files import read_text
from envs.writing import sweep
from supervisor.budget import KINDS, AmountUnknown, BudgetSpent
from supervisor.errors import SupervisorError
from supervisor.events import EventLog
from supervisor.gate.gate import Gate, GateConfig, Verdict
from supervisor.gate.seeds import BLOCK, FewLedger, SeedLedger
from supervisor.loop import archive
from supervisor.loop import race as races
from supervisor.loop import trial as stages
from supervisor.loop.folder import POLICY, SEEDS, Blobs, Projection, lineage, read_lines
from supervisor.loop.parts import Parts, Run, Settings
from supervisor.loop.state import Meter, State, Trial
from supervisor.loop.trial import accept, judge
from supervisor.protocols import ProposerError, Waiting

# ----------------------------------------------------------------------------------------------------
# How a run begins: its name, its settings after a resumption, its hold on the task's folder.


def unused(name: str, folder: Path) -> str:
    """A name that no line of the folder's trials.jsonl bears yet."""
    taken, n, found = {line["run"] for line in read_lines(folder)}, 1, name
    while found in taken:
        n, found = n + 1, f"{name}.{n + 1}"
    return found


def raised(now: Settings, state: State) -> Settings:
    """The settings of a run that is resumed: trials and budgets that are not named again are as before."""
    limits = {**state.setting("limits"), **{k: v for k, v in now.limits.items() if v is not None}}
    trials = state.setting("trials") if now.trials is None else now.trials
    return replace(now, trials=trials, limits=limits)


def fitting(config: GateConfig, few: tuple[int, int] | None = None) -> GateConfig:
    """The same gate with no more looks, and no longer confirmation, than a block of seeds allows, or the `few` games
    that there are to select and to confirm."""
    select, confirm = few or (BLOCK, BLOCK)
    n = sum(look <= select for look in config.looks)
    if n == len(config.looks) and config.confirm_most <= confirm:
        return config
    cut = {name: getattr(config, name)[:n] for name in ("looks", "spend", "hopeful")}
    return replace(config, **cut, confirm_most=min(config.confirm_most, confirm))


def plain_gate(config: GateConfig) -> dict[str, Any]:
    return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(config).items()}


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold the task's folder: two runs that improve it at once would overwrite each other's policy."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    here = os.getpid()
    try:
        if not try_lock(descriptor):
            raise SupervisorError(f"{folder} is being improved by another run; wait until it ends, or stop it")
        _HELD.add(descriptor)
        yield
    finally:
        _HELD.discard(descriptor)
        if os.getpid() == here:
            os.close(descriptor)


_HELD: set[int] = set()


def _let_go() -> None:
    """In a forked child: a worker that outlives its parent must not hold the folder."""
    for descriptor in _HELD:
        os.close(descriptor)
    _HELD.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)


# ----------------------------------------------------------------------------------------------------
# The loop: read what happened, ask for a revision, prove it, keep it or remember why not. Resumable at any instant.
#
# Every step does its work and then appends one event with the result; all else follows from the events.


LOG, BLOBS, WORK = "events.jsonl", "blobs", "work"  # of a run; the last for its evaluator


@dataclass(frozen=True)
class Ended:
    """How a run stopped. `why`: "trials", "budget", "proposer" or "waiting"; `state` has the rest. `wait_s`: seconds
    after which the proposer asks to be asked again, where it told."""

    why: str
    detail: str
    state: State
    budgets: Mapping[str, Mapping[str, Any]]
    wait_s: float | None = None


class Loop:
    """One run of `improve`. `run()` starts it, or goes on with what the log in `parts.home` says."""

    def __init__(self, parts: Parts, settings: Settings, log: EventLog, root: str) -> None:
        """`root`: the policy text to start from. SupervisorError when the log is of another task or folder state."""
        state = State(log.events)
        if state.started is None:
            name = unused(parts.home.name, parts.folder)
        else:
            name, settings = state.started["run"], raised(settings, state)
        self.parts, self.settings, self.root = parts, settings, root
        meter = Meter(log, state, {which: settings.limits.get(which) for which in KINDS}, parts.clock, parts.say)
        blobs = Blobs(parts.home / BLOBS)
        ledger = (FewLedger if parts.few else SeedLedger).open(parts.folder / SEEDS, parts.tenure)
        self.run_ = Run(parts, meter, blobs, ledger, Gate(self._gate(meter.state)), name)
        self.projection = Projection(parts.folder, blobs, name)

    def _gate(self, state: State) -> GateConfig:
        """The gate that the run began with, whatever is asked for now."""
        if state.started is None:
            return fitting(self.settings.gate, self.parts.few)
        told = dict(state.started["settings"]["gate"])
        return GateConfig(**{k: tuple(v) if isinstance(v, list) else v for k, v in told.items()})  # type: ignore[arg-type]

    @property
    def state(self) -> State:
        """As the log has it."""
        return self.run_.state

    @property
    def proposals(self) -> int:
        """Answers for each parent, as the run began."""
        return self.settings.proposals if self.state.started is None else int(self.state.setting("proposals") or 1)

    def run(self, only_evidence: bool = False) -> Ended:
        """Trials until something ends them; `only_evidence`: up to the first question, which is not asked."""
        with held(self.parts.folder):
            self._begin(only_evidence)
            wait = None
            try:
                why, detail = self._trials(only_evidence)
            except (BudgetSpent, AmountUnknown) as error:
                why, detail = "budget", str(error)
            except Waiting as error:
                why, detail = "waiting", str(error)
            except ProposerError as error:
                why, detail, wait = "proposer", str(error), error.wait
            except KeyboardInterrupt:
                self._stop("interrupted", "")
                raise
            finally:
                self.parts.evaluator.close()
                self._sweep()
            self._stop(why, detail)
            return Ended(why, detail, self.state, self.run_.meter.budgets.table(), wait)

    def _stop(self, why: str, detail: str) -> None:
        self.run_.meter.record("run.stopped", {"why": "proposer" if why == "waiting" else why, "detail": detail})

    # --- start and resumption

    def _begin(self, only_evidence: bool) -> None:
        self.projection.sweep()
        self._sweep()
        record, state = self.run_.meter.record, self.state
        if state.started is None:
            policy = self.run_.blobs.put(self.root.encode())
            self.run_.blobs.put(self._folder_policy().encode())
            lines = read_lines(self.parts.folder)
            judged = {line["child"]: f"{line['run']}, trial {line['trial']}" for line in lines
                      if line.get("child") and line.get("verdict") != "probe"}  # fmt: skip
            settings = self.settings.as_dict() | {"gate": plain_gate(self.run_.gate.config)}
            record(
                "run.started",
                {
                    "run": self.run_.name, "folder": str(self.parts.folder), "proposer": self.parts.proposer.name,
                    **self.parts.about, "settings": settings, "hashes": dict(self.parts.hashes()), "policy": policy,
                    "lineage": lineage(self.parts.folder), "judged": judged,
                },
            )  # fmt: skip
        else:
            self._check_folder(state.started)
            record("run.resumed", {"trials": self.settings.trials, "limits": dict(self.settings.limits)})
        if not only_evidence:
            self._project()

    def _sweep(self) -> None:
        """Remove what killed processes of this run, or of its workers, have left half written."""
        for name in (BLOBS, WORK):
            sweep(self.parts.home / name)

    def _folder_policy(self) -> str:
        path = self.parts.folder / POLICY
        return read_text(path, "policy", SupervisorError) if path.exists() else self.root

    def _check_folder(self, started: Mapping[str, Any]) -> None:
        """Nothing that decides a score may have changed; policy.py may be one step behind, after a kill."""
        now = self.parts.hashes()
        changed = [k for k, v in started["hashes"].items() if k != "policy" and now.get(k) != v]
        if changed:
            raise SupervisorError(
                f"{', '.join(changed)} of {self.parts.folder} changed since this run began; start a new run"
            )
        accepted = [t for t in self.state.trials if t.accepted]
        known = {self.state.incumbent, accepted[-1].parent if accepted else started["hashes"].get("policy")}
        if now.get("policy") not in known:
            raise SupervisorError(
                f"{self.parts.folder / POLICY} was changed by something else since this run stopped; start a new run"
            )

    def _project(self) -> None:
        self.projection.write(self.state)
        self.run_.evaluator.reload()

    # --- trials

    def _trials(self, only_evidence: bool) -> tuple[str, str]:
        most = self.state.setting("trials")
        while True:
            trial = self.state.current
            if trial is None:
                done = self._last_word() or (most is not None and len(self.state.trials) >= most)
                if done:
                    return done if isinstance(done, tuple) else ("trials", f"{most} trials")
                trial = self._new(self._race_of_its_own())
            if only_evidence:
                if archive.due(self.state, trial):
                    archive.choose(self.run_, trial)
                stages.prepare(self.run_, trial, self._lines())
                return "trials", "the question was made, not asked"
            if trial.race is None:
                self._one(trial)
            else:
                self._race(trial.race)

    def _last_word(self) -> tuple[str, str] | None:
        """A proposer that says stop ends the run; when the run is resumed it is asked again."""
        last = self.state.trials[-1] if self.state.trials else None
        if last is None or not last.read or last.read["target"] != "stop" or last.number <= self.state.heard:
            return None
        if any(trial.won for trial in self.state.together):  # it knew no further child for the policy before
            return None
        return "proposer", f"it has no further idea: {last.read['diagnosis']}"[:600]

    def _new(self, more: Mapping[str, Any]) -> Trial:
        number = len(self.state.trials) + 1
        self.run_.meter.record("trial.started", {"trial": number, "parent": self.state.incumbent, **more})
        return self.state.trials[-1]

    def _one(self, trial: Trial) -> None:
        """Whatever is left to do for a trial."""
        if trial.judged is None:
            self._answered(trial)
            self._judged(trial, stages.idle(trial) or judge(self.run_, trial))
        if trial.won and trial.accepted is None:
            accept(self.run_, trial)
        self._project()

    def _answered(self, trial: Trial) -> None:
        """Question, answer, and what it says."""
        if trial.answer is None and trial.failed is None:
            if trial.merged is not None:
                races.merge(self.run_, trial)
            else:
                if archive.due(self.state, trial):
                    archive.choose(self.run_, trial)
                request = races.question(self.run_, trial) or stages.prepare(self.run_, trial, self._lines())
                stages.ask(self.run_, trial, request)
        if trial.failed is None and trial.read is None:
            stages.read(self.run_, trial)

    def _judged(self, trial: Trial, verdict: Verdict) -> None:
        winner = None
        if verdict.kind == "accept":
            named = {v["name"]: v["policy"] for v in trial.variants}
            winner = named.get(verdict.winner, trial.child)
        told = {"kind": verdict.kind, "stage": verdict.stage, "reasons": list(verdict.reasons),
                "numbers": dict(verdict.numbers), "winner": verdict.winner}  # fmt: skip
        data = {"trial": trial.number, "verdict": told, "policy": winner, "parent": trial.parent}
        self.run_.meter.record("trial.judged", data | {"cost": dict(trial.spent)})
        self.parts.say(f"trial {trial.number}: {verdict.kind} at {verdict.stage}: {'; '.join(verdict.reasons)}"[:400])

    # --- several trials that are judged together

    def _race_of_its_own(self) -> dict[str, Any]:
        """What the next trial is, if it begins a race."""
        number = len(self.state.trials) + 1
        sources = races.mergeable(self.run_)
        if sources:
            return {"race": number, "merged": sources[0]}
        return {"race": number} if self.proposals > 1 else {}

    def _race(self, first: int) -> None:
        """Whatever is left to do for a race: answers until it is full, verdicts, what is accepted."""
        run = self.run_
        while first not in self.state.races:
            last = self.state.trials[-1]
            self._answered(last)
            more = self._room(first)
            if more is not None:
                base = self.state.together[0].base
                self._new({"race": first, **({} if base == last.parent else {"base": base}), **more})
                continue
            numbers = [trial.number for trial in self.state.together]
            run.meter.record("race.started", {"race": first, "trials": numbers, "draw": self.parts.draw()})
        field = self.state.together
        if any(trial.judged is None for trial in field):
            verdicts = races.judge(run, field)
            for trial in field:
                if trial.judged is None:
                    self._judged(trial, verdicts[trial.number])
        for trial in field:
            if trial.won and trial.accepted is None:
                accept(run, trial)
        self._project()

    def _room(self, first: int) -> dict[str, Any] | None:
        """What one more child of the race is; None when it is full, or nobody has a further idea, or none can be
        paid."""
        run, field = self.run_, self.state.together
        most = self.state.setting("trials")
        if most is not None and len(self.state.trials) >= most:
            return None
        if field[0].merged is not None:
            rest = [source for source in races.mergeable(run) if source not in {t.merged for t in field}]
            return {"merged": rest[0]} if rest else None
        read = field[-1].read
        if len(field) >= self.proposals or read and read["target"] == "stop":
            return None
        return {} if races.affordable(run, first) else None

    def _lines(self) -> list[dict[str, Any]]:
        """What has been tried on this task, without wall times: those differ from machine to machine."""
        lines = read_lines(self.parts.folder)
        for line in lines:
            line["cost"] = {k: v for k, v in line.get("cost", {}).items() if k != "wall_s"}
        return lines
