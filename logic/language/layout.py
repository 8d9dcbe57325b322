"""How the fields of Memory lie in one float64 vector, the form in which a bundle carries them from step to step.

Needs numpy only. ONNX, graphs. Fields of one type lie together, so that a graph casts each type once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from logic.language.ir import Field, Type
from logic.language.ops import DTYPE

_ORDER = ("float", "int", "reason", "bool")


@dataclass(frozen=True)
class MemoryLayout:
    """`fields` in the module's own order; `slots`: name -> (start, stop) in the vector, scalars before arrays."""

    fields: Mapping[str, Field]
    slots: dict[str, tuple[int, int]]
    size: int

    @classmethod
    def of(cls, fields: Mapping[str, Field]) -> MemoryLayout:
        """The layout of a module's fields; the same fields give the same layout."""
        slots, at = {}, 0
        for name in sorted(fields, key=lambda n: group_of(fields[n].type)):
            slots[name] = (at, at + fields[name].type.size)
            at += fields[name].type.size
        return cls(dict(fields), slots, at)

    def groups(self) -> list[list[str]]:
        """Names by type, in the order of the vector: scalar floats, ints, bools, then arrays of each type."""
        found: dict[tuple[bool, int], list[str]] = {}
        for name in self.slots:
            found.setdefault(group_of(self.fields[name].type), []).append(name)
        return list(found.values())

    def start(self) -> np.ndarray:
        """float64[size] at the beginning of an episode."""
        return self.pack({name: f.default for name, f in self.fields.items()})

    def pack(self, values: Mapping[str, Any]) -> np.ndarray:
        """float64[size] of values by field name."""
        made = np.zeros(self.size)
        for name, (start, stop) in self.slots.items():
            made[start:stop] = np.asarray(values[name], np.float64).reshape(-1)
        return made

    def unpack(self, vector: np.ndarray) -> dict[str, Any]:
        """Python scalars and arrays of the fields' own types, in the module's own order."""
        return {n: _typed(vector[slice(*self.slots[n])], f.type) for n, f in self.fields.items()}


def group_of(type: Type) -> tuple[bool, int]:
    """Sorts fields so that those of one element type lie together."""
    return type.is_array, _ORDER.index(type.kind)


def _typed(part: np.ndarray, type: Type) -> Any:
    if type.shape is not None:
        return part.astype(DTYPE[type.kind]).reshape(type.shape)
    return {"float": float, "bool": bool}.get(type.kind, int)(part[0])
