"""A stranger's backend and a task of it, through every command. Nothing in the packages knows of a dot."""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import controls_kit
import pytest
from improve_kit import answer

from envs import env
from supervisor.proposers.replay import append
from supervisor.protocols import Request, Section, Usage
from triune.cli import main
from triune.system import load

SYSTEM = """format = 1
name = "dot"
title = "Dot"
[env]
backend = "theirs"
id = "dot"
height = 64
width = 96
fallback = [0.0, 0.0]
steps = 40
[env.actions]
right = [-1.0, 1.0]
down = [-1.0, 1.0]
[scene]
crop = [0, 0, 64, 96]
[scene.things.dot]
size = [9, 9]
"""
POLICY = '''"""Home to the middle."""

FORCE = tunable(0.005, 0.001, 0.5)  # per px


class Memory:
    steps: int = 0


def act(scene, memory):
    memory.steps += 1
    right = FORCE * (48.0 - scene.dot.x)
    down = FORCE * (32.0 - scene.dot.y)
    return ((right, down), "home") if abs(right) > 0.02 else ((right, down), "nearly there")
'''
SAFETY = '''def gently(scene, memory, action):
    """Gently"""
    return clip(action[0], -0.05, 0.05), action[1]
'''
TEACHER = """

def label(truth, frame, schema):
    vector = schema.empty()
    vector[schema.slot("dot")] = (1, *truth["place"], 9, 9, 0, 0, 1)
    return vector


def spread(rng):
    return {"place": rng.uniform((4, 4), (91, 59))}
"""
GATE = {"screen": 2, "looks": [6], "spend": [0.05], "hopeful": [0.5], "confirm_least": 5, "confirm_most": 6}
FRAMES = 40 * 50  # of an episode
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
        if "--json" in words:
            return json.loads(out)
        assert not FOREIGN.search(out + log), out + log
        return out if code == 0 else log

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


@pytest.fixture
def gate(home: Path) -> str:
    """A gate that asks for few games."""
    (home / "gate.json").write_text(json.dumps(GATE))
    return "gate.json"


def words_of(page: Path) -> str:
    """What a page says, without code, plots and pictures."""
    return re.sub(r"(?s)<(script|style|svg)\b.*?</\1>|<[^>]+>", " ", page.read_text())


def test_the_backend_is_short() -> None:
    lines = (Path(__file__).parents[1] / "kits" / "dot_world.py").read_text().splitlines()
    assert sum(bool(line.strip()) for line in lines) <= 40


def test_check_and_lists(say: Say) -> None:
    text = say("check", "dot")
    assert "dot: starts" in text and "compiles for plain" in text
    assert all(part["ok"] for part in say("check", "dot", "--floors", "--json")["checks"])
    assert "did you mean 'steps'" in broken(say, "steps = 40", "step = 40")
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
    words = words_of(run / "report.html")
    assert not FOREIGN.search(words) and not re.search(r"\d\.\d{5}", words)
    assert "Nothing was lost" in words and "Gently" in words and f"triune eval {Path('dot').resolve()} " in words
    assert say("report", "run", "--json", "--out", "again.html")["mean"] < 0
    assert Path("again.html").read_text().count("data:image/webp") == page.count("data:image/webp") > 1


def test_play_and_explain(say: Say, run: Path) -> None:
    text = say("play", "dot", "--seed", "1", "--video", "dot.webp", "--report", "dot.html")
    assert (
        re.search(r"score +-\d+\.\d\d ", text)
        and "reasons    nearly there" in text
        and Path("dot.webp").stat().st_size > 1000
    )
    told = say("explain", "dot", "--episode", "1", "--step", "2", "--trust", "--json")
    assert told["decision"]["action"].startswith("right=") and told["scene"]["dot.seen"]
    text = say("explain", "dot", "--episode", "1")
    assert "Gently" in text and "right=" in text


def test_locks_hold_scenes_and_floor(say: Say, run: Path) -> None:
    episode = ("--episode", str(run / "episodes" / "2.npz"))
    shutil.copytree("dot", "locked")
    say("lock", "locked", *episode, "--step", "12", "--name", "home", "--reasons")
    assert re.search(r"at least -\d+\.\d\d ", say("lock", "locked", *episode, "--floor-auto", "--name", "floor"))
    assert [lock["ok"] for lock in say("check", "locked", "--floors", "--json")["locks"]] == [True, True]
    Path("locked/policy.py").write_text(POLICY.replace("FORCE * (48.0", "-FORCE * (48.0"))
    broken = say("check", "locked", "--floors", "--json", code=1)["locks"]
    assert [lock["ok"] for lock in broken] == [False, False]


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


def test_the_drift_watch_is_measured_where_episodes_are_long_enough(say: Say) -> None:
    assert "no episode had" in say("drift", "dot", "--measure", code=1)
    shutil.copytree("dot", "long")
    Path("long/system.toml").write_text(SYSTEM.replace("steps = 40", "steps = 140"))
    say("drift", "long", "--measure")
    assert "dot presence" in say("drift", "long")
    assert say("play", "long", "--seed", "5", "--json")["drift"]["level"] == "ok"


def test_deployed(say: Say) -> None:
    say("export", "dot", "dot.onnx")
    told = say("run", "dot.onnx", "--seed", "1", "--log", "log.jsonl", "--json")
    assert told["score"] == pytest.approx(say("play", "dot", "--seed", "1", "--json")["score"])
    assert set(json.loads(Path("log.jsonl").read_text().splitlines()[0])["action"]) == {"right", "down"}
    say("web", "dot", "--out", "web", "--steps", "12")
    assert (Path("web") / "index.html").is_file()


def test_whose_failure(say: Say, run: Path) -> None:
    assert "named actions" in say("blame", "run", "--seed", "1", "--at", "20", "--without-teacher", code=1)
    assert "no save() and load" in say("blame", "run", "--seed", "1", "--at", "20", "--trust", code=1)


@pytest.mark.slow  # an agent's answer, below, goes the same way
def test_a_search_improves_the_policy(say: Say, gate: str) -> None:
    words = ("--trials", "1", "--shown", "1", "--gate", gate, "--budget-steps", "160000", "--workers", "1")
    told = say("improve", "dot", "--out", "searched", "--run", "search", *words, "--json")
    assert told["trials"] and told["budgets"]["steps"]["spent"] >= 4 * FRAMES


def test_an_answer_is_accepted_shown_and_replayed(say: Say, gate: str) -> None:
    words = {k: v for k, v in json.loads(answer([])).items() if k != "edit"}
    code = (
        "import json; from pathlib import Path; p = Path('policy.py'); "
        "p.write_text(p.read_text().replace('down = FORCE', 'down = 0.03')); "
        f"Path('answer.json').write_text(json.dumps({words!r}))"
    )
    Path("answer.py").write_text(code)
    agent = (
        "--proposer",
        "agent",
        "--command",
        f"{sys.executable} {Path('answer.py').resolve()}",
        "--record",
        "x.jsonl",
    )
    common = ("--trials", "1", "--shown", "1", "--gate", gate, "--workers", "1", "--json")
    told = say("improve", "dot", "--out", "better", "--run", "first", *agent, *common)
    assert told["accepted"] == 1, told["trials"]
    replay = ("--proposer", "replay", "--recording", "x.jsonl")
    again = say("improve", "dot", "--out", "again", "--run", "second", *replay, *common)
    assert again["trials"] == told["trials"] and again["policy"] == told["policy"]
    request = json.dumps(json.loads(Path("x.jsonl").read_text().splitlines()[0])["request"])
    assert not FOREIGN.search(request.replace("lives", "")), FOREIGN.findall(request)
    page = say("report", "first", "--json")
    assert page["replays"] == 1
    assert not FOREIGN.search(words_of(Path(page["report"]))) and "simulated frames" in words_of(Path(page["report"]))


def test_exchanges_of_an_older_format_are_brought_up_to_date(say: Say) -> None:
    append(Path("new.jsonl"), Request("dot", 1, "", (Section("Rules", "Push."),)), "agent", Usage(), {"text": "{}"})
    made = json.loads(Path("new.jsonl").read_text())
    key = hashlib.sha256(json.dumps(made["request"], sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    Path("old.jsonl").write_text(json.dumps({**made, "format": 1, "key": key}) + "\n")
    assert "1 of them" in say("migrate", "old.jsonl", "migrated.jsonl")


@pytest.mark.train
def test_a_detector_is_trained(say: Say) -> None:
    pytest.importorskip("torch")
    say("collect", "dot", "--frames", "400", "--workers", "1", "--out", "more")
    words = ("--data", "more", "--steps", "20", "--out", "trained.onnx")
    assert say("train", "dot", *words, "--json")["task"] == "dot"
    shutil.copytree("dot", "trained")
    shutil.copy("trained.onnx", "trained/perception.onnx")
    assert say("eval", "trained", "--seeds", "0:1", "--steps", "4", "--workers", "1", "--json")["steps"] == 4
