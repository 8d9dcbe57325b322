"""Which seeds a run uses, what a question may depend on, and trials that run out of games."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from improve_kit import Place, Scripted, answer, constant, improve, script, verdicts

from supervisor.events import read
from supervisor.gate.seeds import SeedLedger
from supervisor.loop.trial import ledger_name
from supervisor.protocols import Request


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting for the disk proves nothing here."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def told(request: Request) -> dict[str, Any]:
    return json.loads(dict(request.sections)["told"])


def test_every_parent_plays_training_seeds_of_its_own(place: Place) -> None:
    proposer = Scripted([answer([constant("SKILL", 30)]), answer([constant("SKILL", 31)])])
    improve(place.path / "run", place.folder, proposer, trials=2)
    one, two = (set(told(request)["training"]) for request in proposer.asked)
    assert one == {"0", "1"} and two == {"2", "3"}


def test_a_question_depends_on_no_clock(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import improve_kit

    made, keys = improve_kit.parts, []
    for speed in (1.0, 50.0):
        seconds = iter(range(10**6))

        def ticking(*what: Any, seconds: Any = seconds, speed: float = speed) -> Any:
            parts = made(*what)
            parts.clock = lambda: speed * next(seconds)
            return parts

        monkeypatch.setattr(improve_kit, "parts", ticking)
        where, proposer = Place(tmp_path / str(speed)), Scripted(script(1, 4))
        improve(where.path / "run", where.folder, proposer, trials=4)
        assert where.lines[0]["cost"]["wall_s"] >= speed
        keys.append([request.key for request in proposer.asked])
        assert "steps" in told(proposer.asked[0])["budgets"]
    assert keys[0] == keys[1] and len(set(keys[0])) == 4


def test_a_child_that_ran_out_of_games_may_be_proposed_again(place: Place, tmp_path: Path) -> None:
    """The budget ends between the first look and the second: that is a probe, no rejection."""
    answers = script(1, 3)
    whole = Place(tmp_path / "whole")
    assert verdicts(whole.run(answers))[2] == ("indecisive", "probe")
    ended = place.run(answers, limits={"steps": _steps_before_the_second_look(whole) + 10})
    assert verdicts(ended)[2] == ("probe", "probe") and place.lines[2]["verdict"] == "probe"
    ended = place.run([*answers, answers[2]], limits={"steps": 1e6})
    assert verdicts(ended)[3] == ("indecisive", "probe"), "no duplicate: more games could decide"
    assert (
        place.lines[3]["seeds"] == whole.lines[2]["seeds"] and place.lines[3]["revision"] == place.lines[2]["revision"]
    )


def _steps_before_the_second_look(whole: Place) -> float:
    steps, seeds = 0.0, []
    for event in read(whole.path / "run" / "events.jsonl"):
        if event.kind == "gate.seeds" and event.data["trial"] == 3:
            seeds = event.data["seeds"]
        if event.kind == "gate.episode" and event.data["trial"] == 3 and event.data["seed"] not in seeds[:8]:
            return steps
        steps += event.data.get("budget", {}).get("amounts", {}).get("steps", 0.0)
    raise AssertionError("trial 3 has no second look")


def test_a_child_of_two_parents_has_two_names_in_the_ledger() -> None:
    run: Any = SimpleNamespace(ledger=SeedLedger())
    run.ledger.select("child", "parent")
    assert ledger_name(run, "child", "parent") == "child"
    other = ledger_name(run, "child", "another-parent")
    assert other != "child" and run.ledger.select(other, "another-parent")


def test_seeds_are_drawn_once_the_answer_is_there(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not before, and only then do they stand anywhere; what was opened follows from the events."""
    import improve_kit

    asked, words = list[str](), iter(f"{n:032x}" for n in range(100))
    monkeypatch.setattr(improve_kit, "DRAW", lambda: asked.append("drawn") or next(words))

    class Looking(Scripted):
        def propose(self, request: Request) -> Any:
            asked.append("answered")
            seeds = [e for e in read(place.path / "run" / "events.jsonl") if "draw" in e.data]
            assert len(seeds) == asked.count("drawn"), "nothing of this trial is drawn yet"
            return super().propose(request)

    answers = [answer([constant("SKILL", 30)]), answer([constant("SKILL", 45)])]
    ended = improve(place.path / "run", place.folder, Looking(answers), trials=2)
    assert asked == ["answered", "drawn", "answered", "drawn"] and verdicts(ended) == [("accept", "accept")] * 2
    ledger = SeedLedger.open(place.folder / "seeds.jsonl")
    assert [u.draw for u in ledger.uses] == [f"{n:032x}" for n in (0, 0, 1, 1)]
    for event, use in zip((e for e in ended_events(place) if e.kind == "gate.seeds"), ledger.uses, strict=True):
        assert list(use.seeds[: len(event.data["seeds"])]) == event.data["seeds"]
    line = place.lines[0]
    played = {e.data["seed"] for e in ended_events(place) if e.kind == "gate.episode" and e.data["trial"] == 1}
    assert set(line["seeds"]["select"]["drawn"]) | set(line["seeds"]["confirm"]["drawn"]) == played


def ended_events(place: Place) -> list[Any]:
    return read(place.path / "run" / "events.jsonl")
