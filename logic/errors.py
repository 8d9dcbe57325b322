"""What the logic layer raises."""

from __future__ import annotations


class LogicError(Exception):
    """A policy or rule that cannot be used. The message names file, line and the fix."""


class PolicyFault(Exception):
    """One step went wrong (division by zero, index, domain, NaN); the controller answers with the fallback."""
