"""Several proposals for one parent, judged as one race by the loop: ledger, games, kills, replays, merges."""

from __future__ import annotations

import json
import os
import random
import signal
from pathlib import Path
from typing import Any

import pytest
from improve_kit import FakeArena, Place, Scripted, answer, constant, improve, ledger, make_folder, script, verdicts

from supervisor.events import read
from supervisor.gate.seeds import SeedLedger
from supervisor.loop.loop import Ended
from supervisor.proposers.replay import ReplayProposer, recording
from supervisor.protocols import Request

TRIALS = 6
WAIT = answer([{"replace": "act", "code": 'def act(scene, memory):\n    return NOOP, "pause"'}, constant("NOISE", 1)])


def more(skill: float, **words: Any) -> str:
    return answer([constant("SKILL", skill)], **words)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting for the disk proves nothing here."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def race(place: Place, answers: list[str], **settings: Any) -> tuple[Ended, Scripted, FakeArena]:
    proposer, arena = Scripted(answers), FakeArena()
    settings = {"trials": len(answers), "proposals": len(answers)} | settings
    return improve(place.path / "run", place.folder, proposer, arena, **settings), proposer, arena


def test_the_best_of_a_round_is_taken_and_each_has_its_line(place: Place) -> None:
    ended, proposer, arena = race(place, [more(24), more(40), "{nonsense", more(2)])
    assert [line["verdict"] for line in place.lines] == ["indecisive", "accept", "invalid", "reject"]
    assert place.lines[0]["reasons"][0].startswith("lost the race to trial 2")
    assert "SKILL = 40" in place.policy and ended.why == "trials"
    assert len(arena.played) == len(set(arena.played)), "the parent's games are played once"
    parents = [seed for text, seed in arena.played if "SKILL = 10" in text]
    blocks = {json.dumps(line["seeds"]["select"]) for line in place.lines if line["seeds"]["select"]}
    assert len(blocks) == 1 and set(parents) >= {seed for text, seed in arena.played if "SKILL = 24" in text}
    assert {line["cost"]["tokens"] for line in place.lines} == {7.0} and len(proposer.asked) == 4


def test_later_questions_tell_what_the_others_answered(place: Place) -> None:
    _, proposer, _ = race(place, [more(3, hypothesis="slower is surer"), "{nonsense", more(4)])
    first, second, third = proposer.asked
    assert [request.trial for request in proposer.asked] == [1, 2, 3]
    assert second.sections[:-1] == third.sections[:-1] == first.sections, "the evidence is made once"
    assert "slower is surer" in third.sections[-1].text and "changes SKILL" in third.sections[-1].text
    assert "trial 2" not in third.sections[-1].text, "what cannot be used tells nothing"


def test_a_copy_of_an_earlier_answer_of_the_round_is_none_of_its_own(place: Place) -> None:
    ended, _, _ = race(place, [more(30), more(30), WAIT])
    assert verdicts(ended)[:2] == [("accept", "accept"), ("reject", "duplicate")]
    assert "trial 1" in place.lines[1]["reasons"][0]


def test_a_round_ends_early_where_nobody_knows_more_or_nothing_is_left(place: Place, tmp_path: Path) -> None:
    stop = answer([], target="stop")
    ended, proposer, _ = race(place, [more(30), stop, more(50)], trials=2)
    assert len(proposer.asked) == 2 and verdicts(ended) == [("accept", "accept"), ("indecisive", "schema")]
    poor = Place(tmp_path / "poor")
    ended, proposer, _ = race(poor, [more(30), more(31), more(32)], trials=2, limits={"tokens": 15.0})
    assert len(proposer.asked) == 1 and ended.why == "budget", "what was asked is judged, then the money is gone"
    assert [line["verdict"] for line in poor.lines] == ["accept"]


def test_a_stop_after_an_acceptance_does_not_end_the_run(place: Place) -> None:
    ended, proposer, _ = race(place, [more(30), answer([], target="stop"), more(60)], proposals=2, trials=3)
    assert ended.why == "trials" and len(proposer.asked) == 3


def test_seeds_are_drawn_when_the_last_answer_is_there(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    import improve_kit

    seen, words = list[str](), iter(f"{n:032x}" for n in range(100))
    monkeypatch.setattr(improve_kit, "DRAW", lambda: seen.append("drawn") or next(words))

    class Looking(Scripted):
        def propose(self, request: Request) -> Any:
            seen.append("asked")
            return super().propose(request)

    improve(place.path / "run", place.folder, Looking([more(30), more(25), more(2)]), trials=3, proposals=3)
    assert seen == ["asked"] * 3 + ["drawn"]
    uses = SeedLedger.open(place.folder / "seeds.jsonl").uses
    assert len({(u.first, u.draw) for u in uses if u.role == "select"}) == 1 and len(uses) == 4
    assert place.lines[0]["seeds"]["select"]["drawn"] != place.lines[2]["seeds"]["select"]["drawn"]


def test_one_proposal_a_parent_writes_what_it_always_wrote(place: Place, tmp_path: Path) -> None:
    answers = script(3, 6)
    place.run(answers)
    other = Place(tmp_path / "other")
    other.run(answers, proposals=1, from_archive=0.0)
    kinds = [
        [(e.kind, dict(e.data) | {"folder": ""}) for e in read(p.path / "run" / "events.jsonl")] for p in (place, other)
    ]
    assert kinds[0] == kinds[1] and not {"race.started", "race.judged"} & {kind for kind, _ in kinds[0]}
    started = next(data for kind, data in kinds[0] if kind == "run.started")
    assert "proposals" not in started["settings"]


def test_a_recorded_round_replays_to_the_same_ledger(tmp_path: Path) -> None:
    answers, record = script(7, TRIALS), tmp_path / "exchanges.jsonl"
    one, two = Place(tmp_path / "one"), Place(tmp_path / "two")
    told = {"trials": TRIALS, "proposals": 3}
    improve(one.path / "run", one.folder, recording(Scripted(answers), record), **told)  # type: ignore[arg-type]
    improve(two.path / "run", two.folder, ReplayProposer(record), **told)
    assert ledger(two.path / "run", two.folder)["judged"] == ledger(one.path / "run", one.folder)["judged"]


# --- kills


def run(home: Path, folder: Path, seed: int) -> Ended:
    return improve(home, folder, Scripted(script(seed, TRIALS)), trials=TRIALS, proposals=3)


def killed(home: Path, folder: Path, seed: int, strike: int, how: str) -> bool:
    """Go on with the run in a child that kills itself at its `strike`-th change of a file; whether it did."""
    pid = os.fork()
    if pid == 0:
        try:
            from events_kit import arm

            arm(strike, how)
            run(home, folder, seed)
        finally:
            os._exit(0)
    _, status = os.waitpid(pid, 0)
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def chain(path: Path, seed: int, longest: int) -> int:
    """Kill a run again and again until it is done; how often. Its ledger is that of a run left alone."""
    whole = Place(path / "whole")
    expected = run(whole.path / "run", whole.folder, seed)
    home, folder, chance, kills = path / "run", make_folder(path / "task"), random.Random(seed), 0
    while killed(home, folder, seed, chance.randint(1, longest), chance.choice(("before", "after", "half"))):
        kills += 1
    ended = run(home, folder, seed)
    assert ledger(home, folder) == ledger(whole.path / "run", whole.folder)
    assert ended.budgets["steps"]["at_least"] == expected.budgets["steps"]["at_least"], "paid twice"
    return kills


def test_killed_races_end_like_undisturbed_ones(tmp_path: Path) -> None:
    assert chain(tmp_path, seed=3, longest=160) >= 5


@pytest.mark.slow
def test_a_hundred_kills_of_races(tmp_path: Path) -> None:
    assert sum(chain(tmp_path / str(seed), seed, 120) for seed in range(30, 40)) >= 100


@pytest.mark.parametrize("steps", [300.0, 700.0])
def test_a_race_goes_on_after_a_budget(place: Place, tmp_path: Path, steps: float) -> None:
    whole = Place(tmp_path / "whole")
    run(whole.path / "run", whole.folder, 5)
    short = Scripted(script(5, TRIALS))
    ended = improve(place.path / "run", place.folder, short, trials=TRIALS, proposals=3, limits={"steps": steps})
    assert ended.why == "budget" and ended.budgets["steps"]["reserved"] == 0
    improve(place.path / "run", place.folder, Scripted(script(5, TRIALS)), limits={"steps": 1e6})
    assert ledger(place.path / "run", place.folder) == ledger(whole.path / "run", whole.folder)


# --- merges


BOTH = answer(
    [{"replace": "act", "code": 'def act(scene, memory):\n    return NOOP, "also"'}, constant("BONUS", 6, True)]
)


class Bonus(FakeArena):
    """BONUS adds to the score, so that two edits of different things add up."""

    def _score(self, text: str, seed: int) -> Any:
        from improve_kit import number

        made = super()._score(text, seed)
        return made._replace(score=made.score + number(text, "BONUS", 0))

    def behaviour(self, text: str) -> str:
        from improve_kit import number

        return f"{super().behaviour(text)[:60]}{number(text, 'BONUS', 0):g}"


def test_what_lost_is_merged_with_what_won_and_judged(place: Place) -> None:
    answers = [more(30), BOTH, more(21)]
    ended = improve(place.path / "run", place.folder, Scripted(answers), Bonus(), trials=4, proposals=3)
    assert [line["verdict"] for line in place.lines] == ["accept", "indecisive", "indecisive", "accept"]
    line = place.lines[3]
    assert line["proposer"] == "merge" and line["cost"]["tokens"] == 0 and "trials 1 and 2" in line["hypothesis"]
    assert "SKILL = 30" in place.policy and "BONUS = 6" in place.policy
    assert ended.state.trials[3].request is None, "nobody is asked"
    refused = [e.data for e in read(place.path / "run" / "events.jsonl") if e.kind == "merge.refused"]
    assert refused == [{"trial": 3, "into": 1, "why": "both change 'SKILL'"}]


def test_nothing_is_merged_where_nothing_won(place: Place) -> None:
    improve(
        place.path / "run", place.folder, Scripted([more(2), BOTH.replace("6", "0")]), Bonus(), trials=4, proposals=2
    )
    assert {line["proposer"] for line in place.lines} == {"scripted"}
