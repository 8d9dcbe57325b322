"""What a byte of a console's memory draws: change it, step, look at the pixels that differ; what is known of a game so
far (its catalogue); and labels by the fitted formulas.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_flywheel.errors import DataError
from data_flywheel.labelers.causal.colours import Box
from data_flywheel.storage.container import sound
from data_flywheel.storage.files import atomic_write
from envs import shape
from envs.backends.atari import AtariCore
from envs.files import read_json

# ----------------------------------------------------------------------------------------------------
# What a byte of memory draws: clone the state, change the byte, step, and look at the pixels that differ.
#
# Everything is deterministic: the protocol must have no sticky actions. A perturbed game may hang or crash its
# process, so callers that try many bytes do it in a child (`probe.py`).


U8 = NDArray[np.uint8]
Indices = NDArray[np.int64]

DELTAS = (3, -3, 5, -5, 8, -8, 13, -13, 21, -21, 34, -34, 55, -55, 89, 128)
VOTE = 0.6  # a pixel belongs to the thing when this share of the outcomes changes it
OUTLIER = 4.0  # outcomes that change this many times the median area did something else (a point, a death)


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
        self.noop = int(core.env.fallback)
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


# ----------------------------------------------------------------------------------------------------
# What `triune discover` found: things with the bytes that place them, lattices of cells, and the rest, as a JSON
# file.


KIND, VERSION, FILE = "triune catalogue", 2, "catalogue.json"
READS = (1, 2)  # version 1 has no lag, colours or fixed edges: good for an audit, not for labels
CATALOGUES = Path(__file__).resolve().parent / "catalogues"


def decode(value: int, code: str) -> int:
    """The number that a byte stands for. "byte": itself; "nibbles": 15 px for each unit of the low half, less the
    high half as a number from -8 to 7, which is how the console's own registers place a sprite."""
    return value if code == "byte" else 15 * (value & 15) - ((value >> 4 ^ 8) - 8)


@dataclass(frozen=True)
class Formula:
    """edge = scale * decoded byte + offset, where edge is the thing's left (x) or top (y) in px.

    byte: the one to read; driver: the one to change to move the thing (some games copy one to the other every frame).
    exact, near: share of the observed places within 0.5 and 1.5 px; distinct: how many different places were seen.
    horizon: frames until a change shows; lag: frames by which the byte read is older than the picture;
    code: how the byte is decoded, see `decode`.
    """

    byte: int
    driver: int
    scale: float
    offset: float
    exact: float
    near: float
    distinct: int
    horizon: int
    lag: int = 0
    code: str = "byte"

    def edge(self, value: int) -> float:
        """The edge for a value of the byte."""
        return self.scale * decode(value, self.code) + self.offset


@dataclass(frozen=True)
class FoundThing:
    """A thing that memory moves. x, y: the best formula of each axis (None: no byte moves it that way).

    sizes: its (width, height, times seen), most frequent first; also: other bytes that move the same pixels, by kind;
    colours: palette indices of its pixels; fixed: its edge along an axis that has no formula, where that never changes.
    """

    name: str
    x: Formula | None
    y: Formula | None
    sizes: tuple[tuple[int, int, int], ...]
    seen: float  # share of the states in which it was visible
    also: dict[str, list[int]] = field(default_factory=dict)
    colours: tuple[int, ...] = ()
    fixed: dict[str, int] = field(default_factory=dict)

    @property
    def addresses(self) -> list[int]:
        """The bytes to change for a causal mask."""
        return [formula.driver for formula in (self.x, self.y) if formula]

    @property
    def horizon(self) -> int:
        """Frames until a change of these bytes shows."""
        return max(formula.horizon for formula in (self.x, self.y) if formula)


@dataclass(frozen=True)
class Cell:
    """One bit that draws one rectangle (px)."""

    byte: int
    bit: int
    left: int
    top: int
    width: int
    height: int


_BYTE, _BYTES = shape.whole(0, 127), shape.named(shape.each(shape.whole(0, 127)))
_FORMULA = shape.maybe(shape.table(
    {
        "byte": _BYTE, "driver": _BYTE, "distinct": shape.whole(0), "horizon": shape.whole(0, 1000),
        **dict.fromkeys(("scale", "offset", "exact", "near"), shape.number()),
    },
    {"lag": shape.whole(0, 1000), "code": shape.one_of("byte", "nibbles")},
))  # fmt: skip
_THING = shape.table(
    {
        "name": shape.text, "x": _FORMULA, "y": _FORMULA, "seen": shape.number(), "also": _BYTES,
        "sizes": shape.each(shape.row(*[shape.whole(0)] * 3)),
    },
    {"colours": shape.each(shape.whole(0, 255)), "fixed": shape.named(shape.whole())},
)  # fmt: skip
_CELL = shape.table({
    "byte": _BYTE, "bit": shape.whole(0, 7), **dict.fromkeys(("left", "top", "width", "height"), shape.whole(0, 4096)),
})  # fmt: skip
_CATALOGUE = shape.table({
    "task": shape.name, "env": shape.text, "states": shape.whole(0), "seconds": shape.number(),
    "things": shape.each(_THING), "cells": shape.each(_CELL), "bytes": _BYTES, "crashed": shape.named(shape.words),
})  # fmt: skip


@dataclass(frozen=True)
class Catalogue:
    """Everything found for one game. bytes: kind -> addresses; crashed: bytes whose change killed the child."""

    task: str
    env: str
    states: int
    seconds: float
    things: tuple[FoundThing, ...]
    cells: tuple[Cell, ...]
    bytes: dict[str, list[int]]
    crashed: dict[str, str] = field(default_factory=dict)

    def save(self, path: str | Path) -> Path:
        """Write atomically."""
        atomic_write(Path(path), _lines(self.record()).encode())
        return Path(path)

    def record(self) -> dict[str, Any]:
        """JSON form."""
        return {"kind": KIND, "version": VERSION, **asdict(self)}

    @staticmethod
    def load(path: str | Path) -> Catalogue:
        """DataError: missing, damaged, another kind or version."""
        return Catalogue.from_record(read_json(Path(path), KIND, DataError, "run `triune discover` again"), path)

    @staticmethod
    def from_record(record: Any, path: str | Path = "the record") -> Catalogue:
        """Inverse of `record`. DataError, which names `path`: another kind or version."""
        if not isinstance(record, dict) or record.get("kind") != KIND:
            raise DataError(f"{path}: not a {KIND}")
        if record.get("version") not in READS:
            found = record.get("version")
            reads = " and ".join(map(str, READS))
            raise DataError(f"{path}: {KIND} version {found}, but this program reads {reads}; run `triune discover`")
        with sound(str(path), KIND, "run `triune discover` again"):
            _CATALOGUE(record, "")
            things = tuple(_thing(thing) for thing in record["things"])
            cells = tuple(Cell(**cell) for cell in record["cells"])
        names = ("task", "env", "states", "seconds", "bytes", "crashed")
        return Catalogue(things=things, cells=cells, **{name: record[name] for name in names})


def _lines(record: dict[str, Any]) -> str:
    """JSON text with one field, thing or cell per line, so that people can read and diff it."""
    fields = []
    for name, value in record.items():
        text = json.dumps(value)
        if isinstance(value, tuple) and value:
            text = "[\n  " + ",\n  ".join(json.dumps(item) for item in value) + "\n ]"
        fields.append(f" {json.dumps(name)}: {text}")
    return "{\n" + ",\n".join(fields) + "\n}\n"


def _thing(record: dict[str, Any]) -> FoundThing:
    axes = {axis: Formula(**record[axis]) if record[axis] else None for axis in ("x", "y")}
    sizes = tuple((w, h, n) for w, h, n in record["sizes"])
    colours, fixed = tuple(record.get("colours", ())), record.get("fixed", {})
    return FoundThing(record["name"], axes["x"], axes["y"], sizes, record["seen"], record["also"], colours, fixed)


# ----------------------------------------------------------------------------------------------------
# Labels from a catalogue: a thing's place by formula from memory, its presence from the frame, its mask as a check.
#
# A label is the part of the thing that can be seen: the smallest box around its own colours inside the place that
# the formula gives.


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
