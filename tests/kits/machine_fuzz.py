"""`make fuzz`: the native machine under the sanitizers, for a bounded time.

For half of it random policies must mean on the machine what they mean in Python, bit by bit. For the other half the
same programs, with words changed (machine_fuzz.c), must be refused, or run without touching anything but their own.
Memory errors and undefined behaviour end either half.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
INSIDE = "TRIUNE_FUZZ"  # the folder that programs are kept in
COMPILER = os.environ.get("CC", "cc")
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]
FLAGS = ["-O1", "-g", "-std=c11", "-ffp-contract=off", *SANITIZERS]
KEPT = 4000  # programs for the second half


def compiled(made: Path, sources: Sequence[str], *flags: str) -> Path:
    """A file compiled with the sanitizers."""
    subprocess.run([COMPILER, *FLAGS, *flags, *sources, "-lm", "-o", str(made)], check=True)
    return made


def library(folder: Path) -> None:
    """The package `native` in a folder, its library compiled with the sanitizers."""
    place = folder / "native"
    shutil.copytree(ROOT / "native", place, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    include = f"-I{sysconfig.get_paths()['include']}"
    compiled(place / "_engine.abi3.so", sorted(map(str, place.glob("*.c"))), "-fPIC", "-shared", include)


def preloaded() -> str:
    """The sanitizers' own libraries: a Python that was built without them has to load them first."""
    names = ("libclang_rt.asan-x86_64.so",) if "clang" in COMPILER else ("libasan.so", "libubsan.so")
    asked = [subprocess.run([COMPILER, f"-print-file-name={n}"], capture_output=True, text=True) for n in names]
    return " ".join(found.stdout.strip() for found in asked)


def agree(seconds: float, first: int, kept: Path) -> None:
    """Random policies beside Python, their programs kept; prints how many."""
    from compiler_agree import run_both
    from compiler_fuzz import Maker
    from machine_kit import Machine, check_machine

    from logic.language import CompileError
    from logic.runtime.engine import decider_program, tracker_program
    from triune.system import load

    for task in ("breakout", "pong", "cartpole"):
        system = load(ROOT / "zoo" / task)
        (kept / f"{task}-tracker").write_bytes(tracker_program(system.schema)[0])
        (kept / f"{task}-policy").write_bytes(decider_program(system.logic())[0])
    policies, steps, end, seed = 0, 0, time.monotonic() + seconds, first
    while time.monotonic() < end:
        seed += 1
        try:
            told = run_both(Maker(seed).program(), seed)
        except CompileError:
            continue
        check_machine(told)
        policies, steps = policies + 1, steps + len(told.answers)
        if policies <= KEPT:
            (kept / str(seed)).write_bytes(Machine(told.graph).program)
    print(f"{policies} policies, {steps} steps as in Python", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    half = given.seconds / 2
    if kept := os.environ.get(INSIDE):
        agree(half, given.seed, Path(kept))
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kept = folder / "programs"
        kept.mkdir()
        library(folder)
        environment = os.environ | {
            INSIDE: str(kept), "LD_PRELOAD": preloaded(), "ASAN_OPTIONS": "detect_leaks=0", "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join([name, str(ROOT), str(ROOT / "tests" / "kits")]),
        }  # fmt: skip
        again = [sys.executable, __file__, "--seconds", str(given.seconds), "--seed", str(given.seed)]
        if code := subprocess.run(again, env=environment).returncode:
            return code
        # With a small budget, as the sanitizers make steps slow.
        sources = [str(Path(__file__).with_suffix(".c"))]
        program = compiled(folder / "machine_fuzz", sources, "-DMACHINE_BUDGET=20000", f"-I{ROOT / 'native'}")
        programs = sorted(map(str, kept.iterdir()))
        return subprocess.run([str(program), str(int(half)), str(given.seed), *programs]).returncode


if __name__ == "__main__":
    sys.exit(main())
