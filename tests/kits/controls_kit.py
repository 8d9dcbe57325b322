"""A task with a control, complete and without training: a pendulum whose detector is a few nodes of arithmetic."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from perception.scene import SceneSchema

SIZE = 500  # px, height and width of what Pendulum-v1 renders
SYSTEM = f"""format = 1
name = "swing"
[env]
backend = "gymnasium"
id = "Pendulum-v1"
height = {SIZE}
width = {SIZE}
fallback = [0.5]
protocol = "default"
[env.actions]
torque = [-2.0, 2.0]
[scene]
crop = [0, 0, {SIZE}, {SIZE}]
[scene.things.rod]
size = [40, 40]
[scene.readings.pole.fields.lean]
low = -1.0
high = 1.0
unit = "rad"
"""
POLICY = '''"""Push the rod the way it leans, ever harder."""


class Memory:
    last: float = 0.0


def act(scene, memory):
    memory.last = 0.5 * memory.last + (scene.rod.x - 250.0) * 0.05
    return (memory.last, "right") if memory.last > 0.0 else (memory.last, "left")
'''
SAFETY = 'def gentle(scene, memory, action):\n    """Gentle"""\n    return clip(action, -1.75, 9.0)\n'


def detector(schema: SceneSchema, height: int = SIZE, width: int = SIZE) -> bytes:
    """An ONNX detector: the schema's one thing is where the picture is dark (green below 128), and always seen. A
    reading is seen, always with the same values.

    Its sums are of whole numbers, so that no order of adding them up rounds.
    """
    rows, columns = (np.arange(n, dtype=np.float32) for n in (height, width))
    base = np.zeros(schema.size, np.float32)
    (thing,) = schema.things
    slot = schema.slot(thing.name).start
    base[slot : slot + 8] = 1, 0, 0, *thing.size, 0, 0, 1
    for reading in schema.readings:
        base[schema.slot(reading.name)] = 1, *([0.25] * len(reading.fields)), 1
    at_x, at_y = np.zeros((2, schema.size), np.float32)
    at_x[slot + 1] = at_y[slot + 2] = 1.0
    held = {
        "grey": np.uint8(128), "one": np.float32(1), "green": np.array([1], np.int64), "base": base, "at_x": at_x,
        "at_y": at_y, "x": columns[None, :, None], "y": rows[:, None, None],
    }  # fmt: skip
    nodes = [
        helper.make_node("Gather", ["frame", "green"], ["g"], axis=2),
        helper.make_node("Less", ["g", "grey"], ["below"]),
        helper.make_node("Cast", ["below"], ["dark"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["dark"], ["sum"], keepdims=0),
        helper.make_node("Max", ["sum", "one"], ["weight"]),
    ]
    for axis in "xy":
        nodes += [
            helper.make_node("Mul", ["dark", axis], [f"{axis}s"]),
            helper.make_node("ReduceSum", [f"{axis}s"], [f"{axis}_sum"], keepdims=0),
            helper.make_node("Div", [f"{axis}_sum", "weight"], [f"{axis}_mean"]),
            helper.make_node("Mul", [f"{axis}_mean", f"at_{axis}"], [f"{axis}_part"]),
        ]
    nodes += [helper.make_node("Add", ["base", "x_part"], ["half"]), helper.make_node("Add", ["half", "y_part"], ["s"])]
    ends = [
        helper.make_tensor_value_info("frame", TensorProto.UINT8, [height, width, 3]),
        helper.make_tensor_value_info("s", TensorProto.FLOAT, [schema.size]),
    ]
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in held.items()]
    graph = helper.make_graph(nodes, "rod", ends[:1], ends[1:], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(model, {"triune.format": "1", "triune.schema": json.dumps(schema.to_config())})
    return bytes(model.SerializeToString())


def swing(folder: Path, policy: str = POLICY, safety: str = SAFETY) -> Path:
    """Write the task's folder; it."""
    import tomllib

    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (("system.toml", SYSTEM), ("policy.py", policy), ("safety.py", safety)):
        (folder / name).write_text(text)
    schema = SceneSchema.from_config(tomllib.loads(SYSTEM)["scene"])
    (folder / "perception.onnx").write_bytes(detector(schema))
    return folder
