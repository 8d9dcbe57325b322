"""Loading eyes: what is refused, in which words, and what a frame must look like."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from perception.detector import OnnxDetector
from perception.errors import PerceptionError
from perception.scene import SceneSchema

onnx = pytest.importorskip("onnx")
H, W = 12, 10
CONFIG = {"crop": [0, 0, H, W], "things": {"ball": {}}}
SCHEMA = SceneSchema.from_config(CONFIG)


def weights(schema: SceneSchema = SCHEMA, size: int | None = None, **metadata: str) -> bytes:
    """Eyes that put the brightest red of the frame into every field."""
    from onnx import TensorProto, helper, numpy_helper

    size = schema.size if size is None else size
    nodes = [
        helper.make_node("Cast", ["frame"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["float"], ["peak"], keepdims=0),
        helper.make_node("Expand", ["peak", "size"], ["scene"]),
    ]
    graph = helper.make_graph(
        nodes, "tiny",
        [helper.make_tensor_value_info("frame", TensorProto.UINT8, [H, W, 3])],
        [helper.make_tensor_value_info("scene", TensorProto.FLOAT, [size])],
        [numpy_helper.from_array(np.array([size], np.int64), "size")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    given = {"triune.format": "1", "triune.schema": json.dumps(schema.to_config()), **metadata}
    helper.set_model_props(model, {k: v for k, v in given.items() if v})
    data: bytes = model.SerializeToString()
    return data


@pytest.fixture
def detector(tmp_path):
    path = tmp_path / "perception.onnx"
    path.write_bytes(weights(**{"triune.provenance": '{"steps": 7}'}))
    return OnnxDetector.load(path, SCHEMA)


def test_a_frame_becomes_a_scene_vector(detector):
    frame = np.zeros((H, W, 3), np.uint8)
    frame[3, 4, 0] = 9
    scene = detector.see(frame)
    assert scene.dtype == np.float32 and scene.shape == (SCHEMA.size,)
    assert (scene == 9).all()
    assert detector.provenance == {"steps": 7}


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (np.zeros((H, W, 3), np.float32), "uint8"),
        (np.zeros((H, W + 1, 3), np.uint8), "native"),
        (np.zeros((H, W), np.uint8), "native"),
        ([[0]], "numpy array"),
    ],
)
def test_a_wrong_frame_is_refused_with_the_fix(detector, frame, words):
    with pytest.raises(PerceptionError, match=words):
        detector.see(frame)


def test_missing_weights_say_how_to_train(tmp_path):
    with pytest.raises(PerceptionError, match="triune train"):
        OnnxDetector.load(tmp_path / "nothing.onnx", SCHEMA)


@pytest.mark.parametrize("data", [b"", b"not a network", weights()[:100], weights()[:-40]])
def test_damaged_weights_are_named_as_such(tmp_path, data):
    path = tmp_path / "bad.onnx"
    path.write_bytes(data)
    with pytest.raises(PerceptionError, match="bad.onnx"):
        OnnxDetector.load(path, SCHEMA)


def test_another_schema_is_refused_and_the_difference_named():
    other = SceneSchema.from_config({**CONFIG, "things": {"ball": {"size": [9, 9]}}})
    with pytest.raises(PerceptionError, match="things differs.*train again"):
        OnnxDetector.parse(weights(other), SCHEMA)
    assert OnnxDetector.parse(weights(other)).schema == other


def test_foreign_and_inconsistent_files_are_refused():
    with pytest.raises(PerceptionError, match="without a scene schema"):
        OnnxDetector.parse(weights(**{"triune.schema": ""}))
    with pytest.raises(PerceptionError, match="format 99"):
        OnnxDetector.parse(weights(**{"triune.format": "99"}))
    with pytest.raises(PerceptionError, match="broken scene schema"):
        OnnxDetector.parse(weights(**{"triune.schema": '{"crop": 3}'}))
    with pytest.raises(PerceptionError, match="does not map"):
        OnnxDetector.parse(weights(size=SCHEMA.size + 1))


def test_a_window_takes_the_maximum_of_the_last_frames_and_reset_forgets():
    detector = OnnxDetector.parse(weights(SceneSchema.from_config({**CONFIG, "window": 2})))
    bright, dark = np.full((H, W, 3), 50, np.uint8), np.zeros((H, W, 3), np.uint8)
    assert [detector.see(f)[0] for f in (bright, dark, dark)] == [50, 50, 0]
    detector.see(bright)
    detector.reset()
    assert detector.see(dark)[0] == 0


def test_play_needs_neither_torch_nor_onnx():
    code = "import sys, perception.detector; assert not {'torch', 'onnx'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).resolve().parents[2])


def test_the_order_of_things_survives_the_file():
    things = {"zebra": {}, "ant": {"size": [9, 9]}}
    schema = SceneSchema.from_config({**CONFIG, "things": things})
    assert OnnxDetector.parse(weights(schema), schema).schema.names == schema.names
    with pytest.raises(PerceptionError, match="another scene schema"):
        turned = SceneSchema.from_config({**CONFIG, "things": dict(reversed(things.items()))})
        OnnxDetector.parse(weights(schema), turned)
