"""An improve run without a game: scripted answers, scores that follow from the text and the seed, no clock."""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from gate_kit import AT_ONCE

from data_flywheel.episodes.episode import Episode, EpisodeRecorder
from supervisor.events import EventLog
from supervisor.gate.gate import GateConfig
from supervisor.loop.folder import read_lines
from supervisor.loop.loop import Ended, Loop
from supervisor.loop.parts import Parts, Settings, Situation
from supervisor.protocols import Compiled, Reply, Request, Score, Section, Usage

ROOT_POLICY = '''"""Hold still."""

SKILL = 10
NOISE = 4


def act(scene, memory):
    return NOOP, "wait"
'''
GATE = GateConfig(
    **AT_ONCE, screen=3, looks=(8, 16), spend=(0.05, 0.02), hopeful=(0.5, 0.4), confirm_least=6, confirm_most=20
)


def number(text: str, name: str, default: float) -> float:
    found = re.search(rf"^{name} = (-?[0-9.]+)", text, re.M)
    return float(found.group(1)) if found else default


def draw(*what: object) -> random.Random:
    """Random numbers that follow from `what` alone."""
    return random.Random(hashlib.sha256(repr(what).encode()).digest())


class FakeArena:
    """A text scores SKILL plus noise that it shares with every other text on the same seed, plus noise of its own.

    BROKEN = 1 breaks the lock "kept", HARD = x has hard interventions, FAIL = 1 does not compile, ODD = 1 gives NaN.
    """

    frames_per_episode = 50.0
    floors = 0
    floor_frames = 0

    def __init__(self) -> None:
        self.played: list[tuple[str, int]] = []

    def watch(self, episodes: Sequence[Episode]) -> None:
        pass

    def reload(self) -> None:
        pass

    def compile(self, text: str) -> Compiled:
        if number(text, "FAIL", 0):
            return Compiled(("line 1: it does not compile",))
        return Compiled((), {"ops": float(len(text))})

    def locks(self, text: str) -> Mapping[str, bool]:
        return {"kept": not number(text, "BROKEN", 0), "never": False}

    def behaviour(self, text: str) -> str:
        told = [number(text, name, 0) for name in ("SKILL", "NOISE", "HARD", "ODD")]
        return hashlib.sha256(repr(told).encode()).hexdigest()

    def _score(self, text: str, seed: int) -> Score:
        own = draw(text, seed).gauss(0, number(text, "NOISE", 4))
        score = number(text, "SKILL", 10) + draw("game", seed).gauss(0, 10) + own
        if number(text, "ODD", 0):
            score = float("nan")
        return Score(seed, round(score, 3), number(text, "HARD", 0), 40 + seed % 7, 10)

    def play(self, games: Sequence[tuple[str, int]]) -> Iterator[tuple[str, Score]]:
        for text, seed in draw(*games).sample(list(games), len(games)):
            self.played.append((text, seed))
            yield text, self._score(text, seed)

    def close(self) -> None:
        pass

    def record(self, text: str, seeds: Sequence[int]) -> list[Episode]:
        return [self._episode(text, s) for s in seeds]

    def _episode(self, text: str, seed: int) -> Episode:
        from logic.runtime.controller import Decision

        recorder = EpisodeRecorder({"seed": seed, "task": "fake"})
        for i in range(40):
            recorder.add(np.zeros(3, np.float32), Decision(i % 2, "wait", i % 2), i // 30, 5)
        score = self._score(text, seed)
        return recorder.finish(score=score.score, frames=score.frames, finished=True)

    def frames(self, episode: Episode, steps: Sequence[int]) -> list[Any]:
        return [np.zeros((8, 8, 3), np.uint8) for _ in steps]

    def settled(self, texts: Sequence[str], episode: Episode) -> tuple[Any, int]:
        return np.ones(len(episode), bool), 0

    def floor_text(self, episode: Episode, floor: int, name: str, note: str) -> str:
        return json.dumps({"name": name, "seed": episode.meta["seed"], "floor": floor}) + "\n"

    def lock_text(self, text: str, episode: Episode, steps: range, name: str, note: str) -> str:
        return json.dumps({"name": name, "steps": [steps.start, steps.stop]}) + "\n"


class Scripted:
    """Answers from a list, by the number of the trial; `tokens` each."""

    name = "scripted"

    def __init__(self, answers: Sequence[str], tokens: float = 7.0) -> None:
        self.answers, self.tokens = answers, tokens
        self.asked: list[Request] = []

    def estimate(self, request: Request) -> Mapping[str, float]:
        return {"tokens": 10.0, "usd": 0.0}

    def propose(self, request: Request) -> Reply:
        self.asked.append(request)
        text = self.answers[(request.trial - 1) % len(self.answers)]
        return Reply(text, Usage(self.tokens, 0.0, 0.0), ({"said": text[:20]},))


def answer(edit: Sequence[Mapping[str, str]], **words: Any) -> str:
    """A well-formed answer."""
    told = {
        "diagnosis": "it stands still", "target": "logic", "hypothesis": "more skill scores more",
        "prediction": "the mean rises by 2", "edit": list(edit), "new_locks": [], "data_requests": [],
        "lesson": "skill is not enough",
    }  # fmt: skip
    return json.dumps(told | words)


def constant(name: str, value: float, add: bool = False) -> dict[str, str]:
    return {"add" if add else "replace": name, "code": f"{name} = {value}"}


def script(seed: int, n: int) -> list[str]:
    """Mixed answers: better, worse, equal, broken, several changes at once, nonsense."""
    chance, skill, made = random.Random(seed), 10.0, []
    for i in range(n):
        kind = chance.choice(("better", "better", "much", "worse", "same", "two", "lock", "compile", "bad", "name"))
        if kind == "better":
            made.append(answer([constant("SKILL", skill + chance.choice((1, 2, 4)))]))
        elif kind == "much":
            skill += 8
            made.append(answer([constant("SKILL", skill)]))
        elif kind == "worse":
            made.append(answer([constant("SKILL", skill - 5)]))
        elif kind == "same":
            made.append(answer([{"replace": "act", "code": f'def act(scene, memory):\n    return NOOP, "w{i}"'}]))
        elif kind == "two":
            skill += 9
            more = {"replace": "act", "code": f'def act(scene, memory):\n    return NOOP, "also {i}"'}
            made.append(answer([constant("SKILL", skill), more]))
        elif kind == "lock":
            made.append(answer([constant("BROKEN", 1, True), constant("SKILL", skill + 9)]))
        elif kind == "compile":
            made.append(answer([constant("FAIL", 1, True)]))
        else:
            made.append("{nonsense" if kind == "bad" else answer([constant("SKIL", 3)]))
    return made


def evidence(situation: Situation) -> Request:
    """Enough to tell one question from another."""
    tried = "\n".join(f"{line['trial']} {line['verdict']} {line['lesson']}" for line in situation.lines)
    told = {"budgets": situation.budgets, "training": {str(k): v for k, v in situation.training.items()}}
    sections = (Section("tried", tried), Section("told", json.dumps(told, sort_keys=True)))
    return Request("fake", situation.trial, situation.policy, sections)


def make_folder(folder: Path, policy: str = ROOT_POLICY) -> Path:
    """A task's folder, as far as the loop looks at it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "policy.py").write_text(policy)
    (folder / "safety.py").write_text("def rule(scene, memory, action):\n    return action\n")
    return folder


def hashes(folder: Path) -> dict[str, str | None]:
    return {
        n: hashlib.sha256((folder / f"{n}.py").read_bytes()).hexdigest() for n in ("policy", "safety")
    }  # fmt: skip


def parts(home: Path, folder: Path, proposer: Any, evaluator: Any = None, rules: Collection[str] = ("rule",)) -> Parts:
    return Parts(
        home, folder, proposer, evaluator or FakeArena(), evidence, lambda: hashes(folder), lambda: 0.0,
        rules=frozenset(rules), about={"task": "fake", "protocol": "none", "eyes": "none", "versions": {}},
        draw=DRAW,
    )  # fmt: skip


def DRAW() -> str:
    """A test replaces it where seeds are drawn."""
    return ""


def improve(
    home: Path, folder: Path, proposer: Any, evaluator: Any = None, *, trials: int | None = None,
    limits: Mapping[str, float | None] | None = None, gate: GateConfig = GATE, only_evidence: bool = False,
    rules: Collection[str] = ("rule",), **more: Any,
) -> Ended:  # fmt: skip
    """Start or resume a run."""
    with EventLog.open(home / "events.jsonl", now=lambda: 0.0) as log:
        settings = Settings(trials=trials, shown=2, limits=limits or {}, gate=gate, **more)
        root = (folder / "policy.py").read_text()
        return Loop(parts(home, folder, proposer, evaluator, rules), settings, log, root).run(only_evidence)


def ledger(home: Path, folder: Path) -> dict[str, Any]:
    """Everything that must not depend on interruptions."""
    from supervisor.events import read

    files = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            files[str(path.relative_to(folder))] = path.read_bytes()
    judged = [dict(e.data) for e in read(home / "events.jsonl") if e.kind in ("trial.judged", "policy.accepted")]
    return {"files": files, "judged": judged}


class Place:
    """A task's folder and runs on it."""

    def __init__(self, path: Path) -> None:
        self.path, self.folder = path, make_folder(path / "task")

    def run(self, answers: Sequence[str], run: str = "run", **more: Any) -> Ended:
        return improve(self.path / run, self.folder, Scripted(answers), trials=more.pop("trials", len(answers)), **more)

    @property
    def policy(self) -> str:
        return (self.folder / "policy.py").read_text()

    @property
    def lines(self) -> list[dict[str, Any]]:
        return read_lines(self.folder)


def verdicts(ended: Ended) -> list[tuple[str, str]]:
    return [(t.verdict["kind"], t.verdict["stage"]) for t in ended.state.trials if t.verdict]
