"""The one exception of this layer: something on disk or in a request is not usable as data.

The message names the file, what is wrong with it and what to do next.
"""

from __future__ import annotations


class DataError(Exception):
    """A record, shard, dataset, label or catalogue is missing, damaged, of another version or inconsistent."""
