"""The wheel: it learns to see again without labels, forgets nothing, gives up openly, survives kills."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
import pytest
from cli_kit import ROOT, copy_task, triune

import triune as api
from benchmarks.shift import all_looks, summary
from data_flywheel.datasets.frozen import FrozenSet
from data_flywheel.datasets.samples import load_samples
from data_flywheel.labelers import motion
from data_flywheel.self_training import data as wheel_data
from data_flywheel.self_training.capture import Capture
from data_flywheel.self_training.data import held_back, pictures, without
from perception.detector import OnnxDetector
from perception.errors import PerceptionError
from perception.training.data import Samples
from perception.weights import read_weights
from triune.errors import TriuneError
from triune.play.self_training import Request, SelfTraining, take_over
from triune.system import sha256

TASKS = ("breakout", "pong")


@cache
def frozen_of(task: str) -> Samples:
    return load_samples(ROOT / "zoo" / task / "memory", "test")


@lru_cache(maxsize=1)  # it is large
def memory_of(task: str) -> Samples:
    return load_samples(ROOT / "zoo" / task / "memory", "train")


@pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("task", TASKS)
def test_no_picture_of_the_frozen_set_teaches(task: str, every: int) -> None:
    """Games begin alike, so the same picture stands in both splits of the memory; it is left out of what is learned."""
    whole, kept = memory_of(task), frozen_of(task)
    memory = whole.take(np.arange(0, len(whole), every))
    frozen = frozenset(pictures(kept))
    taught = without(memory, FrozenSet(frozen))
    assert frozen & set(pictures(memory)), "the memory as it is would leak"
    assert not frozen & set(pictures(taught)) and len(taught) > 0.9 * len(memory)
    assert not set(memory.episodes.tolist()) & set(kept.episodes.tolist())


def test_what_a_round_learns_is_not_what_it_is_judged_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole games are held back, and no row of them or of the frozen set is in what is learned."""
    system = api.load("pong")
    memory = memory_of("pong")
    known = motion.priors(memory.scenes, memory.episodes, system.schema, memory.shape)
    frames = memory.palette[memory.frames[:90]]  # type: ignore[index]
    episodes = np.repeat(np.arange(3), 30)
    frozen = frozenset(pictures(frozen_of("pong")))
    play = Capture(frames, memory.scenes[:90], np.zeros(90, np.uint8), episodes, (0, 1, 2), {})
    monkeypatch.setattr(wheel_data, "RENDERED", 200)
    made = wheel_data.training_set(play, memory, known, system.schema, FrozenSet(frozen))
    assert made.held.sum() == 30 and not set(made.new.episodes.tolist()) & set(episodes[made.held].tolist())
    assert len(made.rendered) > 100 and not frozen & set(pictures(made.rendered))
    assert not frozen & set(pictures(made.new))


def _key(scene: np.ndarray, frame: np.ndarray) -> bytes:
    return bytes(scene.tobytes() + frame[:30].tobytes())


@pytest.mark.parametrize("task", TASKS[::-1])  # the memory of the last one is still there
def test_frames_without_what_flies_show_the_field_where_it_was(task: str) -> None:
    """... and nothing else of them changes; frozen ones do not teach either."""
    system = api.load(task)
    memory = memory_of(task).take(np.arange(0, 4000, 10))
    known = motion.priors(memory.scenes, memory.episodes, system.schema, memory.shape)
    made, ball = wheel_data.emptied(memory, system.schema, known), system.schema.slot("ball", 0)
    assert len(made) > 0.4 * len(memory) and not made.scenes[:, ball].any()
    others = np.setdiff1d(np.arange(system.schema.size), np.arange(ball.start, ball.stop))
    row = {_key(memory.scenes[i][others], memory.frames[i]): i for i in np.flatnonzero(memory.scenes[:, ball.start])}
    for frame, scene in zip(made.frames[:40], made.scenes[:40], strict=True):
        i = row[_key(scene[others], frame)]
        _, x, y, w, h = memory.scenes[i, ball.start : ball.start + 5]
        changed = np.argwhere(frame != memory.frames[i])
        assert (np.abs(changed - (y - 0.5, x - 0.5)).max(0) <= (h / 2 + 0.5, w / 2 + 0.5)).all()
        assert len(changed)


def test_a_single_game_is_held_back_from_its_end() -> None:
    held = held_back(np.zeros(100, np.int64))
    assert held.sum() == 20 and held[80:].all()


def row(look: str, before: float, after: float, old: float = 1.0) -> dict[str, object]:
    return {"look": look, "before": before, "after": after, "old_look_after": old}


def test_the_summary_counts_what_was_lost_and_names_what_got_worse() -> None:
    told = summary([row("a", 0.1, 0.9), row("b", 0.4, 0.8), row("c", 1.0, 0.9), row("random0", 0.2, 0.7)])
    assert (told["shifted_fraction"], told["recovered_fraction"]) == (0.25, 0.85)
    assert told["worse"] == ["c"] and told["random"]["recovered_fraction"] == 0.7
    assert "looks" not in told, "the command gives the rows under that name"
    assert (told["n"], told["shifted"]) == (3, 2) and len(all_looks()) >= 10 + 24


def wheel(run: Path, *words: str, cwd: Path) -> dict[str, object]:
    done = triune("flywheel", "pong", "--run", str(run), "--json", *words, cwd=cwd)
    assert done.returncode == 0, done.stderr
    told: dict[str, object] = json.loads(done.stdout)
    return told


@pytest.mark.train
@pytest.mark.slow
def test_eyes_that_saw_nothing_see_again(tmp_path: Path) -> None:
    told = wheel(tmp_path / "run", "--shift", "camouflage", "--rounds", "1", "--frames", "1500", "--steps", "300",
                 cwd=tmp_path)  # fmt: skip
    first = told["rounds"][0]  # type: ignore[index]
    assert told["outcome"] == "promoted"
    assert first["figures"]["old"]["score"] < 0.5 and first["figures"]["new"]["score"] > 0.9
    made = OnnxDetector.load(str(told["eyes"])).provenance["wheel"]
    assert made["memory"] and made["plays"] and made["labels"]["sources"]["new"].startswith("motion")
    assert (tmp_path / "run" / "report.html").read_text("utf-8").count("data:image/webp") >= 4
    again = wheel(tmp_path / "run", "--shift", "camouflage", "--rounds", "1", "--frames", "1500", "--steps", "300",
                  cwd=tmp_path)  # fmt: skip
    assert again["rounds"] == told["rounds"]


@pytest.mark.train
@pytest.mark.slow
def test_a_look_that_motion_cannot_read_is_given_up_openly(tmp_path: Path) -> None:
    before = (ROOT / "zoo" / "pong" / "perception.onnx").read_bytes()
    told = wheel(tmp_path / "run", "--shift", "oldtape", "--rounds", "2", "--frames", "900", cwd=tmp_path)
    assert told["outcome"] in ("cannot recover", "kept")
    assert (tmp_path / "run" / "eyes.onnx").read_bytes() == before


@pytest.mark.train
@pytest.mark.slow
def test_kills_change_nothing(tmp_path: Path) -> None:
    """SIGKILL at random instants, then the same command: the same verdicts and the same eyes."""
    words = ("--shift", "camouflage", "--rounds", "2", "--frames", "600", "--steps", "25")
    calm = wheel(tmp_path / "calm", *words, cwd=tmp_path)
    wanted = (tmp_path / "calm" / "eyes.onnx").read_bytes()
    random.seed(4)
    command = [sys.executable, "-m", "triune", "flywheel", "pong", "--run", str(tmp_path / "hard"), "--json", *words]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    kills = 0
    for _ in range(12):
        job = subprocess.Popen(command, env=env, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            job.wait(random.uniform(0.5, 12.0))
        except subprocess.TimeoutExpired:
            job.send_signal(signal.SIGKILL)
            job.wait()
            kills += 1
            time.sleep(0.1)
    hard = wheel(tmp_path / "hard", *words, cwd=tmp_path)
    assert kills >= 3 and (tmp_path / "hard" / "eyes.onnx").read_bytes() == wanted
    assert [_lasting(r) for r in hard["rounds"]] == [_lasting(r) for r in calm["rounds"]]  # type: ignore[attr-defined]


def _lasting(told: dict[str, object]) -> dict[str, object]:
    return {k: v for k, v in told.items() if k not in ("wall_s", "cpu_s")}


@pytest.mark.train
def test_a_run_that_was_asked_something_else_is_not_continued(tmp_path: Path) -> None:
    home = tmp_path / "run"
    home.mkdir()
    shutil.copy(ROOT / "zoo" / "pong" / "perception.onnx", home / "eyes.onnx")
    (home / "wheel.json").write_text(json.dumps({"format": 1, "request": {"shift": "heat"}}))
    done = triune("flywheel", "pong", "--shift", "codec", "--run", str(home), cwd=tmp_path)
    assert done.returncode == 1 and "another" in done.stderr and "name another folder" in done.stderr


@pytest.mark.train
@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_torn_record_of_a_run_says_what_to_delete(tmp_path: Path, text: str) -> None:
    system, ask = api.load("pong"), Request("pong", None, "sticky", 1)
    SelfTraining(system, ask, tmp_path)
    (tmp_path / "round-1").mkdir()
    (tmp_path / "round-1" / "round.json").write_text(text)
    with pytest.raises(TriuneError, match="delete it and run the command again"):
        SelfTraining(system, ask, tmp_path).run()
    (tmp_path / "wheel.json").write_text(text)
    with pytest.raises(TriuneError, match=f"delete {tmp_path}"):
        SelfTraining(system, ask, tmp_path)


@pytest.mark.train
def test_eyes_that_are_not_what_was_judged_are_not_taken(tmp_path: Path) -> None:
    system, ask = api.load("pong"), Request("pong", None, "sticky", 1)
    SelfTraining(system, ask, tmp_path)
    first = (tmp_path / "eyes.onnx").read_bytes()
    (tmp_path / "round-1").mkdir()
    (tmp_path / "round-1" / "candidate.onnx").write_bytes(first[:-9])
    told = {"outcome": "promoted", "reason": "", "before": sha256(first), "after": sha256(first + b"!")}
    (tmp_path / "round-1" / "round.json").write_text(json.dumps(told))
    with pytest.raises(TriuneError, match="not what was judged"):
        SelfTraining(system, ask, tmp_path).run()
    assert (tmp_path / "eyes.onnx").read_bytes() == first


@pytest.mark.train
def test_a_detector_without_its_weights_is_refused_before_it_plays(tmp_path: Path) -> None:
    copy_task(tmp_path / "mine")
    shutil.copytree(ROOT / "zoo" / "pong" / "memory", tmp_path / "mine" / "memory")
    (tmp_path / "mine" / "perception.safetensors").unlink()
    done = triune("flywheel", "mine", "--run", "run", cwd=tmp_path)
    assert done.returncode == 1 and "cannot be trained further" in done.stderr
    assert "train it again, or restore the .safetensors file" in done.stderr and not (tmp_path / "run").exists()
    assert triune("play", "mine", "--steps", "3", cwd=tmp_path).returncode == 0


@pytest.mark.parametrize("damage", [None, "missing", "damaged"])
def test_weights_go_wherever_their_detector_goes(tmp_path: Path, damage: str | None) -> None:
    """... and damaged ones nowhere; a detector that has none leaves no others behind."""
    for folder, task in (("new", "pong"), ("old", "breakout")):
        copy_task(tmp_path / folder, task)
    source, target = tmp_path / "new" / "perception.onnx", tmp_path / "old" / "perception.onnx"
    weights, before = source.with_suffix(".safetensors"), target.read_bytes()
    if damage == "missing":
        weights.unlink()
    elif damage:
        weights.write_bytes(weights.read_bytes()[:-1])
        with pytest.raises(PerceptionError, match="damaged"):
            take_over(source, target)
        assert target.read_bytes() == before and read_weights(target)
        return
    take_over(source, target)
    assert target.read_bytes() == source.read_bytes()
    if damage:
        assert not target.with_suffix(".safetensors").exists()
    else:
        assert read_weights(target) == read_weights(source)


@pytest.mark.train
@pytest.mark.parametrize(("score", "outcome"), [(0.49, "cannot recover"), (0.51, "promoted")])
def test_eyes_that_got_better_and_still_do_not_see_are_not_kept(tmp_path: Path, score: float, outcome: str) -> None:
    wheel = SelfTraining(api.load("pong"), Request("pong", None, "sticky", 1), tmp_path)
    first, learned = (tmp_path / "eyes.onnx").read_bytes(), b"learned"
    (tmp_path / "round-1").mkdir()
    (tmp_path / "round-1" / "candidate.onnx").write_bytes(learned)
    made = {"outcome": "promoted", "reason": "", "before": sha256(first), "after": sha256(learned),
            "sight": {"score": 0.0}, "figures": {"new": {"score": score}}}  # fmt: skip
    (tmp_path / "round-1" / "round.json").write_text(json.dumps(made))
    for _ in "twice":
        told = wheel.run()
        assert told["outcome"] == outcome
        assert (tmp_path / "eyes.onnx").read_bytes() == (learned if outcome == "promoted" else first)
    assert ("far from seeing" in told["reason"]) == (outcome == "cannot recover")
    assert json.loads((tmp_path / "result.json").read_text())["outcome"] == outcome
