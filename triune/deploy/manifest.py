"""What a bundle says of itself, whatever its form: the texts that it was made from, and its manifest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from envs.actions import Box
from envs.env import Rules, simulated
from envs.spec import SystemSpec
from logic.language.ir import IR_FORMAT, Graph
from logic.runtime.controller import Controller
from logic.runtime.logic import Logic
from perception.detector import OnnxDetector
from perception.scene import SceneSchema
from triune import runtime as bundle
from triune.live.conditions import Limits
from triune.play.evaluation import versions
from triune.system import sha256

LANGUAGE = 1  # of policy and safety texts
UNITS = {
    "seen": "0 or 1", "x": "px", "y": "px", "w": "px", "h": "px", "vx": "px/step", "vy": "px/step",
    "sure": "probability",
}  # fmt: skip


def parts_of(logic: Logic) -> dict[str, tuple[Graph, ...]]:
    """The graphs that share one memory, by its name: tracker, policy, safety (where there is one), lost."""
    names = [f"safety{i or ''}" for i in range(len(logic.modules) - 1)] + ["lost"]
    found = {"tracker": tuple(logic.tracker.graphs.values())}
    assert logic.policy.graph is not None
    found["policy"] = (logic.policy.graph,)
    return found | {name: tuple(m.graphs.values()) for name, m in zip(names, logic.modules, strict=True)}


def parts(spec: SystemSpec, logic: Logic) -> bundle.Parts:
    """Every text that a bundle was made from."""
    parts = {"system.toml": spec.text}
    for module in (logic.policy.module, *logic.modules, logic.tracker):
        parts |= {name: text for name, text in module.sources.items()}
    return parts


def about(
    spec: SystemSpec, schema: SceneSchema, logic: Logic, protocol: Rules, memory: Mapping[str, Any], weights: bytes
) -> dict[str, Any]:
    """The manifest's own keys; docs/bundle.md explains each. `memory`: what differs with the kind of bundle."""

    assert logic.policy.graph is not None
    seen = OnnxDetector.parse(weights)
    space = logic.actions
    fallback = spec.env.fallback.tolist() if isinstance(spec.env.fallback, np.ndarray) else space.tell(logic.fallback)
    deadline = Controller(logic, **{k: v for k, v in spec.safety.items() if k == "deadline_ms"}).deadline_ns / 1e6
    return {
        "task": spec.name, "title": spec.title,
        "actions": list(space.names), **({"controls": space.to_config()} if isinstance(space, Box) else {}),
        "fallback": fallback,
        "reasons": list(logic.policy.graph.reasons), "rules": list(logic.rules), "protocol": asdict(protocol),
        "control_hz": protocol.control_hz, **_watched(spec, protocol),
        "frame": [spec.env.height, spec.env.width, 3], "deadline_ms": deadline,
        "scene": {
            "names": list(schema.names), "units": [_unit(schema, name) for name in schema.names],
            "schema": schema.to_config(), "fingerprint": schema.fingerprint,
        },
        "memory": dict(memory),
        "versions": {**versions(spec.env), "language": LANGUAGE, "ir": IR_FORMAT, "bundle": bundle.FORMAT},
        "eyes": {"sha256": sha256(weights), "provenance": seen.provenance},
    }  # fmt: skip


def _watched(spec: SystemSpec, protocol: Rules) -> dict[str, Any]:
    """Of a camera's task: when its pictures themselves mean the fallback; seconds, and levels of 255."""
    limits = Limits.of(spec, protocol.control_hz)
    named = {name: getattr(limits, name) for name in ("stall", "frozen", "black", "flat")}
    return {} if simulated(spec.env) else {"pictures": named}


def _unit(schema: SceneSchema, name: str) -> str:
    if "," in name:  # a cell of a grid
        return UNITS["seen"]
    declared = {g.name: f"{g.low:g}..{g.high:g}" for g in schema.gauges}
    for reading in schema.readings:
        declared |= {f"{reading.name}.{f.name}": f.unit or f"{f.low:g}..{f.high:g}" for f in reading.fields}
    return declared.get(name) or UNITS[name.rpartition(".")[2]]
