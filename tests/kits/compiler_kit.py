"""What the compiler's tests share: a task's schema and constants, and running one text in every way there is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from envs.actions import Discrete
from logic.language import CompiledModule, CompiledProgram, Diagnostic, check_source, compile_program
from logic.language.program import Program
from logic.runtime.controller import Controller
from logic.runtime.logic import Logic
from logic.runtime.tracker import compile_tracker
from perception.scene import SceneSchema

ACTIONS = ("NOOP", "FIRE", "RIGHT", "LEFT")
SPACE = Discrete(ACTIONS)


def constants_with(actions: Sequence[str]) -> dict[str, float]:
    """What a text sees of protocol `sticky` and of these actions."""
    return {"FRAMESKIP": 4, "STICKY": 0.25, "HEIGHT": 210, "WIDTH": 160} | {a: i for i, a in enumerate(actions)}


CONSTANTS = constants_with(ACTIONS)
SCHEMA = SceneSchema.from_config(
    {
        "crop": [0, 0, 99, 99],
        "things": {"ball": {"required": True}, "enemy": {"count": 3}},
        "grids": {"bricks": {"rows": 3, "cols": 4, "top": 0, "left": 0, "cell": [4, 4]}},
        "gauges": {"air": {"box": [0, 0, 4, 4]}},
    }
)
MEMORY = """
class Memory:
    n: int = 0
    x: float = 0.0
    on: bool = False
    trail: Float[3] = zeros(3)
    ticks: Int[4] = zeros_int(4)
"""


def library(name: str) -> str:
    """No library."""
    raise KeyError(name)


def policy(body: str, module: str = "", memory: str = MEMORY) -> str:
    """A policy whose act has `body` (lines without indentation) before its return."""
    lines = "".join(f"    {line}\n" for line in body.strip("\n").split("\n")) if body.strip() else ""
    return f'"""Test."""\n{module}\n{memory}\n\ndef act(scene, memory):\n{lines}    return NOOP, "end"\n'


def check(source: str | bytes, **kwargs: object) -> list[Diagnostic]:
    """Diagnostics of a text."""
    return check_source(source, SCHEMA, CONSTANTS, **kwargs)  # type: ignore[arg-type]


def build(source: str) -> CompiledProgram:
    """The compiled policy."""
    return compile_program(source, SCHEMA, CONSTANTS)


def controller(
    program: Program, *modules: CompiledModule, schema: SceneSchema = SCHEMA, n_actions: int = len(ACTIONS)
) -> Controller:
    """A controller over a program of any origin and compiled rules, without the built-in rule; the fallback is 0."""
    actions = Discrete(tuple(f"A{i}" for i in range(n_actions)))
    return Controller(Logic(schema, actions, 0, program, modules, compile_tracker(schema)))  # type: ignore[arg-type]


def random_vectors(n: int, seed: int) -> np.ndarray:
    """float32[n, size]: scenes with everything that occurs, rounded numbers and zeros often among them."""
    rng = np.random.default_rng(seed)
    made = rng.normal(0, 40, (n, SCHEMA.size))
    coarse = rng.random(made.shape) < 0.5
    made = np.where(coarse, np.round(made / 8.0), made)
    flags = [i for i, name in enumerate(SCHEMA.names) if name.endswith("seen") or name.startswith("bricks")]
    made[:, flags] = rng.random((n, len(flags))) < 0.6
    return made.astype(np.float32)
