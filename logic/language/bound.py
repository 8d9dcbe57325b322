"""What a name or an expression stands for while a text is lowered: mostly an IR value, sometimes a handle.

Knows: the kinds of handle, the state of a path (locals, memory, has it returned). Does not know: how they are made.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from logic.language.ir import BOOL, Field, Type, Value

FALSE, TRUE = Value(BOOL, const=False), Value(BOOL, const=True)


@dataclass(frozen=True)
class Pack:
    """A tuple: a helper's several results, a module constant such as `(1, 2, 3)`, operands of `array`."""

    items: tuple[Bound, ...]
    leaves: int = field(default=0, compare=False)  # single values in it, however deep

    def __post_init__(self) -> None:
        found = sum(item.leaves if isinstance(item, (Pack, Record)) else 1 for item in self.items)
        object.__setattr__(self, "leaves", found)


@dataclass(frozen=True, eq=False)
class RecordType:
    """A class of a text. `defaults` are constants, one a field; `leaves` counts the plain values of one record."""

    name: str
    fields: Mapping[str, Type | Shape]
    defaults: Mapping[str, Bound]
    leaves: int


@dataclass(frozen=True)
class Shape:
    """A field's or variable's type: a record, or an array of them."""

    record: RecordType
    shape: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Record:
    """A record: what its fields are, in order. In an array of records every value has the axes `shape` in front."""

    type: RecordType
    items: tuple[Bound, ...]
    shape: tuple[int, ...] = ()

    @property
    def leaves(self) -> int:
        """Plain values in it."""
        return self.type.leaves

    def __str__(self) -> str:
        return f"{self.type.name}[{', '.join(map(str, self.shape))}]" if self.shape else self.type.name


@dataclass(frozen=True)
class Thing:
    """`scene.ball` or `scene.enemy[i]`: one slot; `at` is None for a fixed slot."""

    name: str
    slot: int = 0
    at: Value | None = None


@dataclass(frozen=True)
class Things:
    """`scene.enemy` where there are several."""

    name: str


@dataclass(frozen=True)
class Special:
    """`scene`, `memory`, `math` themselves."""

    name: str


@dataclass(frozen=True)
class Broken:
    """No usable value: an error already reported (`why` empty), or one to report when it is used."""

    why: str = ""
    instead: str = ""


Bound = Value | Pack | Record | Thing | Things | Special | Broken
SCENE, MEMORY, MATH, POISON = Special("scene"), Special("memory"), Special("math"), Broken()


class Wrong(Exception):
    """An expression has no value; the reason is reported already."""


@dataclass
class State:
    """One path: its locals, memory as the path leaves it, and whether it has left.

    `skip`: the rest of the block is not run; `stop`: the enclosing loop ends; `returned`: the function has ended.
    """

    locals: dict[str, Bound] = field(default_factory=dict)
    memory: dict[str, Value] = field(default_factory=dict)
    skip: Value = FALSE
    stop: Value = FALSE
    returned: Value = FALSE
    answer: Bound | None = None

    def copy(self) -> State:
        """An independent path that starts here."""
        return replace(self, locals=dict(self.locals), memory=dict(self.memory))


@dataclass
class Scope:
    """One text: its functions, its constants as far as they are computed, what it imports."""

    file: str
    functions: dict[str, ast.FunctionDef] = field(default_factory=dict)
    constants: dict[str, Bound] = field(default_factory=dict)
    imported: dict[str, tuple[Scope, str]] = field(default_factory=dict)
    predefined: Mapping[str, Value] = field(default_factory=dict)
    later: dict[str, int] = field(default_factory=dict)  # constants not computed yet, by line
    fields: dict[str, Field] = field(default_factory=dict)
    modes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # strings of Memory's named modes
    classes: frozenset[str] = frozenset()  # names of records, declared so far or not
    records: dict[str, RecordType] = field(default_factory=dict)
    stored: dict[str, Shape] = field(default_factory=dict)  # records in Memory; their leaves are in `fields`
    tunables: dict[str, tuple[float, float, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Frame:
    """One function being inlined, or the module level (function None)."""

    scope: Scope
    function: ast.FunctionDef | None
    names: frozenset[str] = frozenset()  # everything the function assigns
