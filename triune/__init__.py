"""Triune: eyes, reflexes, judgement. `triune.load("breakout")` gives a system that plays from pixels."""

import os
import sys

# `python -m triune` puts the current folder first, and a stranger's `typing.py` there would run. This is the first of
# our files that it imports; os and sys are there by then. A checkout is a folder of ours.
_ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
_STARTED = sys.argv[:1] == ["-m"] and bool({"triune", "-mtriune"} & set(sys.orig_argv))
if _STARTED and sys.path and os.path.abspath(sys.path[0]) == os.getcwd() != _ROOT:
    del sys.path[0]

from typing import TYPE_CHECKING, Any  # noqa: E402

from triune.version import __version__  # noqa: E402

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
