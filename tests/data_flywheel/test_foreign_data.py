"""Files of data with their right checksums and one wrong value: a DataError that names the file, or what it says."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dataset_kit import make_shard
from labels_kit import SCHEMA as LABELLED
from labels_kit import frame, label
from labels_kit import store as label_store
from mutate_kit import mutations
from recorder_kit import SCHEMA, SIZE

from data_flywheel.datasets.frozen import FrozenSet
from data_flywheel.episodes import recording
from data_flywheel.episodes.frame_buffer import KIND as FRAMES_KIND
from data_flywheel.episodes.frame_buffer import VERSION as FRAMES_VERSION
from data_flywheel.episodes.frame_buffer import KeptFrames
from data_flywheel.episodes.recording import Recording
from data_flywheel.errors import DataError
from data_flywheel.labelers.causal.masks import CATALOGUES, Catalogue
from data_flywheel.labels import store
from data_flywheel.labels.review_queue import ReviewQueue, Suspicion
from data_flywheel.labels.store import LabelStore
from data_flywheel.storage.container import pack, unpack
from data_flywheel.storage.dataset import SHARD_KIND, VERSION, Dataset, Manifest
from data_flywheel.storage.files import canonical_json
from data_flywheel.storage.log import _line

ODD = (None, -1, 10**12, 0.5, "zzz", {"a": []}, [None])


def manifest(folder: Path) -> Path:
    Dataset.create(folder, Manifest("toy", {"things": {}}, "f", "t", "0", 1, {"figures": {"frames": 3}}))
    return folder / "manifest.json"


def recorded(folder: Path) -> Path:
    Recording.create(folder, "toy", SCHEMA, SIZE)
    return folder / "recording.json"


def labelled(folder: Path) -> Path:
    label_store(folder)
    return folder / "labels.json"


def queue(folder: Path) -> Path:
    found = [Suspicion(frame(step), "low sure", 0.5, "odd", tuple([0.0] * LABELLED.size)) for step in range(2)]
    return ReviewQueue.build("toy", LABELLED, found, ["data"]).save(folder / "queue.json")


def frozen(folder: Path) -> Path:
    return FrozenSet(frozenset(["0" * 64, "1" * 64])).save(folder / "frozen.json")


def catalogue(folder: Path) -> Path:
    (folder / "catalogue.json").write_bytes((CATALOGUES / "pong.json").read_bytes())
    return folder / "catalogue.json"


def plain(record: dict[str, Any]) -> str:
    return hashlib.sha256(canonical_json(record).encode()).hexdigest()


KINDS: dict[str, tuple[Callable[[Path], Path], Callable[[Path], Any], Callable[[dict[str, Any]], str] | None]] = {
    "data set": (manifest, lambda p: Dataset(p.parent).missing(), plain),
    "recording": (recorded, lambda p: Recording(p.parent).names(), recording._digest),
    "labels": (labelled, lambda p: LabelStore(p.parent).frames(), store._digest),
    "queue": (queue, lambda p: [item.frame.step for item in ReviewQueue.load(p).items], plain),
    "frozen set": (frozen, FrozenSet.load, plain),
    "catalogue": (catalogue, lambda p: [t.addresses for t in Catalogue.load(p).things], None),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_with_one_wrong_value_is_refused_by_name(tmp_path: Path, kind: str) -> None:
    make, read, digest = KINDS[kind]
    path = make(tmp_path)
    sound, refused = json.loads(path.read_text()), 0
    read(path)
    sound.pop("sha256", None)
    if kind == "catalogue":  # one of each says it all
        sound |= {"things": sound["things"][:1], "cells": sound["cells"][:1], "bytes": {"a": [1]}}
    for what, value in mutations(sound, ODD):
        if not isinstance(value, dict) or "schema" in what and kind != "data set":  # of which the schema speaks
            continue
        try:
            path.write_text(json.dumps(value | ({"sha256": digest(value)} if digest else {})))
        except KeyError:  # there is nothing to sum
            continue
        try:
            read(path)
        except DataError as error:
            assert path.name in str(error) and len(str(error)) < 800, what
            refused += 1
    assert refused > 20


def test_a_shard_with_one_wrong_value_is_refused_by_name(tmp_path: Path) -> None:
    manifest(tmp_path)
    data = Dataset(tmp_path)
    path = data.write(make_shard(0))
    fields, arrays = unpack(path.read_bytes(), SHARD_KIND, VERSION, "x", "")
    for what, value in mutations(fields, ODD):
        if isinstance(value, dict):
            path.write_bytes(pack(SHARD_KIND, VERSION, value, arrays, 0))
            try:
                shard = data.read(0)
            except DataError as error:
                assert path.name in str(error), what
            else:
                assert dataclasses.replace(shard, meta={}).split == "train"
    odd = {
        "scenes": [np.full((5, 8), "a"), np.zeros(5, np.float32), None], "actions": [np.full(5, "a"), np.zeros(9)],
        "truth.ram": [np.full(5, "a"), np.zeros(3)], "frames.delta": [None, np.zeros(5)],
    }  # fmt: skip
    for name, columns in odd.items():
        for column in columns:
            rest = {key: array for key, array in arrays.items() if key != name}
            path.write_bytes(pack(SHARD_KIND, VERSION, fields, rest | ({} if column is None else {name: column}), 0))
            with pytest.raises(DataError, match=path.name):
                data.read(0)


@pytest.mark.parametrize(
    "change",
    [
        {"where": np.array([10**6], np.uint32)}, {"counts": np.array([2], np.uint32)}, {"words": np.zeros(1)},
        {"steps": np.array(["a"])}, {"steps": np.zeros((1, 1), int)}, {"where": np.array([-1])}, {"more": np.zeros(1)},
    ],
)  # fmt: skip
def test_kept_frames_lie_in_their_pictures(tmp_path: Path, change: dict[str, Any]) -> None:
    arrays = {
        "steps": np.array([3], np.int32), "counts": np.array([1], np.uint32), "where": np.array([0], np.uint32),
        "words": np.array([7], np.uint64),
    }  # fmt: skip
    path = tmp_path / "a.npz"
    sizes: list[list[int]] = [[2, 3], [10**9, 10**9], [2]]
    for size in sizes:
        fields, good = {"size": size, "episode": "a"}, size == [2, 3]
        path.write_bytes(pack(FRAMES_KIND, FRAMES_VERSION, fields, arrays, 0))
        if good:
            assert KeptFrames.load(path, "a").rgb([3]).shape == (1, 2, 3, 3)
            path.write_bytes(pack(FRAMES_KIND, FRAMES_VERSION, fields, arrays | change, 0))
        with pytest.raises(DataError, match=r"a\.npz"):
            KeptFrames.load(path, "a")


def test_a_label_with_one_wrong_value_is_left_out_and_told(tmp_path: Path) -> None:
    kept = label_store(tmp_path)
    kept.add([label()])
    (log,) = tmp_path.glob("labels-*.jsonl")
    head, line = log.read_bytes().splitlines(keepends=True)
    sound = json.loads(line)
    del sound["sum"]
    read = 0
    for what, value in mutations(sound, ODD):
        if not isinstance(value, dict) or "id" in what:
            continue
        log.write_bytes(head + _line(value))
        found = LabelStore(tmp_path)
        assert bool(found.problems) != bool(list(found)) or value.get("kind") != "label", what
        read += len(list(found))
        for ref in found.frames():
            assert ref.split and found.standing(ref)
    assert read < 30, "notes, trust and times"
