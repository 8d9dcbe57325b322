"""The detector of a task without a picture: its frame holds declared numbers (`envs.readings`), so nothing is learned.

`ReadingsDetector` reads them at play; `graph_of` is the same as an ONNX file, which bundles are made of.
"""

from __future__ import annotations

import json

import numpy as np

from envs.readings import STEPS, decode
from perception.detector import FORMAT
from perception.errors import PerceptionError
from perception.scene import SceneSchema


class ReadingsDetector:
    """Reads the numbers of a schema that has readings only. `see`: uint8[1, n, 3] -> float32[size]."""

    engine = "the declared numbers"

    def __init__(self, schema: SceneSchema) -> None:
        self.schema = schema
        self._low, self._high = bounds(schema)
        self._at, self._vector = places(schema)
        self.shape = (1, len(self._at), 3)

    def reset(self) -> None:
        """Nothing to forget."""

    def see(self, frame: np.ndarray) -> np.ndarray:
        """A frame as the backend makes it -> the scene vector; PerceptionError for another frame."""
        if type(frame) is not np.ndarray or frame.dtype != np.uint8 or frame.shape != self.shape:
            got = f"{frame.dtype}{list(frame.shape)}" if isinstance(frame, np.ndarray) else f"a {type(frame).__name__}"
            raise PerceptionError(f"this task reads its numbers from uint8{list(self.shape)}, got {got}")
        vector = self._vector.copy()
        vector[self._at] = decode(frame, self._low, self._high)
        return vector

    look = see


def bounds(schema: SceneSchema) -> tuple[np.ndarray, np.ndarray]:
    """(low, high) of every number, float64[n], in the scene's order."""
    numbers = [field for reading in schema.readings for field in reading.fields]
    return np.array([f.low for f in numbers]), np.array([f.high for f in numbers])


def places(schema: SceneSchema) -> tuple[np.ndarray, np.ndarray]:
    """Where each number stands in the scene vector, int64[n], and the vector without numbers: all seen, all sure."""
    vector, at = schema.empty(), list[int]()
    for reading in schema.readings:
        slot = schema.slot(reading.name)
        vector[slot.start] = vector[slot.stop - 1] = 1.0
        at += range(slot.start + 1, slot.stop - 1)
    return np.array(at, np.int64), vector


def graph_of(schema: SceneSchema) -> bytes:
    """The same as an ONNX file, with the same bits. Needs the onnx package."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    (low, high), (at, vector) = bounds(schema), places(schema)
    n = len(at)
    source = np.where(
        vector == 1.0, n, 0
    )  # what each value of the vector is taken from: a number, or the 1 behind them
    source[at] = np.arange(n)
    constants = {
        "weights": np.array([65536.0, 256.0, 1.0]),
        "scale": (high - low) / STEPS,
        "low": low,
        "axes": np.array([2], np.int64),
        "flat": np.array([n], np.int64),
        "one": np.ones(1, np.float32),
        "source": source.astype(np.int64),
    }
    nodes = [
        helper.make_node("Cast", ["frame"], ["bytes"], to=TensorProto.DOUBLE),
        helper.make_node("Mul", ["bytes", "weights"], ["parts"]),
        helper.make_node("ReduceSum", ["parts", "axes"], ["row"], keepdims=0),
        helper.make_node("Reshape", ["row", "flat"], ["code"]),
        helper.make_node("Mul", ["code", "scale"], ["above"]),
        helper.make_node("Add", ["above", "low"], ["exact"]),
        helper.make_node("Cast", ["exact"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Concat", ["numbers", "one"], ["known"], axis=0),
        helper.make_node("Gather", ["known", "source"], ["scene"], axis=0),
    ]
    graph = helper.make_graph(
        nodes,
        "readings",
        [helper.make_tensor_value_info("frame", TensorProto.UINT8, [1, n, 3])],
        [helper.make_tensor_value_info("scene", TensorProto.FLOAT, [schema.size])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    for key, value in (("triune.format", str(FORMAT)), ("triune.schema", json.dumps(schema.to_config()))):
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    return bytes(onnx.ModelProto.SerializeToString(model, deterministic=True))
