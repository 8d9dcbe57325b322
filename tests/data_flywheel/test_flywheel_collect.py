"""Collection: deterministic, resumable after a kill, split by episode, rich in what is rare."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data_flywheel.datasets.collection import Curator, Plan, collect, situations
from data_flywheel.datasets.collection_worker import make_shard
from data_flywheel.datasets.samples import load_samples
from data_flywheel.errors import DataError
from data_flywheel.labelers.teacher import load_teacher
from data_flywheel.labelers.teacher import teacher as observer
from data_flywheel.splits import split_of
from data_flywheel.storage.dataset import Dataset
from envs.backends.atari_protocols import get_protocol
from envs.remote import Observer, PixelEnv
from envs.spec import load_spec
from perception.scene import SceneSchema

ROOT = Path(__file__).parents[2]
FRAMES = 600
PROTOCOLS = ("seed-sticky", "sticky", "classic")


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of Pong of our own, so that work on the zoo's policy does not change a plan between two calls."""
    folder = tmp_path_factory.mktemp("task") / "pong"
    folder.mkdir()
    for name in ("system.toml", "teacher.py"):
        shutil.copy(load_spec("pong").folder / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def collected(task: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "whole"
    report = collect(task, folder, FRAMES, workers=2)
    assert report.frames == FRAMES and report.made == report.shards == 6
    assert report.refused <= report.checked * 0.01
    return folder


def test_collected_data_is_labelled_and_varied(collected: Path) -> None:
    samples = load_samples(collected)
    assert samples.frames.shape == (FRAMES, 210, 160) and samples.palette is not None
    teacher = load_teacher("pong")
    for shard in Dataset(collected):
        for i in range(0, len(shard), 17):
            assert np.array_equal(teacher.label({"ram": shard.truth["ram"][i]}, shard.frames.rgb(i)), shard.scenes[i])
        crops = shard.frames.pixels[:, 34:194]
        assert (crops[1:] != crops[:-1]).any((1, 2)).all()  # no repeats
    ball = samples.scenes[:, teacher.schema.slot("ball").start] > 0
    assert 0.02 < 1 - ball.mean() < 0.25
    figures = Dataset(collected).manifest.extra["figures"]
    assert figures["situations"]["cut ball"] > 5
    assert figures["hash"] == Dataset(collected).content_hash()


def test_splits_are_disjoint_and_by_seed(collected: Path) -> None:
    seeds = {name: set() for name in ("train", "val", "test")}
    for shard in Dataset(collected):
        seeds[shard.split].add(shard.seed)
        assert split_of(shard.seed) == shard.split
    assert not seeds["train"] & seeds["val"] and not seeds["train"] & seeds["test"]


def test_a_plan_reaches_every_split_player_and_protocol() -> None:
    plan = Plan(20_000, ("random", "scripted", "policy"), PROTOCOLS)
    jobs = [plan.job(number) for number in range(plan.shards)]
    shares = [sum(split_of(job.seed) == name for job in jobs) / len(jobs) for name in ("train", "val", "test")]
    assert np.allclose(shares, (0.8, 0.1, 0.1), atol=0.03)
    kinds = {(job.player, job.poke, job.protocol) for job in jobs}
    assert {p for p, _, _ in kinds} == {"random", "scripted", "policy"}
    assert len({protocol for _, _, protocol in kinds}) == 3 and len(kinds) == 18
    assert len({job.seed for job in jobs}) == len(jobs)
    assert sum(job.frames for job in jobs) == 20_000
    assert {Plan(900, ("random", "scripted"), PROTOCOLS).job(n).player for n in range(9)} == {"random", "scripted"}


def test_a_job_is_reproducible(task: Path) -> None:
    spec, teacher, job = load_spec(task), load_teacher(task), Plan(60, ("scripted",), PROTOCOLS, 30).job(0)
    first, second = make_shard(spec, teacher, job), make_shard(spec, teacher, job)
    assert np.array_equal(first.frames.rgb(), second.frames.rgb()) and first.meta == second.meta


def start(task: Path, folder: Path) -> subprocess.Popen[bytes]:
    code = "from data_flywheel.datasets.collection import collect; "
    code += f"collect({str(task)!r}, {str(folder)!r}, {FRAMES}, 1)"
    return subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})


def test_kill_and_resume_gives_the_same_content(task: Path, collected: Path, tmp_path: Path) -> None:
    folder = tmp_path / "killed"
    process = start(task, folder)
    deadline = time.monotonic() + 120
    while len(list(folder.glob("shard-*.npz"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    there = Dataset(folder).numbers()
    assert 2 <= len(there) < 6
    report = collect(task, folder, FRAMES, workers=2)
    assert report.made <= 6 - len(there)
    assert Dataset(folder).missing() == []
    assert report.hash == Dataset(collected).content_hash()


def test_workers_end_when_their_parent_dies(task: Path, tmp_path: Path) -> None:
    process = start(task, tmp_path / "orphans")
    deadline = time.monotonic() + 120
    while not list((tmp_path / "orphans").glob("shard-*.npz")) and time.monotonic() < deadline:
        time.sleep(0.02)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert children
    process.kill()
    process.wait()
    while any(alive(child) for child in children) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(alive(child) for child in children)


def alive(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0] != "Z"
    except OSError:
        return False


def test_deleting_a_damaged_shard_and_resuming_repairs(task: Path, collected: Path, tmp_path: Path) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(collected, folder)
    dataset = Dataset(folder)
    dataset.path(3).write_bytes(dataset.path(3).read_bytes()[:-200])
    with pytest.raises(DataError, match=r"shard-000003\.npz.*delete .* and collect again"):
        collect(task, folder, FRAMES, workers=1)
    dataset.path(3).unlink()
    report = collect(task, folder, FRAMES, workers=1)
    assert report.made == 1 and report.hash == Dataset(collected).content_hash()


def test_another_plan_or_teacher_does_not_mix(task: Path, collected: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="collected with another shards"):
        collect(task, collected, FRAMES * 2)
    with pytest.raises(DataError, match="6 shards already"):
        collect(task, collected, FRAMES, resume=False)
    changed = tmp_path / "pong"
    shutil.copytree(task, changed)
    with open(changed / "teacher.py", "a") as handle:
        handle.write("\n# changed\n")
    with pytest.raises(DataError, match="another teacher"):
        collect(changed, collected, FRAMES)
    with pytest.raises(DataError, match="at least 1 frame and 1 worker"):
        collect(task, tmp_path / "none", 0)


def test_a_failing_teacher_is_reported_with_its_shard(task: Path, tmp_path: Path) -> None:
    broken = tmp_path / "pong"
    shutil.copytree(task, broken)
    with open(broken / "teacher.py", "a") as handle:
        handle.write("\ndef label(truth, frame, schema):\n    raise RuntimeError('no idea')\n")
    with pytest.raises(DataError, match="shard 0: RuntimeError: no idea"):
        collect(broken, tmp_path / "out", 200, workers=1)


def test_situations_are_read_from_the_schema() -> None:
    schema = SceneSchema.from_config({**load_spec("breakout").scene, "crop": [28, 4, 196, 156]})
    vector = schema.empty()
    vector[schema.slot("paddle")] = (1, 148, 191, 8, 4, 0, 0, 1)
    assert situations(schema, vector) == ("absent ball", "cut paddle")
    vector[schema.slot("paddle")] = (1, 80, 191, 16, 4, 0, 0, 1)
    vector[schema.slot("ball")] = (1, 80, 186, 2, 4, 0, 0, 1)
    assert situations(schema, vector) == ("paddle touches ball",)
    vector[schema.slot("ball")] = (1, 80, 130, 2, 4, 0, 0, 1)
    assert situations(schema, vector) == ()
    vector[schema.slot("ball")] = (1, 80, 75, 2, 3, 0, 0, 1)
    assert situations(schema, vector) == ("cut ball", "ball among bricks")
    vector[schema.slot("ball")] = (1, 9, 130, 2, 4, 0, 0, 1)
    assert situations(schema, vector) == ("edge ball",)


def test_the_curator_refuses_repeats_neighbours_and_too_many_absences() -> None:
    schema = SceneSchema.from_config(load_spec("pong").scene)
    curator = Curator(schema, 20, np.random.default_rng(0))
    rng = np.random.default_rng(1)

    def noise() -> np.ndarray:
        return rng.integers(0, 255, (210, 160, 3), dtype=np.uint8)

    vector = schema.empty()  # everything absent: rare, but capped at a fifth
    first = noise()
    assert not curator.wants(vector, first, 1)  # too soon
    assert curator.wants(vector, first, 4)
    assert not curator.wants(vector, first, 4)  # the same picture
    for _ in range(50):
        curator.wants(vector, noise(), 4)
    assert curator.kept == 4


def test_the_observer_delivers_the_teachers_scene() -> None:
    spec = load_spec("pong")
    teacher = load_teacher("pong")
    watch = Observer("data_flywheel.labelers.teacher:teacher", str(spec.folder), teacher.schema.size)
    with PixelEnv(spec.env, get_protocol("sticky"), observer=watch) as env:
        env.reset(3)
        for step in range(60):
            env.step(step % 4)
        scene = teacher.schema.read(env.observed.copy())
    assert scene.player.seen and scene.player.x == 142 and scene.player.w == 4
    assert callable(observer("pong"))


def test_another_policy_stops_half_a_set_but_not_a_finished_one(collected: Path, task: Path, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    shutil.copytree(collected, folder)
    manifest = Dataset(folder).manifest
    Dataset.create(folder, replace(manifest, extra={**manifest.extra, "policy": "another"}))
    assert collect(task, folder, FRAMES, workers=1).made == 0
    Dataset(folder).path(0).unlink()
    with pytest.raises(DataError, match="another policy .* remove it or name another folder"):
        collect(task, folder, FRAMES, workers=1)
