"""Labelled data of a simulator that is no console: written states, play, controls, and backends of others."""

from __future__ import annotations

from pathlib import Path

import classic_kit
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
CARTPOLE = (
    classic_kit.CARTPOLE + "[scene]\ncrop = [0, 0, 400, 600]\n[scene.things.cart]\nsize = [50, 30]\n"
    "[scene.readings.pole.fields.angle]\nlow = -0.6\nhigh = 0.6\n"
)
PENDULUM = (
    classic_kit.PENDULUM + 'truth = ["last_u"]\n[scene]\ncrop = [0, 0, 500, 500]\n'
    "[scene.readings.rod.fields.angle]\nlow = -3.2\nhigh = 3.2\nwrap = true\n"
)
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
    register("dot", "tests.kits.dot_world:DOT")
    register("sealed", "tests.kits.sealed_world:SEALED")
    system = """format = 1
name = "dot"
[env]
backend = "dot"
id = "dot"
height = 64
width = 96
steps = 30
actions = { right = [-1.0, 1.0], down = [-1.0, 1.0] }
fallback = [0.0, 0.0]
[scene]
crop = [0, 0, 64, 96]
[scene.things.dot]
size = [9, 9]
"""
    teacher = """
def label(truth, frame, schema):
    vector = schema.empty()
    x, y = truth["place"].round() + 0.5
    vector[schema.slot("dot")] = (1, x, y, 9, 9, 0, 0, 1)
    return vector
"""
    folder = task(tmp_path / "dot", system, teacher)
    report = collect(folder, tmp_path / "data", 40, workers=1)
    assert report.frames > 10
    for shard in Dataset(tmp_path / "data"):
        for rgb, scene in zip(shard.frames.rgb(), shard.scenes, strict=True):
            rows, columns = np.nonzero(rgb[..., 1] == 30)
            assert (columns.mean() + 0.5, rows.mean() + 0.5) == (scene[1], scene[2])
    sealed = task(tmp_path / "sealed", system.replace('backend = "dot"', 'backend = "sealed"'), teacher)
    (sealed / "teacher.py").write_text(teacher + "\ndef poke(truth, rng):\n    return {'place': (3, 3)}\n")
    with pytest.raises(DataError, match=r"shard 0: EnvError: this backend cannot be written to"):
        collect(sealed, tmp_path / "other", 40, workers=1)
