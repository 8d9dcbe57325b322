"""Recordings: what was answered comes back byte for byte, a miss says what differs, damage is noticed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from answer_kit import POLICY, request

from data_flywheel.storage import log
from envs import writing as durable
from supervisor.budget import UNKNOWN, Amount
from supervisor.errors import SupervisorError
from supervisor.proposers.replay import ReplayProposer, append, exchanges, migrate, recording
from supervisor.protocols import Image, Proposer, ProposerError, Reply, Request, Section, Usage

REPLY = Reply("answer \u2028 \ud800 é", Usage(120.0, UNKNOWN, 1.5), ({"asked": "x", "response": {"n": [1, None]}},))


class Scripted:
    """Gives prepared replies or raises prepared errors."""

    name = "scripted"

    def __init__(self, *outcomes: Reply | Exception) -> None:
        self.outcomes = list(outcomes)

    def estimate(self, request: Request) -> Mapping[str, Amount]:
        return {"tokens": 500.0}

    def propose(self, request: Request) -> Reply:
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


@pytest.fixture(params=["made.jsonl", "folder"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / "new" / str(request.param)


def recorded(path: Path, *requests: Request) -> ReplayProposer:
    recorder = recording(Scripted(*[REPLY] * len(requests)), path)
    for made in requests:
        recorder.propose(made)
    return ReplayProposer(path)


def test_what_was_answered_comes_back(path: Path) -> None:
    recorder: Proposer = recording(Scripted(REPLY, Reply("two")), path)
    assert recorder.name == "scripted" and recorder.estimate(request()) == {"tokens": 500.0}
    assert recorder.propose(request(1)) == REPLY and recorder.propose(request(2)).text == "two"
    again: Proposer = ReplayProposer(path)
    assert again.propose(request(2)).text == "two" and again.propose(request(1)) == REPLY
    assert again.propose(request(1)) == REPLY  # as often as asked: a run may be resumed
    assert again.estimate(request(1)) == {"tokens": 120.0, "usd": UNKNOWN, "wall_s": 1.5}
    assert [e["proposer"] for e in exchanges(path)] == ["scripted"] * 2


def test_failures_are_replayed_too(path: Path) -> None:
    error = ProposerError("status 503", Usage(7.0, 0.5, 2.0), fatal=True)
    with pytest.raises(ProposerError):
        recording(Scripted(error), path).propose(request())
    with pytest.raises(ProposerError, match="status 503") as found:
        ReplayProposer(path).propose(request())
    assert found.value.fatal and found.value.usage == error.usage


def test_the_last_answer_to_a_request_counts(path: Path) -> None:
    recorder = recording(Scripted(REPLY, Reply("later")), path)
    recorder.propose(request())
    recorder.propose(request())
    assert ReplayProposer(path).propose(request()).text == "later" and len(ReplayProposer(path)) == 1


@pytest.mark.parametrize(("asked", "said"), [
    (request(sections=(Section("Scoreboard", "mean 12.0 over 20 games"), Section("Failures", "step 12: RIGHT"))),
     "section 'Failures' (line 1: recorded \"step 12: LEFT 'to the left'\", now 'step 12: RIGHT')"),
    (request(sections=(Section("Scoreboard", "mean 12.0 over 20 games"),)), "'Failures' (only in the recording)"),
    (request(sections=(*request().sections, Section("Locks", "none"))), "section 'Locks' (not in the recording)"),
    (request(sections=request().sections[::-1]), "the order of the sections"),
    (request(policy=POLICY + "X = 1\n"), "policy (line 21: recorded '', now 'X = 1')"), (request(task="pong"), "task"),
    (request(images=(Image("sheet", "image/png", b"x", "step 13"),)), "pictures (sheet)"),
    (request(images=()), "pictures (their number)"),
], ids=["text", "missing", "added", "order", "policy", "task", "picture", "pictures"])  # fmt: skip
def test_a_miss_names_what_differs(asked: Request, said: str, path: Path) -> None:
    with pytest.raises(ProposerError) as found:
        recorded(path, request(1), request(2)).propose(asked)
    assert found.value.fatal and said in str(found.value) and request(1).key[:16] in str(found.value)
    assert "replay with the version" in str(found.value)
    assert recorded(path, request(1)).estimate(asked) == {}


def test_a_miss_names_the_nearest_of_its_trial(path: Path) -> None:
    far = request(1, task="other", policy="x", images=())
    near = request(1, images=())
    with pytest.raises(ProposerError) as found:
        recorded(path, far, near, request(2)).propose(request(1))
    assert (
        near.key[:16] in str(found.value) and "task" not in str(found.value).split("differs in")[1].split("replay")[0]
    )
    with pytest.raises(ProposerError, match="no request of trial 7; it has trials 1 to 2"):
        ReplayProposer(path).propose(request(7))


def test_damage_is_noticed(path: Path) -> None:
    with pytest.raises(SupervisorError, match="there is no recording"):
        ReplayProposer(path)
    recorded(path, request(1))
    file = path if path.is_file() else next(path.glob("*.json"))
    whole = file.read_text()
    for damaged, said in [
        (whole.replace("LEFT", "RIGHT"), "was changed after it was recorded"), (whole[:-9], "not an exchange"),
        (whole.replace('"format": 2, "key"', '"format": 3, "key"'), "update Triune"), ("[]", "not an exchange"),
        (whole.replace('"text"', '"test"'), "not an exchange"), (whole.replace('"sections"', '"parts"'), "was changed"),
    ]:  # fmt: skip
        file.write_text(damaged)
        with pytest.raises(SupervisorError, match=said):
            ReplayProposer(path)


def test_a_kill_while_recording_loses_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded(path, request(1))

    def killed(descriptor: int, data: bytes) -> None:
        os.write(descriptor, data[:50])
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(durable, "write_all", killed)
        patched.setattr(log, "write_all", killed)
        with pytest.raises(KeyboardInterrupt):
            recording(Scripted(REPLY), path).propose(request(2))
    assert ReplayProposer(path).propose(request(1)) == REPLY and len(ReplayProposer(path)) == 1
    recorded(path, request(2))
    assert ReplayProposer(path).propose(request(2)) == REPLY and len(ReplayProposer(path)) == 2


def test_the_file_is_lines_that_a_person_can_read(tmp_path: Path) -> None:
    recorded(tmp_path / "made.jsonl", request(1), request(2))
    lines = [json.loads(line) for line in (tmp_path / "made.jsonl").read_text().splitlines()]
    assert [set(made) for made in lines] == [{"format", "key", "request", "proposer", "text", "usage", "turns"}] * 2
    assert lines[0]["request"]["sections"][0] == ["Scoreboard", "mean 12.0 over 20 games"]


def test_a_recording_of_format_1_is_migrated(tmp_path: Path) -> None:
    """Its keys hashed the bytes of pictures; the same requests find their answers in the migrated one."""
    asked = request()
    append(tmp_path / "new.jsonl", asked, "agent", Usage(), {"text": "{}", "turns": []})
    (line,) = (tmp_path / "new.jsonl").read_text().splitlines()
    made = json.loads(line)
    images = [[*image, "0" * 64] for image in made["request"]["images"]]
    old = {**made["request"], "images": images}
    key = hashlib.sha256(json.dumps(old, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    (tmp_path / "old.jsonl").write_text(json.dumps({**made, "format": 1, "request": old, "key": key}) + "\n")
    with pytest.raises(SupervisorError, match="triune migrate"):
        ReplayProposer(tmp_path / "old.jsonl")
    assert migrate(tmp_path / "old.jsonl", tmp_path / "again.jsonl") == 1
    assert ReplayProposer(tmp_path / "again.jsonl").propose(asked).text == "{}"
    (tmp_path / "bad.jsonl").write_text(json.dumps({**made, "format": 1, "request": old, "key": "1" * 64}) + "\n")
    with pytest.raises(SupervisorError, match="changed after it was recorded"):
        migrate(tmp_path / "bad.jsonl", tmp_path / "never.jsonl")


# --- brought up to date -------------------------------------------------------------------------------------------


def test_answers_are_given_by_trial_and_written_with_the_present_question(path: Path, tmp_path: Path) -> None:
    old = [request(1), request(2)]
    recorded(path, *old)
    into = tmp_path / "again.jsonl"
    proposer = ReplayProposer(path, into)
    asked = [Request(r.task, r.trial, r.policy, (Section("New", "words"),)) for r in old]
    assert proposer.estimate(asked[0])["tokens"] == 120.0
    assert [proposer.propose(r) for r in asked] == [REPLY, REPLY]
    assert [m["key"] for m in exchanges(into)] == [r.key for r in asked]
    assert {m["proposer"] for m in exchanges(into)} == {"scripted"}
    again = ReplayProposer(into)
    assert again.propose(asked[1]) == REPLY
    with pytest.raises(ProposerError, match="no such request"):
        again.propose(old[0])


def test_failures_are_written_again_too(path: Path, tmp_path: Path) -> None:
    recorder = recording(Scripted(ProposerError("no answer", Usage(3.0), fatal=False)), path)
    with pytest.raises(ProposerError):
        recorder.propose(request(1))
    into = tmp_path / "again.jsonl"
    for old, new in ((path, into), (into, tmp_path / "third.jsonl")):
        with pytest.raises(ProposerError, match="no answer") as found:
            ReplayProposer(old, new).propose(Request(request(1).task, 1, request(1).policy))
        assert not found.value.fatal and found.value.usage.tokens == 3.0


@pytest.mark.parametrize("change", [{"policy": POLICY + "# other\n"}, {"trial": 9}, {"task": "other"}])
def test_an_answer_to_another_policy_trial_or_task_is_no_answer(
    path: Path, tmp_path: Path, change: dict[str, object]
) -> None:  # fmt: skip
    recorded(path, request(1))
    made = request(1)
    told = {"task": made.task, "trial": made.trial, "policy": made.policy} | change
    with pytest.raises(ProposerError) as found:
        ReplayProposer(path, tmp_path / "again.jsonl").propose(Request(**told))  # type: ignore[arg-type]
    assert found.value.fatal and not (tmp_path / "again.jsonl").exists()
