"""Whose code may run: environments that somebody vouched for by their id, in this process and the simulators it starts.

A folder cannot vouch for itself: nothing that is read from `system.toml` reaches this module.
"""

from __future__ import annotations

_vouched: set[str] = set()


def vouch(env_id: str) -> None:
    """The user said --trust (or `trust=True`) of a task with this environment."""
    _vouched.add(env_id)


def vouched(env_id: str) -> bool:
    """Whether the code that this id names may run."""
    return env_id in _vouched
