"""Numbers read off a picture: the network learns them, its file says what it says, a blank picture shows nothing."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")
pytestmark = pytest.mark.train

from perception.detector import OnnxDetector  # noqa: E402
from perception.errors import SampleError  # noqa: E402
from perception.scene import SceneSchema  # noqa: E402
from perception.training.augment import Augmentation, Augmenter  # noqa: E402
from perception.training.data import Samples  # noqa: E402

TURN = {"low": -np.pi, "high": np.pi, "unit": "rad", "wrap": True}
READINGS = {"hand": {"fields": {"turn": TURN}}, "sled": {"fields": {"x": {"low": -2.0, "high": 3.0}}}}
SCHEMA = SceneSchema.from_config({"crop": [8, 0, 72, 64], "readings": READINGS})
MIXED = SceneSchema.from_config({"crop": [8, 0, 72, 64], "things": {"ball": {"size": [4, 4]}}, "readings": READINGS})


def toy(schema: SceneSchema = SCHEMA, n: int = 1200) -> Samples:
    """A hand that turns about a hub, a sled on a rail below it; with a thing in the schema a ball above."""
    rng = np.random.default_rng(0)
    frames, scenes = np.full((n, 80, 64, 3), 230, np.uint8), np.zeros((n, schema.size), np.float32)
    for frame, scene in zip(frames, scenes, strict=True):
        turn, x = rng.uniform(-np.pi, np.pi), rng.uniform(-2.0, 3.0)
        tip = 32 + 15 * np.sin(turn), 32 - 15 * np.cos(turn)
        ends = [tuple(int(round(16 * v)) for v in p) for p in ((32.0, 32.0), tip)]
        cv2.line(frame, *ends, (200, 40, 40), 3, cv2.LINE_AA, shift=4)
        left = 4 + (x + 2) / 5 * 48
        cv2.rectangle(frame, (round(left), 62), (round(left) + 7, 66), (30, 30, 30), -1)
        scene[schema.slot("hand")] = (1, turn, 1)
        scene[schema.slot("sled")] = (1, x, 1)
        if schema.things and rng.random() < 0.7:
            at = int(rng.integers(2, 58))
            frame[10:14, at : at + 4] = (20, 160, 20)
            scene[schema.slot("ball")] = (1, at + 2, 12, 4, 4, 0, 0, 1)
    episodes = np.arange(n) * 10 // n
    return Samples(frames, None, scenes, episodes, np.clip(episodes - 7, 0, 2).astype(np.uint8), "toy")


@pytest.mark.parametrize("schema", [SCHEMA, MIXED], ids=["readings", "with a thing"])
def test_it_learns_numbers_and_knows_when_there_are_none(tmp_path: Path, schema: SceneSchema) -> None:
    from perception.training.train import train

    metrics = train(toy(schema), schema, tmp_path / "net.onnx", steps=500, seed=1)
    hand, sled = metrics["readings"]["hand"], metrics["readings"]["sled"]
    assert hand["errors"]["turn"]["median"] < 0.08 and hand["errors"]["turn"]["p95"] < 0.35
    assert sled["errors"]["x"]["median"] < 0.08 and sled["errors"]["x"]["p95"] < 0.4
    assert hand["recall"] > 0.97 and sled["recall"] > 0.97
    assert metrics["torch_onnx_gap"] < 0.02
    if schema.things:
        assert metrics["things"]["ball"]["recall"] > 0.9
    detector, rng = OnnxDetector.load(tmp_path / "net.onnx", schema), np.random.default_rng(5)
    blank = [np.full((80, 64, 3), grey, np.uint8) for grey in (0, 90, 180)]
    blank += [rng.integers(0, 256, (80, 64, 3), np.uint8) for _ in range(5)]
    for frame in blank:
        scene = schema.read(detector.look(frame))
        assert not scene.hand.seen and scene.hand.turn == 0.0 and scene.hand.sure < 0.5


def test_the_file_comes_back_as_a_network_that_says_the_same(tmp_path: Path) -> None:
    import torch

    from perception.training.export import disagreement, export, load_net
    from perception.training.layout import Layout
    from perception.training.network import DetectorNet

    for schema in (SCHEMA, MIXED):
        torch.manual_seed(0)
        net = DetectorNet(Layout(schema, (80, 64)))
        net.sharpness.fill_(1.7)
        frames = toy(schema, 20).frames
        assert export(net, tmp_path / "net.onnx", {}, frames) < 0.02
        again = load_net(tmp_path / "net.onnx", schema)
        pairs = zip(net.state_dict().values(), again.state_dict().values(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)
        assert disagreement(again, OnnxDetector.load(tmp_path / "net.onnx", schema), frames) < 1e-3


def test_the_angle_of_a_direction_is_right_all_around() -> None:
    import onnxruntime
    from onnx import TensorProto, helper

    from perception.training.export import IR_VERSION, OPSET, Builder, _angle

    turns = np.concatenate([np.linspace(-np.pi, np.pi, 721), [np.pi - 1e-6, 1e-6 - np.pi, np.pi - 1e-4]])
    y, x = ((0.3 * f(turns)).astype(np.float32) for f in (np.sin, np.cos))
    b = Builder()
    b.nodes.append(helper.make_node("Identity", [_angle(b, "y", "x")], ["angle"]))
    ends = [
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, [len(turns)]) for n in names]
        for names in ("yx", ["angle"])
    ]
    graph = helper.make_graph(b.nodes, "angle", *ends, b.constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    found = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"y": y, "x": x})[0]
    away = np.abs(found - np.arctan2(y, x))
    assert np.minimum(away, 2 * np.pi - away).max() < 1e-5


def test_a_blank_picture_is_labelled_unseen_and_nothing_is_shaken() -> None:
    samples, nothing = toy(n=40), dict.fromkeys(Augmentation.__dataclass_fields__, 0.0)
    blank = Augmenter(SCHEMA, None, Augmentation(**{**nothing, "blank": 1.0, "shake": 1.0}))
    frames, scenes, camera = blank(samples.frames, samples.scenes, np.random.default_rng(0))
    assert not scenes.any() and not camera.any() and (frames != samples.frames).any((1, 2, 3)).all()
    plain = Augmenter(SCHEMA, None, Augmentation(**nothing))
    frames, scenes, _ = plain(samples.frames, samples.scenes, np.random.default_rng(0))
    top, left, bottom, right = SCHEMA.crop
    part = np.s_[:, top:bottom, left:right]
    assert np.array_equal(frames[part], samples.frames[part]) and np.array_equal(scenes, samples.scenes)


def test_a_reading_without_labels_is_refused_by_name(tmp_path: Path) -> None:
    from perception.training.train import train

    samples = toy()
    samples.scenes[:, SCHEMA.slot("sled")] = 0
    with pytest.raises(SampleError, match="'sled' has 0 labels"):
        train(samples, SCHEMA, tmp_path / "net.onnx", steps=5)
