"""The arena on a real game with a policy that loses within seconds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from envs.errors import EnvError
from envs.spec import load_spec, parse_spec
from logic.errors import LogicError
from logic.runtime.regression import FloorLock, ScenesLock, check_scenes, read
from supervisor.protocols import Score
from triune.errors import TriuneError
from triune.play import workers as pool
from triune.play.evaluation import evaluate
from triune.play.evaluator import TaskEvaluator
from triune.system import System, load, sha256

LAZY = '''"""Serve, then hold still."""


def act(scene, memory):
    if not scene.ball.seen:
        return FIRE, "serve"
    return NOOP, "hold still"
'''
LEFTWARD = LAZY.replace("NOOP", "LEFT")
REWRITTEN = LAZY.replace("if not scene.ball.seen:", "unseen = not scene.ball.seen\n    if unseen:")


@pytest.fixture(scope="module")
def evaluator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TaskEvaluator]:
    made = TaskEvaluator(load("breakout"), "sticky", "cnn", tmp_path_factory.mktemp("arena"), floors=False)
    yield made
    made.close()


@pytest.fixture(scope="module")
def episode(evaluator: TaskEvaluator) -> Any:
    return evaluator.record(LAZY, [0])[0]


def test_every_text_is_isolated_the_shipped_one_too(evaluator: TaskEvaluator) -> None:
    system = load("breakout")
    assert not system.isolated
    assert evaluator._with(system.texts.policy).isolated and evaluator._with(LAZY).isolated


def test_compiling_tells_figures_or_lines(evaluator: TaskEvaluator) -> None:
    good, again = evaluator.compile(LAZY), evaluator.compile(LAZY)
    assert good.defects == () and good.measured["ops"] > 0 and good.measured["characters"] == len(LAZY)
    stable = {k: v for k, v in good.measured.items() if k != "latency_ms"}
    assert stable == {k: again.measured[k] for k in stable}
    bad = evaluator.compile(LAZY.replace("scene.ball.seen", "scene.bal.seen"))
    assert "line 5" in bad.defects[0] and bad.records[0]["line"] == 5 and "ball" in bad.records[0]["instead"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "def act(scene, memory):\n    while True:\n        pass\n",
        "def f(" * 3000,
        "x = 1\n" * 90_000,
        "\0",
        "é" * 9,
    ],
)
def test_what_does_not_compile_is_a_defect_not_a_crash(evaluator: TaskEvaluator, text: str) -> None:
    assert evaluator.compile(text).defects


def test_latency_is_measured_on_watched_episodes(evaluator: TaskEvaluator, episode: Any) -> None:
    evaluator.watch([episode])
    assert 0.0 < evaluator.compile(LAZY).measured["latency_ms"] < 50.0


def test_scores_are_those_of_an_evaluation(evaluator: TaskEvaluator) -> None:
    played = {s.seed: s for _, s in evaluator.play([(LAZY, 1), (LAZY, 2)])}
    plain = evaluate(load("breakout", isolate=False, policy=evaluator._with(LAZY).policy_path), "sticky", [1, 2])
    assert [played[1].score, played[2].score] == plain.scores
    assert [played[1].frames, played[2].frames] == [e["frames"] for e in plain.episodes]
    assert all(
        isinstance(s, Score) and s.decisions == e["steps"] for s, e in zip(played.values(), plain.episodes, strict=True)
    )


def test_policies_that_share_a_simulator_play_as_each_alone(evaluator: TaskEvaluator) -> None:
    """Six texts by turns in one worker, which keeps four ready: each game is the one that the text plays alone."""
    texts = [LAZY, LEFTWARD, *(LEFTWARD.replace("hold still", f"hold {i}") for i in range(4))]
    games = [(text, seed) for seed in (3, 4) for text in texts]
    mixed = {(text, score.seed): score for text, score in evaluator.play(games)}
    pids = {child.process.pid for child in evaluator._players._crew._children}  # type: ignore[union-attr]
    assert len(mixed) == 12 and len(pids) == 1
    for text in texts[1:]:
        for seed in (3, 4):
            assert mixed[text, seed] == mixed[LEFTWARD, seed]
    alone = evaluate(load("breakout", isolate=False, policy=evaluator._with(LEFTWARD).policy_path), "sticky", [3, 4])
    assert [mixed[LEFTWARD, s].score for s in (3, 4)] == alone.scores != [mixed[LAZY, s].score for s in (3, 4)]
    list(evaluator.play([(LAZY, 5)]))
    assert {child.process.pid for child in evaluator._players._crew._children} == pids  # type: ignore[union-attr]


def test_a_text_that_does_not_compile_ends_a_stream_in_words(evaluator: TaskEvaluator) -> None:
    with pytest.raises(TriuneError, match="line 1"):
        list(evaluator.play([(LAZY, 5), ("def act(scene, memory): return x\n", 5)]))
    assert [s.seed for _, s in evaluator.play([(LAZY, 6)])] == [6], "new workers are started"


def test_recorded_episodes_are_not_played_again(
    evaluator: TaskEvaluator, episode: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool.Players, "play", lambda *a: pytest.fail("played"))
    again = evaluator.record(LAZY, [0])[0]
    assert np.array_equal(again.actions, episode.actions) and again.meta["policy"] == sha256(LAZY)


def test_frames_are_those_of_the_episode(evaluator: TaskEvaluator, episode: Any) -> None:
    three, one = evaluator.frames(episode, [3, 1])
    assert three.shape == (210, 160, 3) and not np.array_equal(three, one)
    assert np.array_equal(evaluator.frames(episode, [1])[0], one) and evaluator.frames(episode, []) == []


def test_behaviour_is_what_is_decided(evaluator: TaskEvaluator, episode: Any) -> None:
    evaluator.watch([episode])
    same = evaluator.behaviour(LAZY)
    assert evaluator.behaviour(REWRITTEN) == same and evaluator.behaviour(LAZY.replace("hold", "stand")) == same
    assert evaluator.behaviour(LEFTWARD) != same


def test_locks_are_held_or_broken_and_floors_come_last(tmp_path: Path) -> None:
    evaluator = TaskEvaluator(load("breakout"), "sticky", "cnn", tmp_path)
    held = evaluator.locks(LAZY)
    assert evaluator.floors == 1 and held["floor"] and not all(held.values())
    assert evaluator.floor_frames == 0, "a floor is not played once a lock is broken"


def test_a_floor_is_played_when_nothing_else_is_broken(
    evaluator: TaskEvaluator, monkeypatch: pytest.MonkeyPatch
) -> None:

    lock = FloorLock("low", "breakout", "sticky", 0, 0, 1)
    monkeypatch.setattr(evaluator, "_locks", [lock])
    assert evaluator.locks(LAZY) == {"low": True} and evaluator.floor_frames > 0
    monkeypatch.setattr(evaluator, "_locks", [replace(lock, floor=500)])
    assert evaluator.locks(LAZY) == {"low": False}


def test_a_lock_is_made_of_an_episode(evaluator: TaskEvaluator, episode: Any, tmp_path: Path) -> None:
    path = tmp_path / "made.json"
    path.write_text(evaluator.lock_text(LAZY, episode, range(30, 34), "made", "a note"))
    lock = read(path, evaluator.system.schema)
    assert isinstance(lock, ScenesLock) and lock.compared == range(30, 34) and lock.note == "a note"
    for text, broken in ((LAZY, False), (LEFTWARD, True)):
        controller = evaluator.controller(text)
        assert bool(check_scenes(lock, controller)) == broken
        controller.close()
    with pytest.raises(LogicError):
        evaluator.lock_text(LEFTWARD, episode, range(30, 34), "made", "")


def test_a_floor_is_made_of_an_episode(evaluator: TaskEvaluator, episode: Any, tmp_path: Path) -> None:
    path = tmp_path / "made.json"
    path.write_text(evaluator.floor_text(episode, -3, "made", "a note"))
    lock = read(path, evaluator.system.schema)
    assert isinstance(lock, FloorLock) and (lock.seed, lock.floor, lock.note) == (episode.meta["seed"], -3, "a note")
    assert lock.scored == episode.meta["score"] and lock.protocol == "sticky"


def test_settled_is_where_all_agree_wherever_things_are(evaluator: TaskEvaluator, episode: Any) -> None:
    alone, fallback = evaluator.settled([LAZY], episode)
    assert fallback == 0 and alone.all() and len(alone) == len(episode)
    both, _ = evaluator.settled([LAZY, LEFTWARD], episode)
    assert np.array_equal(both, episode.actions == 1), "they agree on serving"
    edge = LAZY.replace("    return NOOP", "    if scene.ball.x > 80.0:\n        return RIGHT, 'r'\n    return NOOP")
    near = evaluator.record(edge, [0])[0]
    unsure, _ = evaluator.settled([edge], near)
    assert 0 < unsure.sum() < len(near), "close to the edge it depends on a pixel"


# --- hard and soft rules


def record(**rules: int) -> dict[str, Any]:
    return {"interventions": rules, "faults": 2, "steps": 500}


def with_soft(soft: str) -> System:
    folder = load_spec("breakout").folder
    text = (folder / "system.toml").read_text().replace("[safety]", f"[safety]\nsoft = {soft}")
    return System(parse_spec(text, folder / "system.toml"))


def test_hard_interventions_leave_soft_rules_out(evaluator: TaskEvaluator, tmp_path: Path) -> None:
    told = record(**{"perception lost": 5, "other": 3})
    assert evaluator.hard(told) == pytest.approx(10.0), "when the eyes fail, that is not the policy's fault"
    strict = TaskEvaluator(with_soft("[]"), None, "cnn", tmp_path, floors=False)
    assert strict.hard(told) == pytest.approx(20.0)


def test_a_soft_rule_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TriuneError, match="did you mean 'perception lost'"):
        TaskEvaluator(with_soft('["perception lst"]'), None, "cnn", tmp_path)
    with pytest.raises(EnvError, match="soft is a list"):
        with_soft("[1]")
