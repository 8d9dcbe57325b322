"""From several labels to one: the order of trust, open conflicts, and training rows that can be traced."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from labels_kit import ALL, SCHEMA, frame, label, store
from review_kit import collected, played, spoilt

from data_flywheel.datasets.samples import load_samples
from data_flywheel.errors import DataError
from data_flywheel.labels.frames import DatasetFrames, EpisodeFrames, Places, open_frames
from data_flywheel.labels.label import RANK, FrameRef, Label, values_of
from data_flywheel.labels.resolve import project, resolve, write_dataset
from data_flywheel.labels.store import LabelStore
from envs.spec import load_spec
from perception.scene import SceneSchema


def at(x: float) -> dict[str, Any]:
    return {"ball": [[x, 20.0, 2.0, 4.0]]}


def settled(*labels: Label) -> Any:
    """Of labels in the order of writing."""
    given = [Label(**{**vars(one), "id": f"000001-{number:06d}"}) for number, one in enumerate(labels, 1)]
    return resolve(SCHEMA, given)


# --- which holds ----------------------------------------------------------------------------------------------------


def test_the_order_of_trust() -> None:
    order = ["person", "causal", "teacher", "agreement", "temporal", "model"]
    assert sorted(RANK, key=lambda s: -RANK[s]) == [*order[:2], "segmentation", *order[2:]]
    for better, worse in zip(order, order[1:], strict=False):
        for first, second in ((better, worse), (worse, better)):
            found = settled(
                label(at(10 if first == better else 30), first), label(at(10 if second == better else 30), second)
            )
            assert found.values == at(10), (first, second)


def test_the_newest_word_of_an_annotator_counts_and_others_stay() -> None:
    found = settled(label(at(10), who="a"), label(at(12), "causal", "c"), label(at(30), who="a"))
    part = found.parts["ball"]
    assert part.label.source == "causal" and [r.values for r in part.rivals] == [at(30)]


def test_conflicts_of_comparable_trust_are_shown_and_not_averaged() -> None:
    found = settled(label(at(10), "causal"), label(at(20), "teacher"))
    assert found.conflicts == ("ball",) and found.values == at(10)
    assert [r.source for r in found.parts["ball"].rivals] == ["teacher"]
    assert not settled(label(at(10), "causal"), label(at(10.4), "teacher")).conflicts  # within the tolerance
    assert not settled(label(at(10), "teacher"), label(at(20), "model")).conflicts  # far apart in trust
    assert not settled(label(at(10), "temporal", trust=0.9), label(at(20), "model", trust=0.2)).conflicts
    absent = settled(label(at(10), "causal"), label({"ball": [None]}, "segmentation"))
    assert absent.conflicts == ("ball",)


def test_a_person_settles_it_and_two_people_do_not() -> None:
    both = (label(at(10), "causal"), label(at(20), "teacher"))
    anna, ben = label(at(20), "person", "anna"), label(at(30), "person", "ben")
    assert not settled(*both, anna).conflicts and settled(*both, anna).values == at(20)
    assert settled(*both, anna, ben).conflicts == ("ball",)
    assert not settled(*both, anna, ben, label(at(30), "person", "anna")).conflicts


def test_slots_have_no_order_but_their_number_counts() -> None:
    a, b = [30.0, 8.0, 4.0, 4.0], [50.0, 8.0, 4.0, 4.0]

    def pair(*values: object) -> bool:
        return bool(
            settled(*(label({"enemy": v}, s) for v, s in zip(values, ("causal", "teacher"), strict=True))).conflicts
        )

    assert not pair([a, b], [b, a])
    assert pair([a, b], [a, None]) and pair([a, b], [a, a]) and not pair([None, a], [a, None])


def test_grids_and_gauges_conflict_too() -> None:
    found = settled(label({**ALL, "bricks": ["111", "111"], "oxygen": 0.505}, "causal"), label(ALL, "teacher"))
    assert found.conflicts == ("bricks",)
    assert settled(label({"oxygen": 0.6}, "causal"), label({"oxygen": 0.5}, "teacher")).conflicts == ("oxygen",)


def test_parts_are_settled_one_by_one() -> None:
    found = settled(label(ALL, "teacher"), label(at(40), "person"))
    assert found.values == {**ALL, **at(40)} and found.status == "edited"
    sources = {name: part.label.source for name, part in found.parts.items()}
    assert sources == {"ball": "person", "enemy": "teacher", "bricks": "teacher", "oxygen": "teacher"}


def test_the_status_is_the_last_word_of_a_person() -> None:
    accept, edit = label(ALL, "person", verdict="accept"), label(at(40), "person")
    reject = label({}, "person", verdict="reject")
    for words, status in (
        ((), "open"), ((accept,), "accepted"), ((accept, edit), "edited"), ((accept, reject), "rejected"),
        ((reject, accept, label(ALL)), "accepted"),
    ):  # fmt: skip
        assert settled(label(ALL), *words).status == status


# --- training rows --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "pong"
    collected(folder)
    return folder


@pytest.fixture
def real(data: Path, tmp_path: Path) -> tuple[LabelStore, DatasetFrames, list[FrameRef]]:
    """A store with the teacher's labels of every frame: 6 train, 6 val, 6 test."""
    spec, frames = load_spec("pong"), DatasetFrames(data)
    schema = SceneSchema.from_config(spec.scene)
    labels = LabelStore.create(tmp_path / "labels", "pong", schema, (210, 160))
    refs = list(frames.refs())
    labels.add(frames.labels(schema, refs))
    return labels, frames, refs


def test_rows_reach_training_exactly_and_each_names_its_labels(real: Any, tmp_path: Path) -> None:
    labels, frames, refs = real
    ball = labels.schema.slot("ball").start
    corrected = next(ref for ref in refs if frames.vector(ref)[ball] and ref.split == "train")
    moved = values_of(labels.schema, spoilt(frames.vector(corrected), ball), ["ball"])
    told = labels.add([Label(corrected, "person", "anna", moved, 1.0)])[0]
    projected = project(labels)
    assert projected.left_out == {"frozen test set": 6} and len(projected.rows) == 12 and projected.problems == []
    dataset = write_dataset(projected.rows, frames, labels, tmp_path / "out")
    samples = load_samples(tmp_path / "out")
    samples.check(labels.schema)
    assert samples.source == f"pong {dataset.content_hash()}"
    origin = [record for shard in dataset for record in shard.meta["rows"]]
    for i, record in enumerate(origin):
        ref = next(r for r in refs if (r.episode, r.step) == (record["episode"], record["step"]))
        assert ref.digest == record["digest"] and np.array_equal(samples.rgb(i), frames.rgb(ref))
        assert ref.split == ("train", "val")[samples.splits[i]]
        wanted = frames.vector(ref)
        if ref == corrected:
            wanted = spoilt(wanted, ball)
        assert samples.scenes[i].tobytes() == wanted.tobytes()
        for part, name in record["labels"].items():
            source = labels.label(name)
            assert source.frame == ref and record["sources"][part].startswith(f"{source.source} {source.who}")
    edited = next(r for r in origin if r["step"] == corrected.step and r["digest"] == corrected.digest)
    assert edited["labels"]["ball"] == told.id and edited["sources"]["ball"] == "person anna"
    assert edited["sources"]["player"].startswith("teacher teacher.py ")


def test_the_frozen_test_set_is_refused(real: Any) -> None:
    labels, _, refs = real
    tested = next(r for r in refs if r.split == "test")
    with pytest.raises(DataError, match=r"step 0 of pong-seed950-shard2 belongs to the frozen test set"):
        project(labels, only=[refs[0], tested])
    with pytest.raises(DataError, match="frozen test set"):
        project(labels, only=[refs[0]], frozen={refs[0].digest})  # the same picture in a training episode
    assert refs[0] not in [row.frame for row in project(labels, frozen={refs[0].digest}).rows]
    assert {row.frame.split for row in project(labels, purpose="test").rows} == {"test"}
    assert len(project(labels, purpose="test").rows) == 6


def test_what_is_unfit_is_left_out_and_counted(real: Any) -> None:
    labels, frames, refs = real
    schema = labels.schema
    ball = schema.slot("ball").start
    refs = sorted(refs[:12], key=lambda ref: -frames.vector(ref)[ball])  # the ball is there in the first
    other = values_of(schema, spoilt(frames.vector(refs[0]), ball))
    camera = FrameRef.of(np.zeros((210, 160, 3), np.uint8), "camera 2", 0)
    assert camera.split == "train"
    whole = values_of(schema, frames.vector(refs[3]))
    labels.add([
        Label(refs[0], "causal", "mask", {"ball": other["ball"]}, 0.9),
        Label(refs[1], "person", "anna", {}, 1.0, verdict="reject"),
        Label(refs[2], "person", "anna", {"ball": [None]}, 0.2),
        Label(camera, "person", "anna", {"ball": [None]}, 1.0),
        Label(refs[3], "person", "anna", whole, 1.0, verdict="accept"),
    ])  # fmt: skip
    found = project(labels)
    used = {row.frame for row in found.rows}
    assert not used & set(refs[:3]) and set(refs[3:]) == used
    assert found.left_out == {
        "conflict about ball": 1, "rejected by a person": 1, "label of ball not trusted": 1, "no label of player": 1,
        "frozen test set": 6,
    }  # fmt: skip
    rejected = next(e for e in labels.history(refs[1]) if e.id and isinstance(e, Label) and e.verdict == "reject")
    labels.retract(rejected.id, "anna")
    assert refs[1] in {row.frame for row in project(labels).rows}


def test_frames_without_a_seed_keep_their_split_on_disk(real: Any, tmp_path: Path) -> None:
    labels, frames, refs = real
    whole = values_of(labels.schema, frames.vector(refs[0]))
    names = [f"camera {i}" for i in range(25)]
    cameras = [FrameRef(name, 0, refs[0].digest, refs[0].size) for name in names]
    labels.add([Label(ref, "person", "anna", whole, 1.0) for ref in cameras])

    class Camera:
        def rgb(self, ref: FrameRef) -> np.ndarray:
            return frames.rgb(refs[0])

    rows = [row for row in project(labels).rows if row.frame.seed is None]
    dataset = write_dataset(rows, Camera(), labels, tmp_path / "out")  # type: ignore[arg-type]
    for shard in dataset:
        assert shard.meta["seed_is_stand_in"] and shard.split == FrameRef(shard.meta["episode"], 0, "", (1, 1)).split
    assert 10 < len(rows) < 25


def test_damage_is_told_with_the_rows(real: Any) -> None:
    labels, _, _ = real
    path = next(labels.folder.glob("labels-*.jsonl"))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], b"\n", *lines[3:]]))
    found = project(LabelStore(labels.folder))
    assert len(found.rows) == 11 and str(path) in found.problems[0]


# --- where the pixels are -------------------------------------------------------------------------------------------


def test_frames_that_changed_or_went_are_told(real: Any, data: Path) -> None:
    _, frames, refs = real
    for change, words in (
        ({"digest": "0" * 64}, "not those that were labelled"), ({"step": 99}, "not in "),
        ({"episode": "pong-seed3-shard7"}, "not in "), ({"episode": "elsewhere"}, "not in "),
    ):  # fmt: skip
        other = FrameRef(**{**vars(refs[0]), **change})
        with pytest.raises(DataError, match=words):
            Places([frames]).rgb(other)
    assert Places([frames]).rgb(refs[0]).shape == (210, 160, 3)
    with pytest.raises(DataError, match="triune collect pong"):
        open_frames(data / "gone", load_spec("pong"))


def test_episodes_give_the_frames_the_eyes_saw_stored_or_replayed(tmp_path: Path) -> None:
    for name, keep in (("a", False), ("b", True)):
        episode, seen = played(30, keep)
        assert (episode.frames is not None) == keep
        episode.save(tmp_path / name / "episode.npz")
    (tmp_path / "b" / "broken.npz").write_bytes(b"PK\3\4nonsense")
    for name in ("a", "b"):
        found = open_frames(tmp_path / name, load_spec("pong"))
        assert isinstance(found, EpisodeFrames)
        refs = list(found.refs())
        assert len(refs) == 30 and refs[0].seed == 5 and refs[0].split == "train"
        assert all(np.array_equal(found.rgb(ref), seen[ref.step]) for ref in refs)
        assert len(found.problems) == (name == "b") and ("broken.npz" in "".join(found.problems)) == (name == "b")
    with pytest.raises(DataError, match="no recorded episode of breakout"):
        EpisodeFrames(tmp_path / "b", load_spec("breakout"))


def test_label_files_are_plain_json(tmp_path: Path) -> None:
    labels = store(tmp_path)
    labels.add([label(ALL, "person", "anna", verdict="accept", frame=frame(4))])
    header, line = next(tmp_path.glob("labels-*.jsonl")).read_text().splitlines()
    record = json.loads(line)
    assert record["values"] == ALL and record["source"] == "person" and record["frame"]["step"] == 4
    assert json.loads(header)["of"] == "triune labels"
