"""The native engine: what of seeing and deciding is compiled where an install found a compiler.

Everything works without it, slower, and with the same results: ONNX Runtime and Python are the reference and take
over. `TRIUNE_ENGINE=python` in the environment turns the engine off; it is asked for at each use, so that the processes
that a command starts go by it too.
"""

from __future__ import annotations

import os
from types import ModuleType

CHOICE = "TRIUNE_ENGINE"
CHOICES = ("native", "python")
FIX = "install Triune where a C compiler (gcc or clang) is found"

engine: ModuleType | None = None
try:
    import native._engine as engine  # not `from native`, which would not say that it is not there

    _lack = ""
except ModuleNotFoundError:
    _lack = f"it was not built; {FIX}"
except ImportError as error:
    _lack = f"it cannot be loaded ({error}); {FIX} for this machine"


def available() -> bool:
    """Whether the compiled engine is here and not turned off."""
    return not why_not()


def why_not() -> str:
    """Why the engine does not run, "" when it does. ValueError when TRIUNE_ENGINE says what there is not."""
    choice = os.environ.get(CHOICE) or CHOICES[0]
    if choice not in CHOICES:
        raise ValueError(f"{CHOICE} is {' or '.join(CHOICES)}, got {choice[:40]!r}")
    return f"{CHOICE}={choice} turns it off" if choice == "python" else _lack


def described() -> str:
    """Which engine runs, in a few words."""
    if engine is None or not available():
        return f"Python and ONNX Runtime: the native one is off, {why_not()}"
    return f"native, with {engine.level()} instructions"
