"""kill -9 of whatever an improve run consists of: the same ledger, and nothing left."""

from __future__ import annotations

import os
import random
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_kit import ROOT
from kills_kit import LINEAGE, Improve, in_shared_memory, under_fire

from data_flywheel.episodes.episode import Episode
from envs import executor
from envs.errors import Lost
from envs.executor import WorkerError
from envs.remote import PixelEnv
from logic.sandbox import run_isolated, worker
from logic.sandbox.controller import ConfinedController
from triune.play import evaluate
from triune.play.evaluator import TaskEvaluator
from triune.play.loop import Rollout
from triune.system import load

TIMES = ("seconds", "frames_per_second", "run", "deadline_misses")


@pytest.fixture(scope="module")
def system() -> Any:
    """CartPole with a policy that falls soon, in isolation."""
    return load("cartpole", policy=LINEAGE / "r00.py", isolate=True)


@pytest.fixture(scope="module")
def calm(system: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Episode]:
    """A game that nobody disturbs: what is told of it, and the episode."""
    run = tmp_path_factory.mktemp("calm") / "run"
    return told(evaluate(system, seeds=[1000], workers=1, run=run)), Episode.load(run / "episodes" / "1000.npz")


def kill_at(monkeypatch: pytest.MonkeyPatch, who: str, times: int = 1) -> list[int]:
    """Kill what a game is played with at its tenth step; whom that was, so far."""
    struck: list[int] = []
    kind, name = {"simulator": (PixelEnv, "step"), "sandbox": (ConfinedController, "decide")}[who]
    real, steps = getattr(kind, name), 0

    def step(self: Any, what: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps >= 10 and len(struck) < times and not (who == "sandbox" and self.lost):
            struck.append(self._process.pid if who == "simulator" else self._worker.pid)
            os.kill(struck[-1], signal.SIGKILL)
            steps = 0
        return real(self, what)

    monkeypatch.setattr(kind, name, step)
    return struck


def told(result: Any) -> dict[str, Any]:
    """Everything but times."""
    found = {k: v for k, v in result.to_dict().items() if k not in TIMES}
    return found | {"episodes": [{k: v for k, v in e.items() if k not in TIMES} for e in found["episodes"]]}


@pytest.mark.parametrize("who", ["simulator", "sandbox"])
def test_a_game_whose_simulator_or_policy_was_killed_is_played_again(
    who: str, system: Any, calm: tuple[dict[str, Any], Episode], monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    struck = kill_at(monkeypatch, who)
    assert told(evaluate(system, seeds=[1000], workers=1)) == calm[0]
    assert len(struck) == 1 and calm[0]["faults"] == 0


def test_what_is_killed_in_every_game_ends_it_with_a_reason(system: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor, "MOST_LOST", 2)
    struck = kill_at(monkeypatch, "simulator", times=99)
    with pytest.raises(WorkerError, match="1000 was lost 2 times .* CartPole-v1: the simulator's .* -9"):
        evaluate(system, seeds=[1000], workers=1)
    assert len(struck) == 2


def test_a_live_game_goes_on_with_the_fallback_and_says_that_it_is_none(
    system: Any, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    struck = kill_at(monkeypatch, "sandbox", times=2)
    with Rollout(system) as rollout:
        decisions = [step.decision for step in rollout.episode(7)]
        assert decisions[8].fault == "" and all("killed(outside)" in d.fault for d in decisions[9:])
        assert "killed(outside)" in rollout.controller.lost
        with pytest.raises(Lost, match="cartpole, seed 7: isolated policy: killed"):
            rollout.record(7)
        assert len(struck) == 2 and rollout.record(7).meta["finished"] and rollout.controller.lost == ""


def test_a_look_at_a_policy_that_was_killed_is_taken_again(
    calm: tuple[dict[str, Any], Episode], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:  # fmt: skip
    """Otherwise a kill would be a behaviour, and a lock that is broken."""
    text = (LINEAGE / "r00.py").read_text()
    evaluator = TaskEvaluator(load("cartpole"), None, "cnn", tmp_path)
    evaluator.watch([calm[1]])
    found, kept = evaluator.behaviour(text), evaluator.scenes_kept(text)
    struck = kill_at(monkeypatch, "sandbox", times=2)
    assert evaluator.behaviour(text) == found and len(struck) == 2
    struck = kill_at(monkeypatch, "sandbox")
    assert evaluator.scenes_kept(text) == kept and (len(struck) == 1 or not kept)
    kill_at(monkeypatch, "sandbox", times=99)
    with pytest.raises(WorkerError, match="killed"):
        evaluator.behaviour(text)


def forks_that_die(monkeypatch: pytest.MonkeyPatch, times: int) -> list[int]:
    """The first so many processes of the sandbox are killed as soon as they are there."""
    struck, real = list[int](), worker._fork

    def fork(live: Callable[[], None]) -> int:
        pid = real(live)
        if len(struck) < times:
            struck.append(pid)
            os.kill(pid, signal.SIGKILL)
        return pid

    monkeypatch.setattr(worker, "_fork", fork)
    return struck


@pytest.mark.parametrize("times", [0, 1, worker.MOST_LOST - 1, worker.MOST_LOST])
def test_what_is_run_once_is_run_again(times: int, monkeypatch: pytest.MonkeyPatch) -> None:
    struck = forks_that_die(monkeypatch, times)
    outcome = run_isolated(lambda data: data[::-1], b"abc", 3)
    assert len(struck) == times and outcome.lost == (times == worker.MOST_LOST)
    assert outcome.reply == (b"" if outcome.lost else b"cba")


def test_a_compiler_that_was_killed_is_no_defect_of_a_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    evaluator, text = TaskEvaluator(load("cartpole"), None, "cnn", tmp_path), (LINEAGE / "r00.py").read_text()
    struck = forks_that_die(monkeypatch, 1)
    assert evaluator.compile(text).defects == () and len(struck) == 1
    forks_that_die(monkeypatch, worker.MOST_LOST)
    with pytest.raises(Lost, match="the compiler was killed.outside."):
        evaluator.compile(text + "\n")


# --- at random: how many, the seed of their moments and victims, and how far apart in seconds of processor time

KILLS, SEED = int(os.environ.get("TRIUNE_KILLS", "100")), int(os.environ.get("TRIUNE_KILL_SEED", "0"))
EVERY_S = float(os.environ.get("TRIUNE_KILL_EVERY", "2.0"))


@pytest.mark.slow
def test_a_hundred_kills_at_random_change_no_ledger_and_leave_nothing(tmp_path: Path) -> None:
    shared, draw, struck, runs = in_shared_memory(), random.Random(SEED), Counter[str](), 0
    calm = Improve(tmp_path / "calm", stored=True)
    under_fire(calm, draw, 0, EVERY_S)
    expected = calm.ledger()
    assert [line["verdict"] for line in expected["trials"]] == ["reject", "reject", "reject", "accept"]
    while struck.total() - struck["gave up"] < KILLS:
        runs += 1
        run = Improve(tmp_path / f"run-{runs}")
        struck.update(under_fire(run, draw, KILLS - struck.total() + struck["gave up"], EVERY_S))
        print(f"{runs} runs, killed: {dict(struck)}", flush=True)
        assert run.ledger() == expected
        run.nothing_left(shared)
    assert ROOT not in tmp_path.parents and set(struck) >= {"driver", "worker", "simulator", "sandbox"}
