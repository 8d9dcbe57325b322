"""`triune improve` as a user runs it, on a real game with policies that lose within seconds."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest
from cli_kit import copy_task, inside
from improve_kit import answer
from test_arena import LAZY, LEFTWARD, REWRITTEN
from transport_kit import completion, http_server, plain

from supervisor.events import read
from triune.commands.improve_setup import copy_folder, remembered, root_text
from triune.system import load

WORDS = {k: v for k, v in json.loads(answer([])).items() if k != "edit"}
FOLLOW = LAZY.replace(
    "    return NOOP",
    "    if scene.ball.x > scene.paddle.x + 4.0:\n        return RIGHT, 'right'\n"
    "    if scene.ball.x < scene.paddle.x - 4.0:\n        return LEFT, 'left'\n    return NOOP",
)


def payload(*words: str, cwd: Path, code: int = 0) -> dict[str, Any]:
    result = inside(*words, "--json", cwd=cwd)
    assert result.returncode == code, result.stderr
    return json.loads(result.stdout)


def begin(path: Path, *more: str) -> dict[str, Any]:
    """A run on a copy of Breakout that starts from LAZY and is answered by hand."""
    (path / "lazy.py").write_text(LAZY)
    words = ("--policy", "lazy.py", "--out", "task", "--run", "run", "--proposer", "agent", "--workspace", "ws")
    return payload("improve", "breakout", *words, "--shown", "1", "--floors", "off", *more, cwd=path)


def reply(path: Path, trial: int, policy: str) -> None:
    folder = path / "ws" / f"trial-{trial:03d}"
    (folder / "policy.py").write_text(policy)
    (folder / "answer.json").write_text(json.dumps(WORDS))


def test_a_person_improves_a_game(tmp_path: Path) -> None:
    shipped = (Path(__file__).parents[2] / "zoo" / "breakout" / "policy.py").read_text()
    told = begin(tmp_path, "--trials", "2")
    assert told["why"] == "waiting" and told["workspace"] == str(tmp_path / "ws" / "trial-001")
    assert "Failures" in (tmp_path / "ws" / "trial-001" / "EVIDENCE.md").read_text()
    assert (tmp_path / "task" / "policy.py").read_text() == LAZY
    assert (tmp_path / "ws" / "trial-001" / "games" / "parent-0" / "steps.jsonl").is_file()
    assert not [e for e in read(tmp_path / "run" / "events.jsonl") if "draw" in e.data], "no gate seed is known yet"
    reply(tmp_path, 1, REWRITTEN)
    told = payload("improve", "--resume", "run", cwd=tmp_path)
    assert [(t["verdict"], t["stage"]) for t in told["trials"]] == [("reject", "duplicate")]
    reply(tmp_path, 2, LAZY.replace("scene.ball.seen", "scene.bal.seen"))
    told = payload("improve", "--resume", "run", cwd=tmp_path)
    assert told["why"] == "waiting" and "did you mean" in told["detail"], "a slip of the pen is no failed idea"
    reply(tmp_path, 2, LAZY)
    (tmp_path / "ws" / "trial-002" / "answer.json").write_text(json.dumps({**WORDS, "target": "stop"}))
    told = payload("improve", "--resume", "run", cwd=tmp_path)
    assert told["why"] == "trials" and told["trials"][1]["verdict"] == "indecisive"
    assert (tmp_path / "task" / "policy.py").read_text() == LAZY
    assert (Path(__file__).parents[2] / "zoo" / "breakout" / "policy.py").read_text() == shipped
    assert len({e.data["draw"] for e in read(tmp_path / "run" / "events.jsonl") if e.kind == "proposal.read"}) == 2
    steps = told["budgets"]["steps"]
    assert steps["spent"] > 0 and steps["reserved"] == 0


@pytest.mark.slow
def test_a_better_policy_is_accepted_and_its_figures_come_again(tmp_path: Path) -> None:
    gate = {"screen": 2, "looks": [6], "spend": [0.05], "hopeful": [0.5], "confirm_least": 5, "confirm_most": 8}
    (tmp_path / "gate.json").write_text(json.dumps(gate))
    begin(tmp_path, "--trials", "2", "--gate", "gate.json")
    reply(tmp_path, 1, FOLLOW)
    told = payload("improve", "--resume", "run", cwd=tmp_path)
    assert told["accepted"] == 1 and (tmp_path / "task" / "policy.py").read_text() == FOLLOW
    reply(tmp_path, 2, LEFTWARD)
    told = payload("improve", "--resume", "run", cwd=tmp_path)
    assert told["trials"][1]["verdict"] in ("reject", "invalid")
    line = json.loads((tmp_path / "task" / "trials.jsonl").read_text().split("\n")[0])
    seeds = ("--seeds", ",".join(map(str, line["seeds"]["confirm"]["drawn"])))
    again = payload("eval", "task", "--policy", f"task/{line['accepted']}", *seeds, cwd=tmp_path)
    assert again["mean"] == pytest.approx(line["numbers"]["confirm_child"]) and again["isolated"]
    assert payload("report", "run", "--no-replays", cwd=tmp_path)["accepted"] == 1


def test_what_would_be_asked_is_written_and_nothing_is_asked(tmp_path: Path) -> None:
    (tmp_path / "lazy.py").write_text(LAZY)
    words = ("--policy", "lazy.py", "--out", "task", "--run", "run", "--shown", "1", "--dry-run")
    openai = ("--proposer", "openai", "--model", "m", "--base-url", "http://127.0.0.1:9/v1")
    told = payload("improve", "breakout", *words, *openai, cwd=tmp_path)
    assert told["request"]["tokens_estimate"] > 1000 and told["estimate"]["usd"] == "unknown"
    assert all((tmp_path / name).is_file() for name in told["files"])
    sent = {Path(name).name: tmp_path / name for name in told["files"]}
    assert "You improve the policy" in sent["system.md"].read_text() and "evidence.md" in sent
    assert "section 1 of 13: Contract and scene>>>" in sent["message.txt"].read_text()
    (tmp_path / "again").mkdir()
    by_hand = ("--proposer", "agent", "--workspace", "bench")
    told = payload("improve", "breakout", *(w if w != "lazy.py" else "../lazy.py" for w in words), *by_hand,
                   cwd=tmp_path / "again")  # fmt: skip
    assert {"ANSWER.md", "EVIDENCE.md", "policy.py"} <= {Path(name).name for name in told["files"]}
    assert not [e for e in read(tmp_path / "run" / "events.jsonl") if e.kind.startswith("proposal")]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("breakout", "--protocol", "classic"), "improve under one of seed-sticky, sticky"),
        ((), "which task"),
        (("breakot",), "did you mean 'breakout'"),
        (("breakout", "--proposer", "agnt"), "did you mean 'agent'"),
        (("breakout", "--proposer", "agent"), "--command"),
        (("breakout", "--proposer", "agent", "--workspace", "w", "--bench-share", "2", "--out", "t"), "from 0 to 1"),
        (("breakout", "--gate-seeds", "mine"), "drawn"),
        (("breakout", "--proposer", "replay"), "--recording"),
        (("breakout", "--proposer", "openai", "--base-url", "http://x"), "model"),
        (("breakout", "--policy", "lazy.py"), "--out"),
        (("breakout", "--resume", "run", "--out", "x"), "leave"),
        (("breakout", "--resume", "run", "--proposals", "3"), "as the run was started"),
        (("breakout", "--from-archive", "2", "--out", "t"), "from 0 to 1"),
        (("breakout", "--proposals", "0"), "--proposals"),
        (("breakout", "--gate", "gate.json", "--out", "t"), "did you mean 'screen'"),
        (("breakout", "--protocol", "stiky"), "did you mean 'sticky'"),
        (("breakout", "--out", "full"), "not empty"),
    ],
)
def test_usage(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    (tmp_path / "lazy.py").write_text(LAZY)
    (tmp_path / "gate.json").write_text('{"scren": 3}')
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    done = run_here(tmp_path, *words)
    assert done[0] == 2 and said in done[1], done
    assert not (tmp_path / "runs").exists()


def run_here(path: Path, *words: str) -> tuple[int, str]:
    """In this process, since starting another costs more than the check; exit code and error."""
    import contextlib
    import io
    import os

    from triune.cli import main

    before, said = os.getcwd(), io.StringIO()
    os.chdir(path)
    try:
        with contextlib.redirect_stderr(said):
            return main(["improve", *words]), said.getvalue()
    finally:
        os.chdir(before)


def test_a_run_that_is_none_is_refused(tmp_path: Path) -> None:
    code, said = run_here(tmp_path, "--resume", "nowhere")
    assert code == 1 and "nowhere" in said


def test_a_copy_has_the_ranges_and_whatever_else_a_task_is_read_from(tmp_path: Path) -> None:
    system = load("breakout")
    copy = copy_folder(system, tmp_path / "copy", history=False)
    assert load(copy, trust=True).ranges() == system.ranges() is not None
    own = {path.name for path in system.folder.iterdir() if path.is_file()}
    assert own - {path.name for path in copy.iterdir()} <= {"README.md", "scores.json", "trials.jsonl"}


def test_a_run_of_an_earlier_version_is_resumed_with_its_detector() -> None:
    args = argparse.Namespace(detector=None, protocol="sticky")
    remembered(args, {"options": {"eyes": "teacher", "protocol": "classic"}, "folder": "task"})
    assert (args.detector, args.protocol, args.task) == ("teacher", "sticky", "task")


# --- a model behind a server

ASK = ("--proposer", "openai", "--model", "m", "--shown", "1", "--trials", "1", "--floors", "off")


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A task whose policy has lines that end as on Windows."""
    folder = tmp_path_factory.mktemp("ends") / "task"
    copy_task(folder, "cartpole")
    text = (folder / "policy.py").read_text()
    (folder / "policy.py").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    return folder


def test_a_server_that_asks_to_wait_stops_the_run_until_then(
    ends: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    key = "sk-test-0123456789abcdef"
    monkeypatch.setenv("OPENAI_API_KEY", key)
    busy = plain(429, {"error": {"message": f"rate limit of {key}"}}, Retry_After="3600")
    stop = plain(200, completion(answer([], target="stop")))
    with http_server(busy, stop) as (url, http):
        words = (*ASK, "--base-url", url, "--run", "run", "--json")
        told = []
        for more in ((str(ends), *words), ("--resume", "run", "--json")):
            code, _ = run_here(tmp_path, *more)
            told.append((code, json.loads(capfd.readouterr().out)))
    codes, payloads = zip(*told, strict=True)
    assert codes == (1, 0) and payloads[0]["why"] == "proposer"
    assert payloads[0]["wait_s"] == 3600 and "asks to wait 3600 s" in payloads[0]["detail"]
    assert [len(p["trials"]) for p in payloads] == [0, 1], "only answers are trials"
    events = (tmp_path / "run" / "events.jsonl").read_text()
    assert len(http.seen) == 2 and key not in events and "rate limit of [" in events
    assert len((ends / "trials.jsonl").read_text().splitlines()) == 1
    assert b"\r" not in (ends / "policy.py").read_bytes(), "the run starts from lines that edits can be applied to"


@pytest.mark.parametrize("change", [
    lambda t: t, lambda t: t.replace("\n", "\r\n"), lambda t: t.replace("\n", "\r"), lambda t: "\ufeff" + t,
    lambda t: t.replace("\n", "\r\n", 9),
])  # fmt: skip
def test_a_run_starts_from_lines_that_end_one_way(tmp_path: Path, change: Any) -> None:
    system = load("cartpole")
    text = (system.folder / "policy.py").read_text()
    (tmp_path / "policy.py").write_bytes(change(text).encode())
    assert root_text(system, str(tmp_path / "policy.py")) == text


@pytest.mark.parametrize("text", ["def act(:", "x = 1\x0c\n", "# \u202e\n", "(" * 9000])
def test_what_no_edit_could_be_applied_to_is_refused_at_the_start(tmp_path: Path, text: str) -> None:
    (tmp_path / "policy.py").write_text(text)
    code, said = run_here(
        tmp_path, "cartpole", "--policy", "policy.py", "--out", "task", *ASK, "--base-url", "http://x"
    )
    assert code == 1 and "policy.py" in said and not (tmp_path / "runs").exists()


@pytest.mark.parametrize(("words", "said"), [
    (("--base-url", "http://me:hunter2pass@host/v1"), "holds a password"), (("--base-url", "host:80"), "no address"),
    (("--set", 'extra={"api_key": "hunter2pass"}'), "would be logged"),
    (("--set", "key_env=hunter2-pass"), "not the key"),
    (("--proposer", "agent", "--command", "x --token hunter2pass"), "--keep-env"),
    (("--proposer", "agent", "--command", "x", "--keep-env", "A=hunter2pass"), "not the key"),
    (("--proposer", "agent", "--command", "x 'hunter2pass"), "quotation"),
    (("--proposer", "agent", "--command", "x hunter2pass", "--keep-env", "MY_TOKEN"), "agent_command holds a key"),
    (("--proposer", "agent", "--keep-env", "MY_TOKEN", "--record", "hunter2pass"), "record holds a key"),
    (("--set", "key_env=MY_TOKEN", "--base-url", "http://host/hunter2pass/v1"), "base_url holds a key"),
])  # fmt: skip
def test_words_that_hold_a_key_are_refused_and_not_shown(
    tmp_path: Path, words: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setenv("MY_TOKEN", "hunter2pass")
    code, told = run_here(tmp_path, "cartpole", "--out", "task", "--run", "run", *ASK, *words)
    assert code == 2 and said in told and "hunter2" not in told and not list(tmp_path.iterdir())


def test_a_key_that_cannot_be_sent_is_refused_before_the_first_game(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setenv("OPENAI_API_KEY", "sk-abcdefgh\nijklmnop")
    code, told = run_here(tmp_path, "cartpole", "--out", "task", "--run", "run", *ASK)
    assert code == 1 and "line break" in told and "abcdefgh" not in told and not (tmp_path / "run").exists()


def test_a_run_that_failed_before_it_began_is_started_again(tmp_path: Path) -> None:
    """Each of the two messages names what then works."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "events.jsonl").touch()
    told = payload("improve", "--resume", "run", cwd=tmp_path, code=2)["error"]
    assert "ended before it began; start it again with the task's name and --run" in str(told)
    words = ("cartpole", "--out", "task", "--run", "run", "--shown", "1", "--dry-run")
    assert payload("improve", *words, cwd=tmp_path)["run"] == "run"


def test_a_copy_that_is_called_as_a_task_of_the_zoo_is_the_copy(tmp_path: Path) -> None:
    """`--out cartpole` beside the user's own files, not the shipped task of that name."""
    (tmp_path / "weak.py").write_text('def act(scene, memory):\n    return LEFT, "always"\n')
    words = ("--policy", "weak.py", "--out", "cartpole", "--run", "run", "--proposer", "agent", "--workspace", "ws")
    told = payload("improve", "cartpole", *words, "--shown", "1", "--floors", "off", "--trials", "1", cwd=tmp_path)
    assert told["folder"] == str(tmp_path / "cartpole")
    assert (tmp_path / "cartpole" / "policy.py").read_text() == (tmp_path / "weak.py").read_text()
