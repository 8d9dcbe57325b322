"""What a loaded text is: its functions, what it remembers, every source it came from."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from envs.actions import Action
from logic.errors import LogicError

Library = Callable[[str], str]
LIBRARY_FOLDER = Path(__file__).parent.parent / "lib"


class Memory:
    """What a program remembers between steps: the fields its own `class Memory` declares, nothing else."""

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self.__dict__.update(fields)

    def snapshot(self) -> dict[str, Any]:
        """Field values. Arrays are never written in place, so this is cheap and complete."""
        return dict(self.__dict__)

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Back to a snapshot."""
        self.__dict__.update(snapshot)


@dataclass(frozen=True)
class Module:
    """One text: its functions by name, memory defaults, every source it used (library modules are `lib/NAME`)."""

    name: str
    namespace: dict[str, Any]
    functions: tuple[ast.FunctionDef, ...]
    fields: dict[str, Any]
    sources: dict[str, str]
    tunables: dict[str, tuple[float, float, float]] = field(default_factory=dict)

    def start(self) -> Memory:
        """Fresh memory, every field at its default."""
        return Memory(self.fields)


@dataclass(frozen=True)
class Program:
    """A policy ready to act. `reasons` maps each reason to the lines that give it."""

    module: Module
    act: Callable[[Any, Memory], tuple[Action, str]]
    reasons: dict[str, list[int]]

    def start(self) -> Memory:
        """Fresh memory, every field at its default."""
        return self.module.start()


def shipped_library(name: str) -> str:
    """Source of library module `name` as shipped; LogicError when there is none."""
    have = sorted(p.stem for p in LIBRARY_FOLDER.glob("*.py") if p.stem != "__init__")
    if name not in have:
        raise LogicError(f"no library module {name!r}; there are: {', '.join(have)}")
    return (LIBRARY_FOLDER / f"{name}.py").read_text(encoding="utf-8")
