"""The words of the policy language that are not Python's own, with their one meaning in numpy.

Every primitive has a static output shape and one ONNX counterpart (named in its docstring). A NaN that
reaches a choice (argmax, top_k, to_int ...) and an index out of range are faults, not silent clamps.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from logic.errors import PolicyFault
from logic.language.nan_rules import exp_of, floor_of, matmul, scatter_add, sum_over, total

Array = np.ndarray
_F, _I = np.float32, np.int32


class ArrayType:
    """`Float[80, 3]` in an annotation: element type and fixed shape of a memory field."""

    def __init__(self, name: str, dtype: Any, shape: tuple[int, ...] = ()) -> None:
        self.name, self.dtype, self.shape = name, dtype, shape

    def __getitem__(self, shape: int | tuple[int, ...]) -> ArrayType:
        return ArrayType(self.name, self.dtype, shape if isinstance(shape, tuple) else (shape,))


def tunable(default: float, low: float, high: float) -> float:
    """A constant the tuner may move inside [low, high]."""
    if not low <= default <= high:
        raise PolicyFault(f"tunable({default}, {low}, {high}): the default lies outside its range")
    return default


# --- making arrays -------------------------------------------------------------------------------


def zeros(*shape: int) -> Array:
    """float32 zeros (ConstantOfShape)."""
    return np.zeros(shape, _F)


def zeros_int(*shape: int) -> Array:
    """int32 zeros (ConstantOfShape)."""
    return np.zeros(shape, _I)


def ones(*shape: int) -> Array:
    """float32 ones (ConstantOfShape)."""
    return np.ones(shape, _F)


def full(*shape_value: Any) -> Array:
    """`full(n, m, value)`: constant array of the value's type (ConstantOfShape)."""
    *shape, value = shape_value
    return np.full(shape, value, _kind(value))


def arange(n: int) -> Array:
    """int32 0 .. n-1 (constant)."""
    return np.arange(n, dtype=_I)


def array(values: Any) -> Array:
    """Array of a (nested) tuple of numbers or booleans; an int beyond 32 bits is a fault (constant, or Concat)."""
    made = np.asarray(values)
    if made.dtype == bool:
        return made
    if made.dtype.kind not in "iu":
        return made.astype(_F)
    if made.size and not -(2**31) <= int(made.min()) <= int(made.max()) < 2**31:
        raise PolicyFault("a value beyond 32 bits in an int array")
    return made.astype(_I)


def _kind(value: Any) -> Any:
    if isinstance(value, (bool, np.bool_)):
        return np.bool_
    return _I if isinstance(value, (int, np.integer)) else _F


# --- element-wise --------------------------------------------------------------------------------


def where(condition: Array, a: Any, b: Any) -> Array:
    """a where the condition holds, else b; one type (Where)."""
    out = np.where(condition, a, b)
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return out
    return out.astype(_kind(a if isinstance(a, float) else b))  # two scalars: numpy would widen to 64 bits


def maximum(a: Any, b: Any) -> Array:
    """Element-wise larger (Max)."""
    return np.maximum(a, b)


def minimum(a: Any, b: Any) -> Array:
    """Element-wise smaller (Min)."""
    return np.minimum(a, b)


def clip(value: Any, low: Any, high: Any) -> Any:
    """Value kept inside [low, high]; scalars stay scalars (Clip)."""
    if isinstance(value, np.ndarray):
        return np.minimum(np.maximum(value, low), high)
    return low if value < low else high if value > high else value


def sign(value: Any) -> Any:
    """-1, 0 or 1 of the value's own type (Sign)."""
    if isinstance(value, np.ndarray):
        return np.sign(value)
    result = (value > 0) - (value < 0)
    return result if isinstance(value, int) else float(result)


def abs_of(a: Array) -> Array:
    """Element-wise absolute value (Abs)."""
    return np.abs(a)


def to_int(a: Array) -> Array:
    """int32 towards zero; NaN or overflow is a fault (Cast)."""
    if a.dtype.kind == "f" and not bool(np.all(np.abs(a) < 2147483648.0)):
        raise PolicyFault("to_int of NaN or a value beyond 32 bits")
    return a.astype(_I)


def to_float(a: Array) -> Array:
    """float32 (Cast)."""
    return a.astype(_F)


# --- moving elements -----------------------------------------------------------------------------


def take(a: Array, index: Any) -> Any:
    """Elements (1-D) or rows of `a` at `index`; result shape index shape + tail. Out of range is a fault (Gather)."""
    if isinstance(index, np.ndarray):
        if index.size and (int(index.min()) < 0 or int(index.max()) >= a.shape[0]):
            raise PolicyFault(f"take: an index lies outside 0 .. {a.shape[0] - 1}")
        return a.take(index, 0)
    if not 0 <= index < a.shape[0]:
        raise PolicyFault(f"take: index {index} lies outside 0 .. {a.shape[0] - 1}")
    return a[index] if a.ndim > 1 else a[index].item()


def reshape(a: Array, *shape: int) -> Array:
    """Same elements, new fixed shape (Reshape)."""
    return a.reshape(shape)


def concat(*parts: Array) -> Array:
    """Joined along axis 0 (Concat)."""
    return np.concatenate(parts)


def put(a: Array, index: int, value: Any) -> Array:
    """A copy of `a` with element or row `index` replaced (ScatterElements)."""
    if not 0 <= index < a.shape[0]:
        raise PolicyFault(f"put: index {index} lies outside 0 .. {a.shape[0] - 1}")
    out = a.copy()
    out[index] = value
    return out


def shift_push(a: Array, value: Any) -> Array:
    """History: drop the oldest (first), append the newest (Slice, Concat)."""
    out = np.empty_like(a)
    out[:-1] = a[1:]
    out[-1] = value
    return out


def top_k(values: Array, k: int) -> Array:
    """Indices of the k largest, largest first, ties by lowest index (TopK)."""
    _no_nan(values)
    return np.argsort(-values, kind="stable")[:k].astype(_I)


# --- choices and reductions ----------------------------------------------------------------------


def _no_nan(a: Array) -> None:
    if a.dtype.kind == "f" and bool(np.isnan(a).any()):
        raise PolicyFault("a choice among values that hold NaN")


def argmax(a: Array) -> int:
    """Flat index of the first largest element (ArgMax)."""
    _no_nan(a)
    return int(a.argmax())


def argmin(a: Array) -> int:
    """Flat index of the first smallest element (ArgMin)."""
    _no_nan(a)
    return int(a.argmin())


def largest(a: Array) -> Any:
    """Largest element as a scalar, zero without a sign; NaN is a fault (ReduceMax)."""
    _no_nan(a)
    return a.max().item() + 0


def smallest(a: Array) -> Any:
    """Smallest element as a scalar, zero without a sign; NaN is a fault (ReduceMin)."""
    _no_nan(a)
    return a.min().item() + 0


def count(a: Array) -> int:
    """How many elements are true (Cast, ReduceSum)."""
    return int(np.count_nonzero(a))


def any_of(a: Array) -> bool:
    """Is any element true (ReduceMax)."""
    return bool(a.any())


def all_of(a: Array) -> bool:
    """Are all elements true (ReduceMin)."""
    return bool(a.all())


def max_over(a: Array, axis: int) -> Array:
    """Largest along one axis; a chain of maxima when the axis is short, which numpy does 8 times faster (ReduceMax)."""
    n = a.shape[axis]
    if n > 8 or axis != a.ndim - 1:
        return a.max(axis)
    out = a[..., 0]
    for i in range(1, n):
        out = np.maximum(out, a[..., i])
    return out


def min_over(a: Array, axis: int) -> Array:
    """Smallest along one axis (ReduceMin)."""
    return a.min(axis)


def argmax_over(a: Array, axis: int) -> Array:
    """int32 index of the first largest along one axis (ArgMax)."""
    _no_nan(a)
    return a.argmax(axis).astype(_I)


def col_sums(grid: Array) -> Array:
    """int32[cols]: present cells per column (ReduceSum)."""
    return np.asarray(grid.sum(0, dtype=_I))


def row_sums(grid: Array) -> Array:
    """int32[rows]: present cells per row (ReduceSum)."""
    return np.asarray(grid.sum(1, dtype=_I))


def nearest(values: Array, target: float) -> int:
    """Index of the value nearest to the target, first on ties (Abs, ArgMin)."""
    return argmin(np.abs(values - target))


ARRAY_TYPES = {"Float": ArrayType("Float", _F), "Int": ArrayType("Int", _I), "Bool": ArrayType("Bool", np.bool_)}

PRIMITIVES = (
    zeros, zeros_int, ones, full, arange, array, where, maximum, minimum, clip, sign, floor_of, exp_of, abs_of,
    to_int, to_float, take, reshape, concat, put, shift_push, scatter_add, top_k, argmax, argmin, total, largest,
    smallest, count, any_of, all_of, sum_over, max_over, min_over, argmax_over, matmul, col_sums, row_sums, nearest,
    tunable,
)  # fmt: skip

PYTHON = {
    "abs": abs, "min": min, "max": max, "int": int, "float": float, "bool": bool, "round": round, "len": len,
    "range": range, "enumerate": enumerate, "zip": zip, "True": True, "False": False,
}  # fmt: skip


PORTABLE = {
    "sin": 1, "cos": 1, "tan": 1, "asin": 1, "acos": 1, "atan": 1, "atan2": 2, "exp": 1, "log": 1, "hypot": 2,
}  # fmt: skip
# Read here, because an isolated compiler can open nothing.
PORTABLE_TEXT = (Path(__file__).parent.parent / "lib" / "maths.py").read_text(encoding="utf-8")


def _portable() -> dict[str, Callable[..., float]]:
    """Functions of `math` that C libraries round differently: the text that the compiler inlines, run as it is."""
    exact = SimpleNamespace(sqrt=math.sqrt, pi=math.pi)
    names: dict[str, Any] = {**PYTHON, **{f.__name__: f for f in PRIMITIVES}, "math": exact}
    exec(compile(PORTABLE_TEXT, "lib/maths.py", "exec"), names)  # noqa: S102 - ships with us

    def on_floats(run: Callable[..., float]) -> Callable[..., float]:
        return lambda *values: run(*map(float, values))

    return {name: on_floats(names[name]) for name in PORTABLE}


MATH = SimpleNamespace(sqrt=math.sqrt, floor=math.floor, ceil=math.ceil, pi=math.pi, **_portable())


def vocabulary() -> dict[str, Any]:
    """Every predefined name of the language but the task's own constants."""
    return {**PYTHON, **ARRAY_TYPES, **{f.__name__: f for f in PRIMITIVES}, "math": MATH}
