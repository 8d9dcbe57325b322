"""Folders from somebody else with links, or names of other places, in them: nothing beside them is read, written or
removed."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cli_kit import inside
from recorder_kit import SCHEMA as TOY
from recorder_kit import SIZE
from test_foreign_values import played

from data_flywheel.episodes.recording import EVICTED, RECORDED, Recording
from data_flywheel.errors import DataError
from data_flywheel.storage.log import _line, append, read_lines
from envs.spec import ZOO
from logic.errors import LogicError
from logic.runtime import regression
from supervisor import events
from supervisor.errors import SupervisorError
from supervisor.gate.seeds import SeedLedger
from supervisor.loop.folder import Blobs, Projection, lineage
from supervisor.loop.folder import read_lines as read_trials
from triune.errors import TriuneError
from triune.play.evaluation import Run, make_request
from triune.system import load


@pytest.fixture
def beside(tmp_path: Path) -> Iterator[Path]:
    """A folder of the user's, whose files are as they were in the end."""
    folder = tmp_path / "mine"
    folder.mkdir()
    for name in ("precious.npz", "other.npz", ".a.part", "r00.py", "keep.json", "events.jsonl", "notes.txt"):
        (folder / name).write_bytes(b"precious, and no line ends here")
    yield folder
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == dict.fromkeys(
        ("precious.npz", "other.npz", ".a.part", "r00.py", "keep.json", "events.jsonl", "notes.txt"),
        b"precious, and no line ends here",
    )


def recording(folder: Path) -> Path:
    Recording.create(folder, "toy", TOY, SIZE)
    return folder


@pytest.mark.parametrize(
    "name", ["{beside}/precious", "../../mine/precious", "..", "a/b", "", 7, None, ".hidden", "x" * 300]
)
@pytest.mark.parametrize("kind", [RECORDED, EVICTED, "wanted"])
def test_a_line_of_a_recording_names_no_other_place(tmp_path: Path, beside: Path, name: object, kind: str) -> None:
    folder = recording(tmp_path / "rec")
    with (there := Recording(folder))._log.held():
        there._log.news()
        there._append([{"kind": "wanted", "episode": "a", "by": "x"}])
    log = next(folder.glob("recording-*.jsonl"))
    said = name.format(beside=beside) if isinstance(name, str) else name
    sizes = {"size": 1, "steps": 1, "frame_size": 1, "kept": 1, "failures": {}, "at": 0.0}
    for what in ("episode", "frames"):
        number = len(log.read_bytes().splitlines())
        line = {"kind": kind, "episode": said, "what": what, "by": "x", "id": f"000001-{number:06d}", **sizes}
        append(log, _line(line))
    found = Recording(folder)
    assert not found.names() and any("names no episode" in said for said in found.problems)


@pytest.mark.parametrize("name", ["episodes", "frames"])
@pytest.mark.parametrize("to", ["{beside}", "../mine", "{self}"])
def test_a_recording_whose_rooms_are_links_is_refused(tmp_path: Path, beside: Path, name: str, to: str) -> None:
    folder = recording(tmp_path / "rec")
    shutil.rmtree(folder / name, ignore_errors=True)
    (folder / name).symlink_to(to.format(beside=beside, self=name))
    with pytest.raises(DataError, match=name):
        Recording(folder)
    assert inside("dataset", "export", str(folder), "--to", "coco", "--out", str(tmp_path / "o")).returncode == 1


LOGS: dict[str, Callable[[Path], object]] = {
    "x.jsonl": lambda p: append(p, b"{}\n"),
    "seeds.jsonl": SeedLedger.open,
    "recording-000001.jsonl": lambda p: Recording(p.parent),
    "recording.lock": lambda p: Recording(p.parent),
    "events.jsonl": lambda p: events.EventLog.open(p),
    "trials.jsonl": lambda p: read_trials(p.parent),
    "games.jsonl": lambda p: read_lines(p),
}


@pytest.mark.parametrize("name", LOGS)
def test_a_log_that_is_a_link_is_neither_read_nor_written(tmp_path: Path, beside: Path, name: str) -> None:
    folder = recording(tmp_path / "rec")
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(beside / "notes.txt")
    if name == "recording-000001.jsonl":
        found = Recording(folder)
        assert any("is a link out of" in said for said in found.problems)
        return
    with pytest.raises((OSError, DataError, SupervisorError), match="link"):
        LOGS[name](folder / name)


def test_a_ledger_behind_a_link_sets_nothing_aside(tmp_path: Path, beside: Path) -> None:
    (tmp_path / "task").mkdir()
    (tmp_path / "task" / "seeds.jsonl").symlink_to(beside / "notes.txt")
    with pytest.raises((OSError, SupervisorError, DataError), match="link"):
        SeedLedger.open(tmp_path / "task" / "seeds.jsonl")


@pytest.mark.parametrize("name", ["locks", "lineage"])
def test_a_task_whose_rooms_are_links_is_neither_read_nor_written(tmp_path: Path, beside: Path, name: str) -> None:
    folder = tmp_path / "task"
    shutil.copytree(ZOO / "cartpole", folder, ignore=shutil.ignore_patterns("lineage", "locks"))
    (folder / name).symlink_to(beside)
    with pytest.raises(SupervisorError, match=f"{name}: this folder is a link out of"):
        Projection(folder, Blobs(tmp_path / "blobs"), "x")
    if name == "locks":
        for use in (lambda: regression.files(folder), lambda: regression.path_of(folder, "new"), load(folder).locks):
            with pytest.raises(LogicError, match="is a link out of"):
                use()
    else:
        with pytest.raises(SupervisorError, match="is a link out of"):
            lineage(folder)


def test_a_run_whose_episodes_are_elsewhere_is_refused(tmp_path: Path, beside: Path) -> None:
    system = load("cartpole")
    run = Run.open(tmp_path / "run", make_request(system, None, [1], None, "cnn", None), system)
    run.episodes.symlink_to(beside)
    for use in (lambda: Run.read(run.path), lambda: Run.open(run.path, run.info["request"], system)):
        with pytest.raises(TriuneError, match="episodes: this folder is a link out of"):
            use()
    os.unlink(run.episodes)
    played(system, 1).save(tmp_path / "there" / "1.npz")
    os.rename(run.path / "run.json", tmp_path / "there" / "run.json")
    (run.path / "run.json").symlink_to(tmp_path / "there" / "run.json")
    with pytest.raises(TriuneError, match="is a link out of"):
        Run.read(run.path)
    assert json.loads((tmp_path / "there" / "run.json").read_text())["request"]["seeds"] == [1]


def test_a_folder_that_is_itself_behind_a_link_is_whole(tmp_path: Path, beside: Path) -> None:
    """What the user links to is theirs: only what leads out of it is refused."""
    recording(tmp_path / "rec")
    (tmp_path / "link").symlink_to(tmp_path / "rec")
    (tmp_path / "rec" / "kept").mkdir()
    shutil.rmtree(tmp_path / "rec" / "frames", ignore_errors=True)
    (tmp_path / "rec" / "frames").symlink_to("kept")
    assert Recording(tmp_path / "link").problems == []


NAMES = ["{beside}/evil", "../../mine/evil", "..", ".x", "a:b", "", "x" * 300]


@pytest.mark.parametrize("name", NAMES)
def test_no_export_of_a_data_set_leaves_its_folder(tmp_path: Path, beside: Path, name: str) -> None:
    from dataset_kit import make_shard

    from data_flywheel.datasets.exports import Source
    from data_flywheel.storage.dataset import Dataset, Manifest

    data = Dataset.create(tmp_path / "data", Manifest("toy", TOY.to_config(), TOY.fingerprint, "t", "0", 1))
    data.write(make_shard(0))
    assert Source(tmp_path / "data").task == "toy"
    said = name.format(beside=beside)
    with pytest.raises(DataError, match="task is .* not a name"):
        Dataset.create(tmp_path / "data", Manifest(said, TOY.to_config(), TOY.fingerprint, "t", "0", 1))
    with pytest.raises(DataError, match="task is .* not a name"):
        Source(tmp_path / "data")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("key", ["task", "protocol"])
def test_a_game_is_of_a_task_with_a_name(tmp_path: Path, beside: Path, name: str, key: str) -> None:
    path = played(load("cartpole"), 1, **{key: name.format(beside=beside)}).save(tmp_path / "e.npz")
    for words in (("blame", str(path)), ("explain", "cartpole", "--episode", str(path)), ("curate", str(path))):
        done = inside(*words)
        assert (
            done.returncode in (1, 2) and "Traceback" not in done.stderr and str(beside / "system") not in done.stderr
        )
