"""Exports of recordings and data sets: every number comes back, and the formats are what their readers expect."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from cli_kit import inside
from dataset_kit import make_shard
from recorder_kit import SCHEMA, SIZE, game, kept, pictures, recording

import triune as library
from data_flywheel.datasets.exports import Source, export_coco, export_minari, export_parquet
from data_flywheel.episodes.episode import Episode
from data_flywheel.episodes.recording import FRAMES, Recording
from data_flywheel.errors import DataError
from data_flywheel.labels.label import values_of
from data_flywheel.storage.dataset import Dataset, Manifest


def three(folder: Path, steps: list[int] | None = None) -> dict[str, tuple[Episode, np.ndarray]]:
    """A recording of three games; name -> record and all frames, of which `steps` were kept."""
    place, made = recording(folder), {}
    for seed in (1, 850, 2000):
        episode, frames = game(seed, 12, (5,), (7,), cut=seed == 850), pictures(12, seed)
        episode.scenes[:, 1:3] = np.random.default_rng(seed).uniform(-1, 20, (12, 2))  # the ball's place, in px
        made[str(place.add(episode, kept(frames, steps)))] = (episode, frames)
    return made


def dataset(folder: Path) -> Dataset:
    """A data set whose scenes have the schema of the toy; the manifest cannot keep the order of things."""
    made = Dataset.create(folder, Manifest("toy", SCHEMA.to_config(), SCHEMA.fingerprint, "teach", "0", 3))
    for number in range(3):
        shard = make_shard(number)
        scenes = np.random.default_rng(number).random((len(shard), SCHEMA.size)).astype(np.float32)
        made.write(type(shard)(**{**vars(shard), "scenes": scenes}))
    return made


def check_coco(folder: Path) -> dict[str, Any]:
    """What pycocotools takes for granted, and that every picture is there and every box lies in it."""
    record: dict[str, Any] = json.loads((folder / "instances.json").read_text())
    images = {image["id"]: image for image in record["images"]}
    categories = {category["id"] for category in record["categories"]}
    assert len(images) == len(record["images"]) == len({image["file_name"] for image in record["images"]})
    assert len({box["id"] for box in record["annotations"]}) == len(record["annotations"]) > 0
    for image in images.values():
        assert cv2.imread(str(folder / image["file_name"])).shape == (image["height"], image["width"], 3)
    for box in record["annotations"]:
        left, top, width, height = box["bbox"]
        image = images[box["image_id"]]
        assert box["category_id"] in categories and box["iscrowd"] == 0 and box["area"] == width * height > 0
        assert 0 <= left < left + width <= image["width"] and 0 <= top < top + height <= image["height"]
    return record


def test_coco_holds_the_kept_frames_with_boxes_and_grids(tmp_path: Path) -> None:
    made = three(tmp_path / "r", [0, 5, 6])
    counts = export_coco(Source(tmp_path / "r"), tmp_path / "o")
    record = check_coco(tmp_path / "o")
    assert counts == {"images": 9, "annotations": len(record["annotations"])}
    assert [c["name"] for c in record["categories"]] == ["ball", "enemy"]
    assert {image["split"] for image in record["images"]} == {"train", "val", ""}  # seed 2000 must not teach
    for image in record["images"]:
        episode, frames = made[image["episode"]]
        stored = cv2.imread(str(tmp_path / "o" / image["file_name"]))[..., ::-1]
        assert np.array_equal(stored, frames[image["step"]])
        values = values_of(SCHEMA, episode.scenes[image["step"]])
        assert image["grids"] == {"bricks": values["bricks"]} and image["gauges"] == {"oxygen": values["oxygen"]}
        x, y, w, h = values["ball"][0]
        own = [b["bbox"] for b in record["annotations"] if b["image_id"] == image["id"] and b["category_id"] == 1]
        if 1 < x < SIZE[1] - 1 and 1 < y < SIZE[0] - 1:
            assert np.allclose(own[0], [x - w / 2, y - h / 2, w, h])


def test_coco_of_a_data_set(tmp_path: Path) -> None:
    made = dataset(tmp_path / "d")
    assert export_coco(Source(tmp_path / "d"), tmp_path / "o")["images"] == 15
    for image in check_coco(tmp_path / "o")["images"]:
        shard = made.read(int(image["episode"].rpartition("shard")[2]))
        stored = cv2.imread(str(tmp_path / "o" / image["file_name"]))[..., ::-1]
        assert np.array_equal(stored, shard.frames.rgb(image["step"])) and image["split"] == shard.split


def test_coco_without_stored_frames_says_what_to_do(tmp_path: Path) -> None:
    recording(tmp_path / "r").add(game())
    with pytest.raises(DataError, match="--record-frames all"):
        export_coco(Source(tmp_path / "r"), tmp_path / "o")


def read_parquet(path: Path) -> tuple[Any, dict[str, Any]]:
    parquet = pytest.importorskip("pyarrow.parquet")
    return parquet.read_table(path), json.loads(parquet.read_metadata(path).metadata[b"triune"])


def scenes_of(table: Any) -> np.ndarray:
    """The Scene vectors again, from columns by name."""
    columns = [
        np.stack(table["bricks"].to_pylist()) if name == "bricks[0,0]" else table[name].to_numpy()
        for name in SCHEMA.names
        if not name.startswith("bricks[") or name == "bricks[0,0]"
    ]
    return np.column_stack(columns).astype(np.float32)


def test_parquet_holds_every_step_bit_for_bit(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    made = three(tmp_path / "r")
    assert export_parquet(Source(tmp_path / "r"), tmp_path / "o") == {"episodes": 3, "rows": 36}
    table, facts = read_parquet(tmp_path / "o" / "steps.parquet")
    assert json.loads(facts["schema"]) == SCHEMA.to_config() and set(facts["episodes"]) == set(made)
    names = np.array(table["episode"].to_pylist())
    for name, (episode, _) in made.items():
        rows = table.filter(names == name)
        assert np.array_equal(scenes_of(rows), episode.scenes) and facts["episodes"][name] == episode.meta
        for column, wanted in (
            ("action", "actions"),
            ("proposed", "proposed"),
            ("score", "scores"),
            ("lives", "lives"),
        ):
            assert np.array_equal(rows[column].to_numpy(), getattr(episode, wanted))
        assert rows["reason"].to_pylist() == [episode.reason(step) for step in range(12)]
        assert rows["overruled"].to_pylist() == [episode.overruled_by(step) for step in range(12)]
        assert rows["step"].to_pylist() == list(range(12))


def test_parquet_of_a_data_set(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    made = dataset(tmp_path / "d")
    export_parquet(Source(tmp_path / "d"), tmp_path / "o")
    table, _ = read_parquet(tmp_path / "o" / "steps.parquet")
    shards = list(made)
    assert np.array_equal(scenes_of(table), np.concatenate([shard.scenes for shard in shards]))
    assert b"".join(table["ram"].to_pylist()) == b"".join(shard.truth["ram"].tobytes() for shard in shards)
    assert table["split"].to_pylist() == [shard.split for shard in shards for _ in range(5)]


def task_games(folder: Path, frames: bool) -> dict[int, tuple[Episode, np.ndarray]]:
    """Two games of a real task, whose spaces Minari wants to know, with made-up content."""
    system = library.load("pong")
    size = (system.spec.env.height, system.spec.env.width)
    place, made = Recording.create(folder, "pong", system.schema, size), {}
    for seed in (1, 2):
        rng = np.random.default_rng(seed)
        scenes = rng.random((9, system.schema.size)).astype(np.float32)
        episode = Episode(**{**vars(game(seed, 9, cut=seed == 2)), "scenes": scenes})
        episode.meta["task"] = "pong"
        pixels = rng.integers(0, 256, (9, *size, 3), dtype=np.uint8)
        frame_buffer = kept(pixels, size=size) if frames else None
        place.add(episode, frame_buffer)
        made[seed] = (episode, pixels)
    return made


@pytest.mark.parametrize("frames", [True, False])
def test_minari_gives_back_identical_arrays(frames: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    minari = pytest.importorskip("minari")
    pytest.importorskip("h5py")
    made = task_games(tmp_path / "r", frames)
    found = export_minari(Source(tmp_path / "r"), tmp_path / "o")
    assert found == {"id": "triune/pong-v0", "episodes": 2, "steps": 18}
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "o"))
    read = {}
    for one, raw in zip(*(f(minari.load_dataset(found["id"])) for f in (list, seeds)), strict=True):
        read[raw] = one
    for seed, (episode, pixels) in made.items():
        one = read[seed]
        assert np.array_equal(one.observations["scene"][:-1], episode.scenes)
        assert np.array_equal(one.observations["scene"][-1], episode.scenes[-1])
        assert ("frame" in one.observations) == frames
        assert not frames or np.array_equal(one.observations["frame"][:-1], pixels)
        assert np.array_equal(one.actions, episode.actions) and one.rewards.sum() == episode.scores[-1]
        assert np.array_equal(np.cumsum(one.rewards), episode.scores)
        assert bool(one.terminations[-1]) == (seed == 1) and bool(one.truncations[-1]) == (seed == 2)
        assert [text.decode() for text in one.infos["reason"]] == [episode.reason(step) for step in range(9)]
        for name, wanted in (("proposed", "proposed"), ("score", "scores"), ("lives", "lives")):
            assert np.array_equal(one.infos[name], getattr(episode, wanted))


def seeds(loaded: Any) -> list[int]:
    return [one["seed"] for one in loaded.storage.get_episode_metadata(loaded.episode_indices)]


def test_minari_refuses_what_is_no_game(tmp_path: Path) -> None:
    dataset(tmp_path / "d")
    with pytest.raises(DataError, match="Minari holds games, not single frames"):
        export_minari(Source(tmp_path / "d"), tmp_path / "o")


def test_damaged_parts_are_named_and_the_rest_is_exported(tmp_path: Path) -> None:
    made = dataset(tmp_path / "d")
    made.path(1).write_bytes(made.path(1).read_bytes()[:-100])
    source = Source(tmp_path / "d")
    assert export_coco(source, tmp_path / "o")["images"] == 10
    assert len(source.problems) == 1 and "shard-000001.npz" in source.problems[0]
    names = list(three(tmp_path / "r"))
    place = Recording(tmp_path / "r")
    place.path(names[0], FRAMES).write_bytes(b"")
    games = Source(tmp_path / "r")
    assert [part.name for part in games] == names[1:] and names[0] in games.problems[0]


def test_the_command_exports_a_recorded_game(tmp_path: Path) -> None:
    words = ("play", "pong", "--eyes", "teacher", "--steps", "40", "--record", "r", "--record-frames", "sampled:10")
    assert inside(*words, cwd=tmp_path).returncode == 0
    done = inside("dataset", "export", "r", "--to", "coco", "--out", "o", "--json", cwd=tmp_path)
    payload = json.loads(done.stdout)
    assert (
        payload["images"] == 4 and payload["problems"] == [] and check_coco(tmp_path / "o")["images"][3]["step"] == 30
    )
    for words, code, text in (
        (("r", "--to", "coco", "--out", "o"), 1, "not empty"),
        (("r", "--to", "cocoa", "--out", "p"), 2, "did you mean 'coco'"),
        (("o", "--to", "coco", "--out", "p"), 1, "neither a recording nor a data set"),
    ):
        failed = inside("dataset", "export", *words, cwd=tmp_path)
        assert failed.returncode == code and text in failed.stderr and "Traceback" not in failed.stderr
