"""Labels from a catalogue: a thing's place by formula from memory, its presence from the frame, its mask as a check.

Knows catalogues, memory, palette frames and causal masks. Knows no game and no teacher. A label is the part of the
thing that can be seen: the smallest box around its own colours inside the place that the formula gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_flywheel.labelers.ram.catalogue import Formula, FoundThing
from data_flywheel.labelers.ram.causal import Box, Prober

U8 = NDArray[np.uint8]

FREQUENT = 0.1  # a size in fewer of the states is a thing half hidden
PRESENT = 0.2  # share of the usual area that the visible box covers at least
AGREE = 0.5  # intersection over union of label and mask below which a frame is dropped


@dataclass(frozen=True)
class Moment:
    """One picture: palette indices uint8[H, W], RGB uint8[H, W, 3], and memory uint8[128] once it is drawn."""

    palette: U8
    rgb: U8
    ram: U8


@dataclass(frozen=True)
class CausalLabel:
    """Where the formula says a thing is (None: not in the picture), and where changing its bytes says so.

    plain: the formula's place with the usual size, whatever part of it can be seen.
    """

    box: Box | None
    plain: Box | None
    mask: Box | None

    @property
    def trusted(self) -> bool:
        """Whether the two agree; a frame where they do not is no training data for this thing."""
        return same(self.box, self.mask)


def placeable(thing: FoundThing) -> bool:
    """Whether both edges follow from memory or never change, and its colours are known."""
    return bool(thing.colours and thing.sizes) and all(getattr(thing, a) or a in thing.fixed for a in ("x", "y"))


def label(thing: FoundThing, rams: Sequence[U8], palette: U8) -> Box | None:
    """The visible part of a placeable thing in uint8[H, W]; None: its own colours are not where the formula says.

    rams: memory of the last `horizon` + 1 frames, this one last.
    """
    times = sum(n for _, _, n in thing.sizes)
    usual = place(thing, rams)
    left, top = usual.left, usual.top
    frequent = [size for size in thing.sizes if size[2] >= FREQUENT * times]
    right, bottom = (edge + max(size[k] for size in frequent) for k, edge in ((0, left), (1, top)))
    rows, columns = slice(max(top, 0), max(bottom, 0)), slice(max(left, 0), max(right, 0))
    ys, xs = np.nonzero(np.isin(palette[rows, columns], thing.colours))
    if len(xs) == 0:
        return None
    width, height = int(np.ptp(xs)) + 1, int(np.ptp(ys)) + 1
    if width * height < PRESENT * usual.width * usual.height:
        return None
    return Box(columns.start + int(xs.min()), rows.start + int(ys.min()), width, height)


def place(thing: FoundThing, rams: Sequence[U8]) -> Box:
    """Where the formula puts a placeable thing of its usual size, seen or not."""
    left, top = (_edge(getattr(thing, axis), thing.fixed.get(axis), rams) for axis in ("x", "y"))
    return Box(left, top, *thing.sizes[0][:2])


def _edge(formula: Formula | None, fixed: int | None, rams: Sequence[U8]) -> int:
    if formula is None:
        assert fixed is not None
        return fixed
    return round(formula.edge(int(rams[-1 - formula.lag][formula.byte])))


def unroll(prober: Prober, state: Any, frames: int) -> list[Moment]:
    """The saved state's own picture and those after 1 ... `frames` no-ops."""
    prober.core.restore(state)
    moments = []
    for step in range(frames + 1):
        if step:
            prober.core.advance(prober.noop)
        moments.append(Moment(prober.core.palette_frame(), prober.core.frame(), prober.core.ram()))
    return moments


def audited(prober: Prober, state: Any, thing: FoundThing, moments: Sequence[Moment]) -> CausalLabel:
    """The label of the picture `thing.horizon` no-ops after the state, with its causal mask."""
    seen = moments[: thing.horizon + 1]
    effect = prober.effect(state, thing.addresses, thing.horizon)
    rams = [moment.ram for moment in seen]
    box = label(thing, rams, seen[-1].palette)
    return CausalLabel(box, place(thing, rams) if box else None, effect.box)


def same(a: Box | None, b: Box | None) -> bool:
    """Both absent, or intersection over union of at least 0.5."""
    if a is None or b is None:
        return a is b
    return iou(a, b) >= AGREE


def iou(a: Box, b: Box) -> float:
    """Intersection over union."""
    wide = min(a.left + a.width, b.left + b.width) - max(a.left, b.left)
    high = min(a.top + a.height, b.top + b.height) - max(a.top, b.top)
    common = max(wide, 0) * max(high, 0)
    return common / (a.width * a.height + b.width * b.height - common)
