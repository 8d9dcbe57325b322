"""Run code that may be hostile in a forked, hardened worker and say how it ended: bytes in, bytes out.

    outcome = run_isolated(compile_text, text, reply_size_max=1 << 20)     # one shot: ok, fault, killed(cpu), ...
    with Worker(make_step, request_size=120, reply_size=12) as worker:     # a whole episode
        reply = worker.step(request)                                      # Stopped(outcome) when it ends early
"""

from __future__ import annotations

from logic.sandbox.channel import Cause, IsolationError, Kind, Limits, Outcome, OutOfFuel, Stopped
from logic.sandbox.worker import Layer, Worker, layers, measure, run_isolated

__all__ = [
    "Cause",
    "IsolationError",
    "Kind",
    "Layer",
    "Limits",
    "OutOfFuel",
    "Outcome",
    "Stopped",
    "Worker",
    "layers",
    "measure",
    "run_isolated",
]
