"""Labelled data of a simulator that is no console: written states, play, controls, and backends of others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data_flywheel.datasets.collection import STATES, Plan, collect
from data_flywheel.datasets.collection_worker import make_shard
from data_flywheel.datasets.samples import load_samples
from data_flywheel.errors import DataError
from data_flywheel.labelers.teacher import load_teacher
from data_flywheel.storage.dataset import Dataset
from envs.env import register
from envs.spec import load_spec
from triune.cli import main

pytest.importorskip("pygame")
CARTPOLE = """format = 1
name = "cartpole"
[env]
backend = "gymnasium"
id = "CartPole-v1"
height = 400
width = 600
actions = ["LEFT", "RIGHT"]
fallback = "RIGHT"
protocol = "default"
[scene]
crop = [0, 0, 400, 600]
[scene.things.cart]
size = [50, 30]
[scene.readings.pole.fields.angle]
low = -0.6
high = 0.6
"""
PENDULUM = """format = 1
name = "pendulum"
[env]
backend = "gymnasium"
id = "Pendulum-v1"
height = 500
width = 500
actions = { torque = [-2.0, 2.0] }
fallback = [0.0]
protocol = "default"
truth = ["last_u"]
[scene]
crop = [0, 0, 500, 500]
[scene.readings.rod.fields.angle]
low = -3.2
high = 3.2
wrap = true
"""
LABEL = """
import numpy as np

def label(truth, frame, schema):
    x, _, angle, _ = truth["state"]
    vector = schema.empty()
    vector[schema.slot("cart")] = (1, 300 + 125 * x, 300, 50, 30, 0, 0, 1)
    vector[schema.slot("pole")] = (1, angle, 1)
    return vector
"""
SPREAD = """
def spread(rng):
    return {"state": rng.uniform((-2, -2, -0.5, -2), (2, 2, 0.5, 2))}
"""
SCRIPT = """
def scripted(truth, rng):
    return int(truth["state"][2] + 0.5 * truth["state"][3] > 0)

def poke(truth, rng):
    return {"state": rng.uniform((-1, 0, -0.1, 0), (1, 0, 0.1, 0))}
"""
ROD = """
import numpy as np

def label(truth, frame, schema):
    vector = schema.empty()
    vector[schema.slot("rod")] = (1, np.arctan2(np.sin(truth["state"][0]), np.cos(truth["state"][0])), 1)
    return vector

def poke(truth, rng):
    return {"state": rng.uniform((-3, -1), (3, 1)), "last_u": None}
"""


def task(folder: Path, system: str, teacher: str) -> Path:
    folder.mkdir()
    (folder / "system.toml").write_text(system)
    (folder / "teacher.py").write_text(teacher)
    return folder


def cart_centre(frame: np.ndarray) -> float:
    """Column of the middle of the black box on the rail, from the picture alone."""
    black = (frame[305:312] == 0).all((0, 2))
    return float(np.flatnonzero(black).mean()) + 0.5


def test_written_states_are_collected_by_the_command(tmp_path: Path) -> None:
    folder, out = task(tmp_path / "cartpole", CARTPOLE, LABEL + SPREAD), tmp_path / "data"
    assert main(["collect", str(folder), "--frames", "130", "--workers", "2", "--out", str(out), "--json"]) == 0
    samples, teacher = load_samples(out), load_teacher(folder)
    assert len(samples) == 130 and samples.shape == (400, 600)
    states = np.concatenate([shard.truth["state"] for shard in Dataset(out)])
    cart, pole = (samples.scenes[:, teacher.schema.slot(name)] for name in ("cart", "pole"))
    assert np.allclose(cart[:, 1], 300 + 125 * states[:, 0]) and np.allclose(pole[:, 1], states[:, 2])
    seen = np.array([cart_centre(samples.rgb(row)) for row in range(130)])
    assert np.abs(seen - cart[:, 1]).max() < 1.5  # the picture is that of the written state
    steps = np.abs(np.diff(states[:, 0]))
    assert states[:, 0].std() > 0.8 and np.median(steps) > 0.5  # independent, not a walk
    assert all(shard.meta["player"] == STATES and shard.actions.dtype == np.uint8 for shard in Dataset(out))


def test_play_with_rare_states_and_none_of_them(tmp_path: Path) -> None:
    folder = task(tmp_path / "cartpole", CARTPOLE, LABEL + SCRIPT)
    report = collect(folder, tmp_path / "data", 160, workers=2)
    assert report.frames > 100 and report.checked == report.frames
    shards = {shard.meta["player"]: shard for shard in Dataset(tmp_path / "data")}
    assert set(shards) == {"scripted"}  # no policy.py: the script stands in
    lengths = {shard.number: np.ptp(shard.truth["state"][:, 0]) for shard in shards.values()}
    assert max(lengths.values()) > 0.5  # poked about
    with pytest.raises(DataError, match="another plan"):
        spread = tmp_path / "cartpole" / "teacher.py"
        manifest = Dataset(tmp_path / "data").manifest
        spread.write_text(LABEL + SPREAD)
        moved = {**vars(manifest), "teacher": load_teacher(folder).digest}
        Dataset.create(tmp_path / "data", type(manifest)(**moved))
        collect(folder, tmp_path / "data", 160)


def test_controls_are_stored_as_numbers(tmp_path: Path) -> None:
    folder = task(tmp_path / "pendulum", PENDULUM, ROD)
    spec, teacher = load_spec(folder), load_teacher(folder)
    shard = make_shard(spec, teacher, Plan(20, ("random",), ("default",), 20).job(0))
    assert shard.actions.dtype == np.float32 and shard.actions.shape == (len(shard), 1) and len(shard) >= 10
    assert np.abs(shard.actions).max() <= 2 and len(np.unique(shard.actions)) > 3
    assert shard.truth["last_u"].shape == (len(shard),) and np.isfinite(shard.truth["last_u"]).all()
    again = make_shard(spec, teacher, Plan(20, ("random",), ("default",), 20).job(0))
    assert np.array_equal(shard.actions, again.actions) and np.array_equal(shard.frames.rgb(), again.frames.rgb())


def test_a_backend_registered_here_is_collected_by_workers(tmp_path: Path) -> None:
    register("dot", "tests.envs.test_backends:DOT")
    system = """format = 1
name = "dot"
[env]
backend = "dot"
id = "dot"
height = 4
width = 16
actions = { push = [-1.0, 1.0] }
fallback = [0.0]
protocol = "plain"
[scene]
crop = [0, 0, 4, 16]
[scene.things.dot]
size = [1, 4]
"""
    teacher = """
def label(truth, frame, schema):
    vector = schema.empty()
    vector[schema.slot("dot")] = (1, round(float(truth["x"][0])) + 0.5, 2, 1, 4, 0, 0, 1)
    return vector
"""
    folder = task(tmp_path / "dot", system, teacher)
    report = collect(folder, tmp_path / "data", 40, workers=1)
    assert report.frames > 10
    for shard in Dataset(tmp_path / "data"):
        assert np.array_equal(shard.frames.rgb()[:, 0].argmax(1)[:, 0] + 0.5, shard.scenes[:, 1])
    (folder / "teacher.py").write_text(teacher + "\ndef poke(truth, rng):\n    return {'x': 3}\n")
    with pytest.raises(DataError, match=r"shard 0: EnvError: this backend cannot be written to"):
        collect(folder, tmp_path / "other", 40, workers=1)
