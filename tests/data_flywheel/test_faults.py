"""A damaged shard, a full disk, a wrong-size camera frame, a label outside the frame, a half-written manifest.

Each is told in words that name the fix, and the rest goes on. Recordings have their own file: test_recorder_faults.py.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from cli_kit import ROOT, copy_task
from faults_kit import small_files, spoil
from labels_kit import label
from labels_kit import store as label_store
from review_kit import played, serving, session_of

from data_flywheel.datasets import curation as curation_write
from data_flywheel.datasets.collection import collect
from data_flywheel.datasets.samples import load_samples
from data_flywheel.errors import DataError
from data_flywheel.labels import store as labels_store
from data_flywheel.labels.store import LabelStore
from data_flywheel.storage import dataset as store
from data_flywheel.storage.dataset import Dataset
from data_flywheel.storage.files import DiskFull
from perception.detector import OnnxDetector
from triune import load
from triune.cli import build_parser
from triune.commands import review
from triune.play import play
from triune.play.self_training import Request, SelfTraining

HOW = ("cut", "empty", "flipped")


class Ear:
    """A console that only listens."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def log(self, text: str) -> None:
        self.heard.append(text)


def opened(tmp_path: Path, *words: str) -> tuple[Any, list[str]]:
    args, ear = build_parser("review").parse_args(["review", "pong", "--labels", str(tmp_path / "l"), *words]), Ear()
    return review.open_session(load("pong"), args, ear), ear.heard  # type: ignore[arg-type]


# --- a damaged shard ------------------------------------------------------------------------------------------------


def test_people_review_the_shards_that_are_whole(data: Path, tmp_path: Path) -> None:
    shutil.copytree(data, tmp_path / "d")
    dataset = Dataset(tmp_path / "d")
    for shard in list(dataset):
        shard.scenes[:, load("pong").schema.slot("player").start + 1] += 2.0  # so that the eyes disagree
        dataset.write(shard)
    spoil(dataset.path(0), "flipped")
    session, heard = opened(tmp_path, "--data", str(tmp_path / "d"))
    assert {item.frame.seed for item in session.queue.items} == {850}
    assert any("shard-000000.npz" in text and "delete" in text for text in heard)


def test_people_review_the_games_that_are_whole(tmp_path: Path) -> None:
    for seed in (5, 6):
        game, _ = played(30, keep_frames=True, seed=seed)
        game.scenes[20, load("pong").schema.slot("ball").start + 7] = 0.5
        game.save(tmp_path / f"games/{seed}.npz")
    path = tmp_path / "games/5.npz"
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    arrays["scenes"] = arrays["scenes"] + 1  # the header is whole, the scenes are not what it says
    np.savez_compressed(path, **arrays)
    session, heard = opened(tmp_path, "--data", str(tmp_path / "games"))
    assert {item.frame.seed for item in session.queue.items} == {6}
    assert any("5.npz" in text and "checksum mismatch" in text for text in heard)


# --- a full disk ----------------------------------------------------------------------------------------------------


def test_a_full_disk_stops_a_collection_and_the_same_command_goes_on(tmp_path: Path) -> None:
    with small_files(4000), pytest.raises(DataError, match=r"shard 0: .*npz: File too large; not written: free some"):
        collect("cartpole", tmp_path, 30, 1)
    assert Dataset(tmp_path).missing() == [0] and not list(tmp_path.glob(".*"))
    assert collect("cartpole", tmp_path, 30, 1).frames == 30


def test_a_full_disk_leaves_the_manifest_that_was(data: Path, tmp_path: Path) -> None:
    shutil.copytree(data, tmp_path / "d")
    before = Dataset(tmp_path / "d").manifest
    with small_files(100), pytest.raises(DiskFull, match=r"manifest\.json: .*free some space"):
        Dataset.create(tmp_path / "d", before)
    assert Dataset(tmp_path / "d").manifest == before


def test_a_reviewer_is_told_that_the_disk_is_full_and_saves_later(data: Path, queue: Any, tmp_path: Path) -> None:
    session = session_of(data, tmp_path / "labels", queue)
    with serving(session) as client:
        with small_files(100):
            status, answer = client.save(0, "reject")
            assert status == 400 and "not saved: free some space, then save again" in answer["error"]
        assert client.get("frame/0")["status"] == "open" and client.save(0, "reject")[0] == 200
    assert LabelStore(tmp_path / "labels").problems == []


@pytest.mark.train
def test_a_full_disk_leaves_the_eyes_that_were(tmp_path: Path) -> None:
    from perception.errors import PerceptionError
    from perception.training.export import export, load_net
    from perception.training.train import Checkpoint

    schema, weights = load("pong").schema, tmp_path / "perception.onnx"
    for name in ("perception.onnx", "perception.safetensors"):
        shutil.copyfile(ROOT / "zoo/pong" / name, tmp_path / name)
    net, before = load_net(weights, schema), weights.read_bytes()
    checkpoint = Checkpoint(tmp_path / "e.training", {})
    with small_files(10_000):
        with pytest.raises(PerceptionError, match=r"perception\.safetensors: .*free some space"):
            export(net, weights, {}, np.zeros((1, 210, 160, 3), np.uint8))
        with pytest.raises(PerceptionError, match=r"e\.training: .*free some space"):
            checkpoint.save(net, SimpleNamespace(state_dict=dict), 1)  # type: ignore[arg-type]
    assert weights.read_bytes() == before and load_net(weights, schema)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["perception.onnx", "perception.safetensors"]


# --- a camera frame of another size ---------------------------------------------------------------------------------


def test_eyes_refuse_a_frame_of_another_size_and_see_the_next() -> None:
    detector = OnnxDetector.load(ROOT / "zoo/pong/perception.onnx")
    with pytest.raises(Exception, match=r"reads uint8\[210, 160, 3\], got uint8\[480, 640, 3\]; give the native RGB"):
        detector.see(np.zeros((480, 640, 3), np.uint8))
    assert detector.see(np.zeros((210, 160, 3), np.uint8)).shape == (detector.schema.size,)


# --- a label outside the frame --------------------------------------------------------------------------------------


def test_a_label_outside_the_frame_is_refused_and_the_next_is_saved(data: Path, queue: Any, tmp_path: Path) -> None:
    session = session_of(data, tmp_path / "labels", queue)
    with serving(session) as client:
        before = client.get("frame/0")["revision"]
        for box in ([159.5, 100.0, 2.0, 4.0], [80.0, -3.0, 2.0, 4.0], [80.0, 100.0, 2.0, 400.0]):
            status, answer = client.save(0, values={"ball": [box]})
            assert status == 400 and "outside the frame of 160x210" in answer["error"]
            assert "label the visible part" in answer["error"]
        assert client.get("frame/0")["revision"] == before
        assert client.save(0, values={"ball": [[159.0, 100.0, 2.0, 4.0]]})[0] == 200


def test_a_teachers_label_outside_the_frame_costs_that_label_alone(data: Path, queue: Any, tmp_path: Path) -> None:
    shutil.copytree(data, tmp_path / "d")
    dataset = Dataset(tmp_path / "d")
    shard = dataset.read(0)
    shard.scenes[2, load("pong").schema.slot("player")] = (1, 300, 100, 4, 16, 0, 0, 1)
    dataset.write(shard)
    queue.save(tmp_path / "q.json")
    session, heard = opened(tmp_path, "--queue", str(tmp_path / "q.json"), "--data", str(tmp_path / "d"))
    assert len(session.store.frames()) == len(session.queue.items) - 1
    assert [("player reaches outside the frame" in text) for text in heard if "without" in text] == [True]


# --- a half-written manifest ----------------------------------------------------------------------------------------


def test_a_memory_without_its_manifest_is_named_and_its_fix_works(tmp_path: Path) -> None:
    copy_task(tmp_path / "pong")
    memory = tmp_path / "pong" / "memory"
    made = collect(tmp_path / "pong", memory, 30, 1)
    spoil(memory / store.MANIFEST, "cut")
    system = load(tmp_path / "pong", trust=True, isolate=False)
    with pytest.raises(DataError, match=rf"{store.MANIFEST}: .*delete .* run the same `triune collect` again"):
        SelfTraining(system, Request("pong", None, "sticky"), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    (memory / store.MANIFEST).unlink()  # the fix
    again = collect(tmp_path / "pong", memory, 30, 1)
    assert (again.made, again.hash) == (0, made.hash) and len(load_samples(memory)) == 30


def test_shards_under_another_teachers_manifest_are_not_taken_for_its_own(data: Path, tmp_path: Path) -> None:
    shutil.copytree(data, tmp_path / "d")
    manifest = Dataset(data).manifest
    Dataset.create(tmp_path / "d", type(manifest)(**{**vars(manifest), "teacher": "another"}))
    with pytest.raises(DataError, match=r"shard-000000\.npz: labelled by another teacher .*; delete"):
        load_samples(tmp_path / "d")


@pytest.mark.parametrize("how", HOW)
def test_labels_without_their_manifest_are_named_and_stay(how: str, tmp_path: Path) -> None:
    kept = label_store(tmp_path).add([label()])
    spoil(tmp_path / labels_store.MANIFEST, how)
    with pytest.raises(DataError, match=rf"{labels_store.MANIFEST}: .*delete .*: the labels stay"):
        label_store(tmp_path)
    (tmp_path / labels_store.MANIFEST).unlink()
    assert list(label_store(tmp_path)) == kept


@pytest.mark.parametrize("how", ["cut", "empty"])
def test_a_half_written_explanation_is_named(how: str, tmp_path: Path) -> None:
    (tmp_path / curation_write.FILE).write_text('{"kind": "triune curation", "format": 1, "chosen": []}')
    spoil(tmp_path / curation_write.FILE, how)
    with pytest.raises(DataError, match=r"curation\.json: damaged or half-written .*curate again into a new folder"):
        curation_write.read(tmp_path)


@pytest.mark.parametrize("how", HOW)
def test_half_written_ranges_do_not_stop_play(how: str, tmp_path: Path) -> None:
    copy_task(tmp_path / "pong")
    shutil.copyfile(ROOT / "zoo/pong/ranges.json", tmp_path / "pong/ranges.json")
    spoil(tmp_path / "pong/ranges.json", how)
    steps: Iterator[Any] = play(load(tmp_path / "pong", isolate=False), 0)
    assert next(steps).index == 0
    steps.close()  # type: ignore[attr-defined]
