"""A system as a native bundle: the engine's own programs in one file, held against play before it is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

import native
from data_flywheel.storage.files import atomic_write
from envs.actions import Box
from envs.env import Rules
from envs.errors import EnvError
from envs.remote import PixelEnv
from logic.language.backends.bytecode import MemoryBytes, Unfit
from logic.runtime.controller import Controller, Decision
from logic.runtime.engine import NativeController, NativeTracker, decider_program, tracker_program
from logic.runtime.logic import Logic
from logic.runtime.tracker import Tracker
from native.eyes import Plan, written
from perception.native_detector import NativeDetector, open_detector
from perception.plan import read_plan
from perception.scene import Scene
from triune import native_bundle, runtime
from triune.deploy.manifest import about, parts, parts_of
from triune.errors import TriuneError
from triune.play.loop import Pipeline, steps
from triune.runtime import Bundle
from triune.system import System

GAME_STEPS = 48
SEED = 0


def export_native(
    system: System, path: str | Path, protocol: str | None = None, pictures: Iterable[np.ndarray] = (),
    frames: int | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Write the native bundle of a system for a protocol; its manifest. Nothing is written when the engine does not
    know a part, or the bundle does not decide as play does. `pictures`, `frames`: as of `triune.deploy.export.export`.
    """
    path, rules = Path(path), system.protocol(protocol)
    if not native.available():
        raise TriuneError(f"a native bundle is made with the native engine: {native.why_not()}")
    logic, weights = system.logic(rules.name), system.weights()
    detector = open_detector(weights, system.schema)
    if not isinstance(detector, NativeDetector):
        raise TriuneError(f"{system.name} cannot be a native bundle ({detector.engine}); export it as NAME.onnx")
    try:
        sections, memory = sections_of(logic, read_plan(weights, system.schema, system.spec.env.shape[:2]))
    except Unfit as error:
        raise TriuneError(f"{system.name} cannot be a native bundle ({error}); export it as NAME.onnx") from None
    told = about(system.spec, system.schema, logic, rules, memory, weights)
    if (ranges := system.ranges()) is not None:
        told["drift"] = ranges
    data = runtime.pack_native(sections, parts(system.spec, logic), {**told, "checked": {}})
    told["checked"] = check(data, system, logic, detector, rules, pictures, frames)
    data = runtime.pack_native(sections, parts(system.spec, logic), told)
    runtime.read(data, str(path))
    atomic_write(path, data)
    return Bundle.load(path).manifest


def sections_of(logic: Logic, plan: Plan) -> tuple[dict[str, bytes], dict[str, Any]]:
    """The engine's sections of the file, and the manifest's `memory`, whose places count in bytes. Unfit: the machine
    cannot run the logic."""
    schema, space = logic.schema, logic.actions
    numbers, floats = written(plan)
    tracker, layout = tracker_program(schema)
    decider, layouts = decider_program(logic)
    controller = Controller(logic)
    memories = [Tracker(schema).memory, controller.memory, *controller.rule_memories]
    start, fields = b"", dict[str, Any]()
    for part, memory, lies in zip(parts_of(logic), memories, [layout, *layouts], strict=True):
        fields |= _fields(part, lies, len(start))
        start += lies.pack(memory.snapshot())
    bounds = np.array([space.low, space.high] if isinstance(space, Box) else [], np.float32)
    assert logic.policy.graph is not None
    lists = (space.names, logic.policy.graph.reasons, logic.rules, schema.names)
    sections = {
        "names": native_bundle.names(lists), "numbers": numbers.astype("<i4").tobytes(),
        "weights": floats.astype("<f4").tobytes(), "tracker": tracker, "decider": decider, "start": start,
        "bounds": bounds.tobytes(),
    }  # fmt: skip
    past = (plan.window > 1) * (8 + plan.window * plan.shape[0] * plan.shape[1] * 3)
    return sections, {"size": len(start) + past, "start": [], "fields": fields}


def _fields(part: str, layout: MemoryBytes, at: int) -> dict[str, Any]:
    return {
        f"{part}.{name}": {"at": at + layout.places[name], "type": t.kind, "shape": list(t.shape or ())}
        for name, t in layout.types.items()
    }


# ----------------------------------------------------------------------------------------------------
# Does the file decide as play does? Play runs on the engine here, verified at every step: by ONNX Runtime what is
# seen, by Python what is tracked and decided. The file must then say the very same.


class _Beside:
    """Plays, and asks the bundle about every frame too."""

    def __init__(self, bot: Bundle, player: Pipeline) -> None:
        self._bot, self._player, self._source = bot, player, ""
        self.counts = Counter[str]()

    def start(self, source: str) -> None:
        """A new episode."""
        self._player.reset()
        self._state, self._source = self._bot.start(), source

    def act(self, frame: np.ndarray) -> tuple[Scene, Decision]:
        """What play decides, once the bundle has decided the same."""
        scene, decision = self._player.act(frame)
        action, self._state, why = self._bot.step(frame, self._state)
        found = (np.asarray(action).tolist(), why.reason, np.asarray(why.wanted).tolist(), why.overruled_by)
        wanted = (np.asarray(decision.action).tolist(), decision.reason, np.asarray(decision.proposed).tolist(),
                  decision.overruled_by)  # fmt: skip
        same = found == wanted and bool(why.fault) == bool(decision.fault)
        if not same or why.scene.vector.tobytes() != scene.vector.tobytes():
            raise TriuneError(
                f"the native bundle of {self._bot.task} differs from play at step {self.counts.total()}: it decides "
                f"{found}, play {wanted}; nothing was written, please report it"
            )
        self.counts[self._source] += 1
        return scene, decision


def check(
    data: bytes, system: System, logic: Logic, detector: NativeDetector, rules: Rules,
    pictures: Iterable[np.ndarray] = (), frames: int | None = None,
) -> dict[str, int]:  # fmt: skip
    """How many frames of which source were compared; TriuneError names the first difference."""
    detector.verify = 1
    player = Pipeline(
        system.schema, detector, NativeController(logic, 1e9, verify=1), tracker=NativeTracker(system.schema, verify=1)
    )
    beside = _Beside(Bundle.parse(data, "the bundle", 1e9), player)
    wanted = frames or GAME_STEPS
    beside.start("recorded")
    for frame in pictures:
        if beside.counts["recorded"] >= wanted:
            break
        beside.act(frame)
    try:
        with PixelEnv(system.spec.env, rules) as env:
            for seed in count(SEED):
                beside.start("game")
                for _ in steps(env, beside, env.reset(seed)):
                    if beside.counts["game"] >= wanted:
                        return dict(beside.counts)
    except (EnvError, ImportError):
        pass  # the caller sees in the counts that no frame of the game was compared
    return dict(beside.counts)
