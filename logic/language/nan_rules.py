"""What sums, products, powers and exponentials of float arrays are, bit for bit, and which results are faults.

Nothing here hangs on the machine: not on its vector units, not on the order in which a library likes to add.

A sum takes its terms one after the other, first to last, each rounded to float32, products before they are added (no
fused multiply-add). One that leaves float32 on its way is taken again in float64, where none can.

NaN out of operands that hold none is a fault, and so is division by zero; NaN in gives NaN out.
"""

from __future__ import annotations

import math
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


def summed(terms: Array, axis: int) -> Any:
    """Sums along an axis, term after term: numpy's own `sum` adds in an order that it chooses by shape and machine."""
    count = terms.shape[axis]
    if _stepwise(count, terms.size // count):
        before: tuple[Any, ...] = (slice(None),) * axis
        made = terms[(*before, 0)]
        for i in range(1, count):
            made = made + terms[(*before, i)]
        return made
    return np.add.accumulate(terms, axis).take(-1, axis)


def product(a: Array, b: Array) -> Any:
    """Matrix product of floats; every element is the sum, term after term, of rounded products."""
    if b.ndim == 1:
        return summed(a * b, a.ndim - 1)
    count, columns = b.shape
    if not _stepwise(count, a.size // count * columns):
        return summed(a[..., None] * b, a.ndim - 1)
    made = a[..., 0, None] * b[0]
    term = np.empty_like(made)
    for i in range(1, count):
        np.multiply(a[..., i, None], b[i], term)
        made += term
    return made


def _stepwise(count: int, sums: int) -> bool:
    """Are so many terms of so many sums added sooner by a call for each term than by `accumulate`, which goes sum by
    sum?"""
    return sums > 15 * min(count, 100)


def matmul(a: Array, b: Array) -> Array:
    """Matrix product; NaN in it though neither operand holds any is a fault (Mul, CumSum)."""
    if a.dtype.kind != "f":
        return np.asarray(a @ b)
    made: Array = calm(product, a, b)
    if finite(made):
        return made
    wide = _wide(product, a, b)
    if has_nan(wide) and not has_nan(a) and not has_nan(b):
        raise PolicyFault(_NEW)
    return _mended(made, wide)


def total(a: Array) -> Any:
    """Sum of all elements, a scalar of the elements' type; of booleans, the count (CumSum)."""
    if a.dtype.kind != "f":
        return a.sum().item()
    terms = a.reshape(-1)
    made = calm(np.add.accumulate, terms).item(-1)
    if made - made == 0:
        return made
    wide = _wide(summed, terms, 0)
    if has_nan(wide) and not has_nan(a):
        raise PolicyFault(_NEW)
    return _mended(np.asarray(made, np.float32), wide).item()


def sum_over(a: Array, axis: int) -> Array:
    """Sum along one axis (CumSum)."""
    if a.dtype.kind != "f":
        return np.asarray(a.sum(axis, np.int32 if a.dtype == bool else a.dtype))
    made: Array = calm(summed, a, axis)
    if finite(made):
        return made
    wide = _wide(summed, a, axis)
    if bool((np.isnan(wide) & ~np.isnan(a).any(axis)).any()):
        raise PolicyFault(_NEW)
    return _mended(made, wide)


def scatter_add(index: Array, values: Array, length: int) -> Array:
    """float32[length], values summed by index: in float64, in their order, rounded once (ScatterElements add)."""
    if index.size and (int(index.min()) < 0 or int(index.max()) >= length):
        raise PolicyFault(f"scatter_add: an index lies outside 0 .. {length - 1}")
    return scattered(index, values, length)


def scattered(index: Array, values: Array, length: int) -> Array:
    """The same where every index is known to lie within."""
    made: Array = np.bincount(index, values, length).astype(np.float32)  # sums in float64
    if not finite(made) and has_nan(made) and not has_nan(values):
        raise PolicyFault(_NEW)
    return made


def _wide(run: Callable[..., Any], *operands: Any) -> Array:
    """`run` on arrays made float64."""
    with np.errstate(all="ignore"):
        return np.asarray(run(*(v.astype(np.float64) if isinstance(v, np.ndarray) else v for v in operands)))


def _mended(made: Array, wide: Array) -> Array:
    """The sums, those that are not finite from `wide`."""
    with np.errstate(all="ignore"):
        return np.where(np.isfinite(made), made, wide.astype(np.float32))


# --- element by element --------------------------------------------------------------------------


def exp_of(a: Array) -> Array:
    """Element-wise exponential, taken in float64 and rounded once (Exp).

    Of no float32 number does the exponential lie nearer than 1.26 units in the last place of a float64 to where
    rounding turns, which was seen by trying all of them: a library that errs by less in float64 gives these very bits.
    """
    made: Array = calm(_exp, a)
    return made


def _exp(a: Array) -> Array:
    return np.exp(a, dtype=np.float64).astype(np.float32)


def floor_of(a: Array) -> Array:
    """Element-wise floor, still float32 (Floor)."""
    made: Array = calm(np.floor, a)
    return made


def power(a: Any, b: Any) -> Array:
    """Element-wise `a ** b`: the C library's pow of float64, rounded once; the one number 0.5 as `b` is a square root,
    and so a fault of all that is negative (Pow)."""
    made: Array = calm(powers, a, b)
    if not finite(made):
        root = not isinstance(b, np.ndarray) and b == 0.5
        a, b = _singles(a, b)
        _refuse(made, a, b, ((a == 0) & (b < 0)) | (root & (a < 0)))
    return made


def powers(a: Any, b: Any) -> Array:
    """The same without faults. numpy's own pow of float64 has other bits here and there."""
    bases, exponents = np.broadcast_arrays(*_singles(a, b))
    pairs = zip(bases.ravel().tolist(), exponents.ravel().tolist(), strict=True)
    return np.array([_pow(x, y) for x, y in pairs], np.float64).astype(np.float32).reshape(bases.shape)


def _pow(x: float, y: float) -> float:
    """C's pow: Python's raises where that gives infinity or NaN."""
    try:
        return math.pow(x, y)
    except OverflowError:
        return -math.inf if x < 0 and y % 2 == 1 else math.inf
    except ValueError:  # zero to a negative power, a negative number to a fraction
        return math.inf if x == 0 else math.nan


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
