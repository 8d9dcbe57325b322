"""Files of the right form with one wrong value: the error names the file, and nothing that is shown is made of it."""

from __future__ import annotations

import contextlib
import json
import math
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from cli_kit import inside
from drift_kit import SCHEMA as DOTS
from drift_kit import ranges as dot_ranges
from mutate_kit import mutations, text

from data_flywheel.episodes.episode import KIND, VERSION, Episode, EpisodeRecorder
from data_flywheel.errors import DataError
from data_flywheel.storage.container import pack, unpack
from envs import shape
from envs.spec import ZOO
from logic.runtime.controller import Decision
from perception.drift import check, scene_parts
from triune.errors import TriuneError
from triune.play import evaluation
from triune.play.evaluation import Run, find_episode, make_request, summarise
from triune.report import card, page
from triune.system import System, load


def played(system: System, seed: int, /, **meta: Any) -> Episode:
    """A game that nobody played."""
    hashes = system.hashes()
    about = {
        "task": system.name, "protocol": "default", "seed": seed, "shift": None, "eyes": "cnn", "triune": "0",
        "weights": hashes["eyes"], **{key: hashes[key] for key in ("schema", "policy", "safety")},
        "drift": {"level": "changed", "since": {"changed": 32}, "words": ["it is dark"]}, **meta,
    }  # fmt: skip
    recorder = EpisodeRecorder(about)
    for _ in range(40):
        recorder.add(system.schema.empty(), Decision(0, "waits", 0), 0, 0)
    told = {"score": 5 + seed, "lives_at_end": 0, "frames": 40, "finished": True, "seconds": 0.1}
    return recorder.finish(scores=np.full(40, 5 + seed), lives=np.zeros(40, int), **told)


@pytest.fixture
def task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> System:
    """A copy of CartPole; pages draw no replays."""
    monkeypatch.setattr(page, "_replays", lambda *_: [])
    monkeypatch.chdir(tmp_path)
    for name in ("system.toml", "policy.py", "safety.py", "ranges.json", "perception.onnx"):
        (tmp_path / "mine").mkdir(exist_ok=True)
        shutil.copyfile(ZOO / "cartpole" / name, tmp_path / "mine" / name)
    return load(tmp_path / "mine")


@pytest.fixture
def run(task: System, tmp_path: Path) -> Run:
    """Two games, finished."""
    made = Run.open(tmp_path / "runs/eval/r", make_request(task, None, [1, 2], None, "cnn", None), task)
    for seed in (1, 2):
        played(task, seed).save(made.episodes / f"{seed}.npz")
    made.finish(summarise(made.info["request"], made.records(), 1.0, 1))
    return made


# --- a run's folder ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["run.json", "result.json"])
def test_a_run_with_one_wrong_value_is_shown_truly_or_refused_by_name(run: Run, name: str) -> None:
    sound, path = json.loads((run.path / name).read_text()), run.path / name
    refused = 0
    if name == "result.json":  # what is read of it
        sound = {key: sound[key] for key in ("seconds", "workers", "frames_per_second")}
    for what, value in mutations(sound, (None, -1, 2**63, math.nan, "zzz", "\ud800", [])):
        path.write_bytes(text(value))
        try:
            found = Run.read(run.path)
            system = load(found.info["request"]["folder"], policy=found.info["request"].get("policy"))
            records = found.records()
            result = found.result() or summarise(found.info["request"], records, 1.0, 1)
            view = page._view(found, system, result, None) if records else {}
            page.render("evaluation.html", **view) if view else ""
        except Exception as error:
            assert type(error).__name__ in ("TriuneError", "EnvError", "DataError"), f"{what}: {error!r}"
            assert len(str(error)) < 1000
            refused += 1
        else:
            assert set(result.scores) <= {6, 7}, what
    assert refused > 40 or name == "result.json" and refused > 15


@pytest.mark.parametrize(
    ("name", "key", "value", "said"),
    [
        ("run.json", ("request", "seeds"), [1, 2.5], r"run.json.*request.seeds\[1\] is 2.5, not a whole number"),
        ("run.json", ("request", "eyes"), "zzz", "request.eyes is 'zzz', not one of cnn, teacher, colour"),
        ("run.json", ("started",), 2**64 - 1, "started is 18446744073709551615, not a finite number from 0"),
        ("run.json", ("versions",), [], "versions is a list, not an object"),
        ("result.json", ("workers",), 0, "result.json: damaged.*workers is 0.*--resume"),
    ],
)
def test_what_is_wrong_in_a_run_is_named(run: Run, name: str, key: tuple[str, ...], value: Any, said: str) -> None:
    sound = json.loads((run.path / name).read_text())
    at = sound[key[0]] if len(key) > 1 else sound
    at[key[-1]] = value
    (run.path / name).write_bytes(text(sound))
    with pytest.raises(TriuneError, match=said):
        Run.read(run.path).result()
    done = inside("report", str(run.path))
    assert done.returncode == 1 and name in done.stderr and "Traceback" not in done.stderr


def test_figures_are_those_of_the_episodes_whatever_the_result_says(run: Run) -> None:
    told = json.loads((run.path / "result.json").read_text())
    for lie in ({"mean": 99.0}, {"scores": [9, 9, 9]}, {"seeds": [7]}, {"eyes": "zzz"}, {"reasons": {"a": []}}):
        (run.path / "result.json").write_text(json.dumps(told | lie))
        found = Run.read(run.path).result()
        assert found and (found.mean, found.seeds, found.scores, found.detector) == (6.5, [1, 2], [6, 7], "cnn")


@pytest.mark.parametrize("seeds", [[1], [2, 3], [1, 2, 3], [5, 6]])
def test_a_run_of_other_seeds_is_another_run(run: Run, task: System, seeds: list[int]) -> None:
    with pytest.raises(TriuneError, match=r"of other seeds \(1,2\); name another folder"):
        Run.open(run.path, make_request(task, None, seeds, None, "cnn", None), task)
    Run.open(run.path, make_request(task, None, [2, 1, 2], None, "cnn", None), task)


@pytest.mark.parametrize("name", ["zz", "1 (copy)", "²", "-1", "01", "3"])
def test_only_the_seeds_that_were_asked_for_are_games_of_a_run(run: Run, task: System, name: str) -> None:
    shutil.copyfile(run.episodes / "2.npz", run.episodes / f"{name}.npz")
    assert [p.name for p in run.files()] == ["1.npz", "2.npz"] and summarise(
        run.info["request"], run.records(), 1.0, 1
    ).seeds == [1, 2]
    with pytest.raises(TriuneError, match="has no episode of seed 3; it has 1, 2"):
        run.episode(3)


@pytest.mark.parametrize("key", ["seed", "protocol", "shift", "eyes", "task", "policy", "safety", "schema", "weights"])
def test_a_game_that_is_not_the_runs_is_refused(run: Run, task: System, key: str) -> None:
    other = 7 if key == "seed" else "other"
    played(task, 1, **{key: other}).save(run.episodes / "1.npz")
    with pytest.raises(TriuneError, match=rf"1\.npz: a game with {key} '?{other}'?, not .*; take it out"):
        run.records()


def test_the_line_that_repeats_is_of_the_games_that_are_shown(run: Run) -> None:
    """A run that lacks a game is repeated without it."""
    (run.episodes / "2.npz").unlink()
    assert run.result() is None
    written = page.write_report(Run.read(run.path)).read_text()
    assert "--seeds 1 " in written and "--seeds 1,2" not in written


# --- episodes ---------------------------------------------------------------------------------------


def test_an_episode_with_one_wrong_value_is_refused_or_shown(task: System, tmp_path: Path, capsys: Any) -> None:
    sound = played(task, 1, source="film")
    fields, arrays = unpack(sound.to_bytes(0), KIND, VERSION, "x", "")
    path, refused = tmp_path / "e.npz", 0
    for what, value in mutations(fields, (None, -1, 1e308, "a\0", [], {"a": []}, [None])):
        if not isinstance(value, dict):
            continue
        path.write_bytes(pack(KIND, VERSION, value, arrays, 0))
        try:
            episode, _ = find_episode(task, str(path))
            evaluation.episode_record(evaluation.load_played(path, evaluation._PLAYED))
            assert episode.reason(3) == episode.reason(4) and episode.meta["task"] == task.name
        except (DataError, TriuneError) as error:
            assert "e.npz" in str(error) and len(str(error)) < 600, what
            refused += 1
    assert refused > 100


ROWS = 40
ARRAYS: dict[str, Any] = {
    "scenes flat": ("scenes", np.zeros(ROWS, np.float32)), "scenes of text": ("scenes", np.full((ROWS, 6), "a")),
    "scenes of another schema": ("scenes", np.zeros((ROWS, 99), np.float32)),
    "controls": ("actions", np.zeros((ROWS, 2), np.float32)), "fractions": ("actions", np.zeros(ROWS, np.float32)),
    "ids below": ("reasons", np.full(ROWS, -1)), "ids of fractions": ("reasons", np.zeros(ROWS, np.float64)),
    "ids twice": ("faults", np.zeros((ROWS, 2), int)), "scores of text": ("scores", np.full(ROWS, "9")),
    "times": ("lives", np.zeros(ROWS, "datetime64[s]")), "one number": ("proposed", np.uint8(0)),
    "shorter": ("overruled", np.zeros(3, int)), "none": ("scores", None),
    "frames of text": ("frames.delta", np.full((ROWS, 2, 2), "a")),
    "frames flat": ("frames.delta", np.zeros(ROWS, np.uint8)),
    "a palette alone": ("frames.palette", np.zeros((2, 3), np.uint8)),
    "two channels": ("frames.delta", np.zeros((ROWS, 2, 2, 2), np.uint8)),
}  # fmt: skip


@pytest.mark.parametrize("form", ARRAYS)
def test_an_episode_with_an_odd_column_is_refused(task: System, tmp_path: Path, form: str) -> None:
    fields, arrays = unpack(played(task, 1).to_bytes(0), KIND, VERSION, "x", "")
    name, array = ARRAYS[form]
    arrays.pop(name, None)
    path = tmp_path / "e.npz"
    path.write_bytes(pack(KIND, VERSION, fields, arrays | ({} if array is None else {name: array}), 0))
    with pytest.raises((DataError, TriuneError), match=r"e\.npz"):
        find_episode(task, str(path))


@pytest.mark.parametrize("wanted", ["²", "١٢", "9" * 5000, "-1", "1.5", "7"])
def test_an_episode_is_named_by_plain_digits_or_a_path(run: Run, task: System, wanted: str) -> None:
    with pytest.raises((DataError, TriuneError)):
        find_episode(task, wanted)
    assert find_episode(task, "01")[0].meta["seed"] == 1, "a seed however it is written"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run", "x", "--deadline", "nan"), "number is needed"), (("run", "x", "--deadline", "0"), "above 0"),
        (("run", "x", "--deadline=-1"), "above 0"), (("run", "x", "--steps", "inf"), "number is needed"),
        (("eval", "x", "--workers", "1e300"), "whole number from 1"), (("play", "x", "--seed", "1e20"), "0 to 899999"),
        (("train", "x", "--seed=-1"), "0 to 899999"), (("eval", "x", "--steps", "1.5"), "whole number from 1"),
        (("web", "x", "--serve", "99999"), "0 to 65535"), (("lock", "x", "--floor", "inf"), "number is needed"),
        (("improve", "x", "--budget-usd", "nan"), "number is needed"),
    ],
)  # fmt: skip
def test_numbers_on_a_command_line_are_bounded_at_once(words: tuple[str, ...], said: str) -> None:
    done = inside(*words)
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr, done.stderr


@pytest.mark.parametrize("source", ["9" * 20, "²", "١", "12345"])
def test_a_camera_has_a_short_number(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from triune.play.film import Film

    monkeypatch.chdir(tmp_path)
    with pytest.raises(TriuneError, match="no such video"):
        Film(source)


@pytest.mark.parametrize("text", ["0:100000000000", "-5:3", "0:899999999999:7", "5:-100000000000:-1", "900000", "1,-2"])
def test_seeds_out_of_bounds_are_refused_before_they_are_listed(text: str) -> None:
    from triune.commands.common import parse_seeds
    from triune.errors import UsageError

    with pytest.raises(UsageError, match="seeds run from 0 to 899999"):
        parse_seeds(text)


# --- drift ranges and score cards -------------------------------------------------------------------


def test_ranges_with_one_wrong_value_are_no_ranges(task: System) -> None:
    from perception.drift import Watch
    from perception.errors import PerceptionError

    path = task.ranges_path
    sound, refused = json.loads(path.read_text()), 0
    assert task.ranges() == sound
    for what, value in mutations(sound, (None, 1e308, math.nan, "zzz", [])):
        path.write_bytes(text(value))
        try:
            made = task.read_ranges()
        except PerceptionError as error:
            assert "ranges.json" in str(error) and "--measure" in str(error), what
            refused += 1
            continue
        watch = Watch(made)
        for _ in range(34):
            watch.see(np.zeros((400, 600, 3), np.uint8), task.schema.empty())
    assert refused > 100


@pytest.mark.parametrize("change", [{"picture": []}, {"colours": "zz" * 512}, {"tones": [1.0]}, {"cells": [[0.0]]}])
def test_play_goes_on_without_damaged_ranges_and_drift_names_them(task: System, change: dict[str, Any]) -> None:
    (key,) = change
    task.ranges_path.write_text(json.dumps(json.loads(task.ranges_path.read_text()) | change))
    assert load(task.folder).ranges() is None
    done = inside("drift", str(task.folder))
    assert done.returncode == 1 and f"ranges ({key}" in done.stderr and "measure them again" in done.stderr


def test_ranges_inside_a_bundle_are_checked_by_the_same_rules() -> None:
    sound, parts = dot_ranges(), scene_parts(DOTS)
    check(json.loads(json.dumps(sound)), json.loads(json.dumps(parts)))
    for what, value in mutations(json.loads(json.dumps(sound)), (None, -1, "zzz", [], {})):
        with contextlib.suppress(ValueError):
            check(value, parts)
            assert what.split(" ")[0].split(".")[0] in ("samples", "tones", "cells", "picture", "eyes"), what


def test_a_card_with_one_wrong_value_counts_for_nothing_or_can_be_read(task: System) -> None:
    figures = {"mean": 6.5, "iqm": 6.5, "ci95": [6.0, 7.0], "worst_decile": 6.0}
    seeds = [1000, 1001]
    for detector in ("teacher", "cnn"):
        made = evaluation.Result("cartpole", "default", None, detector, seeds, [6, 7], **figures)  # type: ignore[arg-type]
        card.record(task, made, None)
    sound = json.loads((task.folder / "scores.json").read_text())
    for what, value in mutations(sound, (None, -1, math.nan, "\ud800", [], {"a": []})):
        (task.folder / "scores.json").write_bytes(text(value))
        assert "---" in card._page(task, card.read_scores(task.folder)), what


def test_a_card_is_of_the_folders_own_policy_however_the_run_came_to_be(task: System, tmp_path: Path) -> None:
    """Named on the command line, or by the run that is resumed."""
    lazy = tmp_path / "lazy.py"
    lazy.write_text('def act(scene, memory):\n    return LEFT, "always left"\n')
    other = load(task.folder, policy=lazy)
    lazy_run = Run.open(tmp_path / "lazy", make_request(other, None, [1], None, "cnn", None), other)
    for words in (("--policy", str(lazy)), ("--resume", str(lazy_run.path)), ("--shift", "dim"), ("--steps", "5")):
        done = inside("eval", "mine", "--seeds", "1", "--card", *words)
        assert done.returncode == 2 and "leave --card out" in done.stderr and "1 seeds" not in done.stderr, words
    assert not (task.folder / "scores.json").exists() and not (lazy_run.path / "result.json").exists()


@pytest.mark.parametrize(
    "words",
    [("--seeds", "100:102"), ("--shift", "dim"), ("--steps", "3"), ("--detector", "teacher"), ("--protocol", "x")],
)
def test_a_resumed_run_keeps_its_conditions(run: Run, words: tuple[str, ...]) -> None:
    done = inside("eval", "mine", "--resume", str(run.path), *words)
    assert done.returncode == 2 and f"{words[0]} {words[1]}: the run to be resumed has" in done.stderr


@pytest.mark.parametrize("out", ["/dev/null", "/dev/null/x/y", "file", "file/x"])
def test_a_file_in_place_of_a_folder_is_named(task: System, tmp_path: Path, out: str) -> None:
    (tmp_path / "file").write_text("")
    done = inside("eval", "mine", "--seeds", "1", "--out", out)
    assert done.returncode == 2 and f"{out.split('/x')[0]} is no folder; name another one" in done.stderr


@pytest.mark.parametrize(
    "lie",
    [
        {"command": "rm -rf ~ `x` | y"}, {"command": "triune eval c; rm -rf ~"}, {"command": "triune eval $(id)"},
        {"command": "triune eval a\n\n# title"}, {"command": "triune eval 'a|b'"}, {"command": ""}, {"ci95": [1]},
        {"n": 0},
    ],
)  # fmt: skip
def test_a_strangers_card_offers_nothing_to_paste(task: System, lie: dict[str, Any]) -> None:
    entry = {"mean": 1.0, "ci95": None, "worst": 1, "n": 1, "command": "triune eval 'my c' --seeds 1"}
    path = task.folder / "scores.json"
    path.write_text(json.dumps({"format": 1, "protocols": {"a": entry}}))
    assert card.read_scores(task.folder) == {"a": entry}
    for protocols in ({"a": entry | lie}, {"a": {"teacher": entry | lie}}, {"a|b": entry}, {"a": {}}):
        path.write_text(json.dumps({"format": 1, "protocols": protocols}))
        assert card.read_scores(task.folder) == {}


@pytest.mark.parametrize(("seeds", "said"), [([1000, 1001], True), ([100, 101], False), ([999, 1000], False)])
def test_a_card_calls_gate_seeds_what_they_are(task: System, seeds: list[int], said: bool) -> None:
    figures = {"mean": 6.5, "iqm": 6.5, "ci95": [6.0, 7.0], "worst_decile": 6.0}
    made = evaluation.Result("cartpole", "default", None, "cnn", seeds, [6, 7], **figures)  # type: ignore[arg-type]
    assert ("over gate seeds with" in card.record(task, made, None).read_text()) is said


def test_a_card_has_the_hashes_of_what_was_played(task: System) -> None:
    """Whatever has become of the folder since."""
    played_with = task.hashes()
    (task.folder / "policy.py").write_text((task.folder / "policy.py").read_text() + "\n# other\n")
    figures = {"mean": 6.5, "iqm": 6.5, "ci95": [6.0, 7.0], "worst_decile": 6.0}
    made = evaluation.Result("cartpole", "default", None, "cnn", [1000, 1001], [6, 7], **figures)  # type: ignore[arg-type]
    card.record(task, made, None, {**played_with, "teacher": "0"})
    kept = json.loads((task.folder / "scores.json").read_text())["protocols"]["default"]["hashes"]
    assert kept == played_with != task.hashes()


def test_a_line_of_games_with_one_wrong_value_is_named(tmp_path: Path) -> None:
    from triune.play.evaluator import GameStore

    path = tmp_path / "games.jsonl"
    key = GameStore(path, {}).under
    sound = {"under": key, "policy": "p", "seed": 1, "score": 2.5, "hard": 0.0, "frames": 9, "decisions": 9}
    for score in (2.5, -3, math.nan, math.inf):
        path.write_bytes(text(sound | {"score": score}) + b"\n")
        assert str(GameStore(path, {}).get("p", 1).score) == str(score)  # type: ignore[union-attr]
    for what, value in mutations(sound, (None, True, "x", [], {"a": []})):
        path.write_bytes(text(value) + b"\n")
        if not isinstance(value, dict) or not isinstance(value.get("under"), str) or "policy = 'x'" not in what:
            with contextlib.suppress(TriuneError):
                assert not GameStore(path, {}).known, what
    path.write_bytes(text(sound | {"score": "x"}) + b"\n")
    with pytest.raises(TriuneError, match=r"games\.jsonl, line 1: not a game"):
        GameStore(path, {})


@pytest.mark.parametrize(("eyes", "other"), [("teacher", True), ("colour", True), ("cnn", False)])
def test_games_seen_by_another_teacher_are_other_games(task: System, tmp_path: Path, eyes: str, other: bool) -> None:
    from triune.play.evaluator import TaskEvaluator

    keys = []
    for teacher in ("# one\n", "# another\n"):
        (task.folder / "teacher.py").write_text(teacher)
        evaluator = SimpleNamespace(system=task, detector=eyes, protocol=task.protocol(), _soft=frozenset())
        TaskEvaluator.keep_games(evaluator, tmp_path / "games.jsonl")  # type: ignore[arg-type]
        keys.append(evaluator.store.under)
    assert (keys[0] != keys[1]) is other


@pytest.mark.parametrize("changed", ["policy.py", "safety.py", "perception.onnx", "system.toml"])
def test_a_worker_that_finds_another_folder_does_not_play(task: System, changed: str) -> None:
    from triune.play.workers import episodes, game

    job = {**make_request(task, None, [1], None, "cnn", None), "hashes": task.hashes()}
    asked = game(None, task.hashes()["policy"], 1)
    with (task.folder / changed).open("ab") as file:
        file.write(b"\n# \n")
    with pytest.raises(TriuneError, match=r"another \w+ since the games began"), episodes(job) as play:
        play(asked)


# --- the checks themselves --------------------------------------------------------------------------


CHECKS: list[tuple[shape.Check, list[Any], list[Any]]] = [
    (shape.whole(0, 9), [0, 9], [-1, 10, True, 1.0, "1", None]),
    (shape.number(0, 1), [0, 1, 0.5], [-0.1, 1.1, float("nan"), True, "0", None, []]),
    (shape.flag, [True, False], [0, 1, None, "true"]),
    (shape.text, ["", "a\nb", "²"], [None, 3, "a\0", "\ud800", "x" * (shape.MOST_TEXT + 1)]),
    (shape.one_of("a", "b"), ["a"], ["c", "", None, ["a"]]),
    (shape.maybe(shape.flag), [None, True], [0]),
    (shape.each(shape.flag, 1, 2), [[True], [True, False]], [[], [True] * 3, True, [0], {}]),
    (shape.row(shape.flag, shape.words), [[True, ""]], [[True], ["", True], [True, "", ""], None]),
    (shape.named(shape.flag), [{}, {"a": True}], [{"a": 0}, {"\0": True}, []]),
    (
        shape.table({"a": shape.flag}, {"b": shape.flag}), [{"a": True}, {"a": True, "b": True, "c": 0}],
        [{}, {"b": True}, {"a": 0}, {"a": True, "b": 0}, []],
    ),
]  # fmt: skip


@pytest.mark.parametrize("n", range(len(CHECKS)))
def test_a_check_takes_what_it_says_and_nothing_beside(n: int) -> None:
    takes, good, bad = CHECKS[n]
    for value in good:
        takes(value, "key")
    for value in bad:
        with pytest.raises(shape.Misfit, match="key"):
            takes(value, "key")
