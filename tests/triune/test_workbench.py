"""The workbench on CartPole, with policies that fall within a second: what its commands say, spend and refuse."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from data_flywheel.episodes.episode import Episode
from perception.scene import SceneSchema
from supervisor.proposers import spending
from supervisor.proposers.raw_games import games_page, lines_of
from supervisor.proposers.workspace import COMMANDS, prepare
from supervisor.protocols import Request, Section
from triune.cli import main
from triune.commands.improve_setup import furniture_of
from triune.commands.workbench.__main__ import run as bench
from triune.play.evaluator import TaskEvaluator
from triune.system import load

WEAK = 'def act(scene, memory):\n    return LEFT, "left"\n'
LEAN = 'def act(scene, memory):\n    return (RIGHT, "right") if scene.pole.angle > 0.0 else (LEFT, "left")\n'
REQUEST = Request("cartpole", 1, WEAK, (Section("Failures", "it fell"),))
PNG = b"\x89PNG"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with one training game."""
    home = tmp_path_factory.mktemp("bench")
    evaluator = TaskEvaluator(load("cartpole"), None, "cnn", home / "work", floors=False)
    furniture = furniture_of(SimpleNamespace(trust=False, require_isolation=False), evaluator, frozenset())  # type: ignore[arg-type]
    prepare(home / "ws", REQUEST, evaluator.system.folder, furniture, 4000.0, [3])
    evaluator.close()
    return home / "ws"


@pytest.fixture
def workspace(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "ws")
    (tmp_path / "ws" / "policy.py").write_text(LEAN)
    return tmp_path / "ws"


def told(folder: Path, *words: str) -> tuple[int, str, str]:
    """Exit code, standard output and log of a command in a workspace."""
    out, log = io.StringIO(), io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(log):
        code = main(words, bench)
    return code, out.getvalue(), log.getvalue()


def payload(folder: Path, *words: str, code: int = 0) -> dict[str, Any]:
    found, out, log = told(folder, *words, "--json")
    assert found == code, log
    return json.loads(out)


def test_what_lies_in_a_workspace(made: Path) -> None:
    for name in COMMANDS:
        assert os.access(made / name, os.X_OK) and f"workbench {name} " in (made / name).read_text()
    for name in ("README.md", "ANSWER.md", "LANGUAGE.md", "EVIDENCE.md"):
        assert (made / name).read_text().strip()
    assert "`fly(x, v, frames, low, high)`: (x, v) after" in (made / "LIBRARY.md").read_text()
    assert all(f"`./{name}`" in (made / "README.md").read_text() for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_short_help(made: Path, name: str) -> None:
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.chdir(made), pytest.raises(SystemExit) as caught:
        main([name, "--help"], bench)
    assert caught.value.code == 0 and out.getvalue().startswith(f"usage: ./{name}")
    assert 5 < len(out.getvalue().splitlines()) < 25


def test_training_games_are_there_step_by_step(made: Path) -> None:
    here = made / "games" / "parent-3"
    episode, lines = Episode.load(here / "episode.npz"), (here / "steps.jsonl").read_text().splitlines()
    steps = [json.loads(line) for line in lines]
    assert len(steps) == len(episode) and (here / "policy.py").read_text() == WEAK
    assert [s["score"] for s in steps] == episode.scores.tolist() and {s["action"] for s in steps} == {"LEFT"}
    pole = load("cartpole").schema.slot("pole").start
    assert steps[5]["scene"]["pole"]["angle"] == pytest.approx(float(episode.scenes[5, pole + 1]), rel=1e-4)
    assert "`pole` (seen, sure, angle)" in (made / "games" / "README.md").read_text()


def test_grids_and_several_slots_can_be_read() -> None:
    schema = load("breakout").schema
    scenes = np.tile(schema.empty(), (2, 1)).astype(np.float32)
    ids = np.zeros(2, np.uint16)
    episode = Episode({}, scenes, ids.astype(np.uint8), ids.astype(np.uint8), ids, ids, ids, ids, ids.astype(np.int32))
    scene = json.loads(next(lines_of(episode, schema, load("breakout").spec.env.actions)))["scene"]
    assert scene["bricks"] == ["0" * 18] * 6 and scene["ball"]["seen"] == 0
    assert "`bricks` (a string of 0 and 1 for each row)" in games_page(schema) and isinstance(schema, SceneSchema)


def test_scores_are_told_and_no_game_is_paid_twice(workspace: Path) -> None:
    first = payload(workspace, "eval", "--seeds", "5,6")
    assert [g["seed"] for g in first["games"]] == [5, 6]
    assert first["bench"]["spent"] == sum(g["frames"] for g in first["games"])
    again = payload(workspace, "eval", "--seeds", "5:7")
    assert again["games"] == first["games"] and again["bench"] == first["bench"]
    code, out, _ = told(workspace, "eval", "--seeds", "5")
    assert code == 0 and "its end" in out and "frames left for this trial" in out


@pytest.mark.parametrize(("seeds", "what"), [
    ("1000", "a gate seed"), ("998:1002", "seed 1000 is a gate seed"), ("5,9999", "a gate seed"),
    ("10000", "an audit seed"), ("19999", "an audit seed"), ("20000", "none of the training seeds"),
    ("850000", "none of the training seeds"), ("900000", "seeds run from"), ("-1", "seeds run from"), ("x", "written"),
])  # fmt: skip
def test_other_seeds_are_refused_with_the_reason(workspace: Path, seeds: str, what: str) -> None:
    for command in ("eval", "compare"):
        code, _, log = told(workspace, command, f"--seeds={seeds}")
        assert code == 2 and what in log
    code, _, log = told(workspace, "play", f"--seed={seeds}")
    assert code == 2 and what in log
    assert payload(workspace, "check")["ok"] and not spending.read(workspace).games


def test_two_policies_are_compared_on_the_same_seeds(workspace: Path) -> None:
    found = payload(workspace, "compare", "--seeds", "10:16")
    assert [p["seed"] for p in found["pairs"]] == [*range(10, 16)]
    assert found["difference"] == pytest.approx(np.mean([p["new"] - p["old"] for p in found["pairs"]]))
    assert 0 < found["interval"][0] <= found["difference"] <= found["interval"][1] and found["p"] == 1 / 64
    _, out, _ = told(workspace, "compare", "--seeds", "10:14")
    assert "too few games for an interval" in out
    _, out, _ = told(workspace, "compare", "--seeds", "10:16")
    assert "better, beyond chance; the gate judges on other seeds" in out
    code, _, log = told(workspace, "compare", "parent.py", "parent.py")
    assert code == 2 and "same text" in log


def test_one_game_is_recorded_explained_and_seen(workspace: Path) -> None:
    made = payload(workspace, "play", "--seed", "7")
    assert made["game"] == "play-1" and made["bench"]["spent"] == made["steps"]
    assert (workspace / "games/play-1/sheet.png").read_bytes().startswith(PNG)
    assert len((workspace / "games/play-1/steps.jsonl").read_text().splitlines()) == made["steps"]
    why = payload(workspace, "explain", "--step", "4")
    assert why["game"] == "play-1" and why["decision"]["reason"] in ("left", "right") and why["trace"]["agrees"]
    rows = payload(workspace, "explain", "parent-3", "--steps", "2:8:2")["steps"]
    assert [row["step"] for row in rows] == [2, 4, 6] and rows[0]["reason"] == "left"
    for words in (("--steps", "0:6"), ("parent-3", "--step", "2")):
        picture = workspace / payload(workspace, "watch", *words)["picture"]
        assert picture.read_bytes().startswith(PNG) and picture.parent.name == "pictures"
    assert payload(workspace, "check")["ok"]


@pytest.mark.parametrize(("words", "said"), [
    ("explain parent-9", "there are parent-3"), ("explain ../games/parent-3", "there is no game"),
    ("explain parent-3 --step 4000", "outside this game"), ("explain parent-3 --steps a:b", "written"),
    ("watch parent-3 --steps=-4:2", "not all in this game"), ("watch parent-3 --steps 5:2", "not all"),
    ("explain parent-3 --steps 0:99999", "not all"), ("eval --policy ../policy.py", "of this folder"),
    ("eval --policy /etc/hosts", "of this folder"), ("eval --policy link.py", "link.py"),
    ("eval --policy none.py", "none.py"), ("eval --steps 0", "from 1"), ("evil", "eval"), ("submit", "no JSON"),
    ("eval --policy broken.py", "unknown name 'LEFTY'"), ("play --seed 1,2", "one game"),
])  # fmt: skip
def test_what_cannot_be_is_told_in_one_line(
    workspace: Path, words: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (workspace / "link.py").symlink_to(workspace / "policy.py")
    (workspace / "broken.py").write_text(WEAK.replace("LEFT", "LEFTY"))
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    code, out, log = told(workspace, *words.split())
    assert code in (1, 2) and said in log and log.startswith("triune: ") and "Traceback" not in log, log
    assert not spending.read(workspace).games


def test_a_spent_budget_is_told_in_one_clear_line(workspace: Path) -> None:
    spending.begin(workspace, 60.0)
    found = payload(workspace, "eval", "--seeds", "1,2")
    assert [g["end"] for g in found["games"]] == ["cut here", "cut here"] and found["bench"]["left"] == 0
    for words in (("eval", "--seeds", "8"), ("compare",), ("play",)):
        code, _, log = told(workspace, *words)
        assert code == 1 and "the workbench's 60 frames for this trial are spent (2 games)" in log
    assert payload(workspace, "eval", "--seeds", "1,2", code=1)["error"], "a game that was cut short is no score"
    (workspace / spending.LOG).unlink()
    code, _, log = told(workspace, "eval")
    assert code == 1 and "spent" in log


def test_check_reads_the_answer_once_it_is_there(workspace: Path) -> None:
    assert payload(workspace, "check")["answer"] is None
    (workspace / "answer.json").write_text("{}")
    assert "no key 'diagnosis'" in payload(workspace, "check", code=1)["answer"][0]
    (workspace / "policy.py").write_text(WEAK.replace("LEFT", "LEFTY"))
    assert payload(workspace, "check", code=1)["diagnostics"][0]["line"] == 2


def test_submitting_writes_an_answer_that_can_be_used(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = {"diagnosis": "it falls", "target": "logic", "hypothesis": "h", "prediction": "p", "lesson": "l"}
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(answer)))
    assert payload(workspace, "submit")["answer"] == "answer.json" and payload(workspace, "check")["answer"] == []
    (workspace / "answer.json").unlink()
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(answer | {"target": "win"})))
    assert "target" in payload(workspace, "submit", code=1)["error"] and not (workspace / "answer.json").exists()


def test_a_killed_test_drive_is_paid_for(workspace: Path) -> None:
    """`kill -9` in the middle of a game: the next look at the budget counts it, and the bench goes on."""
    import signal
    import time

    from envs.process import start

    (workspace / "policy.py").write_text((Path(load("cartpole").folder) / "policy.py").read_text())  # 500 steps a game
    words = ("triune.commands.workbench", "eval", "--seeds", "1:40")
    with start(*words, cwd=workspace, start_new_session=True) as process:
        while '"began"' not in (workspace / spending.LOG).read_text():
            assert process.poll() is None, "it has ended by itself"
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
    spent = spending.read(workspace)
    expected = json.loads((workspace / "BENCH.json").read_text())["longest"]
    assert spent.frames >= expected and not spent.damaged
    assert payload(workspace, "eval", "--policy", "parent.py", "--seeds", "1")["bench"]["spent"] > spent.frames
