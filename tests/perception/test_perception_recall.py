"""Eyes read back from their file say what the file says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from perception.scene import SceneSchema
from triune.play.loop import play

pytestmark = pytest.mark.train
torch = pytest.importorskip("torch")
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("task", ["breakout", "pong"])
def test_shipped_eyes_come_back(task: str) -> None:
    import triune
    from perception.detector import OnnxDetector
    from perception.training.export import disagreement
    from perception.training.finetune import recall

    system = triune.load(task)
    frames = [step.frame.copy() for step, _ in zip(play(system, 3), range(40), strict=False)][::4]
    net = recall(system.detector_path, system.schema, frames[0].shape[:2])
    assert disagreement(net, OnnxDetector.load(system.detector_path, system.schema), np.stack(frames)) < 1e-3


def test_gauges_and_several_groups_come_back(tmp_path: Path) -> None:
    from perception.detector import OnnxDetector
    from perception.training.export import disagreement, export
    from perception.training.finetune import recall
    from perception.training.layout import Layout
    from perception.training.network import DetectorNet

    things = {"a": {"size": [3, 3]}, "b": {"size": [14, 4], "count": 3}}
    gauge = {"air": {"box": [60, 4, 66, 60], "low": -5.0, "high": 20.0}}
    schema = SceneSchema.from_config({"crop": [4, 4, 60, 60], "things": things, "gauges": gauge})
    torch.manual_seed(0)
    net = DetectorNet(Layout(schema, (72, 64)))
    frames = np.random.default_rng(0).integers(0, 256, (6, 72, 64, 3), np.uint8)
    net.sharpness.fill_(1.3)
    export(net, tmp_path / "eyes.onnx", {}, frames)
    again = recall(tmp_path / "eyes.onnx", schema, (72, 64))
    assert disagreement(again, OnnxDetector.load(tmp_path / "eyes.onnx", schema), frames) < 1e-3


def test_eyes_of_another_schema_are_refused() -> None:
    from perception.errors import PerceptionError
    from perception.training.finetune import recall

    schema = SceneSchema.from_config({"crop": [4, 4, 60, 60], "things": {"a": {"size": [3, 3]}}})
    with pytest.raises(PerceptionError, match="does not fit"):
        recall(ROOT / "zoo" / "pong" / "perception.onnx", schema, (72, 64))
