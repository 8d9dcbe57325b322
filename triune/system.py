"""A heuristic system, loaded: `triune.load("breakout")` or a folder.

Knows: spec, schema, where the eyes and texts are, and how to play and evaluate with them. Does not know how any of
those works inside; the loop is in `triune.rollout`, figures in `triune.evaluate`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from envs.protocol import Protocol, get_protocol
from envs.spec import ZOO, SystemSpec, find_line, load_spec
from logic.runtime.compiled import Logic
from logic.runtime.controller import Controller
from perception.scene import SceneError, SceneSchema
from triune.errors import TriuneError, UsageError, nearest
from triune.isolate import build_confined, choose
from triune.policies import Texts, build_controller, build_logic, read_texts, sha256

if TYPE_CHECKING:
    from logic.runtime.locks import Lock
    from triune.play.evaluate import Result
    from triune.play.loop import Step

EYES = ("cnn", "teacher", "colour")
LOWEST = {"ALE/Pong-v5": -21.0}  # the score of doing nothing, where it is not 0


class System:
    """One task's folder. Attributes: `spec`, `schema`, `folder`, `name`; `texts` (policy and safety) load on use."""

    def __init__(
        self, spec: SystemSpec, trust: bool = False, isolate: bool | None = None, require_isolation: bool = False,
        policy: Path | None = None,
    ) -> None:  # fmt: skip
        self.isolate, self.require_isolation = isolate, require_isolation or spec.require_isolation
        self.policy_path = policy or spec.folder / "policy.py"
        self.spec, self.folder, self.name = spec, spec.folder, spec.name
        self.trust = trust or ZOO in spec.folder.resolve().parents
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
    def lowest(self) -> float:
        """The score of doing nothing."""
        return LOWEST.get(self.spec.env.id, 0.0)

    @property
    def eyes_path(self) -> Path:
        """Where the weights are."""
        return self.folder / "perception.onnx"

    def protocol(self, name: str | None = None) -> Protocol:
        """The protocol called `name`, or the task's own."""
        return get_protocol(name or self.spec.env.protocol)

    @cached_property
    def isolated(self) -> bool:
        """Whether the policy runs in isolated workers: as asked, else when it does not ship with Triune."""
        return choose(self.texts, self.isolate, self.require_isolation)

    def logic(self, protocol: str | None = None) -> Logic:
        """Tracker, policy and rules, compiled for a protocol; CompileError lists what is wrong."""
        return build_logic(self.spec, self.schema, self.texts, self.protocol(protocol))

    def controller(self, protocol: str | None = None) -> Controller:
        """Policy and safety for a protocol, with fresh memory. Close it: isolated, it has a worker."""
        if self.isolated:
            protocol_ = self.protocol(protocol)
            return build_confined(self.spec, self.schema, self.texts, protocol_, self.require_isolation)
        return build_controller(self.spec, self.schema, self.texts, self.protocol(protocol))

    def locks(self) -> tuple[Lock, ...]:
        """What must not change, as kept by `triune lock`; LogicError names a file that is damaged."""
        from logic.runtime import locks

        return tuple(locks.read(path, self.schema) for path in locks.files(self.folder))

    def check_teacher(self) -> None:
        """A teacher is ordinary Python: a stranger's is not run unless somebody vouches for it."""
        if not self.trust:
            raise TriuneError(
                f"{self.folder / 'teacher.py'} is ordinary Python of unknown origin; "
                "pass --trust (Python: trust=True) if you have read it"
            )

    def eyes(self, kind: str = "cnn") -> Any:
        """Something with `reset()` and `see(frame) -> float32[size]`. The teacher's lives behind the wall: rollout."""
        check_eyes(kind)
        if kind == "colour":
            from triune.play.colour_rules import ColourEyes

            return ColourEyes.load(self.spec, self.schema)
        if not self.eyes_path.is_file():
            fix = f"train them with `triune train {self.name}`"
            raise TriuneError(f"{self.folder} has no eyes (perception.onnx); {fix}, or compare with --eyes teacher")
        from perception.detector import Eyes

        return Eyes.load(self.eyes_path, self.schema)

    def hashes(self) -> dict[str, str | None]:
        """sha256 of what decides a score: system.toml, policy, safety, eyes; and the schema's fingerprint."""
        names = {"system": "system.toml", "safety": "safety.py", "eyes": "perception.onnx"}
        found = {k: self.folder / n for k, n in names.items()} | {"policy": self.policy_path}
        hashes: dict[str, str | None] = {k: sha256(p.read_bytes()) if p.is_file() else None for k, p in found.items()}
        return {**hashes, "schema": self.schema.fingerprint}

    def play(
        self, seed: int = 0, protocol: str | None = None, shift: str | None = None, eyes: str = "cnn"
    ) -> Iterator[Step]:
        """One episode, step by step: `step.index`, `step.scene`, `step.decision`, `step.frame` (copy it to keep it)."""
        from triune.play.loop import Rollout

        with Rollout(self, protocol, shift, eyes) as rollout:
            yield from rollout.episode(seed)

    def evaluate(
        self, protocol: str | None = None, seeds: Iterable[int] = range(100, 110), shift: str | None = None,
        eyes: str = "cnn", workers: int = 1, **options: Any,
    ) -> Result:  # fmt: skip
        """Score over seeds; `run` names a folder that keeps every episode (and makes it resumable)."""
        from triune.play.evaluate import evaluate

        return evaluate(self, protocol, list(seeds), shift, eyes, workers, **options)


def check_eyes(kind: str) -> None:
    """UsageError with the nearest choice."""
    if kind not in EYES:
        raise UsageError(f"unknown eyes {kind!r}; {nearest(kind, EYES)}")


def load(
    task: str | Path, trust: bool = False, isolate: bool | None = None, require_isolation: bool = False,
    policy: str | Path | None = None,
) -> System:  # fmt: skip
    """The system of a zoo task or a folder. `trust`: its teacher.py, ordinary Python, may run when asked for.

    `isolate`: run the policy in hardened workers (None: when it does not ship with Triune and the machine can);
    `require_isolation`: refuse to run it any other way. `policy`: a file with another policy text for the task.
    """
    return System(load_spec(task), trust, isolate, require_isolation, Path(policy) if policy else None)
