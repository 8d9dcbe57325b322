"""What the supervisor layer raises."""

from __future__ import annotations


class SupervisorError(Exception):
    """A request that the supervisor cannot carry out. The message names the fix."""
