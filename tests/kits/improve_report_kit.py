"""Makes up an improve run: real log, budgets, edits and gate; scores, answers, seed blocks and time are invented.

`fabricate(folder)` writes events.jsonl and blobs/ as the loop would. What happens in it is told in improve_ideas.py.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from gate_kit import AT_ONCE
from improve_ideas import IDEAS, ROOT_LEVEL, ROOT_POLICY, SIMPLER, Idea

from supervisor.budget import UNKNOWN, Budgets, BudgetSpent
from supervisor.edits.edits import EditError, apply
from supervisor.events import EventLog, plain
from supervisor.gate.gate import Ask, Evidence, Gate, GateConfig, Pair, Simpler, Verdict

GATE = GateConfig(
    **AT_ONCE, screen=5, looks=(20, 40, 60), spend=(0.05, 0.04, 0.04), hopeful=(0.5, 0.4, 0.3), worse_at=0.1,
    confirm_least=15, confirm_most=60, confirm_level=0.2, limits={"latency_ms": 1.0},
)  # fmt: skip
LIMITS = {"usd": 2.0, "tokens": 400_000.0, "steps": 1_000_000.0, "wall_s": 14_400.0}
LARGER = {**LIMITS, "steps": 4_000_000.0}


def sha(text: str | bytes) -> str:
    return hashlib.sha256(text.encode() if isinstance(text, str) else text).hexdigest()


class Clock:
    """Seconds that pass only when told to."""

    def __init__(self) -> None:
        self.now = 1_760_000_000.0

    def __call__(self) -> float:
        self.now += 0.25
        return self.now


@dataclass
class World:
    """What policies are worth: a level each, and luck that depends on seed and policy alone."""

    levels: dict[str, tuple[float, float]] = field(default_factory=dict)  # sha -> (level, spread)
    hard: dict[str, float] = field(default_factory=dict)
    fading: dict[tuple[str, int], float] = field(default_factory=dict)  # what a fresh seed takes off

    def score(self, policy: str, seed: int) -> int:
        level, spread = self.levels[policy]
        level -= self.fading.get((policy, seed), 0.0)
        shared = np.random.default_rng(seed).normal(0, 7)
        own = np.random.default_rng([seed, int(policy[:8], 16)]).normal(0, spread)
        return max(0, round(level + shared + own))


class Story:
    """One process of the run; `begin` or `resume`, then `trial` after `trial`, then `stop`."""

    def __init__(self, folder: Path, clock: Clock, world: World, limits: dict[str, float | None], priced: bool) -> None:
        self.folder, self.clock, self.world, self.priced = folder, clock, world, priced
        self.log = EventLog.open(folder / "events.jsonl", now=clock)
        self.budgets = Budgets(**limits, events=self.log.events, record=self.log.append)
        self.gate = Gate(GATE)
        self.blocks: dict[str, int] = {}  # parent -> first seed of the block that selects its children
        self.opened = 0
        self.texts: dict[str, str] = {}
        self.scores: dict[tuple[str, int], int] = {}
        self.known: dict[str, str] = {}
        self.policy = self.put(ROOT_POLICY)
        self.limits, self.again = limits, False

    def tell(self, kind: str, data: dict[str, Any]) -> None:
        """Append an event, unless the trial that goes on has told it before it was interrupted."""
        known = ((e.kind, e.data) for e in self.log.events) if self.again else ()
        if (kind, plain(data)) not in known:
            self.log.append(kind, data)

    def put(self, text: str | bytes) -> str:
        data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
        path = self.folder / "blobs" / sha(data)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        if isinstance(text, str):
            self.texts[sha(data)] = text
        return sha(data)

    def begin(self, task: str, proposer: str, trials: int, hashes: Mapping[str, str | None] | None) -> None:
        gate = {k: v for k, v in plain(dataclasses.asdict(GATE)).items()}
        hashes = hashes or {name: sha(name) for name in ("safety", "eyes", "system", "schema")}
        self.log.append(
            "run.started",
            {
                "run": f"{task}-made-up", "task": task, "folder": f"zoo/{task}", "protocol": "sticky",
                "eyes": "teacher", "proposer": proposer, "lineage": {}, "judged": {}, "policy": self.policy,
                "settings": {"trials": trials, "shown": 4, "auto_lock": True, "gate": gate, "limits": self.limits},
                "versions": {"triune": "0.1.0", "python": "3.12.1", "numpy": "2.1.0", "ale-py": "0.11.0"},
                "hashes": {**hashes, "policy": self.policy},
            },
        )  # fmt: skip

    def resume(self, before: Story) -> None:
        self.texts, self.scores, self.known = before.texts, before.scores, before.known
        self.policy, self.blocks, self.opened = before.policy, before.blocks, before.opened
        self.again = True
        self.log.append("run.resumed", {"trials": 16, "limits": self.limits})

    def stop(self, why: str, detail: str) -> None:
        self.log.append("run.stopped", {"why": why, "detail": detail})
        self.log.close()

    # -- one trial

    def trial(self, number: int, idea: Idea, proposer: str = "openai") -> None:
        began, spent = self.clock.now, dict(self.budgets.known)
        self.tell("trial.started", {"trial": number, "parent": self.policy})
        if not self.again:
            self._ask(number, idea, proposer)
        if idea.fails:
            reason = f"no answer: {idea.fails}"
            self._tell(number, Verdict("invalid", "schema", (reason,)), None, {"steps": 0.0}, began)
            return
        child, defects = self._read(number, idea)
        evidence = Evidence(schema=defects, known={h: who for h, who in self.known.items() if who != f"trial {number}"})
        verdict = self._judge(number, idea, child, evidence)
        self._tell(number, verdict, child, {k: v - spent[k] for k, v in self.budgets.known.items()}, began)

    def _ask(self, n: int, idea: Idea, proposer: str) -> None:
        request = self.put(json.dumps({"format": 1, "task": "breakout", "trial": n}))
        made = {"trial": n, "request": request, "key": request, "images": [], "characters": 21_400 + 350 * n}
        self.log.append("evidence.made", {**made, "tokens_estimate": 5_600 + 90 * n})
        for i in range(idea.tried):
            values, seeds = {"SLACK": float(i % 5)}, [7, 8, 9]
            bill = self.budgets.reserve("training episodes", steps=9_000)
            tried = {"trial": n, "values": values, "seeds": seeds, "scores": [20.0 + i, 18.0, 25.0], "frames": 8_400}
            bill.settle("tuner.tried", tried, steps=8_400)
        if idea.tried:
            return
        tokens, seconds = 6_200 + 140 * n, 24.0 + 3 * n
        usd: float | str = round(tokens * 4e-6, 6) if self.priced else UNKNOWN
        worst: float | str = 0.12 if self.priced else UNKNOWN
        bill = self.budgets.reserve("proposal", usd=worst, tokens=30_000, wall_s=120)
        self.clock.now += seconds
        if idea.fails:
            failed = {"trial": n, "message": idea.fails, "fatal": False}
            bill.settle("proposal.failed", failed, usd=usd, tokens=tokens, wall_s=seconds)
            return
        answer = self.put(json.dumps(idea.answer()))
        told = {"trial": n, "proposer": proposer, "answer": answer, "turns": None}
        told["usage"] = {"tokens": tokens, "usd": usd, "seconds": seconds}
        bill.settle("proposal.received", told, usd=usd, tokens=tokens, wall_s=seconds)

    def _read(self, n: int, idea: Idea) -> tuple[str | None, tuple[str, ...]]:
        child, defects = None, ()
        try:
            child = self.put(idea.whole or apply(self.texts[self.policy], idea.changes))
        except EditError as error:
            defects = (str(error),)
        answer = {**idea.answer(), "child": child, "defects": list(defects)}
        self.tell("proposal.read", {"trial": n, **answer})
        return child, defects

    def _judge(self, n: int, idea: Idea, child: str | None, e: Evidence) -> Verdict:
        if child:
            level = self.world.levels[self.policy][0]
            self.world.levels.setdefault(child, (level + idea.gain, idea.spread))
            self.world.hard.setdefault(child, idea.hard)
        while True:
            step = self.gate.next(e)
            if isinstance(step, Verdict):
                return step
            if idea.declines and step.stage == idea.declines:
                return self.gate.conclude(e)
            e = self._answer(n, idea, child or "", e, step)

    def _answer(self, n: int, idea: Idea, child: str, e: Evidence, ask: Ask) -> Evidence:
        if ask.stage == "compile":
            defects = [idea.compile] if idea.compile else []
            measured = {"operations": 41.0, "nodes": 130.0, "latency_ms": idea.latency}
            told = {"trial": n, "policy": child, "defects": defects, "measured": measured}
            self.tell("gate.compiled", told)
            return dataclasses.replace(e, compile=tuple(defects), measured=measured)
        if ask.stage == "locks":
            locks = {"serve-at-start": True, "first-return": not idea.breaks}
            self.tell("gate.locks", {"trial": n, "policy": child, "locks": locks})
            return dataclasses.replace(e, locks=locks)
        if ask.stage == "duplicate":
            behaviour = next(iter(self.known)) if idea.duplicate else sha("behaviour" + child)
            self.tell("gate.behaviour", {"trial": n, "policy": child, "hash": behaviour})
            if not idea.duplicate:
                self.known[behaviour] = f"trial {n}"
            return dataclasses.replace(e, behaviour=behaviour)
        if ask.stage == "simplify" and not ask.seeds:
            return dataclasses.replace(e, child_size=400.0, simpler=self._variants(n, idea))
        if ask.stage == "simplify":
            pairs = self._pairs(n, ask.who, self._variant(idea), ask.seeds)
            return dataclasses.replace(e, simpler=tuple(dataclasses.replace(s, pairs=pairs) for s in e.simpler or ()))
        return self._seeds(n, idea, child, e, ask)

    def _seeds(self, n: int, idea: Idea, child: str, e: Evidence, ask: Ask) -> Evidence:
        confirm = ask.stage == "confirm"
        if ask.count:
            seeds = self._block("" if confirm else self.policy, ask.count)
            if confirm:
                self.world.fading |= {(child, s): idea.fades for s in seeds}
            role = "confirm" if confirm else "select"
            self.tell("gate.seeds", {"trial": n, "role": role, "seeds": list(seeds)})
            return dataclasses.replace(e, **{"confirm_seeds" if confirm else "full_seeds": seeds})
        pairs = {**(e.confirm if confirm else e.full), **self._pairs(n, "child", child, ask.seeds)}
        return dataclasses.replace(e, **{"confirm" if confirm else "full": pairs})

    def _block(self, parent: str, count: int) -> tuple[int, ...]:
        """The block of a parent, or a fresh one for nobody."""
        if parent not in self.blocks or not parent:
            self.blocks[parent] = 1000 + 100 * self.opened
            self.opened += 1
        return tuple(range(self.blocks[parent], self.blocks[parent] + count))

    def _variant(self, idea: Idea) -> str:
        text = apply(self.texts[self.policy], SIMPLER)
        name = self.put(text)
        self.world.levels.setdefault(name, (self.world.levels[self.policy][0] + idea.variant, 4.0))
        return name

    def _variants(self, n: int, idea: Idea) -> tuple[Simpler, ...]:
        if not idea.variant:
            return ()
        told = {"name": "without the serve", "policy": self._variant(idea), "size": 210.0, "sound": True}
        self.log.append("gate.variant", {"trial": n, **told})
        return (Simpler("without the serve", 210.0),)

    def _pairs(self, n: int, who: str, child: str, seeds: Sequence[int]) -> dict[int, Pair]:
        self._play(n, "parent", self.policy, seeds)
        new = self._play(n, who, child, seeds)
        hard = self.world.hard.get(child, 0.0)
        return {s: Pair(self.scores[self.policy, s], new[s], 0.0, hard) for s in seeds}

    def _play(self, n: int, who: str, policy: str, seeds: Sequence[int]) -> dict[int, int]:
        for seed in (s for s in seeds if (policy, s) not in self.scores):
            score = self.world.score(policy, seed)
            frames = 4 * (210 + 13 * score)
            bill = self.budgets.reserve("episode", steps=9_000, wall_s=6)
            self.clock.now += frames / 3000
            told = {"trial": n, "who": who, "policy": policy, "seed": seed, "score": float(score)}
            told |= {"hard": self.world.hard.get(policy, 0.0), "frames": frames, "decisions": frames // 4}
            bill.settle("gate.episode", told, steps=frames, wall_s=round(frames / 3000, 3))
            self.scores[policy, seed] = score
        return {s: self.scores[policy, s] for s in seeds}

    def _tell(self, n: int, v: Verdict, child: str | None, cost: dict[str, float], began: float) -> None:
        won = None
        if v.kind == "accept":
            named = [e.data["policy"] for e in self.log.events if e.kind == "gate.variant" and e.data["trial"] == n]
            won = child if v.winner == "child" else named[-1]
        unknown = {} if self.priced else {"usd": UNKNOWN}
        bill = {**cost, **unknown, "wall_s": round(self.clock.now - began, 3)}
        verdict = {"kind": v.kind, "stage": v.stage, "reasons": list(v.reasons), "winner": v.winner}
        verdict["numbers"] = dict(v.numbers)
        judged = {"trial": n, "verdict": verdict, "policy": won, "parent": self.policy, "cost": bill}
        self.log.append("trial.judged", judged)
        if won:
            self.policy = won
            made = {"trial": n, "policy": won, "locks": [f"auto-r{n:02d}-310"], "files": {}, "note": ""}
            self.log.append("policy.accepted", made)


def fabricate(
    folder: Path, ideas: Sequence[Idea] = IDEAS, task: str = "breakout", priced: bool = True, ends: bool = True,
    proposer: str = "openai", hashes: Mapping[str, str | None] | None = None,
) -> Path:  # fmt: skip
    """Write a whole run: it stops for lack of steps in the middle, is torn by a kill, resumed and (or not) ended."""
    with mock.patch("os.fsync"):  # nobody pulls the plug here
        story = _begun(folder, Clock(), task, priced, proposer, len(ideas), hashes)
        for number, idea in enumerate(ideas, 1):
            try:
                story.trial(number, idea, proposer)
            except BudgetSpent as error:
                story.stop("budget", str(error))
                story = _resumed(story)
                story.trial(number, idea, proposer)
                story.again = False
        if ends:
            story.stop("trials", f"{len(ideas)} trials")
        story.log.close()
    return folder


def _begun(
    folder: Path, clock: Clock, task: str, priced: bool, proposer: str, trials: int,
    hashes: Mapping[str, str | None] | None,
) -> Story:  # fmt: skip
    world = World({sha(ROOT_POLICY): (ROOT_LEVEL, 5.0)})
    story = Story(folder, clock, world, LIMITS if priced else {**LIMITS, "usd": None}, priced)
    story.begin(task, proposer, trials, hashes)
    return story


def _resumed(before: Story) -> Story:
    """A start that was killed while it wrote left half a line; a day later it goes on, stops, and goes on."""
    with (before.folder / "events.jsonl").open("ab") as file:
        file.write(b'{"n":9999,"at":17600')
    before.clock.now += 86_400
    with EventLog.open(before.folder / "events.jsonl", now=before.clock) as log:
        log.append("run.resumed", {"trials": 16, "limits": LIMITS})
    after = Story(before.folder, before.clock, before.world, LARGER, before.priced)
    after.resume(before)
    return after
