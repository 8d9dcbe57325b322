"""Training on a toy task: it learns, it is reproducible, it resumes, and its export says what it says."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")
pytestmark = pytest.mark.train

from perception.detector import OnnxDetector  # noqa: E402
from perception.errors import PerceptionError, SampleError  # noqa: E402
from perception.scene import SceneSchema  # noqa: E402
from perception.training import train as training  # noqa: E402
from perception.training.data import SPLITS, Samples  # noqa: E402
from perception.training.metrics import table  # noqa: E402

SCHEMA = SceneSchema.from_config(
    {
        "crop": [0, 0, 60, 64],
        "things": {"ghost": {"count": 2, "size": [6, 6]}, "ball": {"size": [3, 3]}},
        "grids": {"dots": {"rows": 1, "cols": 6, "top": 0, "left": 4, "cell": [4, 4]}},
        "gauges": {"air": {"box": [56, 0, 60, 64], "low": 0, "high": 10}},
    }
)
PALETTE = np.zeros((256, 3), np.uint8)
PALETTE[:5] = ((10, 20, 60), (230, 230, 230), (200, 60, 60), (230, 200, 40), (60, 220, 90))


def toy(n: int = 1500) -> Samples:
    """A ball (often absent), none to two ghosts, dots on the top line, a bar below; ten episodes."""
    rng = np.random.default_rng(0)
    frames, scenes = np.zeros((n, 64, 64), np.uint8), np.zeros((n, SCHEMA.size), np.float32)
    for frame, scene in zip(frames, scenes, strict=True):
        dots = rng.random(6) < 0.5
        frame[:4, 4:28] = np.where(np.repeat(dots, 4), 3, 0)
        scene[SCHEMA.grid("dots")] = dots
        air = int(rng.integers(0, 65))
        frame[56:60, :air] = 4
        scene[SCHEMA.gauge("air")] = air / 6.4
        for i, column in enumerate(rng.permutation([(2, 26), (34, 58)])[: rng.integers(0, 3)]):
            y, x = int(rng.integers(6, 46)), int(rng.integers(column[0], column[1] - 6))
            frame[y : y + 6, x : x + 6] = 2
            scene[SCHEMA.slot("ghost", i)] = (1, x + 3, y + 3, 6, 6, 0, 0, 1)
        if rng.random() < 0.7:
            y, x = int(rng.integers(6, 53)), int(rng.integers(0, 61))
            frame[y : y + 3, x : x + 3] = 1
            scene[SCHEMA.slot("ball")] = (1, x + 1.5, y + 1.5, 3, 3, 0, 0, 1)
    episodes = np.arange(n) * 10 // n
    return Samples(frames, PALETTE, scenes, episodes, np.clip(episodes - 7, 0, 2).astype(np.uint8), "toy")


def run(path: Path, steps: int, **changes):
    from perception.training.train import train

    return train(changes.pop("samples", None) or toy(), SCHEMA, path, steps=steps, seed=3, **changes)


def test_it_learns_things_crowds_grids_and_gauges(tmp_path):
    metrics = run(tmp_path / "eyes.onnx", 700)
    ball, ghost = metrics["things"]["ball"], metrics["things"]["ghost"]
    assert ball["precision"] > 0.95 and ball["recall"] > 0.95 and ball["error_px"]["p95"] < 1
    assert ghost["precision"] > 0.93 and ghost["recall"] > 0.93 and ghost["error_px"]["p95"] < 1.5
    assert metrics["grids"]["dots"]["accuracy"] > 0.99
    assert metrics["gauges"]["air"]["error_mean"] < 0.5
    assert metrics["torch_onnx_gap"] < 0.02
    detector = OnnxDetector.load(tmp_path / "eyes.onnx", SCHEMA)
    assert detector.schema.names == SCHEMA.names, "the order of things survives the file"
    assert detector.provenance["metrics"]["things"] == metrics["things"]
    assert detector.provenance["samples"] == toy().fingerprint() and detector.provenance["steps"] == 700
    assert sorted(p.name for p in tmp_path.iterdir()) == ["eyes.onnx", "eyes.safetensors"], "no checkpoint left"


KILLED = """
import sys; sys.path[:0] = {path!r}
from tests_toy import toy, SCHEMA
import perception.training.train as t
t.SAVE_EVERY = 10
fit = t.Checkpoint.save
def save(self, net, optimiser, step):
    fit(self, net, optimiser, step)
    if step == 20:
        import os, signal; os.kill(os.getpid(), signal.SIGKILL)
t.Checkpoint.save = save
t.train(toy(), SCHEMA, sys.argv[1], steps=40, seed=3)
"""


def test_a_killed_run_resumes_to_the_same_weights(tmp_path):
    root = Path(__file__).resolve().parents[1]
    (tmp_path / "tests_toy.py").write_text(Path(__file__).read_text())
    script = KILLED.format(path=[str(root.parent), str(tmp_path)])
    killed = subprocess.run([sys.executable, "-c", script, str(tmp_path / "a.onnx")], timeout=300)
    assert killed.returncode == -signal.SIGKILL and not (tmp_path / "a.onnx").exists()
    assert (tmp_path / "a.onnx.training").exists()
    run(tmp_path / "a.onnx", 40)
    run(tmp_path / "b.onnx", 40, resume=False)
    a, b = (OnnxDetector.load(tmp_path / f"{name}.onnx", SCHEMA) for name in "ab")
    frames = toy(40)
    for i in range(40):
        assert np.array_equal(a.look(frames.rgb(i)), b.look(frames.rgb(i)))


@pytest.mark.parametrize("at", [1, 7, 30])
def test_an_interrupted_run_keeps_every_step(tmp_path, monkeypatch, at):
    """Ctrl-C within a step, long before the first checkpoint: the step is kept, and the weights come out equal."""
    real, steps = training.torch.nn.utils.clip_grad_norm_, []

    def press(*words):
        steps.append(1)
        if len(steps) == at:
            os.kill(os.getpid(), signal.SIGINT)
        return real(*words)

    monkeypatch.setattr(training.torch.nn.utils, "clip_grad_norm_", press)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "a.onnx", 31)
    assert training.torch.load(tmp_path / "a.onnx.training", weights_only=True)["step"] == at
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    run(tmp_path / "a.onnx", 31)
    assert len(steps) == 31, "no step is made twice"
    run(tmp_path / "b.onnx", 31, resume=False)
    a, b = (OnnxDetector.load(tmp_path / f"{name}.onnx", SCHEMA) for name in "ab")
    assert all(np.array_equal(a.look(toy(9).rgb(i)), b.look(toy(9).rgb(i))) for i in range(9))


@pytest.mark.parametrize("held", [{}, {"val"}, {"test"}, {"val", "test"}])
def test_no_figure_without_held_out_frames(tmp_path, held):
    whole = toy()
    kept = np.isin(whole.splits, [SPLITS.index(name) for name in {"train", *held}])
    samples = whole.take(np.flatnonzero(kept))
    metrics = run(tmp_path / "eyes.onnx", 2, samples=samples)
    assert metrics["frames"] == int((samples.splits == 2).sum()) and bool(metrics["things"]) is ("test" in held)
    assert metrics["calibrated"] is ("val" in held)
    assert ("not measured" in table(metrics)) is ("test" not in held)
    assert OnnxDetector.load(tmp_path / "eyes.onnx", SCHEMA).provenance["metrics"]["frames"] == metrics["frames"]


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    from perception.training.train import Checkpoint

    path = tmp_path / "eyes.onnx.training"
    path.write_bytes(b"rubbish")
    with pytest.raises(PerceptionError, match="damaged.*delete it"):
        run(tmp_path / "eyes.onnx", 2)
    import torch

    torch.save({"origin": {"seed": 99}, "net": {}, "optimiser": {}, "step": 1}, path)
    with pytest.raises(PerceptionError, match="seed"):
        run(tmp_path / "eyes.onnx", 2)
    assert Checkpoint(path, {}).fresh().path.exists() is False


def test_rare_things_are_refused_by_name(tmp_path):
    samples = toy()
    samples.scenes[100:, SCHEMA.slot("ball")] = 0
    with pytest.raises(SampleError, match="'ball' has .* labels"):
        run(tmp_path / "eyes.onnx", 2, samples=samples)


def test_rare_frames_are_drawn_more_often():
    from perception.training.batches import draw_weights

    scenes = toy().scenes.copy()
    scenes[:, SCHEMA.slot("ball").start] = 1
    scenes[:15, SCHEMA.slot("ball").start] = 0
    weights = draw_weights(scenes, SCHEMA)
    assert weights.sum() == pytest.approx(1)
    assert weights[:15].sum() > 0.05


def test_touching_things_are_drawn_more_often():
    from perception.training.batches import draw_weights

    scenes = np.zeros((1000, SCHEMA.size), np.float32)
    scenes[:, SCHEMA.slot("ghost", 0)] = (1, 10, 20, 6, 6, 0, 0, 1)
    scenes[:, SCHEMA.slot("ball")] = (1, 40, 40, 3, 3, 0, 0, 1)
    scenes[:10, SCHEMA.slot("ball")] = (1, 14.5, 20, 3, 3, 0, 0, 1)
    assert draw_weights(scenes, SCHEMA)[:10].sum() > 0.1


def test_a_trunk_that_looks_further_says_the_same_in_its_file(tmp_path):
    from perception.native_detector import open_detector
    from perception.training.export import load_net
    from perception.training.network import Width

    path, samples = tmp_path / "far.onnx", toy(200)
    metrics = run(path, 4, samples=samples, recipe=training.Recipe(width=Width(far=2), least=0))
    assert metrics["torch_onnx_gap"] < 0.02
    assert load_net(path, SCHEMA).width == Width(far=2)
    frame = samples.rgb(7)
    told, reference = open_detector(path.read_bytes(), SCHEMA, "far"), OnnxDetector.load(path, SCHEMA)
    np.testing.assert_allclose(told.look(frame), reference.look(frame), atol=1e-4)
    assert "far" not in Width().to_config(), "files of before say what they said"


def test_a_step_is_timed_and_a_training_that_stopped_knows_its_length(tmp_path):
    samples, recipe = toy(200), training.Recipe(batch=8, least=0)
    assert 0 < training.seconds_a_step(samples, SCHEMA, recipe) < 60
    path = tmp_path / "eyes.onnx"
    assert training.unfinished(path) is None
    with pytest.raises(KeyboardInterrupt):
        run(path, 30, samples=samples, recipe=recipe, progress=lambda *_: os.kill(os.getpid(), signal.SIGINT))
    assert training.unfinished(path) == 30
