"""Small native bundles, with random networks and policies, and C programs that run them. As a command, `bundle_kit.py
SECONDS`, the fuzzer of both (bundle_fuzz.c) under the sanitizers."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from compiler_fuzz import Maker
from compiler_kit import CONSTANTS, SCHEMA, SPACE
from eyes_kit import random_plan

from envs.actions import Box
from logic.runtime.logic import Logic, compile_logic
from triune import native_bundle
from triune.deploy.native import sections_of

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [str(ROOT / "native" / f"{name}.c") for name in ("bundle", "eyes", "machine", "level")]
FLAGS = ("-std=c11", "-O0", "-ffp-contract=off", "-Wno-psabi", f"-I{ROOT / 'native'}")
SANITIZERS = ("-O1", "-g", "-DMACHINE_BUDGET=200000", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
PUSHED = '''"""Two controls."""


class Memory:
    n: int = 0


def act(scene, memory):
    memory.n = memory.n + 1
    return (scene.ball.x - 20.0, float(memory.n % 7)), "push"
'''


def small_logic(seed: int) -> Logic:
    """A random policy; of every fourth seed one of controls."""
    if seed % 4 == 3:
        space = Box(("turn", "gas"), (-1.0, -3.0), (1.0, 3.0))
        constants = {k: v for k, v in CONSTANTS.items() if k not in SPACE.names}
        return compile_logic(SCHEMA, PUSHED, "", constants, space, space.parse([0.25, 0.0]))
    return compile_logic(SCHEMA, Maker(seed).program(), "", CONSTANTS, SPACE, 2)


def small(seed: int) -> bytes:
    """The bytes of a bundle that says nothing of itself, for C's reader."""
    plan = next(p for p in map(random_plan, range(seed, seed + 99)) if p.size <= SCHEMA.size)
    sections, _ = sections_of(small_logic(seed), replace(plan, size=SCHEMA.size))
    return native_bundle.pack({"manifest": b"{}\0", "parts": b"{}", **sections})


def compiled(compiler: str, source: Path, made: Path, flags: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    """A program that runs bundles."""
    command = [compiler, *FLAGS, *flags, "-o", str(made), str(source), *SOURCES, "-lm"]
    return subprocess.run(command, capture_output=True, text=True)


def fuzz(seconds: int, compiler: str, folder: Path, seeds: Sequence[int] = (0, 3, 5, 7)) -> str:
    """What the fuzzer counted, a line a seed; RuntimeError with its words when it found something."""
    made = compiled(compiler, ROOT / "tests/kits/bundle_fuzz.c", folder / "fuzz", SANITIZERS)
    if made.returncode:
        raise RuntimeError(made.stderr)
    said = ""
    for seed in seeds:
        (folder / "small.triune").write_bytes(small(seed))
        command = [str(folder / "fuzz"), str(folder / "small.triune"), str(seed), str(max(1, seconds // len(seeds)))]
        ran = subprocess.run(command, capture_output=True, text=True)
        if ran.returncode:
            raise RuntimeError(f"bundle {seed}: {ran.stdout}{ran.stderr[-4000:]}")
        said += ran.stdout
    return said


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        print(fuzz(int(sys.argv[1]), os.environ.get("CC", "cc"), Path(place)), end="")
