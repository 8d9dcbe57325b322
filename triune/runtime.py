"""The deployed system: one file with a frame going in and an action coming out, an ONNX graph or a native bundle. Needs
numpy and onnxruntime, nothing else; of a native bundle, the native engine.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
import onnxruntime

from envs.actions import Action, Box, action_space
from envs.env import backend
from envs.errors import EnvError
from envs.files import loads, read_file
from envs.shape import is_name
from envs.spec import MOST_PIXELS, parse_spec
from perception import graph
from perception.detector import usable
from perception.drift import Watch, check, scene_parts
from perception.protobuf import BYTES, field, fields
from perception.scene import Scene, SceneSchema
from triune import native_bundle
from triune.errors import TriuneError
from triune.version import __version__

# ----------------------------------------------------------------------------------------------------
# The bundle: one ONNX file that is a whole system, with everything people want to know of it in its metadata.
#
# Standard library only.
#
# After the model come `metadata_props` (ModelProto field 14), and nothing else; in protobuf, appending is how
# repeated fields grow, so no ONNX library is needed for them and any ONNX tool reads the file. docs/bundle.md has
# every key.


FORMAT = 2
PREFIX = "triune.bundle."
FORMAT_KEY, MANIFEST, DIGEST, READER = (PREFIX + key for key in ("format", "manifest", "digest", "reader"))
PART = PREFIX + "part."
METADATA = 14  # its field number in ModelProto
MAX_BYTES = 64 * 2**20
MAX_MEMORY = 2**22  # float64 values
NEEDED = (
    "task", "title", "actions", "fallback", "reasons", "rules", "scene", "memory", "protocol", "frame", "deadline_ms",
    "versions", "hashes", "graph_bytes",
)  # fmt: skip
Parts = dict[str, str]  # name -> text: system.toml, policy.py, safety.py, lib/NAME


@dataclass(frozen=True)
class Contents:
    """What a checked bundle says of itself."""

    manifest: dict[str, Any]
    parts: Parts


def metadata_bytes(entries: Mapping[str, str]) -> bytes:
    """`metadata_props` entries in protobuf, ready to be appended to a model."""
    return b"".join(
        field(METADATA, field(1, key.encode()) + field(2, value.encode())) for key, value in sorted(entries.items())
    )


def digest(data: bytes | str) -> str:
    """sha256 hex."""
    return hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()


def pack(model: bytes, parts: Parts, about: Mapping[str, Any]) -> bytes:
    """The bundle's bytes from a serialised model without metadata. `about`: the manifest's other keys, JSON values."""
    hashes = {name: digest(text) for name, text in parts.items()} | {"graph": digest(model)}
    fixed = {"format": FORMAT, "reader": __version__, "graph_bytes": len(model), "hashes": hashes}
    manifest = json.dumps({**about, **fixed}, allow_nan=False)  # unsorted: the order of things is that of the Scene
    entries = {PART + name: text for name, text in parts.items()} | {MANIFEST: manifest, DIGEST: digest(manifest)}
    return model + metadata_bytes(entries | {FORMAT_KEY: str(FORMAT), READER: __version__})


def pack_native(sections: Mapping[str, bytes], parts: Parts, about: Mapping[str, Any]) -> bytes:
    """The bytes of a native bundle. `sections`: the engine's (`triune.native_bundle`); `about`: as of `pack`."""
    hashes = _hashes(parts, sections)
    fixed = {"format": FORMAT, "reader": __version__, "form": "native", "hashes": hashes}
    manifest, texts = json.dumps({**about, **fixed}, allow_nan=False), json.dumps(parts)
    return native_bundle.pack({"manifest": manifest.encode() + b"\0", "parts": texts.encode(), **sections})


def _hashes(parts: Parts, sections: Mapping[str, bytes]) -> dict[str, str]:
    return {name: digest(text) for name, text in parts.items()} | {name: digest(s) for name, s in sections.items()}


def _read_native(data: bytes, name: str) -> Contents:
    """As `read`, of the native form."""
    try:
        sections = native_bundle.unpack(data)
        manifest, parts = loads(sections.pop("manifest")[:-1].decode()), loads(sections.pop("parts").decode())
    except ValueError as error:
        raise TriuneError(f"{name} is refused: {error}") from None
    if not isinstance(manifest, dict) or not isinstance(parts, dict) or not all(map(_text_of, parts.values())):
        raise TriuneError(f"{name} has a manifest or parts that are no JSON objects of texts; export it again")
    lacking = [key for key in NEEDED if key not in manifest and key != "graph_bytes"]
    if lacking:
        raise TriuneError(f"{name} lacks {', '.join(lacking)} in its manifest; export it again")
    if manifest.get("format") != FORMAT:
        _check_format({FORMAT_KEY: str(manifest.get("format")), READER: str(manifest.get("reader"))}, name)
    hashes = manifest["hashes"] if isinstance(manifest["hashes"], dict) else {}
    found = _hashes(parts, sections)
    wrong = sorted(part for part in {*found, *hashes} if found.get(part) != hashes.get(part))
    if wrong:
        raise TriuneError(_tampered(name, ", ".join(wrong)))
    _check_memory(manifest["memory"], name, MAX_BYTES)
    if not {"system.toml", "policy.py"} <= set(parts):
        raise TriuneError(f"{name} lacks system.toml or policy.py; export it again")
    return Contents(manifest, parts)


def _text_of(value: Any) -> bool:
    return isinstance(value, str)


def read(data: bytes, name: str) -> Contents:
    """Manifest and parts of a bundle after every check that needs no ONNX library; TriuneError otherwise."""
    if len(data) > MAX_BYTES:
        raise TriuneError(f"{name} has {len(data) / 2**20:.0f} MiB, a bundle has at most {MAX_BYTES // 2**20}")
    if data.startswith(native_bundle.MAGIC):
        return _read_native(data, name)
    entries, begin = metadata(data, name)
    if MANIFEST not in entries:
        raise TriuneError(f"{name} is an ONNX file but no bundle; make one with `triune export TASK {name}`")
    _check_format(entries, name)
    manifest = _manifest(entries, name)
    parts = {key.removeprefix(PART): value for key, value in entries.items() if key.startswith(PART)}
    model, hashes = data[: manifest["graph_bytes"]], manifest["hashes"]
    found = {part: digest(text) for part, text in parts.items()} | {"graph": digest(model)}
    wrong = sorted(part for part in {*found, *hashes} if found.get(part) != hashes.get(part))
    strange = {key for key in entries if not key.startswith(PART)} - {FORMAT_KEY, MANIFEST, DIGEST, READER}
    if wrong or strange or begin != len(model):
        raise TriuneError(_tampered(name, ", ".join([*wrong, *sorted(strange)]) or "what stands after the graph"))
    _check_memory(manifest["memory"], name)
    if not {"system.toml", "policy.py"} <= set(parts):
        raise TriuneError(f"{name} lacks system.toml or policy.py; export it again")
    return Contents(manifest, parts)


def metadata(data: bytes, name: str) -> tuple[dict[str, str], int]:
    """All metadata of an ONNX file, and where its last field stands that is something else (its end)."""
    entries: dict[str, str] = {}
    begin = 0
    try:
        for item in fields(data):
            if item.number != METADATA or item.wire != BYTES:
                begin = item.stop
                continue
            key, value = _entry(data, item.start, item.stop)
            if key in entries:
                raise TriuneError(_tampered(name, f"a second {key}"))
            entries[key] = value
    except ValueError as error:
        raise TriuneError(f"{name} is damaged or no ONNX file ({error}); export or fetch it again") from None
    return entries, begin


def _entry(data: bytes, start: int, stop: int) -> tuple[str, str]:
    texts = {1: "", 2: ""}
    for item in fields(data, start, stop):
        if item.wire == BYTES:
            texts[item.number] = data[item.start : item.stop].decode()
    return texts[1], texts[2]


def _check_format(entries: Mapping[str, str], name: str) -> None:
    """Say what to do with a file of another format. The keys for it never change their names or meaning."""
    form = entries.get(FORMAT_KEY, "1")
    if form == "1":
        raise TriuneError(
            f"{name} has bundle format 1, which carried its policy as text and is no longer read; export it again "
            f"from its task: triune export TASK {name}"
        )
    if form != str(FORMAT):
        reader = entries.get(READER) or "a newer version"
        raise TriuneError(
            f"{name} has bundle format {form}, Triune {__version__} reads {FORMAT}; Triune {reader} reads it: "
            "pip install --upgrade triune"
        )


def _manifest(entries: Mapping[str, str], name: str) -> dict[str, Any]:
    text = entries[MANIFEST]
    if digest(text) != entries.get(DIGEST):
        raise TriuneError(_tampered(name, "the manifest"))
    try:
        manifest = loads(text)
    except ValueError:
        manifest = None
    if not isinstance(manifest, dict):
        raise TriuneError(f"{name} has a manifest that is no JSON object; export it again")
    lacking = [key for key in NEEDED if key not in manifest]
    if lacking:
        raise TriuneError(f"{name} lacks {', '.join(lacking)} in its manifest; export it again")
    if str(manifest.get("format")) != entries[FORMAT_KEY] or manifest.get("reader") != entries.get(READER):
        raise TriuneError(_tampered(name, "the format"))
    good = isinstance(manifest["graph_bytes"], int) and isinstance(manifest["hashes"], dict)
    if not good or not 0 < manifest["graph_bytes"] <= MAX_BYTES:
        raise TriuneError(f"{name} has a manifest that makes no sense (graph_bytes, hashes); export it again")
    return manifest


def _check_memory(memory: Any, name: str, most: int = MAX_MEMORY) -> None:
    """Size within the limit, start values inside it."""
    try:
        size, start = int(memory["size"]), [(int(at), float(value)) for at, value in memory["start"]]
    except (KeyError, TypeError, ValueError, OverflowError):
        raise TriuneError(f"{name} has a manifest that makes no sense (memory); export it again") from None
    if not 0 < size <= most:
        raise TriuneError(f"{name} wants a memory of {size} values, a bundle has 1 to {most}")
    if any(not 0 <= at < size for at, _ in start):
        raise TriuneError(f"{name} has start values outside its memory; export it again")


def _tampered(name: str, what: str) -> str:
    return f"{name} was changed after it was exported ({what} does not match its hash); export or fetch it again"


# ----------------------------------------------------------------------------------------------------
# The deployed system: a frame in, an action out. Needs numpy and onnxruntime, nothing else.
#
#     bot = Bundle.load("breakout.onnx")
#     state = bot.start()
#     action, state, why = bot.step(frame, state)


DEADLINE = "deadline missed"
FAULT = "fault"
# ports of the graph; where the manifest has `controls`, an action is `tensor(float)` in place of an index
_TYPES = {
    "frame": "tensor(uint8)", "memory": "tensor(double)", "action": "tensor(int64)", "reason": "tensor(int64)",
    "proposed": "tensor(int64)", "interventions": "tensor(bool)", "faults": "tensor(bool)",
    "next_memory": "tensor(double)", "scene": "tensor(float)",
}  # fmt: skip
INPUTS = ("frame", "memory")
OUTPUTS = tuple(_TYPES)[2:]


MOST_TEXT, MOST_TEXTS = 1_000, 65_534  # characters of a reason, and how many a policy may have


def _text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= MOST_TEXT


def _texts(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= MOST_TEXTS and all(map(_text, value))


def _frame(value: Any) -> bool:
    sides = value if isinstance(value, list) and len(value) == 3 else [0]
    return all(type(n) is int and 1 <= n <= MOST_PIXELS for n in sides) and sides[2] == 3


def _milliseconds(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < math.inf


_LIST = f"a list of at most {MOST_TEXTS} texts of {MOST_TEXT} characters"
# what a manifest's keys must be, before anything is made of them: key -> (whether it is, in words)
_KEYS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "task": (lambda v: isinstance(v, str) and is_name(v), "a name, which files can be called"),
    "title": (_text, f"a text of at most {MOST_TEXT} characters"),
    **dict.fromkeys(("actions", "reasons", "rules"), (_texts, _LIST)),
    "frame": (_frame, f"[height, width, 3], sides from 1 to {MOST_PIXELS}"),
    "deadline_ms": (_milliseconds, "a number of milliseconds above 0"),
}


class Why(NamedTuple):
    """Behind an action: the policy's reason, what it proposed, which rules overruled it, its fault, the Scene.

    `action` and `proposed` are words (`torque=+1.25`); `wanted` is what was proposed as `step` returns actions. A
    vector that was proposed may lie beyond its bounds.
    """

    reason: str
    action: str
    proposed: str
    overruled_by: tuple[str, ...]
    fault: str
    scene: Scene
    wanted: Action


@dataclass(frozen=True)
class State:
    """What one running episode remembers: float64[M], never changed in place, so that an old state stays valid."""

    memory: np.ndarray


class Bundle:
    """A loaded bundle. Attributes: `task`, `actions` (names), `action_space`, `fallback`, `reasons`, `rules`,
    `protocol`, `manifest`, `schema`, `spec`."""

    def __init__(
        self, session: onnxruntime.InferenceSession | native_bundle.NativeSession, contents: Contents, name: str,
        deadline_ms: float | None, clock: Callable[[], float],
    ) -> None:  # fmt: skip
        manifest = self.manifest = contents.manifest
        for key, (good, what) in _KEYS.items():
            if not good(manifest[key]):
                raise ValueError(f"{key} is {what}")
        self.spec = parse_spec(contents.parts["system.toml"], Path(name) / "system.toml")
        self.schema = SceneSchema.from_config(manifest["scene"]["schema"])
        self.protocol = backend(self.spec.env.backend).kind(**manifest["protocol"])
        self.task = str(manifest["task"])
        self.actions, self.reasons, self.rules = (tuple(manifest[k]) for k in ("actions", "reasons", "rules"))
        self.action_space = action_space(manifest.get("controls") or list(self.actions))
        if self.action_space.names != self.actions:
            raise ValueError("its controls have other names than its actions")
        self.fallback = self.action_space.parse(manifest["fallback"])
        if isinstance(self.fallback, np.ndarray):
            _frozen(self.fallback)  # every caller gets this one
        self.frame_shape = tuple(manifest["frame"])
        self.deadline = (manifest["deadline_ms"] if deadline_ms is None else deadline_ms) / 1000
        native = isinstance(session, native_bundle.NativeSession)
        self._start = State(_frozen(session.start if native else _start(manifest["memory"])))
        self._session, self._clock = session, clock

    @classmethod
    def load(
        cls, path: str | Path, deadline_ms: float | None = None, clock: Callable[[], float] = time.perf_counter
    ) -> Bundle:
        """A bundle from a file; TriuneError when it is damaged, changed since export, too large, of another format, or
        asks for more than standard operators. `deadline_ms`: real time a step may take (default: the manifest's)."""
        return cls.parse(read_file(Path(path), "bundle", TriuneError), str(path), deadline_ms, clock)

    @classmethod
    def parse(
        cls, data: bytes, name: str, deadline_ms: float | None = None, clock: Callable[[], float] = time.perf_counter
    ) -> Bundle:
        """As `load`, from bytes."""
        contents = read(data, name)
        session = _session(data, name)
        try:
            bot = cls(session, contents, name, deadline_ms, clock)
        except (EnvError, AttributeError, LookupError, TypeError, ValueError, OverflowError) as error:
            reason = str(error) if isinstance(error, (EnvError, ValueError)) else repr(error)
            raise TriuneError(f"{name} has a manifest that makes no sense ({reason}); export it again") from None
        bot._check_shapes(name)
        return bot

    def start(self) -> State:
        """The memory of a fresh episode. Any number of states may run side by side."""
        return self._start

    def watch(self) -> Watch | None:
        """A new drift watch: give it every frame with `why.scene.vector`, and it says when play no longer looks as in
        training. None when the bundle was made of a detector without ranges."""
        ranges = self.manifest.get("drift")
        if ranges is None:
            return None
        try:
            check(ranges, scene_parts(self.schema))
        except ValueError as error:
            raise TriuneError(f"{self.task}: the bundle's ranges make no sense ({error}); export it again") from None
        return Watch(ranges)

    def step(self, frame: np.ndarray, state: State) -> tuple[Action, State, Why]:
        """Decide on one native frame uint8[H, W, 3]: the action (an index into `actions`, or float32[n] with one value
        for each), the state after it, and why. Never raises on the policy's account; a step that takes longer than the
        deadline gives the fallback action."""
        began = self._clock()
        if type(frame) is not np.ndarray or frame.dtype != np.uint8 or frame.shape != self.frame_shape:
            self._refuse(frame)
        try:
            found = self._session.run(OUTPUTS, {"frame": frame, "memory": state.memory})
            action, proposed = self._action(found[0]), self._proposed(found[2])
            reason, (interventions, faults, memory, vector) = int(found[1][0]), found[3:]
            if not -1 <= reason < len(self.reasons):
                raise ValueError(f"reason {reason} is none of its {len(self.reasons)}")
            if not usable(vector, self.schema.size):
                raise ValueError("it sees what are no numbers (NaN or infinite)")
        except Exception as error:  # onnxruntime's exceptions share no base class but this
            return self._failed(state, error)
        overruled = tuple(rule for rule, flag in zip(self.rules, interventions.tolist(), strict=True) if flag)
        if self._clock() - began > self.deadline:
            action, overruled = self.fallback, (*overruled, DEADLINE)
        words = FAULT if reason < 0 else self.reasons[reason]
        fault = self._fault(faults.tolist()) if faults.any() else ""
        tell, scene = self.action_space.tell, self.schema.read(vector)
        why = Why(words, tell(action), tell(proposed), overruled, fault, scene, proposed)
        return action, State(_frozen(memory)), why

    def _action(self, tensor: np.ndarray) -> Action:
        """An action that exists; EnvError when the graph gave none."""
        return self.action_space.check(tensor if isinstance(self.action_space, Box) else int(tensor[0]))

    def _proposed(self, tensor: np.ndarray) -> Action:
        """As `_action`, but controls may lie beyond their bounds."""
        return tensor if isinstance(self.action_space, Box) else self._action(tensor)

    def _fault(self, flags: list[bool]) -> str:
        who = next(name for name, flag in zip(("the policy", *self.rules), flags, strict=True) if flag)
        return f"{who} could not answer (a division by zero, an index, a domain or NaN)"

    def _failed(self, state: State, error: Exception) -> tuple[Action, State, Why]:
        """The graph itself gave up: a fault like any other."""
        text = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
        name, scene = self.action_space.tell(self.fallback), self.schema.read(self.schema.empty())
        why = Why(FAULT, name, name, (), f"the graph failed: {text}", scene, self.fallback)
        return self.fallback, state, why

    def _refuse(self, frame: Any) -> NoReturn:
        wanted = f"{self.task} reads uint8{list(self.frame_shape)}"
        if not isinstance(frame, np.ndarray):
            raise TriuneError(f"{wanted}, got a {type(frame).__name__}; give the native frame as a numpy array")
        fix = "give the native RGB frame, unscaled"
        if frame.shape == self.frame_shape:
            fix = "give colour levels 0..255 as uint8"
        raise TriuneError(f"{wanted}, got {frame.dtype}{list(frame.shape)}; {fix}")

    def _check_shapes(self, name: str) -> None:
        """The graph has the inputs and outputs that the manifest promises, and runs."""
        if isinstance(self._session, native_bundle.NativeSession):
            promised = [[*self.actions], [*self.reasons], [*self.rules], [*self.schema.names]]
            sizes = self.frame_shape, int(self.manifest["memory"]["size"])
            if promised != self._session.names or sizes != (self._session.frame, self._start.memory.size):
                raise TriuneError(f"{name}: its programs are not those that its manifest promises; export it again")
            return
        memory, rules, controls = self._start.memory.size, len(self.rules), isinstance(self.action_space, Box)
        action = self.action_space.shape or (1,)
        types = _TYPES | ({"action": "tensor(float)", "proposed": "tensor(float)"} if controls else {})
        wanted = {
            "frame": self.frame_shape, "memory": (memory,), "action": action, "reason": (1,), "proposed": action,
            "interventions": (rules,), "faults": (1 + rules,), "next_memory": (memory,), "scene": (self.schema.size,),
        }  # fmt: skip
        ports = [*self._session.get_inputs(), *self._session.get_outputs()]
        found = {port.name: (port.type, tuple(port.shape)) for port in ports}
        if found != {port: (types[port], tuple(shape)) for port, shape in wanted.items()}:
            raise TriuneError(f"{name}: its graph does not have the inputs and outputs of a bundle; export it again")
        _, _, why = self.step(np.zeros(self.frame_shape, np.uint8), self._start)
        if why.fault.startswith("the graph failed"):
            raise TriuneError(f"{name} cannot be run: {why.fault}; export it again")


def _session(data: bytes, name: str) -> onnxruntime.InferenceSession | native_bundle.NativeSession:
    if data.startswith(native_bundle.MAGIC):
        try:
            return native_bundle.NativeSession(data)
        except ValueError as error:
            raise TriuneError(f"{name} is refused: {error}") from None
    try:
        return graph.session(data, control=True)
    except graph.Foreign as error:
        raise TriuneError(f"{name} is refused: {error}") from None
    except Exception as error:  # onnxruntime's exceptions share no base class but this
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
        raise TriuneError(f"{name} is damaged or no ONNX file ({reason}); export or fetch it again") from None


def _start(memory: dict[str, Any]) -> np.ndarray:
    values = np.zeros(int(memory["size"]))
    for at, value in memory["start"]:
        values[at] = float(value)  # "NaN" and "Infinity" are text in JSON
    return values


def _frozen(values: np.ndarray) -> np.ndarray:
    values.setflags(write=False)
    return values
