"""The deployed system: a frame in, an action out. Needs numpy and onnxruntime, nothing else.

    bot = Bundle.load("breakout.onnx")
    state = bot.start()
    action, state, why = bot.step(frame, state)

Knows: how a bundle becomes something that acts, whose policy may be run. Does not know: environments, scores, training.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from envs.protocol import Protocol
from envs.spec import SystemSpec, parse_spec
from logic.controller import Controller
from logic.errors import LogicError
from logic.runner import LIBRARY_FOLDER
from perception.errors import PerceptionError
from perception.runtime import Eyes
from perception.scene import Scene, SceneSchema
from perception.tracker import Tracker
from triune import bundle
from triune.errors import TriuneError
from triune.policies import Texts, build_controller, sha256, shipped


class Why(NamedTuple):
    """Behind an action: the policy's reason, what it proposed, which rules overruled it, its fault, the Scene."""

    reason: str
    action: str
    proposed: str
    overruled_by: tuple[str, ...]
    fault: str
    scene: Scene


@dataclass
class State:
    """What one running episode remembers. Make one with `Bundle.start()`."""

    controller: Controller
    tracker: Tracker
    past: list[np.ndarray] = field(default_factory=list)


class Bundle:
    """A loaded bundle. Attributes: `task`, `actions`, `protocol`, `manifest`, `schema`."""

    def __init__(
        self, eyes: Eyes, schema: SceneSchema, spec: SystemSpec, manifest: dict[str, Any], parts: bundle.Parts
    ) -> None:
        self.spec, self.manifest, self._eyes, self._parts = spec, manifest, eyes, parts
        self.task, self.actions, self.schema = spec.name, spec.env.actions, schema
        self.protocol = Protocol(**manifest["protocol"])

    @classmethod
    def load(cls, path: str | Path, trust_policy: bool = False) -> Bundle:
        """A bundle from a file. TriuneError or PerceptionError: damaged, changed since export, or its policy is not
        one that ships with Triune (it would run inside this process) and `trust_policy` is False."""
        try:
            data = Path(path).read_bytes()
        except OSError as error:
            raise TriuneError(
                f"no bundle at {path} ({error.strerror}); make one with `triune export TASK {path}`"
            ) from None
        try:
            eyes = Eyes.parse(data, None, str(path))
        except PerceptionError as error:
            raise TriuneError(f"{path} is not a usable bundle: {error}; export or fetch it again") from None
        manifest, parts = bundle.unpack(data, eyes.metadata, str(path))
        if not trust_policy:
            _check_origin(parts, str(path))
        spec = parse_spec(parts["system.toml"], Path(str(path)) / "system.toml")
        schema = SceneSchema.from_config(spec.scene)
        if schema.fingerprint != eyes.schema.fingerprint:
            raise TriuneError(f"{path}: its eyes and its system.toml have different scene schemas; export it again")
        return cls(eyes, schema, spec, manifest, parts)

    def start(self) -> State:
        """Fresh memory for one episode. Any number of states may run side by side."""
        texts = Texts(self._parts["policy.py"], self._parts.get("safety.py", ""))
        # A deployed deadline is real time, not processor time.
        controller = build_controller(
            self.spec, self.schema, texts, self.protocol, self._library, clock=time.perf_counter_ns
        )
        controller.reset()
        return State(controller, Tracker(self.schema))

    def step(self, frame: np.ndarray, state: State) -> tuple[int, State, Why]:
        """Decide on one native frame uint8[H, W, 3]. The state is updated in place and returned."""
        scene = self.schema.read(state.tracker.update(self._see(frame, state)))
        d = state.controller.decide(scene)
        why = Why(d.reason, self.actions[d.action], self.actions[d.proposed], d.overruled_by, d.fault, scene)
        return d.action, state, why

    def _see(self, frame: np.ndarray, state: State) -> np.ndarray:
        if self.schema.window == 1:
            return self._eyes.look(frame)
        state.past = [*state.past, np.array(frame)][-self.schema.window :]
        return self._eyes.look(np.maximum.reduce(state.past))

    def _library(self, name: str) -> str:
        try:
            return self._parts[f"lib/{name}"]
        except KeyError:
            raise LogicError(f"the bundle lacks library module {name!r}; export it again") from None


def _check_origin(parts: bundle.Parts, name: str) -> None:
    """Every text that would run must be one that ships with this Triune."""
    library = {sha256(p.read_bytes()) for p in LIBRARY_FOLDER.glob("*.py")}
    strange = [
        part
        for part, text in sorted(parts.items())
        if text and part != "system.toml" and sha256(text) not in (library if part.startswith("lib/") else shipped())
    ]
    if strange:
        raise TriuneError(
            f"{name}: {', '.join(strange)} is not what ships with this Triune and would run unconfined here; "
            "if you trust its source, load it with --trust (Python: trust_policy=True)"
        )
