"""What the environment layer raises."""

from __future__ import annotations


class EnvError(Exception):
    """A task, protocol or emulator that cannot be used. The message names the fix and the nearest valid choice."""


class Lost(EnvError):
    """Whatever did the work was killed from outside, by a person, or by the system for lack of memory: done again, it
    may well succeed."""
