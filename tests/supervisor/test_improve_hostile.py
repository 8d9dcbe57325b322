"""Broken and hostile answers through the whole loop: none is accepted, each stops at a named stage, nothing changes.

Texts are compiled, and their behaviour compared, by the real arena in isolated workers. What is played is made up,
except in the last test: no hostile policy plays better than the parent, some play as well.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from improve_kit import Place, Scripted, draw, improve
from proposer_kit import POLICY, Against, Hostile, hostile

from supervisor.gate.types import STAGES
from supervisor.loop.loop import Ended
from supervisor.protocols import Score
from triune.play.evaluator import TaskEvaluator
from triune.system import load

LATEST = {"schema": "schema", "compile": "compile", "judged": "confirm"}
SAMPLE, ALL = 55, 1200


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting for the disk proves nothing here."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


class MadeUpPlay(TaskEvaluator):
    """The parent's training episode is real and recorded once; gate episodes are made up."""

    kept: Any = None

    def record(self, text: str, seeds: Sequence[int]) -> list[Any]:
        assert text == POLICY, "only the parent is recorded: nothing is accepted"
        self.kept = self.kept or super().record(text, [0])
        return list(self.kept) * len(seeds)

    def play(self, games: Sequence[tuple[str, int]]) -> Iterator[tuple[str, Score]]:
        for text, seed in games:
            shared, own = draw("game", seed).gauss(0, 8), draw(text, seed).gauss(0, 4)
            gift = 3.0 if text == POLICY else 0.0
            yield text, Score(seed, 20 + gift + shared + own, 0.0, 2000, 500)


def evaluator(path: Path, kind: type[TaskEvaluator]) -> TaskEvaluator:
    return kind(load("breakout"), "sticky", "cnn", path / "work", floors=False)


def judged(path: Path, attacks: list[Hostile], kind: type[TaskEvaluator] = MadeUpPlay) -> tuple[Place, Ended]:
    """Every attack as one trial of one run on a folder with POLICY; asserts what must hold whatever they are."""
    place = Place(path)
    (place.folder / "policy.py").write_text(POLICY)
    ended = improve(
        path / "run", place.folder, Scripted([a.text for a in attacks]), evaluator(path, kind), trials=len(attacks),
        rules=Against().rules,
    )  # fmt: skip
    assert ended.why == "trials" and len(ended.state.trials) == len(attacks)
    for attack, trial in zip(attacks, ended.state.trials, strict=True):
        verdict = trial.verdict
        assert verdict is not None and verdict["kind"] != "accept", (attack.kind, attack.text[:500])
        assert verdict["reasons"] and verdict["stage"] in STAGES, attack.kind
        latest = STAGES.index(LATEST[attack.stage])  # type: ignore[arg-type]
        assert STAGES.index(verdict["stage"]) <= latest, (attack.kind, verdict, attack.text[:500])
    assert place.policy == POLICY and not (place.folder / "locks").exists()
    assert hashlib.sha256(POLICY.encode()).hexdigest() == ended.state.incumbent
    assert [line["accepted"] for line in place.lines] == [None] * len(attacks)
    return place, ended


def test_a_sample_of_attacks_fails(tmp_path: Path) -> None:
    attacks = list(hostile(SAMPLE, seed=5))
    assert {a.stage for a in attacks} == set(LATEST), "the sample holds attacks of every depth"
    judged(tmp_path, attacks)


@pytest.mark.slow
def test_a_thousand_attacks_fail(tmp_path: Path) -> None:
    _, ended = judged(tmp_path, list(hostile(ALL)))
    reached = {t.verdict["stage"] for t in ended.state.trials if t.verdict}
    assert {"schema", "compile", "duplicate"} <= reached and reached & {"screen", "full", "probe", "confirm"}


@pytest.mark.slow
def test_attacks_that_compile_lose_really_played(tmp_path: Path) -> None:
    found = [a for a in hostile(400, seed=9) if a.stage == "judged"][:8]
    _, ended = judged(tmp_path, found, TaskEvaluator)
    assert {"screen", "full"} & {t.verdict["stage"] for t in ended.state.trials if t.verdict}
