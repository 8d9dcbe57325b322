"""What a zoo task needs to be played here: tests of those that cannot are skipped, with the reason."""

from __future__ import annotations

import pytest

from envs.spec import load_spec

BODIES = "needs the extra mujoco"


def play_or_skip(task: str) -> None:
    """Skip where the simulator of a task is not installed."""
    if load_spec(task).env.observed:
        for package in ("mujoco", "imageio"):
            pytest.importorskip(package, reason=BODIES)


def picture_or_skip(task: str) -> None:
    """Skip for a task that sees numbers: it has no detector, no weights and no teacher."""
    if load_spec(task).env.observed:
        pytest.skip("sees declared numbers, no picture")
