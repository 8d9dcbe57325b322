"""Real frames to review: a small data set, as collected, with what the shipped eyes see on them.

Also a client of the review server, and the way to start `triune review` as a user does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from data_flywheel.labels import Label, values_of
from data_flywheel.labels_frames import DatasetFrames
from data_flywheel.labels_store import LabelStore
from data_flywheel.plan import Job
from data_flywheel.record import make_shard
from data_flywheel.review_queue import ReviewQueue, Suspicion
from data_flywheel.store import Dataset, Manifest
from data_flywheel.suspicion import suspicions
from data_flywheel.teachers import load_teacher
from envs.spec import load_spec
from perception.runtime import Eyes

SEEDS = (3, 850, 950)  # train, val, test


def collected(folder: Path, task: str = "pong", frames: int = 6, seeds: tuple[int, ...] = SEEDS) -> Dataset:
    """A data set of real frames, one shard a seed."""
    spec, teacher = load_spec(task), load_teacher(task)
    schema = teacher.schema
    manifest = Manifest(task, schema.to_config(), schema.fingerprint, teacher.digest, "0", len(seeds))
    dataset, cores = Dataset.create(folder, manifest), dict[str, Any]()
    for number, seed in enumerate(seeds):
        job = Job(number, "scripted", True, 20, "seed-sticky", seed, frames, 0.1)
        dataset.write(make_shard(spec, teacher, job, cores))
    return dataset


def queue_of(folder: Path, task: str = "pong", split: str = "train") -> ReviewQueue:
    """Every frame of one split, as suspicious as the shipped eyes make it; each is asked for, so that none lacks."""
    schema, frames = load_teacher(task).schema, DatasetFrames(folder)
    eyes = Eyes.load(load_spec(task).folder / "perception.onnx", schema)
    found: list[Suspicion] = []
    for ref in frames.refs():
        if ref.split == split:
            belief = eyes.look(frames.rgb(ref))
            found.append(Suspicion(ref, "request", 0.01, "asked for", tuple(map(float, belief))))
            found += suspicions(schema, ref, belief, frames.vector(ref))
    return ReviewQueue.build(task, schema, found, [str(folder)])


def spoilt(vector: np.ndarray, start: int) -> np.ndarray:
    """The thing whose slot starts there, 3 px further right."""
    other = vector.copy()
    other[start + 1] += 3
    return other


def seeded(store: LabelStore, folder: Path, queue: ReviewQueue) -> None:
    """The teacher's labels of the queue's frames; on two of them, a causal mask says something else about the ball."""
    frames, start = DatasetFrames(folder), store.schema.slot("ball").start
    refs = [item.frame for item in queue.items]
    store.add(frames.labels(store.schema, refs))
    there = [ref for ref in refs if frames.vector(ref)[start] > 0][:2]
    for ref in there:
        other = values_of(store.schema, spoilt(frames.vector(ref), start), ["ball"])
        store.add([Label(ref, "causal", "mask of byte 49", other, 0.9, "1")])
