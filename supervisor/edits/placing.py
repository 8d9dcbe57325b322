"""Where the code of a change goes between the lines of a policy, and which comments stay.

Knows: lines, comments, order of use. Does not know: whether a change is allowed (edits.py).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from supervisor.edits.checks import Change
from supervisor.edits.definitions import CONSTANT, DOCSTRING, FUNCTION, IMPORT, MEMORY, Text, Unit


class Splice(NamedTuple):
    """Lines `start` to `stop` (excluded) become `lines`."""

    start: int
    stop: int
    lines: list[str]


def replaced(text: Text, unit: Unit, change: Change) -> Splice:
    """New code for a thing. A comment over it stays unless the code brings its own; the one behind a constant too."""
    lines = change.code.split("\n")
    start = text.top(unit) if lines[0].startswith("#") else unit.start
    if unit.kind == CONSTANT and text.behind(unit) and not _ends_in_comment(change.code):
        lines[-1] = lines[-1].rstrip() + text.behind(unit)
    return Splice(start, unit.stop, lines)


def _ends_in_comment(code: str) -> bool:
    last = Text(code).units[0]
    return last.stop < len(code.split("\n")) or bool(Text(code).behind(last))


def removed(text: Text, unit: Unit) -> Splice:
    """A thing, the comment over it and the blank lines behind it go."""
    start, stop, end = text.top(unit), unit.stop, len(text.lines)
    if all(not line.strip() for line in text.lines[stop:]):  # the last thing: the blank lines before it go instead
        while start and not text.lines[start - 1].strip():
            start -= 1
        return Splice(start, stop, [])
    if not start or not text.lines[start - 1].strip():
        while stop < end and not text.lines[stop].strip():
            stop += 1
    return Splice(start, stop, [])


def placed(text: Text, adds: Sequence[Change], gone: Collection[str], new: Mapping[str, Unit]) -> list[Splice]:
    """Imports after imports, constants before the first constant that needs them, functions before their first user."""
    stay = [new_node(u, new) for u in text.units if u.name not in gone]
    constants = [c for c in adds if c.kind == CONSTANT]
    splices = []
    for change in adds:
        lines = change.code.split("\n")
        if change.kind in (FUNCTION, MEMORY):
            splices.append(_function(text, change, stay, lines))
        elif change.kind == CONSTANT:
            splices.append(_constant(text, constants, stay, new, lines))
        elif change.kind == IMPORT:
            splices.append(_after(_kept(stay, IMPORT) or _kept(stay, DOCSTRING), IMPORT, lines))
        else:
            splices.append(Splice(0, 0, [*lines, ""]))
    return splices


def new_node(unit: Unit, new: Mapping[str, Unit]) -> Unit:
    """The thing at its old place with what it will mean."""
    return Unit(unit.name, unit.kind, unit.start, unit.stop, new[unit.name].node) if unit.name in new else unit


def _kept(units: Sequence[Unit], kind: str) -> list[Unit]:
    return [u for u in units if u.kind == kind]


def _function(text: Text, change: Change, stay: Sequence[Unit], lines: list[str]) -> Splice:
    functions = _kept(stay, FUNCTION)
    users = functions if change.kind == MEMORY else [u for u in functions if change.name in u.mentions]
    users = users or [u for u in functions if u.name == "act"] or functions
    if not users:
        end = len(text.lines) - (text.lines[-1] == "")
        return Splice(end, end, ["", "", *lines])
    at = text.top(_first(text, users[0]))
    return Splice(at, at, [*lines, "", ""])


def _first(text: Text, unit: Unit) -> Unit:
    """The same thing as it stands in the old text."""
    return text.find(unit.name)[0]


def _constant(
    text: Text, block: Sequence[Change], stay: Sequence[Unit], new: Mapping[str, Unit], lines: list[str]
) -> Splice:
    """Before the first constant whose value depends on any new constant, through functions too, else after the last."""
    wanted = {c.name for c in block}
    by_name = {u.name: u for u in stay} | dict(new)
    constants = _kept(stay, CONSTANT)
    for unit in constants:
        if wanted & _reach(by_name[unit.name], by_name):
            at = text.top(_first(text, unit))
            return Splice(at, at, lines)
    return _after(constants or _kept(stay, IMPORT) or _kept(stay, DOCSTRING), CONSTANT, lines)


def _reach(unit: Unit, by_name: Mapping[str, Unit]) -> set[str]:
    seen: set[str] = set()
    todo = list(unit.mentions)
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo.extend(by_name[name].mentions if name in by_name else ())
    return seen


def _after(units: Sequence[Unit], kind: str, lines: list[str]) -> Splice:
    """Behind the last of `units`; a different kind of thing is set off by a blank line."""
    if not units:
        return Splice(0, 0, [*lines, ""])
    at = units[-1].stop
    return Splice(at, at, lines if units[-1].kind == kind else ["", *lines])
