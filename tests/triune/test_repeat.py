"""Command lines for people: each repeats exactly what was done, of the zoo's task, a copy, or a folder of any name."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from data_flywheel.episodes.episode import Episode
from envs.repeat import again, command_line, seeds_text
from envs.spec import ZOO, load_spec
from triune import cli
from triune.commands.common import parse_seeds
from triune.errors import TriuneError
from triune.play import evaluation
from triune.play.evaluation import Run, find_episode, latest, make_request, new_folder
from triune.report.page import _command
from triune.system import System, load

NAMES = ["copy", "pong", "my tasks/it's mine", "a;b", "$(id)"]


def copy(folder: Path, task: str = "cartpole") -> Path:
    """A stranger's copy of a task."""
    folder.mkdir(parents=True)
    for name in ("system.toml", "policy.py", "safety.py", "teacher.py"):
        shutil.copy(ZOO / task / name, folder / name)
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_is_found_again_under_what_it_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    copy(tmp_path / name)
    for folder in (tmp_path / name, Path(name)):
        told = load_spec(folder if folder.is_absolute() else f"./{name}").called
        words = shlex.split(command_line("eval", told, seeds=3))
        assert len(words) == 5 and load_spec(words[2]).folder.resolve() == (tmp_path / name).resolve()


def test_the_zoo_is_called_by_name_however_it_was_reached(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(ZOO / "pong")
    for task in ("pong", ZOO / "pong", os.path.relpath(ZOO / "pong"), tmp_path / "link"):
        assert load_spec(task).called == "pong"


@pytest.mark.parametrize("seeds", [[7], [1, 2], [100, 101, 102], [1, 5, 9], [3, 2, 1], [4, 6, 8, 10]])
def test_seeds_are_read_back_as_they_were(seeds: list[int]) -> None:
    assert parse_seeds(seeds_text(seeds)) == seeds


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"seeds": [1, 5, 9]},
        {"shift": "dim+noise"},
        {"eyes": "teacher", "limit": 50},
        {"policy": "/tmp/my policy.py"},
    ],
)
def test_the_page_of_a_run_repeats_it(tmp_path: Path, asked: dict[str, Any]) -> None:
    """As the parser of `eval` reads the line, it asks for the same."""
    system = load(copy(tmp_path / "my pong"), trust=True)
    request = {"seeds": [1, 2, 3], "shift": None, "eyes": "cnn", "limit": None, "policy": None} | asked
    result: Any = SimpleNamespace(
        protocol="default", detector=request["eyes"], shift=request["shift"], seeds=request["seeds"]
    )
    words = shlex.split(_command(system, request, result))
    args = cli.build_parser("eval").parse_args(words[1:])
    found = (args.task, parse_seeds(args.seeds), args.shift, args.detector, args.steps, args.policy, args.protocol)
    wanted = (request[key] for key in ("seeds", "shift", "eyes", "limit", "policy"))
    assert found == (str(system.folder), *wanted, "default") and args.trust == (request["eyes"] == "teacher")


@pytest.mark.parametrize(
    ("typed", "more", "without", "told"),
    [
        (["eval", "x", "--record", "my rec"], ["--resume", "r"], (), "triune eval x --record 'my rec' --resume r"),
        (["train", "pong", "--fresh", "--frames", "9"], [], ("--fresh",), "triune train pong --frames 9"),
        (["train", "x", "--fres", "--out", "a.onnx"], [], ("--fresh",), "triune train x --out a.onnx"),
        (["--json", "collect", "./pong", "--out", "$(id)"], [], (), "triune --json collect ./pong --out '$(id)'"),
    ],
)
def test_what_goes_on_is_what_was_typed(typed: list[str], more: list[str], without: Any, told: str) -> None:
    assert again(argparse.Namespace(typed=typed), *more, without=without) == told


@pytest.mark.parametrize(
    "typed",
    [
        ["eval", "TASK", "--seeds", "3,7", "--record", "rec", "--isolate", "--out", "run"],
        ["collect", "TASK", "--frames", "70", "--out", "d", "--trust"],
        ["train", "TASK", "--steps", "7", "--seed", "4", "--out", "x.onnx", "--fresh"],
        ["flywheel", "TASK", "--rounds", "1", "--run", "home"],
    ],
)
def test_an_interrupted_command_tells_its_own_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], typed: list[str]
) -> None:
    """Whatever it was told before, it is told again."""
    if typed[0] in ("train", "flywheel"):
        pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    copy(tmp_path / "my task")
    typed = ["my task" if word == "TASK" else word for word in typed]

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluation, "evaluate", stop)
    monkeypatch.setattr("triune.commands.collect.collect_into", stop)
    monkeypatch.setattr("triune.play.self_training.SelfTraining", stop)
    assert cli.main(typed) == 130
    _, _, line = capsys.readouterr().err.partition("continue with: ")
    words = shlex.split(line)
    said = [word for word in typed if word != "--fresh"]
    assert words[1:] == said + (["--resume", "run"] if typed[0] == "eval" else [])
    assert cli.build_parser(typed[0]).parse_args(words[1:]).task == "my task"


# --- runs of different texts stay apart ------------------------------------------------------------


def keep(system: System, folder: Path, seed: int = 0, score: int = 5, seeds: Sequence[int] = (), **meta: Any) -> Run:
    """A run of one game that nobody played, or of one game of `seeds`."""
    import numpy as np

    from data_flywheel.episodes.episode import EpisodeRecorder
    from logic.runtime.controller import Decision

    hashes = system.hashes()
    about = {
        "task": system.name, "protocol": "default", "seed": seed, "shift": None, "eyes": "cnn", "triune": "0",
        "weights": hashes["eyes"], **{key: hashes[key] for key in ("schema", "policy", "safety")}, **meta,
    }  # fmt: skip
    run = Run.open(folder, make_request(system, None, seeds or [seed], None, "cnn", None), system)
    recorder = EpisodeRecorder(about)
    for _ in range(40):
        recorder.add(system.schema.empty(), Decision(0, "waits", 0), 0, 0)
    told = {"score": score, "lives_at_end": 0, "frames": 40, "finished": True, "seconds": 0.1}
    recorder.finish(scores=np.full(40, score), lives=np.zeros(40, int), **told).save(run.episodes / f"{seed}.npz")
    return run


def test_a_copy_has_runs_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    mine, other = load(copy(tmp_path / "cartpole")), load(copy(tmp_path / "b" / "cartpole"))
    (other.folder / "policy.py").write_text((other.folder / "policy.py").read_text() + "\n# other\n")
    runs = []
    for system in (mine, other):
        with pytest.raises(TriuneError, match=r"no run of .*make one with `triune eval "):
            latest(system.folder)
        runs.append(new_folder(system, "default", None, "cnn"))
        keep(system, runs[-1], score=len(runs))
    assert len(set(runs)) == 2, "also within one second"
    for system, run in zip((mine, other), runs, strict=True):
        assert latest(system.folder) == run and find_episode(system, "0")[1] == str(run / "episodes" / "0.npz")
    with pytest.raises(TriuneError, match="another policy"):
        Run.open(runs[0], make_request(other, None, [0], None, "cnn", None), other)
    with pytest.raises(TriuneError, match="no run of cartpole"):
        latest(ZOO / "cartpole")


def test_one_teacher_does_not_go_on_with_the_run_of_another(tmp_path: Path) -> None:
    system = load(copy(tmp_path / "a"), trust=True)
    for eyes in ("teacher", "cnn"):
        request = make_request(system, None, [0], None, eyes, None)
        Run.open(tmp_path / eyes, request, system)
        Run.open(tmp_path / eyes, request, system)
    (system.folder / "teacher.py").write_text("# another\n")
    Run.open(tmp_path / "cnn", request, system)
    with pytest.raises(TriuneError, match="another teacher"):
        Run.open(tmp_path / "teacher", request | {"eyes": "teacher"}, system)


def test_games_of_other_texts_are_not_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`triune play` replaces its last game of a seed, and no other."""
    from triune.commands.play import _keep

    monkeypatch.chdir(tmp_path)
    args = argparse.Namespace(protocol=None, seed=0, shift=None, detector="cnn", steps=None)
    kept = []
    for name in ("a", "b", "a"):
        folder = tmp_path / name / "cartpole"
        system = load(folder if folder.exists() else copy(folder))
        if name == "b":
            (folder / "safety.py").write_text("")
        episode = Episode.load(keep(system, tmp_path / f"r{len(kept)}").episodes / "0.npz")
        kept.append(_keep(system, args, episode).path)
    assert kept[0] == kept[2] != kept[1] and all((path / "episodes" / "0.npz").is_file() for path in kept)


@pytest.mark.parametrize(
    ("changed", "file"), [("policy", "policy.py"), ("safety", "safety.py"), ("weights", "detector")]
)
def test_no_lock_is_made_of_what_others_decided_or_saw(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], changed: str, file: str
) -> None:
    monkeypatch.chdir(tmp_path)
    system = load(copy(tmp_path / "mine"))
    shutil.copy(ZOO / "cartpole" / "perception.onnx", system.folder)
    keep(load("mine"), tmp_path / "run", **{changed: "0" * 64})
    for what in (["--step", "20"], ["--floor-auto"], ["--from", "10", "--to", "12"]):
        assert cli.main(["lock", "mine", "--episode", "run/episodes/0.npz", *what]) == 1
        said = capsys.readouterr().err
        assert f"another {file} than mine has now played" in said
        assert "triune eval mine --seeds 0 --protocol default --eyes cnn" in said
    assert not (system.folder / "locks").exists()


def test_episodes_are_found_wherever_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file, a run's folder anywhere, a recording's, a seed of the newest run; the worst game where none is named."""
    monkeypatch.chdir(tmp_path)
    system = load(copy(tmp_path / "mine"))
    keep(system, tmp_path / "far" / "run", 1, 9, (1, 2))
    run = keep(system, tmp_path / "far" / "run", 2, 3, (1, 2))
    assert find_episode(system, "far/run")[0].meta["seed"] == 2
    assert find_episode(system, "far/run/episodes/1.npz")[0].meta["seed"] == 1
    shutil.copytree(run.path, "runs/eval/x")
    assert find_episode(system, None)[0].meta["seed"] == 2 and find_episode(system, "1")[0].meta["score"] == 9
    with pytest.raises(TriuneError, match="far holds no finished episode"):
        find_episode(system, "far")
    with pytest.raises(TriuneError, match="is an episode of cartpole, not of pong"):
        find_episode(load("pong"), "far/run")


# --- a figure of one game ---------------------------------------------------------------------------


def test_one_game_has_no_interval(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """Not on the console, in JSON, on the page, in the card, nor where an earlier version wrote one."""
    import json

    from triune.commands.eval import show
    from triune.console import Console
    from triune.report import page
    from triune.report.card import _pair

    monkeypatch.setattr(page, "_replays", lambda *_: [])
    system = load(copy(tmp_path / "mine"))
    for games, shown in ((1, False), (2, True)):
        run = tmp_path / str(games)
        for seed in range(games):
            kept = keep(system, run, seed, 5 + seed, range(games))
        result = evaluation.summarise(kept.info["request"], kept.records(), 1.0, 1)
        assert (result.ci95 is not None) is shown
        kept.finish(result)
        show(result, "mine", Console())
        assert ("95 %" in capsys.readouterr().out) is shown
        assert ("95 %" in page.write_report(kept).read_text()) is shown
        assert ("[" in _pair(vars(result) | {"worst": 5})[0]) is shown
        told = result.to_dict() | {"ci95": [5.0, 5.0], "mean": 9.0, "scores": [9]}
        (run / "result.json").write_text(json.dumps(told))  # figures are made of the episodes
        assert Run.read(run).result() == replace(result, run=str(run))
        assert ("95 %" in page.write_report(Run.read(run)).read_text()) is shown


def test_frames_are_not_asked_of_a_data_set_that_is_given(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    assert cli.main(["train", "pong", "--data", "d", "--frames", "9", "--out", str(tmp_path / "x.onnx")]) == 2
    assert "nothing is collected into --data" in capsys.readouterr().err
