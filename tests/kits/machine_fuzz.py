"""`make fuzz`: the native machine under the sanitizers, for a bounded time.

Random policies must mean on it what they mean in Python. The same programs with words changed must be refused, or run
without touching anything but their own: memory errors and undefined behaviour end the run, and so does a change to
what belongs to another program.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
INSIDE = "TRIUNE_FUZZ"
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]
FLAGS = ["-O1", "-g", "-std=c11", "-DMACHINE_BUDGET=200000", *SANITIZERS]  # whose steps are slow
RUNS = 6  # scenes and memories for a program that was tampered with


def build(folder: Path) -> None:
    """The package `native` with its library, compiled with the sanitizers."""
    place = folder / "native"
    shutil.copytree(ROOT / "native", place, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    sources = sorted(str(p) for p in place.glob("*.c"))
    include = sysconfig.get_paths()["include"]
    compiler = os.environ.get("CC", "cc")
    command = [compiler, *FLAGS, "-ffp-contract=off", "-fPIC", "-shared", f"-I{include}", *sources, "-lm", "-o"]
    subprocess.run([*command, str(place / "_engine.abi3.so")], check=True)


def again(seconds: float, first: int) -> int:
    """This script once more, with that library and the sanitizers loaded first."""
    with tempfile.TemporaryDirectory() as folder:
        build(Path(folder))
        compiler = os.environ.get("CC", "cc")
        found = [
            subprocess.run([compiler, f"-print-file-name={name}"], capture_output=True, text=True).stdout.strip()
            for name in ("libasan.so", "libubsan.so")
        ]
        environment = os.environ | {
            INSIDE: "1", "LD_PRELOAD": " ".join(found), "ASAN_OPTIONS": "detect_leaks=0", "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join([folder, str(ROOT), str(ROOT / "tests" / "kits")]),
        }  # fmt: skip
        command = [sys.executable, __file__, "--seconds", str(seconds), "--seed", str(first)]
        return subprocess.run(command, env=environment).returncode


def publishes(data: bytes) -> bool:
    """Does the head of a program say that it writes into the scene?"""
    return data[4 * 8 : 4 * 9] != bytes(4)


def fuzz(seconds: float, first: int) -> dict[str, int]:
    """Counts of what was tried."""
    import numpy as np
    from compiler_agree import run_both
    from compiler_fuzz import Maker
    from compiler_kit import SCHEMA, random_vectors
    from machine_kit import ENGINE, Machine, check_machine, tampered

    from logic.language import CompileError

    done = dict.fromkeys(("policies", "steps", "tampered", "refused", "runs"), 0)
    scenes, end = random_vectors(64, first), time.monotonic() + seconds
    seed = first
    while time.monotonic() < end:
        seed += 1
        try:
            steps = run_both(Maker(seed).program(), seed)
        except CompileError:
            continue
        check_machine(steps)
        done["policies"] += 1
        done["steps"] += len(steps.answers)
        machine, r = Machine(steps.graph), random.Random(seed)
        size, turn = machine.layout.size, time.monotonic() + 1.0
        while time.monotonic() < min(turn, end):
            done["tampered"] += 1
            try:
                made_of = tampered(machine.program, r)
                made = ENGINE.machine_new(made_of)
            except ValueError:
                done["refused"] += 1
                continue
            for _ in range(RUNS):
                try:
                    ENGINE.machine_load(made, 0, r.randbytes(size) if r.random() < 0.3 else machine.layout.pack(
                        steps.before[r.randrange(len(steps.before))]))  # fmt: skip
                    ENGINE.machine_decide(made, scenes[r.randrange(64)])
                    told = np.empty(SCHEMA.size, np.float32)
                    if ENGINE.machine_track(made, scenes[0], told):
                        assert told.tobytes() == scenes[0].tobytes() or publishes(made_of)  # nobody else may write it
                except ValueError:  # another size of scene or memory
                    break
                done["runs"] += 1
    return done


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if not os.environ.get(INSIDE):
        return again(given.seconds, given.seed)
    print(", ".join(f"{count} {name}" for name, count in fuzz(given.seconds, given.seed).items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
