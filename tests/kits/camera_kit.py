"""A camera's task without training: its detector finds a red square (`box`) and a green one (`hand`) by colour, its
pictures are drawn, and its clock goes where a test says."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from cli_kit import inside
from onnx import TensorProto, helper, numpy_helper

from perception.scene import SLOT, SceneSchema
from triune.live.feed import Arrival

WIDTH, HEIGHT, FPS = 64, 48, 30
WORDS = (
    "--camera", "--size", f"{WIDTH}x{HEIGHT}", "--fps", str(FPS), "--thing", "box:1:8x8", "--thing",
    "hand", "--action", "NOOP", "--action", "PUSH", "--action", "STOP",
)  # fmt: skip


def make_task(folder: Path, *more: str) -> Path:
    """`triune new`, with a detector beside it."""
    done = inside("new", str(folder), *WORDS, *more)
    assert done.returncode == 0, done.stderr
    from triune.system import load

    (folder / "perception.onnx").write_bytes(colour_detector(load(folder).schema))
    return folder


def make_bundle(folder: Path) -> Path:
    """The same as one file."""
    task = make_task(folder / "belt")
    done = inside("export", str(task), str(folder / "belt.onnx"))
    assert done.returncode == 0, done.stderr
    return folder / "belt.onnx"


COLOURS = {"box": (0, 1), "hand": (1, 0)}  # the channel that is high, and one that is low


def colour_detector(schema: SceneSchema, size: tuple[int, int] = (HEIGHT, WIDTH)) -> bytes:
    """A graph that takes the centre of all red pixels for the first `box`, of all green ones for `hand`; of other
    things, and of further boxes, it sees none."""
    rows, cols = np.mgrid[0 : size[0], 0 : size[1]] + 0.5
    places = np.stack([np.ones(rows.size), cols.ravel(), rows.ravel()], 1).astype(np.float32)
    held = {
        "places": places, "high": np.float32(200), "low": np.float32(100), "one": np.float32(1), "few": np.float32(8),
        "flat": np.array([-1, 3]), "row": np.array([1, -1]), "three": np.array([3]), "thirds": np.array([1, 1, 1]),
        "still": np.zeros(2, np.float32),
    }  # fmt: skip
    nodes = [helper.make_node("Cast", ["frame"], ["levels"], to=TensorProto.FLOAT)]
    nodes.append(helper.make_node("Reshape", ["levels", "flat"], ["pixels"]))
    nodes.append(helper.make_node("Split", ["pixels", "thirds"], ["c0", "c1", "c2"], axis=1))
    outputs = []
    for thing in schema.things:
        name, unseen = thing.name, SLOT * (thing.count - (thing.name in COLOURS))
        if name in COLOURS:
            outputs.append(_found(nodes, name, *COLOURS[name]))
        if unseen:
            held[f"{name}.unseen"] = np.zeros(unseen, np.float32)
            outputs.append(f"{name}.unseen")
    nodes.append(helper.make_node("Concat", outputs, ["scene"], axis=0))
    tensors = [numpy_helper.from_array(np.asarray(v), k) for k, v in held.items()]
    graph = helper.make_graph(
        nodes, "colours",
        [helper.make_tensor_value_info("frame", TensorProto.UINT8, [*size, 3])],
        [helper.make_tensor_value_info("scene", TensorProto.FLOAT, [schema.size])], tensors,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    about = {"triune.format": "1", "triune.schema": json.dumps(schema.to_config()), "triune.provenance": "{}"}
    helper.set_model_props(model, about)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _found(nodes: list[onnx.NodeProto], name: str, own: int, other: int) -> str:
    """The slot of a thing of one colour, float32[8]."""
    at = {key: f"{name}.{key}" for key in "abcdefghijklmnopq"}

    def node(kind: str, inputs: Iterable[str], *out: str, **more: Any) -> None:
        nodes.append(helper.make_node(kind, [at.get(i, i) for i in inputs], [at[o] for o in out], **more))

    node("Greater", [f"c{own}", "high"], "a")
    node("Less", [f"c{other}", "low"], "b")
    node("And", "ab", "c")
    node("Cast", "c", "d", to=TensorProto.FLOAT)
    node("Reshape", ["d", "row"], "e")
    node("MatMul", ["e", "places"], "f")  # [1, 3]: how many, sums of columns and rows
    node("Reshape", ["f", "three"], "g")
    node("Split", ["g", "thirds"], "h", "i", "j", axis=0)
    node("Max", ["h", "one"], "k")
    node("Div", "ik", "l")
    node("Div", "jk", "m")
    node("Sqrt", "h", "n")
    node("Greater", ["h", "few"], "o")
    node("Cast", "o", "p", to=TensorProto.FLOAT)
    node("Concat", ["p", "l", "m", "n", "n", "still", "p"], "q", axis=0)
    return at["q"]


@cache
def _ground() -> np.ndarray:
    rng = np.random.default_rng(5)
    return np.clip(np.linspace(70, 150, WIDTH)[None, :, None] + rng.normal(0, 12, (HEIGHT, WIDTH, 1)), 0, 180)


@cache
def _noise() -> np.ndarray:
    return np.random.default_rng(6).normal(0, 3, (HEIGHT, WIDTH, 3))


@lru_cache(600)
def picture(index: int, box: tuple[float, float] | None = None, hand: tuple[float, float] | None = None) -> np.ndarray:
    """uint8[HEIGHT, WIDTH, 3]: noise that is never twice the same, a red square around `box`, a green around `hand`."""
    noise = np.roll(_noise(), 37 * index)
    frame = np.clip(_ground() + noise, 0, 180).astype(np.uint8)
    for place, colour in ((box, (250, 20, 20)), (hand, (20, 250, 20))):
        if place:
            x, y = int(place[0]), int(place[1])
            frame[max(0, y - 4) : y + 4, max(0, x - 4) : x + 4] = colour
    return frame


class FakeFeed:
    """A live source whose clock goes from arrival to arrival. `script`: (second, picture or None, reason) in order;
    `take` lets time pass until the next one, or as long as it is waited for."""

    live = True

    def __init__(
        self, script: Iterable[tuple[float, np.ndarray | None] | tuple[float, np.ndarray | None, str]]
    ) -> None:
        self._script: Iterator[Any] = iter(script)
        self._next = next(self._script, None)
        self.time, self._number, self.waits, self.over = 0.0, -1, list[float](), False

    def now(self) -> float:
        return self.time

    def take(self, within: float) -> Arrival | None:
        self.waits.append(within)
        if self._next is None or self._next[0] > self.time + within:
            self.time += within
            return None
        at, frame, *reason = self._next
        self._next = next(self._script, None)
        self.time = max(self.time, at)
        self._number += frame is not None
        return Arrival(self.time, frame, self._number if frame is not None else -1, 0, reason[0] if reason else "")

    def close(self) -> None:
        self.over = True


class Heard:
    """A sink that remembers, with the second at which it was told."""

    def __init__(self, feed: FakeFeed | None = None) -> None:
        self.lost, self.trouble, self.gone = 0, "", False
        self.lines: list[dict[str, Any]] = []
        self._feed = feed

    def send(self, line: str) -> None:
        self.lines.append(json.loads(line) | ({"at": self._feed.time} if self._feed else {}))

    def close(self) -> None:
        pass
