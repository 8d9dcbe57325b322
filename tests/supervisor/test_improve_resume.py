"""A run that is killed at any instant and resumed ends with the same ledger as one that was left alone."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path

import pytest
from improve_kit import Scripted, improve, ledger, make_folder, script

from supervisor.budget import Budgets
from supervisor.events import read

TRIALS = 8


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed process loses nothing that the system has: waiting for the disk proves nothing here."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def whole(tmp_path: Path, seed: int) -> tuple[dict[str, object], float]:
    """The ledger of an undisturbed run, and the frames that it took."""
    home, folder = tmp_path / "whole" / "run", make_folder(tmp_path / "whole" / "task")
    ended = improve(home, folder, Scripted(script(seed, TRIALS)), trials=TRIALS)
    assert ended.why == "trials"
    return ledger(home, folder), ended.budgets["steps"]["at_least"]


def killed(home: Path, folder: Path, seed: int, strike: int, how: str) -> bool:
    """Go on with the run in a child that kills itself at its `strike`-th change of a file; whether it did."""
    pid = os.fork()
    if pid == 0:
        try:
            from events_kit import arm

            arm(strike, how)
            improve(home, folder, Scripted(script(seed, TRIALS)), trials=TRIALS)
        finally:
            os._exit(0)
    _, status = os.waitpid(pid, 0)
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def chain(tmp_path: Path, seed: int, longest: int, most: int) -> int:
    """Kill a run again and again until it is done; how often. Its ledger is that of the undisturbed run."""
    expected, frames = whole(tmp_path, seed)
    home, folder = tmp_path / "run", make_folder(tmp_path / "task")
    chance, kills = random.Random(seed), 0
    while kills < most and killed(
        home, folder, seed, chance.randint(1, longest), chance.choice(("before", "after", "half"))
    ):
        kills += 1
    ended = improve(home, folder, Scripted(script(seed, TRIALS)), trials=TRIALS)
    assert ended.why == "trials"
    assert ledger(home, folder) == expected
    assert ended.budgets["steps"]["at_least"] == frames, "work that a kill threw away was paid for twice"
    assert Budgets(events=read(home / "events.jsonl")).reserved == {}
    return kills


def test_killed_runs_end_like_undisturbed_ones(tmp_path: Path) -> None:
    assert chain(tmp_path, seed=3, longest=160, most=1000) >= 10


@pytest.mark.slow
def test_a_hundred_kills(tmp_path: Path) -> None:
    assert sum(chain(tmp_path / str(seed), seed, 160, 1000) for seed in range(20, 28)) >= 100


def test_the_comparison_can_fail(tmp_path: Path) -> None:
    one, _ = whole(tmp_path / "a", 3)
    two, _ = whole(tmp_path / "b", 4)
    assert one != two


@pytest.mark.parametrize("steps", [150.0, 700.0, 1500.0])
def test_a_budget_stop_resumes(tmp_path: Path, steps: float) -> None:
    expected, _ = whole(tmp_path, 3)
    home, folder = tmp_path / "run", make_folder(tmp_path / "task")
    ended = improve(home, folder, Scripted(script(3, TRIALS)), trials=TRIALS, limits={"steps": steps})
    assert ended.why == "budget" and "steps" in ended.detail
    assert ended.budgets["steps"]["at_least"] <= steps + 100  # an episode may be longer than foreseen
    assert ended.budgets["steps"]["reserved"] == 0
    ended = improve(home, folder, Scripted(script(3, TRIALS)))
    assert ended.why == "budget", "the limit holds until another one is named"
    ended = improve(home, folder, Scripted(script(3, TRIALS)), limits={"steps": 1e6})
    assert ended.why == "trials" and ledger(home, folder) == expected


def test_tokens_stop_a_run_before_they_are_spent(tmp_path: Path) -> None:
    proposer = Scripted(script(3, TRIALS))
    ended = improve(
        tmp_path / "run", make_folder(tmp_path / "task"), proposer, trials=TRIALS, limits={"tokens": 20}
    )  # fmt: skip
    assert ended.why == "budget" and len(proposer.asked) == 2  # 10 are set aside for each, 7 are used
    warned = [e.data["percent"] for e in read(tmp_path / "run" / "events.jsonl") if e.kind == "budget.warned"]
    assert warned == [50]


def test_no_episode_is_played_twice(tmp_path: Path) -> None:
    from improve_kit import FakeArena

    home, folder, evaluator = tmp_path / "run", make_folder(tmp_path / "task"), FakeArena()
    improve(home, folder, Scripted(script(5, TRIALS)), evaluator, trials=4)
    improve(home, folder, Scripted(script(5, TRIALS)), evaluator, trials=TRIALS)
    assert evaluator.played and len(evaluator.played) == len(set(evaluator.played))
