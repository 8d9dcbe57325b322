"""A choice on disk: labels of the chosen frames only, reasons, versions; the command; plain play to choose from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from cli_kit import inside
from review_kit import played

from benchmarks.data import Stretch, record
from data_flywheel.datasets.curation import FILE, build, choose, read, write
from data_flywheel.datasets.frozen import FrozenSet
from data_flywheel.datasets.samples import load_samples
from data_flywheel.errors import DataError
from data_flywheel.labels.frames import DatasetFrames
from data_flywheel.labels.review_queue import ReviewQueue
from data_flywheel.storage.container import array_digest
from data_flywheel.storage.dataset import Dataset
from envs.spec import load_spec
from perception.detector import OnnxDetector
from perception.scene import SceneSchema

STRETCHES = (Stretch(3, 60, 40), Stretch(4, 100, 40), Stretch(950, 60, 20))


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pool") / "plain"
    record(load_spec("pong"), folder, STRETCHES, "scripted")
    return folder


def test_plain_play_is_every_frame_in_order(pool: Path, tmp_path: Path) -> None:
    whole = record(load_spec("pong"), tmp_path / "whole", [Stretch(3, 0, 100)], "scripted")
    assert np.array_equal(whole.read(0).scenes[60:], Dataset(pool).read(0).scenes)
    assert np.array_equal(whole.read(0).frames.rgb(slice(60, 100)), Dataset(pool).read(0).frames.rgb())
    with pytest.raises(DataError, match="other play"):
        record(load_spec("pong"), pool, STRETCHES[:2], "scripted")


def test_the_command_makes_a_data_set_and_explains_it(pool: Path, tmp_path: Path) -> None:
    asked = tmp_path / "asked.json"
    asked.write_text(json.dumps([{"what": "seed 4, steps 5 to 9", "why": "lost", "count": 3}]))
    done = inside(
        "curate", str(pool), "--frames", "12", "--out", "chosen", "--requests", "asked.json", "--json", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["count"] == 12 == sum(told["causes"].values()) and told["causes"]["request"] >= 2
    assert told["left_out"]["frozen test set"] >= 20
    reasons = read(tmp_path / "chosen")
    made, source = load_samples(tmp_path / "chosen"), {s.seed: s for s in Dataset(pool)}
    assert len(made) == 12 and told["dataset"] == Dataset(tmp_path / "chosen").content_hash()
    digests = {array_digest(made.rgb(i)) for i in range(12)}
    assert digests == {c["digest"] for c in reasons["chosen"]}
    for shard in Dataset(tmp_path / "chosen"):
        assert np.array_equal(shard.scenes, source[shard.seed].scenes[shard.meta["rows"]])
        assert shard.split == "train"
    again = inside("curate", str(pool), "--frames", "12", "--out", "chosen", cwd=tmp_path)
    assert again.returncode == 1 and "not empty" in again.stderr


def test_frozen_pictures_of_a_file_are_not_chosen(pool: Path, tmp_path: Path) -> None:
    refs = [ref for ref in DatasetFrames(pool).refs() if ref.seed == 3]
    frozen = FrozenSet(frozenset(ref.digest for ref in refs)).save(tmp_path / "runs/frozen/pong.json")
    done = inside("curate", str(pool), "--frames", "99", "--out", "chosen", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert {c["episode"] for c in read(tmp_path / "chosen")["chosen"]} == {"pong-seed4-shard1"}
    frozen.write_text("{")
    broken = inside("curate", str(pool), "--frames", "9", "--out", "other", cwd=tmp_path)
    assert broken.returncode == 1 and "damaged" in broken.stderr and not (tmp_path / "other").exists()


def test_writing_checks_the_frozen_set_once_more(pool: Path, tmp_path: Path) -> None:
    schema = SceneSchema.from_config(load_spec("pong").scene)
    frames = DatasetFrames(pool)
    found = build(schema, frames, lambda frame: schema.empty())
    selection = choose(found, 5, FrozenSet())
    frozen = FrozenSet(frozenset({selection.choices[2].digest}))
    with pytest.raises(DataError, match="frozen test set"):
        write(selection, found, frames, frozen, tmp_path / "out", "pong", {})
    assert not (tmp_path / "out").exists()


def test_labels_are_not_looked_at(pool: Path, tmp_path: Path) -> None:
    """The same pictures with other labels give the same choice."""
    other = Dataset.create(tmp_path / "other", Dataset(pool).manifest)
    for shard in Dataset(pool):
        other.write(type(shard)(**{**vars(shard), "scenes": shard.scenes[::-1].copy()}))
    detector = OnnxDetector.load(load_spec("pong").folder / "perception.onnx")
    versions = {
        choose(build(detector.schema, DatasetFrames(folder), detector.look), 15, FrozenSet()).version
        for folder in (pool, tmp_path / "other")
    }
    assert len(versions) == 1


def test_recorded_games_become_a_queue_for_review(tmp_path: Path) -> None:
    game, _ = played(40, keep_frames=True)
    game.save(tmp_path / "games/5.npz")
    done = inside("curate", "games", "--frames", "7", "--out", "chosen", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    queue = ReviewQueue.load(tmp_path / "chosen/queue.json")
    assert len(queue.items) == 7 and queue.data == ("games",)
    steps = {(c["step"], c["digest"]) for c in read(tmp_path / "chosen")["chosen"]}
    assert {(item.frame.step, item.frame.digest) for item in queue.items} == steps


def test_a_changed_explanation_is_refused(pool: Path, tmp_path: Path) -> None:
    schema = SceneSchema.from_config(load_spec("pong").scene)
    frames = DatasetFrames(pool)
    found = build(schema, frames, lambda frame: schema.empty())
    write(choose(found, 3, FrozenSet()), found, frames, FrozenSet(), tmp_path / "out", "pong", {})
    path = tmp_path / "out" / FILE
    path.write_text(path.read_text().replace("novelty", "request"))
    with pytest.raises(DataError, match="checksum"):
        read(tmp_path / "out")


def test_what_is_no_pool_is_refused_in_words(tmp_path: Path) -> None:
    done = inside("curate", str(tmp_path), "--frames", "5", "--out", "x", cwd=tmp_path)
    assert done.returncode == 2 and "no data set and no recorded episode" in done.stderr
