"""Labelled samples to a detector: a fixed number of steps, reproducible, resumable, exported at the end.

The same samples, steps, seed and width on one thread give the same weights; a killed run resumes where it stood.
"""

from __future__ import annotations

import ctypes
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from envs.writing import whole
from perception.detector import OnnxDetector
from perception.errors import PerceptionError, SampleError
from perception.scene import SceneSchema
from perception.training.augment import Augmentation, Augmenter
from perception.training.batches import Batch, Batches
from perception.training.data import Samples
from perception.training.export import export, serialised
from perception.training.layout import Layout
from perception.training.losses import total_loss
from perception.training.metrics import evaluate, time_per_frame
from perception.training.network import DetectorNet, Width

MIN_LABELS = 200  # of a thing in the training split; fewer teach nothing reliable
SAVE_EVERY = 200  # steps between checkpoints
Progress = Callable[[int, int, str], None]  # steps done, wanted, words


@dataclass(frozen=True)
class Recipe:
    """How to train. The defaults meet the bar on Breakout and Pong in three to five processor minutes."""

    batch: int = 48
    rate: float = 3e-3
    warm: int = 100
    decay: float = 1e-3
    clip: float = 5.0
    width: Width = field(default_factory=Width)
    look: Augmentation = field(default_factory=Augmentation)
    least: int = MIN_LABELS  # labels of a thing below which training is refused
    near: bool = False  # how things that are there once are measured, see `metrics.compare`


def train(
    samples: Samples, schema: SceneSchema, out_path: str | Path, *, steps: int = 2500, seed: int = 0,
    threads: int = 1, resume: bool = True, progress: Progress | None = None, recipe: Recipe | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Train, calibrate, measure on the test split, export to `out_path`; the metrics, also kept in the file. Without a
    test split nothing is measured (`frames` 0 and no figures).

    `threads` > 1 prepares batches in a second thread. A checkpoint lies beside `out_path` until the run is done.
    `progress` hears where it stands now and then.
    SampleError for labels that do not fit, PerceptionError for a checkpoint of another run.
    """
    recipe = recipe or Recipe()
    samples.check(schema)
    _check_labels(samples.scenes[samples.rows("train")], schema, recipe.least)
    torch.set_num_threads(1)  # two threads stall on shared cores, and one is reproducible
    start, busy = time.monotonic(), time.process_time()
    out_path = Path(out_path)
    origin = _origin(samples, schema, recipe, steps, seed)
    checkpoint = Checkpoint(out_path.with_name(out_path.name + ".training"), origin)
    torch.manual_seed(seed)
    net = DetectorNet(Layout(schema, samples.shape), recipe.width)
    _fit(net, samples, recipe, steps, seed, threads, checkpoint if resume else checkpoint.fresh(), progress)
    _calibrate(net, samples, recipe, seed)
    timing = {"wall_s": round(time.monotonic() - start, 1), "cpu_s": round(time.process_time() - busy, 1)}
    metrics = _deliver(net, samples, schema, out_path, {**origin, **timing}, recipe.near)
    checkpoint.path.unlink(missing_ok=True)
    return metrics


def _origin(samples: Samples, schema: SceneSchema, recipe: Recipe, steps: int, seed: int) -> dict[str, Any]:
    """What decides the weights; a checkpoint with another origin is refused."""
    return {
        "source": samples.source, "samples": samples.fingerprint(), "frames": len(samples), "steps": steps,
        "seed": seed, "batch": recipe.batch, "rate": recipe.rate, "width": recipe.width.to_config(),
        "schema": schema.fingerprint, **({"look": asdict(recipe.look)} if recipe.look != Augmentation() else {}),
    }  # fmt: skip


def label_counts(scenes: np.ndarray, schema: SceneSchema) -> dict[str, int]:
    """How many labels of each thing and reading are among float32[N, size]."""
    names = [part.name for parts in (schema.things, schema.readings) for part in parts]
    slots = {name: [schema.slot(name, i).start for i in range(schema.count(name))] for name in names}
    return {name: int((scenes[:, slots[name]] > 0.5).sum()) for name in names}


def _check_labels(scenes: np.ndarray, schema: SceneSchema, least: int) -> None:
    """SampleError naming the first thing with too few labels to learn from."""
    if not len(scenes):
        raise SampleError("no frame in the training split; collect more episodes")
    for name, labels in label_counts(scenes, schema).items():
        if labels < least:
            raise SampleError(
                f"{name!r} has {labels} labels to train on, at least {least} are needed; collect frames "
                "that show it (poke the state in teacher.py) or take it out of system.toml"
            )


def _fit(
    net: DetectorNet, samples: Samples, recipe: Recipe, steps: int, seed: int, threads: int, checkpoint: Checkpoint,
    progress: Progress | None,
) -> None:  # fmt: skip
    """The training loop, from the checkpoint on; frames are never copied but for a batch: they may fill the memory."""
    augment = Augmenter(net.layout.schema, samples.palette, recipe.look)
    batches = Batches(samples, augment, recipe.batch, seed, samples.rows("train"))
    optimiser = torch.optim.AdamW(net.parameters(), lr=recipe.rate, weight_decay=recipe.decay, fused=True)
    done = checkpoint.load(net, optimiser)
    bar = Bar(steps, done, progress)
    net.train()
    with memory_kept(), _stop_between_steps() as stopped:
        for step, batch in enumerate(batches(done, steps, threads > 1), done):
            rate = recipe.rate * min(1.0, (step + 1) / recipe.warm) * 0.5 * (1 + math.cos(math.pi * step / steps))
            for group in optimiser.param_groups:
                group["lr"] = rate
            losses = _step(net, optimiser, batch, recipe.clip, seed * 1_000_003 + step)
            bar.show(step + 1, losses)
            if (step + 1) % SAVE_EVERY == 0 or step + 1 == steps or stopped():
                checkpoint.save(net, optimiser, step + 1)
            if stopped():
                raise KeyboardInterrupt
    net.eval()


def _step(
    net: DetectorNet, optimiser: torch.optim.Optimizer, batch: Batch, clip: float, seed: int
) -> dict[str, torch.Tensor]:  # fmt: skip
    """One step down; the losses before it."""
    frames, scenes, camera = (torch.from_numpy(part) for part in batch)
    losses = total_loss(net, frames, scenes, camera, seed)
    optimiser.zero_grad()
    losses["total"].backward()
    torch.nn.utils.clip_grad_norm_(net.parameters(), clip)
    optimiser.step()
    return losses


TRIED, WARM = 8, 3  # steps that are timed, and those before them


def seconds_a_step(samples: Samples, schema: SceneSchema, recipe: Recipe | None = None) -> float:
    """Processor seconds that a step takes here with these samples: the median of a few, preparation included."""
    recipe = recipe or Recipe()
    samples.check(schema)
    torch.set_num_threads(1)
    net = DetectorNet(Layout(schema, samples.shape), recipe.width)
    batches = Batches(samples, Augmenter(schema, samples.palette, recipe.look), recipe.batch, 0, samples.rows("train"))
    optimiser, times = torch.optim.AdamW(net.parameters(), lr=recipe.rate, fused=True), list[float]()
    with memory_kept():
        for step in range(WARM + TRIED):
            began = time.process_time()
            _step(net, optimiser, batches.batch(step), recipe.clip, step)
            times.append(time.process_time() - began)
    return float(np.median(times[WARM:]))


def unfinished(out_path: str | Path) -> int | None:
    """How many steps the unfinished training of this file was to have; None: there is none, or it is damaged."""
    path = Path(out_path).with_name(Path(out_path).name + ".training")
    try:
        return int(torch.load(path, weights_only=True)["origin"]["steps"])
    except Exception:  # torch raises many kinds on a damaged file; `Checkpoint.load` tells which
        return None


@contextmanager
def memory_kept() -> Iterator[None]:
    """What is freed stays with the process meanwhile (glibc; elsewhere nothing changes).

    A step takes and frees the same 100 MB and more. The system would take them back and give them anew, cleared, page
    by page: a fifth of the whole time.
    """
    library = ctypes.CDLL(None) if os.name == "posix" else None
    tune, trim = getattr(library, "mallopt", None), getattr(library, "malloc_trim", None)
    if not tune or not trim:
        yield
        return
    tune(M_MMAP_MAX, 0)
    tune(M_TRIM_THRESHOLD, 2**31 - 1)
    try:
        yield
    finally:
        tune(M_MMAP_MAX, 65536)
        tune(M_TRIM_THRESHOLD, 128 << 10)
        trim(0)


M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of malloc.h


@contextmanager
def _stop_between_steps() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C was pressed. It interrupts nothing meanwhile: a step that is cut short could not be kept."""
    pressed: list[int] = []
    mine = threading.current_thread() is threading.main_thread()  # no other may handle signals
    before = signal.signal(signal.SIGINT, lambda number, _: pressed.append(number)) if mine else None
    try:
        yield lambda: bool(pressed)
    finally:
        if mine:
            signal.signal(signal.SIGINT, before)


@torch.no_grad()  # type: ignore[untyped-decorator]
def _calibrate(net: DetectorNet, samples: Samples, recipe: Recipe, seed: int) -> None:
    """Fit the sharpness of presence on augmented validation frames, so that `sure` is a probability."""
    rows = samples.rows("val")
    if not len(rows):
        return
    augment = Augmenter(net.layout.schema, samples.palette, recipe.look)
    batches = Batches(samples, augment, recipe.batch, seed + 1, rows)
    schema, logits, truths = net.layout.schema, [], []
    slots = [schema.slot(t.name) for t in schema.things if t.count == 1] + [
        schema.slot(r.name) for r in schema.readings
    ]
    for step in range(12):
        frames, scenes, _ = (torch.from_numpy(part) for part in batches.batch(step))
        found = net.scenes(frames)
        for slot in slots:
            logits.append(torch.logit(found[:, slot.stop - 1].clamp(1e-6, 1 - 1e-6)))
            truths.append(scenes[:, slot.start] > 0.5)
    if logits:
        logit, truth = torch.cat(logits), torch.cat(truths).float()
        grid = torch.linspace(0.3, 2.0, 35)
        cost = [torch.nn.functional.binary_cross_entropy_with_logits(logit * g, truth) for g in grid]
        net.sharpness.fill_(float(grid[int(torch.stack(cost).argmin())]))


def _deliver(
    net: DetectorNet, samples: Samples, schema: SceneSchema, out_path: Path, origin: dict[str, Any], near: bool
) -> dict[str, Any]:
    """Serialise twice: once to measure the very graph that will be used, once with the metrics in it, to `out_path`."""
    test = samples.of("test")
    shown = test if len(test) else samples  # to compare two programs on, not for a figure
    check = np.stack([shown.rgb(int(r)) for r in np.linspace(0, len(shown) - 1, 32).astype(int)])
    data, gap = serialised(net, origin, check)
    detector = OnnxDetector.parse(data, schema)
    metrics = evaluate(detector.look, test, schema, near=near)
    metrics |= {
        "parameters": sum(p.numel() for p in net.parameters()), "ms_per_frame": time_per_frame(detector.look, check[0]),
        "torch_onnx_gap": round(gap, 6), "sharpness": round(float(net.sharpness), 3),
        "calibrated": bool(len(samples.rows("val"))),
        "wall_s": origin["wall_s"], "cpu_s": origin["cpu_s"],
    }  # fmt: skip
    export(net, out_path, {**origin, "metrics": metrics}, check)
    return metrics


class Checkpoint:
    """Weights, optimiser and step of an unfinished run, replaced atomically."""

    def __init__(self, path: Path, origin: dict[str, Any]) -> None:
        self.path, self.origin = path, origin

    def fresh(self) -> Checkpoint:
        """The same, after dropping what was there."""
        self.path.unlink(missing_ok=True)
        return self

    def save(self, net: DetectorNet, optimiser: torch.optim.Optimizer, step: int) -> None:
        """Write the state after `step` steps; PerceptionError when the disk is full: the state before it stays."""
        state = {"origin": self.origin, "net": net.state_dict(), "optimiser": optimiser.state_dict(), "step": step}
        try:
            with whole(self.path) as part:
                torch.save(state, part)
        except (OSError, RuntimeError) as error:  # torch raises the second when its writer finds no room
            fix = "free some space, then run the same command again: it goes on where it was last written"
            raise PerceptionError(f"{self.path}: training cannot be kept ({error}); {fix}") from error

    def load(self, net: DetectorNet, optimiser: torch.optim.Optimizer) -> int:
        """Steps already done (0 without a checkpoint); PerceptionError when it belongs to another run."""
        if not self.path.exists():
            return 0
        try:
            state = torch.load(self.path, weights_only=True)
            different = [k for k, v in self.origin.items() if state["origin"].get(k) != v]
        except Exception as error:  # torch raises many kinds on a damaged file
            raise PerceptionError(f"{self.path} is damaged ({type(error).__name__}); delete it to start over") from None
        if different:
            raise PerceptionError(
                f"{self.path} belongs to a run with other {', '.join(different)}; delete it or train with resume=False"
            )
        net.load_state_dict(state["net"])
        optimiser.load_state_dict(state["optimiser"])
        return int(state["step"])


class Bar:
    """Tells `progress` where training stands, at most five times a second."""

    def __init__(self, steps: int, done: int, progress: Progress | None) -> None:
        self.steps, self.first, self.progress = steps, done, progress
        self.start = self.last = time.monotonic()

    def show(self, step: int, losses: dict[str, torch.Tensor]) -> None:
        """After `step` of all steps."""
        now = time.monotonic()
        if not self.progress or (now - self.last < 0.2 and step < self.steps):
            return
        self.last = now
        left = (now - self.start) / max(step - self.first, 1) * (self.steps - step)
        parts = " ".join(f"{k} {float(v.detach()):.3f}" for k, v in losses.items() if k != "total")
        self.progress(step, self.steps, f"{step}/{self.steps}  {left // 60:.0f}m{left % 60:02.0f}s left  {parts}")
