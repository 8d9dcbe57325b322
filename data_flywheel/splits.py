"""Which seeds may teach, and in which part of a data set each stands."""

from __future__ import annotations

from data_flywheel.errors import DataError

SPLITS = ("train", "val", "test")
_ENDS = (800, 900, 1000)


def split_of(seed: int) -> str:
    """Split "train" for seeds 0-799, "val" 800-899, "test" 900-999; DataError for a seed that must not teach."""
    if seed >= 0:
        for name, end in zip(SPLITS, _ENDS, strict=True):
            if seed < end:
                return name
    raise DataError(f"seed {seed} must not be trained on: data comes from seeds 0-{_ENDS[-1] - 1}")
