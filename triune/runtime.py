"""The deployed system: a frame in, an action out. Needs numpy and onnxruntime, nothing else.

    bot = Bundle.load("breakout.onnx")
    state = bot.start()
    action, state, why = bot.step(frame, state)

Knows: how a checked file becomes something that acts, and the deadline. Does not know: policies (they are in the graph;
nothing here compiles or runs text), environments, scores, training.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
import onnxruntime

from envs.protocol import Protocol
from envs.spec import parse_spec
from perception.drift import Watch, scene_parts
from perception.scene import Scene, SceneSchema
from triune.deploy import bundle
from triune.errors import TriuneError

DEADLINE = "deadline missed"
FAULT = "fault"
_TYPES = {
    "frame": "tensor(uint8)", "memory": "tensor(double)", "action": "tensor(int64)", "reason": "tensor(int64)",
    "proposed": "tensor(int64)", "interventions": "tensor(bool)", "faults": "tensor(bool)",
    "next_memory": "tensor(double)", "scene": "tensor(float)",
}  # fmt: skip
INPUTS = ("frame", "memory")
OUTPUTS = tuple(_TYPES)[2:]


class Why(NamedTuple):
    """Behind an action: the policy's reason, what it proposed, which rules overruled it, its fault, the Scene."""

    reason: str
    action: str
    proposed: str
    overruled_by: tuple[str, ...]
    fault: str
    scene: Scene


@dataclass(frozen=True)
class State:
    """What one running episode remembers: float64[M], never changed in place, so that an old state stays valid."""

    memory: np.ndarray


class Bundle:
    """A loaded bundle. Attributes: `task`, `actions`, `reasons`, `rules`, `protocol`, `manifest`, `schema`, `spec`."""

    def __init__(
        self, session: onnxruntime.InferenceSession, contents: bundle.Contents, name: str,
        deadline_ms: float | None, clock: Callable[[], float],
    ) -> None:  # fmt: skip
        manifest = self.manifest = contents.manifest
        self.spec = parse_spec(contents.parts["system.toml"], Path(name) / "system.toml")
        self.schema = SceneSchema.from_config(manifest["scene"]["schema"])
        self.protocol = Protocol(**manifest["protocol"])
        self.task = str(manifest["task"])
        self.actions, self.reasons, self.rules = (tuple(manifest[k]) for k in ("actions", "reasons", "rules"))
        self.fallback = self.actions.index(manifest["fallback"])
        self.frame_shape = tuple(manifest["frame"])
        self.deadline = float(manifest["deadline_ms"] if deadline_ms is None else deadline_ms) / 1000
        self._start = State(_frozen(_start(manifest["memory"])))
        self._session, self._clock = session, clock

    @classmethod
    def load(
        cls, path: str | Path, deadline_ms: float | None = None, clock: Callable[[], float] = time.perf_counter
    ) -> Bundle:
        """A bundle from a file; TriuneError when it is damaged, changed since export, too large, of another format, or
        asks for more than standard operators. `deadline_ms`: real time a step may take (default: the manifest's)."""
        name = str(path)
        try:
            if os.path.getsize(path) > bundle.MAX_BYTES:
                raise TriuneError(f"{name} is larger than a bundle may be ({bundle.MAX_BYTES // 2**20} MiB)")
            data = Path(path).read_bytes()
        except OSError as error:
            raise TriuneError(f"no bundle at {name} ({error.strerror}); make one: triune export TASK {name}") from None
        contents = bundle.read(data, name)
        session = _session(data, name)
        try:
            bot = cls(session, contents, name, deadline_ms, clock)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise TriuneError(f"{name} has a manifest that makes no sense ({error!r}); export it again") from None
        bot._check_shapes(name)
        return bot

    def start(self) -> State:
        """The memory of a fresh episode. Any number of states may run side by side."""
        return self._start

    def watch(self) -> Watch | None:
        """A new drift watch: give it every frame with `why.scene.vector`, and it says when play no longer looks as in
        training. None when the bundle was made of eyes without ranges."""
        ranges = self.manifest.get("drift")
        if ranges is None:
            return None
        try:
            if ranges["scene"] != scene_parts(self.schema):
                raise ValueError("of another scene")
            return Watch(ranges)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise TriuneError(f"{self.task}: the bundle's ranges make no sense ({error!r}); export it again") from None

    def step(self, frame: np.ndarray, state: State) -> tuple[int, State, Why]:
        """Decide on one native frame uint8[H, W, 3]: the action, the state after it, and why. Never raises on the
        policy's account; a step that takes longer than the deadline gives the fallback action."""
        began = self._clock()
        if type(frame) is not np.ndarray or frame.dtype != np.uint8 or frame.shape != self.frame_shape:
            self._refuse(frame)
        try:
            found = self._session.run(OUTPUTS, {"frame": frame, "memory": state.memory})
        except Exception as error:  # onnxruntime's exceptions share no base class but this
            return self._failed(state, error)
        action, reason, proposed = (int(value[0]) for value in found[:3])
        interventions, faults, memory, vector = found[3:]
        overruled = tuple(rule for rule, flag in zip(self.rules, interventions.tolist(), strict=True) if flag)
        if self._clock() - began > self.deadline:
            action, overruled = self.fallback, (*overruled, DEADLINE)
        words = FAULT if reason < 0 else self.reasons[reason]
        fault = self._fault(faults.tolist()) if faults.any() else ""
        why = Why(words, self.actions[action], self.actions[proposed], overruled, fault, self.schema.read(vector))
        return action, State(_frozen(memory)), why

    def _fault(self, flags: list[bool]) -> str:
        who = next(name for name, flag in zip(("the policy", *self.rules), flags, strict=True) if flag)
        return f"{who} could not answer (a division by zero, an index, a domain or NaN)"

    def _failed(self, state: State, error: Exception) -> tuple[int, State, Why]:
        """The graph itself gave up: a fault like any other."""
        text = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
        name = self.actions[self.fallback]
        why = Why(FAULT, name, name, (), f"the graph failed: {text}", self.schema.read(self.schema.empty()))
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
        memory, rules = self._start.memory.size, len(self.rules)
        wanted = {
            "frame": self.frame_shape, "memory": (memory,), "action": (1,), "reason": (1,), "proposed": (1,),
            "interventions": (rules,), "faults": (1 + rules,), "next_memory": (memory,), "scene": (self.schema.size,),
        }  # fmt: skip
        ports = [*self._session.get_inputs(), *self._session.get_outputs()]
        found = {port.name: (port.type, tuple(port.shape)) for port in ports}
        if found != {port: (_TYPES[port], tuple(shape)) for port, shape in wanted.items()}:
            raise TriuneError(f"{name}: its graph does not have the inputs and outputs of a bundle; export it again")
        _, _, why = self.step(np.zeros(self.frame_shape, np.uint8), self._start)
        if why.fault.startswith("the graph failed"):
            raise TriuneError(f"{name} cannot be run: {why.fault}; export it again")


def _session(data: bytes, name: str) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
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
