"""What the policy language costs, each figure beside what it is compared with, in one run on one core."""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from benchmarks.speed import one_core
from logic.language import CompiledProgram, compile_program
from logic.language.backends.batch import start_batch, step_batch
from logic.runtime.controller import Decision
from perception.scene import Scene
from triune.commands import common
from triune.console import Console
from triune.errors import TriuneError
from triune.play.loop import Rollout
from triune.runtime import Bundle
from triune.system import System, constants_of, load

# ----------------------------------------------------------------------------------------------------
# How long one step of a bundle takes.


WARM = 20


def measure_bundle(path: str | Path, frames: Sequence[np.ndarray]) -> dict[str, float]:
    """Milliseconds of one `Bundle.step` over `frames` in order (median, p95, p99, most), and of loading; file bytes.

    The first steps, in which onnxruntime arranges its memory, are not counted.
    """
    began = time.perf_counter()
    bot = Bundle.load(path)
    loaded = time.perf_counter() - began
    state, times = bot.start(), []
    for i in range(WARM + len(frames)):
        frame = frames[max(0, i - WARM)]
        began = time.perf_counter()
        _, state, _ = bot.step(frame, state)
        times.append(1000 * (time.perf_counter() - began))
    kept = np.sort(times[WARM:])
    return {
        "steps": len(kept), "ms_median": round(float(np.median(kept)), 4),
        "ms_p95": round(float(np.quantile(kept, 0.95)), 4), "ms_p99": round(float(np.quantile(kept, 0.99)), 4),
        "ms_most": round(float(kept[-1]), 4), "load_ms": round(1000 * loaded, 1), "bytes": Path(path).stat().st_size,
    }  # fmt: skip


# ----------------------------------------------------------------------------------------------------
# What isolation costs: the same episode from pixels with the policy in this process and in a worker, side by side.


FIRST_SEED = 0
WARM_UP = 50  # steps in which a forked worker copies what it touches


def measure_cost(task: str | Path, steps: int = 25, rounds: int = 40, protocol: str = "sticky") -> dict[str, Any]:
    """Frames a second of both over `rounds` blocks of `steps` steps each, and `ratio`, isolated over plain, of the
    medians. TriuneError when the two do not decide alike."""
    system = load(task, isolate=False)
    with one_core() as core, _Side(system, protocol) as plain, _Side(load(task, isolate=True), protocol) as isolated:
        sides = {"plain": plain, "isolated": isolated}
        for side in sides.values():
            side.block(WARM_UP)
        times: dict[str, list[float]] = {name: [] for name in sides}
        for i in range(rounds):
            for name, side in list(sides.items())[:: 1 if i % 2 else -1]:
                began = time.perf_counter()
                side.block(steps)
                times[name].append(time.perf_counter() - began)
            if plain.last != isolated.last:
                raise TriuneError(f"isolated, the policy decided {isolated.last} instead of {plain.last}")
        started = isolated.start_ms()
    per_block = steps * system.protocol(protocol).frames_per_step
    fps = {name: per_block / median(t) for name, t in times.items()}
    return {
        "task": system.name, "protocol": protocol, "core": core, "rounds": rounds, "steps": steps,
        "plain_fps": round(fps["plain"], 1), "isolated_fps": round(fps["isolated"], 1),
        "ratio": round(fps["isolated"] / fps["plain"], 4),
        "added_us": round(1e6 * (median(times["isolated"]) - median(times["plain"])) / steps, 1),
        "start_ms": round(started, 1),
    }  # fmt: skip


class _Side:
    """One way of playing, episode after episode."""

    def __init__(self, system: System, protocol: str) -> None:
        self._rollout, self._seed = Rollout(system, protocol), FIRST_SEED
        self._steps: Iterator[Any] = self._rollout.episode(self._seed)
        self.last: tuple[Decision, ...] = ()

    def block(self, steps: int) -> None:
        """Play so many steps."""
        decided: list[Decision] = []
        while len(decided) < steps:
            step = next(self._steps, None)
            if step is None:
                self._seed += 1
                self._steps = self._rollout.episode(self._seed)
            else:
                decided.append(step.decision)
        self.last = tuple(decided)

    def start_ms(self) -> float:
        """Median milliseconds to start an episode's controller."""
        took = []
        for _ in range(5):
            began = time.perf_counter()
            self._rollout.controller.reset()
            took.append(1e3 * (time.perf_counter() - began))
        return median(took)

    def __enter__(self) -> _Side:
        return self

    def __exit__(self, *_: object) -> None:
        self._rollout.close()


# ----------------------------------------------------------------------------------------------------
# What the policy language costs, each figure beside what it is compared with, in one run on one core.
#
# Needs a checkout (benchmarks/ is not installed) and the `export` extra.


BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
SCALAR = BENCHMARKS / "breakout_scalar.py"
BATCH = 1024


class Figure(NamedTuple):
    """One measurement: what, on which task, its value and unit, the budget it must keep (None: for information)."""

    name: str
    task: str
    value: float
    unit: str
    budget: float | None = None

    @property
    def ok(self) -> bool:
        """Within the budget?"""
        return self.budget is None or self.value <= self.budget


def measure(tasks: list[System], steps: int = 400, rounds: int = 7) -> Iterator[Figure]:
    """Every figure as it is done. `steps` decisions a block, `rounds` blocks of each side, alternating."""
    if not SCALAR.is_file():
        raise TriuneError("`triune bench language` compares with benchmarks/, which only a checkout has")
    with one_core():
        for system in tasks:
            frames, vectors = _record(system, steps)
            yield from _policy(system, system.texts.policy, "zoo policy", vectors, rounds, lookahead=True)
            if system.name == "breakout":
                scalar = SCALAR.read_text(encoding="utf-8")
                yield from _policy(system, scalar, "scalar policy", vectors, rounds, lookahead=False)
                yield from _bundle(system, scalar, frames)
        yield from _isolation(tasks[0], steps, rounds)


def _record(system: System, steps: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Frames and tracked scenes of the first steps of an episode from pixels."""
    frames, vectors = [], []
    with Rollout(system) as rollout:
        for step in rollout.episode(0):
            frames.append(step.frame.copy())
            vectors.append(step.scene.vector)
            if len(frames) == steps:
                break
    return frames, np.stack(vectors)


def _policy(
    system: System, text: str, what: str, vectors: np.ndarray, rounds: int, lookahead: bool
) -> Iterator[Figure]:
    constants = constants_of(system.spec, system.protocol())
    took = []
    for _ in range(3):
        began = time.perf_counter()
        made = compile_program(text, system.schema, constants)
        took.append(time.perf_counter() - began)
    yield Figure(f"{what}: compile", system.name, 1e3 * median(took), "ms", 1000 if lookahead else 50)
    plain = _reference().load_program(text, constants)
    scenes = [system.schema.read(v) for v in vectors]
    ours, theirs = _alternate([lambda: _play(made, scenes), lambda: _play(plain, scenes)], rounds)
    budget = 1000.0 if lookahead else 10.0
    yield Figure(f"{what}: generated Python", system.name, 1e6 * ours / len(scenes), "us a decision", budget)
    yield Figure(f"{what}: hand-written, exec'd", system.name, 1e6 * theirs / len(scenes), "us a decision")
    yield Figure(f"{what}: generated / hand-written", system.name, ours / theirs, "ratio", 1.2)
    yield _onnx(system, made, what, vectors)
    yield _batched(system, made, what, vectors, None if lookahead else 0.5)


def _reference() -> ModuleType:
    """benchmarks/plain_runner.py, which runs the text of a policy as ordinary Python."""
    spec = importlib.util.spec_from_file_location("plain_runner", BENCHMARKS / "plain_runner.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _play(program: Any, scenes: list[Scene]) -> float:
    """Seconds that one pass over the scenes takes, memory fresh."""
    memory, act = program.start(), program.act
    with np.errstate(divide="raise", invalid="raise"):
        began = time.perf_counter()
        for scene in scenes:
            act(scene, memory)
        return time.perf_counter() - began


def _alternate(sides: list[Callable[[], float]], rounds: int) -> list[float]:
    """Median of each side, taken in turns."""
    times: list[list[float]] = [[] for _ in sides]
    for _ in range(rounds):
        for kept, side in zip(times, sides, strict=True):
            kept.append(side())
    return [median(kept) for kept in times]


def _onnx(system: System, made: CompiledProgram, what: str, vectors: np.ndarray) -> Figure:
    """Mean over the recorded scenes, memory carried along: lookahead decisions differ widely in cost."""
    import onnxruntime

    from logic.language.backends.onnx import logic_model
    from logic.language.layout import MemoryLayout

    assert made.graph
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    model = logic_model(made.graph, system.schema.size, 0).SerializeToString()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    times = []
    for _ in range(3):
        memory = MemoryLayout.of(made.graph.fields).start()
        began = time.perf_counter()
        for vector in vectors:
            memory = session.run(["action", "next_memory"], {"scene": vector, "memory": memory})[1]
        times.append((time.perf_counter() - began) / len(vectors))
    return Figure(f"{what}: ONNX", system.name, 1e6 * median(times), "us a decision", 1000.0)


def _batched(system: System, made: CompiledProgram, what: str, vectors: np.ndarray, budget: float | None) -> Figure:
    assert made.graph
    memory = start_batch(made.graph, BATCH)
    batch = vectors[np.arange(BATCH) % len(vectors)]
    times = []
    for _ in range(20):
        began = time.perf_counter()
        memory = step_batch(made.graph, batch, memory).memory
        times.append(time.perf_counter() - began)
    return Figure(f"{what}: batch of {BATCH}", system.name, 1e6 * median(times) / BATCH, "us an environment", budget)


def _bundle(system: System, text: str, frames: list[np.ndarray]) -> Iterator[Figure]:
    """The fused file of the scalar policy and of the zoo's, one step each."""
    from triune.deploy.export import export

    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / system.name
        shutil.copytree(system.folder, copy, ignore=shutil.ignore_patterns("locks"))
        (copy / "policy.py").write_text(text, encoding="utf-8")
        for name, source, budget in (("scalar policy", load(copy), 0.6), ("zoo policy", system, None)):
            path = Path(folder) / "bundle.onnx"
            export(source, path)
            took = measure_bundle(path, frames)["ms_median"]
            yield Figure(f"{name}: fused bundle", system.name, took, "ms a frame", budget)


def _isolation(system: System, steps: int, rounds: int) -> Iterator[Figure]:

    found = measure_cost(system.name, steps=steps, rounds=rounds)
    yield Figure("isolated episode: cost", system.name, 1.0 - found["ratio"], "share of frames/s", 0.05)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Of `triune bench language`."""
    parser.add_argument("task", nargs="?", help="default: the whole zoo")
    parser.add_argument("--rounds", type=common.positive, default=7, metavar="N", help="blocks (default 7)")


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Payload: the measurement."""
    from envs.spec import task_names
    from triune.system import load

    figures = []
    for figure in measure([load(t) for t in ([args.task] if args.task else task_names())], rounds=args.rounds):
        budget = "" if figure.budget is None else f"{'ok' if figure.ok else 'OVER'} (at most {figure.budget:g})"
        console.say(f"{figure.task:<10}{figure.name:<40}{figure.value:>10.3f} {figure.unit:<18}{budget}")
        figures.append({**figure._asdict(), "ok": figure.ok})
    return {"figures": figures, "ok": all(f["ok"] for f in figures)}
