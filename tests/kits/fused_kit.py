"""Fused graphs beside play: what test_fused.py compares."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnxruntime
from cli_kit import ROOT

import triune as front
from logic.runtime.controller import Decision
from logic.runtime.logic import Logic
from perception.scene import SceneSchema
from triune.deploy.export import Fused, Reference, differences, fuse
from triune.system import Texts, build_logic

SCALAR = (ROOT / "benchmarks/breakout_scalar.py").read_text()
FRAME = (210, 160, 3)


def logic_of(task: str, protocol: str = "sticky", policy: str | None = None, safety: str | None = None) -> Logic:
    """A zoo task's logic, or with other texts."""
    system = front.load(task)
    texts = system.texts
    texts = Texts(texts.policy if policy is None else policy, texts.safety if safety is None else safety)
    return build_logic(system.spec, system.schema, texts, system.protocol(protocol))


class Runner:
    """A fused model, step by step."""

    def __init__(self, fused: Fused) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        model = fused.model.SerializeToString()
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.inputs = [i.name for i in self.session.get_inputs()]
        self.outputs = [o.name for o in self.session.get_outputs()]
        self.layout, self.memory = fused.layout, fused.start

    def step(self, given: np.ndarray) -> dict[str, np.ndarray]:
        """Outputs by name; the memory moves on."""
        made = self.session.run(self.outputs, dict(zip(self.inputs, (given, self.memory), strict=True)))
        found = dict(zip(self.outputs, made, strict=True))
        self.memory = found["next_memory"]
        return found

    def remembered(self) -> dict[str, Any]:
        """Fields of the logic's memory."""
        return self.layout.unpack(self.memory[: self.layout.size])


class Pair:
    """A graph without eyes and the parts of play, fed the same raw scenes."""

    def __init__(self, logic: Logic) -> None:
        self.logic, self.fused, self.play = logic, Runner(fuse(logic, None, FRAME)), Reference(logic, None)

    def step(self, sight: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray, Decision]:
        """The graph's outputs, the tracked scene of play, its decision."""
        return self.fused.step(sight), *self.play.step(sight)

    def compare(self, sight: np.ndarray) -> str:
        """In words, what differs after one step: answers, or a scalar of memory by a single bit."""
        found, vector, decision = self.step(sight)
        wrong = [differences(found, vector, decision, self.logic)]
        wanted = self.play.memory()
        for name, value in self.fused.remembered().items():
            if not np.ndim(value) and (type(value), value) != (type(wanted[name]), wanted[name]):
                wrong.append(f"{name} {value!r} instead of {wanted[name]!r}")
        return "; ".join(filter(None, wrong))


def scenes(schema: SceneSchema, n: int, seed: int = 0) -> Iterator[np.ndarray]:
    """Raw scenes in which things wander, hide and jump, cells come and go."""
    rng = np.random.default_rng(seed)
    vector = schema.empty()
    places = {(t.name, i): rng.uniform(20, 140, 2) for t in schema.things for i in range(t.count)}
    speeds = {key: rng.integers(-4, 5, 2).astype(float) for key in places}
    for grid in schema.grids:
        vector[schema.grid(grid.name)] = rng.random(grid.rows * grid.cols) < 0.7
    for _ in range(n):
        for key, place in places.items():
            place += speeds[key]
            if rng.random() < 0.05 or place.min() < 5 or place.max() > 200:
                place[:], speeds[key][:] = rng.uniform(20, 140, 2), rng.integers(-4, 5, 2)
            seen, sure = rng.random() < 0.85, rng.random()
            noise = rng.normal(0, 0.1, 2) * (rng.random() < 0.5)
            size = next(t.size for t in schema.things if t.name == key[0])
            found = [1.0, *(place + noise), *size, 0, 0, max(sure, 0.5)]
            vector[schema.slot(*key)] = found if seen else [0, 0, 0, 0, 0, 0, 0, sure / 2]
        for grid in schema.grids:
            cells = schema.grid(grid.name)
            vector[cells.start + rng.integers(grid.rows * grid.cols)] = rng.integers(2)
        yield vector.copy()
