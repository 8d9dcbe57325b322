"""A compiled policy as bytes, to be made in one process and run in another.

Knows: the layout below, what generated code needs to run (its text, constants, memory defaults, reasons, titles), and
how to refuse everything else. Does not know: compilation, workers, scenes.

    MAGIC, version u32, header length u32, sha256 of the rest | header: JSON, ASCII | arrays, each at a multiple of 16

Nothing in it is pickled or marshalled. `read` only looks; `thaw` executes the generated code, which belongs in the
process that froze it or in an isolated worker: whoever can write an artifact decides what that code is.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from logic.errors import LogicError
from logic.language.artifact_values import Arrays, Fields, Packed, pack_value, unpack_value
from logic.language.ir import Graph
from logic.language.python_code import ENTRY, to_python
from logic.language.python_ops import NAMES

MAGIC, VERSION = b"TRIA", 1
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

    @property
    def titles(self) -> tuple[str, ...]:
        """Every rule's name to people, in the order of running."""
        return tuple(f.title for part in self.modules for f in part.functions)


def part_of(name: str, fields: Mapping[str, Any], graphs: Iterable[tuple[str, Graph]]) -> Part:
    """The Part of compiled functions, each graph with its title."""
    functions = []
    for title, graph in graphs:
        code, names = to_python(graph)
        constants = {k: v for k, v in names.items() if k not in NAMES and k != "__builtins__"}
        functions.append(Function(title, code, constants))
    return Part(name, dict(fields), tuple(functions))


def freeze(artifact: Artifact) -> bytes:
    """As bytes; LogicError when it is too large."""
    arrays = Arrays()
    header = {
        "reasons": [[reason, list(lines)] for reason, lines in artifact.reasons.items()],
        "policy": _pack_part(artifact.policy, arrays),
        "modules": [_pack_part(part, arrays) for part in artifact.modules],
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
    reasons, policy, modules, arrays = Fields(header, dict).take("reasons", "policy", "modules", "arrays")
    packed = Packed(data, at, arrays)
    pairs = [Fields(pair, list).exactly(str, list) for pair in Fields(reasons, list).at_most(REASONS_MOST)]
    lines = {_short(r): tuple(Fields(n, int).value for n in Fields(found, list).at_most(10**6)) for r, found in pairs}
    if len(lines) != len(pairs):
        raise ValueError("a reason stands twice")
    acting = _part(policy, packed)
    if len(acting.functions) != 1:
        raise ValueError("a policy has one function")
    rules = tuple(_part(part, packed) for part in Fields(modules, list).at_most(MODULES_MOST))
    packed.all_used()
    return Artifact(lines, acting, rules)


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
    names: dict[str, Any] = {**NAMES, **function.constants, "__builtins__": {}}
    try:
        exec(compile(function.code, f"<compiled {name}>", "exec"), names)  # noqa: S102 - see the head of this file
        return replace(function, step=names[ENTRY])
    except (SyntaxError, ValueError, KeyError) as error:
        raise LogicError(f"a damaged compiled policy: {name}: {type(error).__name__}; compile the text again") from None
