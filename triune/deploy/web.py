"""A folder for any web server: the page of web/, a bundle, and a recorded game to play it on.

Knows: what the page needs and where it comes from. Does not know: how a bundle is made (`triune.export`), how the files
are laid out (`triune.web_data`), drawing (web/). What the page compares with was decided by native play, not a bundle.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data_flywheel.storage.container import atomic_write
from data_flywheel.storage.frames import Frames
from logic.language import compile_program
from logic.language.layout import MemoryLayout
from triune.deploy.export import export
from triune.deploy.web_data import encode
from triune.errors import TriuneError
from triune.play.runs import versions
from triune.policies import constants_of

if TYPE_CHECKING:
    from data_flywheel.episodes.episode import Episode
    from logic.language import CompiledProgram
    from perception.scene import SceneSchema
    from triune.play.loop import Step
    from triune.system import System

PAGE = Path(__file__).resolve().parents[2] / "web"
PAGE_KINDS = (".html", ".css", ".js")
RUNTIME = PAGE / "node_modules" / "onnxruntime-web"
RUNTIME_FILES = ("dist/ort.wasm.bundle.min.mjs", "dist/ort-wasm-simd-threaded.wasm", "README.md", "package.json")
EPISODE, CASES = "episode", "logic check"
CHECKED = 500  # scenes of a logic check, fewer where memory is large
CHECKED_BYTES = 2**25
SITE_FORMAT = 1


def write_site(
    system: System, folder: Path, protocol: str | None = None, seed: int = 0, steps: int = 600,
    policies: Sequence[Path] = (),
) -> dict[str, Any]:  # fmt: skip
    """Write everything; facts about it. `policies`: more policy texts whose logic the page can check alone."""
    if not (PAGE / "index.html").is_file():
        raise TriuneError("the page's files (web/) are not installed; run this from a source checkout of Triune")
    folder.mkdir(parents=True, exist_ok=True)
    manifest = export(system, folder / "bundle.onnx", protocol)
    episode, frames, overruled = record(system, protocol, seed, steps)
    rules = system.logic(protocol).rules
    atomic_write(folder / "episode.bin.gz", episode_file(system, episode, frames, overruled, rules))
    programs = {"policy": system.logic(protocol).policy}
    for path in policies:
        text = path.read_text("utf-8")
        known = constants_of(system.spec, system.protocol(protocol))
        programs[_free_name(path.stem, programs)] = compile_program(text, system.schema, known, name=path.name)
    checks = [write_check(system, folder, name, program, episode.scenes) for name, program in programs.items()]
    _copy_page(folder)
    runtime = copy_runtime(folder)
    site = {
        "format": SITE_FORMAT, "task": system.name, "title": system.spec.title, "bundle": "bundle.onnx",
        "episode": "episode.bin.gz", "checks": checks, "versions": versions(), "onnxruntime_web": runtime,
    }  # fmt: skip
    atomic_write(folder / "site.json", json.dumps(site, indent=1).encode())
    return {
        "site": site,
        "manifest": manifest,
        "steps": len(episode),
        "seed": seed,
        "score": int(episode.meta["score"]),
    }


def record(
    system: System, protocol: str | None, seed: int, steps: int
) -> tuple[Episode, Frames, list[tuple[str, ...]]]:
    """Native play from pixels: what was decided, the frames that the eyes saw, the rules that stepped in."""
    from triune.play.loop import Rollout

    seen: list[np.ndarray] = []
    overruled: list[tuple[str, ...]] = []

    def keep(step: Step) -> None:
        seen.append(step.frame.copy())
        overruled.append(step.decision.overruled_by)

    with Rollout(system, protocol) as rollout:
        episode = rollout.record(seed, steps, keep)
    return episode, Frames.from_rgb(np.stack(seen)), overruled


def episode_file(
    system: System, episode: Episode, frames: Frames, overruled: Sequence[Sequence[str]], rules: Sequence[str]
) -> bytes:
    """The recorded game as the page reads it. Deadlines are not rules: the page has none."""
    meta = {k: v for k, v in episode.meta.items() if k in ("seed", "eyes", "weights", "policy", "safety", "triune")}
    reasons = sorted({episode.reason(i) for i in range(len(episode))})
    header = {
        "task": system.name, "title": system.spec.title, "protocol": asdict(system.protocol(episode.meta["protocol"])),
        "steps": len(episode), "actions": list(system.spec.env.actions), "reasons": reasons, "rules": list(rules),
        "recorded": meta,
    }  # fmt: skip
    arrays: dict[str, np.ndarray] = {
        "frames": frames.pixels,
        "action": episode.actions,
        "proposed": episode.proposed,
        "reason": np.array([reasons.index(episode.reason(i)) for i in range(len(episode))], np.int16),
        "interventions": np.array([[rule in names for rule in rules] for names in overruled], np.uint8),
        "fault": np.array([bool(episode.fault(i)) for i in range(len(episode))], np.uint8),
        "scene": episode.scenes,
        "score": episode.scores,
    }
    if frames.palette is not None:
        arrays["palette"] = frames.palette
    return encode(EPISODE, header, arrays, xor=("frames",))


def write_check(
    system: System, folder: Path, name: str, program: CompiledProgram, scenes: np.ndarray
) -> dict[str, Any]:
    """A policy's logic alone as a model, and scenes with what generated Python decides on them; the site's entry."""
    from logic.language.onnx_model import logic_model

    assert program.graph is not None
    fallback = system.spec.env.actions.index(system.spec.env.fallback)
    stem = "logic" if name == "policy" else f"logic-{name}"
    model = logic_model(program.graph, system.schema.size, fallback)
    atomic_write(folder / f"{stem}.onnx", model.SerializeToString())
    scalar = not any(field.type.is_array for field in program.graph.fields.values())
    atomic_write(folder / f"{stem}.bin.gz", check_file(name, program, system.schema, scenes, fallback))
    return {"name": name, "model": f"{stem}.onnx", "cases": f"{stem}.bin.gz", "scalar_memory": scalar}


def check_file(name: str, program: CompiledProgram, schema: SceneSchema, scenes: np.ndarray, fallback: int) -> bytes:
    """Scenes in the order of play, and generated Python's action, reason, fault, memory[t] -> memory[t + 1]."""
    assert program.graph is not None
    layout = MemoryLayout.of(program.graph.fields)
    count = min(len(scenes), CHECKED, max(1, CHECKED_BYTES // (8 * max(1, layout.size))))
    memory, rows, answers = program.start(), [layout.start()], []
    for vector in scenes[:count]:
        try:
            action, reason = program.act(schema.read(vector), memory)
            answers.append((action, program.graph.reasons.index(reason), 0))
        except Exception:  # a fault of the policy is one of the answers to compare
            answers.append((fallback, -1, 1))
        rows.append(layout.pack(memory.snapshot()))
    actions, reasons, faults = np.array(answers, np.int16).reshape(-1, 3).T
    arrays = {"scene": scenes[:count], "action": actions, "reason": reasons, "fault": faults, "memory": np.stack(rows)}
    fields = [[field, *place] for field, place in layout.slots.items()]
    header = {"name": name, "steps": count, "reasons": list(program.graph.reasons), "fields": fields}
    return encode(CASES, header, arrays, xor=("memory",))


def copy_runtime(folder: Path) -> str | None:
    """Copy what the page needs of onnxruntime-web into `folder`/ort; its version, None when it is not there."""
    if not all((RUNTIME / name).is_file() for name in RUNTIME_FILES):
        return None
    (folder / "ort").mkdir(exist_ok=True)
    for name in RUNTIME_FILES:
        shutil.copyfile(RUNTIME / name, folder / "ort" / Path(name).name)
    return str(json.loads((RUNTIME / "package.json").read_text("utf-8"))["version"])


def _copy_page(folder: Path) -> None:
    for path in PAGE.iterdir():
        if path.suffix in PAGE_KINDS:
            shutil.copyfile(path, folder / path.name)


def _free_name(name: str, taken: dict[str, Any]) -> str:
    """`name`, made different from those already there."""
    numbers = (f"{name}{'' if i == 1 else i}" for i in range(1, len(taken) + 2))
    return next(n for n in numbers if n not in taken)
