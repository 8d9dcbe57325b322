"""A heuristic system, loaded: `triune.load("breakout")` or a folder; its policy and rules compiled, in this process or
isolated.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from envs.actions import ActionSpace, Discrete
from envs.env import Rules, protocol_of
from envs.files import read_file, read_text
from envs.repeat import command_line
from envs.spec import ZOO, SystemSpec, find_line, load_spec
from envs.trust import vouch
from logic.language.program import Library, shipped_library
from logic.runtime.controller import Controller
from logic.runtime.logic import Logic, compile_logic, logic_of
from perception.scene import SceneError, SceneSchema
from triune.console import printable
from triune.errors import TriuneError, UsageError

if TYPE_CHECKING:
    from logic.language import CompiledModule, CompiledProgram
    from logic.runtime.regression import Lock
    from perception.detector import OnnxDetector
    from perception.drift import Ranges
    from perception.native_detector import NativeDetector
    from perception.readings import ReadingsDetector

    Made = tuple[CompiledProgram, CompiledModule | None]  # a policy and its safety rules, compiled for one protocol

# ----------------------------------------------------------------------------------------------------
# The one place where policy and safety text becomes something that acts.
#
# Text of any origin is compiled, never run.


@dataclass(frozen=True)
class Texts:
    """The policy and the safety rules ("" when the task has none) of one task."""

    policy: str
    safety: str = ""

    @property
    def digest(self) -> str:
        """sha256 hex of the policy text."""
        return sha256(self.policy)


def sha256(text: str | bytes) -> str:
    """sha256 hex of text (UTF-8) or bytes."""
    return hashlib.sha256(text.encode() if isinstance(text, str) else text).hexdigest()


def read_texts(spec: SystemSpec, policy: Path | None = None) -> Texts:
    """Safety text of a folder, and its policy text or that of the file `policy`; TriuneError when there is none."""
    path = policy or spec.folder / "policy.py"
    if not os.path.lexists(path):
        if policy and policy != spec.folder / "policy.py":
            raise TriuneError(f"there is no file {policy}; name one with a policy text")
        raise TriuneError(f"{spec.folder} has no policy.py; write `def act(scene, memory):` there (see zoo/pong)")
    safety = spec.folder / "safety.py"
    text = read_text(path, "policy", TriuneError, spec.folder if path == spec.folder / "policy.py" else None)
    there = os.path.lexists(safety)
    return Texts(text, read_text(safety, "safety text", TriuneError, spec.folder) if there else "")


@cache
def shipped() -> frozenset[str]:
    """sha256 of every policy and safety text in the zoo."""
    texts = [p for name in ("policy.py", "safety.py") for p in ZOO.glob(f"*/{name}")]
    return frozenset(sha256(p.read_bytes()) for p in texts)


def constants_of(spec: SystemSpec, protocol: Rules) -> dict[str, float]:
    """What a policy sees as compile-time constants under a protocol, action names included."""
    actions = spec.env.actions
    names = {name: i for i, name in enumerate(actions.names)} if isinstance(actions, Discrete) else {}
    return {**spec.constants(protocol), **names}


def build_logic(
    spec: SystemSpec, schema: SceneSchema, texts: Texts, protocol: Rules, library: Library = shipped_library
) -> Logic:
    """The compiled logic of one protocol; CompileError lists every violation with its line. The last few are kept."""
    constants = tuple(constants_of(spec, protocol).items())
    lost_after = spec.safety.get("lost_after")
    space = spec.env.actions
    return _compiled(schema, texts, constants, space, space.pack(spec.env.fallback), lost_after, library)


@lru_cache(maxsize=8)
def _compiled(
    schema: SceneSchema, texts: Texts, constants: tuple[tuple[str, float], ...], space: ActionSpace,
    fallback: bytes, lost_after: int | None, library: Library,
) -> Logic:  # fmt: skip
    known: Mapping[str, float] = dict(constants)
    extra = {} if lost_after is None else {"lost_after": lost_after}
    standby = space.unpack(fallback)  # packed on the way here, since an array is no key of a cache
    return compile_logic(schema, texts.policy, texts.safety, known, space, standby, library=library, **extra)


def build_controller(
    spec: SystemSpec, schema: SceneSchema, texts: Texts, protocol: Rules, library: Library = shipped_library,
    clock: Callable[[], int] = time.thread_time_ns, made: Made | None = None,
) -> Controller:  # fmt: skip
    """A controller with fresh memory for one protocol. `made`: its texts, compiled already."""
    deadline = {k: v for k, v in spec.safety.items() if k == "deadline_ms"}
    if made is None:
        logic = build_logic(spec, schema, texts, protocol, library)
    else:
        extra = {k: v for k, v in spec.safety.items() if k == "lost_after"}
        known = constants_of(spec, protocol)
        logic = logic_of(schema, *made, known, spec.env.actions, spec.env.fallback, **extra)
    return Controller(logic, **deadline, clock=clock)


# ----------------------------------------------------------------------------------------------------
# Where a policy runs: in this process, or in isolated workers with only trusted rules left here.


_said: set[str] = set()


def foreign(text: str) -> bool:
    """Does this text come from somewhere else than Triune?"""
    return bool(text) and sha256(text) not in shipped()


def choose(texts: Texts, isolate: bool | None, required: bool) -> bool:
    """Whether to isolate: as asked, else when some of the text is foreign. What is missing is said once, on stderr;
    TriuneError names it when isolation is required."""
    if isolate is False:
        if required:
            raise UsageError("isolation is required here, so --no-isolate cannot be: leave one of the two out")
        return False
    if not (isolate or required or foreign(texts.policy) or foreign(texts.safety)):
        return False
    lacks = lacking()
    if lacks and required:
        raise TriuneError(
            f"isolation is required, but missing here: {'; '.join(lacks)}. Use Linux 5.13 or later outside a "
            "restricted container, or drop --require-isolation (require_isolation in system.toml)"
        )
    if not hasattr(os, "fork"):
        if isolate:
            raise TriuneError("this system cannot isolate a policy (it cannot fork): leave --isolate out")
        _say("this policy does not ship with Triune and cannot be isolated on this system: only the compiler guards it")
        return False
    if lacks:
        _say(f"isolation is incomplete here: without {'; '.join(lacks)} (see triune doctor)")
    return True


@cache
def lacking() -> tuple[str, ...]:
    """What complete isolation needs and this machine lacks, each with its reason."""
    from logic.sandbox import layers
    from logic.sandbox.harden import missing

    return tuple(missing({name: layer.reason for name, layer in layers().items()}))


def silence() -> None:
    """No notices from here on: another process has said them."""
    _said.add("")


def _say(text: str) -> None:
    if not _said & {"", text}:
        _said.add(text)
        print(f"triune: {printable(text)}", file=sys.stderr, flush=True)


def build_confined(
    spec: SystemSpec, schema: SceneSchema, texts: Texts, protocol: Rules, required: bool, made: Made | None = None,
    data: bytes | None = None,
) -> Controller:  # fmt: skip
    """The controller of one protocol whose policy, and foreign safety rules, run in workers; CompileError as ever.
    `made`: its texts, compiled already; `data`: what `build_artifact` made of them."""
    from logic.language import compile_safety
    from logic.language.artifact import freeze
    from logic.runtime.logic import lost_rule
    from logic.sandbox.compiling import artifact_of
    from logic.sandbox.controller import ConfinedController

    known = constants_of(spec, protocol)
    there = _confined(texts)
    actions, fallback = spec.env.actions, spec.env.fallback
    if made is None:
        data = data or build_artifact(spec, schema, texts, protocol, required)
    else:
        data = freeze(artifact_of(made[0], made[1] if there else None, schema.size))
    rules: list[CompiledModule] = []
    if texts.safety and not there:
        made_rules = made[1] if made else None
        rules.append(made_rules or compile_safety(texts.safety, schema, known, name="safety.py", actions=actions))
    rules.append(lost_rule(schema, known, actions, fallback, spec.safety.get("lost_after", 8)))
    return ConfinedController(data, schema, actions, fallback, rules, require_isolation=required)


def _confined(texts: Texts) -> str:
    """The safety text that runs beside the policy in its worker: a foreign one."""
    return texts.safety if foreign(texts.safety) else ""


def build_artifact(spec: SystemSpec, schema: SceneSchema, texts: Texts, protocol: Rules, required: bool) -> bytes:
    """What workers run of a policy, and of foreign safety rules, under one protocol; CompileError as ever. The last few
    are kept."""
    known = tuple(constants_of(spec, protocol).items())
    return _artifact(schema, texts.policy, _confined(texts), known, spec.env.actions, required)


@lru_cache(maxsize=8)
def _artifact(
    schema: SceneSchema, policy: str, safety: str, known: tuple[tuple[str, float], ...], actions: ActionSpace,
    required: bool,
) -> bytes:  # fmt: skip
    from logic.sandbox.compiling import compile_confined

    return compile_confined(schema, policy, safety, dict(known), require_isolation=required, actions=actions)


# ----------------------------------------------------------------------------------------------------
# A heuristic system, loaded: `triune.load("breakout")` or a folder.


class System:
    """One task's folder. Attributes: `spec`, `schema`, `folder`, `name`; `texts` (policy and safety) load on use."""

    def __init__(
        self, spec: SystemSpec, trust: bool = False, isolate: bool | None = None, require_isolation: bool = False,
        policy: Path | None = None,
    ) -> None:  # fmt: skip
        self.isolate, self.require_isolation = isolate, require_isolation or spec.require_isolation
        self.policy_path = policy or spec.folder / "policy.py"
        self.artifacts: dict[str, bytes] = {}  # by protocol: what `artifact` gave whoever started this process
        self.spec, self.folder, self.name = spec, spec.folder, spec.name
        self.trust = trust or ZOO in spec.folder.resolve().parents
        if self.trust:
            vouch(spec.env.id)
        try:
            self.schema = SceneSchema.from_config(spec.scene)
        except SceneError as error:
            line = find_line(spec.text, ("scene", *error.key))
            raise TriuneError(f"{spec.folder / 'system.toml'}, line {line}: {error}") from None

    @cached_property
    def texts(self) -> Texts:
        """Policy and safety text; TriuneError when missing."""
        return read_texts(self.spec, self.policy_path)

    @property
    def called(self) -> str:
        """What names it on a command line: its name in the zoo, elsewhere its folder."""
        return self.spec.called

    def vouched(self, detector: str) -> bool:
        """Whether Python that comes with it runs only because somebody said so (--trust): the module of its
        environment, or what makes the scenes of this kind of detector."""
        strange = ZOO.resolve() not in self.folder.resolve().parents
        return self.trust and strange and (detector != "cnn" or ":" in self.spec.env.id)

    @property
    def detector_path(self) -> Path:
        """Where the weights are."""
        return self.folder / "perception.onnx"

    @property
    def ranges_path(self) -> Path:
        """Where the drift ranges are."""
        return self.folder / "ranges.json"

    def ranges(self) -> Ranges | None:
        """The drift ranges of the present detector; None: not measured, damaged, or of another detector."""
        from perception.errors import PerceptionError

        try:
            return self.read_ranges()
        except PerceptionError:
            return None

    def unwatched(self) -> str:
        """Why drift ranges that are there say nothing of the present detector; "" where they do, or there are none."""
        from perception.errors import PerceptionError

        try:
            if self.ranges_path.is_file():
                self.read_ranges()
        except PerceptionError as error:
            return str(error)
        return ""

    def read_ranges(self) -> Ranges:
        """The same; PerceptionError says why there are none."""
        from perception.drift import load, scene_parts
        from perception.errors import PerceptionError

        if self.spec.env.observed:
            raise PerceptionError(
                f"{self.folder}: declared numbers have no drift ranges; their bounds are the schema's"
            )
        return load(self.ranges_path, sha256(self.weights()), scene_parts(self.schema))

    def protocol(self, name: str | None = None) -> Rules:
        """The protocol called `name`, or the task's own."""
        return protocol_of(self.spec.env, name)

    @cached_property
    def isolated(self) -> bool:
        """Whether the policy runs in isolated workers: as asked, else when it does not ship with Triune."""
        return choose(self.texts, self.isolate, self.require_isolation)

    def logic(self, protocol: str | None = None) -> Logic:
        """Tracker, policy and rules, compiled for a protocol; CompileError lists what is wrong."""
        return build_logic(self.spec, self.schema, self.texts, self.protocol(protocol))

    def controller(self, protocol: str | None = None, made: Made | None = None) -> Controller:
        """Policy and safety for a protocol, with fresh memory. Close it: isolated, it has a worker. `made`: both,
        compiled already."""
        rules = self.protocol(protocol)
        if self.isolated:
            data = self.artifacts.get(rules.name)
            return build_confined(self.spec, self.schema, self.texts, rules, self.require_isolation, made, data)
        return build_controller(self.spec, self.schema, self.texts, rules, made=made)

    def artifact(self, protocol: str | None = None) -> bytes:
        """What isolated workers run under a protocol; CompileError lists what is wrong."""
        return build_artifact(self.spec, self.schema, self.texts, self.protocol(protocol), self.require_isolation)

    def locks(self) -> tuple[Lock, ...]:
        """What must not change, as kept by `triune lock`; LogicError names a file that is damaged."""
        from logic.runtime import regression as locks

        return tuple(locks.read(path, self.schema) for path in locks.files(self.folder))

    def check_teacher(self) -> None:
        """A teacher.py is ordinary Python: a stranger's is not run unless somebody vouches for it."""
        if self.spec.labels:
            return
        if not (self.folder / "teacher.py").is_file():
            raise TriuneError(
                f"nothing labels the pictures of {self.name}: no [labels] in system.toml, no teacher.py; those of a "
                "film are compared with a person's boxes by `triune eval TASK --source FILM --labels FILE`"
            )
        if not self.trust:
            raise TriuneError(
                f"{self.folder / 'teacher.py'} is ordinary Python of unknown origin; "
                "pass --trust (Python: trust=True) if you have read it"
            )

    def check_pictures(self) -> None:
        """UsageError where the task sees no picture, so that there is nothing to learn to see."""
        if self.spec.env.observed:
            raise UsageError(
                f"{self.name} sees declared numbers of the observation and no picture: there is no detector to train, "
                "to watch or to correct"
            )

    def detector(self) -> OnnxDetector | NativeDetector | ReadingsDetector:
        """The network, in the native engine where that runs; TriuneError when there is none, PerceptionError when it is
        damaged or needs more than standard operators on tensors of its own. Of a task without a picture what reads its
        numbers."""
        from perception.native_detector import open_detector
        from perception.readings import ReadingsDetector

        if self.spec.env.observed:
            return ReadingsDetector(self.schema)

        if not os.path.lexists(self.detector_path):
            fix = f"train one with `{command_line('train', self.called)}`, or compare with --detector teacher"
            raise TriuneError(f"{self.folder} has no detector (perception.onnx); {fix}")
        return open_detector(self.weights(), self.schema, str(self.detector_path))

    def weights(self) -> bytes:
        """The bytes of the network's file, or of the graph that stands for one; PerceptionError says what is wrong."""
        from perception.errors import PerceptionError

        if self.spec.env.observed:
            from perception.readings import graph_of

            return graph_of(self.schema)

        return read_file(self.detector_path, "weights", PerceptionError, self.folder)

    def hashes(self) -> dict[str, str | None]:
        """sha256 of what decides a score: system.toml, policy, safety, detector; and the schema's fingerprint."""
        found = {
            "system": ("system.toml", self.folder / "system.toml"),
            "safety": ("safety text", self.folder / "safety.py"),
            "eyes": ("weights", self.detector_path),
            "policy": ("policy", self.policy_path),
        }
        hashes = {
            name: sha256(read_file(path, kind, TriuneError)) if os.path.lexists(path) else None
            for name, (kind, path) in found.items()
        }
        return {**hashes, "schema": self.schema.fingerprint}


def load(
    task: str | Path, trust: bool = False, isolate: bool | None = None, require_isolation: bool = False,
    policy: str | Path | None = None,
) -> System:  # fmt: skip
    """The system of a zoo task or a folder. `trust`: its teacher.py, ordinary Python, may run when asked for, and
    so may the module that its environment's id names.

    `isolate`: run the policy in hardened workers (None: when it does not ship with Triune and the machine can);
    `require_isolation`: refuse to run it any other way. `policy`: a file with another policy text for the task.
    """
    return System(load_spec(task), trust, isolate, require_isolation, Path(policy) if policy else None)
