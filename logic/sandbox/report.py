"""What isolation is worth on this machine: which layers hold, found by putting them on, and what they cost.

Knows one probe. Does not know how `triune doctor` prints it.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

from logic.sandbox.harden import NAMES
from logic.sandbox.outcome import IsolationError, Limits
from logic.sandbox.worker import Worker, run_isolated


@dataclass(frozen=True)
class Layer:
    """Whether a layer was active in a probe just now, and if not why."""

    active: bool
    reason: str


def layers() -> dict[str, Layer]:
    """Each layer of isolation by name, as a worker started now would have it (with the namespace asked for)."""
    try:
        outcome = run_isolated(bytes, b"", 0, Limits(namespace=True))
    except IsolationError as error:
        return {name: Layer(False, str(error)) for name in NAMES}
    found = outcome.layers or {name: f"the probe failed: {outcome}" for name in NAMES}
    return {name: Layer(not why, why) for name, why in found.items()}


def measure(steps: int = 2000, starts: int = 10, request_size: int = 400, reply_size: int = 12) -> dict[str, float]:
    """Medians: one request and reply in microseconds; fork, harden, make the step and end in milliseconds."""
    reply, request = bytes(reply_size), bytes(request_size)
    worker = Worker(lambda: lambda data: reply, request_size, reply_size)
    began: list[float] = []
    for _ in range(starts):
        before = time.perf_counter()
        worker.start()
        worker.close()
        began.append(time.perf_counter() - before)
    trips: list[float] = []
    with worker:
        for _ in range(steps):
            before = time.perf_counter()
            worker.step(request)
            trips.append(time.perf_counter() - before)
    return {"round_trip_us": statistics.median(trips) * 1e6, "start_ms": statistics.median(began) * 1e3}
