"""Who plays while data is collected: at random, by the teacher's script, or by the system's own policy.

Knows memory (through the teacher) because this is training time. Does not know what is recorded.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from data_flywheel.teachers import Teacher
from envs.protocol import Protocol
from envs.spec import SystemSpec
from logic.controller import Controller
from logic.errors import LogicError
from logic.runner import load_policy

# (ram, scene vector) -> action
Player = Callable[[NDArray[np.uint8], NDArray[np.float32]], int]


def available(spec: SystemSpec) -> tuple[str, ...]:
    """The players this system has: "policy" only where the folder has one that loads."""
    try:
        load_policy(spec.folder / "policy.py", spec.env.actions, spec.constants(4, 0.25))
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


def _policy(spec: SystemSpec, teacher: Teacher, protocol: Protocol) -> Player:
    """The folder's policy on the teacher's scenes, without safety rules: collecting may be reckless."""
    path = spec.folder / "policy.py"
    constants = spec.constants(protocol.frameskip, protocol.sticky)
    try:
        program = load_policy(path, spec.env.actions, constants)
    except LogicError as error:
        raise LogicError(f"cannot collect with {path}: {error}") from error
    # The decision must not depend on how fast this machine is.
    controller = Controller(program, None, teacher.schema, spec.env.actions, spec.env.fallback, clock=lambda: 0)
    return lambda ram, vector: controller.decide(teacher.schema.read(vector)).action
