"""The loop: what is accepted, what is refused and where, what is written, what ends a run."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import improve_kit
import pytest
from improve_kit import (
    ROOT_POLICY,
    FakeArena,
    Place,
    Scripted,
    answer,
    constant,
    hashes,
    improve,
    ledger,
    script,
    verdicts,
)

from supervisor.errors import SupervisorError
from supervisor.events import LogDamaged, read
from supervisor.loop.loop import held
from supervisor.loop.parts import Parts, Situation
from supervisor.proposers.replay import ReplayProposer, recording
from supervisor.protocols import ProposerError, Reply, Request

BETTER = answer([constant("SKILL", 30)])
ALLOWED = {"policy.py", "trials.jsonl", "seeds.jsonl", "lineage", "locks"}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting for the disk proves nothing here."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_a_better_child_replaces_the_policy(place: Place) -> None:
    ended = place.run([BETTER])
    assert verdicts(ended) == [("accept", "accept")]
    assert place.policy == ROOT_POLICY.replace("SKILL = 10", "SKILL = 30")
    (line,) = place.lines
    assert line["verdict"] == "accept" and line["revision"] == line["accepted"] == "lineage/r01.py"
    assert (place.folder / "lineage" / "r00.py").read_text() == ROOT_POLICY
    assert (place.folder / "lineage" / "r01.py").read_text() == place.policy
    assert line["locks"] == [p.stem for p in (place.folder / "locks").glob("*.json")] != []


@pytest.mark.parametrize(
    ("edit", "kind", "stage"),
    [
        ([constant("SKILL", 2)], "reject", None),
        ([constant("SKIL", 30)], "invalid", "schema"),
        ([constant("SKILL", 10)], "invalid", "schema"),
        ([{"replace": "rule", "code": "def rule(scene, memory, action):\n    return 0"}], "invalid", "schema"),
        ([constant("SKILL", 30), constant("FAIL", 1, True)], "invalid", "compile"),
        ([constant("SKILL", 30), constant("BROKEN", 1, True)], "reject", "locks"),
        ([{"replace": "act", "code": 'def act(scene, memory):\n    return NOOP, "same"'}], "reject", "duplicate"),
        ([constant("SKILL", 30), constant("ODD", 1, True)], "invalid", "screen"),
        ([constant("SKILL", 30), constant("HARD", 9, True)], "reject", "full"),
    ],
)
def test_what_is_not_better_stops_at_its_stage(
    place: Place, edit: list[dict[str, str]], kind: str, stage: str | None
) -> None:
    ended = place.run([answer(edit)])
    assert ended.state.trials[0].verdict["kind"] == kind
    assert stage is None or ended.state.trials[0].verdict["stage"] == stage
    assert place.policy == ROOT_POLICY and not (place.folder / "locks").exists()
    assert place.lines[0]["verdict"] == kind and place.lines[0]["accepted"] is None


def test_a_lock_that_the_parent_breaks_is_not_asked_of_its_child(place: Place) -> None:
    assert FakeArena().locks(ROOT_POLICY)["never"] is False
    assert verdicts(place.run([BETTER])) == [("accept", "accept")]


def test_a_change_that_adds_nothing_is_left_out(place: Place) -> None:
    act = {"replace": "act", "code": 'def act(scene, memory):\n    return NOOP, "a longer reason that changes nothing"'}
    ended = place.run([answer([constant("SKILL", 30), act])])
    assert ended.state.trials[0].verdict["winner"] == "without act"
    sound = {v["name"]: v["sound"] for v in ended.state.trials[0].variants}
    assert sound == {"without act": True, "without SKILL": False}, "what decides as the parent does is no variant"
    assert place.policy == ROOT_POLICY.replace("SKILL = 10", "SKILL = 30")
    (line,) = place.lines
    assert (line["revision"], line["accepted"]) == ("lineage/r01.py", "lineage/r02.py")
    assert (place.folder / "lineage" / "r02.py").read_text() == place.policy


def test_figures_can_be_had_again_from_the_lineage(place: Place) -> None:
    place.run([BETTER])
    line = place.lines[0]
    first, count = line["seeds"]["confirm"]
    for who, number in (("parent", 0), ("child", 1)):
        text = (place.folder / "lineage" / f"r{number:02d}.py").read_text()
        scores = [s.score for _, s in FakeArena().play([(text, seed) for seed in range(first, first + count)])]
        assert sum(scores) / count == pytest.approx(line["numbers"][f"confirm_{who}"])


def test_nothing_else_of_the_folder_changes(place: Place) -> None:
    (place.folder / "notes").mkdir()
    (place.folder / "notes" / "mine.txt").write_text("mine")
    before = {p: p.read_bytes() for p in place.folder.rglob("*") if p.is_file() and p.name != "policy.py"}
    place.run(script(1, 14))
    assert all(p.read_bytes() == data for p, data in before.items())
    new = {p.relative_to(place.folder).parts[0] for p in place.folder.rglob("*") if p not in before}
    assert new <= ALLOWED | {"notes"}


def test_the_next_run_goes_on_with_lineage_lines_and_seeds(place: Place) -> None:
    place.run([answer([constant("SKILL", 3)]), BETTER])
    before = [json.dumps(line) for line in place.lines]
    ended = place.run([answer([constant("SKILL", 3)]), answer([constant("SKILL", 55)])], "again")
    assert verdicts(ended) == [("reject", "duplicate"), ("accept", "accept")], "what was tried before is known"
    assert [json.dumps(line) for line in place.lines[:2]] == before
    assert [line["run"] for line in place.lines] == ["run", "run", "again", "again"]
    assert place.lines[3]["revision"] == "lineage/r03.py"
    blocks = [tuple(line["seeds"]["confirm"]) for line in place.lines if line["seeds"]["confirm"]]
    assert len(set(blocks)) == len(blocks), "a confirmation block is fresh"


def test_lines_of_other_runs_keep_their_place(place: Place) -> None:
    place.run([BETTER], trials=1)
    place.run([answer([constant("SKILL", 60)])], "other")
    mine = place.run([BETTER, answer([constant("SKILL", 1)])], trials=2, run="third")
    assert verdicts(mine)[0][1] == "duplicate"
    assert [line["run"] for line in place.lines] == ["run", "other", "third", "third"]


def test_a_request_for_data_changes_no_policy(place: Place) -> None:
    wanted = [{"what": "the ball in the bricks", "why": "it is lost", "count": 5}]
    idle = answer([], target="perception_data", data_requests=wanted)
    both = answer([constant("SKILL", 30)], target="perception_data", data_requests=wanted)
    ended = place.run([idle, both])
    assert verdicts(ended) == [("indecisive", "schema"), ("invalid", "schema")]
    assert place.policy == ROOT_POLICY
    told = [e.data for e in read(place.path / "run" / "events.jsonl") if e.kind == "proposal.read"]
    assert told[0]["data_requests"] == wanted


def test_stop_ends_the_run_and_a_resumed_one_asks_again(place: Place) -> None:
    stop = answer([], target="stop")
    ended = place.run([stop, BETTER], trials=5)
    assert ended.why == "proposer" and len(ended.state.trials) == 1
    ended = place.run([stop, BETTER], trials=2)
    assert ended.why == "trials" and verdicts(ended)[1] == ("accept", "accept")


class Failing(Scripted):
    """Cannot be reached on the trials named."""

    fatal, on = False, (1,)

    def propose(self, request: Request) -> Reply:
        if request.trial in self.on:
            raise ProposerError("the server is away", fatal=self.fatal)
        return super().propose(request)


def test_no_answer_costs_a_trial_and_the_run_goes_on(place: Place) -> None:
    ended = improve(place.path / "run", place.folder, Failing([BETTER]), trials=2)
    assert verdicts(ended) == [("invalid", "schema"), ("accept", "accept")]
    assert "the server is away" in place.lines[0]["reasons"][0]


def test_a_fatal_failure_stops_the_run_and_is_asked_again(place: Place) -> None:
    proposer = Failing([BETTER])
    proposer.fatal = True
    ended = improve(place.path / "run", place.folder, proposer, trials=1)
    assert ended.why == "proposer" and "away" in ended.detail and not place.lines
    assert verdicts(place.run([BETTER])) == [("accept", "accept")]


def test_a_recording_replays_to_the_same_ledger(tmp_path: Path) -> None:
    answers, record = script(7, 8), tmp_path / "exchanges.jsonl"
    one, two = Place(tmp_path / "one"), Place(tmp_path / "two")
    improve(one.path / "run", one.folder, recording(Scripted(answers), record), trials=8)  # type: ignore[arg-type]
    improve(two.path / "run", two.folder, ReplayProposer(record), trials=8)
    assert ledger(two.path / "run", two.folder)["judged"] == ledger(one.path / "run", one.folder)["judged"]
    assert [{**a, "proposer": ""} for a in one.lines] == [{**b, "proposer": ""} for b in two.lines]


def test_the_question_alone_changes_nothing(place: Place) -> None:
    before = hashes(place.folder)
    proposer = Scripted([BETTER])
    improve(place.path / "run", place.folder, proposer, trials=1, only_evidence=True)
    assert hashes(place.folder) == before and not proposer.asked
    assert sorted(p.name for p in place.folder.iterdir()) == ["policy.py", "safety.py"]
    kinds = [e.kind for e in read(place.path / "run" / "events.jsonl")]
    assert "evidence.made" in kinds and "proposal.received" not in kinds


def test_a_folder_that_changed_is_refused(place: Place) -> None:
    place.run([BETTER], trials=1)
    (place.folder / "policy.py").write_text(ROOT_POLICY + "# mine\n")
    with pytest.raises(SupervisorError, match="changed by something else"):
        place.run([BETTER, BETTER], trials=2)
    (place.folder / "policy.py").write_text(ROOT_POLICY)
    (place.folder / "safety.py").write_text("def rule(scene, memory, action):\n    return 0\n")
    with pytest.raises(SupervisorError, match="safety of .* changed"):
        place.run([BETTER, BETTER], trials=2)


def test_a_tampered_log_is_refused(place: Place) -> None:
    place.run([BETTER])
    path = place.path / "run" / "events.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"accept"', b'"reject"', 1))
    with pytest.raises(LogDamaged):
        place.run([BETTER], trials=2)


def test_a_blob_that_changed_is_refused(place: Place) -> None:
    ended = place.run([BETTER], trials=1)
    blob = place.path / "run" / "blobs" / ended.state.incumbent
    blob.write_bytes(blob.read_bytes() + b"\n")
    with pytest.raises(SupervisorError, match="was changed after it was written"):
        place.run([BETTER, BETTER], trials=2)


def test_one_run_at_a_time_improves_a_folder(place: Place) -> None:
    with held(place.folder), pytest.raises(SupervisorError, match="improved by another run"):
        place.run([BETTER])
    assert verdicts(place.run([BETTER])) == [("accept", "accept")]


def test_secrets_reach_neither_events_nor_blobs(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    import improve_kit

    from supervisor.events import EventLog

    secret = "sk-0123456789abcdef"
    opened = EventLog.open
    monkeypatch.setattr(improve_kit.EventLog, "open", lambda path, now: opened(path, now, secrets=[secret]))
    place.run([answer([constant("SKILL", 30)], diagnosis=f"the key is {secret}")])
    files = [p for p in place.path.rglob("*") if p.is_file()]
    assert files and not [p for p in files if secret.encode() in p.read_bytes()]


def test_training_and_gate_seeds_never_meet(place: Place) -> None:
    evaluator = FakeArena()
    place.run(script(2, 10), evaluator=evaluator)
    shown = {e.data["seed"] for e in read(place.path / "run" / "events.jsonl") if e.kind == "evidence.episode"}
    assert shown and max(shown) < 1000
    assert evaluator.played and all(1000 <= seed < 10_000 for _, seed in evaluator.played)


def test_locks_that_the_answer_asks_for_are_made_where_policies_agree(place: Place) -> None:
    wishes = [{"seed": 0, "step": 20, "why": "a save"}, {"seed": 700, "step": 1, "why": "never shown"},
              {"seed": 1, "step": 4000, "why": "never reached"}]  # fmt: skip
    place.run([answer([constant("SKILL", 30)], new_locks=wishes)])
    accepted = next(e.data for e in read(place.path / "run" / "events.jsonl") if e.kind == "policy.accepted")
    assert "auto-r01-0-20" in accepted["locks"] and len(accepted["locks"]) == 2
    assert "seed 700" in accepted["note"] and "step 4000" in accepted["note"]
    assert {p.stem for p in (place.folder / "locks").glob("*.json")} == set(accepted["locks"])


def test_locks_can_be_left_out(place: Place) -> None:
    assert verdicts(place.run([BETTER], auto_lock=False)) == [("accept", "accept")]
    assert place.lines[0]["locks"] == [] and not (place.folder / "locks").exists()


def test_runs_of_one_name_do_not_overwrite_each_other(place: Place) -> None:
    place.run([BETTER], "one/run")
    place.run([answer([constant("SKILL", 1)])], "two/run")
    assert [line["run"] for line in place.lines] == ["run", "run.2"]


class Interrupted(FakeArena):
    """Ctrl-C at its first gate episodes."""

    def play(self, games: Sequence[tuple[str, int]]) -> Any:
        yield from super().play(games[:2])
        raise KeyboardInterrupt


def test_ctrl_c_leaves_a_run_that_goes_on(place: Place, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        place.run([BETTER], evaluator=Interrupted())
    events = read(place.path / "run" / "events.jsonl")
    assert (events[-1].kind, events[-1].data["why"]) == ("run.stopped", "interrupted")
    assert sum(e.kind == "gate.episode" for e in events) == 2
    assert verdicts(place.run([BETTER])) == [("accept", "accept")]
    alone = Place(tmp_path / "alone")
    alone.run([BETTER])
    assert ledger(alone.path / "run", alone.folder) == ledger(place.path / "run", place.folder)


def test_wall_time_is_a_budget_too(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    import improve_kit

    seconds = iter(range(10**6))
    made = improve_kit.parts

    def ticking(*what: Any) -> Any:
        parts = made(*what)
        parts.clock = lambda: float(next(seconds))
        return parts

    monkeypatch.setattr(improve_kit, "parts", ticking)
    ended = place.run(script(2, 50), limits={"wall_s": 60.0})
    assert ended.why == "budget" and "wall time" in ended.detail
    assert 30 <= ended.budgets["wall_s"]["spent"] <= 60


def test_progress_names_the_trial_and_ends_full(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[float, float, str]] = []
    monkeypatch.setattr("improve_kit.Parts", lambda *a, **k: Parts(*a, **k, progress=lambda *p: seen.append(p)))
    place.run([BETTER])
    assert seen[:6] == [
        (n, 6, f"trial 1: {n} of 6 games, {f} k frames" + ", 0 s left" * (n < 6))
        for n, f in zip(range(1, 7), [s[2].split(", ")[1].split()[0] for s in seen[:6]], strict=True)
    ], "both sides of three pairs are one stream"
    assert all(done <= total for done, total, _ in seen) and seen[-1][0] == seen[-1][1]


def test_every_stage_is_told_as_it_begins(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits sees evidence, question, answer, stages of the gate with their pairs, verdict, whatever comes."""
    told: list[str] = []
    monkeypatch.setattr("improve_kit.Parts", lambda *a, **k: Parts(*a, **k, say=told.append))
    place.run([BETTER, "{nonsense", answer([constant("FAIL", 1, True)]), answer([], target="stop")])
    by_trial = {n: [t.split(": ", 1)[1] for t in told if t.startswith(f"trial {n}: ")] for n in range(1, 5)}
    assert sum(map(len, by_trial.values())) >= len(told) - 2  # notes on locks
    starts = ["evidence: playing 2 training games", "asking scripted", "answer: 1 change: it stands still", "compile"]
    starts += ["locks", "duplicate", "screen: 0 pairs so far, playing 3", "full: 3 pairs so far, playing 2"]
    starts += ["confirm: 0 pairs so far", "accept at accept", "evidence: playing 2 training games of the accepted"]
    at = [next((i for i, line in enumerate(by_trial[1]) if line.startswith(start)), -1) for start in starts]
    assert -1 not in at, (starts, by_trial[1])
    narrowing = [line for line in by_trial[1] if " pairs: " in line and " p 0." in line]
    assert [line.split(" in ")[1].split(" pairs")[0] for line in narrowing[:3]] == ["3", "5", "8"]
    assert by_trial[2][1] == "asking scripted" and by_trial[2][2].startswith("answer: no changes: ")
    assert any(line.startswith("invalid at compile") for line in by_trial[3])
    assert by_trial[4][1].startswith("answer: no changes: it stands still") and len(told) < 60


# --- the refused child in the evidence ----------------------------------------------------------------------------


WORSE, WRONG = answer([constant("SKILL", 5)]), answer([constant("FAIL", 1, True)])


def situations(place: Place, monkeypatch: pytest.MonkeyPatch, answers: Sequence[str], **more: Any) -> list[Situation]:
    """What the evidence of each trial was made of, with two games of the refused child."""
    seen: list[Situation] = []
    made = improve_kit.parts

    def watched(*what: Any) -> Parts:
        parts = made(*what)
        inner = parts.evidence
        parts.refused, parts.evidence = 2, lambda situation: seen.append(situation) or inner(situation)  # type: ignore
        return parts

    monkeypatch.setattr(improve_kit, "parts", watched)
    place.run(answers, **more)
    return seen


def test_the_last_refused_child_is_played_on_its_parents_seeds(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    first, second, third, fourth = situations(place, monkeypatch, [WORSE, WRONG, BETTER, WORSE])
    assert first.refused is None
    for situation in (second, third):  # what does not compile cannot be played: the one before it is shown
        assert situation.refused and situation.refused.trial == 1
        assert [e.meta["seed"] for e in situation.refused.episodes] == [e.meta["seed"] for e in situation.episodes]
    assert fourth.refused is None  # of another parent, whose children nobody has refused yet
    played = [e.data for e in read(place.path / "run" / "events.jsonl") if e.kind == "evidence.episode"]
    assert len({(d["policy"], d["seed"]) for d in played}) == len(played)  # each game once
    assert second.locks["never"] is False  # a lock that the parent itself does not keep is known by then


@pytest.mark.parametrize("steps", [1_300.0, 2_000.0])
def test_a_refused_child_is_not_played_where_frames_are_short(
    place: Place, monkeypatch: pytest.MonkeyPatch, steps: float
) -> None:  # fmt: skip
    seen = situations(place, monkeypatch, [WORSE, BETTER], limits={"steps": steps})
    assert len(seen) == 2 and seen[1].refused is None


def test_evidence_that_shows_no_child_plays_none(place: Place) -> None:
    place.run([WORSE, WORSE.replace("5", "4")])
    played = [e.data["policy"] for e in read(place.path / "run" / "events.jsonl") if e.kind == "evidence.episode"]
    assert len(set(played)) == 1
