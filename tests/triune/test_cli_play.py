"""Playing, scoring, resuming, explaining and reporting through the command line, on short episodes of real games."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from cli_kit import ROOT, copy_task, inside, triune

from triune.cli import build_parser
from triune.commands import eval as eval_command
from triune.errors import UsageError
from triune.play import evaluate, play
from triune.play.evaluation import Run, make_request
from triune.system import load

QUICK = ("--eyes", "teacher", "--json")


def payload(*words: str, cwd: Path, code: int = 0) -> dict[str, Any]:
    result = inside(*words, cwd=cwd)
    assert result.returncode == code, result.stderr
    return json.loads(result.stdout)


def test_play_writes_replay_and_episode(tmp_path: Path) -> None:
    import cv2

    done = triune("play", "breakout", *QUICK, "--steps", "60", "--video", "out/r.webp", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["steps"] == 60 and not found["finished"] and (tmp_path / found["episode"]).is_file()
    good, animation = cv2.imreadanimation(str(tmp_path / "out" / "r.webp"))
    assert good and len(animation.frames) > 20


def test_eval_gives_the_promised_keys_and_repeats_itself(tmp_path: Path) -> None:
    words = ("eval", "cartpole", *QUICK, "--seeds", "3:5", "--steps", "80", "--protocol", "default")
    one = payload(*words, "--workers", "1", cwd=tmp_path)
    two = payload(*words, "--workers", "2", cwd=tmp_path)
    promised = (
        "task protocol shift eyes seeds scores mean iqm ci95 worst_decile frames frames_per_second interventions faults"
    )
    assert set(promised.split()) <= set(one)
    assert one["seeds"] == [3, 4] and one["unfinished"] == [3, 4]
    for key in ("scores", "frames", "reasons", "interventions", "faults"):
        assert one[key] == two[key], key


def test_report_is_self_contained_and_names_the_command(tmp_path: Path) -> None:
    run = payload("eval", "breakout", *QUICK, "--seeds", "0:2", "--steps", "50", "--workers", "1", cwd=tmp_path)["run"]
    page = (tmp_path / payload("report", run, "--json", cwd=tmp_path)["report"]).read_text()
    assert "triune eval breakout --protocol sticky --seeds 0,1" in page
    assert page.count("data:image/webp;base64,") >= 1 and "<svg" in page
    assert "http://" not in page and "https://" not in page and "<script" not in page and "<link" not in page


def test_explain_gives_scene_reason_and_source(tmp_path: Path) -> None:
    played = payload("play", "breakout", *QUICK, "--steps", "60", cwd=tmp_path)
    found = payload("explain", "breakout", "--episode", played["episode"], "--step", "30", "--json", cwd=tmp_path)
    policy = (ROOT / "zoo" / "breakout" / "policy.py").read_text().splitlines()
    assert found["scene"]["paddle.seen"] == 1.0
    assert len(found["neighbours"]) == 11
    assert found["source"] and all(found["decision"]["reason"] in policy[s["line"] - 1] for s in found["source"])
    beyond = inside("explain", "breakout", "--episode", played["episode"], "--step", "600", cwd=tmp_path)
    assert beyond.returncode == 2 and "0 to 59" in beyond.stderr


def test_a_truncated_episode_is_named(tmp_path: Path) -> None:
    played = payload("play", "cartpole", *QUICK, "--steps", "40", cwd=tmp_path)
    path = tmp_path / played["episode"]
    path.write_bytes(path.read_bytes()[:-200])
    result = inside("explain", "cartpole", "--episode", played["episode"], cwd=tmp_path)
    assert result.returncode == 1 and path.name in result.stderr and "Traceback" not in result.stderr


def test_interrupted_eval_keeps_what_is_done_and_resumes(tmp_path: Path) -> None:
    words = ["eval", "cartpole", "--eyes", "teacher", "--seeds", "0:40", "--steps", "100", "--out", "r"]
    words += ["--workers", "1"]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "triune", *words],
        cwd=tmp_path,
        env=env,
        stderr=subprocess.PIPE,
        text=True,
        # a shell's background job starts with Ctrl-C ignored, and so would the tests it runs
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    while not list(tmp_path.glob("r/episodes/*.npz")) and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate()
    kept = {p.name: p.stat().st_mtime_ns for p in tmp_path.glob("r/episodes/*.npz")}
    assert process.returncode == 130 and "--resume r" in error and "Traceback" not in error
    assert 0 < len(kept) < 40 and not (tmp_path / "r" / "result.json").exists()
    info = json.loads((tmp_path / "r" / "run.json").read_text())
    info["request"]["seeds"] = list(range(len(kept) + 1))  # finish soon
    (tmp_path / "r" / "run.json").write_text(json.dumps(info))
    found = payload("eval", "cartpole", "--resume", "r", "--json", cwd=tmp_path)
    assert found["seeds"] == list(range(len(kept) + 1))
    assert {n: (tmp_path / "r" / "episodes" / n).stat().st_mtime_ns for n in kept} == kept


def test_a_changed_policy_is_not_mixed_into_a_run(tmp_path: Path) -> None:
    copy_task(tmp_path / "mine", "cartpole")
    words = ("eval", "mine", *QUICK, "--trust", "--seeds", "0:1", "--steps", "30", "--out", "r")
    payload(*words, cwd=tmp_path)
    policy = tmp_path / "mine" / "policy.py"
    policy.write_text(policy.read_text() + "\n")
    assert "another policy" in payload(*words, cwd=tmp_path, code=1)["error"]


def test_check_reports_a_violation_with_its_line_without_running_it(tmp_path: Path) -> None:
    copy_task(tmp_path / "mine", "cartpole")
    (tmp_path / "mine" / "policy.py").write_text(
        '"""Bad."""\nimport os\n\n\ndef act(scene, memory):\n    return 0, "x"\n'
    )
    found = payload("check", "mine", "--json", cwd=tmp_path, code=1)
    policy = next(c for c in found["checks"] if c["name"] == "policy")
    assert not policy["ok"] and "line 2" in policy["detail"]


def test_damaged_weights_are_refused_in_words(tmp_path: Path) -> None:
    copy_task(tmp_path / "mine", "cartpole")
    (tmp_path / "mine" / "perception.onnx").write_bytes(b"not a network")
    result = inside("play", "mine", cwd=tmp_path)
    assert result.returncode == 1 and "perception.onnx" in result.stderr and "Traceback" not in result.stderr


@pytest.mark.parametrize("task", [pytest.param("breakout", marks=pytest.mark.slow), "pong"])
def test_python_interface(task: str) -> None:
    import triune as front

    system = front.load(task)
    for step in play(system, seed=0, detector="teacher"):
        assert 0 <= step.decision.action < len(system.spec.env.actions.names) and step.decision.reason
        assert step.scene.vector.shape == (system.schema.size,)
        if step.index == 20:
            break
    result = evaluate(system, protocol="classic", seeds=range(2), detector="teacher", limit=25)
    assert result.steps == 50 and len(result.scores) == 2 and result.ci95 is not None


def test_bench_speed_compares_both_emulators_with_the_stack(tmp_path: Path) -> None:
    found = payload("bench", "speed", "pong", "--rounds", "1", "--json", cwd=tmp_path)
    assert 0 < found["stack_fps"] < found["emulator_fps"]
    assert 0 < found["ratio"] < 1 and set(found["microseconds"]) >= {"emulator", "transfer", "eyes", "tracker"}


def test_a_fault_is_told_with_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from cli_kit import copy_task

    from triune.cli import main

    monkeypatch.chdir(tmp_path)
    copy_task(tmp_path / "task", "cartpole")
    text = "def act(scene, memory):\n    far = 1.0 / (scene.pole.angle * 0.0)\n"
    text += '    return (LEFT if far > 0.0 else RIGHT), "x"\n'
    (tmp_path / "task" / "policy.py").write_text(text)
    for words in (["play", "task", "--steps", "4"], ["play", "task", "--steps", "4", "--isolate"]):
        assert main(words) == 0
        told = capsys.readouterr().out
        assert (
            "(policy.py, line 2): `far = 1.0 / (scene.pole.angle * 0.0)`" in told
            and "fault      4 x  ZeroDivisionError" in told
        )


@pytest.mark.parametrize(
    "words, refused",
    [
        ((), None), (("--detector", "teacher", "--seeds", "3,4", "--steps", "5"), None),
        (("--detector", "cnn"), "--detector cnn: the run to be resumed has teacher"),
        (("--eyes", "colour"), "--detector colour"), (("--seeds", "100:110"), "--seeds 100:110"),
        (("--steps", "6"), "--steps 6: the run to be resumed has 5"), (("--shift", "dim"), "has none"),
    ],
)  # fmt: skip
def test_a_run_that_is_resumed_keeps_its_conditions(
    words: tuple[str, ...], refused: str | None, tmp_path: Path
) -> None:
    """Also where the other one is what is taken when nothing is said."""
    system = load("cartpole")
    Run.open(tmp_path, make_request(system, None, [3, 4], None, "teacher", 5), system)
    args = build_parser("eval").parse_args(["eval", "cartpole", "--resume", str(tmp_path), *words])
    if refused:
        with pytest.raises(UsageError, match=refused):
            eval_command._what(system, args)
        return
    assert eval_command._what(system, args) == ([3, 4], tmp_path)
    assert (args.detector, args.steps) == ("teacher", 5)
