"""Runs of an evaluation, over a player that plays nothing: what is kept, continued, refused and found again."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from data_flywheel.episodes.episode import Episode
from data_flywheel.errors import DataError
from envs.errors import EnvError
from triune.errors import TriuneError, UsageError
from triune.play import evaluation
from triune.play.evaluation import Result, Run, evaluate, find_episode, latest, make_request, new_folder, versions
from triune.play.workers import episode_record

HASHES = {"policy": "p", "safety": "s", "schema": "c", "eyes": "e"}


def system_of(folder: Path, text: str = "policy.py", name: str = "toy", shape: Any = (), **hashes: str) -> Any:
    """What a run needs of a system; `shape`: of its controls."""
    folder.mkdir(parents=True, exist_ok=True)
    return SimpleNamespace(
        name=name, folder=folder, policy_path=folder / text, trust=False, isolated=True, require_isolation=False,
        protocol=lambda named: SimpleNamespace(name=named or "default"), schema=SimpleNamespace(size=1),
        hashes=lambda: {**HASHES, **hashes},
        spec=SimpleNamespace(env=SimpleNamespace(backend="gymnasium", actions=SimpleNamespace(shape=shape))),
    )  # fmt: skip


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    return system_of(tmp_path / "toy")


def episode(seed: int, score: float | None = None, actions: Any = (0, 0), width: int = 1, **meta: Any) -> Episode:
    """A game of 3 s and 8 frames, as the toy's run wants it; without a score none is told."""
    made = {"task": "toy", "protocol": "default", "seed": seed, "shift": None, "eyes": "cnn"}
    made |= {"policy": "p", "safety": "s", "schema": "c", "weights": "e"}
    told = {"lives_at_end": 0, "frames": 8, "finished": True, "seconds": 3.0}
    acts = np.asarray(actions, np.uint8 if np.asarray(actions).dtype.kind == "i" else np.float32)
    none = np.zeros(len(acts), np.uint16)
    return Episode(
        made | told | ({} if score is None else {"score": score}) | meta, np.zeros((len(acts), width), np.float32),
        acts, acts, none, none, none, none.astype(np.int32), none.astype(np.int32),
    )  # fmt: skip


def run_of(system: Any, path: str | Path, seeds: list[int], eyes: str = "cnn") -> Run:
    return Run.open(path, make_request(system, None, seeds, None, eyes, None), system)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What the player was asked; a game of seed s scores s, and one second goes by between two looks at the clock."""
    calls: list[tuple[Any, ...]] = []

    def play_seeds(system: Any, request: Any, seeds: Any, workers: int, keep: Path | None) -> Iterator[dict[str, Any]]:
        calls.append((request, list(seeds), workers, keep))
        for seed in seeds:
            game = episode(seed, seed)
            if keep:
                game.save(keep / f"{seed}.npz")
            yield episode_record(game)

    ticks = iter(range(100, 1100))
    clock = SimpleNamespace(perf_counter=lambda: next(ticks), time=lambda: 12.5, strftime=lambda form: f"@{form}")
    monkeypatch.setattr(evaluation, "play_seeds", play_seeds)
    monkeypatch.setattr(evaluation, "time", clock)
    return calls


def test_an_evaluation_plays_each_seed_once_and_keeps_nothing_of_its_own_accord(toy: Any, asked: list[Any]) -> None:
    told = evaluate(toy, seeds=[4, 2, 4])
    assert (told.seeds, told.scores, told.seconds, told.workers, told.run) == ([2, 4], [2, 4], 1, 1, None)
    ((request, seeds, workers, keep),) = asked
    assert (seeds, workers, keep) == ([4, 2], 1, None) and "record" not in request and not list(Path().glob("r*"))
    evaluate(toy, record={"to": "x"})
    assert asked[1][0]["record"] == {"to": "x"} and asked[1][1] == list(range(100, 110))
    with pytest.raises(UsageError, match="no seeds to play"):
        evaluate(toy, seeds=[])
    with pytest.raises(EnvError, match="whole numbers"):
        evaluate(toy, seeds=[1, -1])


@pytest.mark.parametrize("workers, seconds", [(0, 7), (1, 7), (2, 4), (3, 3)])
def test_a_run_is_continued_where_it_stopped(workers: int, seconds: float, toy: Any, asked: list[Any]) -> None:
    """Two games of 3 s each are there; one second goes by over the others."""
    run = run_of(toy, "r", [1, 2, 3, 5])
    for seed in (5, 2):
        episode(seed, seed).save(run.episodes / f"{seed}.npz")
    assert run.result() is None
    seen: list[Any] = []

    def saw(done: int, wanted: int, record: Any) -> None:
        seen.append((done, wanted, record["seed"]))

    told = evaluate(toy, seeds=[1, 2, 3, 5], workers=workers, run="r", progress=saw)
    assert seen == [(3, 4, 1), (4, 4, 3)] and told.scores == [1, 2, 3, 5] and told.seconds == seconds
    assert asked[0][1:] == ([1, 3], workers, Path("r/episodes")) and told.run == "r"
    assert not workers or Run.read("r").result() == told
    assert [p.stem for p in Run.read("r").files()] == ["1", "2", "3", "5"]
    assert json.loads(Path("r/run.json").read_text()) == run.info | {"started": 12.5}
    assert all(Path(f"r/{name}.json").read_text().startswith('{\n "') for name in ("run", "result"))
    assert Path("r/run.json").read_text().endswith("}\n")


def test_a_run_is_continued_only_as_it_was_begun(toy: Any) -> None:
    request = make_request(toy, None, [1], "dim", "cnn", 7)
    assert request == {
        "task": "toy", "folder": str(toy.folder.resolve()), "protocol": "default", "shift": "dim", "eyes": "cnn",
        "seeds": [1], "limit": 7, "trust": False, "isolate": True, "require_isolation": False, "policy": None,
    }  # fmt: skip
    other = system_of(toy.folder, "other.py")
    assert make_request(other, "p", [1], None, "cnn", None)["policy"] == str((toy.folder / "other.py").resolve())
    begun = Run.open("r", request, toy)
    assert Run.open("r", request, toy) == begun and Run.open("r", request | {"seeds": [1, 1]}, toy) == begun
    for key in ("task", "protocol", "shift", "eyes", "limit"):
        with pytest.raises(TriuneError, match=f"r holds a run with another {key}; name another folder"):
            Run.open("r", request | {key: "x"}, toy)
    for hashes in ({"policy": "q"}, {"eyes": "f"}, {"library": "l"}):
        with pytest.raises(TriuneError, match=f"r was made with another {next(iter(hashes))}; start a new run"):
            Run.open("r", request, system_of(toy.folder, **hashes))


@pytest.mark.parametrize(
    "differs, refused",
    [
        ({}, None), ({"limit": 9}, "another limit"), ({"shift": "dim"}, "another shift"),
        ({"seeds": [2]}, "other seeds"), ({"task": "x"}, "another task"),
    ],
)  # fmt: skip
def test_of_two_that_begin_at_once_the_slower_one_goes_on_as_a_later_one(
    differs: dict[str, Any], refused: str | None, toy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its look and its writing, the other one has begun."""
    request, write = make_request(toy, None, [1], None, "cnn", None), evaluation._write

    def late(path: Path, *more: Any, **how: Any) -> None:
        monkeypatch.setattr(evaluation, "_write", write)
        Run.open(path.parent, request | differs, toy)
        write(path, *more, **how)

    monkeypatch.setattr(evaluation, "_write", late)
    if refused:
        with pytest.raises(TriuneError, match=f"r holds a run .*{refused}"):
            Run.open("r", request, toy)
    else:
        assert Run.open("r", request, toy) == Run.read("r")
    assert Run.read("r").info["request"] == request | differs and os.listdir("r") == ["run.json"]


@pytest.mark.parametrize("key, value", [("folder", "t\udce9st"), ("policy", "a\ud800"), ("shift", "\0"), ("limit", 0)])
def test_a_record_that_could_not_be_read_again_is_not_written(key: str, value: Any, toy: Any) -> None:
    with pytest.raises(TriuneError, match=rf"r/run\.json: cannot be written \(request\.{key} is "):
        Run.open("r", make_request(toy, None, [1], None, "cnn", None) | {key: value}, toy)
    assert not os.path.lexists("r")


@pytest.mark.parametrize(
    "limit, steps, finished, sound",
    [
        (None, 2, True, True), (None, 2, False, False), (2, 2, True, True), (2, 2, False, True), (2, 1, True, True),
        (2, 1, False, False), (2, 3, True, False), (2, 3, False, False),
    ],
)  # fmt: skip
def test_games_that_were_cut_and_whole_ones_do_not_mix(
    limit: int | None, steps: int, finished: bool, sound: bool, toy: Any
) -> None:
    run = Run.open("r", make_request(toy, None, [1], None, "cnn", limit), toy)
    episode(1, 1, (0,) * steps, finished=finished).save(run.episodes / "1.npz")
    if sound:
        assert len(run.records()) == 1
        return
    told = f"a {'whole' if finished else 'cut'} game of {steps} steps, where the run has {limit or 'no'} limit"
    with pytest.raises(TriuneError, match=rf"1\.npz: {told}; take it out"):
        run.records()


def test_the_teacher_decides_too_where_it_sees(toy: Any) -> None:
    for eyes in ("teacher", "cnn"):
        assert run_of(toy, f"no-{eyes}", [1], eyes).info["hashes"] == HASHES
    (toy.folder / "teacher.py").write_text("# one")
    for eyes, also in (("teacher", {"teacher"}), ("cnn", set())):
        assert run_of(toy, eyes, [1], eyes).info["hashes"].keys() == HASHES.keys() | also
    (toy.folder / "teacher.py").write_text("# two")
    run_of(toy, "cnn", [1])
    with pytest.raises(TriuneError, match="was made with another teacher; start a new run"):
        run_of(toy, "teacher", [1], "teacher")


def test_a_run_is_read_where_there_is_one_and_its_games_lie_in_it(toy: Any, tmp_path: Path) -> None:
    with pytest.raises(TriuneError, match=r"r holds no evaluation run \(there is no run.json\)"):
        Run.read("r")
    run_of(toy, "r", [1])
    (tmp_path / "beside").mkdir()
    Path("r/episodes").symlink_to(tmp_path / "beside")
    with pytest.raises(TriuneError, match="r/episodes: this folder is a link out of r"):
        Run.read("r")
    Path("r/run.json").unlink()
    Path("r/run.json").symlink_to("nowhere")
    with pytest.raises(TriuneError, match="is a link out of|no such run record"):
        Run.read("r")


LAST = 2**31 - 1


@pytest.mark.parametrize(
    "name, key, takes, refuses",
    [
        ("run", "seeds", [[0], [LAST]], [[-1], [LAST + 1], [], [1, 2.5]]),
        ("run", "limit", [None, 1], [0]), ("run", "eyes", ["cnn", "teacher", "colour"], ["CNN", None]),
        ("run", "shift", [None, "dim"], [3]), ("run", "policy", [None, "other.py"], [3]),
        ("run", "isolate", [True, False], [1]),
        ("run", "started", [0, 2e11], [-0.5, 2e11 + 1, "now"]), ("result", "seconds", [0, 0.5], [-0.5, None]),
        ("result", "workers", [1], [0, 1.5, None]), ("result", "frames_per_second", [None, 0], [-0.5, "fast"]),
    ],
)  # fmt: skip
def test_a_record_has_bounds(name: str, key: str, takes: list[Any], refuses: list[Any], toy: Any) -> None:
    run = run_of(toy, "r", [1])
    episode(1, 1).save(run.episodes / "1.npz")
    run.finish(Result("toy", "default", None, "cnn", [1], [1]))
    path = run.path / f"{name}.json"
    sound = json.loads(path.read_text())

    def read(value: Any) -> None:
        there = sound["request"] if key in sound.get("request", ()) else sound
        there[key] = value
        path.write_text(json.dumps(sound))
        read_back = Run.read(run.path)
        if name == "result":
            assert getattr(read_back.result(), key) == value

    for value in takes:
        read(value)
    for value in refuses:
        with pytest.raises(TriuneError, match=rf"{name}\.json: damaged or half-written run record \(.*{key}"):
            read(value)


@pytest.mark.parametrize("key", ["seed", "policy", "safety", "schema", "weights"])
def test_a_game_is_the_runs_and_weights_decide_only_where_they_see(key: str, toy: Any) -> None:
    for eyes in ("cnn", "teacher"):
        run, game = run_of(toy, eyes, [1], eyes), episode(1, 1, eyes=eyes)
        game.save(run.episodes / "1.npz")
        assert [r["seed"] for r in run.records()] == [game.meta["seed"] for game in run] == [1]
        game.meta[key] = 2 if key == "seed" else "other"
        game.save(run.episodes / "1.npz")
        if (eyes, key) == ("teacher", "weights"):
            assert run.episode(1).meta["weights"] == "other"
            continue
        with pytest.raises(TriuneError, match=rf"1\.npz: a game with {key} .*; take it out"):
            run.episode(1)


def test_an_episode_that_is_not_there_lists_those_that_are(toy: Any) -> None:
    run = run_of(toy, "r", list(range(3, 33)))
    with pytest.raises(TriuneError, match="r has no episode of seed 3; it has none$"):
        run.episode(3)
    for seed in range(9, 33):
        episode(seed, seed).save(run.episodes / f"{seed}.npz")
    assert run.episode(12).meta["seed"] == 12 and [r["seed"] for r in run.records()] == list(range(9, 33))
    with pytest.raises(TriuneError, match="has no episode of seed 3; it has 9, 10, .*, 27, 28$"):
        run.episode(3)


def test_new_folders_are_apart_also_within_one_second(toy: Any, asked: list[Any]) -> None:
    made = [new_folder(toy, "plain", *of) for of in [(None, "cnn")] * 3 + [("dim", "cnn"), (None, "teacher")]]
    stem = "toy-plain@-%Y%m%d-%H%M%S"
    assert made[:3] == [Path("runs/eval") / name for name in (stem, f"{stem}.2", f"{stem}.3")]
    assert [path.name.partition("@")[0] for path in made[3:]] == ["toy-plain-dim", "toy-plain-teacher"]
    assert all(path.is_dir() for path in made)


def kept(system: Any, name: str, at: float, scores: dict[int, Any], finished: bool) -> Path:
    """A run under runs/eval, begun at a time, with these games of the seeds it wants: 1 to 10."""
    run = run_of(system, Path("runs/eval") / name, list(range(1, 11)))
    for seed, score in scores.items():
        episode(seed, score).save(run.episodes / f"{seed}.npz")
    if finished:
        run.finish(Result("toy", "default", None, "cnn", [], []))
    os.utime(run.path / "run.json", (at, at))
    return run.path


def test_the_newest_run_of_a_task_is_found(toy: Any, tmp_path: Path) -> None:
    copy = system_of(tmp_path / "copy")
    for folder, unfinished, what in [
        (None, False, "run under runs/eval; make one with `triune eval TASK`"),
        (None, True, "unfinished run under"),
        (toy.folder, False, f"run of {toy.folder} under runs/eval; make one with `triune eval {toy.folder}`"),
        (toy.folder, True, f"unfinished run of {toy.folder} under"),
    ]:
        with pytest.raises(TriuneError, match=f"there is no {what}"):
            latest(folder, unfinished)
    old = kept(toy, "b", 100, {1: 1}, True)
    cut = kept(toy, "a", 200, {2: 2}, False)
    new = kept(toy, "d", 300, {3: 3}, True)
    kept(toy, "c", 400, {}, True)  # never came to play
    begun = kept(toy, "e", 450, {}, False)
    other = kept(copy, "f", 500, {4: 4}, True)
    assert latest() == other and latest(copy.folder) == other and latest(toy.folder) == new
    assert latest(unfinished=True) == latest(toy.folder, unfinished=True) == begun
    (begun / "run.json").unlink()
    assert latest(toy.folder, True) == cut != old
    with pytest.raises(TriuneError, match="no unfinished run of"):
        latest(copy.folder, True)


def test_an_episode_is_found_by_file_folder_or_seed(toy: Any) -> None:
    run = kept(toy, "a", 100, {7: 5, 8: -3, 9: 2, 10: 0}, True)
    worst = str(run / "episodes" / "8.npz")
    for wanted, where, seed in [
        (None, worst, 8), (str(run), worst, 8), ("9", str(run / "episodes" / "9.npz"), 9),
        (str(run / "episodes" / "7.npz"), str(run / "episodes" / "7.npz"), 7),
    ]:  # fmt: skip
        found, told = find_episode(toy, wanted)
        assert (told, found.meta["seed"]) == (where, seed)
    assert find_episode(toy, "7".zfill(19))[0].meta["seed"] == 7, "a seed however it is written"
    with pytest.raises(DataError, match="0007: no such triune episode"):
        find_episode(toy, "7".zfill(20))
    with pytest.raises(TriuneError, match="no episode of seed 3"):
        find_episode(toy, "3")
    with pytest.raises(TriuneError, match=r"toy holds no finished episode; name one with --episode FILE"):
        find_episode(toy, str(toy.folder))
    stranger = system_of(toy.folder, name="other")
    for wanted, where in ((worst, worst), (str(run), worst), (None, worst)):
        with pytest.raises(TriuneError, match=f"{where} is an episode of toy, not of other"):
            find_episode(stranger, wanted)


@pytest.mark.parametrize("scores, worst", [({1: None, 2: 1}, 1), ({1: 0.5, 2: None}, 2), ({1: None, 2: -0.5}, 2)])
def test_no_score_counts_as_0_and_is_no_game_of_a_run(scores: dict[int, Any], worst: int, toy: Any) -> None:
    path = kept(toy, "a", 100, scores, True)
    assert find_episode(toy, str(path))[0].meta["seed"] == worst
    with pytest.raises(DataError, match=r"\.npz: no record of a game \(score is missing\); play it again"):
        Run.read(path).records()


@pytest.mark.parametrize(
    "shape, actions, width, said",
    [
        ((), [0, 1], 1, ""), ((), [], 9, ""), ((2,), [], 9, ""), ((2,), [[0.5, 1.0]], 1, ""),
        ((), [0.5, 1.0], 1, "other actions"), ((), [[0], [1]], 1, "other actions"),
        ((), [[0.5, 1.0]], 1, "other actions"), ((2,), [[0, 1]], 1, "other actions"),
        ((2,), [0, 1], 1, "other actions"), ((2,), [[0.5]], 1, "other actions"),
        ((), [0], 2, "another scene schema"), ((2,), [[0.5, 1.0]], 0, "another scene schema"),
    ],
)  # fmt: skip
def test_an_episode_has_the_tasks_actions_and_scenes(shape: Any, actions: Any, width: int, said: str, toy: Any) -> None:
    system = system_of(toy.folder, shape=shape)
    episode(1, 1, actions, width).save(Path("e.npz"))
    if not said:
        assert len(find_episode(system, "e.npz")[0]) == len(actions)
        return
    with pytest.raises(TriuneError, match=rf"e\.npz (has|was recorded with) {said}"):
        find_episode(system, "e.npz")


def test_a_result_of_nothing_yet() -> None:
    none = Result("toy", "plain", None, "cnn", [], []).to_dict()
    assert none == {
        "task": "toy", "protocol": "plain", "shift": None, "eyes": "cnn", "seeds": [], "scores": [], "mean": None,
        "iqm": None, "ci95": None, "worst_decile": None, "frames": 0, "steps": 0, "frames_per_second": None,
        "seconds": 0.0, "workers": 1, "interventions": {}, "reasons": {}, "faults": 0, "fault_texts": {},
        "deadline_misses": 0, "unfinished": [], "episodes": [], "run": None, "isolated": False, "drift": {},
    }  # fmt: skip


def test_versions_of_what_is_installed(toy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name in ("numpy", "gymnasium"):
            raise metadata.PackageNotFoundError(name)
        return "1." + name

    monkeypatch.setattr(metadata, "version", version)
    told = versions(toy.spec.env)
    assert told["onnxruntime"] == "1.onnxruntime" and told["opencv-python"] == "1.opencv-python"
    assert not {"numpy", "gymnasium"} & set(told) and set(told) >= {"triune", "python"}
