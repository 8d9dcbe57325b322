"""Real frames to review (a small data set, as collected, with what the shipped eyes see on them), a client of the
review server, and the way to start `triune review` as a user does.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from cli_kit import ROOT

from data_flywheel.datasets.collection import Job
from data_flywheel.datasets.collection_worker import make_shard
from data_flywheel.episodes.episode import Episode, EpisodeRecorder
from data_flywheel.labelers.teacher import load_teacher
from data_flywheel.labels.frames import DatasetFrames
from data_flywheel.labels.label import Label, values_of
from data_flywheel.labels.review_queue import ReviewQueue, Suspicion, suspicions
from data_flywheel.labels.store import LabelStore
from data_flywheel.storage.dataset import Dataset, Manifest
from envs.backends.atari_protocols import get_protocol
from envs.remote import PixelEnv
from envs.spec import load_spec
from perception.detector import OnnxDetector
from triune.review.server import ReviewServer
from triune.review.session import ReviewSession

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


def played(steps: int, keep_frames: bool, seed: int = 5) -> tuple[Episode, list[np.ndarray]]:
    """A game of Pong played at random, as the shipped eyes saw it, and its frames."""
    spec, seen, rng = load_spec("pong"), list[np.ndarray](), np.random.default_rng(seed)
    detector = OnnxDetector.load(spec.folder / "perception.onnx")
    recorder = EpisodeRecorder({"task": "pong", "protocol": "sticky", "seed": seed, "shift": None}, keep_frames)
    with PixelEnv(spec.env, get_protocol("sticky")) as env:
        frame = env.reset(seed)
        for _ in range(steps):
            seen.append(frame.copy())
            action = int(rng.integers(4))
            recorder.add(detector.look(frame), SimpleNamespace(action=action, proposed=action, reason=""), 0, 0, frame)
            frame = env.step(action)
    return recorder.finish(), seen


def queue_of(folder: Path, task: str = "pong", split: str = "train") -> ReviewQueue:
    """Every frame of one split, as suspicious as the shipped eyes make it; each is asked for, so that none lacks."""
    schema, frames = load_teacher(task).schema, DatasetFrames(folder)
    detector = OnnxDetector.load(load_spec(task).folder / "perception.onnx", schema)
    found: list[Suspicion] = []
    for ref in frames.refs():
        if ref.split == split:
            belief = detector.look(frames.rgb(ref))
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


def session_of(
    folder: Path, labels: Path, queue: ReviewQueue, task: str = "pong", who: str = "reviewer"
) -> ReviewSession:
    """A review session with everything it needs."""
    store = LabelStore.create(labels, task, load_teacher(task).schema, (210, 160))
    if not store.frames():
        seeded(store, folder, queue)
    return ReviewSession(queue, store, DatasetFrames(folder), who)


@contextmanager
def serving(session: ReviewSession) -> Iterator[Client]:
    """A client of a server in this process."""
    with ReviewServer(session) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield Client(server.url)
        finally:
            server.shutdown()
            thread.join()


class Client:
    """Asks a review server, as a page would."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.host, self.base = urlsplit(url).netloc, urlsplit(url).path

    def raw(
        self, path: str, method: str = "GET", body: bytes | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers (names in lower case), body; `path` is the whole of it."""
        connection = http.client.HTTPConnection(self.host, timeout=30)
        try:
            connection.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def get(self, name: str) -> Any:
        """The JSON of an answer that must be good."""
        status, _, data = self.raw(self.base + name)
        assert status == 200, data
        return json.loads(data)

    def post(self, name: str, **body: Any) -> tuple[int, Any]:
        """Status and JSON."""
        data = json.dumps(body).encode()
        status, _, answer = self.raw(self.base + name, "POST", data, Content_Type="application/json")
        return status, json.loads(answer)

    def save(self, index: int, verdict: str = "", values: Any = None, revision: str | None = None) -> tuple[int, Any]:
        """One action, on the present revision unless another is named."""
        if revision is None:
            revision = self.get(f"frame/{index}")["revision"]
        return self.post("save", index=index, revision=revision, verdict=verdict, values=values or {})


def started(*words: str) -> tuple[subprocess.Popen[str], Client]:
    """`triune review WORDS --no-open`, once it serves."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "triune", "review", *words, "--no-open"]
    process = subprocess.Popen(
        command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # not ignored as in background
    )  # fmt: skip
    assert process.stderr is not None
    told = []
    for line in process.stderr:
        told.append(line)
        if line.startswith("open "):
            return process, Client(line.split()[1])
    process.wait()
    raise AssertionError(f"it did not start: {told}")


def shown(frame: Any) -> dict[str, Any]:
    """The values of a frame as the page would draw and accept them."""
    return {name: part["value"] for name, part in frame["parts"].items()}
