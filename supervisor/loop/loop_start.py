"""How a run begins: its name, its settings after a resumption, its hold on the task's folder.

Knows: what may differ between a start and a resumption. Does not know: trials.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from data_flywheel.storage.files import try_lock
from supervisor.errors import SupervisorError
from supervisor.gate.seeds import BLOCK
from supervisor.gate.types import GateConfig
from supervisor.loop.parts import Settings
from supervisor.loop.projection import read_lines
from supervisor.loop.run_state import State


def unused(name: str, folder: Path) -> str:
    """A name that no line of the folder's trials.jsonl bears yet."""
    taken, n, found = {line["run"] for line in read_lines(folder)}, 1, name
    while found in taken:
        n, found = n + 1, f"{name}.{n + 1}"
    return found


def raised(now: Settings, state: State) -> Settings:
    """The settings of a run that is resumed: trials and budgets that are not named again are as before."""
    limits = {**state.setting("limits"), **{k: v for k, v in now.limits.items() if v is not None}}
    trials = state.setting("trials") if now.trials is None else now.trials
    return replace(now, trials=trials, limits=limits)


def fitting(config: GateConfig) -> GateConfig:
    """The same gate with no more looks, and no longer confirmation, than a block of seeds allows."""
    n = sum(look <= BLOCK for look in config.looks)
    if n == len(config.looks) and config.confirm_most <= BLOCK:
        return config
    cut = {name: getattr(config, name)[:n] for name in ("looks", "spend", "hopeful")}
    return replace(config, **cut, confirm_most=min(config.confirm_most, BLOCK))


def plain_gate(config: GateConfig) -> dict[str, Any]:
    return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(config).items()}


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold the task's folder: two runs that improve it at once would overwrite each other's policy."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    here = os.getpid()
    try:
        if not try_lock(descriptor):
            raise SupervisorError(f"{folder} is being improved by another run; wait until it ends, or stop it")
        _HELD.add(descriptor)
        yield
    finally:
        _HELD.discard(descriptor)
        if os.getpid() == here:
            os.close(descriptor)


_HELD: set[int] = set()


def _let_go() -> None:
    """In a forked child: a worker that outlives its parent must not hold the folder."""
    for descriptor in _HELD:
        os.close(descriptor)
    _HELD.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)
