"""What perception says when it cannot go on. Every message names the fix."""

from __future__ import annotations


class PerceptionError(RuntimeError):
    """A detector that cannot be built, loaded or used as asked."""


class SampleError(PerceptionError):
    """Training samples that contradict themselves or the schema."""
