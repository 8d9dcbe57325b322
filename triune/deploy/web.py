"""A folder for any web server: the page of web/, a bundle, and a recorded game to play it on."""

from __future__ import annotations

import gzip
import json
import struct
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import numpy as np

from data_flywheel.storage.files import atomic_write
from data_flywheel.storage.frames import Frames
from envs.actions import Action
from envs.files import read_file, read_text
from envs.writing import atomic_copy
from logic.language import compile_program
from logic.language.layout import MemoryLayout
from triune import loopback
from triune.errors import TriuneError
from triune.loopback import Refused
from triune.play.evaluation import versions
from triune.system import constants_of

if TYPE_CHECKING:
    from data_flywheel.episodes.episode import Episode
    from logic.language import CompiledProgram
    from perception.scene import SceneSchema
    from triune.play.loop import Step
    from triune.system import System


# ----------------------------------------------------------------------------------------------------
# The files that the page in web/ reads: named arrays behind a JSON header, gzipped: a browser needs no library.
#
# `web/episode.js` is the other reader.
#
# "TRIUNEWB", uint32 version, uint32 length of the header, JSON header, blocks (little endian, then gzip)


MAGIC, VERSION = b"TRIUNEWB", 1
DTYPES = ("uint8", "int16", "int32", "float32", "float64")
ALIGN = 8  # so that a browser can view every block in place
_START = struct.Struct("<8sII")


def encode(kind: str, header: Mapping[str, Any], arrays: Mapping[str, np.ndarray], xor: Collection[str] = ()) -> bytes:
    """The file's bytes, the same for the same content. `xor`: names of arrays to store as differences of rows."""
    blocks, bodies, at = [], [], 0
    for name, array in arrays.items():
        if array.dtype.name not in DTYPES:
            raise TriuneError(f"{name} is {array.dtype}; the page reads {', '.join(DTYPES)}")
        little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        body = _delta(little).tobytes() if name in xor else little.tobytes()
        block = {"name": name, "dtype": array.dtype.name, "shape": list(array.shape), "at": at, "xor": name in xor}
        blocks.append(block)
        bodies.append(body + bytes(-len(body) % ALIGN))
        at += len(bodies[-1])
    text = json.dumps({**header, "kind": kind, "version": VERSION, "blocks": blocks}, allow_nan=False).encode()
    text += b" " * (-(_START.size + len(text)) % ALIGN)
    return gzip.compress(_START.pack(MAGIC, VERSION, len(text)) + text + b"".join(bodies), 6, mtime=0)


def decode(data: bytes, kind: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Header (with "blocks") and arrays; TriuneError when the file is damaged, of another kind or version."""
    try:
        plain = gzip.decompress(data)
        magic, version, length = _START.unpack_from(plain)
    except (OSError, EOFError, zlib.error, struct.error):
        raise TriuneError(
            f"this is no {kind} for the page, or it is damaged; write it again: triune web TASK"
        ) from None
    if magic != MAGIC or version != VERSION:
        raise TriuneError(f"this is no {kind} of format {VERSION}; write it again: triune web TASK")
    header: dict[str, Any] = json.loads(plain[_START.size : _START.size + length])
    if header["kind"] != kind:
        raise TriuneError(f"this file holds a {header['kind']}, not a {kind}")
    return header, {b["name"]: _block(plain, _START.size + length + b["at"], b) for b in header["blocks"]}


def _block(plain: bytes, at: int, block: Mapping[str, Any]) -> np.ndarray:
    dtype, shape = np.dtype(block["dtype"]).newbyteorder("<"), tuple(block["shape"])
    array = np.frombuffer(plain, dtype, int(np.prod(shape)), at).reshape(shape).copy()
    if block["xor"]:
        rows = _rows(array)
        np.bitwise_xor.accumulate(rows, axis=0, out=rows)
    return array


def _delta(array: np.ndarray) -> np.ndarray:
    """Every row's bytes XOR the row before; the first row as it is."""
    rows = _rows(array).copy()
    rows[1:] ^= _rows(array)[:-1]
    return rows


def _rows(array: np.ndarray) -> np.ndarray:
    """uint8[rows, bytes] over the same memory."""
    return array.reshape(len(array), -1).view(np.uint8)


# ----------------------------------------------------------------------------------------------------
# The folder on a loopback server: enough to look at the page on this machine. For the public, copy it to any host.


TYPES = {  # modules and WebAssembly need their exact types
    ".css": "text/css; charset=utf-8", ".gz": "application/gzip", ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8", ".json": "application/json", ".md": "text/plain; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8", ".onnx": "application/octet-stream", ".wasm": "application/wasm",
}  # fmt: skip


class Handler(loopback.Handler):
    """The folder's files, no link out of it and nothing hidden; an isolated page has finer clocks."""

    folder: Path
    headers_of_all = {**loopback.HEADERS, "Cross-Origin-Embedder-Policy": "require-corp"}

    def get(self, path: str) -> None:
        parts = [part for part in unquote(path).split("/") if part] or ["index.html"]
        kind = TYPES.get(Path(parts[-1]).suffix)
        if kind is None or any(part.startswith(".") or "\\" in part for part in parts):
            raise Refused(HTTPStatus.NOT_FOUND, "there is no such page")
        self.send(HTTPStatus.OK, read_file(self.folder.joinpath(*parts), "page file", _Gone, self.folder), kind)

    def no_method(self, path: str) -> None:
        if self.command == "HEAD":
            return self.get(path)
        super().no_method(path)


class _Gone(Refused):
    """Whatever is wrong with a file, where things lie is nobody's business."""

    def __init__(self, words: str) -> None:
        super().__init__(HTTPStatus.NOT_FOUND, "there is no such page")


def server(folder: Path, port: int = 0) -> loopback.Server:
    """A bound server for the folder; call `serve_forever`. TriuneError when the port cannot be used."""
    return loopback.Server(port, type("Handler", (Handler,), {"folder": folder}), "--serve PORT")


# ----------------------------------------------------------------------------------------------------
# A folder for any web server: the page of web/, a bundle, and a recorded game to play it on.
#
# What the page compares with was decided by native play, not a bundle.


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
        raise TriuneError("the page's files (web/) are not installed; run this in a source checkout of Triune")
    from triune.deploy.export import export  # needs an extra, which would be no use without the page

    folder.mkdir(parents=True, exist_ok=True)
    manifest = export(system, folder / "bundle.onnx", protocol)
    episode, frames, overruled = record(system, protocol, seed, steps)
    rules = system.logic(protocol).rules
    atomic_write(folder / "episode.bin.gz", episode_file(system, episode, frames, overruled, rules))
    programs = {"policy": system.logic(protocol).policy}
    for path in policies:
        text = read_text(path, "policy", TriuneError)
        known = constants_of(system.spec, system.protocol(protocol))
        programs[_free_name(path.stem, programs)] = compile_program(
            text, system.schema, known, name=path.name, actions=system.spec.env.actions
        )
    checks = [write_check(system, folder, name, program, episode.scenes) for name, program in programs.items()]
    _copy_page(folder)
    runtime = copy_runtime(folder)
    site = {
        "format": SITE_FORMAT, "task": system.name, "title": system.spec.title, "bundle": "bundle.onnx",
        "episode": "episode.bin.gz", "checks": checks, "versions": versions(system.spec.env),
        "onnxruntime_web": runtime,
    }  # fmt: skip
    atomic_write(folder / "site.json", json.dumps(site, indent=1).encode())
    return {
        "site": site,
        "manifest": manifest,
        "steps": len(episode),
        "seed": seed,
        "score": episode.meta["score"],
    }


def record(
    system: System, protocol: str | None, seed: int, steps: int
) -> tuple[Episode, Frames, list[tuple[str, ...]]]:
    """Native play from pixels: what was decided, the frames that the detector saw, the rules that stepped in."""
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
    """The recorded game as the page reads it. Deadlines are not rules: the page has none.

    `action` and `proposed` are uint8[T] of named actions, float32[T, n] of controls.
    """
    meta = {k: v for k, v in episode.meta.items() if k in ("seed", "eyes", "weights", "policy", "safety", "triune")}
    reasons = sorted({episode.reason(i) for i in range(len(episode))})
    protocol = system.protocol(episode.meta["protocol"])
    header = {
        "task": system.name, "title": system.spec.title, "protocol": asdict(protocol), "hz": protocol.control_hz,
        "steps": len(episode), "actions": list(system.spec.env.actions.names), "reasons": reasons, "rules": list(rules),
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
    from logic.language.backends.onnx import logic_model

    assert program.graph is not None
    fallback = system.spec.env.fallback
    stem = "logic" if name == "policy" else f"logic-{name}"
    model = logic_model(program.graph, system.schema.size, fallback)
    atomic_write(folder / f"{stem}.onnx", model.SerializeToString())
    scalar = not any(field.type.is_array for field in program.graph.fields.values())
    atomic_write(folder / f"{stem}.bin.gz", check_file(name, program, system.schema, scenes, fallback))
    return {"name": name, "model": f"{stem}.onnx", "cases": f"{stem}.bin.gz", "scalar_memory": scalar}


def check_file(name: str, program: CompiledProgram, schema: SceneSchema, scenes: np.ndarray, fallback: Action) -> bytes:
    """Scenes in the order of play, and generated Python's action, reason, fault, memory[t] -> memory[t + 1]."""
    assert program.graph is not None
    layout = MemoryLayout.of(program.graph.fields)
    count = min(len(scenes), CHECKED, max(1, CHECKED_BYTES // (8 * max(1, layout.size))))
    memory, rows, answers = program.start(), [layout.start()], list[tuple[Action, int, int]]()
    for vector in scenes[:count]:
        try:
            action, reason = program.act(schema.read(vector), memory)
            answers.append((action, program.graph.reasons.index(reason), 0))
        except Exception:  # a fault of the policy is one of the answers to compare
            answers.append((fallback, -1, 1))
        rows.append(layout.pack(memory.snapshot()))
    kind = np.float32 if isinstance(fallback, np.ndarray) else np.int16
    arrays = {
        "scene": scenes[:count], "action": np.array([action for action, *_ in answers], kind),
        "reason": np.array([reason for _, reason, _ in answers], np.int16),
        "fault": np.array([fault for *_, fault in answers], np.int16), "memory": np.stack(rows),
    }  # fmt: skip
    fields = [[field, *place] for field, place in layout.slots.items()]
    header = {"name": name, "steps": count, "reasons": list(program.graph.reasons), "fields": fields}
    return encode(CASES, header, arrays, xor=("memory",))


def copy_runtime(folder: Path) -> str | None:
    """Copy what the page needs of onnxruntime-web into `folder`/ort; its version, None when it is not there."""
    if not all((RUNTIME / name).is_file() for name in RUNTIME_FILES):
        return None
    (folder / "ort").mkdir(exist_ok=True)
    for name in RUNTIME_FILES:
        atomic_copy(RUNTIME / name, folder / "ort" / Path(name).name)
    return str(json.loads((RUNTIME / "package.json").read_text("utf-8"))["version"])


def _copy_page(folder: Path) -> None:
    for path in PAGE.iterdir():
        if path.suffix in PAGE_KINDS:
            atomic_copy(path, folder / path.name)


def _free_name(name: str, taken: dict[str, Any]) -> str:
    """`name`, made different from those already there."""
    numbers = (f"{name}{'' if i == 1 else i}" for i in range(1, len(taken) + 2))
    return next(n for n in numbers if n not in taken)
