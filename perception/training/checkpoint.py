"""A training run's survival and its progress line.

Knows: how to keep weights, optimiser and step of an unfinished run so that a kill at any instant costs at most a few
steps; how to show progress on stderr. Does not know: what is trained. torch, training only.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import torch

from perception.errors import PerceptionError
from perception.training.network import Detector


class Checkpoint:
    """Weights, optimiser and step of an unfinished run, replaced atomically."""

    def __init__(self, path: Path, origin: dict[str, Any]) -> None:
        self.path, self.origin = path, origin

    def fresh(self) -> Checkpoint:
        """The same, after dropping what was there."""
        self.path.unlink(missing_ok=True)
        return self

    def save(self, net: Detector, optimiser: torch.optim.Optimizer, step: int) -> None:
        """Write the state after `step` steps; PerceptionError when the disk is full: the state before it stays."""
        part = self.path.with_name(self.path.name + ".part")
        state = {"origin": self.origin, "net": net.state_dict(), "optimiser": optimiser.state_dict(), "step": step}
        try:
            torch.save(state, part)
            os.replace(part, self.path)
        except (OSError, RuntimeError) as error:  # torch raises the second when its writer finds no room
            part.unlink(missing_ok=True)
            fix = "free some space, then run the same command again: it goes on where it was last written"
            raise PerceptionError(f"{self.path}: training cannot be kept ({error}); {fix}") from error

    def load(self, net: Detector, optimiser: torch.optim.Optimizer) -> int:
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
    """A progress line on stderr, rewritten at most five times a second."""

    def __init__(self, steps: int, done: int, on: bool) -> None:
        self.steps, self.first, self.on = steps, done, on
        self.start = self.last = time.monotonic()

    def show(self, step: int, losses: dict[str, torch.Tensor]) -> None:
        """After `step` of all steps."""
        now = time.monotonic()
        if not self.on or (now - self.last < 0.2 and step < self.steps):
            return
        self.last = now
        left = (now - self.start) / max(step - self.first, 1) * (self.steps - step)
        full = 24 * step // self.steps
        parts = " ".join(f"{k} {float(v):.3f}" for k, v in losses.items() if k != "total")
        bar = f"[{'#' * full}{'.' * (24 - full)}] {step}/{self.steps}"
        line = f"{bar}  {left // 60:.0f}m{left % 60:02.0f}s left  {parts}"
        print(f"\r{line[:118]:<118}", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Leave the line."""
        if self.on:
            print(file=sys.stderr)
