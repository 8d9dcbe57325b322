"""A compiled policy as bytes, to be made in one process and run in another by a reader that trusts nothing."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import numpy as np

from logic.errors import LogicError
from logic.language.backends.python import ENTRY, NAMES, SOURCE, to_python
from logic.language.ir import Graph

# ----------------------------------------------------------------------------------------------------
# Values inside an artifact: scalars as JSON, arrays as raw buffers, and a reader that trusts nothing.


ALIGN = 16
ARRAYS = ("|b1", "<i4", "<f4")
KINDS = (*ARRAYS, "<i8", "<f8")  # the last two hold tuples of Python's ints and floats
ARRAYS_MOST, SIDES_MOST = 10_000, 8
_TUPLES = {bool: "|b1", int: "<i8", float: "<f8"}


class Arrays:
    """Collects buffers while an artifact is written; an array that stands in several places is written once."""

    def __init__(self) -> None:
        self.shapes: list[list[Any]] = []
        self._parts: list[np.ndarray] = []
        self._seen: dict[int, int] = {}
        self._kept: list[object] = []

    def add(self, value: Any, owner: object) -> int:
        """The index of an array. `owner` is the object that it stands for."""
        if id(owner) not in self._seen:
            made = np.ascontiguousarray(value)
            made = made.astype(made.dtype.newbyteorder("<"), copy=False)
            self._seen[id(owner)] = len(self._parts)
            self._kept.append(owner)
            self._parts.append(made)
            self.shapes.append([made.dtype.str, list(np.shape(value))])
        return self._seen[id(owner)]

    def data(self, at: int) -> bytes:
        """All buffers, for a place `at` bytes from the start."""
        pieces = []
        for part in self._parts:
            gap = -at % ALIGN
            pieces += [bytes(gap), part.tobytes()]
            at += gap + part.nbytes
        return b"".join(pieces)


def pack_value(value: Any, arrays: Arrays) -> list[Any]:
    """One constant or default: Python's bool, int or float, a tuple of one of them, or an array."""
    if isinstance(value, np.ndarray):
        if value.dtype.newbyteorder("<").str not in ARRAYS:
            raise TypeError(f"an array of {value.dtype}")
        return ["array", arrays.add(value, value)]
    if isinstance(value, tuple):
        kinds = {type(v) for v in value}
        if len(kinds) != 1 or not kinds <= _TUPLES.keys():
            raise TypeError(f"a tuple of {len(value)} values of {len(kinds)} types")
        return ["tuple", arrays.add(np.array(value, _TUPLES[kinds.pop()]), value)]
    if isinstance(value, float):
        return ["float", value.hex()]
    if isinstance(value, (bool, int)):
        return [type(value).__name__, value]
    raise TypeError(f"a constant of type {type(value).__name__}")


def unpack_value(packed: Any, arrays: Packed) -> Any:
    """The value; ValueError, TypeError or IndexError when there is none."""
    kind, value = packed
    if kind == "float":
        return float.fromhex(value)
    if kind in ("bool", "int"):
        if type(value).__name__ != kind:
            raise TypeError(f"{kind} expected")
        return value
    if kind == "array":
        found = arrays.get(value)
        if found.dtype.str not in ARRAYS:
            raise TypeError(f"an array of {found.dtype}")
        return found
    if kind == "tuple":
        return tuple(arrays.get(value, 1).tolist())
    raise ValueError("a value of an unknown kind")


class Packed:
    """The arrays of an artifact as read-only views of its bytes, sizes checked against what is there."""

    def __init__(self, data: bytes, at: int, shapes: Any) -> None:
        self._data, self._places = data, []
        self._used: set[int] = set()
        for item in Fields(shapes, list).at_most(ARRAYS_MOST):
            kind, shape = Fields(item, list).exactly(str, list)
            sides = [Fields(n, int).value for n in Fields(shape, list).at_most(SIDES_MOST)]
            if kind not in KINDS or any(n < 0 or n > len(data) for n in sides):
                raise ValueError("an array of an impossible kind or shape")
            at += -at % ALIGN
            size = prod(sides) * np.dtype(kind).itemsize
            if at + size > len(data):
                raise ValueError("an array beyond the end")
            self._places.append((kind, tuple(sides), at, prod(sides)))
            at += size
        if at != len(data):
            raise ValueError(f"{len(data) - at} bytes too many")

    def get(self, index: Any, sides: int | None = None) -> np.ndarray:
        """Array number `index`, with so many sides."""
        if type(index) is not int or not 0 <= index < len(self._places):
            raise IndexError("an array that is not there")
        kind, shape, at, count = self._places[index]
        if sides not in (None, len(shape)):
            raise ValueError("an array of another number of sides")
        self._used.add(index)
        flat = np.frombuffer(self._data, np.dtype(kind), count, at)
        if kind == "|b1" and count and flat.view(np.uint8).max() > 1:
            raise ValueError("a bool that is neither 0 nor 1")
        return flat.reshape(shape)

    def all_used(self) -> None:
        """ValueError when something in it has no use."""
        if len(self._used) != len(self._places):
            raise ValueError("arrays without a use")


class Fields:
    """A JSON value whose type and size are checked before it is used."""

    def __init__(self, value: Any, kind: type) -> None:
        if type(value) is not kind:
            raise TypeError(f"{kind.__name__} expected")
        self.value: Any = value

    def take(self, *names: str) -> list[Any]:
        """The values of exactly these keys."""
        if self.value.keys() != set(names):
            raise ValueError(f"the keys {', '.join(names)} expected")
        return [self.value[name] for name in names]

    def exactly(self, *kinds: type) -> list[Any]:
        """As many items as kinds, each of its kind."""
        if len(self.value) != len(kinds):
            raise ValueError(f"{len(kinds)} items expected")
        return [Fields(v, k).value for v, k in zip(self.value, kinds, strict=True)]

    def at_most(self, count: int) -> list[Any]:
        """All items, at most `count`."""
        if len(self.value) > count:
            raise ValueError(f"more than {count} items")
        found: list[Any] = self.value
        return found


# ----------------------------------------------------------------------------------------------------
# A compiled policy as bytes, to be made in one process and run in another.
#
# MAGIC, version u32, header length u32, sha256 of the rest | header: JSON, ASCII | arrays, each at a multiple of 16
#
# Nothing in it is pickled or marshalled. `read` only looks; `thaw` executes the generated code, which belongs in
# the process that froze it or in an isolated worker: whoever can write an artifact decides what that code is.


MAGIC, VERSION = b"TRIA", 2
HEAD = struct.Struct("<4sII32s")
LARGEST = 96 << 20  # bytes of an artifact: the compiler's 48 MB of tables twice over
HEADER_MOST = 16 << 20
TEXT_MOST = 1_000  # characters of a reason or a title
MODULES_MOST, FUNCTIONS_MOST, REASONS_MOST = 8, 200, 65_534


@dataclass(frozen=True)
class Function:
    """One generated function. `step` is None until thawed."""

    title: str
    code: str
    constants: Mapping[str, Any]
    step: Callable[..., Any] | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Part:
    """A policy (one function) or a safety text (a function a rule, in order), and what it remembers at first."""

    name: str
    fields: Mapping[str, Any]
    functions: tuple[Function, ...]


@dataclass(frozen=True)
class Artifact:
    """The policy with its reasons (each with its lines), then the rules that run after it."""

    reasons: Mapping[str, Sequence[int]]
    policy: Part
    modules: tuple[Part, ...] = ()
    # all functions as one program of the native machine, which checks it; b"": there is none
    program: bytes = b""

    @property
    def titles(self) -> tuple[str, ...]:
        """Every rule's name to people, in the order of running."""
        return tuple(f.title for part in self.modules for f in part.functions)


def part_of(name: str, fields: Mapping[str, Any], graphs: Iterable[tuple[str, Graph]]) -> Part:
    """The Part of compiled functions, each graph with its title."""
    functions = []
    for title, graph in graphs:
        code, names = to_python(graph)
        constants = {k: v for k, v in names.items() if k not in NAMES and k not in ("__builtins__", SOURCE)}
        functions.append(Function(title, code, constants))
    return Part(name, dict(fields), tuple(functions))


def freeze(artifact: Artifact) -> bytes:
    """As bytes; LogicError when it is too large."""
    arrays = Arrays()
    header = {
        "reasons": [[reason, list(lines)] for reason, lines in artifact.reasons.items()],
        "policy": _pack_part(artifact.policy, arrays),
        "modules": [_pack_part(part, arrays) for part in artifact.modules],
        "program": pack_value(np.frombuffer(artifact.program, "<i4"), arrays),
    }
    text = json.dumps({**header, "arrays": arrays.shapes}, separators=(",", ":")).encode("ascii")
    rest = text + arrays.data(HEAD.size + len(text))
    made = HEAD.pack(MAGIC, VERSION, len(text), hashlib.sha256(rest).digest()) + rest
    read(made)  # what would be refused there is refused here
    return made


def read(data: bytes) -> Artifact:
    """What is in it, checked and not executed; LogicError when it is damaged or was not made by `freeze`."""
    if not HEAD.size <= len(data) <= LARGEST:
        raise LogicError(f"not a compiled policy: {len(data)} bytes, between {HEAD.size} and {LARGEST} are possible")
    magic, version, length, digest = HEAD.unpack_from(data)
    if magic != MAGIC or version != VERSION:
        raise LogicError(f"not a compiled policy of format {VERSION}: compile the text again")
    if length > min(HEADER_MOST, len(data) - HEAD.size):
        raise LogicError("a damaged compiled policy: its header is too long; compile the text again")
    if hashlib.sha256(memoryview(data)[HEAD.size :]).digest() != digest:
        raise LogicError("a damaged compiled policy: its checksum is wrong; compile the text again")
    try:
        return _artifact(json.loads(data[HEAD.size : HEAD.size + length]), data, HEAD.size + length)
    except (ValueError, TypeError, KeyError, IndexError, RecursionError, OverflowError) as error:
        raise LogicError(f"a damaged compiled policy: {error}; compile the text again") from None


def thaw(data: bytes) -> Artifact:
    """Ready to act: every function has its `step`. Executes the generated code (see above)."""
    made = read(data)
    return replace(made, policy=_run_part(made.policy), modules=tuple(_run_part(part) for part in made.modules))


def _pack_part(part: Part, arrays: Arrays) -> dict[str, Any]:
    def values(found: Mapping[str, Any]) -> list[list[Any]]:
        return [[name, pack_value(value, arrays)] for name, value in found.items()]

    functions = [[f.title, f.code, values(f.constants)] for f in part.functions]
    return {"name": part.name, "fields": values(part.fields), "functions": functions}


def _artifact(header: Any, data: bytes, at: int) -> Artifact:
    names = ("reasons", "policy", "modules", "program", "arrays")
    reasons, policy, modules, program, arrays = Fields(header, dict).take(*names)
    packed = Packed(data, at, arrays)
    pairs = [Fields(pair, list).exactly(str, list) for pair in Fields(reasons, list).at_most(REASONS_MOST)]
    lines = {_short(r): tuple(Fields(n, int).value for n in Fields(found, list).at_most(10**6)) for r, found in pairs}
    if len(lines) != len(pairs):
        raise ValueError("a reason stands twice")
    acting = _part(policy, packed)
    if len(acting.functions) != 1:
        raise ValueError("a policy has one function")
    rules = tuple(_part(part, packed) for part in Fields(modules, list).at_most(MODULES_MOST))
    words = unpack_value(program, packed)
    if not isinstance(words, np.ndarray) or words.dtype != np.int32 or words.ndim != 1:
        raise ValueError("a program is a row of whole numbers")
    packed.all_used()
    return Artifact(lines, acting, rules, words.tobytes())


def _part(value: Any, packed: Packed) -> Part:
    name, fields, functions = Fields(value, dict).take("name", "fields", "functions")
    made = []
    for item in Fields(functions, list).at_most(FUNCTIONS_MOST):
        title, code, constants = Fields(item, list).exactly(str, str, list)
        made.append(Function(_short(title), code, _values(constants, packed)))
    return Part(_short(name), _values(fields, packed), tuple(made))


def _values(pairs: Any, packed: Packed) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for pair in Fields(pairs, list).at_most(10**5):
        name, value = Fields(pair, list).exactly(str, list)
        plain = name.isascii() and all(part.isidentifier() for part in name.split("."))
        if not plain or name.startswith("__") or name in NAMES or name in found:
            raise ValueError(f"the name {name[:50]!r} cannot be used")
        found[name] = unpack_value(value, packed)
    return found


def _short(text: Any) -> str:
    if not isinstance(text, str) or len(text) > TEXT_MOST or not text.isprintable():
        raise ValueError(f"names and reasons are at most {TEXT_MOST} printable characters")
    return text


def _run_part(part: Part) -> Part:
    return replace(part, functions=tuple(_run(f, part.name) for f in part.functions))


def _run(function: Function, name: str) -> Function:
    names: dict[str, Any] = {**NAMES, **function.constants, SOURCE: function.code, "__builtins__": {}}
    try:
        exec(compile(function.code, f"<compiled {name}>", "exec"), names)  # noqa: S102 - see the head of this file
        return replace(function, step=names[ENTRY])
    except (SyntaxError, ValueError, KeyError) as error:
        raise LogicError(f"a damaged compiled policy: {name}: {type(error).__name__}; compile the text again") from None
