"""Which steps of a window are worth telling, and which are worth showing.

Knows: where a window begins, turns and ends. Does not know: what happened in it.
"""

from __future__ import annotations

from supervisor.evidence.moments import LASTING
from supervisor.evidence.windows import Window

FEW = 6  # fewer steps than this are spread evenly


def table_steps(w: Window, rows: int) -> list[int]:
    """At most `rows` steps to tell: every one just before the anchor, a few after it, the failure; or evenly spread."""
    if w.moment.kind in LASTING or rows < FEW:
        return _spread(w.first, w.last, rows)
    after = _spread(w.anchor, w.last, min(4, rows // 3 + 1))[1:]
    before = rows - len(after)
    dense = list(range(max(w.first, w.anchor - before + 1), w.anchor + 1))
    if dense[0] > w.first:  # the window is longer than the table: its beginning in larger strides
        half = before // 2
        dense = _spread(w.first, w.anchor - half, before - half) + dense[-half:]
    return sorted({*dense, *after})


def sheet_steps(w: Window, cells: int) -> list[int]:
    """At most `cells` steps to show: closer together towards the anchor, then the failure."""
    if w.moment.kind in LASTING or cells < FEW:
        return _spread(w.first, w.last, cells)
    ahead = cells - (2 if w.last > w.anchor + 1 else 1 if w.last > w.anchor else 0)
    back = w.anchor - w.first
    shares = [(i / max(1, ahead - 1)) ** 1.6 for i in range(ahead)]
    near = {max(w.first, w.anchor - max(i, round(back * share))) for i, share in enumerate(shares)}
    return sorted(near | {min(w.anchor + 1, w.last), w.last})


def _spread(first: int, last: int, most: int) -> list[int]:
    """At most `most` steps from `first` to `last`, both among them when most > 1; only the last when it is 1."""
    if most < 2 or first >= last:
        return [last]
    n = min(most, last - first + 1)
    return sorted({first + (last - first) * i // (n - 1) for i in range(n)})
