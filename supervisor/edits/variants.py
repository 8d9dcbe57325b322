"""Simpler variants of a child: its edit with one change left out.

Knows: edits. Does not know: whether a variant is sound or as good (the gate asks for that).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from supervisor.edits.definitions import DOC
from supervisor.edits.edits import Edit, EditError, apply


class Variant(NamedTuple):
    """A text that holds all changes but one. `size`: characters of the changes that are left."""

    name: str
    size: int
    text: str


def size_of(changes: Sequence[Mapping[str, Any]]) -> int:
    """Characters of an edit: its code, and the names that it removes."""
    return sum(len(change.get("code") or change.get("remove", "")) for change in changes)


def variants(parent: str, changes: Sequence[Mapping[str, Any]], rules: Collection[str] = ()) -> list[Variant]:
    """Every variant that applies to `parent` and differs from it, the smallest first."""
    found = []
    for i, change in enumerate(changes if len(changes) > 1 else ()):
        rest = [*changes[:i], *changes[i + 1 :]]
        name = next(str(change[action]) for action in ("replace", "add", "remove") if action in change)
        if name == DOC:  # says what the whole change is about
            continue
        try:
            text = apply(parent, Edit.of(rest), rules)
        except EditError:
            continue
        if text != parent:
            found.append(Variant(f"without {name}", size_of(rest), text))
    return sorted(found, key=lambda v: (v.size, v.name))
