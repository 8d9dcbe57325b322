"""Triune: eyes, reflexes, judgement. `triune.load("breakout")` gives a system that plays from pixels."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from triune.version import __version__

if TYPE_CHECKING:
    from triune.system import System, load

__all__ = ["System", "__version__", "load"]


def __getattr__(name: str) -> Any:
    if name in ("load", "System"):
        from triune import system

        return getattr(system, name)
    raise AttributeError(f"module 'triune' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


if "gymnasium" in sys.modules:  # `import gymnasium, triune` is enough for gymnasium.make("triune/Breakout-v0")
    from triune import gym_register as _register

    _register.register_all()
