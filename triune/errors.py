"""Errors people can act on: the class of this layer, and how any layer's error becomes one line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

EXIT_DONE, EXIT_FAILED, EXIT_USAGE = 0, 1, 2

# By name, so that explaining an error never imports the layer it came from.
_EXPECTED = {
    "EnvError", "PerceptionError", "SceneError", "LogicError", "PolicyFault", "DataError", "TriuneError",
    "IsolationError", "SupervisorError",
}  # fmt: skip
_EXTRAS = {
    "torch": "train", "onnx": "export", "onnxscript": "train", "safetensors": "train", "openai": "supervisor",
    "pydantic": "supervisor", "mujoco": "mujoco", "minari": "datasets", "h5py": "datasets", "PIL": "datasets",
    "pyarrow": "datasets", "mcp": "agent", "ray": "cluster", "paho": "mqtt",
}  # fmt: skip
_CORE = {"numpy", "onnxruntime", "gymnasium", "ale_py", "cv2"}


class TriuneError(Exception):
    """A request that cannot be carried out. The message is one line and names the fix."""


class UsageError(TriuneError):
    """A request that makes no sense as written: unknown name, bad range, missing argument. Exit code 2."""


def nearest(name: str, known: Iterable[str]) -> str:
    """`did you mean 'x'?` when something is close, else the list of valid choices."""
    choices = sorted(known)
    close = difflib.get_close_matches(name.lower(), choices, 1, 0.5)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"choose from {', '.join(choices)}" if choices else "there is nothing to choose from"


def expected(error: BaseException) -> bool:
    """True for a failure that some layer raised on purpose, with a message for people."""
    return any(base.__name__ in _EXPECTED for base in type(error).__mro__)


def one_line(error: BaseException) -> str | None:
    """The sentence to show for `error`, or None when it is a bug and deserves its traceback."""
    if isinstance(error, ImportError):
        return _missing(error)
    if expected(error):
        return " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, OSError):
        what = error.strerror or str(error)
        return f"{error.filename}: {what}" if error.filename else what
    return None


def _missing(error: ImportError) -> str | None:
    """Which extra to install for a module that is not there."""
    module = (error.name or "").split(".")[0]
    if module in _EXTRAS:
        return f'this needs {module}: pip install "triune[{_EXTRAS[module]}]"'
    if module == "cv2" and "libGL" in str(error):
        return "OpenCV needs the system library libGL: apt-get install libgl1, or pip install opencv-python-headless"
    if module in _CORE:
        return f"{module} cannot be imported ({error}): pip install --upgrade triune"
    if module in {"envs", "native", "perception", "logic", "data_flywheel", "supervisor"}:
        return f"{error}: a package from elsewhere may hide Triune's own; run `triune doctor`"
    return None
