"""What a graph may hold and take is known from its bytes; nothing here is ever loaded, but for what is sound."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from envs.spec import ZOO
from perception import graph
from perception.detector import OnnxDetector
from perception.errors import PerceptionError
from perception.graph import Foreign, check_graph
from perception.protobuf import field, fields, varint
from perception.scene import SceneSchema

FLOAT = TensorProto.FLOAT


def node(kind: str, inputs: str, outputs: str = "y", **attributes: Any) -> NodeProto:
    return helper.make_node(kind, inputs.split(" "), outputs.split(" "), **attributes)


def port(name: str, shape: Any = (1,), kind: int = FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def model(*nodes: NodeProto, shape: Any = (1,), opset: int = 18, **held: Any) -> ModelProto:
    """From x, float32[shape], to y."""
    constants = [numpy_helper.from_array(np.asarray(value), name) for name, value in held.items()]
    made = helper.make_graph(nodes, "g", [port("x", shape)], [port("y", None)], constants)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def body(*nodes: NodeProto) -> GraphProto:
    """Of a loop that carries one value: `v` to `w`."""
    ports = [port("turn", (), TensorProto.INT64), port("go", (), TensorProto.BOOL), port("v")]
    inner = [node("Identity", "go", "on"), *nodes]
    return helper.make_graph(inner, "b", ports, [port("on", (), TensorProto.BOOL), port("w")])


STEP = body(node("Neg", "v", "w"))
TURNS = np.array(5, np.int64)


def branch(shape: int) -> GraphProto:
    return helper.make_graph(
        [node("Expand", "v s", "b")], "b", [], [port("b", (shape,))], [numpy_helper.from_array(np.array([shape]), "s")]
    )


def changed(what: Callable[[ModelProto], Any]) -> ModelProto:
    made = model(node("Add", "x c"), c=np.ones(3, np.float32))
    what(made)
    return made


def sparse(m: ModelProto) -> None:
    m.graph.sparse_initializer.add().values.CopyFrom(m.graph.initializer[0])


def odd_axis() -> ModelProto:
    """An attribute of another type than its operator reads, which would be left out there."""
    made = model(node("ArgMax", "x", axis=1), shape=(4, 5))
    made.graph.node[0].attribute[0].type = AttributeProto.FLOAT
    return made


BIG = np.array([20_000, 20_000])
# name -> (the model, whether it may branch and loop, what is said)
REFUSED: dict[str, tuple[ModelProto, bool, str]] = {
    "operators of another domain": (
        model(helper.make_node("Gelu", ["x"], ["y"], domain="com.microsoft")),
        True,
        "'com.m",
    ),
    "an operator that makes tensors": (model(node("Range", "x x x")), True, "operator Range"),
    "an operator nobody knows": (model(node("Frobnicate", "x")), True, "operator Frobnicate"),
    "strings": (model(node("Cast", "x", to=TensorProto.STRING)), True, "else than numbers"),
    "a loop in weights": (model(node("Loop", "n  x", body=STEP), n=TURNS), False, "operator Loop"),
    "an endless loop": (model(node("Loop", " t x", body=STEP), t=np.array(True)), True, "number of turns"),
    "a very long loop": (model(node("Loop", "n  x", body=STEP), n=np.array(2**62)), True, "too long"),
    "turns from the frame": (model(node("Cast", "x", "n", to=7), node("Loop", "n  x", body=STEP)), True, "not known"),
    "a loop of loops": (
        model(
            node(
                "Loop",
                "n  x",
                body=body(
                    node(
                        "Loop",
                        "m  v",
                        "w",
                        body=helper.make_graph(
                            [node("Identity", "g", "o"), node("Neg", "u", "z")],
                            "c",
                            [port("i", (), 7), port("g", (), 9), port("u")],
                            [port("o", (), 9), port("z")],
                        ),
                    )
                ),
            ),
            n=np.array(50_000),
            m=np.array(50_000),
        ),
        True,
        "too long",
    ),
    "a loop that grows": (
        model(node("Loop", "n  x", body=body(node("Concat", "v v", "w", axis=0))), n=TURNS),
        True,
        "carries",
    ),
    "branches that differ": (
        model(
            node("Identity", "x", "v"), node("If", "c", then_branch=branch(2), else_branch=branch(3)), c=np.array(True)
        ),
        True,
        "another shape on each side",
    ),
    "a square of 20,000": (model(node("Expand", "x s", "a"), node("MatMul", "a a"), s=BIG), False, "tensor"),
    "a product below every size": (
        model(node("Expand", "x s", "a"), node("MatMul", "a a"), s=np.array([8_000, 8_000])),
        False,
        "too long",
    ),
    "many tensors": (
        model(*(node("Expand", "x s", f"a{i}") for i in range(6)), s=np.array([7_000, 8_000])),
        False,
        "tensors have",
    ),
    "a kernel over far borders": (
        model(
            node("Conv", "x k", pads=[0, 0, 9_000, 9_000], kernel_shape=[1, 1]),
            shape=(1, 1, 1, 1),
            k=np.ones((9, 1, 1, 1), np.float32),
        ),
        False,
        "tensor",
    ),
    "a shape from the frame": (
        model(node("Cast", "x", "n", to=7), node("Expand", "x n")),
        False,
        "before the first run",
    ),
    "a frame of any size": (model(node("Neg", "x"), shape=("H", 3)), False, "not fixed"),
    "too many nodes": (model(*(node("Neg", f"a{i}" if i else "x", f"a{i + 1}") for i in range(101))), False, "nodes"),
    "a constant that lacks its values": (
        changed(lambda m: m.graph.initializer[0].dims.append(2**40)),
        False,
        "declares",
    ),
    "a constant of texts": (changed(lambda m: setattr(m.graph.initializer[0], "data_type", 8)), False, "declares"),
    "a tensor in another file": (
        changed(lambda m: setattr(m.graph.initializer[0], "data_location", 1)),
        True,
        "another file",
    ),
    "sparse constants": (changed(sparse), True, "sparse"),
    "functions": (changed(lambda m: m.functions.add(name="f")), True, "functions"),
    "a name made twice": (model(node("Neg", "x", "z"), node("Abs", "x", "z"), node("Neg", "z")), False, "two tensors"),
    "an attribute that is not read": (model(node("MaxPool", "x", kernel_shape=[1], ceil_mode=1)), False, "ceil_mode"),
    "an attribute of another type": (odd_axis(), False, "ArgMax with axis"),
    "an old standard": (model(node("Neg", "x"), opset=9), False, "version"),
    "what is made later": (model(node("Neg", "z"), node("Neg", "x", "z")), False, "before it is made"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_graph_is_refused_before_anything_loads_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong, control, words = REFUSED[name]
    monkeypatch.setattr(graph, "MOST_SEEING", 100)
    monkeypatch.setattr(onnxruntime, "InferenceSession", None)
    with pytest.raises(Foreign, match=words):
        check_graph(wrong.SerializeToString(), control)
    with pytest.raises(PerceptionError, match="is refused"):
        OnnxDetector.parse(changed(sparse).SerializeToString())


def test_a_tag_that_others_cut_is_no_tag() -> None:
    """33 bits: protobuf reads the low 32 of them, and would see a node that this reader passed over."""
    hidden = varint(1 << 35 | 1 << 3 | 2) + varint(3) + b"abc"
    with pytest.raises(ValueError, match="reaches beyond"):
        list(fields(hidden))
    with pytest.raises(Foreign, match="damaged"):
        check_graph(model(node("Neg", "x")).SerializeToString() + field(7, hidden))


def test_a_graph_in_two_parts_is_one() -> None:
    """As protobuf has it: nodes of a second part count."""
    more = GraphProto(node=[node("Range", "x x x", "z")]).SerializeToString()
    with pytest.raises(Foreign, match="Range"):
        check_graph(model(node("Neg", "x")).SerializeToString() + field(7, more))


@pytest.mark.parametrize("task", sorted(p.parent.name for p in ZOO.glob("*/perception.onnx")))
def test_the_shapes_are_those_that_onnxruntime_makes(task: str) -> None:
    """Every tensor of the shipped detectors, made an output."""
    sound = onnx.load(ZOO / task / "perception.onnx")
    names = [name for n in sound.graph.node for name in n.output]
    sound.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names if name != "scene")
    data = sound.SerializeToString()
    cost = check_graph(data, control=False)
    running = graph.session(data)
    found = running.run(None, {"frame": np.zeros(running.get_inputs()[0].shape, np.uint8)})
    shapes = {out.name: value.shape for out, value in zip(running.get_outputs(), found, strict=True)}
    assert cost.outputs == shapes and cost.nodes == len(sound.graph.node)
    assert cost.elements >= sum(map(math.prod, shapes.values())) and cost.work < graph.MOST_WORK // 100


def test_loops_and_branches_of_a_policy_are_sound() -> None:
    looped = model(node("Loop", "n  x", body=STEP), n=TURNS)
    once, often = (check_graph(m.SerializeToString()) for m in (model(node("Neg", "x")), looped))
    assert often.outputs == {"y": (1,)} and 5 * once.work < often.work < 25 * once.work
    sides = model(
        node("Identity", "x", "v"), node("If", "c", then_branch=branch(3), else_branch=branch(3)), c=np.array(True)
    )
    assert check_graph(sides.SerializeToString()).outputs == {"y": (3,)}


SCHEMA = SceneSchema.from_config({"crop": [0, 0, 2, 2], "things": {"ball": {}}})


def seeing(make: NodeProto, kind: int = FLOAT, **held: Any) -> bytes:
    """Weights whose scene is made by one node of the frame as numbers, x."""
    constants = [numpy_helper.from_array(np.asarray(value), name) for name, value in held.items()]
    frame = node("Cast", "frame", "f", to=FLOAT), node("ReduceSum", "f", "x", keepdims=0)
    made = helper.make_graph(
        [*frame, make], "g", [port("frame", (2, 2, 3), TensorProto.UINT8)], [port("y", (8,), kind)], constants
    )
    whole = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(whole, {"triune.format": "1", "triune.schema": json.dumps(SCHEMA.to_config())})
    data: bytes = whole.SerializeToString()
    return data


EIGHT = np.ones(8, np.float32)
BLIND = {
    "nan": seeing(node("Div", "x z"), z=0 * EIGHT),
    "infinite": seeing(node("Exp", "z"), z=1000 * EIGHT),
    "too few values": seeing(node("Add", "x z"), z=EIGHT[:3]),
    "too many values": seeing(node("Add", "x z"), z=np.ones(9, np.float32)),
    "another type": seeing(node("Cast", "z", to=TensorProto.DOUBLE), TensorProto.DOUBLE, z=EIGHT),
}


@pytest.mark.parametrize("name", BLIND)
def test_weights_that_give_no_scene_are_refused(name: str) -> None:
    with pytest.raises(PerceptionError, match="the weights (sees|does not map)"):
        OnnxDetector.parse(BLIND[name], SCHEMA)
    assert OnnxDetector.parse(seeing(node("Add", "x z"), z=EIGHT), SCHEMA).look(np.zeros((2, 2, 3), np.uint8))[0] == 1
