"""Keep OpenBLAS in one thread inside a worker.

After a fork OpenBLAS starts its threads anew at the first large product, and the filter kills for that. Its setter
would start them too, so its variable is set instead. Knows OpenBLAS; other libraries need OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import sys
from functools import lru_cache


def switches() -> tuple[ctypes.c_int, ...]:
    """The thread counts of every OpenBLAS that is loaded now. Called before the fork, where it is found once."""
    return _find(len(sys.modules))


@lru_cache(maxsize=1)
def _find(modules: int) -> tuple[ctypes.c_int, ...]:
    """By the memory map; looked up again only when more modules have been imported."""
    found: list[ctypes.c_int] = []
    with contextlib.suppress(OSError), open("/proc/self/maps", "rb") as file:
        for path in sorted(set(re.findall(rb" (/[^\n]*openblas[^\n]*)", file.read()))):
            with contextlib.suppress(OSError, ValueError):
                found.append(ctypes.c_int.in_dll(ctypes.CDLL(os.fsdecode(path)), "blas_cpu_number"))
    return tuple(found)


def single_thread(counts: tuple[ctypes.c_int, ...]) -> None:
    """The child's side: compute in the calling thread."""
    for count in counts:
        count.value = 1
