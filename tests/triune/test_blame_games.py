"""Blame on real games whose cause of failure is known: a policy that holds still, eyes and rules broken on purpose."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_kit import inside as command

from benchmarks.fault_injection import BROKEN, SOUND, Fault, Injector, Lie, make_fault
from data_flywheel.attribution.verdict import BOTH, EYES, POINT, REFLEXES, WORLD, failures
from data_flywheel.episodes.episode import Episode
from logic.runtime.controller import Controller
from supervisor.loop.parts import Situation
from triune.commands.improve_setup import tell_all
from triune.play import attribution as blame_record
from triune.play.evaluator import TaskEvaluator
from triune.play.loop import Rollout
from triune.system import System, load

STILL = '"""Hold still."""\n\n\ndef act(scene, memory):\n    return NOOP, "hold still"\n'


@pytest.fixture(scope="module")
def still(tmp_path_factory: pytest.TempPathFactory) -> tuple[System, Episode, Path]:
    """Pong by a policy that never moves, until the first points are lost."""
    folder = tmp_path_factory.mktemp("still")
    (folder / "policy.py").write_text(STILL)
    system = load("pong", isolate=False, policy=folder / "policy.py")
    with Rollout(system) as rollout:
        episode = rollout.record(0, 110)
    return system, episode, episode.save(folder / "0.npz")


def test_the_swap_blames_a_policy_that_holds_still(still: tuple[System, Episode, Path]) -> None:
    system, episode, _ = still
    failure = failures(episode)[0]
    assert failure.kind == POINT
    said = blame_record.Blamer(system).verdict(episode, failure)
    assert (said.who, said.way) == (REFLEXES, "oracle swap")
    assert said.figures["same"] < 0.5 and said.figures["both"] == 1.0


def _counted(begin: Any, made: list[object]) -> Any:
    def init(self: object, *words: Any) -> None:
        made.append(self)
        begin(self, *words)

    return init


def test_the_supervisor_is_told_in_one_line(
    still: tuple[System, Episode, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    system, episode, _ = still
    swaps = []
    monkeypatch.setattr(blame_record.Swap, "__init__", _counted(blame_record.Swap.__init__, swaps))
    tell = blame_record.teller(system)
    step = failures(episode)[0].step
    assert tell([(episode, step - 40)]) == [""] and not swaps  # nothing was lost there
    told = tell([(episode, failures(episode)[-1].step), (episode, step - 40), (episode, step)])
    assert told[1] == "" and told[2].startswith("reflexes: from ") and "the reference policy alone" in told[2]
    assert len(swaps) == 1  # one emulator for all of them
    monkeypatch.setattr(blame_record.Blamer, "why_estimate", lambda self, episode: "no teacher may run here")
    assert tell([(episode, step)]) == [""] and len(swaps) == 1  # what is only estimated is not said


@pytest.mark.slow
def test_a_proposer_is_told_whose_failure_it_was_when_asked(
    still: tuple[System, Episode, Path], tmp_path: Path
) -> None:
    system, episode, _ = still
    evaluator = TaskEvaluator(load("pong"), None, "cnn", tmp_path)
    situation = Situation(1, STILL, [episode], {0: -1.0}, None, [], {})
    requests = {asked: tell_all(evaluator.system, evaluator, asked)(situation) for asked in (False, True)}
    told = {asked: dict(request.sections)["Failures"] for asked, request in requests.items()}
    assert "cause:" not in told[False] and 'cause: "reflexes: from ' in told[True]


def test_a_record_of_another_policy_or_other_weights_is_only_estimated(still: tuple[System, Episode, Path]) -> None:
    system, episode, _ = still
    assert blame_record.Blamer(system).why_estimate(episode) == ""
    assert "another policy" in blame_record.Blamer(load("pong")).why_estimate(episode)
    episode = Episode(**{**vars(episode), "meta": episode.meta | {"weights": "other"}})
    assert "other weights" in blame_record.Blamer(system).why_estimate(episode)
    assert "no teacher" in blame_record.Blamer(system, teacher=False).why_estimate(episode)


@pytest.mark.slow
def test_the_command_says_whose_it_was_with_and_without_a_teacher(still: tuple[System, Episode, Path]) -> None:
    system, _, path = still
    for extra in ((), ("--without-teacher",)):
        policy = ("--policy", str(system.policy_path))
        told = json.loads(command("blame", str(path), *policy, "--most", "1", "--json", *extra).stdout)
        assert told["counts"] == {REFLEXES: 1}, extra
        assert told["verdicts"][0]["way"] == ("estimate" if extra else "oracle swap")


# --- planted faults


def test_plants_are_repeatable_and_cover_every_party_and_lie() -> None:
    for task in BROKEN:
        plants = [make_fault(task, seed) for seed in range(400)]
        assert plants == [make_fault(task, seed) for seed in range(400)]
        assert {p.truth for p in plants} == {EYES, REFLEXES, BOTH, WORLD}
        assert {p.lie.kind for p in plants if p.lie} == {"blind", "offset", "delay", "swap", "ghost"}
        assert {p.rule for p in plants if p.rule} == set(BROKEN[task])
        assert all(2 <= p.lie.size <= 6 for p in plants if p.lie and p.lie.kind == "delay")
        assert all(4 <= abs(p.lie.size) <= 12 for p in plants if p.lie and p.lie.kind == "offset")


@pytest.mark.parametrize("task", BROKEN)
def test_every_broken_rule_fits_the_shipped_policy(task: str) -> None:
    text = load(task).texts.policy
    texts = {rule: Fault(task, 0, None, rule).policy(text) for rule in [None, *BROKEN[task]]}
    assert len(set(texts.values())) == len(texts) and text not in texts.values()
    assert all(new in texts[None] for _, new in SOUND[task])


def test_lies_tell_what_they_say() -> None:
    schema = load("pong").schema
    past = [schema.empty() for _ in range(8)]
    for i, scene in enumerate(past):
        scene[schema.slot("ball")] = (1, 50 + i, 90, 2, 4, 0, 0, 1)
        scene[schema.slot("player")] = (1, 142, 60, 4, 16, 0, 0, 1)
        scene[schema.slot("enemy")] = (1, 18, 150, 4, 16, 0, 0, 1)

    def told(kind: str, *things: str, size: float = 0.0, step: int = 10) -> dict[str, list[float]]:
        thing, other = things or ("ball", "player")
        scene = Lie(kind, thing, other, size, 10, 20, (7.0, 8.0)).told(step, past, schema, 2)
        return {name: scene[schema.slot(name)].tolist() for name in ("ball", "player", "enemy")}

    true = told("blind", step=9)
    assert true == told("blind", step=20) and true["ball"][1] == 57
    assert told("blind")["ball"][0] == 0 and told("offset", size=-6.0)["ball"][2] == 84
    assert told("delay", size=3.0)["ball"][1] == 54 and told("swap", "player", "enemy")["player"][1] == 18
    assert told("ghost", size=3.0)["ball"][1:3] == [7, 8] and told("ghost", size=3.0, step=11)["ball"] == true["ball"]
    assert np.array_equal(past[-1][schema.slot("ball")][:3], [1, 57, 90])


@pytest.fixture(scope="module")
def injector() -> Iterator[Injector]:
    with Injector(load("pong")) as injector:
        yield injector


@pytest.mark.slow
def test_planted_faults_are_found_with_a_teacher(injector: Injector) -> None:
    """One in twenty verdicts is wrong (docs/blame.md), so one of eight may be."""
    right = []
    for seed in (0, 3, 7, 10, 12, 14, 16, 18):
        played = injector.play(make_fault("pong", seed))
        if not isinstance(played, str):
            right.append(injector.swapped(played).who == played.make_fault.truth)
    assert len(right) >= 5 and right.count(False) <= 1


class Twin(Controller):
    """A controller whose memory is not reached, as that of an isolated one."""


@pytest.mark.slow
def test_a_memory_put_back_plays_like_one_built_up_anew(injector: Injector) -> None:
    played = injector.play(make_fault("pong", 3))
    assert not isinstance(played, str), played
    swap, _ = injector._swap(played.make_fault)
    told = swap.verdict(played.episode, played.failure)
    for name in ("own", "reference"):
        setattr(swap, name, Twin(getattr(swap, name).logic, 1000.0))
    assert swap.verdict(played.episode, played.failure) == told and told.who == EYES
