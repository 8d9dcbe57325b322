"""The evidence that a proposer is given for one trial, from training episodes and the history of the search."""

from __future__ import annotations

from supervisor.evidence.context import Blame, Child, Context, Frames, GateSummary, Limits, LockNote, Scoreboard
from supervisor.evidence.failures import Failure, Findings
from supervisor.evidence.pack import build, describe, page, write

__all__ = [
    "Blame", "Child", "Context", "Failure", "Findings", "Frames", "GateSummary", "Limits", "LockNote", "Scoreboard",
    "build", "describe", "page", "write",
]  # fmt: skip
