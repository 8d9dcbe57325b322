"""What `triune discover` found: things with the bytes that place them, lattices of cells, and the rest, as a JSON file.

Knows the record and its file format. Does not know how it was found (`discover.py`) or what it is compared with
(`audit.py`).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from data_flywheel.errors import DataError
from data_flywheel.storage.container import atomic_write, read_bytes

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
        try:
            record = json.loads(read_bytes(Path(path), KIND))
        except ValueError as error:
            raise DataError(f"{path}: damaged {KIND} ({error}); run `triune discover` again") from error
        return Catalogue.from_record(record, path)

    @staticmethod
    def from_record(record: Any, path: str | Path = "the record") -> Catalogue:
        """Inverse of `record`. DataError, which names `path`: another kind or version."""
        if not isinstance(record, dict) or record.get("kind") != KIND:
            raise DataError(f"{path}: not a {KIND}")
        if record.get("version") not in READS:
            found = record.get("version")
            reads = " and ".join(map(str, READS))
            raise DataError(f"{path}: {KIND} version {found}, but this program reads {reads}; run `triune discover`")
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
