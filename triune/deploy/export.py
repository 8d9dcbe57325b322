"""A task's folder (or a bundle of format 1) -> one bundle file.

Knows: which parts go in, what the manifest says, that nothing is written before the fused graph agreed with the
controller. Does not know: how the graph is made (`triune.fuse`), the file format (`triune.bundle`).
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data_flywheel.storage.container import atomic_write
from envs.protocol import Protocol
from envs.spec import SystemSpec, parse_spec
from logic.errors import LogicError
from logic.language.ir import IR_FORMAT
from logic.runtime.compiled import Logic
from perception.drift import Ranges
from perception.scene import SceneSchema
from triune import bundle_v1
from triune.deploy import bundle
from triune.errors import TriuneError
from triune.play.drift import ranges_of
from triune.play.runs import versions
from triune.policies import Texts, build_logic, sha256
from triune.system import System

if TYPE_CHECKING:
    from triune.deploy.fuse import Fused

LANGUAGE = 1  # of policy and safety texts
UNITS = {
    "seen": "0 or 1", "x": "px", "y": "px", "w": "px", "h": "px", "vx": "px/step", "vy": "px/step",
    "sure": "probability",
}  # fmt: skip


def export(system: System, path: str | Path, protocol: str | None = None) -> dict[str, Any]:
    """Write the bundle of a system for a protocol; its manifest. Nothing is written when a part is bad or the fused
    graph does not decide as the controller does."""
    _need_onnx()
    rules = system.protocol(protocol)
    system.eyes()  # says what is wrong with them
    logic, eyes = system.logic(rules.name), system.eyes_path.read_bytes()
    return _write(Path(path), system.spec, system.schema, logic, rules, eyes, ranges_of(system))


def migrate(old: str | Path, new: str | Path) -> dict[str, Any]:
    """A bundle of format 1 as one of the present format, from its own parts; the manifest. Its texts are compiled and
    never run, so a stranger's file is as safe here as a shipped one."""
    from perception.detector import Eyes

    _need_onnx()
    try:
        data = Path(old).read_bytes()
    except OSError as error:
        raise TriuneError(f"no bundle at {old} ({error.strerror})") from None
    parts = bundle_v1.read_old(data, str(old))
    eyes = Eyes.parse(parts.eyes, None, str(old))
    spec = parse_spec(parts.parts["system.toml"], Path(old) / "system.toml")
    schema = SceneSchema.from_config(spec.scene)
    if schema.fingerprint != eyes.schema.fingerprint:
        raise TriuneError(f"{old}: its eyes and its system.toml have different scene schemas; export it again")

    def library(name: str) -> str:
        if f"lib/{name}" not in parts.parts:
            raise LogicError(f"the bundle lacks library module {name!r}; export it again from its task")
        return parts.parts[f"lib/{name}"]

    protocol = Protocol(**parts.protocol)
    texts = Texts(parts.parts["policy.py"], parts.parts.get("safety.py", ""))
    logic = build_logic(spec, schema, texts, protocol, library)
    return _write(Path(new), spec, schema, logic, protocol, parts.eyes)


def _need_onnx() -> None:
    try:
        import onnx  # noqa: F401
    except ImportError:
        raise TriuneError('export needs the onnx package: pip install "triune[export]"') from None


def _write(
    path: Path, spec: SystemSpec, schema: SceneSchema, logic: Logic, protocol: Protocol, eyes: bytes,
    ranges: Ranges | None = None,
) -> dict[str, Any]:  # fmt: skip
    from triune.deploy.export_check import check
    from triune.deploy.fuse import fuse
    from triune.runtime import Bundle

    fused = fuse(logic, eyes, (spec.env.height, spec.env.width, 3))
    model = fused.model.SerializeToString(deterministic=True)
    about = _about(spec, schema, logic, protocol, fused, eyes)
    if ranges is not None:
        about["drift"] = ranges
    about["checked"] = check(model, fused.layout, logic, eyes, spec, protocol)
    data = bundle.pack(model, _parts(spec, logic), about)
    bundle.read(data, str(path))
    atomic_write(path, data)
    return Bundle.load(path).manifest


def _parts(spec: SystemSpec, logic: Logic) -> bundle.Parts:
    """Every text that the graph was made from."""
    parts = {"system.toml": spec.text}
    for module in (logic.policy.module, *logic.modules, logic.tracker):
        parts |= {name: text for name, text in module.sources.items()}
    return parts


def _about(
    spec: SystemSpec, schema: SceneSchema, logic: Logic, protocol: Protocol, fused: Fused, eyes: bytes
) -> dict[str, Any]:
    """The manifest's own keys; docs/bundle.md explains each."""
    from logic.runtime.controller import Controller
    from perception.detector import Eyes

    assert logic.policy.graph is not None
    fields = {
        name: {"at": [*fused.layout.slots[name]], "type": f.type.kind, "shape": list(f.type.shape or ())}
        for name, f in fused.layout.fields.items()
    }
    seen = Eyes.parse(eyes)
    deadline = Controller(logic, **{k: v for k, v in spec.safety.items() if k == "deadline_ms"}).deadline_ns / 1e6
    return {
        "task": spec.name, "title": spec.title, "actions": list(logic.actions), "fallback": spec.env.fallback,
        "reasons": list(logic.policy.graph.reasons), "rules": list(logic.rules), "protocol": asdict(protocol),
        "frame": [spec.env.height, spec.env.width, 3], "deadline_ms": deadline,
        "scene": {
            "names": list(schema.names), "units": [_unit(schema, name) for name in schema.names],
            "schema": schema.to_config(), "fingerprint": schema.fingerprint,
        },
        "memory": {"size": fused.size, "start": _sparse(fused.start), "fields": fields},
        "versions": {**versions(), "language": LANGUAGE, "ir": IR_FORMAT, "bundle": bundle.FORMAT},
        "eyes": {"sha256": sha256(eyes), "provenance": seen.provenance},
    }  # fmt: skip


def _unit(schema: SceneSchema, name: str) -> str:
    if "," in name:  # a cell of a grid
        return UNITS["seen"]
    gauges = {g.name: f"{g.low:g}..{g.high:g}" for g in schema.gauges}
    return gauges.get(name) or UNITS[name.rpartition(".")[2]]


def _sparse(values: np.ndarray) -> list[list[Any]]:
    """[index, value] of what is not zero; NaN and infinities as the words that JavaScript and Python know."""
    words = {np.inf: "Infinity", -np.inf: "-Infinity"}
    kept = [(int(i), float(values[i])) for i in np.flatnonzero((values != 0) | np.signbit(values))]
    return [[i, "NaN" if v != v else words.get(v, v)] for i, v in kept]
