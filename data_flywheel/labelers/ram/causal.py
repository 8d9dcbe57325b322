"""What a byte of memory draws: clone the state, change the byte, step, and look at the pixels that differ.

Knows the emulator's privileged side and pixels; no game in particular. Everything is deterministic: the protocol must
have no sticky actions. A perturbed game may hang or crash its process, so callers that try many bytes do it in a
child (`probe.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.backends.atari import AtariCore

U8 = NDArray[np.uint8]
Indices = NDArray[np.int64]

DELTAS = (3, -3, 5, -5, 8, -8, 13, -13, 21, -21, 34, -34, 55, -55, 89, 128)
VOTE = 0.6  # a pixel belongs to the thing when this share of the outcomes changes it
OUTLIER = 4.0  # outcomes that change this many times the median area did something else (a point, a death)


@dataclass(frozen=True)
class Box:
    """Left, top, width, height in pixels."""

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True)
class Outcome:
    """One perturbed future: the byte as written and as it is then, and where the thing was drawn (None: nowhere)."""

    written: int
    value: int
    box: Box | None


@dataclass(frozen=True)
class Effect:
    """What changing a byte did in one state: the thing's pixels in the unperturbed future, and its other places."""

    written: int  # the byte as it was
    value: int  # the byte in the unperturbed future
    mask: Indices  # flat pixel indices of the thing there
    box: Box | None
    outcomes: tuple[Outcome, ...]
    colours: tuple[tuple[int, int], ...] = ()  # palette index and number of the mask's pixels of that colour


class Prober:
    """Futures of a saved state, `horizon` frames of no-op after some bytes were changed."""

    def __init__(self, core: AtariCore) -> None:
        if core.protocol.sticky or core.protocol.frameskip != 1:
            raise ValueError("causal labels need a protocol with frameskip 1 and no sticky actions, such as 'seed'")
        self.core = core
        self.noop = core.env.actions.index(core.env.fallback)
        self.width = core.env.width

    def future(self, state: Any, writes: dict[int, int], horizon: int) -> tuple[U8, U8]:
        """(palette frame uint8[H, W], ram) after the writes and `horizon` frames."""
        self.core.restore(state)
        self.core.poke(writes)
        for _ in range(horizon):
            self.core.advance(self.noop)
        return self.core.palette_frame().reshape(self.core.env.height, self.width), self.core.ram()

    def futures(self, state: Any, writes: dict[int, int], horizons: int) -> list[U8]:
        """The palette frames after 1, 2 ... `horizons` frames."""
        self.core.restore(state)
        self.core.poke(writes)
        frames = []
        for _ in range(horizons):
            self.core.advance(self.noop)
            frames.append(self.core.palette_frame())
        return frames

    def effect(self, state: Any, addresses: Sequence[int], horizon: int, deltas: Sequence[int] = DELTAS) -> Effect:
        """The joint effect of changing each address by each delta; values are those of the first address."""
        base, ram = self.future(state, {}, horizon)
        before = self.ram_of(state)
        frames, values, seen = [], [], set()
        first = addresses[0]
        for address in addresses:
            for delta in deltas:
                wanted = (int(before[address]) + delta) % 256
                frame, after = self.future(state, {address: wanted}, horizon)
                key = frame.tobytes()
                if key not in seen and not np.array_equal(frame, base):
                    frames.append(frame.ravel())
                    values.append((wanted if address == first else int(before[first]), int(after[first])))
                seen.add(key)
        return self._locate(base.ravel(), (int(before[first]), int(ram[first])), frames, values)

    def flips(self, state: Any, address: int, horizon: int) -> list[Box | None]:
        """For each bit of a byte, the bounding box of the pixels that change when it is flipped."""
        base, _ = self.future(state, {}, horizon)
        before = int(self.ram_of(state)[address])
        found = []
        for bit in range(8):
            frame, _ = self.future(state, {address: before ^ 1 << bit}, horizon)
            found.append(self.box(np.flatnonzero((frame != base).ravel())))
        return found

    def box(self, pixels: Indices) -> Box | None:
        """Bounding box of flat pixel indices; None when there are none."""
        if len(pixels) == 0:
            return None
        ys, xs = pixels // self.width, pixels % self.width
        left, top = int(xs.min()), int(ys.min())
        return Box(left, top, int(xs.max()) - left + 1, int(ys.max()) - top + 1)

    def ram_of(self, state: Any) -> U8:
        """Memory in a saved state."""
        self.core.restore(state)
        return self.core.ram()

    def _locate(self, base: U8, value: tuple[int, int], frames: list[U8], values: list[tuple[int, int]]) -> Effect:
        """The mask by vote over the outcomes, minus what equals their majority; then the thing in each outcome."""
        areas = np.array([np.count_nonzero(frame != base) for frame in frames])
        usual = areas <= OUTLIER * np.median(areas) if len(areas) else areas
        frames = [frame for frame, good in zip(frames, usual, strict=True) if good]
        values = [v for v, good in zip(values, usual, strict=True) if good]
        if len(frames) < 3:
            return Effect(*value, np.zeros(0, np.int64), None, ())
        stack = np.stack(frames)
        touched = np.flatnonzero((stack != base).any(0))
        stack, here = stack[:, touched], base[touched]
        changed = stack != here
        ordered = np.sort(stack, axis=0)
        behind = ordered[len(frames) // 2]  # what most outcomes show there: the thing has moved away
        own = (changed.mean(0) >= VOTE) & (here != behind)
        # Another thing may react (an opponent that follows the ball): look for the thing's own colours first.
        drawn = (stack != behind) & (changed | own)
        alike = drawn & np.isin(stack, here[own])
        drawn = np.where(alike.any(1, keepdims=True), alike, drawn)
        places = tuple(Outcome(*v, self.box(touched[d])) for v, d in zip(values, drawn, strict=True))
        colours = tuple(zip(*(found.tolist() for found in np.unique(here[own], return_counts=True)), strict=True))
        return Effect(*value, touched[own], self.box(touched[own]), places, colours)


def causal_mask(core: AtariCore, addresses: Sequence[int], horizon: int = 1) -> tuple[NDArray[np.bool_], U8, U8]:
    """The visible mask bool[H, W] of the thing that `addresses` place, with the RGB frame and ram it belongs to.

    The frame is the one `horizon` no-ops from now (a change shows only in the next picture). The core stays there.
    """
    prober, state = Prober(core), core.clone()
    effect = prober.effect(state, addresses, horizon)
    _, ram = prober.future(state, {}, horizon)
    mask = np.zeros(core.env.height * core.env.width, bool)
    mask[effect.mask] = True
    return mask.reshape(core.env.height, core.env.width), core.frame(), ram
