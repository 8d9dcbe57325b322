"""Exports of a task with controls: vectors and fractional scores come back as they were recorded."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from controls_kit import swing
from recorder_kit import kept

from data_flywheel.datasets.exports import Source, export_coco, export_minari, export_parquet
from data_flywheel.episodes.episode import Episode, EpisodeRecorder
from data_flywheel.episodes.recording import Recording
from data_flywheel.errors import DataError
from envs.spec import load_spec
from logic.runtime.controller import Decision
from perception.scene import SceneSchema

STEPS = 7
CONTROLS = "[env.actions]\nhip = [-2.0, 2.0]\nknee = [0.0, 0.5]\n"


@pytest.fixture
def task(tmp_path: Path) -> Path:
    """A task with two controls and small frames, called swing, at another place than the zoo."""
    folder = swing(tmp_path / "tasks" / "swing")
    text = (folder / "system.toml").read_text().replace("[env.actions]\ntorque = [-2.0, 2.0]\n", CONTROLS)
    text = text.replace("500", "16").replace("[0.5]", "[0.0, 0.25]")
    (folder / "system.toml").write_text(text)
    return folder


def recorded(folder: Path, task: Path) -> list[tuple[Episode, np.ndarray]]:
    """Two games; the second one's scores happen to be whole numbers."""
    spec = load_spec(task)
    schema, size = SceneSchema.from_config(spec.scene), (spec.env.height, spec.env.width)
    place, made = Recording.create(folder, spec.name, schema, size), []
    for seed in (1, 2):
        rng = np.random.default_rng(seed)
        meta = {"task": spec.name, "protocol": "default", "seed": seed, "shift": None}
        recorder, scores = EpisodeRecorder(meta), np.cumsum(rng.normal(size=STEPS)) if seed == 1 else np.arange(STEPS)
        for score in scores.tolist():
            proposed = rng.uniform(-3, 3, 2).astype(np.float32)
            decision = Decision(np.clip(proposed, [-2, 0], [2, 0.5]).astype(np.float32), "r", proposed)
            recorder.add(rng.random(schema.size).astype(np.float32), decision, score, 0)
        episode = recorder.finish(finished=seed == 1, score=float(scores[-1]))
        frames = rng.integers(0, 256, (STEPS, *size, 3), dtype=np.uint8)
        place.add(episode, kept(frames, size=size))
        made.append((episode, frames))
    assert made[0][0].scores.dtype == np.float64 and made[1][0].scores.dtype == np.int32
    return made


def test_parquet_holds_vectors_and_fractions_bit_for_bit(tmp_path: Path, task: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    made = recorded(tmp_path / "r", task)
    assert export_parquet(Source(tmp_path / "r"), tmp_path / "o") == {"episodes": 2, "rows": 2 * STEPS}
    table = parquet.read_table(tmp_path / "o" / "steps.parquet")
    for episode, _ in made:
        rows = table.filter(np.array(table["seed"].to_pylist()) == episode.meta["seed"])
        for column, wanted in (("action", episode.actions), ("proposed", episode.proposed)):
            found = np.array(rows[column].to_pylist(), np.float32)
            assert found.tobytes() == wanted.tobytes() and str(rows[column].type.value_type) == "float"
        assert np.array_equal(rows["score"].to_numpy(), episode.scores)
        lean = SceneSchema.from_config(load_spec(task).scene).names.index("pole.lean")
        assert np.array_equal(rows["pole.lean"].to_numpy(), episode.scenes[:, lean])


@pytest.mark.parametrize("named", [True, False])
def test_minari_has_the_bounds_of_the_controls(
    named: bool, tmp_path: Path, task: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    minari = pytest.importorskip("minari")
    pytest.importorskip("h5py")
    made = recorded(tmp_path / "r", task)
    if not named:
        monkeypatch.chdir(task.parent)  # found by its name from there
    export_minari(Source(tmp_path / "r", task if named else None), tmp_path / "o")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "o"))
    loaded = minari.load_dataset("triune/swing-v0")
    space = loaded.action_space
    assert (space.dtype, space.low.tolist(), space.high.tolist()) == (np.float32, [-2.0, 0.0], [2.0, 0.5])
    frames = loaded.observation_space["frame"]
    assert frames.shape == (16, 16, 3) and frames.dtype == np.uint8
    ones = {int(one.rewards.sum() == 6): one for one in loaded}
    for which, (episode, pictures) in enumerate(made):
        one = ones[which]
        assert one.actions.dtype == np.float32 and one.actions.tobytes() == episode.actions.tobytes()
        assert np.array_equal(one.infos["proposed"], episode.proposed)
        assert np.allclose(np.cumsum(one.rewards), episode.scores, rtol=1e-15, atol=1e-14)
        assert np.array_equal(one.infos["score"], episode.scores)
        assert np.array_equal(one.observations["frame"][:-1], pictures)
        assert np.array_equal(one.observations["scene"][:-1], episode.scenes)
        assert all(space.contains(action) for action in one.actions)


def test_minari_asks_for_the_task_where_it_is_not_found(tmp_path: Path, task: Path) -> None:
    pytest.importorskip("minari")
    recorded(tmp_path / "r", task)
    with pytest.raises(DataError, match="--task FOLDER"):
        export_minari(Source(tmp_path / "r"), tmp_path / "o")
    with pytest.raises(DataError, match="other actions"):
        export_minari(Source(tmp_path / "r", "pong"), tmp_path / "p")


def test_coco_of_controls(tmp_path: Path, task: Path) -> None:
    recorded(tmp_path / "r", task)
    export_coco(Source(tmp_path / "r"), tmp_path / "o")
    images = json.loads((tmp_path / "o" / "instances.json").read_text())["images"]
    assert len(images) == 2 * STEPS and {(image["height"], image["width"]) for image in images} == {(16, 16)}
