"""Networks of every kind of scene, as training exports them, are seen natively as by ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")
pytestmark = pytest.mark.train

from eyes_kit import stream  # noqa: E402

import native  # noqa: E402
from perception.native_detector import NativeDetector, largest_difference, open_detector  # noqa: E402
from perception.scene import SceneSchema  # noqa: E402

THINGS = {"ball": {"size": [2, 4]}, "ghost": {"size": [8, 8], "count": 4}, "player": {"size": [8, 8]}}
GRID = {"wall": {"rows": 3, "cols": 5, "top": 9, "left": 3, "cell": [7, 6]}}
GAUGES = {"fuel": {"box": [70, 5, 78, 50], "low": -1.0, "high": 9.0}, "lives": {"box": [0, 0, 6, 9]}}
TURN = {"low": -np.pi, "high": np.pi, "wrap": True}
READINGS = {"hand": {"fields": {"turn": TURN, "x": {"low": -2.0, "high": 3.0}}}, "sled": {"fields": {"turn": TURN}}}
SCENES: dict[str, dict[str, Any]] = {
    "all": {"things": THINGS, "grids": GRID, "gauges": GAUGES, "readings": READINGS, "window": 3},
    "several things": {"things": THINGS},
    "one place for one": {"things": {**THINGS, "pill": {"count": 7, "size": [8, 8]}}, "exclusive": True},
    "only of many": {"things": {"ghost": {"count": 3}, "pill": {"count": 7, "size": [3, 3]}}},
    "one thing": {"things": {"ball": {}}, "window": 2},
    "grids": {"grids": {**GRID, "floor": {"rows": 1, "cols": 1, "top": 60, "left": 0, "cell": [60, 9]}}},
    "grid and gauges": {"grids": GRID, "gauges": GAUGES},
    "readings": {"readings": READINGS},
}
WIDTHS = ({}, {"stem": 5, "trunk": 12, "depth": 1, "context": 7, "edges": 3, "hidden": 17, "maps": 3, "cell": 5,
               "landmarks": 3, "glimpse": 2})  # fmt: skip


def exported(scene: dict[str, Any], width: dict[str, int], seed: int) -> tuple[bytes, SceneSchema]:
    """A network with random weights, as its file."""
    import torch

    from perception.training.export import serialised
    from perception.training.layout import Layout
    from perception.training.network import DetectorNet, Width

    schema = SceneSchema.from_config({"crop": [6, 2, 78, 66], **scene})
    torch.manual_seed(seed)
    net = DetectorNet(Layout(schema, (86, 70)), Width(**width))
    with torch.no_grad():
        for name, value in net.state_dict().items():
            if "running_var" in name:
                value.uniform_(0.5, 2)
            elif value.is_floating_point() and ("bias" in name or "place" in name or "running" in name):
                value.normal_(0, 0.3)
        net.sharpness.fill_(1.7)
    return serialised(net, {}, np.zeros((1, 86, 70, 3), np.uint8))[0], schema


@pytest.mark.skipif(not native.available(), reason=native.why_not())
@pytest.mark.parametrize("width", WIDTHS, ids=["usual", "odd"])
@pytest.mark.parametrize("scene", SCENES)
def test_every_scene_is_seen_as_by_its_reference(scene: str, width: dict[str, int]) -> None:
    data, schema = exported(SCENES[scene], width, 3)
    detector, reference = open_detector(data, schema), open_detector(data, schema)
    assert isinstance(detector, NativeDetector) and isinstance(reference, NativeDetector), detector.engine
    made = []
    for frame in stream(detector.shape, 7, 40):
        made.append(detector.see(frame))
        wanted = reference.reference.see(frame)
        assert not largest_difference(schema, made[-1], wanted)[0], len(made)
    assert len(np.unique(np.array(made), axis=0)) > 4


@pytest.mark.skipif(not native.available(), reason=native.why_not())
def test_the_first_of_equals_is_chosen_by_both() -> None:
    data, schema = exported({"things": {"ghost": {"count": 9}}}, {}, 1)
    detector = open_detector(data, schema)
    assert isinstance(detector, NativeDetector), detector.engine
    for grey in (0, 77, 255):  # few peaks: most of the nine are cells that are none, all equally hot
        frame = np.full(detector.shape, grey, np.uint8)
        assert not largest_difference(schema, detector.see(frame), detector.reference.look(frame))[0]
