"""The evidence that a proposer is given for one trial, from recorded training episodes and the history of the search.

Knows: what is said, in which order and at what length. Does not know: how it is put to a model or what comes back.
"""

from __future__ import annotations

from supervisor.evidence.context import Blame, Context, Frames, GateSummary, Limits, LockNote, Scoreboard
from supervisor.evidence.failures import Failure, Findings
from supervisor.evidence.pack import build
from supervisor.evidence.tell import describe, page, write

__all__ = [
    "Blame", "Context", "Failure", "Findings", "Frames", "GateSummary", "Limits", "LockNote", "Scoreboard", "build",
    "describe", "page", "write",
]  # fmt: skip
