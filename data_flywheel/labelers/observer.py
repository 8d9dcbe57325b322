"""The teacher as an observer inside the emulator process: exact scenes beside the frames, for evaluation only.

`envs.remote.Observer("data_flywheel.labelers.observer:teacher", folder, schema.size)` names it. Nothing that plays for
a score may use it; `triune eval --eyes teacher` and blame do, and say so.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from data_flywheel.labelers.teachers import load_teacher


def teacher(folder: str) -> Callable[[NDArray[np.uint8], NDArray[np.uint8]], NDArray[np.float32]]:
    """(ram, frame) -> Scene vector float32[size] of the system in `folder`."""
    return load_teacher(folder).label
