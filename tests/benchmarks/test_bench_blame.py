"""The benchmark of blame without its games: what is counted as right, what is kept and gone on with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks import attribution as bench_blame
from data_flywheel.attribution.signs import SIGNS
from data_flywheel.attribution.verdict import BOTH, EYES, REFLEXES, WORLD


def row(seed: int, truth: str, who: str, task: str = "pong", **signs: float) -> dict[str, Any]:
    return {
        "task": task, "seed": seed, "truth": truth, "name": "offset ball", "swap": {"who": who},
        "failure": {"kind": "point lost", "step": 90, "since": 0}, "signs": dict.fromkeys(SIGNS, 0.0) | signs,
    }  # fmt: skip


def test_the_report_counts_what_was_planted_against_what_was_said() -> None:
    rows = [
        row(400, EYES, EYES, apart=1.0, gap=8.0), row(401, REFLEXES, BOTH, odd=0.5, miss=20.0, strayed=1.0),
        row(402, EYES, EYES, unanswered=10.0), row(403, WORLD, WORLD, "breakout", unanswered=10.0),
    ]  # fmt: skip
    found = bench_blame.report(rows)
    told, guessed = found["with_teacher"], found["without_teacher"]
    assert told["right"] == guessed["right"] == 0.75 and not found["ok"]
    assert told["matrix"][REFLEXES] == {EYES: 0, REFLEXES: 0, BOTH: 1, WORLD: 0} and told["matrix"][EYES][EYES] == 2
    assert guessed["matrix"][EYES] == {EYES: 1, REFLEXES: 0, BOTH: 0, WORLD: 1}
    assert told["by_task"] == {"breakout": 1.0, "pong": 0.6667}
    assert told["wrong"] == ["pong 401: offset ball -> both"] and guessed["wrong"] == ["pong 402: offset ball -> world"]
    assert sum(r["n"] for r in guessed["reliability"]) == 4
    text = "\n".join(bench_blame.lines({"trials": 4, "harmless": 1, **found}))
    assert "with teacher: 0.750 right (bar 0.90" in text and "planted" in text


class FakeInjector:
    def __init__(self, system: Any) -> None:
        self.system = system

    def close(self) -> None:
        pass


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[str, int, bool]]:
    """What is played; every third fault shows nothing."""
    done: list[tuple[str, int, bool]] = []

    def fault(injector: FakeInjector, seed: int, swap: bool) -> dict[str, Any]:
        done.append((injector.system.name, seed, swap))
        found = row(seed, EYES, EYES, injector.system.name)
        if seed % 3 == 0:
            return {k: v for k, v in found.items() if k not in ("swap", "signs")} | {"truth": None}
        return found if swap else {k: v for k, v in found.items() if k != "swap"}

    monkeypatch.setattr(bench_blame, "HOME", tmp_path)
    monkeypatch.setattr(bench_blame, "Injector", FakeInjector)
    monkeypatch.setattr(bench_blame, "_fault", fault)
    return done


def test_finished_faults_are_not_played_again_and_harmless_ones_not_counted(
    played: list[tuple[str, int, bool]], tmp_path: Path
) -> None:
    found = bench_blame.measure(6, lambda *told: None)
    assert (found["trials"], found["harmless"]) == (6, 2)
    first = list(played)
    assert first == [(task, seed, True) for task in bench_blame.TASKS for seed in range(400, 404)]
    for file in tmp_path.glob("*.jsonl"):
        file.write_text(file.read_text() + '{"seed": 404, "tr')  # killed while it wrote
    assert bench_blame.measure(6, lambda *told: None) == found and played == first
    for _ in range(2):
        assert bench_blame.measure(8, lambda *told: None)["trials"] == 8
        assert played[len(first) :] == [(task, 404, True) for task in bench_blame.TASKS]


def test_fit_and_report_use_seeds_apart() -> None:
    assert not set(bench_blame.FIT) & set(bench_blame.REPORT)
    assert max(*bench_blame.FIT, *bench_blame.REPORT) < 1000
