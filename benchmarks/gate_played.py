"""The gate on episodes really played: equal and better children of a Breakout policy whose games last seconds.

Needs a checkout (benchmarks/ is not installed).
"""

from __future__ import annotations

import json
import resource
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.gate import Outcome, run_trial
from envs.crew import chosen, cores
from supervisor.edits.edits import with_constants
from supervisor.gate.gate import Gate, Pair
from supervisor.gate.seeds import Role, SeedLedger
from triune.errors import TriuneError
from triune.play.evaluation import HOME, evaluate, versions
from triune.play.workers import Record
from triune.system import System, load, sha256

TEXT = Path(__file__).resolve().parent.parent / "benchmarks" / "breakout_unsteady.py"
STORE = HOME / "bench" / "gate" / "episodes.jsonl"
PROTOCOL = "sticky"
EACH = 20  # children judged of each kind
SPREAD = 36.0  # of the better children; the parent has 60
TRUTH = range(0, 300)  # training seeds that show how good each kind truly is
SHOWN = 10  # better children that share them; the equal ones all do
FOLLOWER, FOLLOWED = 10.0, range(300, 380)  # a steadier policy, only recorded: longer games, other scores
PROBES = 60  # selecting seeds beyond which no probe is paid for

Say = Callable[[str], object]


class Scored(NamedTuple):
    """What is kept of one episode: steps by rule that stepped in, and faults, beside the score."""

    score: float
    frames: int
    steps: int
    interventions: dict[str, int]
    faults: int

    def hard(self, soft: Collection[str]) -> float:
        """Interventions of rules that are not `soft`, and faults, per 1000 decisions."""
        hard = sum(n for title, n in self.interventions.items() if title not in soft)
        return 1000.0 * (hard + self.faults) / max(1, self.steps)


class Stopped(TriuneError):
    """The processor time allowed is used up."""


class Stage:
    """Plays policies, and keeps every episode in `store`: nothing is played twice."""

    def __init__(self, store: Path, minutes: float, say: Say) -> None:
        self.store, self.say, self._most = store, say, 60.0 * minutes
        self.soft = frozenset(load("breakout").spec.safety.get("soft", ()))
        self.known: dict[tuple[str, int], Scored] = {}
        self._folder = tempfile.TemporaryDirectory()
        store.parent.mkdir(parents=True, exist_ok=True)
        for line in store.read_bytes().split(b"\n")[:-1] if store.exists() else ():
            at = json.loads(line)
            key = at.pop("policy"), at.pop("seed")
            self.known[key] = Scored(**at)

    def scores(self, values: Mapping[str, float], seeds: Sequence[int]) -> list[Scored]:
        """Of the policy with these constants, in the order of `seeds`."""
        text = with_constants(TEXT.read_text(encoding="utf-8"), values)
        path = Path(self._folder.name) / f"{sha256(text)[:24]}.py"
        path.write_text(text, encoding="utf-8")
        system = load("breakout", isolate=False, policy=path)
        parts = {k: v for k, v in system.hashes().items() if k != "system"}
        key = sha256(json.dumps(parts, sort_keys=True))[:24]
        todo = [s for s in seeds if (key, s) not in self.known]
        if todo:
            self._play(system, key, todo)
        return [self.known[key, s] for s in seeds]

    def _play(self, system: System, key: str, seeds: Sequence[int]) -> None:
        with self.store.open("ab") as file:
            if file.tell() and not self.store.read_bytes().endswith(b"\n"):  # cut off by a kill
                file.truncate(self.store.read_bytes().rfind(b"\n") + 1)

            def keep(done: int, total: int, record: Record | None) -> None:
                assert record is not None
                made = Scored(*(record[name] for name in Scored._fields))
                self.known[key, record["seed"]] = made
                file.write(json.dumps({"policy": key, "seed": record["seed"], **made._asdict()}).encode() + b"\n")
                file.flush()

            evaluate(system, PROTOCOL, seeds, workers=1 if chosen() == "local" else cores(), progress=keep)
        if _processor_seconds() > self._most:
            raise Stopped(
                f"{self._most / 60:.0f} minutes of processor time are used up; run the command again to go on"
            )


def _processor_seconds() -> float:
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(u.ru_utime + u.ru_stime for u in used)


def measure(say: Say, minutes: float = 40.0, store: Path = STORE) -> dict[str, Any]:
    """Recorded scores and judged children, as JSON values. Stopped when `minutes` of processor time are used up."""
    if not TEXT.is_file():
        raise TriuneError("`triune bench gate --real` plays a policy of benchmarks/, which only a checkout has")
    stage = Stage(store, minutes, say)
    gate, recorded = Gate(), {"unsteady": _rough(stage)}
    trials = list(_judge(stage, gate))
    recorded["follower"] = _calm(stage)
    system = load("breakout")
    return {
        "format": 1, "command": "triune bench gate --real", "task": "breakout", "protocol": PROTOCOL,
        "policy": sha256(TEXT.read_bytes()), "hashes": system.hashes(), "versions": versions(system.spec.env),
        "config": {k: v for k, v in asdict(gate.config).items() if k != "limits"}, "probes": PROBES,
        "recorded": recorded, "cards": _cards(), "trials": trials, "episodes": len(stage.known),
        "frames": sum(s.frames for s in stage.known.values()),
    }  # fmt: skip


def children(kind: str) -> list[dict[str, float]]:
    """Constants of the children judged: other errors of the same size, or smaller errors."""
    if kind == "equal":
        return [{"SALT": 2.0 + i} for i in range(EACH)]
    return [{"SALT": 102.0 + 2 * i, "SPREAD": SPREAD} for i in range(EACH)]


def _rough(stage: Stage) -> dict[str, Any]:
    """Scores on training seeds: of each kind, its children in turn."""
    kinds: dict[str, list[dict[str, float]]] = {
        "parent": [{}], "equal": children("equal"), "better": children("better")[:SHOWN]
    }  # fmt: skip
    return _told(f"SPREAD 60; better {SPREAD:g}", TRUTH, {k: _in_turn(stage, who, TRUTH) for k, who in kinds.items()})


def _calm(stage: Stage) -> dict[str, Any]:
    """Scores of two equal policies that play longer games."""
    pair = {kind: {"SPREAD": FOLLOWER, "SALT": salt} for kind, salt in (("parent", 1.0), ("equal", 2.0))}
    found = {kind: _in_turn(stage, [values], FOLLOWED) for kind, values in pair.items()}
    return _told(f"SPREAD {FOLLOWER:g}", FOLLOWED, found)


def _told(constants: str, seeds: range, scores: dict[str, list[float]]) -> dict[str, Any]:
    return {"seeds": [seeds.start, seeds.stop], "constants": constants, "scores": scores}


def _in_turn(stage: Stage, policies: Sequence[Mapping[str, float]], seeds: range) -> list[float]:
    """Seed i by policy i modulo their number."""
    found: dict[int, float] = {}
    for i, values in enumerate(policies):
        mine = seeds[i :: len(policies)]
        found |= dict(zip(mine, (s.score for s in stage.scores(values, mine)), strict=True))
    scores = [found[s] for s in seeds]
    stage.say(f"{_name(policies[0])} and {len(policies) - 1} more: mean {np.mean(scores):.2f}, n {len(scores)}")
    return scores


def _cards() -> dict[str, Any]:
    """Scores near their ceiling, from the score cards of the zoo."""
    from triune.report.card import read_scores

    found = {}
    for task, detector in (("pong", ""), ("breakout", "teacher")):
        card = read_scores(load(task).folder)[PROTOCOL]
        card = card[detector] if detector else card
        found[f"{task}, shipped policy{', perfect sight' if detector else ''}"] = {
            "scores": card["scores"], "command": card["command"]
        }  # fmt: skip
    return found


def _judge(stage: Stage, gate: Gate) -> Iterator[dict[str, Any]]:
    """Every child against the same parent, with the ledger that a run would keep."""
    ledger = SeedLedger()
    for pair in zip(children("equal"), children("better"), strict=True):
        for kind, values in zip(("equal", "better"), pair, strict=True):
            began = time.monotonic()
            outcome = _trial(stage, gate, ledger, values)
            told = outcome.verdict.kind, outcome.verdict.stage, outcome.seeds
            took = time.monotonic() - began
            stage.say(f"{kind} {_name(values)}: {told[0]} at {told[1]}, {told[2]} seeds, {took:.0f} s")
            yield {
                "kind": kind, "constants": values, "verdict": told[0], "stage": told[1],
                "reasons": list(outcome.verdict.reasons), "selecting": outcome.selecting,
                "confirming": outcome.confirming,
                "numbers": {k: round(v, 4) for k, v in outcome.verdict.numbers.items()},
            }  # fmt: skip


def _trial(stage: Stage, gate: Gate, ledger: SeedLedger, values: Mapping[str, float]) -> Outcome:
    name = _name(values)

    def play(seeds: Sequence[int]) -> dict[int, Pair]:
        pairs = zip(seeds, stage.scores({}, seeds), stage.scores(values, seeds), strict=True)
        soft = stage.soft
        return {seed: Pair(old.score, new.score, old.hard(soft), new.hard(soft)) for seed, old, new in pairs}

    def block(role: Role) -> Sequence[int]:
        return ledger.select(name, "parent") if role == "select" else ledger.confirm(name, "parent")

    return run_trial(gate, play, block, PROBES)


def _name(values: Mapping[str, float]) -> str:
    return ", ".join(f"{k} {v:g}" for k, v in values.items()) or "parent"
