"""Who plays while data is collected: at random, by the teacher's script, or by the system's own policy.

Knows memory (through the teacher) because this is training time. Does not know what is recorded.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from data_flywheel.labelers.teachers import Teacher
from envs.protocol import Protocol
from envs.spec import SystemSpec
from logic.errors import LogicError
from logic.language import CompiledProgram, compile_program
from perception.scene import SceneSchema

# (ram, scene vector) -> action
Player = Callable[[NDArray[np.uint8], NDArray[np.float32]], int]


def available(spec: SystemSpec) -> tuple[str, ...]:
    """The players this system has: "policy" only where the folder has one that loads."""
    try:
        _compile(spec, SceneSchema.from_config(spec.scene), 4, 0.25)
    except LogicError:
        return ("random", "scripted")
    return ("random", "scripted", "policy")


def make_player(
    name: str, spec: SystemSpec, teacher: Teacher, protocol: Protocol, rng: np.random.Generator, noise: float
) -> Player:
    """A player whose choices depend on `rng` and the game alone. A random act lasts a few steps."""
    n_actions = len(spec.env.actions)
    if name == "policy":
        decide = _policy(spec, teacher, protocol)
    else:

        def decide(ram: NDArray[np.uint8], vector: NDArray[np.float32]) -> int:
            return teacher.scripted(ram, rng)

    share = 1.0 if name == "random" else noise
    holding = [0, 0]  # steps left, action

    def play(ram: NDArray[np.uint8], vector: NDArray[np.float32]) -> int:
        wanted = 0 if name == "random" else decide(ram, vector)
        if holding[0] == 0 and rng.random() < share:
            holding[:] = int(rng.integers(1, 7)), int(rng.integers(n_actions))
        if holding[0]:
            holding[0] -= 1
            return holding[1]
        return wanted

    return play


def _compile(spec: SystemSpec, schema: SceneSchema, frameskip: int, sticky: float) -> CompiledProgram:
    path = spec.folder / "policy.py"
    try:
        source = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LogicError(f"cannot read {path}: {error}") from error
    actions = {name: i for i, name in enumerate(spec.env.actions)}
    return compile_program(source, schema, {**spec.constants(frameskip, sticky), **actions}, name=path.name)


def _policy(spec: SystemSpec, teacher: Teacher, protocol: Protocol) -> Player:
    """The folder's policy on the teacher's scenes, without safety rules: collecting may be reckless."""
    try:
        program = _compile(spec, teacher.schema, protocol.frameskip, protocol.sticky)
    except LogicError as error:
        raise LogicError(f"cannot collect with {spec.folder / 'policy.py'}: {error}") from error
    memory, fallback = program.start(), spec.env.actions.index(spec.env.fallback)

    def decide(ram: NDArray[np.uint8], vector: NDArray[np.float32]) -> int:
        try:
            return program.act(teacher.schema.read(vector), memory)[0]
        except Exception:  # a fault: generated code leaves memory as it was
            return fallback

    return decide
