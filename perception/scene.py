"""The Scene: what perception believes is there at one step.

Imports no other layer.

Things are boxes in the picture. Units: native frame pixels, origin at the top left edge; pixel column i covers
[i, i + 1). `x, y` is the centre of the visible box, `w, h` its size, `vx, vy` pixels per agent step, `sure` a
probability. Readings are what has no box, or needs none: angles, depths, speeds, in units of their own.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections import Counter
from collections.abc import Container, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from keyword import iskeyword
from types import SimpleNamespace
from typing import Any

import numpy as np

SLOT_FIELDS = ("seen", "x", "y", "w", "h", "vx", "vy", "sure")
SLOT = len(SLOT_FIELDS)
SCHEMA_FORMAT = 1
MOST_VALUES = 2**16  # of a scene vector: 500 times the largest of the zoo
MOST_NUMBER = 1e30  # float32 ends at 3e38
MOST_LETTERS = 64  # of a name
OVERLAP = 0.5  # intersection over union from which two boxes are at one place


class SceneError(ValueError):
    """A schema that cannot be used. `key` is the path of the offending key inside `[scene]`."""

    def __init__(self, message: str, key: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.key = key


@dataclass(frozen=True)
class ThingSpec:
    """A kind of object. `size` is the typical visible (w, h); `max_speed` bounds |vx|, |vy| per agent step."""

    name: str
    count: int = 1
    size: tuple[float, float] = (4.0, 4.0)
    required: bool = False
    max_speed: float = 32.0


@dataclass(frozen=True)
class GridSpec:
    """A lattice of `rows` x `cols` cells of size `cell` (w, h), the first at (`left`, `top`)."""

    name: str
    rows: int
    cols: int
    top: float
    left: float
    cell: tuple[float, float]


@dataclass(frozen=True)
class GaugeSpec:
    """A number read off the screen inside `box` (top, left, bottom, right), between `low` and `high`."""

    name: str
    box: tuple[int, int, int, int]
    low: float = 0.0
    high: float = 1.0


@dataclass(frozen=True)
class FieldSpec:
    """One number of a reading, from `low` to `high`; `wrap`: `high` is `low` again, as it is of a full turn."""

    name: str
    low: float
    high: float
    unit: str = ""
    wrap: bool = False

    def away(self, a: Any, b: Any) -> Any:
        """a - b, of numbers or arrays; the shorter way round where the field wraps."""
        turn = self.high - self.low
        return (a - b + turn / 2) % turn - turn / 2 if self.wrap else a - b


@dataclass(frozen=True)
class ReadingSpec:
    """What is read off the picture as declared numbers. Its slot in the vector: `seen`, the fields, `sure`."""

    name: str
    fields: tuple[FieldSpec, ...]
    required: bool = False

    @property
    def slot(self) -> tuple[str, ...]:
        """Names of the values of its slot."""
        return ("seen", *(f.name for f in self.fields), "sure")

    def to_config(self) -> dict[str, Any]:
        """Its table in `[scene.readings]`, without its name."""
        fields = {f.name: {k: v for k, v in sorted(asdict(f).items()) if k != "name"} for f in self.fields}
        return {"fields": fields, "required": self.required}


class ThingView:
    """One slot of the Scene, as plain Python numbers."""

    __slots__ = SLOT_FIELDS

    def __init__(self, values: list[float]) -> None:
        seen, self.x, self.y, self.w, self.h, self.vx, self.vy, self.sure = values
        self.seen = seen > 0.5

    def __repr__(self) -> str:
        state = "seen" if self.seen else "unseen"
        return f"<{state} x={self.x:.2f} y={self.y:.2f} w={self.w:.1f} h={self.h:.1f} sure={self.sure:.2f}>"


class Scene:
    """Named, read-only view of one Scene vector: `scene.ball.x`, `scene.enemy[2].seen`, `scene.bricks[r, c]`."""

    def __init__(self, parts: dict[str, Any]) -> None:
        self.__dict__.update(parts)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError("a Scene is read-only; keep your own values in memory")

    def __getattr__(self, name: str) -> Any:
        known = sorted(k for k in self.__dict__ if not k.startswith("_"))
        close = difflib.get_close_matches(name, known, 1)
        hint = f"; did you mean {close[0]!r}?" if close else f"; it has {', '.join(known)}"
        raise AttributeError(f"the scene has no {name!r}{hint}")

    @property
    def vector(self) -> np.ndarray:
        """The float32[size] vector this view was read from."""
        vector: np.ndarray = self._vector
        return vector

    def as_dict(self) -> dict[str, float]:
        """Flat `{field name: value}`, in schema order."""
        return dict(zip(self._names, self._vector.tolist(), strict=True))


class _Unread(Scene):
    """A scene that nobody has asked for anything but its vector yet."""

    def __init__(self, schema: SceneSchema, vector: np.ndarray) -> None:
        own = self.__dict__  # at every step of play
        own["_schema"], own["_vector"] = schema, vector

    def __getattr__(self, name: str) -> Any:
        schema = self.__dict__.pop("_schema", None)
        if schema is not None:
            self.__dict__.update(schema._parts(self.vector))
            if name in self.__dict__:
                return self.__dict__[name]
        return super().__getattr__(name)


@dataclass(frozen=True)
class SceneSchema:
    """The things, grids, gauges and readings of one task and where each stands in the flat vector."""

    crop: tuple[int, int, int, int]
    things: tuple[ThingSpec, ...]
    grids: tuple[GridSpec, ...] = ()
    gauges: tuple[GaugeSpec, ...] = ()
    window: int = 1
    readings: tuple[ReadingSpec, ...] = ()
    exclusive: bool = False  # one place belongs to one thing: where two kinds are seen, the surer one is
    names: tuple[str, ...] = field(init=False, repr=False, compare=False)
    _layout: dict[str, tuple[int, int]] = field(init=False, repr=False, compare=False)
    # What `read` needs at every step, worked out once.
    _shape: tuple[int] = field(init=False, repr=False, compare=False)
    _things_end: int = field(init=False, repr=False, compare=False)
    _fields: dict[str, tuple[str, ...]] = field(init=False, repr=False, compare=False)
    _slots: list[tuple[str, range, bool]] = field(init=False, repr=False, compare=False)
    _read: list[tuple[str, tuple[str, ...], slice]] = field(init=False, repr=False, compare=False)
    _cells: list[tuple[str, slice, tuple[int, int]]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        layout: dict[str, tuple[int, int]] = {}
        names: list[str] = []
        for thing in self.things:
            layout[thing.name] = (len(names), len(names) + SLOT * thing.count)
            for i in range(thing.count):
                prefix = thing.name if thing.count == 1 else f"{thing.name}[{i}]"
                names += [f"{prefix}.{f}" for f in SLOT_FIELDS]
        for grid in self.grids:
            layout[grid.name] = (len(names), len(names) + grid.rows * grid.cols)
            names += [f"{grid.name}[{r},{c}]" for r in range(grid.rows) for c in range(grid.cols)]
        for gauge in self.gauges:
            layout[gauge.name] = (len(names), len(names) + 1)
            names.append(gauge.name)
        for reading in self.readings:
            layout[reading.name] = (len(names), len(names) + len(reading.slot))
            names += [f"{reading.name}.{f}" for f in reading.slot]
        object.__setattr__(self, "names", tuple(names))
        slots = [(t.name, range(*layout[t.name], SLOT), t.count == 1) for t in self.things]
        cells = [(g.name, slice(*layout[g.name]), (g.rows, g.cols)) for g in self.grids]
        fields = {t.name: SLOT_FIELDS for t in self.things} | {r.name: r.slot for r in self.readings}
        read = [(r.name, r.slot[1:], slice(*layout[r.name])) for r in self.readings]
        end = layout[self.things[-1].name][1] if self.things else 0
        worked_out = {"_layout": layout, "_shape": (len(names),), "_things_end": end, "_slots": slots, "_cells": cells}
        worked_out |= {"_fields": fields, "_read": read}
        for name, value in worked_out.items():
            object.__setattr__(self, name, value)

    @property
    def size(self) -> int:
        """Length of the flat vector."""
        return len(self.names)

    @property
    def fingerprint(self) -> str:
        """sha256 of the canonical form; weights, stores and bundles carry it. Order of things is part of it."""
        return hashlib.sha256(json.dumps(self.to_config()).encode()).hexdigest()

    def fields(self, name: str) -> tuple[str, ...]:
        """Names of the values in a slot of a thing or reading; () for anything else."""
        return self._fields.get(name, ())

    def count(self, name: str) -> int:
        """How many slots a thing or reading has; 0 for anything else."""
        start, stop = self._layout.get(name, (0, 0))
        return (stop - start) // len(self._fields[name]) if name in self._fields else 0

    def slot(self, name: str, index: int = 0) -> slice:
        """Where slot `index` of a thing or reading stands in the flat vector."""
        start, width = self._layout[name][0], len(self._fields[name])
        if not 0 <= index < self.count(name):
            raise IndexError(f"{name} has {self.count(name)} slots, asked for {index}")
        return slice(start + index * width, start + (index + 1) * width)

    def slots(self) -> Iterator[tuple[str, slice]]:
        """(name, where it stands) of every slot of things and readings, "enemy[1]" where there are several."""
        for thing in self.things:
            for i in range(thing.count):
                yield thing.name if thing.count == 1 else f"{thing.name}[{i}]", self.slot(thing.name, i)
        for reading in self.readings:
            yield reading.name, self.slot(reading.name)

    def grid(self, name: str) -> slice:
        """Where the cells of grid `name` stand, row-major."""
        return slice(*self._layout[name])

    def gauge(self, name: str) -> int:
        """Index of gauge `name` in the flat vector."""
        return self._layout[name][0]

    def empty(self) -> np.ndarray:
        """A Scene vector with nothing in it."""
        return np.zeros(self.size, np.float32)

    def glance(self, vector: np.ndarray) -> Scene:
        """The same view, whose parts are read off when the first of them is asked for."""
        return _Unread(self, vector)

    def read(self, vector: np.ndarray) -> Scene:
        """Named view of float32[size]; ValueError when the length is wrong."""
        return Scene(self._parts(vector))

    def _parts(self, vector: np.ndarray) -> dict[str, Any]:
        if vector.shape != self._shape:
            raise SceneError(f"a scene vector of this task has shape ({self.size},), got {vector.shape}")
        flat = vector[: self._things_end].tolist()
        parts: dict[str, Any] = {"_vector": vector, "_names": self.names}
        for name, starts, single in self._slots:
            views = [ThingView(flat[k : k + SLOT]) for k in starts]
            parts[name] = views[0] if single else tuple(views)
        for name, cells, shape in self._cells:
            grid = vector[cells].reshape(shape) > 0.5
            grid.setflags(write=False)
            parts[name] = grid
        for gauge in self.gauges:
            parts[gauge.name] = float(vector[self.gauge(gauge.name)])
        for name, fields, at in self._read:
            seen, *values = vector[at].tolist()
            parts[name] = SimpleNamespace(seen=seen > 0.5, **dict(zip(fields, values, strict=True)))
        return parts

    def to_config(self) -> dict[str, Any]:
        """The `[scene]` table this schema came from, in canonical form (JSON-able).

        Keys are sorted, things, grids, gauges, readings stand in declared order, which is that of the flat vector:
        write it as JSON without sorting. Readings are left out when there are none, `exclusive` when it is off: that
        keeps older fingerprints.
        """

        def table(items: tuple[Any, ...]) -> dict[str, Any]:
            return {i.name: {k: v for k, v in sorted(asdict(i).items()) if k != "name"} for i in items}

        config = {"crop": self.crop, "format": SCHEMA_FORMAT, "gauges": table(self.gauges), "grids": table(self.grids)}
        if self.readings:
            config["readings"] = {r.name: r.to_config() for r in self.readings}
        config |= {"things": table(self.things), "window": self.window}
        if self.exclusive:
            config["exclusive"] = True
        canonical: dict[str, Any] = json.loads(json.dumps(config))
        return canonical

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> SceneSchema:
        """Build from the `[scene]` table of `system.toml`; SceneError names the offending key."""
        if not isinstance(config, Mapping):
            raise SceneError(f"a scene is a table, got a {type(config).__name__}")
        _known(config, ("format", "crop", "window", "exclusive", "things", "grids", "gauges", "readings"), ())
        if config.get("format", SCHEMA_FORMAT) != SCHEMA_FORMAT:
            raise SceneError(f"scene format {config['format']} is not {SCHEMA_FORMAT}; update Triune", ("format",))
        crop = _numbers(config, "crop", ())
        things = tuple(_item(ThingSpec, n, t, ("things", n)) for n, t in _table(config, "things").items())
        if not things and not config.get("grids") and not config.get("readings"):
            raise SceneError("a scene needs at least one thing, grid or reading: add [scene.things.NAME]", ("things",))
        grids = tuple(_item(GridSpec, n, t, ("grids", n)) for n, t in _table(config, "grids").items())
        gauges = tuple(_item(GaugeSpec, n, t, ("gauges", n)) for n, t in _table(config, "gauges").items())
        readings = tuple(_reading(n, t, ("readings", n)) for n, t in _table(config, "readings").items())
        names = [i.name for i in (*things, *grids, *gauges, *readings)]
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise SceneError(f"two parts of the scene are named {twice[0]!r}", ("things", twice[0]))
        window = config.get("window", 1)
        if type(window) is not int or not 1 <= window <= 8:
            raise SceneError(f"window is a whole number of frames from 1 to 8, got {window!r}", ("window",))
        top, left, bottom, right = (int(v) for v in crop)
        exclusive = config.get("exclusive", False)
        if not isinstance(exclusive, bool):
            raise SceneError(f"exclusive is true or false, got {exclusive!r:.60}", ("exclusive",))
        size = sum(SLOT * t.count for t in things) + sum(g.rows * g.cols for g in grids)
        size += len(gauges) + sum(len(r.slot) for r in readings)
        if size > MOST_VALUES:
            raise SceneError(f"a scene has at most {MOST_VALUES} values, this one {size}: fewer or smaller parts")
        return cls((top, left, bottom, right), things, grids, gauges, window, readings, exclusive)


def _table(config: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = config.get(key, {})
    if not isinstance(value, Mapping):
        raise SceneError(f"{key} is a table: write [scene.{key}.NAME]", (key,))
    return value


def _known(config: Mapping[str, Any], known: tuple[str, ...], key: tuple[str, ...]) -> None:
    for name in config:
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"known keys: {', '.join(known)}"
            raise SceneError(f"unknown key {name!r}; {hint}", (*key, name))


def _numbers(config: Mapping[str, Any], key: str, path: tuple[str, ...]) -> tuple[float, ...]:
    """A list of as many numbers as `key` has: sizes above 0, or edges of a box in the picture."""
    value, n = config.get(key), _TUPLES[key]
    if not isinstance(value, (list, tuple)) or len(value) != n or not all(map(_number, value)):
        raise SceneError(f"{key} is a list of {n} numbers, got {str(value)[:60]}", (*path, key))
    if n == 4:
        top, left, bottom, right = value
        if not (0 <= int(top) < int(bottom) <= MOST_VALUES and 0 <= int(left) < int(right) <= MOST_VALUES):
            raise SceneError(f"{key} is [top, left, bottom, right] with top < bottom and left < right", (*path, key))
    elif min(value) <= 0:
        raise SceneError(f"{key} is a width and a height above 0, got {value}", (*path, key))
    return tuple(value)


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= MOST_NUMBER


def _name(name: str, path: tuple[str, ...], taken: Container[str]) -> None:
    """What a policy reads a part of the scene by: a plain word that is nothing else."""
    if not re.fullmatch("[A-Za-z][A-Za-z0-9_]*", name) or len(name) > MOST_LETTERS:
        raise SceneError(f"a name is a word of at most {MOST_LETTERS} of a-z, A-Z, 0-9 and _, got {name[:80]!r}", path)
    if name in taken or iskeyword(name):
        raise SceneError(f"nothing here can be called {name!r}; choose another name", path)


def _reading(name: str, config: Any, path: tuple[str, ...]) -> ReadingSpec:
    """One ReadingSpec from its table: `required`, and a table of `fields`."""
    _name(name, path, vars(Scene))
    if not isinstance(config, Mapping):
        raise SceneError(f"{name} is a table: write [scene.readings.{name}]", path)
    _known(config, ("fields", "required"), path)
    required, tables = config.get("required", False), config.get("fields")
    if not isinstance(required, bool):
        raise SceneError(f"required is a bool, got {required!r}", (*path, "required"))
    if not isinstance(tables, Mapping) or not tables:
        raise SceneError(f"a reading declares its fields: [scene.readings.{name}.fields]", path)
    fields = tuple(_item(FieldSpec, n, t, (*path, "fields", n)) for n, t in tables.items())
    for f in fields:
        if not f.low < f.high:
            raise SceneError(f"low is below high, got {f.low:g} and {f.high:g}", (*path, "fields", f.name))
    return ReadingSpec(name, fields, required)


_TUPLES = {"size": 2, "cell": 2, "box": 4, "crop": 4}  # fields that are lists of numbers


def _item(kind: type[Any], name: str, config: Any, path: tuple[str, ...]) -> Any:
    """One ThingSpec, GridSpec, GaugeSpec or FieldSpec from its table, every field checked by type."""
    _name(name, path, ("seen", "sure") if kind is FieldSpec else vars(Scene))
    if not isinstance(config, Mapping):
        raise SceneError(f"{name} is a table: write [scene.{'.'.join(path)}]", path)
    fields = {f: t for f, t in kind.__annotations__.items() if f != "name"}
    _known(config, tuple(fields), path)
    values: dict[str, Any] = {}
    for key, value in config.items():
        wanted = fields[key]
        if key in _TUPLES:
            values[key] = _numbers(config, key, path)
        elif wanted == "bool" and isinstance(value, bool) or wanted == "str" and isinstance(value, str):
            values[key] = value
        elif wanted == "int" and type(value) is int and 0 < value <= MOST_VALUES:
            values[key] = value
        elif wanted == "float" and _number(value):
            values[key] = float(value)
        else:
            what = {"int": f"a whole number from 1 to {MOST_VALUES}", "float": "a number", "bool": "true or false"}
            raise SceneError(f"{key} is {what.get(wanted, 'a text')}, got {str(value)[:60]!r}", (*path, key))
    try:
        return kind(name, **values)
    except TypeError:
        needed = [f for f in fields if f not in values and f not in kind.__dict__]
        raise SceneError(f"missing {', '.join(needed)}", path) from None
