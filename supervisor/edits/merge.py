"""Two revisions of one policy in one text: by named things, never by lines. A three-way merge on the common parent."""

from __future__ import annotations

import ast
from collections.abc import Mapping

from supervisor.edits.definitions import DOC, IMPORT, Text
from supervisor.edits.difference import NoEdit, changes_between
from supervisor.edits.edits import Edit, EditError, apply
from supervisor.errors import SupervisorError

ACTIONS = ("replace", "add", "remove")


class Conflict(SupervisorError):
    """Both revisions touch the same thing, which the message names, or their texts do not go together."""


def merged(base: str, ours: str, theirs: str) -> list[dict[str, str]]:
    """The changes to `ours` that bring in what `theirs` has changed of `base`; Conflict.

    What both have changed alike stands already. The docstring stays as it is in `ours`. Of a module that both import
    from, the names of both are imported.
    """
    try:
        mine, others = _by_name(changes_between(base, ours)), _by_name(changes_between(base, theirs))
    except NoEdit as error:
        raise Conflict(str(error)) from None
    changes, both = [], []
    for name, change in others.items():
        if name == DOC or mine.get(name) == change:
            continue
        if name not in mine:
            changes.append(change)
        elif union := _imports(ours, theirs, name):
            changes.append({"replace": name, "code": union})
        else:
            both.append(name)
    if both:
        raise Conflict(f"both change {', '.join(map(repr, both))}")
    if not changes:
        raise Conflict("it changes nothing that is not there already")
    try:
        apply(ours, Edit.of(changes))
    except EditError as error:
        raise Conflict(f"{error.reason}: {error}") from None
    return changes


def _by_name(changes: list[dict[str, str]]) -> dict[str, dict[str, str]]:
    return {name_of(change): change for change in changes}


def name_of(change: Mapping[str, str]) -> str:
    """What a change is about."""
    return next(change[action] for action in ACTIONS if action in change)


def _imports(ours: str, theirs: str, module: str) -> str:
    """One import of all names that either imports from a module; "" where it is none, or one text has it no more."""
    found: dict[str, None] = {}
    for text in (ours, theirs):
        units = [unit for unit in Text(text).find(module) if unit.kind == IMPORT]
        if not units:
            return ""
        for unit in units:
            assert isinstance(unit.node, ast.ImportFrom)
            found |= dict.fromkeys(f"{a.name} as {a.asname}" if a.asname else a.name for a in unit.node.names)
    return f"from {module} import {', '.join(found)}"
