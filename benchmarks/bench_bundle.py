"""How long one step of a bundle takes.

Knows: a bundle file and frames. Does not know: what is good enough (the budgets are in DESIGN and in the reports).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from triune.runtime import Bundle

WARM = 20


def measure(path: str | Path, frames: Sequence[np.ndarray]) -> dict[str, float]:
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
