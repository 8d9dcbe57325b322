"""Containers, frames, episodes and data sets on disk: lossless, atomic, and loud when something is wrong."""

from __future__ import annotations

import json
import multiprocessing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from dataset_kit import make_shard, some_frames

from data_flywheel.datasets.samples import load_samples
from data_flywheel.episodes.episode import Episode, EpisodeRecorder, rules_in
from data_flywheel.errors import DataError
from data_flywheel.splits import split_of
from data_flywheel.storage.container import pack, unpack
from data_flywheel.storage.dataset import Dataset, Manifest, Shard
from data_flywheel.storage.files import atomic_write
from data_flywheel.storage.frames import Frames

ROOT = Path(__file__).parents[2]


def make_dataset(folder: Path, shards: int = 3) -> Dataset:
    dataset = Dataset.create(folder, Manifest("toy", {}, "fp", "teach", "0", shards))
    for number in range(shards):
        dataset.write(make_shard(number))
    return dataset


def rewritten(path: Path, **changes: object) -> None:
    """Change the header of a container on disk, keeping its arrays."""
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    header = json.loads(bytes(arrays["header"]))
    for key, value in changes.items():
        if key in header:
            header[key] = value
        else:
            header["fields"][key] = value
    arrays["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    np.savez_compressed(path, **arrays)


@pytest.mark.parametrize("colours", [1, 2, 200, 5000])
def test_frames_are_lossless_and_palette_coded_where_possible(colours: int) -> None:
    rgb = some_frames(4, colours)
    frames = Frames.from_rgb(rgb)
    assert (frames.palette is not None) == (len(np.unique(rgb.reshape(-1, 3), axis=0)) <= 256)
    again = Frames.from_arrays(frames.to_arrays())
    assert np.array_equal(again.rgb(), rgb)
    assert np.array_equal(again.rgb(2), rgb[2])


def test_frames_refuse_a_palette_that_is_too_short() -> None:
    with pytest.raises(DataError, match="palette has 3"):
        Frames(np.full((1, 2, 2), 3, np.uint8), np.zeros((3, 3), np.uint8))


def test_equal_content_gives_equal_bytes() -> None:
    arrays = {"a": np.arange(6).reshape(2, 3), "b": np.ones(2, np.float32)}
    again = {"b": np.ones(2, np.float32), "a": np.asfortranarray(np.arange(6).reshape(2, 3))}
    assert pack("thing", 1, {"x": 1, "y": 2}, arrays) == pack("thing", 1, {"y": 2, "x": 1}, again)


def test_container_refuses_another_kind_and_version() -> None:
    payload = pack("thing", 1, {}, {"a": np.zeros(3)})
    with pytest.raises(DataError, match="f.npz: not a other"):
        unpack(payload, "other", 1, "f.npz", "make it again")
    with pytest.raises(DataError, match="format version 1, but this program reads version 2; make it again"):
        unpack(payload, "thing", 2, "f.npz", "make it again")


def test_atomic_write_leaves_the_old_file_when_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.bin"
    atomic_write(path, b"old")

    def broken(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", broken)
    with pytest.raises(OSError, match="disk full"):
        atomic_write(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


def test_shards_round_trip(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path)
    for number, shard in enumerate(dataset):
        wanted = make_shard(number)
        assert np.array_equal(shard.frames.rgb(), wanted.frames.rgb())
        for name in ("scenes", "actions"):
            assert np.array_equal(getattr(shard, name), getattr(wanted, name))
        assert shard.truth.keys() == wanted.truth.keys() == {"ram", "x"}
        assert all(np.array_equal(shard.truth[name], wanted.truth[name]) for name in shard.truth)
        assert (shard.episode, shard.seed, shard.meta) == (wanted.episode, wanted.seed, wanted.meta)


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.98])
def test_a_torn_shard_is_named(tmp_path: Path, keep: float) -> None:
    dataset = make_dataset(tmp_path)
    path = dataset.path(1)
    payload = path.read_bytes()
    path.write_bytes(payload[: int(len(payload) * keep)])
    with pytest.raises(DataError, match=r"shard-000001\.npz: damaged or truncated"):
        list(dataset)
    with pytest.raises(DataError, match=r"1 problem.*\n.*shard-000001\.npz"):
        dataset.check()
    with pytest.raises(DataError, match=r"shard-000001\.npz"):
        load_samples(tmp_path)


def test_every_flipped_byte_is_noticed(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, 1)
    path, clean = dataset.path(0), dataset.content_hash()
    payload = path.read_bytes()
    noticed = 0
    positions = range(0, len(payload), max(1, len(payload) // 150))
    for at in positions:
        path.write_bytes(payload[:at] + bytes([payload[at] ^ 0x41]) + payload[at + 1 :])
        try:
            unharmed = Dataset(tmp_path).content_hash() == clean
        except DataError as error:
            assert "shard-000000.npz" in str(error)
            noticed += 1
        else:
            assert unharmed  # a byte of zip bookkeeping that carries nothing
    assert noticed > 0.8 * len(positions)


def test_a_wrong_checksum_is_named(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path)
    with np.load(dataset.path(2)) as archive:
        arrays = {name: archive[name] for name in archive.files}
    arrays["scenes"] = arrays["scenes"] + 1
    np.savez_compressed(dataset.path(2), **arrays)
    with pytest.raises(DataError, match=r"shard-000002\.npz: checksum mismatch in scenes"):
        dataset.read(2)


def test_versions_and_foreign_shards_are_refused_in_words(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path)
    rewritten(dataset.path(0), version=99)
    with pytest.raises(DataError, match="format version 99, but this program reads version 2"):
        dataset.read(0)
    rewritten(dataset.path(1), fingerprint="another")
    with pytest.raises(DataError, match="another scene schema"):
        dataset.read(1)
    rewritten(dataset.path(2), length=4)
    with pytest.raises(DataError, match="header and content disagree"):
        dataset.read(2)


def test_manifest_errors(tmp_path: Path) -> None:
    make_dataset(tmp_path)
    path = tmp_path / "manifest.json"
    text = path.read_text()
    path.write_text(text.replace('"version": 2', '"version": 7'))
    with pytest.raises(DataError, match="format version 7"):
        Dataset(tmp_path)
    path.write_text(text.replace('"toy"', '"boy"'))
    with pytest.raises(DataError, match="checksum mismatch"):
        Dataset(tmp_path)
    path.write_text(text[:50])
    with pytest.raises(
        DataError, match="half-written data set manifest .*delete .* run the same `triune collect` again"
    ):
        Dataset(tmp_path)
    path.unlink()
    with pytest.raises(DataError, match="no such data set manifest"):
        Dataset(tmp_path)


def _write_all(folder: str, numbers: range) -> None:
    dataset = Dataset(folder)
    for number in numbers:
        dataset.write(make_shard(number))


def test_several_writers_at_once(tmp_path: Path) -> None:
    dataset = Dataset.create(tmp_path / "many", Manifest("toy", {}, "fp", "teach", "0", 12))
    context = multiprocessing.get_context("fork")
    # Ranges overlap: two writers of the same shard write the same content.
    crew = [
        context.Process(target=_write_all, args=(str(dataset.folder), r)) for r in (range(8), range(4, 12), range(12))
    ]
    for writer in crew:
        writer.start()
    for writer in crew:
        writer.join(60)
    assert dataset.missing() == []
    assert dataset.content_hash() == make_dataset(tmp_path / "one", 12).content_hash()
    assert not list(dataset.folder.glob(".*.part"))


def test_the_first_format_is_read_and_its_hash_holds(tmp_path: Path) -> None:
    """Data sets of the zoo were stored before truth had names."""
    shipped = Dataset(ROOT / "zoo" / "pong" / "memory")
    assert json.loads((shipped.folder / "manifest.json").read_text())["version"] == 1
    shard = shipped.read(3)
    assert list(shard.truth) == ["ram"] and shard.truth["ram"].shape == (len(shard), 128)
    again = Dataset.create(tmp_path, shipped.manifest)
    for shard in shipped:
        again.write(shard)
    assert again.content_hash() == shipped.manifest.extra["figures"]["hash"] == shipped.content_hash()


def test_controls_and_shapes_of_truth_are_kept(tmp_path: Path) -> None:
    dataset, shard = make_dataset(tmp_path, 1), make_shard(0)
    pushes, truth = np.random.default_rng(1).normal(size=(5, 2)).astype(np.float32), {"state": np.zeros((5, 2, 3))}
    dataset.write(replace(shard, actions=pushes, truth=truth))
    kept = dataset.read(0)
    assert kept.actions.dtype == np.float32 and np.array_equal(kept.actions, pushes)
    assert kept.truth["state"].shape == (5, 2, 3)
    with pytest.raises(DataError, match="columns differ in length"):
        dataset.write(replace(shard, truth={"state": np.zeros((4, 2))}))


def test_content_hash_depends_on_content_only(tmp_path: Path) -> None:
    first, second = make_dataset(tmp_path / "a"), make_dataset(tmp_path / "b")
    assert first.content_hash() == second.content_hash()
    second.write(make_shard(1, seed=860))
    assert first.content_hash() != second.content_hash()


def test_splits_are_by_seed_and_disjoint() -> None:
    names = [split_of(seed) for seed in range(1000)]
    assert [names.count(name) for name in ("train", "val", "test")] == [800, 100, 100]
    for seed in (-1, 1000, 12345, 900_000):
        with pytest.raises(DataError, match="must not be trained on"):
            split_of(seed)


def test_samples_join_shards_under_one_palette(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, 6)
    samples = load_samples(tmp_path)
    assert samples.palette is not None and samples.palette.shape == (256, 3)
    assert np.array_equal(samples.palette[samples.frames], np.concatenate([s.frames.rgb() for s in dataset]))
    parts = [load_samples(tmp_path, name) for name in ("train", "val", "test")]
    sets = [set(part.episodes.tolist()) for part in parts]
    assert sets == [{0, 3}, {1, 4}, {2, 5}]
    assert sum(len(part) for part in parts) == len(samples)


def test_samples_fall_back_to_rgb(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, 2)
    shard = make_shard(1)
    rich = Frames.from_rgb(some_frames(5, 5000))
    dataset.write(Shard(1, 1, 850, rich, shard.scenes, shard.actions, shard.truth))
    samples = load_samples(tmp_path)
    assert samples.palette is None
    assert np.array_equal(samples.frames[5:], rich.rgb())


def test_samples_of_an_unknown_or_empty_split(tmp_path: Path) -> None:
    make_dataset(tmp_path, 1)
    with pytest.raises(DataError, match="unknown split 'gate'; choose one of train, val, test"):
        load_samples(tmp_path, "gate")
    with pytest.raises(DataError, match="no frames in its val split"):
        load_samples(tmp_path, "val")


def played(keep_frames: bool = False) -> tuple[Episode, np.ndarray]:
    recorder = EpisodeRecorder({"task": "toy", "seed": 3}, keep_frames)
    frames = some_frames(7, 9)
    for t in range(7):
        decision = SimpleNamespace(action=t % 3, proposed=1, reason="serve" if t < 2 else "chase")
        decision.overruled_by = ("slow down", "perception lost") if t == 4 else ()
        decision.fault = "ZeroDivisionError" if t == 5 else ""
        recorder.add(np.full(8, t), decision, score=t, lives=5, frame=frames[t])
    return recorder.finish(score=6), frames


def test_episode_round_trip(tmp_path: Path) -> None:
    episode, frames = played(keep_frames=True)
    again = Episode.load(episode.save(tmp_path / "e.npz"))
    assert again.meta == {"task": "toy", "seed": 3, "score": 6}
    assert again.frames is not None and np.array_equal(again.frames.rgb(), frames)
    for name in ("scenes", "actions", "proposed", "reasons", "overruled", "faults", "scores", "lives"):
        assert np.array_equal(getattr(again, name), getattr(episode, name))
        assert getattr(again, name).dtype == getattr(episode, name).dtype
    assert [again.reason(t) for t in (1, 2)] == ["serve", "chase"]
    assert (again.overruled_by(4), again.overruled_by(3)) == ("slow down,perception lost", "")
    assert (again.fault(5), again.fault(4)) == ("ZeroDivisionError", "")
    assert again.interventions() == {"slow down,perception lost": 1}
    assert again.reason_counts() == {"serve": 2, "chase": 5}


def test_episode_scores_may_come_late_and_frames_are_optional() -> None:
    recorder = EpisodeRecorder({})
    for _ in range(3):
        recorder.add(np.zeros(8), SimpleNamespace(action=0, proposed=0, reason="r"), 0, 0)
    episode = recorder.finish(scores=[1, 2, 3], lives=[5, 5, 4])
    assert episode.frames is None
    assert (episode.scores.tolist(), episode.lives.tolist()) == ([1, 2, 3], [5, 5, 4])


def test_an_episode_without_steps_round_trips(tmp_path: Path) -> None:
    assert len(Episode.load(EpisodeRecorder({}).finish().save(tmp_path / "e.npz"))) == 0


def test_episode_errors(tmp_path: Path) -> None:
    episode, _ = played()
    path = episode.save(tmp_path / "e.npz")
    rewritten(path, version=2)
    with pytest.raises(DataError, match=r"e\.npz: triune episode format version 2, but this program reads version 1"):
        Episode.load(path)
    path.write_bytes(b"not an episode")
    with pytest.raises(DataError, match=r"e\.npz: damaged or truncated"):
        Episode.load(path)
    with pytest.raises(DataError, match="no such triune episode"):
        Episode.load(tmp_path / "absent.npz")
    with pytest.raises(DataError, match="differ in length"):
        Episode(**{**vars(episode), "lives": episode.lives[:-1]})
    with pytest.raises(DataError, match="point outside reason_table"):
        Episode(**{**vars(episode), "reason_table": ("",)})


def test_a_shard_is_not_an_episode(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a triune episode"):
        Episode.load(make_dataset(tmp_path, 1).path(0))


RULES = ["Stop, then think", "Stop", "Never, ever, move", "a;b"]


@pytest.mark.parametrize("names", [(), RULES[:1], RULES[:2], RULES[::-1], ["Stop", "Stop, then think"]], ids=range(5))
def test_the_names_of_rules_stay_whole_though_they_are_told_in_one_text(names: list[str]) -> None:
    recorder = EpisodeRecorder({})
    for overruled in (tuple(names), ("a,b", "c"), ()):
        recorder.add(np.zeros(3), SimpleNamespace(action=0, reason="", proposed=0, overruled_by=overruled), 0, 0)
    told = [rules_in(recorder.finish().overruled_by(i)) for i in range(3)]
    assert told == [list(names), ["a;b", "c"], []], "a bundle's names are those of nobody's compiler"


@pytest.mark.parametrize(
    ("scores", "kind"),
    [([1, 2], "i"), ([3e9, 6e9], "f"), ([-(2.0**31), 0], "f"), ([2**31 - 1, 0], "i"), ([0.5, 3e9], "f"), ([], "i")],
)
def test_scores_are_kept_as_large_as_they_are(scores: list[float], kind: str) -> None:
    recorder = EpisodeRecorder({})
    for _ in scores:
        recorder.add(np.zeros(3), SimpleNamespace(action=0, reason="", proposed=0, overruled_by=()), 0, 0)
    episode = recorder.finish(scores=scores)
    assert episode.scores.tolist() == scores and episode.scores.dtype.kind == kind
    assert episode.rewards().sum() == (scores[-1] if scores else 0)
