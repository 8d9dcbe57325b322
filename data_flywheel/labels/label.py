"""What somebody or something says is on a frame: values, where they come from, how far to trust them.

Values are plain JSON. A thing is a list of its slots, each `[x, y, w, h]` in px (centre and size of the visible box) or
null when absent; a grid is a list of its rows as text, "1" for a cell that is there; a gauge is a number; a reading is
a table of its fields, or null when it cannot be read off the frame.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_flywheel.errors import DataError
from data_flywheel.splits import SPLITS, split_of
from data_flywheel.storage.container import array_digest
from envs import shape
from perception.scene import GaugeSpec, GridSpec, ReadingSpec, SceneSchema, ThingSpec

# Higher stands above lower. Causal labels and the segmentation renderer are equally good.
RANK = {"person": 5, "causal": 4, "segmentation": 4, "teacher": 3, "agreement": 2, "temporal": 1, "model": 0}
VERDICTS = ("", "accept", "reject")  # of a person, on the whole frame; "" corrects some parts and leaves it open
SLACK = 1e-3  # px a box may lie outside the frame: rounding of float32
_HUGE = 1e9
_LONGEST = 400  # characters of a name or note
_SPLIT_OF_TEN = ("train",) * 8 + ("val", "test")

Values = dict[str, Any]
PartSpec = ThingSpec | GridSpec | GaugeSpec | ReadingSpec


@dataclass(frozen=True, order=True)
class FrameRef:
    """One frame: its episode, its step there, the sha256 of its pixels, (H, W), and the game's seed (None: a camera).

    Where the schema asks for a window, the frame is the maximum over it, as the detector reads it.
    """

    episode: str
    step: int
    digest: str
    size: tuple[int, int]
    seed: int | None = None

    @staticmethod
    def of(rgb: NDArray[np.uint8], episode: str, step: int, seed: int | None = None) -> FrameRef:
        """The reference of uint8[H, W, 3]."""
        if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
            raise DataError(f"a frame is uint8[H, W, 3], got {rgb.dtype}{list(rgb.shape)}; give the native RGB frame")
        return FrameRef(episode, step, array_digest(rgb), (rgb.shape[0], rgb.shape[1]), seed)

    @property
    def split(self) -> str:
        """train, val or test: by the seed, without one by the episode's name, so that an episode is never torn apart.

        DataError for a seed that must not teach.
        """
        if self.seed is not None:
            return split_of(self.seed)
        return _SPLIT_OF_TEN[int(sha256(self.episode.encode()).hexdigest(), 16) % 10]

    def __str__(self) -> str:
        """For messages."""
        return f"step {self.step} of {self.episode}"


FRAME = shape.table(
    {
        "episode": shape.text, "step": shape.whole(0), "digest": shape.text,
        "size": shape.row(shape.whole(1, 4096), shape.whole(1, 4096)),
    },
    {"seed": shape.maybe(shape.whole(0))},
)  # fmt: skip


@dataclass(frozen=True)
class Label:
    """What `who` (of `version`) says about a frame. `id` and `at` (Unix seconds) are given by the store.

    trust: how likely the values are right, 0 to 1. values: of the parts it speaks of (see above).
    verdict: only a person's; "reject" keeps the frame out of training and has no values.
    """

    frame: FrameRef
    source: str
    who: str
    values: Values
    trust: float
    version: str = ""
    verdict: str = ""
    note: str = ""
    id: str = ""
    at: float = 0.0


@dataclass(frozen=True)
class Retraction:
    """Takes back the label with id `of`: the undo of an append-only store."""

    of: str
    who: str
    note: str = ""
    id: str = ""
    at: float = 0.0
    frame: FrameRef | None = field(default=None, compare=False)  # of the label; not stored


def parts_of(schema: SceneSchema) -> tuple[str, ...]:
    """Names of all things, grids, gauges and readings, in schema order."""
    specs: tuple[PartSpec, ...] = (*schema.things, *schema.grids, *schema.gauges, *schema.readings)
    return tuple(spec.name for spec in specs)


def spec_of(schema: SceneSchema, part: str) -> PartSpec:
    """The part called so; DataError names the nearest."""
    specs: tuple[PartSpec, ...] = (*schema.things, *schema.grids, *schema.gauges, *schema.readings)
    for spec in specs:
        if spec.name == part:
            return spec
    known = parts_of(schema)
    close = difflib.get_close_matches(str(part), known, 1)
    hint = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(known)}"
    raise DataError(f"the scene has no {str(part)[:60]!r}; {hint}")


def check_label(label: Label, schema: SceneSchema, size: tuple[int, int]) -> Label:
    """The label in canonical form; DataError says what is wrong with it and what would be right."""
    _check_frame(label.frame, size)
    if label.source not in RANK:
        raise DataError(f"unknown source {label.source!r}; choose from {', '.join(RANK)}")
    if not label.who or any(len(text) > _LONGEST for text in (label.who, label.version, label.note)):
        raise DataError(f"a label says who made it; names and notes have at most {_LONGEST} characters")
    if not _finite(label.trust) or not 0 <= label.trust <= 1:
        raise DataError(f"trust is a number from 0 to 1, got {label.trust!r}")
    if label.verdict not in VERDICTS or (label.verdict and label.source != "person"):
        raise DataError(f"verdict {label.verdict!r}: a person says accept or reject, everybody else nothing")
    if not isinstance(label.values, Mapping) or (not label.values) != (label.verdict == "reject"):
        raise DataError("a label has values for at least one part of the scene; a rejected frame has none")
    values = {name: check_value(schema, size, name, label.values[name]) for name in sorted(label.values)}
    lacking = [name for name in parts_of(schema) if name not in values]
    if label.verdict == "accept" and lacking:
        raise DataError(f"an accepted frame speaks of every part of the scene; missing: {', '.join(lacking)}")
    return Label(**{**vars(label), "values": values, "trust": float(label.trust)})


def _check_frame(frame: FrameRef, size: tuple[int, int]) -> None:
    if not frame.episode or len(frame.episode) > _LONGEST or frame.step < 0 or len(frame.digest) != 64:
        raise DataError(f"{frame}: a frame has an episode's name, a step from 0 and the sha256 of its pixels")
    if tuple(frame.size) != tuple(size):
        got, wanted = (f"{w}x{h}" for h, w in (frame.size, size))
        raise DataError(f"{frame}: the frame is {got}, those of this task are {wanted}; label the native frame")
    _ = frame.split  # a seed that must not teach is refused here


def check_value(schema: SceneSchema, size: tuple[int, int], part: str, value: Any) -> Any:
    """The value of one part in canonical form, or a DataError."""
    spec = spec_of(schema, part)
    if isinstance(spec, ThingSpec):
        return _check_slots(spec, size, value)
    if isinstance(spec, GridSpec):
        return _check_cells(spec, value)
    if isinstance(spec, ReadingSpec):
        return _check_fields(spec, value)
    if not _finite(value) or not spec.low <= value <= spec.high:
        raise DataError(f"{part} is a number from {spec.low:g} to {spec.high:g}, got {value!r}")
    return float(value)


def _check_slots(spec: ThingSpec, size: tuple[int, int], value: Any) -> list[list[float] | None]:
    if not isinstance(value, (list, tuple)) or len(value) != spec.count:
        raise DataError(f"{spec.name} is a list of {spec.count} boxes, each [x, y, w, h] or null, got {value!r:.80}")
    slots: list[list[float] | None] = []
    for index, box in enumerate(value):
        name = spec.name if spec.count == 1 else f"{spec.name}[{index}]"
        slots.append(None if box is None else _check_box(name, size, box))
    return slots


def _check_box(name: str, size: tuple[int, int], box: Any) -> list[float]:
    if not isinstance(box, (list, tuple)) or len(box) != 4 or not all(_finite(v) for v in box):
        raise DataError(f"{name} is four finite numbers [x, y, w, h] in px, or null when absent, got {box!r:.80}")
    x, y, w, h = (float(v) for v in box)
    if w <= 0 or h <= 0:
        raise DataError(f"{name} is {w:g} by {h:g} px; a box has a size, an absent thing is null")
    (height, width), edges = size, (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
    if min(edges[:2]) < -SLACK or edges[2] > width + SLACK or edges[3] > height + SLACK:
        left, top, right, bottom = (f"{v:g}" for v in edges)
        where = f"from ({left}, {top}) to ({right}, {bottom})"
        raise DataError(f"{name} reaches outside the frame of {width}x{height}: {where}; label the visible part")
    return [x, y, w, h]


def _check_fields(spec: ReadingSpec, value: Any) -> dict[str, float] | None:
    if value is None:
        return None
    names = [f.name for f in spec.fields]
    if not isinstance(value, Mapping) or sorted(value) != sorted(names):
        raise DataError(f"{spec.name} is a table of {', '.join(names)}, or null when absent, got {value!r:.80}")
    for f in spec.fields:
        if not _finite(value[f.name]) or not f.low - SLACK <= value[f.name] <= f.high + SLACK:
            raise DataError(f"{spec.name}.{f.name} is from {f.low:g} to {f.high:g} {f.unit}, got {value[f.name]!r}")
    return {name: float(value[name]) for name in names}


def _check_cells(spec: GridSpec, value: Any) -> list[str]:
    rows = list(value) if isinstance(value, (list, tuple)) else []
    good = all(isinstance(row, str) and len(row) == spec.cols and not row.strip("01") for row in rows)
    if not good or len(rows) != spec.rows:
        raise DataError(f"{spec.name} is {spec.rows} rows of {spec.cols} characters, each 0 or 1, got {value!r:.80}")
    return rows


def _finite(value: Any) -> bool:
    """A number of sane size; comparing also turns away NaN, and whole numbers beyond any float."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -_HUGE < value < _HUGE


def values_of(schema: SceneSchema, vector: NDArray[np.float32], parts: Sequence[str] | None = None) -> Values:
    """The values in a Scene vector float32[size], of all parts or of some. Exact: `vector_of` gives the bits back."""
    chosen = parts_of(schema) if parts is None else parts
    values: Values = {}
    for part in chosen:
        spec = spec_of(schema, part)
        if isinstance(spec, ThingSpec):
            slots = [vector[schema.slot(part, i)] for i in range(spec.count)]
            values[part] = [[_short(v) for v in slot[1:5]] if slot[0] > 0.5 else None for slot in slots]
        elif isinstance(spec, GridSpec):
            cells = vector[schema.grid(part)].reshape(spec.rows, spec.cols) > 0.5
            values[part] = ["".join("01"[int(cell)] for cell in row) for row in cells]
        elif isinstance(spec, ReadingSpec):
            seen, *numbers, _ = vector[schema.slot(part)]
            named = dict(zip((f.name for f in spec.fields), map(_short, numbers), strict=True))
            values[part] = named if seen > 0.5 else None
        else:
            values[part] = _short(vector[schema.gauge(part)])
    return values


def _short(value: np.float32) -> float:
    """The shortest number whose float32 is `value`."""
    return float(str(np.float32(value)))


def vector_of(schema: SceneSchema, values: Mapping[str, Any]) -> NDArray[np.float32]:
    """Scene vector float32[size] as training labels are stored: velocities 0, `sure` equal to `seen`."""
    vector = schema.empty()
    for part, value in values.items():
        spec = spec_of(schema, part)
        if isinstance(spec, ThingSpec):
            for index, box in enumerate(value):
                if box is not None:
                    vector[schema.slot(part, index)] = (1.0, *box, 0.0, 0.0, 1.0)
        elif isinstance(spec, GridSpec):
            vector[schema.grid(part)] = [float(cell) for row in value for cell in row]
        elif isinstance(spec, ReadingSpec):
            if value is not None:
                vector[schema.slot(part)] = (1.0, *(value[f.name] for f in spec.fields), 1.0)
        else:
            vector[schema.gauge(part)] = value
    return vector


__all__ = [
    "RANK", "SPLITS", "FrameRef", "Label", "Retraction", "Values", "check_label", "check_value", "parts_of",
    "spec_of", "values_of", "vector_of",
]  # fmt: skip
