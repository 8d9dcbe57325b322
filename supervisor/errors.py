"""What the supervisor layer raises. Knows nothing else."""

from __future__ import annotations


class SupervisorError(Exception):
    """A request that the supervisor cannot carry out. The message names the fix."""
