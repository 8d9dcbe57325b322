"""A stranger's backend and a task of it, through every command. Nothing in the packages knows of a dot."""

from __future__ import annotations

import argparse
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import controls_kit
import numpy as np
import pytest

from data_flywheel.episodes.episode import Episode
from envs import env
from triune.cli import main
from triune.system import System, load

SYSTEM = """format = 1
name = "dot"
title = "Dot"
[env]
backend = "theirs"
id = "dot"
height = 64
width = 96
fallback = [0.0, 0.0]
speed = 2
[env.actions]
right = [-1.0, 1.0]
down = [-1.0, 1.0]
[scene]
crop = [0, 0, 64, 96]
[scene.things.dot]
size = [9, 9]
"""
POLICY = '''"""Home to the middle."""

FORCE = tunable(0.02, 0.01, 0.5)  # per px


class Memory:
    steps: int = 0


def act(scene, memory):
    memory.steps += 1
    right = FORCE * (48.0 - scene.dot.x)
    return (right, FORCE * (32.0 - scene.dot.y)), "home" if abs(right) > 0.1 else "nearly there"
'''
SAFETY = '''def gently(scene, memory, action):
    """Gently"""
    return clip(action[0], -0.5, 0.5), action[1]
'''
TEACHER = """import numpy as np


def label(truth, frame, schema):
    vector = schema.empty()
    vector[schema.slot("dot")] = (1, *truth["place"], 9, 9, 0, 0, 1)
    return vector


def spread(rng):
    return {"place": rng.uniform((4, 4), (91, 59))}
"""
GATE = {"screen": 2, "looks": [4], "spend": [0.05], "hopeful": [0.5], "confirm_least": 4, "confirm_most": 6}
FOREIGN = re.compile(r"\b(emulat\w+|ALE|RAM|lives?|life|sticky|Atari)\b", re.IGNORECASE)  # said of no dot
Say = Callable[..., Any]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A current folder with the task `dot`, its backend on the path of this process and its children."""
    folder, backend = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("backend")
    text = (Path(__file__).parents[1] / "kits" / "dot_world.py").read_text()
    (backend / "their_world.py").write_text(text)
    task = folder / "dot"
    task.mkdir()
    for name, content in (
        ("system.toml", SYSTEM), ("policy.py", POLICY), ("safety.py", SAFETY), ("teacher.py", TEACHER),
    ):  # fmt: skip
        (task / name).write_text(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(backend))
        patch.setenv("PYTHONPATH", str(backend))
        patch.setattr(env, "_registered", dict(env._registered))
        patch.chdir(folder)
        env.register("theirs", "their_world:DOT")
        (task / "perception.onnx").write_bytes(controls_kit.detector(load(task).schema, 64, 96))
        yield folder


@pytest.fixture
def say(home: Path, capfd: pytest.CaptureFixture[str]) -> Say:
    """Run a command line in this process: the JSON object with --json, else what it says to people."""

    def run(*words: str, code: int = 0) -> Any:
        capfd.readouterr()
        found = main(words)
        out, log = capfd.readouterr()
        assert found == code, out + log
        assert not FOREIGN.search(out + log), out + log
        return json.loads(out) if "--json" in words else out if code == 0 else log

    return run


@pytest.fixture(scope="module")
def run(home: Path) -> Path:
    """An evaluation of three training seeds, recorded, with a page."""
    words = ("--seeds", "0:3", "--workers", "1", "--out", "run", "--record", "recording", "--record-frames", "all")
    assert main(["eval", "dot", *words, "--report"]) == 0
    return home / "run"


@pytest.fixture(scope="module")
def data(home: Path) -> Path:
    """Forty labelled frames."""
    assert main(["collect", "dot", "--frames", "40", "--workers", "1", "--out", "data"]) == 0
    return home / "data"


def test_the_backend_is_short() -> None:
    lines = (Path(__file__).parents[1] / "kits" / "dot_world.py").read_text().splitlines()
    assert sum(bool(line.strip()) for line in lines) <= 40


def test_check_and_lists(say: Say) -> None:
    text = say("check", "dot")
    assert "dot: starts" in text and "compiles for plain" in text
    assert all(part["ok"] for part in say("check", "dot", "--floors", "--json")["checks"])
    assert "did you mean 'speed'" in broken(say, "speed = 2", "sped = 2")
    assert "height = 64" in broken(say, "height = 64", "height = 65")
    assert "dot" not in {task["name"] for task in say("list", "--json")["tasks"]}


def broken(say: Say, old: str, new: str) -> str:
    """What `check` says of the task with a mistake in its system.toml."""
    path = Path("dot/system.toml")
    try:
        path.write_text(SYSTEM.replace(old, new))
        return str(say("check", "dot", "--json", code=1))
    finally:
        path.write_text(SYSTEM)


def test_scores_are_the_same_resumed_and_by_exact_scenes(say: Say, run: Path) -> None:
    result = json.loads((run / "result.json").read_text())
    (run / "result.json").unlink()
    (run / "episodes" / "1.npz").unlink()
    again = say("eval", "dot", "--resume", "run", "--workers", "2", "--json")
    assert again["scores"] == result["scores"] and max(again["scores"]) < 0 and again["scores"][0] % 1
    exact = say("eval", "dot", "--seeds", "0:3", "--eyes", "teacher", "--trust", "--workers", "1", "--json")
    assert exact["mean"] == pytest.approx(again["mean"], rel=0.05) and exact["scores"] != again["scores"]
    assert "gently" in str(again["interventions"]).lower()
    text = say("eval", "dot", "--seeds", "0:2", "--workers", "1", "--card")
    assert re.search(r"mean +-\d+\.\d\d ", text) and not re.search(r"\.\d{5}", text)
    assert "| `plain` |" in Path("dot/README.md").read_text()


def test_pages_show_controls_and_fractions(say: Say, run: Path) -> None:
    page = (run / "report.html").read_text()
    words = re.sub(r"(?s)<(script|style|svg)\b.*?</\1>|data:[^\"')]*|<[^>]+>", " ", page)
    assert not FOREIGN.search(words) and not re.search(r"\d\.\d{5}", words)
    assert "right=" in words or "No step" in words
    again = say("report", "run", "--json", "--out", "again.html")
    assert again["mean"] < 0 and Path("again.html").read_text().count("data:image/webp") == page.count("data:image/webp")


def test_play_and_explain(say: Say, run: Path) -> None:
    text = say("play", "dot", "--seed", "1", "--video", "dot.webp", "--report", "dot.html")
    assert re.search(r"score +-\d+\.\d\d ", text) and "home" in text and Path("dot.webp").stat().st_size > 1000
    told = say("explain", "dot", "--episode", "1", "--step", "2", "--trust", "--json")
    assert told["decision"]["action"].startswith("right=") and told["scene"]["dot.seen"]
    text = say("explain", "dot", "--episode", "1")
    assert "Gently" in text and not re.search(r"\.\d{7}", text)


def test_locks_hold_scenes_and_floor(say: Say, run: Path) -> None:
    say("lock", "dot", "--episode", str(run / "episodes" / "2.npz"), "--step", "12", "--name", "home", "--reasons")
    told = say("lock", "dot", "--episode", str(run / "episodes" / "2.npz"), "--floor-auto", "--name", "floor")
    assert re.search(r"at least -\d+\.\d\d ", told)
    found = {p["part"] + p["detail"]: p["ok"] for p in say("check", "dot", "--floors", "--json")["checks"]}
    assert sum("lock" in name for name in found) == 2 and all(found.values())
    text = POLICY.replace("FORCE * (48.0", "-FORCE * (48.0")
    Path("dot/policy.py").write_text(text)
    try:
        assert "home" in str(say("check", "dot", "--json", code=1))
    finally:
        Path("dot/policy.py").write_text(POLICY)


def test_data_sets_are_exported_curated_and_reviewed(say: Say, data: Path, run: Path) -> None:
    from triune.commands import review
    from triune.console import Console

    counts = say("dataset", "export", "data", "--to", "coco", "--task", "dot", "--out", "coco", "--json")
    assert counts["images"] == counts["annotations"] == 40
    assert say("dataset", "export", "recording", "--to", "coco", "--task", "dot", "--out", "coco2", "--json")["images"]
    picked = say("curate", "data", "--task", "dot", "--frames", "6", "--out", "picked", "--json")
    assert picked["count"] == 6
    parser = argparse.ArgumentParser()
    review.add_arguments(parser)
    args = parser.parse_args(["dot", "--data", "data", "--labels", "labels"])
    try:
        session = review.open_session(load("dot"), args, Console(True))
    except Exception as error:
        assert "nothing suspicious" in str(error)
    else:
        assert session.summary()["total"]


def test_the_drift_watch_is_measured(say: Say) -> None:
    say("drift", "dot", "--measure", "--steps", "20")
    assert "dot presence" in say("drift", "dot")
    assert not say("eval", "dot", "--seeds", "5:6", "--workers", "1", "--json").get("drift")


def test_deployed(say: Say) -> None:
    say("export", "dot", "dot.onnx")
    told = say("run", "dot.onnx", "--seed", "1", "--log", "log.jsonl", "--json")
    assert told["score"] == pytest.approx(say("play", "dot", "--seed", "1", "--json")["score"])
    assert set(json.loads(Path("log.jsonl").read_text().splitlines()[0])["action"]) == {"right", "down"}
    say("web", "dot", "--out", "web", "--steps", "12")
    assert (Path("web") / "index.html").is_file()


def test_whose_failure(say: Say, run: Path) -> None:
    say("blame", "run")
    verdict = say("blame", "run", "--seed", "1", "--at", "20", "--trust", code=1)
    assert "save() and load" in verdict


def test_a_policy_is_improved_and_the_exchange_replayed(say: Say, home: Path) -> None:
    Path("gate.json").write_text(json.dumps(GATE))
    words = ("--trials", "1", "--shown", "1", "--gate", "gate.json", "--workers", "1", "--json")
    told = say("improve", "dot", "--out", "better", "--run", "first", "--record", "made.jsonl", *words)
    assert told["trials"]
    words = ("--proposer", "replay", "--recording", "made.jsonl", *words)
    again = say("improve", "dot", "--out", "again", "--run", "second", *words)
    assert again["trials"] == told["trials"] and again["policy"] == told["policy"]
    page = say("report", "first", "--json")
    text = Path(page["report"]).read_text()
    assert not FOREIGN.search(re.sub(r"(?s)<(script|style)\b.*?</\1>|data:[^\"')]*|<[^>]+>", " ", text))


@pytest.mark.train
def test_a_detector_is_trained(say: Say, data: Path) -> None:
    pytest.importorskip("torch")
    words = ("--data", "data", "--steps", "20", "--out", "trained.onnx")
    assert say("train", "dot", *words, "--json")["task"] == "dot"
    assert Path("trained.onnx").is_file()
