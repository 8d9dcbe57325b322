"""Recording real games: the frames are those the eyes saw, play is not changed, and the command line says it all."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_kit import inside

import triune as library
from data_flywheel.episodes import recording
from data_flywheel.episodes.episode import Episode
from data_flywheel.episodes.recorder import Recorder
from data_flywheel.episodes.recording import Recording
from data_flywheel.labels.frames import EpisodeFrames
from triune.play.loop import Rollout
from triune.play.recording import open_recorder


def recorded(folder: Path, frames: str, shift: str | None = None, steps: int = 60) -> tuple[Recorder, list[int]]:
    """A recorder that has seen two games of Pong, and the actions of the second."""
    system = library.load("pong")
    recorder = open_recorder({"folder": str(folder), "frames": frames, "disk": 1 << 30}, system)
    with Rollout(system, "sticky", shift, "teacher") as rollout:
        rollout.recorder = recorder
        actions = [rollout.record(seed, steps).actions.tolist() for seed in (3, 4)]
    assert recorder
    return recorder, actions[1]


@pytest.mark.parametrize(("frames", "steps"), [("all", 60), ("sampled:25", 3)])
def test_kept_frames_are_those_of_the_game_played_again(frames: str, steps: int, tmp_path: Path) -> None:
    recorder, _ = recorded(tmp_path, frames, "repaint")
    place = Recording(tmp_path)
    again = EpisodeFrames(tmp_path, library.load("pong").spec)  # from seed and actions
    assert recorder.kept == 2 and sorted(again.names()) == sorted(place.names()) and again.problems == []
    held = place.frames(place.names()[1])
    assert held is not None and len(held) == steps
    for step, rgb in held:
        assert np.array_equal(rgb, again.rgb(again.ref(place.names()[1], step)))


def test_recording_does_not_change_the_game(tmp_path: Path) -> None:
    _, actions = recorded(tmp_path, "failures")
    with Rollout(library.load("pong"), "sticky", None, "teacher") as rollout:
        assert rollout.record(4, 60).actions.tolist() == actions


def test_eval_records_with_several_workers(tmp_path: Path) -> None:
    words = ["eval", "pong", "--eyes", "teacher", "--seeds", "3:7", "--steps", "40", "--workers", "2"]
    done = inside(*words, "--record", "r", "--record-frames", "all", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    place, run = Recording(tmp_path / "r"), json.loads(done.stdout)["run"]
    assert sorted(episode.meta["seed"] for _, episode in place) == [3, 4, 5, 6] and place.problems == []
    for name, episode in place:
        kept = Episode.load(tmp_path / run / "episodes" / f"{episode.meta['seed']}.npz")
        frames = place.frames(name)
        assert np.array_equal(kept.scenes, episode.scenes) and frames is not None and len(frames) == 40


WHY = {  # why nothing, or not all, is recorded; what is said of it; which episodes it concerns; how many are there
    "long name": (errno.ENAMETOOLONG, "File name too long; not recorded: record into another folder", "", 0),
    "read-only": (errno.EROFS, "Read-only file system; not recorded: record into another folder", "", 0),
    "foreign": (errno.EACCES, "Permission denied; not recorded: record into another folder", "", 0),
    "full": (errno.ENOSPC, "No space left on device; not recorded: free some space", "", 0),
    "one of two": (errno.EIO, "not recorded: seed 4: ", "seed4", 1), "well": (0, "", "none", 2),
}  # fmt: skip


@pytest.mark.parametrize("why", WHY)
def test_a_recording_says_how_many_games_it_took(why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    number, said, which, there = WHY[why]

    def failing(path: Path, payload: bytes, write: Any = recording.atomic_write) -> None:
        if path.parent.name == "episodes" and which in path.name:
            raise OSError(number, os.strerror(number), str(path))
        write(path, payload)

    monkeypatch.setattr(recording, "atomic_write", failing)
    words = ["eval", "cartpole", "--eyes", "teacher", "--seeds", "3,4", "--steps", "3", "--workers", "1"]
    for form in ("--json", ""):
        done = inside(*words, "--record", "r", "--out", f"run{form}", *form.split(), cwd=tmp_path)
        assert done.returncode == (not there) and said in done.stderr, done.stderr
        assert ("free some space" in done.stderr) == (number == errno.ENOSPC)
        if form:
            told = json.loads(done.stdout)
            assert (told["recording"], told["recorded"], told["lost"]) == ("r", there, 2 - there)
        else:
            assert f"recording  r: recorded {there} of 2 games" in done.stdout
    if why in ("full", "well"):
        done = inside("play", "cartpole", "--eyes", "teacher", "--steps", "3", "--record", "r", cwd=tmp_path)
        assert f"recording  r: recorded {there // 2} of 1 game\n" in done.stdout and done.returncode == (not there)


def test_what_cannot_be_recorded_is_said_before_anything_is_played(tmp_path: Path) -> None:
    for words, code, text in (
        (("--record-frames", "all"), 2, "--record FOLDER"),
        (("--record", "r", "--record-frames", "al"), 2, "did you mean 'all'"),
        (("--record", "r", "--disk", "much"), 2, "500MB"),
    ):
        done = inside("play", "pong", "--eyes", "teacher", *words, cwd=tmp_path)
        assert (done.returncode, "Traceback" in done.stderr, text in done.stderr) == (code, False, True), done.stderr
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "recording.json").write_text("{")
    done = inside("play", "pong", "--eyes", "teacher", "--record", "r", cwd=tmp_path)
    assert done.returncode == 1 and "half-written recording manifest" in done.stderr


def test_the_cost_of_recording_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks import record as bench_record

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bench_record, "STEPS", 30)
    monkeypatch.setattr(bench_record, "BLOCK", 20)
    found = bench_record.recording_cost(library.load("cartpole"), rounds=4)
    assert set(found["cost"]) == set(bench_record.SIDES[1:]) and found["steps"] == 80
    assert found["bytes_a_step"]["all"] > found["bytes_a_step"]["none"] > 0
    assert list(tmp_path.iterdir()) == []
