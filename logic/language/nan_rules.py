"""Which results of float arrays are faults, read off the numbers alone and so alike on every machine.

The rule: NaN out of operands that hold none is a fault, and so is division by zero; NaN in gives NaN out. A sum is what
its terms come to, whatever its order: one that leaves float32 on its way is taken in float64, where none can.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from logic.errors import PolicyFault

Array = np.ndarray
_NEW = "not a number out of numbers (inf - inf, 0 * inf)"


def calm(run: Callable[..., Any], *args: Any) -> Any:
    """`run(*args)`, deaf to flags. The common case pays nothing for it."""
    try:
        return run(*args)
    except FloatingPointError:
        with np.errstate(all="ignore"):
            return run(*args)


def finite(a: Array) -> bool:
    """Is every element a finite number? argmax and argmin, which stop at NaN, are the cheapest look at all of them."""
    if not a.size:
        return True
    width = a.item(a.argmax()) - a.item(a.argmin())
    return bool(width - width == 0)


def has_nan(a: Array) -> bool:
    """Is any element NaN?"""
    return bool(np.isnan(a).any())


# --- sums ----------------------------------------------------------------------------------------


def matmul(a: Array, b: Array) -> Array:
    """Matrix product; NaN in it though neither operand holds any is a fault (MatMul)."""
    made: Array = calm(operator.matmul, a, b)
    if finite(made):
        return made
    wide = _wide(operator.matmul, a, b)
    if has_nan(wide) and not has_nan(a) and not has_nan(b):
        raise PolicyFault(_NEW)
    return _mended(made, wide)


def total(a: Array) -> Any:
    """Sum of all elements, a scalar of the elements' type; of booleans, the count (ReduceSum)."""
    made = calm(a.sum).item()
    if made - made == 0:
        return made
    wide = _wide(np.sum, a)
    if has_nan(wide) and not has_nan(a):
        raise PolicyFault(_NEW)
    return _mended(np.asarray(made, np.float32), wide).item()


def sum_over(a: Array, axis: int) -> Array:
    """Sum along one axis (ReduceSum)."""
    made: Array = calm(a.sum, axis, np.int32 if a.dtype == bool else a.dtype)
    if finite(made):
        return made
    wide = _wide(lambda v: v.sum(axis), a)
    if bool((np.isnan(wide) & ~np.isnan(a).any(axis)).any()):
        raise PolicyFault(_NEW)
    return _mended(made, wide)


def scatter_add(index: Array, values: Array, length: int) -> Array:
    """float32[length], values summed by index (ScatterElements add)."""
    if index.size and (int(index.min()) < 0 or int(index.max()) >= length):
        raise PolicyFault(f"scatter_add: an index lies outside 0 .. {length - 1}")
    return scattered(index, values, length)


def scattered(index: Array, values: Array, length: int) -> Array:
    """The same where every index is known to lie within."""
    made: Array = np.bincount(index, values, length).astype(np.float32)  # sums in float64
    if not finite(made) and has_nan(made) and not has_nan(values):
        raise PolicyFault(_NEW)
    return made


def _wide(run: Callable[..., Any], *operands: Array) -> Array:
    with np.errstate(all="ignore"):
        return np.asarray(run(*(v.astype(np.float64) for v in operands)))


def _mended(made: Array, wide: Array) -> Array:
    """The sums, those that are not finite from `wide`."""
    with np.errstate(all="ignore"):
        return np.where(np.isfinite(made), made, wide.astype(np.float32))


# --- element by element --------------------------------------------------------------------------


def exp_of(a: Array) -> Array:
    """Element-wise exponential (Exp)."""
    made: Array = calm(np.exp, a)
    return made


def floor_of(a: Array) -> Array:
    """Element-wise floor, still float32 (Floor)."""
    made: Array = calm(np.floor, a)
    return made


def power(a: Any, b: Any) -> Array:
    """Element-wise `a ** b`; with the one number 0.5 as `b` it is the square root, as numpy has it."""
    made: Array = calm(operator.pow, a, b)
    if not finite(made):
        a, b = _singles(a, b)
        _refuse(made, a, b, (a == 0) & (b < 0))
    return made


def floordiv(a: Any, b: Any) -> Array:
    """Element-wise `a // b` on floats; a quotient beyond float32 is a fault."""
    made: Array = calm(operator.floordiv, a, b)
    if not finite(made):
        a, b = _singles(a, b)
        _refuse(made, a, b, np.where(b == 0, np.isfinite(a), np.isinf(made)))
    return made


def mod(a: Any, b: Any) -> Array:
    """Element-wise `a % b` on floats."""
    made: Array = calm(operator.mod, a, b)
    if not finite(made):
        a, b = _singles(a, b)
        _refuse(made, a, b, (b == 0) & np.isfinite(a))
    return made


def _singles(a: Any, b: Any) -> tuple[Array, Array]:
    """Both as float32, as numpy took them: a small enough number is zero then."""
    return np.asarray(a, np.float32), np.asarray(b, np.float32)


def _refuse(made: Array, a: Array, b: Array, zero: Array) -> None:
    """Fault where `zero` says so, or NaN came of numbers."""
    if bool(np.any(zero | (np.isnan(made) & ~np.isnan(a) & ~np.isnan(b)))):
        raise PolicyFault("division by zero, or not a number out of numbers")
