"""The archive: which policies behave differently, which question begins from one, and what its child has to beat."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from improve_kit import FakeArena, Place, Scripted, answer, constant, improve, ledger, number, verdicts

from data_flywheel.episodes.episode import Episode, EpisodeRecorder
from supervisor.errors import SupervisorError
from supervisor.events import Event, read
from supervisor.loop.archive import APART, FILE, Behaviour, behaviour_of, distance
from supervisor.loop.loop import Ended
from supervisor.loop.state import State


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting for the disk proves nothing here."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def game(actions: Sequence[Any], overruled: Sequence[int] = (), score: float = 3.0) -> Episode:
    from logic.runtime.controller import Decision

    recorder = EpisodeRecorder({"seed": 1, "task": "fake"})
    for step, action in enumerate(actions):
        decision = Decision(action, "wait", action, "rule" if step in overruled else "")
        recorder.add(np.zeros(3, np.float32), decision, 0, 5)
    return recorder.finish(score=score, frames=10, finished=True)


def test_behaviour_is_the_mean_over_games() -> None:
    made = behaviour_of([game([0, 0, 0, 2], (1,)), game([0, 2] * 4, score=5.0)])
    assert made.actions == ((0.625, 0.0, 0.375),) and made.score == 4.0 and made.length == 6.0
    assert made.switches == pytest.approx((1 / 3 + 1) / 2) and made.overruled == 0.125


def test_controls_count_by_their_side() -> None:
    made = behaviour_of([game([np.array([x, 0.0], np.float32) for x in (-2.0, 1.0, 0.5, 0.5)])])
    assert made.actions == ((0.25, 0.0, 0.75), (0.0, 1.0, 0.0)) and made.switches == pytest.approx(2 / 3)


def test_distance_is_the_largest_difference_and_no_score() -> None:
    one = Behaviour(((0.5, 0.5),), 0.2, 0.0, 100.0, 1.0)
    assert distance(one, one._replace(score=99.0)) == 0.0
    assert distance(one, one._replace(actions=((0.2, 0.5, 0.3),))) == pytest.approx(0.3)
    assert distance(one, one._replace(length=50.0)) == 0.5 == distance(one._replace(length=50.0), one)
    assert distance(one, one._replace(switches=0.9, overruled=0.1)) == pytest.approx(0.7)


class Styled(FakeArena):
    """BONUS adds to the score. Where it makes SKILL odd, the second action is played nine times in ten, else never."""

    def _episode(self, text: str, seed: int) -> Episode:
        made = super()._episode(text, seed)
        style = 9 * int((number(text, "SKILL", 0) + number(text, "BONUS", 0)) % 2)
        actions = np.array([int(i % 10 < style) for i in range(len(made))], np.uint8)
        return Episode(**{**vars(made), "actions": actions, "proposed": actions})

    def _score(self, text: str, seed: int) -> Any:
        made = super()._score(text, seed)
        return made._replace(score=made.score + number(text, "BONUS", 0))

    def behaviour(self, text: str) -> str:
        return f"{super().behaviour(text)[:50]}{number(text, 'BONUS', 0):g}"


def skilled(skill: float) -> str:
    return answer([constant("SKILL", skill)])


ANSWERS = [skilled(30), skilled(51), skilled(4), skilled(90)]


def run(place: Place, answers: Sequence[str] = ANSWERS, **more: Any) -> tuple[Ended, Scripted]:
    proposer = Scripted(answers)
    settings = {"trials": 4, "from_archive": 0.5} | more
    return improve(place.path / "run", place.folder, proposer, Styled(), **settings), proposer


def test_a_question_from_the_archive_is_about_the_other_policy_and_its_own_games(place: Place) -> None:
    ended, proposer = run(place)
    asked = [number(request.policy, "SKILL", 0) for request in proposer.asked]
    assert asked == [10, 30, 51, 30], "every second question, and at first nothing else is kept"
    trial = ended.state.trials[3]
    assert trial.base != trial.parent and ended.state.revisions[trial.base] == 1
    shown = [e.data for e in read(place.path / "run" / "events.jsonl") if e.kind == "evidence.episode"]
    assert {d["seed"] for d in shown if d["policy"] == trial.base and d["trial"] == 4} == {4, 5}, "its own games, anew"
    assert verdicts(ended)[3][0] == "accept" and number(place.policy, "SKILL", 0) == 90


def test_its_child_has_to_beat_the_present_policy(place: Place) -> None:
    """A child that is far better than where it began is refused when the present policy is better still."""
    ended, _ = run(place, [*ANSWERS[:3], skilled(44)])
    assert verdicts(ended)[3][0] == "reject" and number(place.policy, "SKILL", 0) == 51
    line = place.lines[3]
    assert line["base"] == "lineage/r01.py" and line["parent"] == ended.state.incumbent
    found = next(value for name, value in line["numbers"].items() if name.endswith("_parent"))
    assert found > 40, "played against the present policy"
    assert "base" not in place.lines[2]


def test_a_better_one_is_taken_and_merged_with_what_it_lacks(place: Place) -> None:
    """Two accepted edits: of the policy from the archive, and of the one it has beaten since."""
    answers = [skilled(30), answer([constant("BONUS", 21, True)]), skilled(3), skilled(76)]
    ended, _ = run(place, answers, trials=5)
    assert [v for v, _ in verdicts(ended)] == ["accept", "accept", "reject", "accept", "accept"]
    assert place.lines[4]["proposer"] == "merge" and "trials 4 and 2" in place.lines[4]["hypothesis"]
    assert (number(place.policy, "SKILL", 0), number(place.policy, "BONUS", 0)) == (76, 21)


def test_alike_policies_stand_for_each_other(place: Place) -> None:
    ended, _ = run(place, [skilled(30), skilled(50), skilled(4), skilled(2)])
    assert all(t.base == t.parent for t in ended.state.trials), "there is nobody else"
    (one,) = json.loads((place.path / "run" / FILE).read_text())["policies"]
    assert one["revision"] == "r02" and one["length"] == 40 and APART > 0


def test_a_race_from_the_archive_is_about_one_policy(place: Place) -> None:
    answers = [skilled(n) for n in (30, 4, 51, 5, 44, 43)]
    ended, proposer = run(place, answers, trials=6, proposals=2, from_archive=1.0)
    assert [t.base == t.parent for t in ended.state.trials] == [True] * 4 + [False] * 2
    assert ended.state.trials[4].base == ended.state.trials[5].base
    assert [number(request.policy, "SKILL", 0) for request in proposer.asked] == [10, 10, 30, 30, 30, 30]


def test_a_run_that_is_resumed_begins_from_the_same(place: Place, tmp_path: Path) -> None:
    whole = Place(tmp_path / "whole")
    run(whole)
    for trials in (1, 3, 4):
        run(place, trials=trials)
    assert ledger(place.path / "run", place.folder) == ledger(whole.path / "run", whole.folder)


def test_a_damaged_choice_is_refused() -> None:
    with pytest.raises(SupervisorError):
        State([Event(1, 0.0, "archive.chosen", {"trial": 1, "policy": "x"}, "", "")])
